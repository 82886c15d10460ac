//! The kinds of faults that are drawn for a run.

use crate::sim::{Fault, listed};

listed! {
    /// A kind of fault.
    Kind {
        /// One node, often the leader, is cut off from the others (N1, N13).
        Isolate = "isolate",
        /// The nodes fall into two parts (N1).
        Split = "split",
        /// A node, often the leader, can send and not receive, or the reverse (N2).
        OneWay = "one_way",
        /// One link of all is cut (N3).
        OneLink = "one_link",
        /// Every node still sees one hub, and nobody else (N3, N4).
        Star = "star",
        /// A link goes down and up again and again (N5).
        Flap = "flap",
        /// A node is away until the others have compacted what it lacks (C5, C6).
        Away = "away",
        /// Links are stopped one by one, and what they held comes in bursts (N5).
        Swizzle = "swizzle",
        /// Frames are lost (N6).
        Drop = "drop",
        /// Frames come twice (N7).
        Duplicate = "duplicate",
        /// Old frames come again (N7).
        Replay = "replay",
        /// Frames overtake each other (N8).
        Reorder = "reorder",
        /// One link is slow (N9).
        SlowLink = "slow_link",
        /// All links are slow for a while (N9).
        Spike = "spike",
        /// Links carry little (N10).
        Narrow = "narrow",
        /// Connections break with all that is under way (N11).
        Reset = "reset",
        /// Bytes change on the way (N12).
        Corrupt = "corrupt",
        /// A process is killed and comes back (P1).
        Kill = "kill",
        /// A node loses power and comes back (P1, S1, S2, S3).
        PowerCut = "power_cut",
        /// A node crashes at a labelled point of its work (P1).
        CrashPoint = "crash_point",
        /// All nodes lose power at once and come back one by one (P2).
        Blackout = "blackout",
        /// A node crashes again and again while it recovers (P3).
        CrashLoop = "crash_loop",
        /// A node, often the leader, is paused (P4, P7).
        Pause = "pause",
        /// Clocks run at different paces (P5).
        Skew = "skew",
        /// A node gets many ticks at once (P5).
        Burst = "burst",
        /// Committed entries wait before they are applied (P6).
        SlowApply = "slow_apply",
        /// Work on a node's snapshots takes long (P6).
        SlowSnapshot = "slow_snapshot",
        /// Syncs of a node take long (S10, P7).
        SlowDisk = "slow_disk",
        /// A sync fails once (S8).
        FailSync = "fail_sync",
        /// A write fails after a part of it.
        FailWrite = "fail_write",
        /// A node's files cannot be read when it starts (S7).
        ReadError = "read_error",
        /// The disk of a node is damaged while it is down (S5, S11).
        Damage = "damage",
        /// The disk of a node, often the leader's, is full for a while (S9).
        FullDisk = "full_disk",
        /// Leadership is handed over: to a follower, to one that is down, to nobody (C4).
        Transfer = "transfer",
        /// Clients ask for ten times as much (C9, P10).
        Overload = "overload",
        /// An operator changes the members, and something happens while both majorities decide (C1,
        /// C2, C3).
        Membership = "membership",
    }
}

/// The groups of reliability that kinds belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// What happens to frames.
    Network,
    /// What happens to processes and clocks.
    Process,
    /// What happens on disks.
    Storage,
    /// What is asked of the cluster.
    Protocol,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 4] = [
        Class::Network,
        Class::Process,
        Class::Storage,
        Class::Protocol,
    ];

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Class::Network => "network",
            Class::Process => "process",
            Class::Storage => "storage",
            Class::Protocol => "protocol",
        }
    }
}

impl Kind {
    /// The group that it belongs to.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Kind::Transfer | Kind::Overload | Kind::Membership => Class::Protocol,
            kind if kind >= Kind::SlowDisk => Class::Storage,
            kind if kind >= Kind::Kill => Class::Process,
            _ => Class::Network,
        }
    }

    /// What shows that a fault of this kind really hit: any of these happened meanwhile.
    #[must_use]
    pub fn effects(self) -> &'static [Fault] {
        match self {
            Kind::Isolate
            | Kind::Split
            | Kind::OneWay
            | Kind::OneLink
            | Kind::Star
            | Kind::Flap
            | Kind::Away => &[Fault::Cut],
            Kind::Swizzle => &[Fault::Clog],
            Kind::Drop => &[Fault::Drop],
            Kind::Duplicate => &[Fault::Duplicate],
            Kind::Replay => &[Fault::Replay],
            Kind::Reorder => &[Fault::Reorder],
            Kind::SlowLink | Kind::Spike => &[Fault::Delay],
            Kind::Narrow => &[Fault::Overflow, Fault::Delay],
            Kind::Reset => &[Fault::Reset],
            Kind::Corrupt => &[Fault::Corrupt],
            Kind::Kill => &[Fault::Kill],
            Kind::PowerCut | Kind::Blackout => &[Fault::PowerCut],
            Kind::CrashPoint => &[Fault::CrashPoint, Fault::RecoveryCrash],
            Kind::CrashLoop => &[Fault::RecoveryCrash],
            Kind::Pause => &[Fault::Pause],
            Kind::Skew => &[Fault::Skew],
            Kind::Burst => &[Fault::TickBurst],
            Kind::SlowApply => &[Fault::SlowApply],
            Kind::SlowSnapshot => &[Fault::SlowSnapshot],
            Kind::SlowDisk => &[Fault::SlowSync],
            Kind::FailSync => &[Fault::FailedSync],
            Kind::FailWrite => &[Fault::FailedWrite],
            Kind::ReadError => &[Fault::ReadError],
            Kind::Damage => &[Fault::Damage],
            Kind::FullDisk => &[Fault::FullDisk],
            Kind::Transfer => &[Fault::Transfer],
            Kind::Overload => &[Fault::Overload],
            Kind::Membership => &[Fault::Joint, Fault::ChangeDone],
        }
    }
}
