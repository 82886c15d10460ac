//! Legal executions are accepted; with damage that is certainly illegal they are rejected.

use proptest::prelude::*;

use super::{
    executions::{damage, damages, execution, serial_steps, steps},
    *,
};
use crate::linearizability::{Method, Rejection, check};

/// A call of those with such an answer, if there is one.
fn pick(history: &mut History, nth: usize, is: impl Fn(&Call) -> bool) -> Option<&mut Call> {
    let some: Vec<&mut Call> = history.calls.iter_mut().filter(|call| is(call)).collect();
    let count = some.len();
    some.into_iter().nth(nth % count.max(1))
}

fn is_get(call: &Call) -> bool {
    matches!(call.told, Some((Told::Got { .. }, _)))
}

fn is_write(call: &Call) -> bool {
    matches!(
        call.told,
        Some((Told::Put { .. } | Told::Deleted { .. }, _))
    )
}

fn show(call: &mut Call, shown: Option<Value>) {
    let Some((Told::Got { value, .. }, _)) = &mut call.told else {
        panic!("no get: {call:?}");
    };
    *value = shown;
}

fn both_reject(history: &History) -> bool {
    matches!(check(history), Err(Rejection::NotLinearizable { .. }))
}

/// What the values allow, so that the log alone can tell.
fn only_order_rejects(history: &History) -> bool {
    let rejected = check(history);
    matches!(
        rejected,
        Err(Rejection::Disagreement {
            rejects: Method::Order,
            ..
        })
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_legal_execution_is_accepted(steps in steps(200, 5)) {
        prop_assert_eq!(check(&execution(&steps)), Ok(()));
    }

    #[test]
    fn what_the_log_explains_the_search_explains(
        steps in steps(60, 3),
        damages in damages(),
    ) {
        let mut history = execution(&steps);
        damages.iter().for_each(|d| damage(&mut history, d));
        prop_assert!(search_accepts(&history) || !order_accepts(&history));
    }

    #[test]
    fn a_read_of_a_value_that_was_never_put_is_rejected(steps in steps(100, 3), nth: usize) {
        let mut history = execution(&steps);
        if let Some(get) = pick(&mut history, nth, is_get) {
            show(get, Some(Value(1_000_000)));
            prop_assert!(both_reject(&history));
        }
    }

    #[test]
    fn an_acknowledged_write_that_is_not_in_the_log_is_rejected(
        steps in steps(100, 3),
        nth: usize,
    ) {
        let mut history = execution(&steps);
        if let Some(write) = pick(&mut history, nth, is_write) {
            let lost = write.told;
            history.committed.retain(|entry| match lost {
                Some((Told::Put { at } | Told::Deleted { at, .. }, _)) => entry.at != at,
                _ => true,
            });
            prop_assert!(only_order_rejects(&history));
        }
    }

    #[test]
    fn a_write_told_another_term_is_rejected(steps in steps(100, 3), nth: usize) {
        let mut history = execution(&steps);
        if let Some(write) = pick(&mut history, nth, is_write)
            && let Some((Told::Put { at } | Told::Deleted { at, .. }, _)) = &mut write.told
        {
            at.term.0 += 1;
            prop_assert!(only_order_rejects(&history));
        }
    }

    /// A delete might be told the entry of another delete, of unknown outcome, and be right.
    #[test]
    fn a_put_told_another_index_is_rejected(steps in steps(100, 3), nth: usize) {
        let mut history = execution(&steps);
        let puts = |call: &Call| is_write(call) && call.request != Request::Delete;
        if let Some(put) = pick(&mut history, nth, puts)
            && let Some((Told::Put { at }, _)) = &mut put.told
        {
            at.index.0 += 1;
            prop_assert!(only_order_rejects(&history));
        }
    }

    #[test]
    fn a_delete_told_the_opposite_is_rejected(steps in serial_steps(60, 2), nth: usize) {
        let mut history = execution(&steps);
        let deletes = |call: &Call| call.request == Request::Delete;
        if let Some(delete) = pick(&mut history, nth, deletes)
            && let Some((Told::Deleted { found, .. }, _)) = &mut delete.told
        {
            *found = !*found;
            prop_assert!(both_reject(&history));
        }
    }

    #[test]
    fn a_read_of_what_was_there_before_is_rejected(steps in serial_steps(60, 2), nth: usize) {
        let mut history = execution(&steps);
        let mut stale = Vec::new();
        for (number, call) in history.calls.iter().enumerate().filter(|(_, c)| is_get(c)) {
            let earlier = history.calls[..number].iter().filter(|c| c.key == call.key);
            let writes: Vec<&Call> = earlier.filter(|c| is_write(c)).collect();
            if let [.., before, last] = writes.as_slice()
                && before.request != last.request
            {
                stale.push((number, before.request));
            }
        }
        if !stale.is_empty() {
            let (number, before) = stale[nth % stale.len()];
            let Request::Put(value) = before else {
                show(&mut history.calls[number], None);
                prop_assert!(both_reject(&history));
                return Ok(());
            };
            show(&mut history.calls[number], Some(value));
            prop_assert!(both_reject(&history));
        }
    }
}
