//! Histories made by hand, each with its verdict.

mod moments;
mod reads;
mod the_log;
mod unknown_outcomes;
mod writes;

use super::{
    oracle::{is_linearizable, log_explains},
    *,
};
use crate::linearizability::{Method, Rejection, check};

/// Both methods accept it, and so does the definition. Who is recorded first is of no consequence.
fn good(calls: &[Call], committed: &[Committed]) {
    let mut history = history(calls, committed);
    assert!(is_linearizable(&history) && log_explains(&history));
    assert_eq!(check(&history), Ok(()));
    history.calls.reverse();
    assert_eq!(check(&history), Ok(()));
}

/// Both methods reject it, and so does the definition.
fn bad(calls: &[Call], committed: &[Committed]) {
    let mut history = history(calls, committed);
    assert!(!is_linearizable(&history) && !log_explains(&history));
    for _ in 0..2 {
        let verdict = check(&history);
        assert!(
            matches!(verdict, Err(Rejection::NotLinearizable { .. })),
            "{verdict:?}"
        );
        history.calls.reverse();
    }
}

/// Some order explains what clients saw, but not that of the log.
fn bad_by_the_log(calls: &[Call], committed: &[Committed], why: &str) {
    let history = history(calls, committed);
    match check(&history) {
        Err(Rejection::Disagreement {
            rejects: Method::Order,
            violation,
        }) => assert_eq!(violation.why, why),
        other => panic!("{other:?}"),
    }
    assert!(is_linearizable(&history) && !log_explains(&history));
}
