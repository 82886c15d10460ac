//! What a replica answers to one who asks for a backup, or on a disk without room, and what looking
//! at its disk shows.

use raftkv::{
    kv::Kv,
    raft::{
        Config, Index, Input, Message, NodeId, Options, RefusalReason, RoleName, Snapshot, Term,
        Token,
    },
    replica::{Operation, Outbox, Replica, Reply},
    storage::{Storage, Survey},
};
use raftkv_wal::{MemoryMedia, Source as _};

const OWNER: [u8; 40] = [7; 40];
const BACKUP: Token = Token(1_000);

/// A replica and what it has said.
struct Node {
    replica: Replica<MemoryMedia>,
    disk: MemoryMedia,
    out: Outbox,
}

impl Node {
    /// Node 0 of so many, on an empty disk.
    fn new(nodes: u64) -> Node {
        Node::on(MemoryMedia::new(), nodes)
    }

    fn on(disk: MemoryMedia, nodes: u64) -> Node {
        let options = Options::new(NodeId(0), Config::new((0..nodes).map(NodeId)), 1);
        let wal = raftkv_wal::Options::new(OWNER);
        let opened = Storage::open(disk.clone(), wal).expect("the log opens");
        Node {
            replica: Replica::new(options, opened),
            disk,
            out: Outbox::default(),
        }
    }

    /// The only member, which leads.
    fn leader() -> Node {
        let mut node = Node::new(1);
        for _ in 0..1_000 {
            // It leads once its own vote is durable.
            node.step(Input::Tick);
            node.sync();
            if node.replica.status().role == RoleName::Leader {
                return node;
            }
        }
        panic!("a node alone elects itself");
    }

    fn step(&mut self, input: Input) {
        let done = self.replica.step(input, &mut self.out);
        done.expect("the disk works");
    }

    fn sync(&mut self) {
        while self.replica.needs_sync() {
            self.replica.sync(&mut self.out).expect("the disk works");
        }
    }

    fn submit(&mut self, token: Token, operation: Operation) {
        let done = self.replica.submit(vec![(token, operation)], &mut self.out);
        done.expect("the disk works");
    }

    fn put(&mut self, key: u64) {
        let (key, value) = (format!("key-{key}").into(), "value".into());
        self.submit(Token(1), Operation::Put { key, value });
        self.sync();
    }

    /// Does all jobs there are.
    fn work_all(&mut self) {
        for _ in 0..100 {
            if !self.work() {
                return;
            }
        }
        panic!("the work has no end");
    }

    /// Does one job, if there is one, and makes durable what follows from it.
    fn work(&mut self) -> bool {
        let Some(mut job) = self.replica.take_job() else {
            return false;
        };
        while job.step() {}
        let done = self.replica.job_done(job, &mut self.out);
        done.expect("the disk works");
        self.sync();
        true
    }

    /// The answers to backups since the last time.
    fn answers(&mut self) -> Vec<Reply> {
        let replies = self.out.replies.drain(..);
        let ours = replies.filter(|(token, _)| *token == BACKUP);
        ours.map(|(_, reply)| reply).collect()
    }

    fn backup(&mut self) -> Snapshot {
        self.submit(BACKUP, Operation::Backup);
        self.work_all();
        match self.answers()[..] {
            [Reply::Backup { snapshot }] => snapshot,
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_backup_has_all_that_was_acknowledged_before_and_waits_until_it_is_durable() {
    let mut node = Node::leader();
    for key in 0..10 {
        node.put(key);
    }
    let acknowledged = node.replica.applied();
    node.submit(BACKUP, Operation::Backup);
    assert_eq!(node.answers(), [], "nothing is written yet");
    assert!(node.work(), "it is written");
    assert_eq!(node.answers(), [], "it is not read back yet");
    // Puts go on meanwhile; they need not be in it.
    node.put(10);
    node.work_all();
    let [Reply::Backup { snapshot }] = node.answers()[..] else {
        panic!("one answer");
    };
    assert_eq!(snapshot.pos.index, acknowledged);
    let opened = node.replica.open_snapshot(snapshot).expect("a file");
    let (header, source) = opened;
    assert_eq!((header.keys, header.pos), (10, snapshot.pos));
    assert_eq!(source.len_bytes(), snapshot.bytes);
}

#[test]
fn a_snapshot_that_has_it_all_serves_again_and_one_that_does_not_is_followed_by_another() {
    let mut node = Node::leader();
    node.put(0);
    let first = node.backup();
    assert_eq!(node.backup(), first);
    node.put(1);
    let second = node.backup();
    assert!(second.pos.index > first.pos.index);
    // Asked for while an older state is being written: that one does not do.
    node.put(2);
    node.replica.request_snapshot();
    node.replica.upkeep(&mut node.out).expect("the disk works");
    node.put(3);
    let third = node.backup();
    assert_eq!(third.pos.index, node.replica.applied());
}

#[test]
fn one_who_does_not_lead_refuses_a_backup() {
    let mut node = Node::new(3);
    node.submit(BACKUP, Operation::Backup);
    let reason = RefusalReason::NotLeader { leader: None };
    assert_eq!(node.answers(), [Reply::Refused(reason)]);
    let (from, term) = (NodeId(1), Term(1));
    let message = Message::Heartbeat {
        term,
        commit: Index::ZERO,
        round: raftkv::raft::Round::ZERO,
    };
    node.step(Input::Receive { from, message });
    node.submit(BACKUP, Operation::Backup);
    let leader = Some(NodeId(1));
    let reason = RefusalReason::NotLeader { leader };
    assert_eq!(node.answers(), [Reply::Refused(reason)]);
}

#[test]
fn a_disk_without_room_for_a_snapshot_refuses_the_backup_and_the_node_goes_on() {
    let mut node = Node::leader();
    node.put(0);
    node.disk.set_full(true);
    node.submit(BACKUP, Operation::Backup);
    node.work_all();
    assert_eq!(node.answers(), [Reply::NoSnapshot]);
    assert!(!node.out.warnings.is_empty());
    node.disk.set_full(false);
    node.put(1);
}

#[test]
fn who_does_not_lead_names_the_leader_though_its_own_disk_is_full() {
    let puts = || {
        let put = |n| Operation::Put {
            key: "a".into(),
            value: vec![n; 1 << 20].into(),
        };
        (0..20).map(|n| (Token(n.into()), put(n))).collect()
    };
    for (mut node, reason) in [
        (Node::leader(), RefusalReason::DiskFull),
        (Node::new(3), RefusalReason::NotLeader { leader: None }),
    ] {
        node.disk.set_full(true);
        let done = node.replica.submit(puts(), &mut node.out);
        done.expect("refused");
        let replies = node.out.replies.drain(..).map(|(_, reply)| reply);
        assert_eq!(
            replies.collect::<Vec<_>>(),
            vec![Reply::Refused(reason); 20]
        );
    }
}

fn survey(disk: &MemoryMedia) -> Survey {
    let before = disk.writes();
    let survey = Survey::of(&mut disk.clone(), &OWNER).expect("a directory");
    assert_eq!(disk.writes(), before, "looking writes nothing");
    survey
}

#[test]
fn looking_at_a_disk_shows_what_opening_finds_and_the_state_at_the_end_of_the_log() {
    let mut node = Node::leader();
    for key in 0..5 {
        node.put(key);
    }
    let snapshot = node.backup();
    for key in 3..9 {
        node.put(key);
    }
    let (log, snapshots) = survey(&node.disk).into_log().expect("nothing is wrong");
    assert_eq!(log.last, node.replica.raft().log().last());
    assert_eq!(log.base, snapshot.pos);
    assert_eq!(log.loaded, Some(snapshot));
    assert_eq!(snapshots.len(), 1);
    let mut indices = Vec::new();
    let seen = log.entries(&mut node.disk.clone(), &OWNER, |entry, _| {
        indices.push(entry.pos.index.0);
        Ok(())
    });
    seen.expect("the log was read before");
    let due: Vec<u64> = (snapshot.pos.index.0 + 1..=log.last.index.0).collect();
    assert_eq!(indices, due);
    let state = log.state_at_end(&mut node.disk.clone(), &OWNER);
    let state: Kv = state.expect("the log was read before");
    assert_eq!(state.image(), node.replica.kv().image());
    // Opening agrees.
    let reopened = Node::on(node.disk.clone(), 1);
    assert_eq!(reopened.replica.raft().log().last(), log.last);
}

#[test]
fn a_damaged_snapshot_is_found_although_the_node_could_start_without_it() {
    let mut node = Node::leader();
    node.put(0);
    node.backup();
    node.put(1);
    let newest = node.backup();
    let name = raftkv::storage::snapshot_name(newest.pos);
    let mut bytes = node.disk.contents(&name).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    node.disk.set_contents(&name, bytes);
    let error = survey(&node.disk).into_log().expect_err("damage");
    let text = error.to_string();
    assert!(
        text.contains(&name) && text.contains("is damaged at byte"),
        "{text}"
    );
}
