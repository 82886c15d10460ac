//! What a node is started with, and what it says of itself.

use std::sync::Arc;

use super::{
    config::Config,
    effect::{HardState, RoleName},
    log::Log,
    types::{Index, LogPos, NodeId, Snapshot},
};

/// How a node behaves; the same on every member, save `id` and `seed`.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub id: NodeId,
    /// Configuration 0: the members while neither the log nor a snapshot says otherwise.
    pub config: Config,
    /// Election timeouts are drawn from 1 to 2 times this many ticks (§5.2).
    pub election_timeout_ticks: u32,
    /// A leader asserts itself each time this many ticks have passed.
    pub heartbeat_ticks: u32,
    /// Where the timeouts' randomness starts.
    pub seed: u64,
    /// An append carries no more bytes of entries than this, or a single entry. Heartbeats queue
    /// behind it: on a slow network a large one outlasts the followers' patience.
    pub append_max_bytes: u64,
    /// At most so many appends are under way to a follower.
    pub in_flight_max: usize,
    /// And no more when their entries have so many bytes: what a peer's queue cannot hold is
    /// dropped and has to be found again.
    pub in_flight_max_bytes: u64,
    /// Commands are refused while more bytes than this wait to be committed.
    pub uncommitted_max_bytes: u64,
}

impl Options {
    /// The defaults, at a tick of 10 ms: election timeouts of 150 to 300 ms, heartbeats of 50 ms.
    #[must_use]
    pub fn new(id: NodeId, config: Config, seed: u64) -> Options {
        Options {
            id,
            config,
            election_timeout_ticks: 15,
            heartbeat_ticks: 5,
            seed,
            append_max_bytes: 128 << 10,
            in_flight_max: 64,
            in_flight_max_bytes: 8 << 20,
            uncommitted_max_bytes: 64 << 20,
        }
    }
}

/// What a node's disk holds when it starts.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Term and vote.
    pub hard: HardState,
    /// The log, all of it durable.
    pub log: Log,
    /// The snapshot that the state machine was loaded from. The log reaches back to it or further.
    pub snapshot: Option<Snapshot>,
    /// The members as of that snapshot.
    pub config: Option<Config>,
    /// The configurations in the log, with their places.
    pub configs: Vec<(Index, Config)>,
}

/// What a node is and knows, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its role.
    pub role: RoleName,
    /// `currentTerm` and `votedFor`.
    pub hard: HardState,
    /// The leader of the term, when known.
    pub leader: Option<NodeId>,
    /// The last entry.
    pub last: LogPos,
    /// The entry before the first that the log still has.
    pub base: LogPos,
    /// What the newest snapshot includes; 0 without one.
    pub snapshot: Index,
    /// The last durable entry.
    pub durable: Index,
    /// `commitIndex`.
    pub commit: Index,
    /// The last entry handed out to be applied.
    pub applied: Index,
    /// Where the configuration in force stands.
    pub config_at: Index,
    /// The configuration in force: the last in the log, committed or not (§6).
    pub config: Arc<Config>,
    /// As a leader: whom it hands leadership to, while it does.
    pub transferring: Option<NodeId>,
    /// As a leader: what it knows of each other member.
    pub progress: Vec<PeerStatus>,
}

/// A follower, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// `matchIndex`.
    pub matched: Index,
    /// `nextIndex`.
    pub next: Index,
    /// Ticks since it was last heard.
    pub silent_ticks: u64,
}
