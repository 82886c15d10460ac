//! RequestVote RPC, receiver implementation (Figure 2; §5.2, §5.4.1), case by case: the voter's
//! term, vote and log, the request, and what comes of it.

use raftkv::raft::{
    Config, Effect, Effects, HardState, Index, Input, Log, LogPos, Message, NodeId, Options, Raft,
    RoleName, Round, Saved, Seq, Term, VoteKind,
};

use VoteKind::{Election, PreVote, Transfer};

const VOTER: NodeId = NodeId(0);
const CANDIDATE: NodeId = NodeId(1);
const ANOTHER: NodeId = NodeId(2);

/// The voter is in term 5 and its log ends with 4@3 unless a case says otherwise.
const TERM: u64 = 5;
const OURS: &[u64] = &[1, 1, 3, 3];

/// What the voter says, and the term and vote it is then in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Yes, once that is durable.
    Granted,
    /// No, once what it says of the term is durable.
    Denied,
    /// Yes or no at once: it promises nothing.
    WouldGrant,
    WouldDeny,
    Silence,
}

use Answer::{Denied, Granted, Silence, WouldDeny, WouldGrant};

#[derive(Clone, Copy)]
struct Case {
    claim: &'static str,
    vote: Option<NodeId>,
    /// The leader of term 5 was heard just now.
    hears: Option<NodeId>,
    /// The request: its term, its kind, and its log's last term and index.
    request: (u64, VoteKind, u64, u64),
    answer: Answer,
    /// The voter's term and vote afterwards.
    then: (u64, Option<NodeId>),
}

/// A voter that has not voted and hears no leader, asked for an election's vote by a candidate
/// with the same log.
const USUAL: Case = Case {
    claim: "",
    vote: None,
    hears: None,
    request: (TERM, Election, 3, 4),
    answer: Granted,
    then: (TERM, Some(CANDIDATE)),
};

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Figure 2, 1: terms.
    Case { claim: "a lower term is refused, and told ours",
        request: (4, Election, 3, 4), answer: Denied, then: (5, None), ..USUAL },
    Case { claim: "a lower term is refused even with a newer log",
        request: (4, Election, 4, 9), answer: Denied, then: (5, None), ..USUAL },
    Case { claim: "a higher term is adopted with the vote",
        request: (6, Election, 3, 4), then: (6, Some(CANDIDATE)), ..USUAL },
    Case { claim: "a higher term is adopted though the log is refused",
        request: (6, Election, 3, 3), answer: Denied, then: (6, None), ..USUAL },
    Case { claim: "a higher term frees a vote that another had",
        vote: Some(ANOTHER), request: (6, Election, 3, 4), then: (6, Some(CANDIDATE)), ..USUAL },
    Case { claim: "a higher term frees a vote, and the log decides alone",
        vote: Some(ANOTHER), request: (6, Election, 1, 9), answer: Denied, then: (6, None),
        ..USUAL },
    Case { claim: "a higher term forgets a vote for the same candidate too",
        vote: Some(CANDIDATE), request: (6, Election, 3, 3), answer: Denied, then: (6, None),
        ..USUAL },
    // Figure 2, 2: one vote in a term.
    Case { claim: "a vote that nobody has is given", ..USUAL },
    Case { claim: "the same candidate is told again that it has the vote",
        vote: Some(CANDIDATE), ..USUAL },
    Case { claim: "a vote that another has is not given again",
        vote: Some(ANOTHER), answer: Denied, then: (5, Some(ANOTHER)), ..USUAL },
    Case { claim: "a vote that another has is not moved by a newer log",
        vote: Some(ANOTHER), request: (5, Election, 4, 9), answer: Denied,
        then: (5, Some(ANOTHER)), ..USUAL },
    Case { claim: "a candidate in our term does not get our own vote",
        vote: Some(VOTER), answer: Denied, then: (5, Some(VOTER)), ..USUAL },
    // §5.4.1: logs, by last term, then by length.
    Case { claim: "an older last term loses",
        request: (5, Election, 2, 4), answer: Denied, then: (5, None), ..USUAL },
    Case { claim: "an older last term loses though the log is longer",
        request: (5, Election, 2, 9), answer: Denied, then: (5, None), ..USUAL },
    Case { claim: "a shorter log of the same last term loses",
        request: (5, Election, 3, 3), answer: Denied, then: (5, None), ..USUAL },
    Case { claim: "an empty log loses",
        request: (5, Election, 0, 0), answer: Denied, then: (5, None), ..USUAL },
    Case { claim: "an equal log wins", request: (5, Election, 3, 4), ..USUAL },
    Case { claim: "a longer log of the same last term wins",
        request: (5, Election, 3, 5), ..USUAL },
    Case { claim: "a newer last term wins though the log is shorter",
        request: (5, Election, 4, 1), ..USUAL },
    // th. 4.2.3: leader stickiness, and transfer as its exception.
    Case { claim: "while a leader is heard a higher term is not even noticed",
        hears: Some(ANOTHER), request: (6, Election, 3, 9), answer: Silence, then: (5, None),
        ..USUAL },
    Case { claim: "while a leader is heard a vote of its term is refused",
        hears: Some(ANOTHER), answer: Denied, then: (5, None), ..USUAL },
    Case { claim: "a transfer may depose a leader that is heard",
        hears: Some(ANOTHER), request: (6, Transfer, 3, 4), then: (6, Some(CANDIDATE)), ..USUAL },
    Case { claim: "a transfer's log is compared like any other",
        hears: Some(ANOTHER), request: (6, Transfer, 3, 3), answer: Denied, then: (6, None),
        ..USUAL },
    Case { claim: "a transfer gets no second vote of a term",
        vote: Some(ANOTHER), request: (5, Transfer, 3, 4), answer: Denied,
        then: (5, Some(ANOTHER)), ..USUAL },
    // th. 9.6: pre-votes.
    Case { claim: "a pre-vote for the next term changes nothing",
        vote: Some(ANOTHER), request: (6, PreVote, 3, 4), answer: WouldGrant,
        then: (5, Some(ANOTHER)), ..USUAL },
    Case { claim: "a pre-vote of an older term is told ours",
        request: (4, PreVote, 3, 4), answer: WouldDeny, then: (5, None), ..USUAL },
    Case { claim: "a pre-vote's log is compared like any other",
        request: (6, PreVote, 3, 3), answer: WouldDeny, then: (5, None), ..USUAL },
    Case { claim: "while a leader is heard a pre-vote is refused",
        hears: Some(ANOTHER), request: (6, PreVote, 3, 9), answer: WouldDeny, then: (5, None),
        ..USUAL },
];

/// A node of term 5 with the log of the cases.
fn voter(vote: Option<NodeId>) -> Raft {
    let mut log = Log::default();
    for &term in OURS {
        log.push(Term(term), 1);
    }
    let hard = HardState {
        term: Term(TERM),
        vote,
    };
    let config = Config::new([VOTER, CANDIDATE, ANOTHER]);
    Raft::restore(
        Options::new(VOTER, config, 1),
        Saved {
            hard,
            log,
            ..Saved::default()
        },
    )
}

fn step(raft: &mut Raft, input: Input) -> Vec<Effect> {
    let mut effects = Effects::default();
    raft.step(input, &mut effects);
    effects.drain().collect()
}

fn ask(raft: &mut Raft, (term, kind, last_term, last_index): (u64, VoteKind, u64, u64)) -> Answer {
    let last = LogPos::new(Term(last_term), Index(last_index));
    let message = Message::VoteRequest {
        term: Term(term),
        last,
        kind,
    };
    let before = raft.status().hard;
    let effects = step(
        raft,
        Input::Receive {
            from: CANDIDATE,
            message,
        },
    );
    let written = effects.iter().find_map(|effect| match effect {
        Effect::Write { seq, hard, .. } => Some((*seq, *hard)),
        _ => None,
    });
    let now = raft.status().hard;
    let changed = (now != before).then_some(Some(now));
    assert_eq!(
        written.map(|(_, hard)| hard),
        changed,
        "what changes is written"
    );
    let written = written.map(|(seq, _)| seq);
    let replies = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, message, after } => Some((to, message, after)),
        _ => None,
    });
    let replies: Vec<_> = replies.collect();
    let &[(to, message, after)] = replies.as_slice() else {
        assert!(replies.is_empty(), "one request, one answer: {replies:?}");
        return Silence;
    };
    assert_eq!(*to, CANDIDATE);
    let Message::VoteReply {
        term: said,
        granted,
        pre_vote,
    } = message
    else {
        panic!("a vote request is answered by {message}")
    };
    assert_eq!(
        *pre_vote,
        kind == PreVote,
        "the answer is of the request's kind"
    );
    let names = if *pre_vote && *granted {
        Term(term)
    } else {
        raft.status().hard.term
    };
    assert_eq!(*said, names, "the answer names the term");
    if *pre_vote {
        assert_eq!(*after, Seq::NONE, "a pre-vote waits for nothing");
        return if *granted { WouldGrant } else { WouldDeny };
    }
    assert_eq!(
        *after,
        written.unwrap_or(Seq::NONE),
        "the answer waits for what it promises"
    );
    if *granted { Granted } else { Denied }
}

#[test]
fn each_vote_request_is_answered_as_figure_2_says() {
    for case in CASES {
        let mut raft = voter(case.vote);
        if let Some(from) = case.hears {
            let (term, commit, round) = (Term(TERM), Index::ZERO, Round::ZERO);
            let message = Message::Heartbeat {
                term,
                commit,
                round,
            };
            step(&mut raft, Input::Receive { from, message });
        }
        let answer = ask(&mut raft, case.request);
        assert_eq!(answer, case.answer, "{}", case.claim);
        let (term, vote) = case.then;
        let hard = HardState {
            term: Term(term),
            vote,
        };
        assert_eq!(raft.status().hard, hard, "{}", case.claim);
    }
}

#[test]
fn every_case_claims_something_of_its_own() {
    let mut claims: Vec<&str> = CASES.iter().map(|case| case.claim).collect();
    claims.sort_unstable();
    claims.dedup();
    assert_eq!(claims.len(), CASES.len());
    assert!(claims.iter().all(|claim| !claim.is_empty()));
}

#[test]
fn a_leader_is_heard_for_no_longer_than_the_least_election_timeout() {
    let mut raft = voter(None);
    let (term, commit, round) = (Term(TERM), Index::ZERO, Round::ZERO);
    let message = Message::Heartbeat {
        term,
        commit,
        round,
    };
    step(
        &mut raft,
        Input::Receive {
            from: ANOTHER,
            message,
        },
    );
    for _ in 1..Options::new(VOTER, Config::new([VOTER]), 1).election_timeout_ticks {
        step(&mut raft, Input::Tick);
        assert_eq!(ask(&mut raft, (6, PreVote, 3, 4)), WouldDeny);
    }
    step(&mut raft, Input::Tick);
    assert_eq!(ask(&mut raft, (6, PreVote, 3, 4)), WouldGrant);
}

#[test]
fn a_leader_gives_its_own_term_to_nobody() {
    let mut raft = voter(None);
    while raft.status().role == RoleName::Follower {
        step(&mut raft, Input::Tick);
    }
    let pre_vote = Message::VoteReply {
        term: Term(6),
        granted: true,
        pre_vote: true,
    };
    let effects = step(
        &mut raft,
        Input::Receive {
            from: ANOTHER,
            message: pre_vote,
        },
    );
    let written = effects.iter().find_map(|effect| match effect {
        Effect::Write { seq, .. } => Some(*seq),
        _ => None,
    });
    let upto = written.expect("a campaign writes its term and vote");
    step(&mut raft, Input::Persisted { upto });
    let vote = Message::VoteReply {
        term: Term(6),
        granted: true,
        pre_vote: false,
    };
    step(
        &mut raft,
        Input::Receive {
            from: ANOTHER,
            message: vote,
        },
    );
    assert_eq!(raft.status().role, RoleName::Leader);
    for kind in [Election, Transfer] {
        let message = Message::VoteRequest {
            term: Term(6),
            last: LogPos::new(Term(6), Index(99)),
            kind,
        };
        let effects = step(
            &mut raft,
            Input::Receive {
                from: CANDIDATE,
                message,
            },
        );
        let denied = |effect: &Effect| {
            matches!(
                effect,
                Effect::Send {
                    message: Message::VoteReply { granted: false, .. },
                    ..
                }
            )
        };
        assert!(effects.iter().any(denied), "{kind:?}: {effects:?}");
        assert_eq!(raft.status().role, RoleName::Leader);
    }
}
