//! Bugs planted above consensus: what a client of one replica, or a second state machine, sees of
//! them. Those of consensus and of the log are hunted in tests/raft and wal/tests.

#![cfg(feature = "planted-bugs")]

use raftkv::{
    kv::{Command, Kv},
    raft::{
        Addition, Change, Config, Index, Input, Message, NodeId, Options, RoleName, Round, Term,
        Token,
    },
    replica::{Operation, Outbox, Replica, Reply},
    storage::Storage,
};
use raftkv_planted::{find, is_planted, plant};
use raftkv_wal::MemoryMedia;

const TOKEN: Token = Token(7);

/// Node 0 of so many, on this disk.
fn replica(nodes: u64, disk: &MemoryMedia) -> Replica<MemoryMedia> {
    let options = Options::new(NodeId(0), Config::new((0..nodes).map(NodeId)), 1);
    let wal = raftkv_wal::Options::new([0; 40]);
    let opened = Storage::open(disk.clone(), wal).expect("the log opens");
    Replica::new(options, opened)
}

fn step(replica: &mut Replica<MemoryMedia>, input: Input) -> Outbox {
    let mut out = Outbox::default();
    replica.step(input, &mut out).expect("the disk works");
    out
}

fn submit(replica: &mut Replica<MemoryMedia>, operation: Operation) {
    let mut out = Outbox::default();
    let done = replica.submit(vec![(TOKEN, operation)], &mut out);
    done.expect("the disk works");
}

fn sync(replica: &mut Replica<MemoryMedia>) -> Outbox {
    let mut out = Outbox::default();
    replica.sync(&mut out).expect("the disk works");
    out
}

/// Lets the node win an election. Its no-op is written and not yet durable.
fn elect(replica: &mut Replica<MemoryMedia>) {
    for pre_vote in [true, false] {
        while pre_vote && replica.status().role == RoleName::Follower {
            step(replica, Input::Tick);
        }
        let term = replica.status().hard.term;
        let message = Message::VoteReply {
            term: if pre_vote { Term(term.0 + 1) } else { term },
            granted: true,
            pre_vote,
        };
        // Alone, a node has won by now.
        if replica.status().role != RoleName::Leader {
            let from = NodeId(1);
            step(replica, Input::Receive { from, message });
            sync(replica);
        }
    }
    assert_eq!(replica.status().role, RoleName::Leader);
}

fn put() -> Operation {
    let (key, value) = ("key".into(), "value".into());
    Operation::Put { key, value }
}

fn a_read_after_a_restart_shows_what_was_acknowledged() -> bool {
    let disk = MemoryMedia::new();
    let mut before = replica(1, &disk);
    elect(&mut before);
    sync(&mut before);
    submit(&mut before, put());
    let put = sync(&mut before).replies;
    assert!(matches!(put[..], [(TOKEN, Reply::Put { .. })]), "{put:?}");
    drop(before);
    let mut after = replica(1, &disk);
    elect(&mut after);
    submit(&mut after, Operation::Get { key: "key".into() });
    let replies = sync(&mut after).replies;
    let shown = |reply: &Reply| matches!(reply, Reply::Get { value, .. } if value.is_some());
    matches!(&replies[..], [(TOKEN, reply)] if shown(reply))
}

fn a_deposed_leader_does_not_say_that_a_command_was_refused() -> bool {
    let mut replica = replica(3, &MemoryMedia::new());
    elect(&mut replica);
    submit(&mut replica, put());
    let message = Message::Heartbeat {
        term: Term(replica.status().hard.term.0 + 1),
        commit: Index::ZERO,
        round: Round::ZERO,
    };
    let from = NodeId(1);
    step(&mut replica, Input::Receive { from, message }).replies == [(TOKEN, Reply::Unknown)]
}

fn a_snapshot_has_the_configuration_of_its_last_entry() -> bool {
    let disk = MemoryMedia::new();
    let mut before = replica(1, &disk);
    elect(&mut before);
    sync(&mut before);
    let learner = Change {
        add: [(NodeId(1), Addition::default())].into(),
        ..Change::default()
    };
    submit(&mut before, Operation::Change(learner));
    sync(&mut before);
    submit(&mut before, Operation::Backup);
    let mut out = Outbox::default();
    while let Some(mut job) = before.take_job() {
        while job.step() {}
        before.job_done(job, &mut out).expect("the disk works");
        sync(&mut before);
    }
    let taken = before.status();
    assert!(taken.snapshot >= taken.config_at && taken.config.contains(NodeId(1)));
    drop(before);
    replica(1, &disk).status().config == taken.config
}

fn equal_commands_make_equal_images() -> bool {
    let image = || {
        let mut kv = Kv::default();
        for n in 0..30u8 {
            let (key, value) = ([n], [n]);
            kv.apply(Command::Put { key, value });
        }
        kv.image()
    };
    image() == image()
}

/// A bug, and a claim that does not hold with it.
type Claim = (&'static str, fn() -> bool);

const CLAIMS: &[Claim] = &[
    (
        "read_served_before_applied",
        a_read_after_a_restart_shows_what_was_acknowledged,
    ),
    (
        "unknown_reported_as_refused",
        a_deposed_leader_does_not_say_that_a_command_was_refused,
    ),
    (
        "snapshot_with_a_stale_config",
        a_snapshot_has_the_configuration_of_its_last_entry,
    ),
    ("image_in_hash_order", equal_commands_make_equal_images),
];

#[test]
fn clients_and_copies_see_what_is_planted_above_consensus() {
    for (bug, holds) in CLAIMS {
        assert!(holds(), "without {bug}");
        plant(find(bug));
        assert!(is_planted(bug), "no bug {bug}");
        let held = holds();
        plant(None);
        assert!(!held, "{bug} is not found");
    }
}
