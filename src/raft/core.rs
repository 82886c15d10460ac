//! The one way in, [`Raft::step`], the rules that hold in every role (Figure 2, "All Servers"),
//! and the changes from one role to another (Figure 4).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    candidate::{Candidate, Stage},
    config::{Config, Description},
    configs::Configs,
    effect::{Effect, Effects, HardState, RefusalReason, RoleChange, RoleName},
    follower::Follower,
    input::Input,
    leader::Leader,
    log::Log,
    membership::{ChangeRefusal, ChangeState},
    message::{Entry, EntryKind, Message, VoteKind},
    note::{Note, StepDown},
    options::{Options, Saved, Status},
    rng::Rng,
    types::{Index, LogPos, NodeId, Seq, Snapshot, Term, Token},
};

/// One member's consensus state.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(super) core: Core,
    pub(super) role: Role,
}

/// The role, with all that exists only in it: a follower's `nextIndex` cannot be asked for.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// What a handler wants its node to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// Follow, of the current term.
    Follow { leader: Option<NodeId> },
    /// Campaign.
    Campaign(VoteKind),
    /// Lead the current term.
    Lead,
}

/// What every role has.
#[derive(Clone, Debug)]
pub(super) struct Core {
    pub(super) options: Options,
    pub(super) hard: HardState,
    pub(super) log: Log,
    pub(super) configs: Configs,
    /// What was heard of nodes: a leader puts it into the log.
    pub(super) described: BTreeMap<NodeId, Description>,
    /// The newest snapshot: what a follower is offered that the log does not reach.
    pub(super) snapshot: Option<Snapshot>,
    pub(super) commit: Index,
    pub(super) applied: Index,
    pub(super) durable: Index,
    pub(super) last_seq: Seq,
    /// Writes that are not known to be durable, each with the last index it reaches.
    pub(super) unpersisted: VecDeque<(Seq, Index)>,
    /// This step's write, so far.
    pub(super) hard_changed: bool,
    pub(super) unwritten: Vec<Entry>,
    pub(super) rng: Rng,
}

impl Raft {
    /// A follower with what its disk holds. Of what is committed it knows what a snapshot includes;
    /// the rest is learnt from a leader (§5.2, §5.3).
    #[must_use]
    pub fn restore(options: Options, saved: Saved) -> Raft {
        assert!(
            options.heartbeat_ticks < options.election_timeout_ticks,
            "no time to be heard"
        );
        let last = saved.log.last();
        assert!(
            last.term <= saved.hard.term,
            "entry {last} is ahead of term {}",
            saved.hard.term
        );
        let included = saved
            .snapshot
            .map_or(Index::ZERO, |snapshot| snapshot.pos.index);
        let base = saved.log.base().index;
        assert!(
            base <= included && included <= last.index,
            "a snapshot of {included}, the log begins after {base} and ends at {last}"
        );
        let config = saved.config.unwrap_or_else(|| options.config.clone());
        let mut configs = Configs::new(included, Arc::new(config));
        for (at, config) in saved.configs {
            let forgotten = planted!("joint_config_forgotten_on_restart") && config.is_joint();
            if at > included && !forgotten {
                configs.push(at, Arc::new(config));
            }
        }
        let mut core = Core {
            rng: Rng::new(options.seed),
            configs,
            described: BTreeMap::new(),
            options,
            hard: saved.hard,
            log: saved.log,
            snapshot: saved.snapshot,
            commit: included,
            applied: included,
            durable: last.index,
            last_seq: Seq::NONE,
            unpersisted: VecDeque::new(),
            hard_changed: false,
            unwritten: Vec::new(),
        };
        let role = Role::Follower(Follower::new(None, core.draw_timeout()));
        Raft { core, role }
    }

    /// Takes one event and says what must follow from it. Total: nothing that a peer can send
    /// makes it fail.
    ///
    /// # Panics
    /// If the last step's effects were not drained, or on a bug of ours.
    pub fn step(&mut self, input: Input, out: &mut Effects) {
        assert!(out.0.is_empty(), "the last step's effects were not run");
        let before = self.role_change();
        match input {
            Input::Tick => self.tick(out),
            Input::Receive { from, message } => self.receive(from, message, out),
            Input::Propose { commands } => match &mut self.role {
                Role::Leader(leader) => leader.propose(&mut self.core, commands, out),
                Role::Follower(Follower { leader: None, .. })
                    if planted!("command_appended_in_a_term_of_another")
                        && self.core.hard.term > self.core.log.last().term
                        && self.core.hard.vote.is_none() =>
                {
                    self.core.accept(commands, out);
                }
                _ => out.refuse(commands, self.not_leader()),
            },
            Input::Read { tokens } => match &mut self.role {
                Role::Leader(leader) => leader.read(&mut self.core, tokens, out),
                _ => out.push(Effect::Refused {
                    tokens,
                    reason: self.not_leader(),
                }),
            },
            Input::Transfer { to } => match &mut self.role {
                Role::Leader(leader) => leader.transfer(&mut self.core, to, out),
                _ => out.note(Note::TransferRefused),
            },
            Input::Reconfigure { token, change } => match &mut self.role {
                Role::Leader(leader) => leader.reconfigure(&mut self.core, token, change, out),
                _ => {
                    let leader = self.role_change().leader;
                    let refusal = ChangeRefusal::NotLeader { leader };
                    let state = ChangeState::Refused(refusal);
                    out.push(Effect::Reconfigured { token, state });
                }
            },
            Input::Described { node, description } => {
                self.core.described.insert(node, description);
                if let Role::Leader(leader) = &mut self.role {
                    leader.is_described = false;
                    leader.advance_change(&mut self.core, out);
                }
            }
            Input::Persisted { upto } => self.persisted(upto, out),
            Input::SnapshotTaken { snapshot, compact } => {
                self.core.snapshot_taken(snapshot, compact, out);
            }
            Input::SnapshotFetched { snapshot, config } => {
                self.snapshot_fetched(snapshot, config, out);
            }
        }
        self.core.apply(out);
        self.core.seal(out);
        let after = self.role_change();
        if after != before {
            out.push(Effect::Role(after));
        }
    }

    /// What this node is and knows.
    #[must_use]
    pub fn status(&self) -> Status {
        let RoleChange { role, leader, .. } = self.role_change();
        let (progress, transferring) = match &self.role {
            Role::Leader(leader) => (leader.progress(), leader.transferring()),
            _ => (Vec::new(), None),
        };
        let (config_at, config) = self.core.configs.last();
        Status {
            id: self.core.options.id,
            role,
            hard: self.core.hard,
            leader,
            last: self.core.log.last(),
            base: self.core.log.base(),
            snapshot: self
                .core
                .snapshot
                .map_or(Index::ZERO, |snapshot| snapshot.pos.index),
            durable: self.core.durable,
            commit: self.core.commit,
            applied: self.core.applied,
            config_at,
            config: Arc::clone(config),
            transferring,
            progress,
        }
    }

    /// The members as of the entry at `index`, which the log's base must not be behind.
    #[must_use]
    pub fn config_at(&self, index: Index) -> &Arc<Config> {
        self.core.configs.at(index)
    }

    /// The configurations that the log holds, with their places, and the one before them.
    pub fn configs(&self) -> impl Iterator<Item = (Index, &Arc<Config>)> {
        self.core.configs.iter()
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The configuration in force: the last in the log, committed or not (§6).
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        self.core.configs.last().1
    }

    /// The newest configuration that is known to be committed.
    #[must_use]
    pub fn committed_config(&self) -> &Arc<Config> {
        self.core.configs.at(self.core.commit)
    }

    /// Terms and sizes of the log's entries.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.core.log
    }

    fn role_change(&self) -> RoleChange {
        let (role, leader) = match &self.role {
            // Who has no voice does not campaign in its place, and yet knows no longer who leads.
            Role::Follower(follower) => {
                let leader = follower.leader_alive(follower.timeout_ticks);
                (RoleName::Follower, leader)
            }
            Role::Candidate(candidate) => match candidate.stage {
                Stage::PreVote => (RoleName::PreCandidate, None),
                Stage::Vote { .. } => (RoleName::Candidate, None),
            },
            Role::Leader(_) => (RoleName::Leader, Some(self.core.options.id)),
        };
        RoleChange {
            role,
            term: self.core.hard.term,
            leader,
        }
    }

    fn not_leader(&self) -> RefusalReason {
        RefusalReason::NotLeader {
            leader: self.role_change().leader,
        }
    }

    fn tick(&mut self, out: &mut Effects) {
        let next = match &mut self.role {
            Role::Follower(follower) => follower.tick().filter(|_| self.core.is_electable()),
            Role::Candidate(candidate) => candidate.tick(),
            Role::Leader(leader) => leader.tick(&mut self.core, out),
        };
        self.transit(next, out);
    }

    fn persisted(&mut self, upto: Seq, out: &mut Effects) {
        self.core.persisted(upto);
        let next = match &mut self.role {
            Role::Follower(_) => None,
            Role::Candidate(candidate) => candidate.persisted(&self.core, upto),
            Role::Leader(leader) => {
                leader.persisted(&mut self.core, out);
                None
            }
        };
        self.transit(next, out);
    }

    /// Enters a later term, as a follower that has not voted and knows no leader.
    pub(super) fn adopt(&mut self, term: Term, out: &mut Effects) {
        assert!(term > self.core.hard.term, "term {term} is not later");
        if !matches!(self.role, Role::Follower(_)) {
            out.note(Note::SteppedDown {
                why: StepDown::HigherTerm(term),
            });
        }
        self.core.set_hard(HardState { term, vote: None });
        self.transit(Some(Transition::Follow { leader: None }), out);
    }

    pub(super) fn transit(&mut self, next: Option<Transition>, out: &mut Effects) {
        match next {
            None => {}
            Some(Transition::Follow { leader }) => self.become_follower(leader, out),
            Some(Transition::Campaign(kind)) => self.campaign(kind, out),
            Some(Transition::Lead) => {
                assert!(
                    matches!(self.role, Role::Candidate(_)),
                    "only candidates are elected"
                );
                out.note(Note::Elected);
                self.role = Role::Leader(Box::new(Leader::elected(&mut self.core, out)));
            }
        }
    }

    fn become_follower(&mut self, leader: Option<NodeId>, out: &mut Effects) {
        let timeout = self.core.draw_timeout();
        match std::mem::replace(
            &mut self.role,
            Role::Follower(Follower::new(leader, timeout)),
        ) {
            // The timer runs on: only a leader or a granted vote puts off a campaign (Figure 2).
            // Else a candidate that cannot win keeps those that could from trying.
            Role::Follower(mut follower) => {
                follower.leader = leader;
                self.role = Role::Follower(follower);
            }
            Role::Candidate(_) => {}
            Role::Leader(mut old) => {
                let tokens = old.take_reads();
                if !tokens.is_empty() {
                    out.push(Effect::Refused {
                        tokens,
                        reason: self.not_leader(),
                    });
                }
            }
        }
    }

    /// §5.2, with pre-vote (th. 9.6): the term rises only when a majority would vote for us.
    fn campaign(&mut self, kind: VoteKind, out: &mut Effects) {
        let timeout = self.core.draw_timeout();
        let candidate = Candidate::campaign(&mut self.core, kind, timeout, out);
        let next = candidate.tally(self.core.config(), out);
        self.role = Role::Candidate(candidate);
        self.transit(next, out);
    }
}

impl Core {
    /// A fresh election timeout in ticks, from 1 to 2 times the least (§5.2, §9.3).
    pub(super) fn draw_timeout(&mut self) -> u32 {
        let least = self.options.election_timeout_ticks;
        self.rng.between(least, 2 * least)
    }

    pub(super) fn set_hard(&mut self, hard: HardState) {
        let old = self.hard;
        assert!(
            hard.term >= old.term || planted!("term_falls_to_the_entries"),
            "term falls from {} to {}",
            old.term,
            hard.term
        );
        let revoked = hard.term == old.term && old.vote.is_some() && hard.vote != old.vote;
        let cleared = planted!("vote_cleared_by_stepping_down");
        let again = planted!("leader_votes_in_its_own_term");
        let term = hard.term;
        assert!(!revoked || cleared || again, "a second vote in term {term}");
        let forgotten = planted!("term_not_persisted") && hard.vote.is_none();
        self.hard_changed |= hard != old && !forgotten;
        self.hard = hard;
    }

    /// The configuration in force: the last in the log, committed or not (§6).
    pub(super) fn config(&self) -> &Arc<Config> {
        match planted!("config_taken_at_commit") {
            true => self.configs.at(self.commit),
            false => self.configs.last().1,
        }
    }

    /// Whether this node is a voter in any configuration that may yet be in force. Who is left out
    /// of one that has not committed may still be the only one that can be elected (th. 4.2.2).
    pub(super) fn is_electable(&self) -> bool {
        let id = self.options.id;
        self.configs
            .since(self.commit)
            .any(|config| config.votes(id))
    }

    /// Sends at once.
    pub(super) fn send(&self, to: NodeId, message: Message, out: &mut Effects) {
        out.push(Effect::Send {
            to,
            message,
            after: Seq::NONE,
        });
    }

    /// Sends once all that has been written, this step's write with it, is durable.
    pub(super) fn send_durable(&self, to: NodeId, message: Message, out: &mut Effects) {
        out.push(Effect::Send {
            to,
            message,
            after: HELD,
        });
    }

    pub(super) fn vote_reply(
        &self,
        to: NodeId,
        term: Term,
        granted: bool,
        pre_vote: bool,
        out: &mut Effects,
    ) {
        let message = Message::VoteReply {
            term,
            granted,
            pre_vote,
        };
        match pre_vote || planted!("vote_reply_before_sync") {
            // It promises nothing (th. 9.6).
            true => self.send(to, message, out),
            // A vote that can be forgotten is two votes.
            false => self.send_durable(to, message, out),
        }
    }

    /// Gives each command its place in the log.
    pub(super) fn accept(&mut self, commands: Vec<(Token, Bytes)>, out: &mut Effects) {
        let first = LogPos::new(self.hard.term, self.log.last().index.next());
        let append = |(token, command)| {
            self.append_own(EntryKind::COMMAND, command);
            token
        };
        let tokens = commands.into_iter().map(append).collect();
        out.push(Effect::Accepted { first, tokens });
    }

    /// Adds an entry of the current term, as a leader.
    pub(super) fn append_own(&mut self, kind: EntryKind, data: Bytes) -> LogPos {
        let pos = self.log.push(self.hard.term, data.len() as u64);
        self.unwritten.push(Entry { pos, kind, data });
        pos
    }

    /// Adds entries of a leader's, as its follower.
    pub(super) fn append_theirs(&mut self, entries: Vec<Entry>) {
        for Entry { pos, data, .. } in &entries {
            let at = self.log.push(pos.term, data.len() as u64);
            assert!(at == *pos, "entry {pos} at {at}");
        }
        match self.unwritten.is_empty() {
            true => self.unwritten = entries,
            false => self.unwritten.extend(entries),
        }
    }

    /// A configuration of the leader's is in force as soon as it is in the log (§6).
    pub(super) fn take_config(&mut self, at: Index, config: Config, out: &mut Effects) {
        let config = Arc::new(config);
        self.configs.push(at, Arc::clone(&config));
        out.note(Note::ConfigAppended { at, config });
    }

    /// Drops the entries from `from` on, which conflict with the leader's (§5.3).
    pub(super) fn truncate(&mut self, from: Index, out: &mut Effects) {
        let commit = self.commit;
        assert!(from > commit, "truncating {from}, committed is {commit}");
        self.log.truncate(from);
        if !planted!("config_survives_truncation") && self.configs.truncate(from) {
            out.note(Note::ConfigUndone);
        }
        self.durable = self.durable.min(from.before());
        for (_, last) in &mut self.unpersisted {
            *last = (*last).min(from.before());
        }
    }

    pub(super) fn commit_to(&mut self, index: Index, out: &mut Effects) {
        let last = self.log.last().index;
        assert!(index <= last, "committing {index}, the log ends at {last}");
        if index > self.commit || planted!("commit_index_falls") && index < self.commit {
            self.commit = index;
            out.note(Note::Committed { index });
        }
    }

    fn persisted(&mut self, upto: Seq) {
        assert!(upto <= self.last_seq, "write {upto} was never asked for");
        while let Some(&(seq, last)) = self.unpersisted.front()
            && seq <= upto
        {
            self.durable = self.durable.max(last);
            self.unpersisted.pop_front();
        }
    }

    /// Figure 2, "All Servers": apply what is committed. Only what is durable here too, so that
    /// the state machine never runs ahead of its own log.
    fn apply(&mut self, out: &mut Effects) {
        let upto = self.commit.min(self.durable);
        if upto > self.applied {
            out.push(Effect::Apply {
                range: self.applied.next()..=upto,
            });
            self.applied = upto;
        }
    }

    /// Puts this step's write before all else, and lets what depends on it wait for it.
    fn seal(&mut self, out: &mut Effects) {
        if self.hard_changed || !self.unwritten.is_empty() {
            self.last_seq = self.last_seq.next();
            self.unpersisted
                .push_back((self.last_seq, self.log.last().index));
            let mut hard = self.hard;
            if planted!("vote_not_persisted") {
                hard.vote = None;
            }
            let hard = std::mem::take(&mut self.hard_changed).then_some(hard);
            let entries = std::mem::take(&mut self.unwritten);
            out.0.insert(
                0,
                Effect::Write {
                    seq: self.last_seq,
                    hard,
                    entries,
                },
            );
        }
        for effect in &mut out.0 {
            if let Effect::Send { after, .. } = effect
                && *after == HELD
            {
                *after = self.last_seq;
            }
        }
    }

    /// The write that this step's changes will be part of.
    pub(super) fn this_seq(&self) -> Seq {
        match self.hard_changed || !self.unwritten.is_empty() {
            true => self.last_seq.next(),
            false => self.last_seq,
        }
    }
}

/// Stands for "this step's write" until the step is over.
const HELD: Seq = Seq(u64::MAX);
