//! What can go wrong, counted when it really does.

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
        /// A committed entry waited to be applied.
        SlowApply = "slow_apply",
        /// A leader was asked to hand over.
        Transfer = "transfer",
        /// A request was refused because too much waits to be committed.
        Shed = "shed",
        /// A client gave up waiting.
        Abandon = "abandon",
        /// A client asked for something.
        Request = "request",
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
        /// Recovery has read nothing.
        RecoverOpen = "recover.open",
        /// Half of the tail is written again.
        RecoverWrite = "recover.write",
        /// The tail is not synced again.
        RecoverSync = "recover.sync",
        /// The first segment does not exist.
        RecoverCreate = "recover.create",
        /// The first segment has no name.
        RecoverPublish = "recover.publish",
        /// The names are not durable.
        RecoverSyncDirectory = "recover.sync_directory",
    }
}

impl CrashPoint {
    /// Those that a node passes only when a segment is full or a term comes from outside.
    pub(crate) const RARE: &'static [CrashPoint] = &[
        CrashPoint::StepSync,
        CrashPoint::StepCreate,
        CrashPoint::StepPublish,
        CrashPoint::StepSyncDirectory,
        CrashPoint::WroteTerm,
    ];

    /// Those that a node can pass once it has a log; the others belong to its very first start.
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
