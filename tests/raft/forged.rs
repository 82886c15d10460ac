//! Messages that no correct member sends: well formed, because the codec lets nothing else in,
//! and otherwise arbitrary. They may break agreement, as any liar among the members can (§2:
//! Raft does not tolerate Byzantine faults), but not the node: it does not panic, and its own
//! term, commit and applied index never fall.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};
use raftkv::raft::{
    Addition, Append, AppendOutcome, Change, Config, Description, Effect, Effects, Entry,
    EntryKind, Index, Input, LogPos, Message, NodeId, Note, Options, Raft, Round, Saved, Seq,
    Snapshot, Term, Token, VoteKind, invariants,
};

use crate::properties::config;

/// Mostly small, so that it often meets what is there; sometimes as large as can be.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..6u64, 1 => Just(1 << 33), 1 => Just(u64::MAX), 1 => any::<u64>()]
}

/// Mostly the term of the leader that the node mostly is, to be taken seriously.
fn term() -> impl Strategy<Value = Term> {
    prop_oneof![3 => Just(1), 1 => number()].prop_map(Term)
}

fn pos() -> impl Strategy<Value = LogPos> {
    (number(), number()).prop_map(|(term, index)| LogPos::new(Term(term), Index(index)))
}

fn kind() -> impl Strategy<Value = VoteKind> {
    prop_oneof![
        Just(VoteKind::PreVote),
        Just(VoteKind::Election),
        Just(VoteKind::Transfer)
    ]
}

fn ids(mask: u8) -> impl Iterator<Item = NodeId> {
    let ids = (0..u64::from(u8::BITS)).filter(move |id| mask >> id & 1 == 1);
    ids.map(NodeId)
}

fn change() -> impl Strategy<Value = Change> {
    any::<[u8; 3]>().prop_map(|[add, votes, remove]| {
        let addition = |id: NodeId| Addition {
            votes: votes >> id.0 & 1 == 1,
            description: Description::default(),
        };
        Change {
            add: ids(add).map(|id| (id, addition(id))).collect(),
            remove: ids(remove).collect(),
        }
    })
}

/// Any members at all: nobody, strangers, learners only, halves that share nobody.
fn members() -> impl Strategy<Value = Config> {
    (any::<u8>(), change(), 0..3u8).prop_map(|(voters, change, step)| {
        let config = Config::new(ids(voters));
        match step {
            0 => config,
            1 => config.changed_by(&change),
            _ => config.changed_by(&change).settled(),
        }
    })
}

/// What an entry is for, and what it carries.
fn cargo() -> impl Strategy<Value = (EntryKind, Bytes)> {
    let bytes = vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let config = prop_oneof![8 => members().prop_map(|config| config.encode()), 1 => bytes];
    prop_oneof![
        2 => Just((EntryKind::COMMAND, Bytes::new())),
        1 => config.prop_map(|data| (EntryKind::CONFIG, data)),
    ]
}

/// Entries that follow `prev` as they should, or any at all.
fn entries(prev: LogPos) -> impl Strategy<Value = Vec<Entry>> {
    let entry = |(pos, (kind, data))| Entry { pos, kind, data };
    let consecutive = vec((0..2u64, cargo()), 0..4).prop_map(move |entries| {
        let mut last = prev;
        let next = entries.into_iter().map(|(rise, cargo)| {
            let term = Term(last.term.0.saturating_add(rise));
            last = LogPos::new(term, Index(last.index.0.saturating_add(1)));
            entry((last, cargo))
        });
        next.collect()
    });
    let any = vec((pos(), cargo()).prop_map(entry), 0..4);
    prop_oneof![3 => consecutive, 1 => any]
}

fn append() -> impl Strategy<Value = Message> {
    let prev = prop_oneof![1 => Just(LogPos::ZERO), 2 => pos()];
    let append = prev.prop_flat_map(|prev| (term(), Just(prev), number(), entries(prev)));
    append.prop_map(|(term, prev, commit, entries)| {
        let commit = Index(commit);
        Message::Append(Append {
            term,
            prev,
            commit,
            entries,
        })
    })
}

fn outcome() -> impl Strategy<Value = AppendOutcome> {
    prop_oneof![
        number().prop_map(|index| AppendOutcome::Match(Index(index))),
        (number(), pos()).prop_map(|(rejected, hint)| AppendOutcome::Conflict {
            rejected: Index(rejected),
            hint,
        }),
        Just(AppendOutcome::StaleTerm),
    ]
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    pos().prop_map(|pos| Snapshot {
        pos,
        bytes: 1,
        hash: 1,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        3 => append(),
        2 => (term(), outcome())
            .prop_map(|(term, outcome)| Message::AppendReply { term, outcome }),
        2 => (term(), number(), number()).prop_map(|(term, commit, round)| Message::Heartbeat {
            term,
            commit: Index(commit),
            round: Round(round),
        }),
        1 => (term(), number())
            .prop_map(|(term, round)| Message::HeartbeatReply { term, round: Round(round) }),
        2 => (term(), pos(), kind())
            .prop_map(|(term, last, kind)| Message::VoteRequest { term, last, kind }),
        3 => (term(), any::<bool>(), any::<bool>())
            .prop_map(|(term, granted, pre_vote)| Message::VoteReply { term, granted, pre_vote }),
        1 => term().prop_map(|term| Message::TimeoutNow { term }),
        3 => (term(), snapshot())
            .prop_map(|(term, snapshot)| Message::SnapshotOffer { term, snapshot }),
    ]
}

fn described() -> Description {
    Description {
        peer_address: "host.1".to_owned(),
        incarnation: Some([1; 16]),
        ..Description::default()
    }
}

fn input() -> impl Strategy<Value = Input> {
    let node = || (0..4u64).prop_map(NodeId);
    let tokens = || vec(any::<u64>().prop_map(Token), 0..3);
    prop_oneof![
        12 => (node(), message()).prop_map(|(from, message)| Input::Receive { from, message }),
        4 => Just(Input::Tick),
        1 => tokens().prop_map(|tokens| Input::Propose {
            commands: tokens.into_iter().map(|token| (token, Bytes::from("put k=1"))).collect(),
        }),
        1 => tokens().prop_map(|tokens| Input::Read { tokens }),
        1 => proptest::option::of(node()).prop_map(|to| Input::Transfer { to }),
        1 => change().prop_map(|change| Input::Reconfigure { token: Token(1), change }),
        1 => node().prop_map(|node| Input::Described { node, description: described() }),
        2 => Just(Input::Persisted { upto: Seq(u64::MAX) }),
        2 => (snapshot(), members())
            .prop_map(|(snapshot, config)| Input::SnapshotFetched { snapshot, config }),
        2 => (snapshot(), 0..3u64).prop_map(|(snapshot, keep)| Input::SnapshotTaken {
            compact: Index(snapshot.pos.index.0.saturating_sub(keep)),
            snapshot,
        }),
    ]
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn no_message_breaks_the_node_or_turns_it_back(
        seed in any::<u64>(), leads in prop::bool::weighted(0.5), inputs in vec(input(), 1..80),
    ) {
        let mut options = Options::new(NodeId(0), Config::new((0..3).map(NodeId)), seed);
        options.election_timeout_ticks = 3;
        options.heartbeat_ticks = 1;
        crate::caught(|| feed(options, leads, inputs)).map_err(TestCaseError::fail)?;
    }
}

/// Elects the node if it is to lead, then feeds it the inputs.
fn feed(options: Options, leads: bool, inputs: Vec<Input>) {
    let mut raft = Raft::restore(options, Saved::default());
    let mut effects = Effects::default();
    let mut written = Seq::NONE;
    let mut wanted = None;
    let vote = |pre_vote| Input::Receive {
        from: NodeId(1),
        message: Message::VoteReply {
            term: Term(1),
            granted: true,
            pre_vote,
        },
    };
    let ticks = std::iter::repeat_n(Input::Tick, 5);
    let election = ticks.chain([
        vote(true),
        Input::Persisted { upto: Seq::NONE },
        vote(false),
    ]);
    let election = election.filter(|_| leads);
    for input in election.chain(inputs) {
        let Some(input) = honest(input, &raft, written, &mut wanted) else {
            continue;
        };
        let before = raft.status();
        raft.step(input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Write { seq, .. } | Effect::Install { seq, .. } => written = seq,
                Effect::FetchSnapshot { snapshot, .. } => wanted = Some(snapshot),
                _ => {}
            }
        }
        invariants::check(&raft);
        invariants::check_step(&before, &raft.status());
    }
}

/// What the driver could say in the place of this: only peers lie. It reports as durable what was
/// written, as fetched what was asked for, as taken a snapshot of what was applied.
fn honest(input: Input, raft: &Raft, written: Seq, wanted: &mut Option<Snapshot>) -> Option<Input> {
    Some(match input {
        Input::Persisted { .. } => Input::Persisted { upto: written },
        Input::SnapshotFetched { config, .. } => Input::SnapshotFetched {
            snapshot: wanted.take()?,
            config,
        },
        Input::SnapshotTaken { snapshot, compact } => {
            let index = snapshot.pos.index.min(raft.status().applied);
            let term = raft.log().term(index).filter(|_| index > Index::ZERO)?;
            let pos = LogPos::new(term, index);
            Input::SnapshotTaken {
                snapshot: Snapshot { pos, ..snapshot },
                compact: compact.min(index),
            }
        }
        input => input,
    })
}

/// What a node with nothing does when another says this.
fn told(message: Message) -> Vec<Effect> {
    let options = Options::new(NodeId(0), Config::new((0..3).map(NodeId)), 1);
    let mut raft = Raft::restore(options, Saved::default());
    let mut effects = Effects::default();
    let from = NodeId(1);
    raft.step(Input::Receive { from, message }, &mut effects);
    assert_eq!(raft.status().last, LogPos::ZERO);
    effects.drain().collect()
}

fn is_impossible(effect: &Effect) -> bool {
    let from = NodeId(1);
    matches!(effect, Effect::Note(Note::Impossible { from: who, .. }) if *who == from)
}

#[test]
fn an_entry_at_index_0_is_refused() {
    let entry = |index| Entry {
        pos: LogPos::new(Term::ZERO, Index(index)),
        kind: EntryKind::COMMAND,
        data: Bytes::new(),
    };
    let message = Message::Append(Append {
        term: Term::ZERO,
        prev: LogPos::ZERO,
        commit: Index(2),
        entries: vec![entry(0), entry(1)],
    });
    assert!(told(message).iter().any(is_impossible));
}

#[test]
fn an_offer_of_the_last_index_there_is_is_refused() {
    let pos = LogPos::new(Term(1), Index(u64::MAX));
    let (bytes, hash) = (1, 1);
    let snapshot = Snapshot { pos, bytes, hash };
    let message = Message::SnapshotOffer {
        term: Term(1),
        snapshot,
    };
    let told = told(message);
    assert!(told.iter().any(is_impossible), "{told:?}");
    let fetches = |effect: &Effect| matches!(effect, Effect::FetchSnapshot { .. });
    assert!(!told.iter().any(fetches), "{told:?}");
}

/// An append of configurations, from the first index on.
fn told_configs(data: impl IntoIterator<Item = Bytes>) -> Vec<Effect> {
    let entry = |(index, data)| Entry {
        pos: LogPos::new(Term(1), Index(index)),
        kind: EntryKind::CONFIG,
        data,
    };
    told(Message::Append(Append {
        term: Term(1),
        prev: LogPos::ZERO,
        commit: Index::ZERO,
        entries: (1..).zip(data).map(entry).collect(),
    }))
}

#[test]
fn bytes_that_are_no_configuration_are_refused() {
    let good = Config::new(ids(0b111)).encode();
    let cut = good.slice(..good.len() - 1);
    let absurd = Bytes::from_static(&[0xff; 40]);
    for data in [Bytes::new(), cut, absurd] {
        let told = told_configs([good.clone(), data]);
        assert!(told.iter().any(is_impossible), "{told:?}");
    }
}

#[test]
fn a_configuration_that_skips_c_old_new_is_refused() {
    let skipped = [0b111, 0b11000].map(|voters| Config::new(ids(voters)).encode());
    let told = told_configs(skipped);
    assert!(told.iter().any(is_impossible), "{told:?}");
}
