//! How often the nodes of a run take snapshots, and how long that takes them.

use raftkv::replica::SnapshotPolicy;

use crate::{
    rng::Rng,
    sim::{Micros, Settings},
};

/// How long a step of work on a snapshot takes: next to nothing, as long as a sync, and so long
/// that a node is asked for more meanwhile.
const JOBS: [(Micros, Micros); 3] = [(0, 200), (0, 5_000), (1_000, 50_000)];

/// Draws it from a stream of its own, so that all else of a plan is as it would be without.
pub(super) fn draw_snapshots(seed: u64, settings: &mut Settings) {
    let mut rng = Rng::stream(seed, 7);
    settings.job = rng.pick(&JOBS);
    let policy = SnapshotPolicy {
        log_bytes: rng.pick(&[200, 600, 2_000, 6_000, 20_000]),
        kept: rng.pick(&[1, 2]),
    };
    settings.snapshots = rng.chance(850).then_some(policy);
}
