//! What a cluster is made with.

use raftkv::{
    raft::{Config, NodeId, Options},
    replica::SnapshotPolicy,
};

use super::{host::Armed, queue::Micros};
use crate::draws::Draws;

/// How the event loop of a node and its disk get along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// The loop goes on while the disk works, as the shipped one does for a long sync.
    Beside,
    /// The loop waits for the disk, as the shipped one does for a short sync.
    Blocking,
}

/// What a cluster is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many members there are at the start, with ids from 0.
    pub nodes: u64,
    /// How many more nodes there are that can be added to them.
    pub spares: u64,
    /// Whether nodes learn of each other where they are found, which a leader puts into the log.
    pub describes: bool,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Unless it is what another run drew.
    pub(crate) draws: Draws,
    /// Election timeouts are from 1 to 2 times this.
    pub election_timeout_ticks: u32,
    /// A leader asserts itself at this pace.
    pub heartbeat_ticks: u32,
    /// The length of a tick at each node, so that clocks run apart.
    pub tick: Vec<Micros>,
    /// Whether the loop waits for the disk.
    pub syncs: Syncs,
    /// How long a sync takes.
    pub sync: (Micros, Micros),
    /// How long a committed entry waits before it is applied; `None` for not at all.
    pub apply: Option<(Micros, Micros)>,
    /// When snapshots are taken; `None` for never.
    pub snapshots: Option<SnapshotPolicy>,
    /// How long each step of work on a snapshot takes.
    pub job: (Micros, Micros),
    /// What waits for a paused node beyond this many messages is dropped.
    pub inbox_max: usize,
    /// A node whose very first start is cut short.
    pub(crate) first_crash: Option<(NodeId, Armed)>,
    /// As in the FSM's options.
    pub uncommitted_max_bytes: u64,
    /// As in the FSM's options.
    pub append_max_bytes: u64,
    /// As in the FSM's options.
    pub in_flight_max: usize,
}

/// The shipped length of a tick.
pub const TICK: Micros = 10_000;

impl Settings {
    /// The shipped defaults, on a quick network.
    #[must_use]
    pub fn new(nodes: u64, seed: u64) -> Settings {
        let shipped = Options::new(NodeId(0), Config::new([NodeId(0)]), 0);
        Settings {
            nodes,
            spares: 0,
            describes: false,
            seed,
            draws: Draws::InOrder,
            election_timeout_ticks: shipped.election_timeout_ticks,
            heartbeat_ticks: shipped.heartbeat_ticks,
            tick: vec![TICK; nodes as usize],
            syncs: Syncs::Beside,
            sync: (0, 3_000),
            apply: None,
            snapshots: None,
            job: (0, 2_000),
            inbox_max: 4096,
            first_crash: None,
            uncommitted_max_bytes: shipped.uncommitted_max_bytes,
            append_max_bytes: shipped.append_max_bytes,
            in_flight_max: shipped.in_flight_max,
        }
    }

    /// How many nodes there are, with those that wait to be added.
    #[must_use]
    pub fn hosts(&self) -> u64 {
        self.nodes + self.spares
    }

    /// Who the members are at the start.
    #[must_use]
    pub fn members(&self) -> Config {
        Config::new((0..self.nodes).map(NodeId))
    }

    /// The longest election timeout.
    #[must_use]
    pub fn election_timeout(&self) -> Micros {
        let slowest = self.tick.iter().copied().max().unwrap_or(TICK);
        2 * u64::from(self.election_timeout_ticks) * slowest
    }

    pub(super) fn options(&self, id: NodeId, seed: u64) -> Options {
        let config = match id.0 < self.nodes {
            true => self.members(),
            false => Config::default(),
        };
        let mut options = Options::new(id, config, seed);
        options.election_timeout_ticks = self.election_timeout_ticks;
        options.heartbeat_ticks = self.heartbeat_ticks;
        options.uncommitted_max_bytes = self.uncommitted_max_bytes;
        options.append_max_bytes = self.append_max_bytes;
        options.in_flight_max = self.in_flight_max;
        options
    }
}
