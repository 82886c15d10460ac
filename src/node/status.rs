//! What a node tells of itself, from other threads: its event loop says it anew in each turn, so
//! that it can be asked though the loop stands still.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use raftkv_wal::Media;

use crate::{
    raft::{Config, Index, NodeId, RoleName, Status, Term},
    replica::{Digests, Replica},
};

use super::{event_loop::TICK, stages::StageSummary};

/// What a node is and knows, as its event loop last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// This node.
    pub id: NodeId,
    /// Its cluster.
    pub cluster_id: [u8; 16],
    /// Where it accepts other nodes, as they are told.
    pub peer_address: String,
    /// Where it serves clients, as they are told.
    pub client_address: String,
    /// Time since it started.
    pub uptime_ms: u64,
    /// Time since its event loop said all this. Beyond some 10 ms the loop waits for its disk.
    pub age_ms: u64,
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader of the term, when known.
    pub leader: Option<NodeId>,
    /// Time since that last changed.
    pub leader_for_ms: u64,
    /// The leader's client address, empty when unknown.
    pub leader_hint: String,
    /// As a leader: whom it hands leadership to, while it does.
    pub transferring: Option<NodeId>,
    /// The last entry known to be committed.
    pub commit: Index,
    /// The last entry applied.
    pub applied: Index,
    /// The last entry.
    pub last: Index,
    /// What the newest snapshot includes; 0 without one.
    pub snapshot: Index,
    /// The configuration in force (§6).
    pub config: Arc<Config>,
    /// Where that stands in the log.
    pub config_at: Index,
    /// As a leader: what it knows of each other member.
    pub followers: Vec<Follower>,
    /// The least time after which a follower campaigns.
    pub election_timeout_ms: u64,
    /// 99 of 100 syncs of the log within the last minute took no longer; none without syncs.
    pub sync_p99_us: Option<u64>,
    /// Where the time of commits goes, since the node started.
    pub stages: Vec<StageSummary>,
    /// The state's digest as of `applied`; none while a snapshot takes the state's place.
    pub digest: Option<u128>,
    /// The state's digest as of some indices before.
    pub digests: Arc<Digests>,
}

/// Another member, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Which.
    pub node: NodeId,
    /// What it is known to have of the log, durably.
    pub matched: Index,
    /// Time since it was last heard, or since the leader was elected or it became a member.
    pub silent_ms: u64,
}

/// What the event loop said, and when.
pub(super) struct Published {
    status: NodeStatus,
    started: Instant,
    said: Instant,
    leader_since: Instant,
}

impl Published {
    pub(super) fn new(status: NodeStatus) -> Published {
        let now = Instant::now();
        Published {
            status,
            started: now,
            said: now,
            leader_since: now,
        }
    }

    /// Says what is so now. What never changes stays as it was.
    pub(super) fn update<M: Media>(
        &mut self,
        raft: Status,
        replica: &Replica<M>,
        leader_hint: String,
    ) {
        let now = Instant::now();
        self.said = now;
        if raft.leader != self.status.leader {
            self.leader_since = now;
        }
        let tick_ms = TICK.as_millis() as u64;
        let followers = raft.progress.iter().map(|peer| Follower {
            node: peer.node,
            matched: peer.matched,
            silent_ms: peer.silent_ticks * tick_ms,
        });
        let status = &mut self.status;
        status.role = raft.role;
        status.term = raft.hard.term;
        status.leader = raft.leader;
        status.leader_hint = leader_hint;
        status.transferring = raft.transferring;
        status.commit = raft.commit;
        status.applied = replica.applied();
        status.last = raft.last.index;
        status.snapshot = raft.snapshot;
        status.config = raft.config;
        status.config_at = raft.config_at;
        status.followers.clear();
        status.followers.extend(followers);
        status.digest = replica.digest();
        if !Arc::ptr_eq(&status.digests, replica.digests()) {
            status.digests = Arc::clone(replica.digests());
        }
    }

    /// What was said last, with all times as of now.
    pub(super) fn get(&self) -> NodeStatus {
        NodeStatus {
            uptime_ms: ms(self.started.elapsed()),
            age_ms: ms(self.said.elapsed()),
            leader_for_ms: ms(self.leader_since.elapsed()),
            ..self.status.clone()
        }
    }

    pub(super) fn leader_known(&self) -> bool {
        self.status.leader.is_some()
    }
}

fn ms(span: Duration) -> u64 {
    span.as_millis() as u64
}
