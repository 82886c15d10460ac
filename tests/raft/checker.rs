//! The five properties of Figure 3, and what else needs a view of all nodes: one vote a term
//! across restarts, nothing said before it is durable, nothing committed without a majority's
//! disks, no stale read. While the configuration in force is C_old,new, a majority is one of each
//! (§6). Each is asserted as soon as a step could have broken it.

use std::collections::BTreeMap;

use raftkv::raft::{
    AppendOutcome, Change, ChangeState, Config, Entry, HardState, Index, LogPos, Message, NodeId,
    RoleName, Snapshot, Status, Suffrage, Term, Token, VoteKind,
};

use crate::disk::{Disk, Image, configs};

/// What has happened so far, as no single node knows it.
#[derive(Debug, Default)]
pub struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Every entry that was ever in a log, with the position before it.
    entries: BTreeMap<LogPos, (LogPos, Entry)>,
    /// What is committed, with the term of the leader that committed it.
    committed: Vec<(LogPos, Term)>,
    /// The newest entry whose client was answered.
    acknowledged: Index,
    /// Reads that wait for an answer, with what they must not miss and when they arrived.
    reads: BTreeMap<Token, (Index, u64)>,
    /// When the newest heartbeat left that a follower answered to a leader in its term.
    confirmed: BTreeMap<(NodeId, Term, NodeId), u64>,
    /// The configurations that are committed; the first is configuration 0.
    configs: Vec<Config>,
    /// Changes that were asked for.
    changes: BTreeMap<Token, Change>,
}

impl Checker {
    /// Of nodes whose configuration 0 is this.
    pub fn new(config_0: Config) -> Checker {
        Checker {
            configs: vec![config_0],
            ..Checker::default()
        }
    }

    /// Log Matching (§5.3): entries of one position are the same, and so are all before them. The
    /// second half follows for whole logs when it holds from each entry to its predecessor.
    pub fn appended(&mut self, node: NodeId, prev: LogPos, entry: &Entry) {
        let known = (prev, entry.clone());
        let first = self
            .entries
            .entry(entry.pos)
            .or_insert_with(|| known.clone());
        assert!(
            *first == known,
            "Log Matching: n{node} has [{entry}] after {prev}, another log [{}] after {}",
            first.1,
            first.0
        );
    }

    /// A node's vote became durable.
    pub fn voted(&mut self, node: NodeId, hard: HardState) {
        if let Some(to) = hard.vote {
            let term = hard.term;
            let first = *self.votes.entry((node, term)).or_insert(to);
            assert!(
                first == to,
                "one vote: n{node} votes for n{first} and n{to} in term {term}"
            );
        }
    }

    /// A message leaves its node: what it vouches for must be on that node's disk (Figure 2,
    /// "before responding to RPCs"; th. 3.8).
    pub fn said(&mut self, from: NodeId, to: NodeId, message: &Message, disk: &Image) {
        let term = message.term();
        let named = match message {
            Message::Heartbeat { .. } | Message::HeartbeatReply { .. } => return,
            Message::VoteRequest { kind, .. } if *kind == VoteKind::PreVote => return,
            Message::VoteReply { pre_vote: true, .. } => return,
            Message::Append(_) | Message::TimeoutNow { .. } => Some(from),
            Message::SnapshotOffer { snapshot, .. } => {
                self.offered(from, *snapshot, disk);
                Some(from)
            }
            Message::AppendReply { .. } | Message::VoteReply { granted: false, .. } => None,
            Message::VoteReply { .. } => Some(to),
            Message::VoteRequest { last, .. } => {
                let ends = disk.last();
                assert!(
                    ends == *last,
                    "not durable: n{from} asks for votes with {last}, disk {ends}"
                );
                Some(from)
            }
        };
        let hard = disk.hard;
        let durable = hard.term == term && (named.is_none() || hard.vote == named);
        assert!(
            durable,
            "not durable: n{from} says {message} of term {term}, its disk has {hard}"
        );
        if let Message::AppendReply { outcome, .. } = message
            && let AppendOutcome::Match(index) = outcome
        {
            let ends = disk.last();
            assert!(
                ends.index >= *index,
                "not durable: n{from} acknowledges {index}, disk {ends}"
            );
        }
    }

    /// §7: a snapshot includes what is committed, and its owner keeps it until there is a newer.
    fn offered(&self, from: NodeId, snapshot: Snapshot, disk: &Image) {
        let pos = snapshot.pos;
        self.history(from, pos);
        let newest = disk.snapshot.map(|newest| newest.pos);
        assert!(
            newest >= Some(pos) && disk.base <= pos,
            "not durable: n{from} offers {pos}, its disk has {newest:?} and a log after {}",
            disk.base
        );
    }

    /// What the snapshot of `node` as of `pos` was made of.
    pub fn history(&self, node: NodeId, pos: LogPos) -> Vec<Entry> {
        let upto = index_of_entry(pos.index) + 1;
        let committed = self.committed.get(upto - 1).map(|(pos, _)| *pos);
        assert!(
            committed == Some(pos),
            "State Machine Safety: n{node} has a snapshot of {pos}, committed is {committed:?}"
        );
        let entries = self.committed[..upto].iter();
        entries
            .map(|(pos, _)| self.entries[pos].1.clone())
            .collect()
    }

    /// A node took a step. `logs` are all nodes' logs as they see them, `disks` what is durable.
    pub fn stepped(&mut self, before: &Status, after: &Status, disks: &[&Disk], live: &[Status]) {
        self.elected(before, after, disks);
        matched(after, disks);
        self.commits(before, after, disks, live);
        self.configured(before, after, &disks[index_of(after.id)].view);
    }

    fn elected(&mut self, before: &Status, after: &Status, disks: &[&Disk]) {
        let (id, term) = (after.id, after.hard.term);
        if after.role != RoleName::Leader || before.role == RoleName::Leader {
            return;
        }
        let first = *self.leaders.entry(term).or_insert(id);
        assert!(
            first == id,
            "Election Safety: n{first} and n{id} both lead term {term}"
        );
        let voted = |node| self.votes.get(&(node, term)) == Some(&id);
        let config = disks[index_of(id)].view.config().1;
        assert!(
            is_quorum(&config, voted),
            "Election Safety: n{id} leads term {term} without the votes of a majority of {config}"
        );
        for &(pos, committed_in) in &self.committed {
            if committed_in < term {
                complete(id, term, &disks[index_of(id)].view, pos, committed_in);
            }
        }
    }

    fn commits(&mut self, before: &Status, after: &Status, disks: &[&Disk], live: &[Status]) {
        let (id, term) = (after.id, after.hard.term);
        let log = &disks[index_of(id)].view;
        // What was in force when it committed: C_new may have followed in the same step.
        let config = (before.commit < after.commit).then(|| log.config_at(before.last.index).1);
        for index in (before.commit.0 + 1..=after.commit.0).map(Index) {
            let entry = log.get(index).expect("committed entries are in the log");
            let pos = entry.pos;
            if let Some((first, _)) = self.committed.get(index_of_entry(index)) {
                assert!(
                    *first == pos,
                    "State Machine Safety: n{id} commits {pos}, not {first}"
                );
                continue;
            }
            assert!(
                after.role == RoleName::Leader,
                "n{id} commits {pos}, but no leader did"
            );
            let newest = log.get(after.commit).expect("in the log").pos;
            assert!(
                newest.term == term,
                "§5.4.2: {newest} is committed by counting in term {term}"
            );
            let config = config.as_ref().expect("the commit index rose");
            let holds = |node| disks[index_of(node)].durable.holds(pos);
            assert!(
                is_quorum(config, holds),
                "committed on a majority: {pos} is not on enough disks of {config}"
            );
            self.committed.push((pos, term));
            let config = configs(std::slice::from_ref(entry)).map(|(_, config)| config);
            self.configs.extend(config);
            for other in live {
                if other.role == RoleName::Leader && other.hard.term > term {
                    let (id, later) = (other.id, other.hard.term);
                    complete(id, later, &disks[index_of(id)].view, pos, term);
                }
            }
        }
    }

    /// State Machine Safety (§5.4.3): no two nodes apply different entries at one index. What is
    /// applied is committed, and committed once; [`Checker::appended`] holds the contents equal.
    pub fn applied(&self, node: NodeId, index: Index, disk: &Disk) {
        let pos = disk
            .view
            .get(index)
            .expect("applied entries are in the log")
            .pos;
        let committed = self
            .committed
            .get(index_of_entry(index))
            .map(|(pos, _)| *pos);
        assert!(
            committed == Some(pos),
            "State Machine Safety: n{node} applies {pos}, committed is {committed:?}"
        );
        assert!(
            disk.durable.holds(pos),
            "not durable: n{node} applies {pos}"
        );
    }

    /// §6: what is in force is the last configuration of the log. A leader adds one at a time: not
    /// before the one before it has committed, nor before an entry of its own term has.
    fn configured(&self, before: &Status, after: &Status, log: &Image) {
        let (at, config) = log.config();
        let id = after.id;
        assert!(
            *after.config == config,
            "configuration: n{id} has {} in force, its log {config} at {at}",
            after.config
        );
        let leads = before.role == RoleName::Leader && after.hard.term == before.hard.term;
        if !leads || after.config_at == before.config_at {
            return;
        }
        let earlier = before.config_at;
        assert!(
            earlier <= after.commit,
            "one change: n{id} appends a configuration at {at}, the one at {earlier} is uncommitted"
        );
        let committed = log.get(after.commit).map(|entry| entry.pos.term);
        let term = after.hard.term;
        assert!(
            committed == Some(term),
            "own term: n{id} appends a configuration at {at}, of term {term} nothing is committed"
        );
    }

    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.values()
    }

    pub fn change_asked(&mut self, token: Token, change: &Change) {
        self.changes.insert(token, change.clone());
    }

    /// Who is told that a change is done can rely on it.
    pub fn reconfigured(&self, token: Token, state: &ChangeState) {
        let change = &self.changes[&token];
        let mut configs = self.configs.iter();
        let done = *state != ChangeState::Done || configs.any(|config| change.is_done_in(config));
        assert!(
            done,
            "done: t{token} is told so, no committed configuration has {change}"
        );
    }

    /// A client was told that the entry at `index` is applied.
    pub fn acknowledged(&mut self, index: Index) {
        self.acknowledged = self.acknowledged.max(index);
    }

    pub fn read_arrived(&mut self, token: Token, now: u64) {
        self.reads.insert(token, (self.acknowledged, now));
    }

    /// A follower answered a heartbeat of `leader` in `term` that left at `asked_at`.
    pub fn confirmed(&mut self, leader: NodeId, term: Term, from: NodeId, asked_at: u64) {
        let newest = self.confirmed.entry((leader, term, from)).or_default();
        *newest = asked_at.max(*newest);
    }

    /// §8: a read shows everything that was acknowledged before it arrived, because a majority
    /// has since said that there is no newer leader.
    pub fn read_served(
        &mut self,
        token: Token,
        index: Index,
        (leader, term): (NodeId, Term),
        config: &Config,
    ) {
        let (due, arrived) = self.reads.remove(&token).expect("a read is answered once");
        assert!(
            index >= due,
            "stale read: t{token} is served at {index}, acknowledged was {due}"
        );
        let confirmed = |node| {
            let said = self.confirmed.get(&(leader, term, node));
            node == leader || said.is_some_and(|&said| said >= arrived)
        };
        assert!(
            is_quorum(config, confirmed),
            "read rule: n{leader} serves t{token}, which no majority of {config} confirmed"
        );
    }

    pub fn read_refused(&mut self, token: Token) {
        self.reads.remove(&token);
    }
}

/// Whether these are a majority of those who vote; in C_old,new, of C_old and of C_new (§6).
pub fn is_quorum(config: &Config, has: impl Fn(NodeId) -> bool) -> bool {
    [Suffrage::Leaving, Suffrage::Joining].iter().all(|side| {
        let votes = |suffrage| suffrage == Suffrage::Voter || suffrage == *side;
        let members = config.members().iter();
        let voters: Vec<NodeId> = members
            .filter(|(_, member)| votes(member.suffrage))
            .map(|(&id, _)| id)
            .collect();
        voters.iter().filter(|&&id| has(id)).count() > voters.len() / 2
    })
}

/// Leader Append-Only (§5.3): while a node leads a term, its log only grows.
pub fn only_appended(before: &Status, after: &Status, from: Option<Index>) {
    let led = before.role == RoleName::Leader && after.hard.term == before.hard.term;
    if let Some(first) = from {
        let (id, last) = (after.id, before.last);
        assert!(
            !led || first > last.index,
            "Leader Append-Only: n{id} rewrites {first}, had {last}"
        );
    }
}

/// Figure 2, `matchIndex`: what a leader takes for replicated is on the follower's disk, until a
/// later leader takes it away.
fn matched(leader: &Status, disks: &[&Disk]) {
    let log = &disks[index_of(leader.id)].view;
    for of in &leader.progress {
        let (peer, index) = (of.node, of.matched);
        let Some(entry) = log.get(index) else {
            continue;
        };
        let disk = &disks[index_of(peer)].durable;
        let (id, pos) = (leader.id, entry.pos);
        assert!(
            disk.hard.term > leader.hard.term || disk.holds(pos),
            "matchIndex: n{id} believes that n{peer} holds {pos}, its disk ends {}",
            disk.last()
        );
    }
}

/// Leader Completeness (§5.4): what is committed in a term is in the logs of all later leaders.
fn complete(id: NodeId, term: Term, log: &Image, pos: LogPos, committed_in: Term) {
    assert!(
        log.holds(pos),
        "Leader Completeness: n{id} leads term {term} without {pos}, committed in {committed_in}"
    );
}

fn index_of(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id")
}

fn index_of_entry(index: Index) -> usize {
    usize::try_from(index.0 - 1).expect("a small index")
}
