//! What puts and deletes do, once.

use super::*;

#[test]
fn a_lost_update_is_rejected() {
    let calls = [put(1, 1..=2, 1), get_absent(3..=4, 1)];
    bad(&calls, &[]);
}

#[test]
fn an_update_may_not_be_lost_after_it_was_read() {
    let calls = [put(1, 1..=2, 1), get(1, 3..=4, 1), get_absent(5..=6, 1)];
    bad(&calls, &[put_entry(1, 1)]);
}

#[test]
fn a_put_may_not_take_effect_after_its_answer() {
    let calls = [put(1, 1..=2, 2), put(2, 3..=4, 1), get(1, 5..=6, 2)];
    bad(&calls, &[put_entry(1, 2), put_entry(2, 1)]);
}

#[test]
fn a_delete_finds_what_was_put() {
    let calls = [
        put(1, 1..=2, 1),
        delete(true, 3..=4, 2),
        delete(false, 5..=6, 3),
    ];
    good(&calls, &[put_entry(1, 1), delete_entry(2), delete_entry(3)]);
}

#[test]
fn a_delete_may_not_miss_what_was_put() {
    let calls = [put(1, 1..=2, 1), delete(false, 3..=4, 2)];
    bad(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn a_delete_may_not_find_what_was_never_put() {
    bad(&[delete(true, 1..=2, 1)], &[delete_entry(1)]);
}

#[test]
fn two_deletes_may_not_find_one_put() {
    let calls = [
        put(1, 1..=2, 1),
        delete(true, 3..=9, 2),
        delete(true, 3..=9, 3),
    ];
    bad(&calls, &[put_entry(1, 1), delete_entry(2), delete_entry(3)]);
}

#[test]
fn a_put_may_not_be_read_after_it_was_deleted() {
    let calls = [put(1, 1..=2, 1), delete(true, 3..=4, 2), get(1, 5..=6, 1)];
    bad(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn the_value_of_a_refused_put_may_not_be_read() {
    let calls = [refused_put(1, 1..=9), get(1, 2..=3, 1)];
    bad(&calls, &[put_entry(1, 1)]);
    bad(&calls, &[]);
}

#[test]
fn a_refused_delete_may_not_take_effect() {
    let calls = [
        put(1, 1..=2, 1),
        refused_delete(3..=4),
        get_absent(5..=6, 2),
    ];
    bad(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn refused_calls_leave_nothing() {
    let calls = [
        refused_put(1, 1..=2),
        refused_delete(1..=2),
        get_absent(3..=4, 0),
    ];
    good(&calls, &[]);
}
