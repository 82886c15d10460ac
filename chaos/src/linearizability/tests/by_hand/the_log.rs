//! What only the log can tell.

use super::*;

#[test]
fn an_acknowledged_put_has_an_entry() {
    bad_by_the_log(&[put(1, 1..=2, 1)], &[], "the log holds no command at 1@1");
}

#[test]
fn an_acknowledged_put_has_the_term_that_was_told() {
    let mut stored = put_entry(1, 1);
    stored.at.term = Term(2);
    let why = format!("the log holds another command at 1@1: {stored:?}");
    bad_by_the_log(&[put(1, 1..=2, 1)], &[stored], &why);
}

#[test]
fn a_put_has_its_key() {
    let mut stored = put_entry(1, 1);
    stored.key = Key(8);
    let why = format!("the log holds another command at 1@1: {stored:?}");
    bad_by_the_log(&[put(1, 1..=2, 1)], &[stored], &why);
    bad_by_the_log(&[unknown_put(1, 1)], &[stored], &why);
}

#[test]
fn an_acknowledged_put_has_its_value() {
    let stored = put_entry(1, 2);
    let why = format!("the log holds another command at 1@1: {stored:?}");
    bad_by_the_log(&[put(1, 1..=2, 1), unknown_put(2, 1)], &[stored], &why);
}

#[test]
fn two_deletes_are_not_told_one_entry() {
    bad_by_the_log(
        &[delete(false, 1..=2, 1), delete(false, 1..=2, 1)],
        &[delete_entry(1)],
        "entry 1@1 answers two calls",
    );
}

#[test]
fn a_put_has_one_entry() {
    bad_by_the_log(
        &[put(1, 1..=2, 1)],
        &[put_entry(1, 1), put_entry(2, 1)],
        "value 1 is put at 1@1 and at 2@1",
    );
}

#[test]
fn a_delete_has_one_entry() {
    bad_by_the_log(
        &[delete(false, 1..=2, 1)],
        &[delete_entry(1), delete_entry(2)],
        "the delete at 2@1 is of no call",
    );
}

#[test]
fn a_delete_has_its_key() {
    let mut stored = delete_entry(1);
    stored.key = Key(8);
    bad_by_the_log(
        &[unknown_delete(1)],
        &[stored],
        "the delete at 1@1 is of no call",
    );
}

#[test]
fn no_entry_is_a_put_that_nobody_asked_for() {
    bad_by_the_log(&[], &[put_entry(1, 1)], "the put at 1@1 is of no call");
}

#[test]
fn no_entry_is_a_refused_put() {
    bad_by_the_log(
        &[refused_put(1, 1..=2)],
        &[put_entry(1, 1)],
        "the put at 1@1 was refused",
    );
}

#[test]
fn no_entry_is_a_refused_delete() {
    bad_by_the_log(
        &[refused_delete(1..=2)],
        &[delete_entry(1)],
        "the delete at 1@1 is of no call",
    );
}

#[test]
fn an_unknown_delete_stands_after_what_returned_before_it() {
    bad_by_the_log(
        &[put(1, 1..=2, 2), unknown_delete(3)],
        &[delete_entry(1), put_entry(2, 1)],
        "the delete at 1@1 stands before its call was sent",
    );
}

#[test]
fn indexes_rise() {
    let calls = [put(1, 1..=9, 2), put(2, 1..=9, 1)];
    bad_by_the_log(
        &calls,
        &[put_entry(2, 1), put_entry(1, 2)],
        "entry 1@1 follows entry 2@1 in the log",
    );
}

#[test]
fn terms_do_not_fall() {
    let mut first = put(1, 1..=9, 1);
    let mut stored = put_entry(1, 1);
    stored.at.term = Term(2);
    first.told = Some((Told::Put { at: stored.at }, Moment(9)));
    bad_by_the_log(
        &[first, put(2, 1..=9, 2)],
        &[stored, put_entry(2, 2)],
        "entry 2@1 follows entry 1@2 in the log",
    );
}

#[test]
fn a_read_shows_what_its_index_has() {
    bad_by_the_log(
        &[put(1, 1..=9, 1), get(1, 2..=3, 0)],
        &[put_entry(1, 1)],
        "the log holds nothing at index 0",
    );
    bad_by_the_log(
        &[put(1, 1..=9, 1), get_absent(2..=3, 1)],
        &[put_entry(1, 1)],
        "the log holds value 1 at index 1",
    );
}

#[test]
fn a_read_stands_at_or_after_a_put_that_returned_before() {
    let mut elsewhere = put(1, 1..=2, 5);
    elsewhere.key = Key(8);
    let mut stored = put_entry(5, 1);
    stored.key = Key(8);
    let why = "a call returned before another was sent, but stands after it";
    bad_by_the_log(&[elsewhere, get_absent(3..=4, 4)], &[stored], why);
    good(&[elsewhere, get_absent(3..=4, 5)], &[stored]);
    good(&[elsewhere, get_absent(2..=4, 4)], &[stored]);
}

#[test]
fn a_put_stands_after_a_read_that_returned_before() {
    let mut elsewhere = get_absent(1..=2, 5);
    elsewhere.key = Key(8);
    let why = "a call returned before another was sent, but stands after it";
    bad_by_the_log(&[elsewhere, put(1, 3..=4, 5)], &[put_entry(5, 1)], why);
    good(&[elsewhere, put(1, 3..=4, 6)], &[put_entry(6, 1)]);
}

#[test]
fn an_old_answer_binds_although_later_ones_stand_before_it() {
    let calls = [
        put(1, 1..=2, 4),
        put(2, 1..=4, 1),
        put(3, 1..=5, 2),
        put(4, 6..=7, 3),
    ];
    let log = [
        put_entry(1, 2),
        put_entry(2, 3),
        put_entry(3, 4),
        put_entry(4, 1),
    ];
    let why = "a call returned before another was sent, but stands after it";
    bad_by_the_log(&calls, &log, why);
}

#[test]
fn no_two_entries_have_one_index() {
    let mut second = put_entry(1, 2);
    second.at.term = Term(2);
    bad_by_the_log(
        &[put(1, 1..=9, 1), unknown_put(2, 1)],
        &[put_entry(1, 1), second],
        "entry 1@2 follows entry 1@1 in the log",
    );
}
