//! The definitions, tried on every sequence of the calls.

use std::{cell::Cell, collections::BTreeMap};

use proptest::{
    prelude::*,
    test_runner::{TestCaseResult, TestRunner},
};

use super::{
    executions::{damage, damages, execution, steps_within},
    *,
};

/// Whether some sequence of calls, with all that were told and were not refused, gives what was
/// told and has no call before one that had returned when it was called.
pub(super) fn is_linearizable(history: &History) -> bool {
    some_sequence(&mut Vec::new(), &effective(history), &|order| {
        gives_what_was_told(order) && keeps_time(order)
    })
}

/// Whether such a sequence exists that has the writes of the log, in its order, at its positions,
/// and each get between the entries that its index is between.
pub(super) fn log_explains(history: &History) -> bool {
    let rises = history
        .committed
        .windows(2)
        .all(|pair| pair[0].at.index < pair[1].at.index && pair[0].at.term <= pair[1].at.term);
    rises
        && some_sequence(&mut Vec::new(), &effective(history), &|order| {
            gives_what_was_told(order) && keeps_time(order) && is_the_log(order, &history.committed)
        })
}

fn effective(history: &History) -> Vec<Call> {
    let mut calls = history.calls.clone();
    calls.retain(|call| !matches!(call.told, Some((Told::Refused, _))));
    calls.retain(|call| call.told.is_some() || call.request != Request::Get);
    calls
}

fn some_sequence(order: &mut Vec<Call>, rest: &[Call], holds: &impl Fn(&[Call]) -> bool) -> bool {
    if rest.iter().all(|call| call.told.is_none()) && holds(order) {
        return true;
    }
    // Nothing can mend an order that is wrong already.
    gives_what_was_told(order)
        && (0..rest.len()).any(|next| {
            let mut others = rest.to_vec();
            order.push(others.remove(next));
            let found = some_sequence(order, &others, holds);
            order.pop();
            found
        })
}

fn gives_what_was_told(order: &[Call]) -> bool {
    let mut store = BTreeMap::new();
    order.iter().all(|call| {
        let held = store.get(&call.key).copied();
        match call.request {
            Request::Put(value) => drop(store.insert(call.key, value)),
            Request::Delete => drop(store.remove(&call.key)),
            Request::Get => {}
        }
        match call.told {
            Some((Told::Deleted { found, .. }, _)) => found == held.is_some(),
            Some((Told::Got { value, .. }, _)) => value == held,
            _ => true,
        }
    })
}

fn keeps_time(order: &[Call]) -> bool {
    (0..order.len()).all(|early| {
        order[early..].iter().all(|late| {
            let returned = late.told.map(|(_, when)| when);
            returned.is_none_or(|returned| returned >= order[early].called)
        })
    })
}

fn is_the_log(order: &[Call], committed: &[Committed]) -> bool {
    let mut last = Index::ZERO;
    let mut log = committed.iter().peekable();
    let fits = order.iter().all(|call| {
        let before = last;
        match call.told {
            Some((Told::Got { at, .. }, _)) => {
                last = at;
                before <= at && log.peek().is_none_or(|next| at < next.at.index)
            }
            told => log.next().is_some_and(|entry| {
                last = entry.at.index;
                let at = match told {
                    Some((Told::Put { at } | Told::Deleted { at, .. }, _)) => at,
                    _ => entry.at,
                };
                (entry.at, entry.key, entry.request) == (at, call.key, call.request)
            }),
        }
    });
    fits && log.next().is_none()
}

/// Up to six calls on up to two keys at few moments. What gets and deletes were told is drawn.
fn any_history() -> impl Strategy<Value = History> {
    let call = (0..8u32, 0..6u32, 0..8u64, 0..6u64, 0..7u64, 0..8u32);
    let calls = prop::collection::vec(call, 0..=6);
    (calls, any::<bool>()).prop_map(|(calls, one_key)| {
        let drawn = calls.iter().enumerate();
        let mut calls: Vec<Call> = drawn
            .map(|(number, (request, key, called, length, value, fate))| {
                let span = *called..=called + length;
                let mut call = match request {
                    0..=2 => put(number as u64 + 1, span, 0),
                    3..=4 => delete(*value % 2 == 0, span, 0),
                    _ if *value == 0 => get_absent(span, 0),
                    _ => get(*value, span, 0),
                };
                match fate {
                    0..=1 => call.told = None,
                    2 => call.told = call.told.map(|(_, when)| (Told::Refused, when)),
                    _ => {}
                }
                call.key = Key(if one_key || *key > 0 { 0 } else { 1 });
                call
            })
            .collect();
        calls.sort_by_key(|call| call.called);
        History {
            calls,
            committed: Vec::new(),
        }
    })
}

/// Up to six calls on up to two keys that happened so, then damaged in up to two places.
fn small_and_damaged() -> impl Strategy<Value = History> {
    (steps_within(6, 2, 25), damages()).prop_map(|(steps, damages)| {
        let mut history = execution(&steps);
        damages.iter().for_each(|d| damage(&mut history, d));
        history
    })
}

/// Runs a test on many cases and asserts that each verdict is that of at least a twentieth.
fn on_many<T: Strategy>(
    cases: u32,
    strategy: &T,
    test: impl Fn(T::Value) -> (bool, TestCaseResult),
) {
    let (accepted, rejected) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(strategy, |value| {
        let (verdict, result) = test(value);
        let count = if verdict { &accepted } else { &rejected };
        count.set(count.get() + 1);
        result
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (accepted, rejected) = (accepted.get(), rejected.get());
    assert!(
        accepted.min(rejected) >= cases / 20,
        "{accepted} accepted, {rejected} rejected"
    );
}

fn same(verdict: bool, expected: bool) -> TestCaseResult {
    prop_assert_eq!(verdict, expected);
    Ok(())
}

#[test]
fn the_search_accepts_what_some_sequence_explains_and_nothing_else() {
    on_many(20_000, &any_history(), |history| {
        let expected = is_linearizable(&history);
        (expected, same(search_accepts(&history), expected))
    });
}

#[test]
fn the_search_of_a_damaged_execution_accepts_what_some_sequence_explains_and_nothing_else() {
    on_many(5_000, &small_and_damaged(), |history| {
        let expected = is_linearizable(&history);
        (expected, same(search_accepts(&history), expected))
    });
}

#[test]
fn the_order_of_the_log_is_accepted_if_it_explains_the_calls_and_never_else() {
    on_many(20_000, &small_and_damaged(), |history| {
        let expected = log_explains(&history);
        (expected, same(order_accepts(&history), expected))
    });
}
