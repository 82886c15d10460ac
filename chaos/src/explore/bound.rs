//! How far a search goes: a bound is a finite set of behaviours, and to exhaust it is to have seen
//! them all.

use std::fmt::{self, Display, Formatter};

use raftkv::raft::{Config, NodeId};

use super::{action::Action, key::NODES};

/// How often each thing may happen in one behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Election timers that fire.
    pub campaigns: u8,
    /// Heartbeat timers that fire.
    pub heartbeats: u8,
    /// Leaders that hear no majority for an election timeout.
    pub step_downs: u8,
    /// Commands.
    pub proposals: u8,
    /// Reads.
    pub reads: u8,
    /// Hand-overs of leadership.
    pub transfers: u8,
    /// Changes of the members, of one that is to come, one that is to go, or both at once.
    pub changes: u8,
    /// Snapshots that nodes take. How often one is offered, fetched and installed follows.
    pub snapshots: u8,
    /// Crashes, each with a restart.
    pub crashes: u8,
    /// Messages that arrive once more.
    pub duplicates: u8,
    /// Messages that make room for others; see [`Bound::in_flight`].
    pub losses: u8,
}

/// What becomes of pre-votes (th. 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreVotes {
    /// They are messages like all others.
    Sent,
    /// A pre-candidate may win at any moment, and who ever asked may be told of any later term
    /// that some node was in, with nothing sent. A voter's state does not change when it is
    /// asked, and of what real answers can do these are all that matters, whoever would in truth
    /// have refused: so this allows more than real pre-votes do, and in fewer states.
    Assumed,
}

/// When writes become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// Whenever they do: that is an action of its own, and a crash keeps any part of the rest.
    Apart,
    /// Before anything else happens. A crash then loses no write.
    AtOnce,
}

/// One set of behaviours.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// What it is called.
    pub name: &'static str,
    /// Node 0 and so many in all vote at the start; the others wait to be added. With fewer than
    /// three no snapshot is taken: one that is older than its own addition would not know who
    /// the members are.
    pub voters: u8,
    /// Whether node 0 leads term 1 at the start, and its no-op is everywhere committed.
    pub elected: bool,
    /// What becomes of pre-votes.
    pub pre_votes: PreVotes,
    /// When writes become durable.
    pub disks: Disks,
    /// What may happen how often.
    pub budget: Budget,
    /// At most so many messages are under way at any time. Where this is [`UNLIMITED`] losses
    /// need no action of their own: what is lost is what never arrives.
    pub in_flight: usize,
    /// Whether worlds that differ only in the nodes' names count as one.
    pub folded: bool,
    /// The search is cut when it has seen so many states.
    pub max_states: usize,
}

/// More messages than any bound can have under way.
pub const UNLIMITED: usize = 250;

impl Budget {
    /// What is used after this action; none if it costs nothing.
    pub(super) fn with(&self, action: Action) -> Option<Budget> {
        let mut used = *self;
        let count = match action {
            Action::Campaign(_) => &mut used.campaigns,
            Action::Heartbeat(_) => &mut used.heartbeats,
            Action::StepDown(_) => &mut used.step_downs,
            Action::Propose(_) => &mut used.proposals,
            Action::Read(_) => &mut used.reads,
            Action::Transfer(..) => &mut used.transfers,
            Action::Change(..) => &mut used.changes,
            Action::Snapshot(..) => &mut used.snapshots,
            Action::Crash(..) => &mut used.crashes,
            Action::Duplicate(_) => &mut used.duplicates,
            Action::Drop(_) => &mut used.losses,
            Action::PreWin(_)
            | Action::PreDenied(..)
            | Action::Lapse(_)
            | Action::Fetch(_)
            | Action::Persist(..)
            | Action::Deliver(_) => return None,
        };
        *count += 1;
        Some(used)
    }

    /// All counts, in a fixed order.
    #[must_use]
    pub fn counts(&self) -> [u8; 11] {
        [
            self.campaigns,
            self.heartbeats,
            self.step_downs,
            self.proposals,
            self.reads,
            self.transfers,
            self.changes,
            self.snapshots,
            self.crashes,
            self.duplicates,
            self.losses,
        ]
    }
}

impl Bound {
    /// Configuration 0.
    pub(super) fn first_config(&self) -> Config {
        Config::new((0..u64::from(self.voters)).map(NodeId))
    }
}

impl Display for Bound {
    /// On one line, what is not zero.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}", self.name)?;
        let names = [
            "campaigns",
            "heartbeats",
            "step-downs",
            "proposals",
            "reads",
            "transfers",
            "changes",
            "snapshots",
            "crashes",
            "duplicates",
            "losses",
        ];
        let counts = names.iter().zip(self.budget.counts());
        for (name, count) in counts.filter(|(_, count)| *count > 0) {
            write!(f, " {name}={count}")?;
        }
        if self.in_flight < UNLIMITED {
            write!(f, " in-flight={}", self.in_flight)?;
        }
        if usize::from(self.voters) < NODES {
            write!(f, " voters={}", self.voters)?;
        }
        let start = if self.elected { " elected" } else { "" };
        let (pre_votes, disks) = (self.pre_votes, self.disks);
        write!(f, "{start} pre-votes={pre_votes:?} disks={disks:?}")
    }
}
