//! The order of the log, checked: replayed, it gives what clients were told, and it keeps what
//! they saw to be earlier and later.
//!
//! Every call of known effect has a place: a write that of its entry, a read just after the last
//! entry that was applied. It is enough to look once along the time: among all calls that returned
//! before another was called, only the one with the last place can be at odds with it.

use std::collections::BTreeMap;

use raftkv::raft::{Index, LogPos};

use super::Violation;
use crate::history::{Call, Committed, History, Key, Moment, Request, Told, Value};

/// Where a call stands in the order. A write stands before the reads of its index, so that no
/// two calls share a place but reads, and they may stand in either order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Start,
    At(Index, Kind),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Write,
    Read,
}

pub(super) fn check(history: &History) -> Result<(), Violation> {
    let mut log = Log::replay(&history.committed)?;
    let mut placed = Vec::new();
    let mut unknown_deletes = Vec::new();
    for call in &history.calls {
        match (call.told, call.request) {
            (Some((Told::Got { value, at }, _)), _) => {
                log.shows(call, value, at)?;
                placed.push((call, Place::At(at, Kind::Read)));
            }
            (Some((Told::Put { at }, _)), _) => {
                log.claim(call, at)?;
                placed.push((call, Place::At(at.index, Kind::Write)));
            }
            (Some((Told::Deleted { found, at }, _)), _) => {
                log.claim(call, at)?.found(call, found)?;
                placed.push((call, Place::At(at.index, Kind::Write)));
            }
            (None, Request::Put(value)) => {
                if let Some(at) = log.put_of(value) {
                    log.claim(call, at)?;
                    placed.push((call, Place::At(at.index, Kind::Write)));
                }
            }
            (None, Request::Delete) => unknown_deletes.push(call),
            (None, Request::Get) | (Some((Told::Refused, _)), _) => {}
        }
    }
    let earlier = Earlier::new(&placed);
    for (call, place) in &placed {
        earlier.allows(call, *place)?;
    }
    log.explain_the_rest(&unknown_deletes, &earlier, &history.calls)
}

fn violation(key: Key, why: String, calls: &[&Call]) -> Violation {
    Violation {
        key,
        why,
        calls: calls.iter().map(|call| **call).collect(),
    }
}

struct Entry<'a> {
    committed: Committed,
    /// Whether the key was there before.
    found: bool,
    /// The call that the entry is of, once known.
    call: Option<&'a Call>,
}

impl Entry<'_> {
    fn found(&self, call: &Call, told: bool) -> Result<(), Violation> {
        if told == self.found {
            return Ok(());
        }
        let why = match told {
            true => "a delete found what the log does not hold before it",
            false => "a delete did not find what the log holds before it",
        };
        Err(violation(call.key, why.to_owned(), &[call]))
    }
}

/// The committed commands with what they find and leave.
struct Log<'a> {
    entries: Vec<Entry<'a>>,
    /// What each key holds from an index on.
    values: BTreeMap<Key, Vec<(Index, Option<Value>)>>,
    puts: BTreeMap<Value, LogPos>,
}

impl<'a> Log<'a> {
    fn replay(committed: &[Committed]) -> Result<Log<'a>, Violation> {
        let mut log = Log {
            entries: Vec::new(),
            values: BTreeMap::new(),
            puts: BTreeMap::new(),
        };
        let mut last = LogPos::ZERO;
        for command in committed {
            let (at, key) = (command.at, command.key);
            if at.index <= last.index || at.term < last.term {
                let why = format!("entry {at} follows entry {last} in the log");
                return Err(violation(key, why, &[]));
            }
            last = at;
            let value = match command.request {
                Request::Put(value) => Some(value),
                Request::Delete | Request::Get => None,
            };
            if let Some(value) = value
                && let Some(first) = log.puts.insert(value, at)
            {
                let why = format!("value {} is put at {first} and at {at}", value.0);
                return Err(violation(key, why, &[]));
            }
            let values = log.values.entry(key).or_default();
            let found = values.last().is_some_and(|(_, before)| before.is_some());
            values.push((at.index, value));
            log.entries.push(Entry {
                committed: *command,
                found,
                call: None,
            });
        }
        Ok(log)
    }

    fn put_of(&self, value: Value) -> Option<LogPos> {
        self.puts.get(&value).copied()
    }

    /// The entry at `at`, which must be of this call and of no other.
    fn claim(&mut self, call: &'a Call, at: LogPos) -> Result<&Entry<'a>, Violation> {
        let found = self
            .entries
            .binary_search_by_key(&at.index, |entry| entry.committed.at.index);
        let Some(entry) = found.ok().map(|number| &mut self.entries[number]) else {
            let why = format!("the log holds no command at {at}");
            return Err(violation(call.key, why, &[call]));
        };
        let theirs = entry.committed;
        if theirs.at != at || theirs.key != call.key || theirs.request != call.request {
            let why = format!("the log holds another command at {at}: {theirs:?}");
            return Err(violation(call.key, why, &[call]));
        }
        if let Some(other) = entry.call.replace(call) {
            let why = format!("entry {at} answers two calls");
            return Err(violation(call.key, why, &[other, call]));
        }
        Ok(entry)
    }

    fn shows(&self, call: &Call, told: Option<Value>, at: Index) -> Result<(), Violation> {
        let values = self.values.get(&call.key).map_or(&[][..], Vec::as_slice);
        let held = match values.partition_point(|(from, _)| *from <= at) {
            0 => None,
            count => values[count - 1].1,
        };
        if held == told {
            return Ok(());
        }
        let held = held.map_or("nothing".to_owned(), |value| format!("value {}", value.0));
        let why = format!("the log holds {held} at index {at}");
        Err(violation(call.key, why, &[call]))
    }

    /// Every entry without a call must be of a delete of unknown outcome. Which one, nobody can
    /// tell. Each may be anywhere after what returned before it was called, so if any assignment
    /// exists, then the one of the first entry to the delete that may be first, and so on.
    fn explain_the_rest(
        &self,
        unknown: &[&Call],
        earlier: &Earlier<'_>,
        calls: &[Call],
    ) -> Result<(), Violation> {
        let mut open: BTreeMap<Key, Vec<(Place, &Call)>> = BTreeMap::new();
        for call in unknown {
            let bound = earlier
                .last_before(call)
                .map_or(Place::Start, |last| last.0);
            open.entry(call.key).or_default().push((bound, call));
        }
        for deletes in open.values_mut() {
            deletes.sort_by_key(|(bound, _)| std::cmp::Reverse(*bound));
        }
        for entry in self.entries.iter().filter(|entry| entry.call.is_none()) {
            let Committed { at, key, request } = entry.committed;
            if let Request::Put(_) = request {
                let refused: Vec<&Call> = calls.iter().filter(|c| c.request == request).collect();
                let why = match refused.is_empty() {
                    true => format!("the put at {at} is of no call"),
                    false => format!("the put at {at} was refused"),
                };
                return Err(violation(key, why, &refused));
            }
            match open.get_mut(&key).and_then(Vec::pop) {
                None => {
                    let why = format!("the delete at {at} is of no call");
                    return Err(violation(key, why, &[]));
                }
                Some((bound, call)) if bound > Place::At(at.index, Kind::Write) => {
                    let why = format!("the delete at {at} stands before its call was sent");
                    return Err(violation(key, why, &[call]));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// For every moment, the last place of a call that had returned before it.
struct Earlier<'a> {
    /// Rising in both; only calls of known outcome return.
    steps: Vec<(Moment, Place, &'a Call)>,
}

impl<'a> Earlier<'a> {
    fn new(placed: &[(&'a Call, Place)]) -> Earlier<'a> {
        let mut steps: Vec<(Moment, Place, &Call)> = placed
            .iter()
            .filter_map(|(call, place)| call.told.map(|(_, when)| (when, *place, *call)))
            .collect();
        steps.sort_by_key(|(when, place, _)| (*when, *place));
        let mut last = Place::Start;
        steps.retain(|(_, place, _)| {
            let later = *place > last;
            last = last.max(*place);
            later
        });
        Earlier { steps }
    }

    fn last_before(&self, call: &Call) -> Option<(Place, &'a Call)> {
        let count = self.steps.partition_point(|(when, ..)| *when < call.called);
        let (_, place, call) = self.steps[..count].last()?;
        Some((*place, call))
    }

    fn allows(&self, call: &Call, place: Place) -> Result<(), Violation> {
        match self.last_before(call) {
            Some((last, earlier)) if last > place => {
                let why = "a call returned before another was sent, but stands after it".to_owned();
                Err(violation(call.key, why, &[earlier, call]))
            }
            _ => Ok(()),
        }
    }
}
