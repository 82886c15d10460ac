//! How many steps the search takes.

use proptest::prelude::*;

use super::{
    executions::{execution, steps_within},
    *,
};

/// What a run of the simulator records: up to 500 calls for 15 keys, up to 16 at a time.
fn usual() -> impl Strategy<Value = History> {
    steps_within(500, 15, 80).prop_map(|steps| execution(&steps))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_usual_history_takes_a_few_steps_for_a_call(history in usual()) {
        prop_assert_eq!(search::check(&history, 300), Ok(()));
    }
}

/// Puts that are concurrent and were not read, then a get that none of their orders explains.
fn puts_and_a_get_of_nothing(count: u64) -> Vec<Call> {
    let puts = (1..=count).map(|number| put(number, 1..=2, number));
    puts.chain([get_absent(3..=4, count)]).collect()
}

fn rejected_within(calls: &[Call], max_steps: u64) {
    let verdict = search::check(&history(calls, &[]), max_steps);
    assert!(
        matches!(verdict, Err(search::Failure::NoOrder(_))),
        "{verdict:?}"
    );
}

#[test]
fn no_set_of_placed_calls_is_searched_twice() {
    let orders: u64 = (1..=10).product();
    let (sets, tried_at_each) = (1 << 10, 2 * 10);
    assert!(sets * tried_at_each < orders / 100);
    rejected_within(&puts_and_a_get_of_nothing(10), sets * tried_at_each);
}

#[test]
fn a_read_that_fits_is_tried_at_one_place_only() {
    let mut calls = vec![get_absent(1..=2, 0); 10];
    calls.extend(puts_and_a_get_of_nothing(6));
    rejected_within(&calls, (1 << 6) * 2 * 16);
}

/// After 1 and after 65, the last word of the set is the same.
#[test]
fn sets_that_differ_in_whole_words_are_told_apart() {
    let puts = (1..=100).map(|number| put(number, 2 * number..=2 * number, number));
    let calls: Vec<Call> = puts.collect();
    assert_eq!(search::check(&history(&calls, &[]), 1_000), Ok(()));
}
