//! One node's process and its disk.

use std::collections::VecDeque;

use raftkv::{
    raft::{Description, LogPos, NodeId, Options, Token},
    replica::{Operation, Replica, SnapshotPolicy},
    storage::{Job, Storage},
};
use raftkv_wal::{Failure, MemoryMedia, SyncJob};

use super::{
    damage::Versions,
    fault::{CrashPoint, Fault, Hits},
    jobs::WorkOn,
    network::Flight,
    queue::Micros,
    turn::Phase,
};
use crate::invariants::{Checks, Damage, Found, Opened, Shadow, hold, opened};

/// Small segments, so that short runs rotate them.
const SEGMENT_BYTES: u64 = 64 << 10;

/// What waits for a node that is not at work.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Flight),
    Request(Token, Operation),
    /// A node, perhaps this one, says where it is found.
    Hello(NodeId, Description),
}

/// What becomes of a node that is told to crash at a point of its work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    pub(crate) point: CrashPoint,
    /// How many times the point is passed before.
    pub(crate) skip: u64,
    /// How many times it crashes there again, when that is within recovery.
    pub(crate) again: u64,
    /// Whether the power goes with the process.
    pub(crate) power: bool,
    /// How long the node stays down.
    pub(crate) down: Micros,
}

/// A node.
pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) disk: MemoryMedia,
    /// What the disk held at earlier times.
    pub(super) versions: Versions,
    /// `None` while it is down.
    pub(super) replica: Option<Box<Replica<MemoryMedia>>>,
    /// Grows each time the process ends; what was scheduled for an earlier one is void.
    pub(super) epoch: u32,
    /// Paused or blocked until then.
    pub(super) frozen_until: Option<Micros>,
    pub(super) inbox: VecDeque<Incoming>,
    pub(super) late_ticks: u32,
    /// A sync is under way.
    pub(super) is_syncing: bool,
    /// What the thread beside the loop has to do for it, and has not begun.
    pub(super) sync_job: Option<SyncJob>,
    /// What its disk failed at, which the loop learns of when it ends.
    pub(super) sync_failures: Vec<Failure>,
    /// How many writes to files it covers, and the mark.
    pub(super) synced_writes: u64,
    pub(super) synced_mark: Option<(Phase, u64)>,
    /// A sync has ended while the node was paused.
    pub(super) is_sync_over: bool,
    pub(super) is_apply_scheduled: bool,
    /// It is at what waited for it, and syncs once for all of that.
    pub(super) is_within_a_turn: bool,
    pub(super) armed: Option<Armed>,
    /// What its disk failed at, and it has to tell of: in the step under way,
    pub(super) failures: Vec<Failure>,
    /// and in the work beside the loop, which tells when it is over.
    pub(super) job_failures: Vec<Failure>,
    /// The disk was damaged since the last start.
    pub(super) damage: Option<Damage>,
    /// It will not come back: its disk is damaged, or its machine is gone.
    pub(super) is_lost: bool,
    /// How often it has moved to another address.
    pub(super) moves: u64,
    /// Syncs take at least this long.
    pub(super) slow_sync: Micros,
    /// Each step of work on a snapshot takes at least half of this.
    pub(super) slow_jobs: Micros,
    /// Nothing more fits on the disk.
    pub(super) is_full: bool,
    /// It was so when the process started, which then has no segment in reserve.
    pub(super) started_full: bool,
    /// The work that is under way beside the loop.
    pub(super) job: Option<Job<MemoryMedia>>,
    /// It is over, and the loop has not learnt it.
    pub(super) is_job_over: bool,
    pub(super) work_on: WorkOn,
    /// A mark is in the log and not synced, and how many writes there were with it.
    pub(super) marked: Option<(Phase, u64)>,
    /// The snapshot that it was offered last and needs.
    pub(super) wants: Option<LogPos>,
    /// A snapshot is installed, and its state not in memory yet.
    pub(super) is_loading: bool,
}

/// How starting a node ended.
pub(super) enum Started {
    Up,
    /// It stopped within recovery and has no power.
    Crashed,
    /// It refused to start for now.
    Refused,
    /// It must not come back.
    Lost,
}

impl Host {
    pub(super) fn new(id: NodeId) -> Host {
        Host {
            id,
            disk: MemoryMedia::new(),
            versions: Versions::new(),
            replica: None,
            epoch: 0,
            frozen_until: None,
            inbox: VecDeque::new(),
            late_ticks: 0,
            is_syncing: false,
            sync_job: None,
            sync_failures: Vec::new(),
            synced_writes: 0,
            synced_mark: None,
            is_sync_over: false,
            is_apply_scheduled: false,
            is_within_a_turn: false,
            armed: None,
            failures: Vec::new(),
            job_failures: Vec::new(),
            damage: None,
            is_lost: false,
            moves: 0,
            slow_sync: 0,
            slow_jobs: 0,
            is_full: false,
            started_full: false,
            job: None,
            is_job_over: false,
            work_on: WorkOn::Taken,
            marked: None,
            wants: None,
            is_loading: false,
        }
    }

    /// Where it is found.
    pub(super) fn description(&self) -> Description {
        let address = |port: u64| format!("n{}:{}", self.id, port + self.moves);
        let mut incarnation = [0; 16];
        incarnation[..8].copy_from_slice(&self.id.0.to_le_bytes());
        Description {
            peer_address: address(9_000),
            client_address: address(9_100),
            incarnation: Some(incarnation),
        }
    }

    /// Looks what the work is on.
    pub(super) fn look_at_work(&mut self) {
        let names = self.disk.names();
        let has = |name| names.iter().any(|other| other == name);
        if self.is_loading {
            self.work_on = WorkOn::Loaded;
        } else if self.is_fetching() {
            self.work_on = WorkOn::Fetched;
        } else if has("taken.tmp") {
            self.work_on = WorkOn::Taken;
        }
    }

    /// A part of a peer's snapshot is on the disk.
    pub(super) fn is_fetching(&self) -> bool {
        self.disk.names().iter().any(|name| name == "fetched.tmp")
    }

    /// The process ends. What it wrote is still there, what it knew is not.
    pub(super) fn end(&mut self) {
        self.replica = None;
        self.epoch += 1;
        self.frozen_until = None;
        self.inbox.clear();
        self.late_ticks = 0;
        self.is_syncing = false;
        self.sync_job = None;
        self.sync_failures.clear();
        self.is_sync_over = false;
        self.is_apply_scheduled = false;
        self.is_within_a_turn = false;
        self.job = None;
        self.is_job_over = false;
        self.marked = None;
        self.wants = None;
        self.is_loading = false;
        self.failures.clear();
        self.job_failures.clear();
        self.disk.take_failures();
        if self.disk.stopped().is_none() {
            self.disk.forget_faults();
        }
    }

    /// Starts the process on what the disk holds, and compares that with what was there.
    pub(super) fn start(
        &mut self,
        options: Options,
        policy: Option<SnapshotPolicy>,
        shadow: &mut Shadow,
        checks: &mut Checks,
        hits: &mut Hits,
    ) -> Started {
        assert!(self.replica.is_none(), "n{} is up", self.id);
        // The cluster's id, which all nodes share, and then the node's.
        let mut owner = [0; 40];
        owner[16..24].copy_from_slice(&self.id.0.to_le_bytes());
        let wal = raftkv_wal::Options {
            segment_bytes: SEGMENT_BYTES,
            owner,
        };
        let proven = shadow.last_is_proven(self.disk.durable_writes());
        let found = Storage::open(self.disk.clone(), wal);
        let failures = self.disk.take_failures();
        let has_failed = failures.iter().any(|&what| what != Failure::NoRoom);
        let found = match found {
            Ok(_) if self.disk.stopped().is_some() => return Started::Crashed,
            Ok(found) => found,
            Err(_) if self.is_full && self.disk.names().is_empty() => return Started::Refused,
            Err(_) if self.disk.stopped().is_some() => return Started::Crashed,
            Err(_) if has_failed => {
                hits.count(Fault::ReadError);
                return Started::Refused;
            }
            Err(_) if self.damage.is_some() => return self.lose(hits),
            Err(error) => {
                hold!(Durability, false, "n{} does not open: {error}", self.id);
                unreachable!("it does not hold")
            }
        };
        self.disk.forget_faults();
        // An older mark names other snapshots than those that are left, and whatever is found is
        // older than what was vouched for.
        if self.damage == Some(Damage::Stale) && policy.is_some() {
            return self.lose(hits);
        }
        let included = checks.found(shadow, &found, self.damage);
        if self.damage.is_some() && included < shadow.included() {
            self.count_damage(hits);
        }
        let Found { storage, saved, .. } = &found;
        let base = checks.ledger.links(saved.log.base().index);
        let entry = |index| storage.encoded_entry(index).to_vec();
        let (hard, last) = (saved.hard, saved.log.last().index);
        let image = Shadow::image_of(hard, base, last, &mut checks.configs, entry);
        if opened(shadow, &image, self.damage, proven) == Opened::Damaged {
            return self.lose(hits);
        }
        self.damage = None;
        self.started_full = self.is_full;
        let all_durable = self.disk.durable_writes() == self.disk.writes();
        let writes = self.disk.writes();
        shadow.restart(image, included, all_durable, writes);
        let mut replica = Replica::new(options, found);
        replica.set_apply_max_entries(1);
        let never = SnapshotPolicy {
            log_bytes: u64::MAX,
            log_entries: u64::MAX,
            kept: 2,
        };
        replica.set_snapshot_policy(policy.unwrap_or(never));
        self.replica = Some(Box::new(replica));
        Started::Up
    }

    fn count_damage(&self, hits: &mut Hits) {
        hits.count(Fault::Damage);
        match self.damage {
            Some(Damage::Snapshot) => hits.count(Fault::DamagedSnapshot),
            Some(Damage::Stale) => hits.count(Fault::Stale),
            _ => {}
        }
    }

    /// The disk lacks what it vouched for: whoever runs the node must not start it on that again.
    fn lose(&mut self, hits: &mut Hits) -> Started {
        self.count_damage(hits);
        self.is_lost = true;
        Started::Lost
    }
}
