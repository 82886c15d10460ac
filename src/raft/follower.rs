//! The follower (Figure 2, "Followers", and AppendEntries RPC, receiver implementation).

use super::{
    config::Config,
    core::{Core, Transition},
    effect::{Effects, HardState},
    message::{Append, AppendOutcome, EntryKind, Message, VoteKind},
    note::Note,
    types::{Index, LogPos, NodeId, Round},
};

/// What exists only in a follower.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    /// The leader of the current term, when known.
    pub(super) leader: Option<NodeId>,
    /// Ticks since the leader was heard or a vote was granted.
    pub(super) elapsed_ticks: u32,
    pub(super) timeout_ticks: u32,
}

impl Follower {
    pub(super) fn new(leader: Option<NodeId>, timeout_ticks: u32) -> Follower {
        Follower {
            leader,
            elapsed_ticks: 0,
            timeout_ticks,
        }
    }

    pub(super) fn tick(&mut self) -> Option<Transition> {
        self.elapsed_ticks += 1;
        let over = self.elapsed_ticks >= self.timeout_ticks;
        over.then_some(Transition::Campaign(VoteKind::PreVote))
    }

    /// The leader of the term was heard: no campaign for another timeout (§5.2).
    pub(super) fn hear(&mut self, leader: NodeId) {
        self.leader = Some(leader);
        self.put_off();
    }

    /// No campaign for another timeout.
    pub(super) fn put_off(&mut self) {
        self.elapsed_ticks = 0;
    }

    /// The leader, if it was heard within `least_ticks`.
    pub(super) fn leader_alive(&self, least_ticks: u32) -> Option<NodeId> {
        self.leader.filter(|_| self.elapsed_ticks < least_ticks)
    }
}

/// Heartbeats vouch for no entry: they say who leads and what is committed.
pub(super) fn heartbeat(
    core: &mut Core,
    from: NodeId,
    commit: Index,
    round: Round,
    out: &mut Effects,
) {
    if commit > core.log.last().index {
        let what = "heartbeat commits what the log here lacks";
        return out.note(Note::Impossible { from, what });
    }
    core.commit_to(commit, out);
    core.send(
        from,
        Message::HeartbeatReply {
            term: core.hard.term,
            round,
        },
        out,
    );
}

/// AppendEntries RPC, receiver implementation.
pub(super) fn append(core: &mut Core, from: NodeId, mut append: Append, out: &mut Effects) {
    if let Some(what) = malformed(&append) {
        return out.note(Note::Impossible { from, what });
    }
    let Some(mut configs) = configs_of(&append) else {
        let what = "a configuration that makes no sense";
        return out.note(Note::Impossible { from, what });
    };
    let term = core.hard.term;
    let last_new = Index(append.prev.index.0 + append.entries.len() as u64);
    if append.prev.index < core.log.base().index
        && !planted!("compacted_prev_taken_for_a_conflict")
        && !skip_compacted(core, &mut append, out)
    {
        return acknowledge(core, from, append.commit, last_new, out);
    }
    let prev = append.prev;
    // Figure 2, AppendEntries 2: the consistency check that Log Matching rests on.
    if !core.log.matches(prev) {
        if prev.index <= core.commit {
            let what = "append forks from a committed entry";
            return out.note(Note::Impossible { from, what });
        }
        // Neither log can match beyond: not at an index that is missing here, not at a term
        // that is later than the leader's there (§5.3, last paragraphs).
        let hint = core.log.last_not_after(prev);
        out.note(Note::AppendRefused { prev, hint });
        let outcome = AppendOutcome::Conflict {
            rejected: prev.index,
            hint,
        };
        return core.send_durable(from, Message::AppendReply { term, outcome }, out);
    }
    let known = append
        .entries
        .iter()
        .take_while(|entry| core.log.matches(entry.pos))
        .take_while(|entry| {
            !planted!("append_truncates_without_conflict") || entry.pos.index <= core.commit
        })
        .count();
    if let Some(first) = append.entries.get(known) {
        // Figure 2, AppendEntries 3: drop only from a conflict on. An append that arrives
        // late and is a prefix of the log must not cut off what came after it.
        let from_index = first.pos.index;
        configs.retain(|(at, _)| *at >= from_index);
        if !core.configs.lead_to(from_index, &configs) {
            let what = "a configuration that cannot come next";
            return out.note(Note::Impossible { from, what });
        }
        if from_index <= core.log.last().index {
            if from_index <= core.commit {
                let what = "append conflicts with a committed entry";
                return out.note(Note::Impossible { from, what });
            }
            out.note(Note::Truncated { from: from_index });
            core.truncate(from_index, out);
        }
        append.entries.drain(..known);
        core.append_theirs(append.entries);
        for (at, config) in configs {
            core.take_config(at, config, out);
        }
    } else if known > 0 {
        out.note(Note::NothingNew { last: last_new });
    }
    acknowledge(core, from, append.commit, last_new, out);
}

/// What was compacted is committed, and any leader's log has it (Leader Completeness): an append
/// that begins below is one that begins behind it. Returns whether anything is left of it. To
/// refuse it as a conflict would send the leader back below what it may have itself (§7).
fn skip_compacted(core: &Core, append: &mut Append, out: &mut Effects) -> bool {
    let base = core.log.base();
    out.note(Note::CompactedSkipped { base });
    let skipped = (base.index.0 - append.prev.index.0) as usize;
    if append.entries.len() < skipped {
        return false;
    }
    let rest = append.entries.split_off(skipped);
    let last_skipped = std::mem::replace(&mut append.entries, rest).pop();
    append.prev = last_skipped.map_or(base, |entry| entry.pos);
    true
}

/// The log agrees with the leader's up to `last_new`, once what is new is durable.
fn acknowledge(
    core: &mut Core,
    from: NodeId,
    leader_commit: Index,
    last_new: Index,
    out: &mut Effects,
) {
    let term = core.hard.term;
    let last_term = core.log.last().term;
    if planted!("term_falls_to_the_entries") && last_term < term {
        core.set_hard(HardState {
            term: last_term,
            vote: None,
        });
    }
    // Figure 2, AppendEntries 5: beyond the last new entry the log here may still differ.
    let proved = match planted!("commit_beyond_the_last_new_entry") {
        true => core.log.last().index,
        false => last_new,
    };
    core.commit_to(leader_commit.min(proved), out);
    let outcome = match planted!("follower_acks_its_own_last_index") {
        true => AppendOutcome::Match(core.log.last().index),
        false => AppendOutcome::Match(last_new),
    };
    let reply = Message::AppendReply { term, outcome };
    if planted!("append_ack_before_sync") {
        return core.send(from, reply, out);
    }
    core.send_durable(from, reply, out);
}

/// The configurations among the entries, with their places; `None` if one makes no sense.
fn configs_of(append: &Append) -> Option<Vec<(Index, Config)>> {
    let entries = append.entries.iter();
    let configs = entries.filter(|entry| entry.kind == EntryKind::CONFIG);
    let configs = configs.map(|entry| Some((entry.pos.index, Config::decode(&entry.data)?)));
    configs.collect()
}

/// What no leader sends.
fn malformed(append: &Append) -> Option<&'static str> {
    let mut last = append.prev;
    for entry in &append.entries {
        let LogPos { term, index } = entry.pos;
        if last.index.0.checked_add(1) != Some(index.0) {
            return Some("entries are not consecutive");
        }
        if term < last.term || term > append.term {
            return Some("an entry's term is out of order");
        }
        last = entry.pos;
    }
    (append.prev.term > append.term).then_some("the previous entry's term is ahead")
}
