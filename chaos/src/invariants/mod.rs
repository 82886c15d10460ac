//! What must hold in every run, each property in a file of its own. The simulator sees all nodes
//! at once, so these compare what no single node can; they are asked after every step, at every
//! message and at every answer.
//!
//! A broken property panics with its name first, which is how reports and planted bugs know it.

mod bounds;
mod committed_on_quorum;
mod configurations;
mod durability;
mod election_safety;
mod leader_append_only;
mod leader_completeness;
mod ledger;
mod log_matching;
mod monotone;
mod one_vote;
mod persist_before_reply;
mod read_rule;
mod recovery_equivalence;
mod shadow;
mod snapshots;
mod state_equality;
mod state_machine_safety;

use std::sync::Arc;

use raftkv::{
    codec,
    kv::Command,
    raft::{
        Config, Entry, EntryKind, Index, LogPos, Message, NodeId, Raft, RoleName, Status, Term,
        Token,
    },
    replica::{Reply, Written},
};

pub(crate) use self::{
    bounds::Bounds,
    configurations::{Configurations, leads_to, majorities},
    durability::{Damage, Opened, opened},
    read_rule::Asked,
    shadow::Shadow,
    snapshots::Found,
};
use self::{
    configurations::{Number, number_at},
    election_safety::ElectionSafety,
    ledger::Ledger,
    log_matching::LogMatching,
    one_vote::OneVote,
    read_rule::ReadRule,
    snapshots::Snapshots,
    state_equality::StateEquality,
};
use crate::sim::listed;

listed! {
    /// What a checker holds.
    Property {
        /// At most one leader a term (Figure 3).
        ElectionSafety = "election_safety",
        /// A leader's log only grows (Figure 3).
        LeaderAppendOnly = "leader_append_only",
        /// Logs that agree in an entry agree before it (Figure 3).
        LogMatching = "log_matching",
        /// One vote a term, whatever crashes; terms do not fall (§5.2).
        OneVote = "one_vote",
        /// A later leader has all that is committed (Figure 3).
        LeaderCompleteness = "leader_completeness",
        /// One entry is applied at an index (Figure 3).
        StateMachineSafety = "state_machine_safety",
        /// Term, commit, applied and a term's `matchIndex` do not fall.
        Monotone = "monotone",
        /// What is committed is on a majority's disks, by an entry of the leader's term (§5.4.2).
        CommittedOnQuorum = "committed_on_quorum",
        /// The configuration in force is the last in the log, and each follows from one that is
        /// committed (§6).
        Configuration = "configuration",
        /// What a message vouches for is on its sender's disk (Figure 2, persistent state).
        PersistBeforeReply = "persist_before_reply",
        /// What was synced is there after a crash.
        Durability = "durability",
        /// What is recovered is a beginning of what was written.
        RecoveryEquivalence = "recovery_equivalence",
        /// Equal logs make equal states, in every byte.
        StateEquality = "state_equality",
        /// A read shows what was acknowledged before it, by leave of a majority asked since (§8).
        ReadRule = "read_rule",
        /// Queues stay within their limits and nothing spins.
        Bounds = "bounds",
        /// A seed repeats its run.
        Determinism = "determinism",
        /// Clients see one register a key, in one order (§8).
        Linearizability = "linearizability",
        /// A healed majority elects, serves and agrees in time.
        Liveness = "liveness",
        /// Damage is found, and never a silent wrong answer.
        Damage = "damage",
        /// A run had what makes it worth something.
        Vacuous = "vacuous",
        /// An assertion of the code itself.
        Assertion = "assertion",
    }
}

impl Property {
    /// The property that a panic's text names; an assertion of the code when none.
    #[must_use]
    pub fn of(text: &str) -> Property {
        let named = |property: &&Property| {
            text.strip_prefix(property.name())
                .is_some_and(|rest| rest.starts_with(':'))
        };
        Property::ALL
            .iter()
            .find(named)
            .copied()
            .unwrap_or(Property::Assertion)
    }
}

/// Panics, with the property first, unless something holds.
macro_rules! hold {
    ($property:ident, $condition:expr, $($text:tt)+) => {
        if !$condition {
            panic!(
                "{}: {}",
                $crate::invariants::Property::$property.name(),
                format_args!($($text)+)
            );
        }
    };
}
pub(crate) use hold;

/// What has happened so far, as no single node knows it.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) ledger: Ledger,
    pub(crate) configs: Configurations,
    /// The last configuration in a log is another one since its node's last step.
    has_other_config: bool,
    /// C_new of a joint configuration was committed in the last step.
    has_left_joint: bool,
    elections: ElectionSafety,
    votes: OneVote,
    entries: LogMatching,
    reads: ReadRule,
    states: StateEquality,
    snapshots: Snapshots,
}

/// One step of one node, with what all nodes look like after it.
pub(crate) struct Step<'a> {
    pub(crate) before: &'a Status,
    pub(crate) after: &'a Status,
    pub(crate) raft: &'a Raft,
    pub(crate) shadows: &'a [Shadow],
    /// The newest status of each node that is up.
    pub(crate) live: &'a [Option<Status>],
}

impl Step<'_> {
    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shadows[index_of(self.after.id)]
    }

    /// The configuration by which a candidate is elected, a leader commits and reads: that before
    /// the step, in which a leader may have gone on to the next.
    fn decides(&self) -> Number {
        number_at(self.shadow().view(), self.before.last.index)
    }
}

impl Checks {
    /// Of a cluster that begins with these members.
    pub(crate) fn new(members: Config) -> Checks {
        Checks {
            ledger: Ledger::default(),
            configs: Configurations::new(members),
            has_other_config: false,
            has_left_joint: false,
            elections: ElectionSafety::default(),
            votes: OneVote::default(),
            entries: LogMatching::default(),
            reads: ReadRule::default(),
            states: StateEquality::default(),
            snapshots: Snapshots::default(),
        }
    }

    /// A node wrote to its log. `entry` gives what is stored now.
    pub(crate) fn wrote(
        &mut self,
        before: &Status,
        after: &Status,
        written: &Written,
        shadow: &mut Shadow,
        writes: u64,
        entry: impl Fn(Index) -> Vec<u8>,
    ) {
        if let Some(range) = &written.entries {
            leader_append_only::check(before, after, *range.start());
        }
        let installed = written.installed.map(|snapshot| snapshot.pos);
        if let Some(pos) = installed {
            leader_append_only::installed(after);
            leader_completeness::installed(shadow, pos, &self.ledger);
        }
        let prefix = installed.map(|pos| self.ledger.links(pos.index));
        let config = shadow.view().last_config();
        shadow.wrote(written, prefix, writes, &mut self.configs, entry);
        self.has_other_config |= shadow.view().last_config() != config;
        if let Some(range) = &written.entries {
            for index in (range.start().0..=range.end().0).map(Index) {
                self.entries.appended(after.id, shadow.view(), index);
                self.configs.wrote(after, shadow.view(), index);
            }
        }
    }

    /// A node took a step.
    pub(crate) fn stepped(&mut self, step: &Step, entry: impl Fn(Index) -> Entry) {
        let (before, after) = (step.before, step.after);
        let is_other = before.config_at != after.config_at
            || before.snapshot != after.snapshot
            || !Arc::ptr_eq(&before.config, &after.config);
        if std::mem::take(&mut self.has_other_config) || is_other {
            self.configs.in_force(after, step.shadow());
        }
        monotone::check(before, after);
        raftkv::raft::invariants::check(step.raft);
        if step.after.role == RoleName::Leader {
            if step.before.role != RoleName::Leader {
                self.elections.elected(step, &self.votes, &self.configs);
                leader_completeness::elected(step, &self.ledger);
            }
            if step.before.progress != step.after.progress {
                committed_on_quorum::matched(step);
            }
        }
        if step.after.commit > step.before.commit {
            let first = step.before.commit.next();
            for index in (first.0..=step.after.commit.0).map(Index) {
                let known = (&mut self.ledger, &self.configs);
                let pos = committed_on_quorum::check(step, known.0, known.1, index);
                if let Some(pos) = pos {
                    let number = number_at(step.shadow().view(), index);
                    self.has_left_joint |= self.configs.leaves_joint(number, index);
                    leader_completeness::committed(step, pos);
                    let command = command(&entry(index));
                    self.states.committed(command.as_ref());
                    self.ledger.add_command(pos, command);
                }
            }
        }
    }

    /// Whether C_new of a joint configuration was committed since this was last asked.
    pub(crate) fn joint_has_ended(&mut self) -> bool {
        std::mem::take(&mut self.has_left_joint)
    }

    /// A message leaves its node.
    pub(crate) fn said(&mut self, from: NodeId, to: NodeId, message: &Message, shadow: &Shadow) {
        self.votes.said(from, to, message);
        self.elections.said(from, to, message);
        if let Message::SnapshotOffer { snapshot, .. } = message {
            self.snapshots.offered(from, *snapshot);
        }
        persist_before_reply::check(from, to, message, shadow);
    }

    /// The state machine of a node has taken the entry at `index`.
    pub(crate) fn applied(
        &mut self,
        node: NodeId,
        index: Index,
        shadow: &Shadow,
        kv: &raftkv::kv::Kv,
    ) {
        state_machine_safety::check(node, index, shadow, &self.ledger);
        self.states.applied(node, index, kv, &self.ledger);
    }

    /// A node has loaded the state at `index`.
    pub(crate) fn loaded(&mut self, node: NodeId, index: Index, kv: &raftkv::kv::Kv) {
        hold!(
            StateMachineSafety,
            self.ledger.get(index).is_some(),
            "n{node} has loaded {index}, which is not committed"
        );
        self.states.loaded(node, index, kv);
    }

    /// The log of a node names the file of a snapshot.
    pub(crate) fn named(&mut self, node: NodeId, pos: LogPos, file: Option<&[u8]>) {
        let known = (&self.ledger, &self.states, &self.configs);
        self.snapshots.named(node, pos, file, known);
    }

    /// A node found this in its directory. Returns what its snapshot includes.
    pub(crate) fn found(&self, shadow: &Shadow, found: &Found, damage: Option<Damage>) -> Index {
        let known = (&self.ledger, &self.states);
        let snapshot = found.saved.snapshot;
        let included = snapshots::found(shadow, snapshot, &found.state, damage, known);
        let (id, base) = (shadow.id, found.saved.log.base());
        hold!(
            RecoveryEquivalence,
            base == LogPos::ZERO || self.ledger.holds(base),
            "n{id} came back with a log after {base}, which is not committed"
        );
        included
    }

    /// A read reached a node.
    pub(crate) fn read_arrived(&mut self, token: Token, node: &Status, step: u64) {
        self.reads.arrived(token, node, step);
    }

    /// A leader received the answer to a heartbeat.
    pub(crate) fn heartbeat_answered(&mut self, leader: &Status, from: NodeId, asked: Asked) {
        self.reads.answered(leader, from, asked);
    }

    /// A pre-candidate goes on to campaign in `term`.
    pub(crate) fn campaigns(&self, before: &Status, term: Term, shadow: &Shadow) {
        self.elections
            .campaigns(before, term, shadow, &self.configs);
    }

    /// A leader takes reads for confirmed.
    pub(crate) fn reads_confirmed(&mut self, before: &Status, shadow: &Shadow) {
        let by = number_at(shadow.view(), before.last.index);
        self.reads.confirmed(before, by, &self.configs);
    }

    /// A node answers a request.
    pub(crate) fn answered(&mut self, token: Token, reply: &Reply) {
        match reply {
            Reply::Put { at } | Reply::Delete { at, .. } => {
                hold!(
                    CommittedOnQuorum,
                    self.ledger.holds(*at),
                    "t{token} is acknowledged at {at}, which is not committed"
                );
                self.reads.acknowledged(at.index);
            }
            Reply::Get { at, .. } => self.reads.served(token, *at, &self.ledger),
            Reply::Change(_) | Reply::Members { .. } | Reply::Transfer(_) => {}
            Reply::Refused(_) | Reply::Unknown | Reply::Backup { .. } | Reply::NoSnapshot => {
                self.reads.ended(token);
            }
        }
    }

    /// A node came back with what its disk holds.
    pub(crate) fn recovered(&mut self, shadow: &Shadow, raft: &Raft) {
        self.configs.in_force(&raft.status(), shadow);
        self.configs.all(raft, shadow);
        for index in 1..=shadow.view().log.len() as u64 {
            self.entries
                .appended(shadow.id, shadow.view(), Index(index));
        }
    }

    /// Compares whole states of nodes that have applied equally far.
    pub(crate) fn same_state(&mut self, node: NodeId, index: Index, kv: &raftkv::kv::Kv) {
        self.states.same_image(node, index, kv);
    }
}

fn command(entry: &Entry) -> Option<Command> {
    (entry.kind == EntryKind::COMMAND).then(|| {
        codec::decode_command(entry.data.clone()).expect("a command that this build encoded")
    })
}

pub(crate) fn index_of(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id")
}

/// The place of an index in a list that begins with index 1.
pub(crate) fn place_of(index: Index) -> Option<usize> {
    usize::try_from(index.0.checked_sub(1)?).ok()
}

/// The position of the entry at `index` in an image, when it has one.
fn pos_in(image: &shadow::Image, index: Index) -> Option<LogPos> {
    let entry = image.log.get(place_of(index)?)?;
    Some(LogPos::new(entry.term, index))
}
