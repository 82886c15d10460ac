//! The bounds that `make explore` searches, from the smallest on.

use super::bound::{Bound, Budget, Disks, PreVotes, UNLIMITED};

const NONE: Budget = Budget {
    campaigns: 0,
    heartbeats: 0,
    step_downs: 0,
    proposals: 0,
    reads: 0,
    transfers: 0,
    changes: 0,
    snapshots: 0,
    crashes: 0,
    duplicates: 0,
    losses: 0,
};

/// From an empty cluster, with every message and every write apart.
const FULL: Bound = Bound {
    name: "",
    voters: 3,
    elected: false,
    pre_votes: PreVotes::Sent,
    disks: Disks::Apart,
    budget: NONE,
    in_flight: UNLIMITED,
    folded: true,
    max_states: 40_000_000,
};

/// Writes apart, pre-votes assumed.
const APART: Bound = Bound {
    pre_votes: PreVotes::Assumed,
    ..FULL
};

/// Pre-votes assumed, and no write waits.
const QUICK: Bound = Bound {
    disks: Disks::AtOnce,
    ..APART
};

/// The same, under a leader.
const LED: Bound = Bound {
    elected: true,
    ..QUICK
};

/// The same, with changes of members. A leader that leaves hands over to who has most of the log,
/// and of equals to the last by name: worlds that differ in names are not the same.
const CHANGED: Bound = Bound {
    folded: false,
    ..LED
};

/// All of them.
pub const BOUNDS: &[Bound] = &[
    Bound {
        name: "rivals",
        budget: Budget {
            campaigns: 2,
            ..NONE
        },
        ..QUICK
    },
    Bound {
        name: "one-election",
        budget: Budget {
            campaigns: 1,
            proposals: 1,
            crashes: 1,
            ..NONE
        },
        ..FULL
    },
    Bound {
        name: "reads",
        budget: Budget {
            campaigns: 1,
            step_downs: 1,
            proposals: 1,
            reads: 1,
            ..NONE
        },
        ..LED
    },
    Bound {
        name: "transfer",
        budget: Budget {
            campaigns: 1,
            proposals: 1,
            transfers: 1,
            ..NONE
        },
        ..LED
    },
    Bound {
        name: "snapshot",
        budget: Budget {
            proposals: 2,
            snapshots: 1,
            ..NONE
        },
        ..LED
    },
    Bound {
        name: "snapshot-again",
        budget: Budget {
            heartbeats: 1,
            proposals: 1,
            snapshots: 1,
            duplicates: 1,
            ..NONE
        },
        ..LED
    },
    Bound {
        name: "crash",
        budget: Budget {
            campaigns: 2,
            crashes: 1,
            ..NONE
        },
        ..APART
    },
    Bound {
        name: "duplicate",
        budget: Budget {
            campaigns: 2,
            duplicates: 1,
            ..NONE
        },
        ..APART
    },
    Bound {
        name: "one-command",
        budget: Budget {
            campaigns: 2,
            proposals: 1,
            ..NONE
        },
        ..APART
    },
    Bound {
        name: "two-commands",
        budget: Budget {
            campaigns: 1,
            proposals: 2,
            crashes: 1,
            ..NONE
        },
        ..APART
    },
    Bound {
        name: "two-elections",
        budget: Budget {
            campaigns: 2,
            ..NONE
        },
        ..FULL
    },
    Bound {
        name: "heartbeat",
        budget: Budget {
            campaigns: 1,
            heartbeats: 1,
            proposals: 1,
            ..NONE
        },
        ..LED
    },
    Bound {
        name: "three-crashed",
        budget: Budget {
            campaigns: 3,
            crashes: 1,
            ..NONE
        },
        ..QUICK
    },
    Bound {
        name: "command-and-crash",
        budget: Budget {
            campaigns: 2,
            proposals: 1,
            crashes: 1,
            ..NONE
        },
        ..APART
    },
    Bound {
        name: "three-commanded",
        budget: Budget {
            campaigns: 3,
            proposals: 1,
            ..NONE
        },
        ..QUICK
    },
    Bound {
        name: "snapshot-and-rival",
        budget: Budget {
            campaigns: 1,
            proposals: 2,
            snapshots: 1,
            ..NONE
        },
        ..LED
    },
    Bound {
        name: "snapshot-and-crash",
        elected: true,
        budget: Budget {
            campaigns: 1,
            proposals: 1,
            snapshots: 1,
            crashes: 1,
            ..NONE
        },
        ..APART
    },
    Bound {
        name: "change",
        budget: Budget {
            campaigns: 1,
            changes: 1,
            ..NONE
        },
        ..CHANGED
    },
    Bound {
        name: "change-of-two",
        voters: 2,
        budget: Budget {
            campaigns: 1,
            changes: 1,
            ..NONE
        },
        ..CHANGED
    },
    Bound {
        name: "change-and-snapshot",
        budget: Budget {
            campaigns: 1,
            changes: 1,
            snapshots: 1,
            ..NONE
        },
        ..CHANGED
    },
    Bound {
        name: "change-of-two-apart",
        voters: 2,
        budget: Budget {
            campaigns: 1,
            changes: 1,
            crashes: 1,
            ..NONE
        },
        disks: Disks::Apart,
        ..CHANGED
    },
    Bound {
        name: "change-of-two-rivals",
        voters: 2,
        budget: Budget {
            campaigns: 2,
            changes: 1,
            ..NONE
        },
        ..CHANGED
    },
    Bound {
        name: "three-apart",
        budget: Budget {
            campaigns: 3,
            ..NONE
        },
        ..APART
    },
    Bound {
        name: "narrow",
        budget: Budget {
            campaigns: 3,
            proposals: 2,
            crashes: 1,
            duplicates: 1,
            losses: 2,
            ..NONE
        },
        in_flight: 3,
        max_states: 4_000_000,
        ..QUICK
    },
    Bound {
        name: "everything",
        budget: Budget {
            campaigns: 3,
            heartbeats: 1,
            step_downs: 1,
            proposals: 2,
            reads: 1,
            transfers: 1,
            changes: 1,
            snapshots: 1,
            crashes: 1,
            duplicates: 1,
            losses: 0,
        },
        folded: false,
        max_states: 4_000_000,
        ..FULL
    },
];
