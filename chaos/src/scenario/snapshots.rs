//! How often the nodes of a run take snapshots, how long that takes them, and how large they are.

use raftkv::replica::SnapshotPolicy;

use super::plan::Load;
use crate::{
    rng::Rng,
    sim::{Micros, Settings},
};

/// How long a step of work on a snapshot takes: next to nothing, as long as a sync, and so long
/// that a node is asked for more meanwhile.
const JOBS: [(Micros, Micros); 3] = [(0, 200), (0, 5_000), (1_000, 50_000)];
/// Keys and values of a state that is fetched in two pieces or three; more would cost too much.
const LARGE_KEYS: u32 = 14;
const LARGE_VALUES: (u64, u64) = (25_000, 50_000);
/// What its clients wait at most between two requests. Each value fills a segment: with clients in
/// haste one run costs as much as hundreds.
const LARGE_THINK: Micros = 300_000;

/// Draws it from a stream of its own, so that all else of a plan is as it would be without. In a
/// few runs the load becomes a large one, where it may.
pub(super) fn draw_snapshots(seed: u64, settings: &mut Settings, load: Option<&mut Load>) {
    let mut rng = Rng::stream(seed, 7);
    settings.job = rng.pick(&JOBS);
    let policy = SnapshotPolicy {
        log_bytes: rng.pick(&[200, 600, 2_000, 6_000, 20_000]),
        kept: rng.pick(&[1, 2]),
        ..SnapshotPolicy::default()
    };
    settings.snapshots = rng.chance(850).then_some(policy);
    let is_large = settings.snapshots.is_some() && rng.chance(30);
    if let Some(load) = load.filter(|_| is_large) {
        load.keys = LARGE_KEYS;
        load.value_bytes = LARGE_VALUES;
        load.think.1 = LARGE_THINK;
    }
}
