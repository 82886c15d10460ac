//! What can go wrong, counted when it really does.

use raftkv_wal::{Failure, Operation};

/// Declares an enumeration that can be listed and named.
macro_rules! listed {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$item_doc])* $item,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$item,)*];

            /// The name in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($name::$item => $text,)* }
            }
        }
    };
}
pub(crate) use listed;

listed! {
    /// One thing that went wrong.
    Fault {
        /// A frame was lost on a link that was cut.
        Cut = "cut",
        /// A frame was lost by chance.
        Drop = "drop",
        /// A frame came twice.
        Duplicate = "duplicate",
        /// A frame overtook an earlier one.
        Reorder = "reorder",
        /// A frame was lost with its connection.
        Reset = "reset",
        /// A frame took 20 ms or more.
        Delay = "delay",
        /// A frame was held back and came in a burst with others.
        Clog = "clog",
        /// A frame was dropped because the queue was full.
        Overflow = "overflow",
        /// A damaged frame was refused.
        Corrupt = "corrupt",
        /// A frame of the past came once more.
        Replay = "replay",
        /// A process was killed.
        Kill = "kill",
        /// The power of a node was cut.
        PowerCut = "power_cut",
        /// A power cut took writes that were not synced.
        LostWrite = "lost_write",
        /// A node stopped at a labelled point of its work.
        CrashPoint = "crash_point",
        /// A node crashed while it recovered from a crash.
        RecoveryCrash = "recovery_crash",
        /// Input waited for a node that was paused or blocked.
        Pause = "pause",
        /// Ticks were due while a node was paused or blocked.
        LateTick = "late_tick",
        /// A clock ran slower or faster than the others.
        Skew = "skew",
        /// Many ticks came at once.
        TickBurst = "tick_burst",
        /// A sync took 10 ms or more.
        SlowSync = "slow_sync",
        /// A sync failed, and the process ended.
        FailedSync = "failed_sync",
        /// A write failed after a part of it, and the process ended.
        FailedWrite = "failed_write",
        /// A file could not be read when the node started.
        ReadError = "read_error",
        /// Damage on a disk was found when the node started.
        Damage = "damage",
        /// The newest segment was an earlier version of itself, or missing, and its node is lost.
        Stale = "stale",
        /// A committed entry waited to be applied.
        SlowApply = "slow_apply",
        /// A step of work on a snapshot took 50 ms or more.
        SlowSnapshot = "slow_snapshot",
        /// A disk had no room for entries or for a snapshot.
        FullDisk = "full_disk",
        /// A leader refused a write for want of room.
        RefusedFull = "refused_full",
        /// A damaged snapshot was found: an older one was used, or none.
        DamagedSnapshot = "damaged_snapshot",
        /// A part of a snapshot, or the question for it, was lost on the way.
        ChunkLost = "chunk_lost",
        /// A part of a snapshot, or the question for it, came twice.
        ChunkTwice = "chunk_twice",
        /// A node ended while it fetched a snapshot.
        FetchCut = "fetch_cut",
        /// A node ended while it loaded a snapshot.
        LoadCut = "load_cut",
        /// Another snapshot was offered while one was fetched.
        Superseded = "superseded",
        /// A leader was asked to hand over.
        Transfer = "transfer",
        /// A leader put C_old,new into its log.
        Joint = "joint",
        /// C_new of a joint configuration was committed.
        JointDone = "joint_done",
        /// A leader ended while C_old,new was in force at it.
        JointLeaderEnds = "joint_leader_ends",
        /// A change of members was done.
        ChangeDone = "change_done",
        /// A change of members was given up.
        ChangeGivenUp = "change_given_up",
        /// A request was refused because too much waits to be committed.
        Shed = "shed",
        /// A client gave up waiting.
        Abandon = "abandon",
        /// A client waited a tenth as long before it asked for more.
        Overload = "overload",
        /// A client asked for something.
        Request = "request",
    }
}

impl Fault {
    /// What it is that a disk fails at this operation.
    pub(crate) fn of_disk(failure: Failure) -> Fault {
        match failure {
            Failure::NoRoom => Fault::FullDisk,
            Failure::Ordered(Operation::Sync | Operation::SyncDirectory) => Fault::FailedSync,
            Failure::Ordered(Operation::Open | Operation::Read) => Fault::ReadError,
            Failure::Ordered(_) => Fault::FailedWrite,
        }
    }
}

listed! {
    /// Where a node can be made to crash: between write, sync, send, apply and answer.
    CrashPoint {
        /// Half of a batch is in the log.
        StepWrite = "step.write",
        /// A full segment is not synced.
        StepSync = "step.sync",
        /// The next segment does not exist.
        StepCreate = "step.create",
        /// The next segment has no name.
        StepPublish = "step.publish",
        /// The next segment's name is not durable.
        StepSyncDirectory = "step.sync_directory",
        /// A vote is written, nothing was said.
        WroteVote = "wrote.vote",
        /// A term is written, nothing was said.
        WroteTerm = "wrote.term",
        /// Entries are written, nothing was said.
        WroteEntries = "wrote.entries",
        /// Some of a step's messages have left.
        SentSome = "sent.some",
        /// All of a step's messages have left, nobody was answered.
        SentAll = "sent.all",
        /// What is written is not synced.
        SyncSync = "sync.sync",
        /// What is written is synced, nothing was said about it.
        Synced = "synced",
        /// Some of what waited for the sync has left.
        ReleasedSome = "released.some",
        /// All of what waited for the sync has left, nobody was answered.
        ReleasedAll = "released.all",
        /// An entry is committed, not applied.
        Committed = "committed",
        /// An entry is applied, nobody was answered.
        Applied = "applied",
        /// A client was answered.
        Answered = "answered",
        /// Half of a mark is in the log.
        MarkWrite = "mark.write",
        /// A mark is not synced.
        MarkSync = "mark.sync",
        /// The file of a snapshot does not exist.
        SnapshotCreate = "snapshot.create",
        /// Half of a piece of a node's own snapshot is in its file.
        TakenWrite = "taken.write",
        /// A snapshot is written, not synced.
        TakenSync = "taken.sync",
        /// A snapshot is synced, and has been read back in part.
        TakenRead = "taken.read",
        /// A snapshot is durable, and has no name.
        TakenPublish = "taken.publish",
        /// A snapshot has a name that is not durable.
        TakenSyncDirectory = "taken.sync_directory",
        /// Half of the mark that names a snapshot is in the log.
        NameWrite = "name.write",
        /// The mark that names a snapshot is written, not synced.
        Named = "named",
        /// The same, and the disk was asked to sync it.
        NameSync = "name.sync",
        /// The mark is durable, what the snapshot includes is not dropped.
        Compacted = "compacted",
        /// A file of no use is there.
        PurgeRemove = "purge.remove",
        /// A segment's name is gone, and may come back.
        PurgeSyncDirectory = "purge.sync_directory",
        /// A file of no use is gone.
        Purged = "purged",
        /// Half of a fetched piece is in its file.
        FetchedWrite = "fetched.write",
        /// A fetched snapshot is written, not synced.
        FetchedSync = "fetched.sync",
        /// A fetched snapshot has been read back in part.
        FetchedRead = "fetched.read",
        /// A fetched snapshot is durable, and has no name.
        FetchedPublish = "fetched.publish",
        /// A fetched snapshot has a name that is not durable.
        FetchedSyncDirectory = "fetched.sync_directory",
        /// Half of the mark of an install is in the log.
        InstallWrite = "install.write",
        /// The mark of an install is written, not synced.
        Installed = "installed",
        /// The same, and the disk was asked to sync it.
        InstallSync = "install.sync",
        /// An installed state is not in memory yet.
        LoadRead = "load.read",
        /// Recovery has read nothing.
        RecoverOpen = "recover.open",
        /// Half of the tail is written again.
        RecoverWrite = "recover.write",
        /// The tail is not synced again.
        RecoverSync = "recover.sync",
        /// A snapshot is not loaded.
        RecoverRead = "recover.read",
        /// What no mark names is there still.
        RecoverRemove = "recover.remove",
        /// The first segment does not exist.
        RecoverCreate = "recover.create",
        /// The first segment has no name.
        RecoverPublish = "recover.publish",
        /// The names are not durable.
        RecoverSyncDirectory = "recover.sync_directory",
        /// A configuration is in the log, nothing was said.
        ConfigAppended = "config.appended",
        /// A configuration is synced, nothing was said about it.
        ConfigSynced = "config.synced",
        /// The configuration in force is committed, nothing was said of what follows from that.
        ConfigCommitted = "config.committed",
    }
}

impl CrashPoint {
    /// Those at which the disk stops, and those that a node seldom passes: when a segment is full,
    /// in an election, when it is idle, or when there is a snapshot.
    pub(crate) const RARE: &'static [CrashPoint] = &[
        CrashPoint::StepWrite,
        CrashPoint::StepSync,
        CrashPoint::StepCreate,
        CrashPoint::StepPublish,
        CrashPoint::StepSyncDirectory,
        CrashPoint::WroteVote,
        CrashPoint::WroteTerm,
        CrashPoint::SyncSync,
        CrashPoint::SentSome,
        CrashPoint::ReleasedSome,
        CrashPoint::MarkWrite,
        CrashPoint::MarkSync,
        CrashPoint::SnapshotCreate,
        CrashPoint::TakenWrite,
        CrashPoint::TakenSync,
        CrashPoint::TakenRead,
        CrashPoint::TakenPublish,
        CrashPoint::TakenSyncDirectory,
        CrashPoint::NameWrite,
        CrashPoint::Named,
        CrashPoint::NameSync,
        CrashPoint::Compacted,
        CrashPoint::PurgeRemove,
        CrashPoint::PurgeSyncDirectory,
        CrashPoint::Purged,
        CrashPoint::FetchedWrite,
        CrashPoint::FetchedSync,
        CrashPoint::FetchedRead,
        CrashPoint::FetchedPublish,
        CrashPoint::FetchedSyncDirectory,
        CrashPoint::InstallWrite,
        CrashPoint::Installed,
        CrashPoint::InstallSync,
        CrashPoint::LoadRead,
    ];

    /// Those that a node passes only with snapshots.
    pub(crate) fn is_of_snapshots(self) -> bool {
        (CrashPoint::SnapshotCreate..=CrashPoint::LoadRead).contains(&self)
            || [CrashPoint::RecoverRead, CrashPoint::RecoverRemove].contains(&self)
    }

    /// Those within recovery.
    pub(crate) fn is_of_recovery(self) -> bool {
        (CrashPoint::RecoverOpen..=CrashPoint::RecoverSyncDirectory).contains(&self)
    }

    /// Those that only a node passes that fetches a snapshot.
    pub(crate) fn needs_fetch(self) -> bool {
        (CrashPoint::FetchedWrite..=CrashPoint::LoadRead).contains(&self)
    }

    /// Those that belong to a change of members.
    pub(crate) const OF_CONFIGS: &'static [CrashPoint] = &[
        CrashPoint::ConfigAppended,
        CrashPoint::ConfigSynced,
        CrashPoint::ConfigCommitted,
    ];

    /// Those that a node can pass once it has a log and that need no change of members; those after
    /// them belong to its very first start.
    pub(crate) const AT_WORK: &'static [CrashPoint] = CrashPoint::ALL
        .split_at(CrashPoint::RecoverCreate as usize)
        .0;
}

/// How often each fault happened and each crash point was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits {
    faults: [u64; Fault::ALL.len()],
    points: [u64; CrashPoint::ALL.len()],
}

impl Default for Hits {
    fn default() -> Hits {
        Hits {
            faults: [0; Fault::ALL.len()],
            points: [0; CrashPoint::ALL.len()],
        }
    }
}

impl Hits {
    pub(crate) fn count(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn reach(&mut self, point: CrashPoint) {
        self.points[point as usize] += 1;
    }

    /// How often a fault happened.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How often a node crashed at a point.
    #[must_use]
    pub fn at(&self, point: CrashPoint) -> u64 {
        self.points[point as usize]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Hits) {
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
        for (sum, more) in self.points.iter_mut().zip(other.points) {
            *sum += more;
        }
    }
}
