//! Partial partitions that broke other systems: `raftkv-chaos partial` runs more of each.

use raftkv_chaos::{Partial, run_partial};

const SEEDS: u64 = 2;

#[test]
fn whoever_sees_a_majority_works_on_and_leaders_do_not_come_and_go() {
    for &partial in Partial::ALL {
        for &place in partial.places() {
            for seed in 1..=SEEDS {
                let name = partial.name();
                let endured = run_partial(partial, place, seed);
                assert!(
                    endured.is_ok(),
                    "{name}, leader at {place}, seed {seed}: {endured:?}"
                );
            }
        }
    }
}

/// The rule that stands against them, broken. Without stickiness leaders do not come and go either:
/// who is cut off from a new leader lacks its first entry, and is denied for that.
#[cfg(feature = "planted-bugs")]
#[test]
fn broken_rules_show() {
    const SHOWN: &[(&str, Partial, usize)] = &[
        ("M43b", Partial::LeaderDeaf, 1),
        ("M43b", Partial::QuorumLoss, 2),
    ];
    for &(id, partial, place) in SHOWN {
        raftkv_planted::plant(raftkv_planted::find(id));
        let endured = run_partial(partial, place, 1);
        raftkv_planted::plant(None);
        let failure = endured.expect_err(id);
        assert_eq!(
            failure.property,
            raftkv_chaos::Property::Liveness,
            "{id}: {failure:?}"
        );
    }
}
