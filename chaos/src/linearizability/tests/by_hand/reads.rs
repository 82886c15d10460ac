//! What gets may show.

use super::*;

#[test]
fn an_empty_history_is_accepted() {
    good(&[], &[]);
}

#[test]
fn a_key_is_absent_until_it_is_put() {
    let calls = [get_absent(1..=2, 0), put(1, 3..=4, 1), get(1, 5..=6, 1)];
    good(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_read_concurrent_with_a_put_sees_either() {
    let log = [put_entry(1, 1)];
    good(&[put(1, 1..=9, 1), get_absent(2..=3, 0)], &log);
    good(&[put(1, 1..=9, 1), get(1, 2..=3, 1)], &log);
}

#[test]
fn a_stale_read_is_rejected() {
    let calls = [put(1, 1..=2, 1), put(2, 3..=4, 2), get(1, 5..=6, 1)];
    bad(&calls, &[put_entry(1, 1), put_entry(2, 2)]);
}

#[test]
fn a_stale_read_of_absence_is_rejected() {
    let calls = [put(1, 1..=2, 1), get_absent(3..=4, 0)];
    bad(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_read_of_a_later_put_is_rejected() {
    let calls = [get(1, 1..=2, 1), put(1, 3..=4, 1)];
    bad(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_read_of_a_later_put_of_unknown_outcome_is_rejected() {
    let calls = [get(1, 1..=2, 1), unknown_put(1, 3)];
    bad(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_read_of_a_value_that_nobody_put_is_rejected() {
    let calls = [put(1, 1..=2, 1), get(2, 3..=4, 1)];
    bad(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_read_of_the_value_of_another_key_is_rejected() {
    let mut elsewhere = put(1, 1..=2, 1);
    elsewhere.key = Key(8);
    let mut stored = put_entry(1, 1);
    stored.key = Key(8);
    bad(&[elsewhere, get(1, 3..=4, 1)], &[stored]);
}

#[test]
fn reads_one_after_the_other_may_not_see_new_then_old() {
    let calls = [
        put(1, 1..=2, 1),
        put(2, 3..=20, 2),
        get(2, 4..=5, 2),
        get(1, 6..=7, 1),
    ];
    bad(&calls, &[put_entry(1, 1), put_entry(2, 2)]);
}

#[test]
fn reads_that_overlap_may_see_new_and_old() {
    let calls = [
        put(1, 1..=2, 1),
        put(2, 3..=20, 2),
        get(2, 4..=6, 2),
        get(1, 6..=7, 1),
    ];
    good(&calls, &[put_entry(1, 1), put_entry(2, 2)]);
}

#[test]
fn two_readers_may_not_see_two_puts_in_opposite_orders() {
    let calls = [
        put(1, 1..=9, 1),
        put(2, 1..=9, 2),
        get(1, 10..=30, 1),
        get(2, 10..=11, 2),
        get(1, 12..=13, 1),
        get(2, 14..=15, 2),
    ];
    bad(&calls, &[put_entry(1, 1), put_entry(2, 2)]);
}

#[test]
fn a_read_of_unknown_outcome_tells_nothing() {
    let calls = [put(1, 1..=2, 1), call(Request::Get, 3), get(1, 4..=5, 1)];
    good(&calls, &[put_entry(1, 1)]);
}

#[test]
fn keys_do_not_disturb_each_other() {
    let (mut other, mut stored) = (put(2, 3..=4, 2), put_entry(2, 2));
    (other.key, stored.key) = (Key(8), Key(8));
    let calls = [put(1, 1..=2, 1), other, get(1, 5..=6, 2)];
    good(&calls, &[put_entry(1, 1), stored]);
}
