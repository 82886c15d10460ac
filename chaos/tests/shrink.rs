//! A failing seed is made small by itself, always to the same end.

use raftkv_chaos::shrink;

#[test]
fn a_seed_that_passes_is_not_shrunk() {
    assert!(shrink(2).is_none());
}

#[cfg(feature = "planted-bugs")]
mod broken {
    use raftkv_chaos::{run_seed, shrink};
    use raftkv_planted::{BUGS, plant};

    #[test]
    fn broken_acknowledgements_are_shrunk_to_a_few_events_and_pass_once_mended() {
        plant(BUGS.iter().find(|bug| bug.id == "M5"));
        let (once, again) = (shrink(1).expect("it fails"), shrink(1).expect("it fails"));
        assert_eq!(once.plan, again.plan);
        assert_eq!(once.lines, again.lines);
        assert!(once.lines.len() <= 30, "{} events", once.lines.len());
        assert!(once.fails());
        plant(None);
        assert!(!once.fails());
    }
    #[test]
    fn damage_lost_snapshots_and_clusters_that_stand_still_are_shrunk() {
        for id in ["M33", "M35b", "M45"] {
            plant(BUGS.iter().find(|bug| bug.id == id));
            let fails = |seed: &u64| run_seed(*seed, false).failure.is_some();
            let seed = (1..1_000).find(fails).expect("one fails");
            let shrunk = shrink(seed).expect("it fails");
            assert!(
                shrunk.told().len() <= 200,
                "{id}: {} lines",
                shrunk.told().len()
            );
            plant(None);
            assert!(!shrunk.fails(), "{id} is not why seed {seed} fails");
        }
    }
}
