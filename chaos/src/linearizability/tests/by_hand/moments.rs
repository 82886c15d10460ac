//! What came before what.

use super::*;

#[test]
fn calls_that_meet_in_one_moment_are_concurrent() {
    let calls = [put(1, 1..=2, 1), get_absent(2..=3, 0)];
    good(&calls, &[put_entry(1, 1)]);
    let calls = [get(1, 1..=2, 1), unknown_put(1, 2)];
    good(&calls, &[put_entry(1, 1)]);
    let calls = [put(1, 1..=1, 1), get_absent(2..=2, 2), unknown_delete(2)];
    good(&calls, &[put_entry(1, 1), delete_entry(2)]);
}

#[test]
fn an_open_call_does_not_let_others_pass_each_other() {
    let calls = [
        put(1, 1..=90, 3),
        put(2, 2..=3, 1),
        put(3, 4..=5, 2),
        get(2, 6..=7, 1),
    ];
    bad(&calls, &[put_entry(1, 2), put_entry(2, 3), put_entry(3, 1)]);
}
