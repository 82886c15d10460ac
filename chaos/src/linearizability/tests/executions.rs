//! Executions that are legal by construction: one thing happens after the other, and each call
//! begins some time before and returns some time after its effect.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// From one effect to the next.
const PACE: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Told,
    /// Done, and nobody was told.
    Lost,
    /// Not done, and nobody was told.
    Never,
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    key: u32,
    request: u32,
    before: u64,
    after: u64,
    fate: Fate,
    /// Entries of no command that come before, as of a new leader in a new term.
    blanks: u64,
}

/// One to `most` steps on `keys` keys, some of which overlap many others.
pub(super) fn steps(most: usize, keys: u32) -> impl Strategy<Value = Vec<Step>> {
    steps_within(most, keys, 8 * PACE)
}

/// No two calls overlap, and each outcome is told.
pub(super) fn serial_steps(most: usize, keys: u32) -> impl Strategy<Value = Vec<Step>> {
    steps_within(most, keys, PACE / 2 - 1).prop_map(|mut steps| {
        steps.iter_mut().for_each(|step| step.fate = Fate::Told);
        steps
    })
}

pub(super) fn steps_within(most: usize, keys: u32, reach: u64) -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        16 => Just(Fate::Told),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Never),
        1 => Just(Fate::Refused),
    ];
    let blanks = prop_oneof![8 => Just(0u64), 1 => 1..3u64];
    let step = (0..keys, 0..8u32, 0..=reach, 0..=reach, fate, blanks);
    let step = step.prop_map(|(key, request, before, after, fate, blanks)| Step {
        key,
        request,
        before,
        after,
        fate,
        blanks,
    });
    prop::collection::vec(step, 1..=most)
}

pub(super) fn execution(steps: &[Step]) -> History {
    let mut history = History::default();
    let mut store: BTreeMap<Key, Value> = BTreeMap::new();
    let mut last = LogPos::ZERO;
    for (step, number) in steps.iter().zip(1u64..) {
        let key = Key(step.key);
        let request = match step.request {
            0..=2 => Request::Put(Value(number)),
            3 => Request::Delete,
            _ => Request::Get,
        };
        last.index.0 += step.blanks;
        last.term.0 += step.blanks.min(1);
        let held = store.get(&key).copied();
        let done = matches!(step.fate, Fate::Told | Fate::Lost);
        if done && request != Request::Get {
            last.index = last.index.next();
            history.committed.push(Committed {
                at: last,
                key,
                request,
            });
            match request {
                Request::Put(value) => drop(store.insert(key, value)),
                _ => drop(store.remove(&key)),
            }
        }
        let told = match (step.fate, request) {
            (Fate::Lost | Fate::Never, _) => None,
            (Fate::Refused, _) => Some(Told::Refused),
            (Fate::Told, Request::Put(_)) => Some(Told::Put { at: last }),
            (Fate::Told, Request::Delete) => Some(Told::Deleted {
                found: held.is_some(),
                at: last,
            }),
            (Fate::Told, Request::Get) => Some(Told::Got {
                value: held,
                at: last.index,
            }),
        };
        let effect = number * PACE;
        history.calls.push(Call {
            client: step.key,
            key,
            request,
            called: Moment(effect.saturating_sub(step.before)),
            told: told.map(|told| (told, Moment(effect + step.after))),
        });
    }
    history.calls.sort_by_key(|call| call.called);
    history
}

/// What is done to a history, and numbers that say where.
pub(super) type Damage = (u32, usize, u64);

/// None, one, or two of them.
pub(super) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    prop::collection::vec((0..14u32, 0..64usize, 0..64u64), 0..=2)
}

/// Damages what was told, when, or what was committed. The history stays well formed, and may
/// stay legal.
pub(super) fn damage(history: &mut History, (kind, place, amount): &Damage) {
    let entry = place % history.committed.len().max(1);
    let Some(committed) = history.committed.get(entry).copied() else {
        return;
    };
    let place = place % history.calls.len();
    let call = &mut history.calls[place];
    match kind {
        0 => drop(history.committed.remove(entry)),
        1 => {
            let again = committed.at.index.0 + amount % 4;
            let at = LogPos::new(committed.at.term, Index(again));
            history
                .committed
                .insert(entry + 1, Committed { at, ..committed });
        }
        2 => history.committed[entry].key.0 ^= 1,
        3 => {
            let other = *amount as usize % history.committed.len();
            history.committed[entry].request = history.committed[other].request;
            history.committed[other].request = committed.request;
        }
        4 => call.told = call.told.map(|(_, when)| (Told::Refused, when)),
        5 => call.told = None,
        6 => call.called.0 = call.called.0.saturating_sub(*amount),
        _ => {
            if let Some((told, when)) = &mut call.told {
                match (kind, told) {
                    (7, _) => when.0 += amount,
                    (8, Told::Put { at } | Told::Deleted { at, .. }) => at.index.0 += 1,
                    (8, Told::Got { at, .. }) => at.0 ^= 1,
                    (_, Told::Got { value, .. }) => {
                        *value = (amount % 7 > 0).then_some(Value(amount % 7));
                    }
                    (_, Told::Deleted { found, .. }) => *found = !*found,
                    (_, Told::Put { at }) => at.term.0 += 1,
                    (_, Told::Refused) => {}
                }
            }
        }
    }
}
