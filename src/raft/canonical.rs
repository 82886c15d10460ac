//! A state's normal form, for a search that must know when it has been somewhere before: what the
//! clock, chance and numbering leave behind is replaced by one representative, and node ids can be
//! renamed. Two states of one normal form have the same futures, up to *when* timers fire.

use super::{
    candidate::{Candidate, Stage},
    config::{Change, Config},
    configs::Configs,
    core::{Core, Raft, Role},
    follower::Follower,
    leader::{Leader, Transfer},
    membership::{CatchUp, Conducted},
    progress::{Flow, Progress},
    reads::Reads,
    rng::Rng,
    types::{Index, LogPos, NodeId, Seq, Snapshot, Token},
};

/// Replaces a state by the representative of its class. It is a state that the same messages,
/// with other clocks and other luck, lead to:
///
/// - *Chance.* Timeouts become the longest that can be drawn, and the generator starts anew. A
///   timer that may fire at any moment fires whatever was drawn.
/// - *Ticks of a follower.* Only whether its leader was heard within the minimum timeout decides
///   anything (th. 4.2.3); each of the two cases gets one count.
/// - *Ticks of a leader.* Only whether a follower was heard since the last heartbeat decides
///   anything, save for check-quorum and for giving up a transfer: these are as far off as if no
///   time had passed. That takes the election timeout to be longer than any silence in between.
/// - *Writes.* Numbers are compared, never counted; the newest durable one becomes 0.
///
/// # Panics
/// If the state is none that lies between two steps.
pub fn reduce(raft: &mut Raft) {
    let Raft { core, role } = raft;
    let pending = core.unpersisted.len() as u64;
    let durable = core.last_seq.0 - pending;
    for ((seq, _), expected) in core.unpersisted.iter_mut().zip(durable + 1..) {
        assert!(seq.0 == expected, "writes are numbered one by one");
        *seq = Seq(seq.0 - durable);
    }
    core.last_seq = Seq(pending);
    core.rng = Rng::new(0);
    let least = core.options.election_timeout_ticks;
    let longest = 2 * least - 1;
    match role {
        Role::Follower(follower) => {
            let lapsed = follower.leader.is_some() && follower.leader_alive(least).is_none();
            follower.elapsed_ticks = if lapsed { least } else { 0 };
            follower.timeout_ticks = longest;
        }
        Role::Candidate(candidate) => {
            candidate.elapsed_ticks = 0;
            candidate.timeout_ticks = longest;
            if let Stage::Vote { own_after } = &mut candidate.stage {
                *own_after = Seq(own_after.0.saturating_sub(durable));
            }
        }
        Role::Leader(leader) => {
            for peer in leader.peers.values_mut() {
                peer.heard_at = u64::from(peer.heard_at == leader.now);
            }
            leader.now = 1;
            if let Some(transfer) = &mut leader.transfer {
                transfer.since = 1;
            }
            if let Some(conducted) = &mut leader.conducted {
                conducted.since = 1;
                conducted.catch_up.values_mut().for_each(|of| of.since = 1);
            }
        }
    }
}

/// Whether this node would refuse its vote because it hears a leader, as a follower.
#[must_use]
pub fn hears_leader(raft: &Raft) -> bool {
    matches!(raft.role, Role::Follower(_)) && raft.leader_alive().is_some()
}

/// Whether this node's election timer makes it campaign, once it fires.
#[must_use]
pub fn may_campaign(raft: &Raft) -> bool {
    match raft.role {
        Role::Follower(_) => raft.core.is_electable(),
        Role::Candidate(_) => true,
        Role::Leader(_) => false,
    }
}

/// Writes out all of a reduced state that can influence what it does, with each node `n` called
/// `names[n]`. Injective: lists are preceded by their lengths. Left out are the options, which
/// never change, and the generator and the timeouts, which [`reduce`] makes the same everywhere.
///
/// # Panics
/// If a number does not fit a byte: this is for small scopes.
pub fn encode(raft: &Raft, names: &[NodeId], out: &mut Vec<u8>) {
    let mut to = Encoder { names, out };
    to.core(&raft.core);
    match &raft.role {
        Role::Follower(follower) => to.follower(follower),
        Role::Candidate(candidate) => to.candidate(candidate),
        Role::Leader(leader) => to.leader(leader),
    }
}

/// Takes every structure apart by name: a field that is added must be placed before it compiles.
struct Encoder<'a> {
    names: &'a [NodeId],
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    fn number(&mut self, value: u64) {
        self.out.push(u8::try_from(value).expect("a small number"));
    }

    fn node(&mut self, node: NodeId) {
        self.number(self.names[at(node)].0);
    }

    fn optional_node(&mut self, node: Option<NodeId>) {
        match node {
            Some(node) => self.node(node),
            None => self.number(u64::from(u8::MAX)),
        }
    }

    fn position(&mut self, pos: LogPos) {
        self.number(pos.term.0);
        self.number(pos.index.0);
    }

    /// Size and hash follow from what it includes.
    fn snapshot(&mut self, snapshot: Option<Snapshot>) {
        self.position(snapshot.map_or(LogPos::ZERO, |snapshot| snapshot.pos));
    }

    fn tokens(&mut self, tokens: &[Token]) {
        self.number(tokens.len() as u64);
        tokens.iter().for_each(|token| self.number(token.0));
    }

    /// The members in the order of their new names.
    fn members(&self) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = (0..self.names.len() as u64).map(NodeId).collect();
        members.sort_by_key(|&node| self.names[at(node)]);
        members
    }

    fn core(&mut self, core: &Core) {
        let Core {
            options,
            hard,
            log,
            configs,
            described,
            snapshot,
            commit,
            applied,
            durable,
            last_seq,
            unpersisted,
            hard_changed,
            unwritten,
            rng: _,
        } = core;
        assert!(unwritten.is_empty() && !hard_changed, "between two steps");
        assert!(described.is_empty(), "nobody says where it is found");
        self.node(options.id);
        self.number(hard.term.0);
        self.optional_node(hard.vote);
        let (base, last) = (log.base(), log.last().index);
        self.position(base);
        self.snapshot(*snapshot);
        self.number(last.0);
        for index in (base.index.0 + 1..=last.0).map(Index) {
            self.number(log.term(index).expect("within the log").0);
            self.number(log.bytes(index.before(), index));
        }
        self.configs(configs);
        for index in [commit, applied, durable] {
            self.number(index.0);
        }
        self.number(last_seq.0);
        self.number(unpersisted.len() as u64);
        for (seq, last) in unpersisted {
            self.number(seq.0);
            self.number(last.0);
        }
    }

    fn configs(&mut self, configs: &Configs) {
        self.number(configs.iter().count() as u64);
        for (at, config) in configs.iter() {
            self.number(at.0);
            self.config(config);
        }
    }

    fn config(&mut self, config: &Config) {
        for node in self.members() {
            let member = config.members().get(&node);
            let retired = u64::from(config.retired().contains(&node));
            self.number(member.map_or(8 + retired, |member| member.suffrage as u64));
        }
    }

    fn change(&mut self, change: &Change) {
        for node in self.members() {
            let added = change.add.get(&node);
            let removed = 2 + u64::from(change.remove.contains(&node));
            self.number(added.map_or(removed, |addition| u64::from(addition.votes)));
        }
    }

    fn conducted(&mut self, conducted: &Conducted) {
        let Conducted {
            change,
            since: _,
            catch_up,
        } = conducted;
        self.change(change);
        for node in self.members() {
            let Some(of) = catch_up.get(&node) else {
                self.number(0);
                continue;
            };
            let CatchUp {
                goal,
                since: _,
                round,
                is_close,
            } = of;
            self.number(u64::from(*round));
            self.number(goal.0);
            self.number(u64::from(*is_close));
        }
    }

    fn follower(&mut self, follower: &Follower) {
        let Follower {
            leader,
            elapsed_ticks,
            timeout_ticks: _,
        } = follower;
        self.number(0);
        self.optional_node(*leader);
        self.number(u64::from(*elapsed_ticks));
    }

    fn candidate(&mut self, candidate: &Candidate) {
        let Candidate {
            stage,
            votes,
            elapsed_ticks: _,
            timeout_ticks: _,
        } = candidate;
        match stage {
            Stage::PreVote => self.number(1),
            Stage::Vote { own_after } => {
                self.number(2);
                self.number(own_after.0);
            }
        }
        for node in self.members() {
            let vote = votes.get(&node);
            self.number(vote.map_or(2, |&granted| u64::from(granted)));
        }
    }

    fn leader(&mut self, leader: &Leader) {
        let Leader {
            peers,
            first,
            reads,
            transfer,
            conducted,
            given_up,
            is_described: _,
            now: _,
        } = leader;
        self.number(3);
        self.position(*first);
        for node in self.members() {
            match peers.get(&node) {
                Some(peer) => self.progress(peer),
                None => self.number(u64::from(u8::MAX)),
            }
        }
        self.reads(reads);
        match transfer {
            None => self.optional_node(None),
            Some(Transfer { to, since: _, told }) => {
                self.node(*to);
                self.number(u64::from(*told));
            }
        }
        self.number(u64::from(conducted.is_some()));
        if let Some(conducted) = conducted {
            self.conducted(conducted);
        }
        // The reason goes to the operator alone.
        self.number(u64::from(given_up.is_some()));
        if let Some((change, _)) = given_up {
            self.change(change);
        }
    }

    fn reads(&mut self, reads: &Reads) {
        let Reads {
            round,
            begun,
            waiting,
        } = reads;
        self.number(round.0);
        self.number(begun.len() as u64);
        for (round, index, tokens) in begun {
            self.number(round.0);
            self.number(index.0);
            self.tokens(tokens);
        }
        self.tokens(waiting);
    }

    fn progress(&mut self, peer: &Progress) {
        let Progress {
            matched,
            next,
            flow,
            round,
            heard_at,
        } = peer;
        self.number(matched.0);
        self.number(next.0);
        match flow {
            Flow::Probe { waiting } => self.number(u64::from(*waiting)),
            Flow::Snapshot { offered } => {
                self.number(2);
                self.snapshot(Some(*offered));
            }
            Flow::Stream { in_flight } => {
                self.number(3 + in_flight.len() as u64);
                in_flight.iter().for_each(|last| self.number(last.0));
            }
        }
        self.number(round.0);
        self.number(*heard_at);
    }
}

fn at(node: NodeId) -> usize {
    usize::try_from(node.0).expect("a small id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Config, Effects, Input, Message, Options, Saved, Term, VoteKind};

    const SAME: [NodeId; 3] = [NodeId(0), NodeId(1), NodeId(2)];
    const SWAPPED: [NodeId; 3] = [NodeId(1), NodeId(0), NodeId(2)];

    fn node(id: u64, seed: u64) -> Raft {
        let options = Options::new(NodeId(id), Config::new(SAME), seed);
        Raft::restore(options, Saved::default())
    }

    fn feed(raft: &mut Raft, input: Input) {
        raft.step(input, &mut Effects::default());
    }

    fn text(raft: &Raft, names: &[NodeId]) -> Vec<u8> {
        let mut raft = raft.clone();
        reduce(&mut raft);
        let mut text = Vec::new();
        encode(&raft, names, &mut text);
        text
    }

    fn heartbeat(from: u64) -> Input {
        Input::Receive {
            from: NodeId(from),
            message: Message::Heartbeat {
                term: Term(1),
                commit: Index(0),
                round: crate::raft::Round(0),
            },
        }
    }

    #[test]
    fn chance_and_small_amounts_of_time_leave_no_trace() {
        let (mut one, mut other) = (node(0, 1), node(0, 2));
        feed(&mut one, heartbeat(2));
        feed(&mut other, heartbeat(2));
        (0..3).for_each(|_| feed(&mut other, Input::Tick));
        assert_eq!(text(&one, &SAME), text(&other, &SAME));
    }

    #[test]
    fn a_leader_that_was_not_heard_for_long_is_another_state() {
        let mut raft = node(0, 1);
        feed(&mut raft, heartbeat(2));
        let before = text(&raft, &SAME);
        assert!(hears_leader(&raft));
        let Role::Follower(follower) = &mut raft.role else {
            unreachable!("it follows")
        };
        follower.elapsed_ticks = raft.core.options.election_timeout_ticks;
        assert!(!hears_leader(&raft));
        assert_ne!(text(&raft, &SAME), before);
    }

    #[test]
    fn renamed_nodes_in_the_same_place_are_one() {
        let request = |from| Input::Receive {
            from: NodeId(from),
            message: Message::VoteRequest {
                term: Term(1),
                last: LogPos::ZERO,
                kind: VoteKind::Election,
            },
        };
        let (mut one, mut other) = (node(0, 1), node(1, 1));
        feed(&mut one, request(2));
        feed(&mut other, request(2));
        assert_eq!(text(&one, &SAME), text(&other, &SWAPPED));
        assert_ne!(text(&one, &SAME), text(&other, &SAME));
        let mut third = node(1, 1);
        feed(&mut third, request(0));
        assert_ne!(text(&one, &SAME), text(&third, &SWAPPED));
    }
}
