//! What must hold in one node whatever its peers do: the local half of Figures 2 and 3. Asserted
//! after every step by tests, the simulator and debug builds; what needs a view of all nodes is
//! the simulator's to check.

use super::{
    candidate::Stage,
    core::{Core, Raft, Role},
    effect::RoleName,
    options::Status,
    progress::{Flow, Progress},
    types::Index,
};

/// Asserts what must hold between two steps.
///
/// # Panics
/// If it does not; the message names the rule.
pub fn check(raft: &Raft) {
    check_log(raft);
    check_configs(&raft.core);
    let Raft { core, role } = raft;
    let (id, hard) = (core.options.id, core.hard);
    match role {
        Role::Follower(follower) => {
            assert_ne!(follower.leader, Some(id), "n{id} follows itself");
        }
        Role::Candidate(candidate) => {
            if let Stage::Vote { .. } = candidate.stage {
                assert_eq!(hard.vote, Some(id), "n{id} campaigns without its own vote");
            }
        }
        Role::Leader(leader) => {
            assert_eq!(hard.vote, Some(id), "n{id} leads without its own vote");
            assert_eq!(leader.first.term, hard.term, "n{id} leads another term");
            let compacted = leader.first.index < core.log.base().index;
            assert!(
                compacted || core.log.matches(leader.first),
                "the no-op {} is gone",
                leader.first
            );
            let ours = |at| at > core.commit && at >= leader.first.index;
            let uncommitted = core.configs.iter().filter(|&(at, _)| ours(at)).count();
            assert!(uncommitted <= 1, "n{id} leads two changes at once");
            for config in core.configs.since(core.commit) {
                let mut others = config.members().keys().filter(|&&node| node != id);
                assert!(
                    others.all(|node| leader.peers.contains_key(node)),
                    "n{id} leads, but not all of {config}"
                );
            }
            for peer in leader.peers.values() {
                check_progress(peer, core.log.last().index, core.options.in_flight_max);
            }
        }
    }
}

/// Asserts what must hold between a node's state before a step and after it.
///
/// # Panics
/// If it does not; the message names the rule.
pub fn check_step(before: &Status, after: &Status) {
    let id = after.id;
    let (old, new) = (before.hard, after.hard);
    assert!(
        new.term >= old.term,
        "n{id}: term falls from {} to {}",
        old.term,
        new.term
    );
    let (was, is) = (before.commit, after.commit);
    assert!(is >= was, "n{id}: commit falls from {was} to {is}");
    let (was, is) = (before.applied, after.applied);
    assert!(is >= was, "n{id}: applied falls from {was} to {is}");
    let (was, is) = (before.base, after.base);
    assert!(is >= was, "n{id}: the log's base falls from {was} to {is}");
    let (was, is) = (before.snapshot, after.snapshot);
    assert!(is >= was, "n{id}: the snapshot falls from {was} to {is}");
    let leads = after.role == RoleName::Leader;
    if new.term > old.term {
        return assert!(!leads, "n{id} leads term {} without a campaign", new.term);
    }
    let revoked = old.vote.is_some() && new.vote != old.vote;
    assert!(!revoked, "n{id}: a second vote in term {}", new.term);
    if before.role == RoleName::Leader {
        // Leader Append-Only (§5.3): a leader's log only grows.
        let (was, is) = (before.last, after.last);
        assert!(
            is >= was,
            "n{id}: a leader's log shrinks from {was} to {is}"
        );
    } else if leads {
        let role = before.role;
        assert_eq!(
            role,
            RoleName::Candidate,
            "n{id} leads, but was no candidate"
        );
    }
    if before.role == RoleName::Leader && leads {
        for was in &before.progress {
            let Some(is) = after.progress.iter().find(|is| is.node == was.node) else {
                continue;
            };
            let (peer, was, is) = (was.node, was.matched, is.matched);
            assert!(
                is >= was,
                "n{id}: match of n{peer} falls from {was} to {is}"
            );
        }
    }
}

fn check_configs(core: &Core) {
    let last = core.log.last().index;
    let mut before = None;
    for (at, config) in core.configs.iter() {
        assert!(
            at <= last,
            "a configuration at {at}, the log ends at {last}"
        );
        let follows = before.is_none_or(|before| config.follows(before));
        assert!(
            follows,
            "{config} at {at} does not follow from the one before"
        );
        // Anything may come after what the node was started with.
        before = (at > Index::ZERO).then_some(config);
    }
}

fn check_log(raft: &Raft) {
    let core = &raft.core;
    let last = core.log.last();
    let term = core.hard.term;
    assert!(last.term <= term, "entry {last} is ahead of term {term}");
    let (durable, commit) = (core.durable, core.commit);
    assert!(durable <= last.index, "durable {durable} > last {last}");
    assert!(commit <= last.index, "commit {commit} > last {last}");
    let applied = core.applied;
    let (base, snapshot) = (core.log.base().index, core.snapshot);
    let included = snapshot.map_or(Index::ZERO, |snapshot| snapshot.pos.index);
    assert!(base <= included, "compacted {base} > snapshot {included}");
    assert!(
        included <= applied,
        "snapshot {included} > applied {applied}"
    );
    assert!(applied <= commit, "applied {applied} > commit {commit}");
    assert!(applied <= durable, "applied {applied} > durable {durable}");
    let written = core.unwritten.is_empty() && !core.hard_changed;
    assert!(written, "a step ended with its write undone");
    let mut before = None;
    for &(seq, end) in &core.unpersisted {
        assert!(
            before < Some(seq) && seq <= core.last_seq,
            "write #{seq} is out of order"
        );
        assert!(
            end <= last.index,
            "write #{seq} reaches {end}, the log ends at {last}"
        );
        before = Some(seq);
    }
}

fn check_progress(peer: &Progress, last: Index, in_flight_max: usize) {
    let (matched, next) = (peer.matched, peer.next);
    assert!(matched < next, "match {matched} >= next {next}");
    assert!(
        next <= last.next(),
        "next {next} is beyond the log, which ends at {last}"
    );
    if let Flow::Stream { in_flight } = &peer.flow {
        assert!(
            in_flight.len() <= in_flight_max,
            "{} in flight",
            in_flight.len()
        );
        let mut before = matched;
        for &end in in_flight {
            assert!(
                before < end && end < next,
                "append to {end} after {before}, next {next}"
            );
            before = end;
        }
    }
}
