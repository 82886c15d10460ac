//! A failing seed is made small by itself, always to the same end.

use raftkv_chaos::shrink;

#[test]
fn a_seed_that_passes_is_not_shrunk() {
    assert!(shrink(2).is_none());
}

#[cfg(feature = "planted-bugs")]
mod broken {
    use raftkv_chaos::shrink;
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
}
