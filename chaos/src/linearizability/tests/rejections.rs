//! What is said of a history that is not accepted.

use super::*;
use crate::linearizability::{Method, Rejection, Violation, check, judge};

fn malformed(calls: &[Call], committed: &[Committed]) -> String {
    match check(&history(calls, committed)) {
        Err(Rejection::Malformed(violation)) => violation.why,
        other => panic!("{other:?}"),
    }
}

fn some_violation() -> Violation {
    Violation {
        key: KEY,
        why: "it cannot be".to_owned(),
        calls: vec![get(1, 3..=4, 2)],
    }
}

#[test]
fn an_answer_to_another_request_is_malformed() {
    let mut call = put(1, 1..=2, 1);
    call.request = Request::Get;
    assert_eq!(malformed(&[call], &[]), "the answer is to another request");
}

#[test]
fn an_answer_before_the_call_is_malformed() {
    let mut call = put(1, 1..=2, 1);
    call.called = Moment(3);
    assert_eq!(malformed(&[call], &[]), "the answer came before the call");
}

#[test]
fn one_value_in_two_puts_is_malformed_on_any_keys() {
    let mut other = unknown_put(1, 3);
    other.key = Key(8);
    let calls = [put(1, 1..=2, 1), other];
    assert_eq!(malformed(&calls, &[]), "two puts have one value");
}

#[test]
fn a_get_in_the_log_is_malformed() {
    let committed = [entry(3, Request::Get)];
    assert_eq!(malformed(&[], &committed), "a get stands in the log at 3@1");
}

#[test]
fn a_search_out_of_steps_is_no_pass() {
    let calls = [put(1, 1..=2, 1), put(2, 3..=4, 2)];
    let long = history(&calls, &[put_entry(1, 1), put_entry(2, 2)]);
    let gave_up = search::check(&long, 1);
    assert_eq!(gave_up, Err(search::Failure::OutOfSteps(KEY)));
    let order = order::check(&long);
    assert_eq!(order, Ok(()));
    let undecided = Err(Rejection::Undecided { key: KEY, order });
    assert_eq!(judge(gave_up, Ok(())), undecided);
}

/// One more delete found the key than there were puts, and all are concurrent.
#[test]
fn a_history_too_hard_to_search_is_undecided() {
    let puts = (1..=20).map(|number| put(number, 1..=2, number));
    let deletes = (21..=41).map(|number| delete(true, 1..=2, number));
    let calls: Vec<Call> = puts.chain(deletes).collect();
    let verdict = check(&history(&calls, &[]));
    assert!(
        matches!(
            verdict,
            Err(Rejection::Undecided {
                key: KEY,
                order: Err(_)
            })
        ),
        "{verdict:?}"
    );
}

#[test]
fn a_value_that_was_refused_is_named_with_its_put() {
    let calls = [put(1, 1..=2, 1), refused_put(2, 3..=4), get(2, 5..=6, 1)];
    let verdict = search::check(&history(&calls, &[]), search::MAX_STEPS);
    let violation = Violation {
        key: KEY,
        why: "value 2 was read, and no put can have left it".to_owned(),
        calls: calls[1..].to_vec(),
    };
    assert_eq!(verdict, Err(search::Failure::NoOrder(violation)));
}

#[test]
fn when_only_one_method_rejects_they_disagree() {
    let violation = some_violation();
    let no_order = Err(search::Failure::NoOrder(violation.clone()));
    let disagreement = |rejects| {
        Err(Rejection::Disagreement {
            rejects,
            violation: violation.clone(),
        })
    };
    assert_eq!(judge(no_order, Ok(())), disagreement(Method::Search));
    let wrong_log = Err(violation.clone());
    assert_eq!(judge(Ok(()), wrong_log), disagreement(Method::Order));
}

#[test]
fn when_both_reject_it_is_not_linearizable() {
    let (search, order) = (some_violation(), some_violation());
    let no_order = Err(search::Failure::NoOrder(search.clone()));
    let expected = Err(Rejection::NotLinearizable {
        search,
        order: order.clone(),
    });
    assert_eq!(judge(no_order, Err(order)), expected);
}

#[test]
fn a_rejection_names_the_calls_in_conflict() {
    let calls = [put(1, 1..=2, 1), put(2, 3..=4, 2), get(1, 5..=6, 2)];
    let log = [put_entry(1, 1), put_entry(2, 2)];
    let rejection = check(&history(&calls, &log)).expect_err("a stale read");
    assert_eq!(
        rejection.to_string(),
        "not linearizable\n\
         search: key 7: no order explains its calls; the longest places 1 of 3, leaves value 1, \
         and none of these can follow\n  \
         client 0 at 3: put key 7 value 2, told at 4: done, entry 2@1\n  \
         client 0 at 5: get key 7, told at 6: value 1, index 2\n\
         log order: key 7: the log holds value 2 at index 2\n  \
         client 0 at 5: get key 7, told at 6: value 1, index 2"
    );
}
