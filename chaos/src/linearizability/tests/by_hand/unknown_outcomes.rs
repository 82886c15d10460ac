//! Writes whose outcome nobody was told.

use super::*;

#[test]
fn a_put_may_appear_late() {
    let calls = [unknown_put(1, 1), get_absent(2..=3, 0), get(1, 4..=5, 1)];
    good(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_put_may_appear_after_others() {
    let calls = [
        unknown_put(1, 1),
        put(2, 2..=3, 1),
        get(2, 4..=5, 1),
        get(1, 6..=7, 2),
    ];
    good(&calls, &[put_entry(1, 2), put_entry(2, 1)]);
}

#[test]
fn a_put_may_never_appear() {
    let calls = [unknown_put(1, 1), get_absent(2..=3, 0)];
    good(&calls, &[]);
    good(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_put_may_not_be_read_and_then_vanish() {
    let calls = [unknown_put(1, 1), get(1, 2..=3, 1), get_absent(4..=5, 1)];
    bad(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_put_may_not_be_overwritten_and_read_again() {
    let calls = [
        unknown_put(1, 1),
        get(1, 2..=3, 1),
        put(2, 4..=5, 2),
        get(2, 6..=7, 2),
        get(1, 8..=9, 3),
    ];
    bad(&calls, &[put_entry(1, 1), put_entry(2, 2), put_entry(3, 1)]);
}

#[test]
fn a_put_that_nobody_read_may_be_found_by_a_delete() {
    let calls = [unknown_put(1, 1), delete(true, 2..=3, 2)];
    good(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn a_put_that_nobody_read_may_not_be_found_by_two_deletes() {
    let calls = [
        unknown_put(1, 1),
        delete(true, 2..=3, 2),
        delete(true, 4..=5, 3),
    ];
    bad(&calls, &[put_entry(1, 1), delete_entry(2), delete_entry(3)]);
}

#[test]
fn a_put_may_not_be_found_by_a_delete_that_returned_before() {
    let calls = [delete(true, 1..=2, 2), unknown_put(1, 3)];
    bad(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn a_put_may_not_be_found_by_a_delete_and_then_read() {
    let calls = [unknown_put(1, 1), delete(true, 2..=3, 2), get(1, 4..=5, 1)];
    bad(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn a_put_is_kept_for_the_delete_that_needs_it() {
    let calls = [
        unknown_put(1, 1),
        delete(true, 1..=9, 2),
        put(2, 2..=9, 1),
        put(3, 3..=9, 3),
        delete(true, 10..=11, 4),
        delete(true, 12..=13, 6),
    ];
    let log = [
        put_entry(1, 2),
        delete_entry(2),
        put_entry(3, 3),
        delete_entry(4),
        put_entry(5, 1),
        delete_entry(6),
    ];
    good(&calls, &log);
}

#[test]
fn a_delete_is_kept_for_the_get_that_needs_it() {
    let calls = [
        put(1, 0..=0, 1),
        unknown_delete(1),
        get_absent(1..=9, 3),
        put(2, 2..=9, 2),
        delete(true, 3..=9, 3),
        put(3, 10..=11, 4),
        get_absent(12..=13, 5),
    ];
    let log = [
        put_entry(1, 1),
        put_entry(2, 2),
        delete_entry(3),
        put_entry(4, 3),
        delete_entry(5),
    ];
    good(&calls, &log);
}

#[test]
fn a_delete_may_appear_late() {
    let calls = [
        put(1, 1..=2, 1),
        unknown_delete(3),
        get(1, 4..=5, 1),
        get_absent(6..=7, 2),
    ];
    good(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn a_delete_may_not_appear_twice() {
    let calls = [
        put(1, 1..=2, 1),
        unknown_delete(3),
        get_absent(4..=5, 2),
        put(2, 6..=7, 3),
        get_absent(8..=9, 4),
    ];
    let log = [
        put_entry(1, 1),
        delete_entry(2),
        put_entry(3, 2),
        delete_entry(4),
    ];
    bad(&calls, &log);
}

#[test]
fn a_delete_may_not_appear_before_it_was_called() {
    let calls = [put(1, 1..=2, 1), get_absent(3..=4, 2), unknown_delete(5)];
    bad(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn each_of_two_deletes_has_its_entry() {
    let calls = [
        unknown_delete(1),
        put(1, 2..=3, 1),
        get_absent(4..=5, 2),
        put(2, 6..=7, 3),
        unknown_delete(8),
        get_absent(9..=10, 4),
    ];
    let log = [
        put_entry(1, 1),
        delete_entry(2),
        put_entry(3, 2),
        delete_entry(4),
    ];
    good(&calls, &log);
}
