//! The search for an order, of Wing and Gong, with Lowe's memo: depth first, always to a call that
//! no other one must precede, and never twice to the same calls placed with the same value left.
//!
//! Keys are searched one by one: a history is linearizable if its part for each key is. Only what
//! clients saw is used, never a position in the log. Whatever is cut off below, an order that is
//! found is built of steps that are legal one by one, so cutting too much can reject, not accept.

use std::collections::{BTreeMap, HashSet};

use super::Violation;
use crate::history::{Call, History, Key, Moment, Request, Told, Value};

/// How many calls may be looked at for one key. A key of a usual history takes a hundred. This many
/// take less than a second, and suffice for any order of sixteen concurrent puts that fits nowhere.
pub(super) const MAX_STEPS: u64 = 1 << 22;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    NoOrder(Violation),
    OutOfSteps(Key),
}

pub(super) fn check(history: &History, max_steps: u64) -> Result<(), Failure> {
    let mut keys: BTreeMap<Key, Vec<&Call>> = BTreeMap::new();
    for call in &history.calls {
        keys.entry(call.key).or_default().push(call);
    }
    for (key, calls) in keys {
        let register = Register::new(key, calls).map_err(Failure::NoOrder)?;
        Search::new(&register).run(max_steps)?;
    }
    Ok(())
}

/// What the key holds. Values that no client read are not told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    Unread,
    /// The value of this number among those that were read.
    Read(usize),
}

#[derive(Clone, Copy)]
enum Act {
    Put(State),
    Delete { found: bool },
    Get(State),
}

/// A call whose outcome was told. It has to be placed.
struct Op<'a> {
    act: Act,
    told: Moment,
    call: &'a Call,
}

/// The calls for one key. Gets of unknown outcome and refused calls tell nothing and are left out.
///
/// A write of unknown outcome may be placed at any time after it was called, or never. It is never
/// placed for its own sake. Take any order. If what follows such a write does not depend on what
/// the key holds (it is a put, or another write of unknown outcome, or nothing), then without the
/// write the order is as good. So is it if what follows fits without the write too. What is left
/// are writes just before a get or a told delete that needs them, and only there are they placed:
/// - a put whose value was read: before a get of it. Before a delete its value would be lost, and
///   the get could have no place.
/// - any other put: before a delete that found the key. These differ only in when they were
///   called, and of those already called each is as good as the other, so the first is taken.
/// - a delete: before a get or a delete that did not find the key. Likewise.
struct Register<'a> {
    key: Key,
    /// By the moment at which they were called.
    ops: Vec<Op<'a>>,
    /// When deletes of unknown outcome were called, in order.
    unknown_deletes: Vec<Moment>,
    /// When puts of unknown outcome whose values were not read were called, in order.
    unread_puts: Vec<Moment>,
    /// The values that were read, in order. Below, each goes by its number here.
    values: Vec<Value>,
    /// The put of each value, if there is one.
    puts: Vec<Option<&'a Call>>,
    /// How many gets read each value.
    reads: Vec<u32>,
}

impl<'a> Register<'a> {
    fn new(key: Key, mut calls: Vec<&'a Call>) -> Result<Register<'a>, Violation> {
        let mut values: Vec<Value> = calls.iter().filter_map(|call| value_read(call)).collect();
        values.sort_unstable();
        values.dedup();
        let mut register = Register {
            key,
            ops: Vec::new(),
            unknown_deletes: Vec::new(),
            unread_puts: Vec::new(),
            puts: vec![None; values.len()],
            reads: vec![0; values.len()],
            values,
        };
        calls.sort_by_key(|call| call.called);
        for call in &calls {
            register.add(call);
        }
        match register.puts.iter().position(Option::is_none) {
            None => Ok(register),
            Some(number) => Err(never_put(key, register.values[number], &calls)),
        }
    }

    fn state_after_put(&self, value: Value) -> State {
        let number = self.values.binary_search(&value);
        number.map_or(State::Unread, State::Read)
    }

    fn add(&mut self, call: &'a Call) {
        let act = match (call.request, call.told) {
            (_, Some((Told::Refused, _))) | (Request::Get, None) => return,
            (Request::Put(value), told) => {
                let state = self.state_after_put(value);
                if let State::Read(number) = state {
                    self.puts[number] = Some(call);
                } else if told.is_none() {
                    self.unread_puts.push(call.called);
                }
                Act::Put(state)
            }
            (Request::Delete, told) => {
                if told.is_none() {
                    self.unknown_deletes.push(call.called);
                }
                let found = matches!(told, Some((Told::Deleted { found: true, .. }, _)));
                Act::Delete { found }
            }
            (Request::Get, Some(_)) => Act::Get(match value_read(call) {
                None => State::Absent,
                Some(value) => {
                    let number = self.values.binary_search(&value).expect("collected before");
                    self.reads[number] += 1;
                    State::Read(number)
                }
            }),
        };
        if let Some((_, told)) = call.told {
            self.ops.push(Op { act, told, call });
        }
    }
}

fn value_read(call: &Call) -> Option<Value> {
    match call.told {
        Some((Told::Got { value, .. }, _)) => value,
        _ => None,
    }
}

/// Found before any search, which would try all orders of all other calls.
fn never_put(key: Key, value: Value, calls: &[&Call]) -> Violation {
    let concerns =
        |call: &Call| call.request == Request::Put(value) || value_read(call) == Some(value);
    Violation {
        key,
        why: format!("value {} was read, and no put can have left it", value.0),
        calls: calls.iter().map(|c| **c).filter(concerns).collect(),
    }
}

/// The ops that are not placed yet, in some order. What was removed last is put back first.
struct List {
    /// For each op the one after it; at the end the number of ops, which stands for none. At that
    /// number, the first.
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl List {
    fn new(order: &[usize]) -> List {
        let none = order.len();
        let mut list = List {
            next: vec![none; none + 1],
            previous: vec![none; none + 1],
        };
        let mut last = none;
        for op in order {
            list.next[last] = *op;
            list.previous[*op] = last;
            last = *op;
        }
        list.previous[none] = last;
        list
    }

    fn first(&self) -> usize {
        self.next[self.next.len() - 1]
    }

    fn after(&self, op: usize) -> usize {
        self.next[op]
    }

    fn remove(&mut self, op: usize) {
        let (previous, next) = (self.previous[op], self.next[op]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn put_back(&mut self, op: usize) {
        let (previous, next) = (self.previous[op], self.next[op]);
        self.next[previous] = op;
        self.previous[next] = op;
    }
}

/// What may change when an op is placed.
#[derive(Clone, Copy)]
struct Left {
    state: State,
    deletes_used: usize,
    puts_used: usize,
}

struct Placed {
    op: usize,
    before: Left,
    /// Nothing else has to be tried in its stead.
    sure: bool,
}

/// How far the search came before it had to turn back.
struct Stuck {
    placed: usize,
    state: State,
    /// What could be next and does not fit, and what still reads the value that is there.
    ops: Vec<usize>,
}

struct Search<'a> {
    register: &'a Register<'a>,
    by_call: List,
    by_return: List,
    left: Left,
    reads_left: Vec<u32>,
    placed: Vec<Placed>,
    /// The same as bits.
    set: Vec<u64>,
    /// Only asked whether it has an element, so that its order is of no consequence.
    seen: HashSet<Box<[u64]>>,
    stuck: Option<Stuck>,
    steps: u64,
}

impl<'a> Search<'a> {
    fn new(register: &'a Register<'a>) -> Search<'a> {
        let count = register.ops.len();
        let calls: Vec<usize> = (0..count).collect();
        let mut returns = calls.clone();
        returns.sort_by_key(|op| register.ops[*op].told);
        Search {
            register,
            by_call: List::new(&calls),
            by_return: List::new(&returns),
            left: Left {
                state: State::Absent,
                deletes_used: 0,
                puts_used: 0,
            },
            reads_left: register.reads.clone(),
            placed: Vec::with_capacity(count),
            set: vec![0; count.div_ceil(64)],
            seen: HashSet::new(),
            stuck: None,
            steps: 0,
        }
    }

    fn run(mut self, max_steps: u64) -> Result<(), Failure> {
        self.place_what_fits();
        let mut op = self.by_call.first();
        while self.placed.len() < self.register.ops.len() {
            if self.steps >= max_steps {
                return Err(Failure::OutOfSteps(self.register.key));
            }
            self.steps += 1;
            if !self.may_be_next(op) {
                self.note_how_far();
                let Some(tried) = self.take_back() else {
                    return Err(Failure::NoOrder(self.no_order()));
                };
                op = self.by_call.after(tried);
            } else if self.try_to_place(op) {
                self.place_what_fits();
                op = self.by_call.first();
            } else {
                op = self.by_call.after(op);
            }
        }
        Ok(())
    }

    /// When the first of what is not placed returned. What was called later must wait.
    fn deadline(&self) -> Moment {
        let first = self.register.ops.get(self.by_return.first());
        first.map_or(Moment(u64::MAX), |op| op.told)
    }

    /// Equal moments are concurrent.
    fn may_be_next(&self, op: usize) -> bool {
        let op = self.register.ops.get(op);
        op.is_some_and(|op| op.call.called <= self.deadline())
    }

    /// Places all that may be next, fits and changes nothing. If an order exists from here on, one
    /// exists in which these come first: moved there, they fit and disturb no other. One pass is
    /// enough: what a placed op lets in was called later, and is still to come.
    fn place_what_fits(&mut self) {
        let mut op = self.by_call.first();
        while self.may_be_next(op) {
            self.steps += 1;
            let next = self.by_call.after(op);
            let fits = match self.register.ops[op].act {
                Act::Get(state) => state == self.left.state,
                Act::Delete { found } => !found && self.left.state == State::Absent,
                Act::Put(_) => false,
            };
            if fits {
                self.place(op, self.left, true);
            }
            op = next;
        }
    }

    fn try_to_place(&mut self, op: usize) -> bool {
        let Some(after) = self.after(op) else {
            return false;
        };
        self.place(op, after, false);
        let new = self.seen.insert(self.memo());
        if !new {
            self.take_back();
        }
        new
    }

    /// What an op leaves that does not fit as things are, or changes them, with a write of unknown
    /// outcome before it if it needs one.
    fn after(&self, op: usize) -> Option<Left> {
        let mut left = self.left;
        // Each value was put once. Lost, it could not be read again.
        if let State::Read(value) = left.state
            && self.reads_left[value] > 0
        {
            return None;
        }
        let deadline = self.deadline();
        let called = |when: Option<&Moment>| when.is_some_and(|when| *when <= deadline);
        let register = self.register;
        match (register.ops[op].act, left.state) {
            (Act::Put(state), _) => left.state = state,
            (Act::Delete { found: true }, State::Absent) => {
                if !called(register.unread_puts.get(left.puts_used)) {
                    return None;
                }
                left.puts_used += 1;
            }
            (Act::Delete { found: true }, _) => left.state = State::Absent,
            (Act::Get(state @ State::Read(value)), _) => {
                // Were it placed already, it would still be there, for it has reads left.
                let unknown = register.puts[value].filter(|put| put.told.is_none());
                if !called(unknown.map(|put| &put.called)) {
                    return None;
                }
                left.state = state;
            }
            (Act::Delete { found: false } | Act::Get(_), _) => {
                if !called(register.unknown_deletes.get(left.deletes_used)) {
                    return None;
                }
                left.deletes_used += 1;
                left.state = State::Absent;
            }
        }
        Some(left)
    }

    fn place(&mut self, op: usize, after: Left, sure: bool) {
        let before = std::mem::replace(&mut self.left, after);
        self.placed.push(Placed { op, before, sure });
        self.by_call.remove(op);
        self.by_return.remove(op);
        self.set[op / 64] |= 1 << (op % 64);
        if let Act::Get(State::Read(value)) = self.register.ops[op].act {
            self.reads_left[value] -= 1;
        }
    }

    /// Takes back the last op that has alternatives, and all after it.
    fn take_back(&mut self) -> Option<usize> {
        while let Some(Placed { op, before, sure }) = self.placed.pop() {
            self.left = before;
            self.by_return.put_back(op);
            self.by_call.put_back(op);
            self.set[op / 64] &= !(1 << (op % 64));
            if let Act::Get(State::Read(value)) = self.register.ops[op].act {
                self.reads_left[value] += 1;
            }
            if !sure {
                return Some(op);
            }
        }
        None
    }

    /// All that the future depends on: the ops placed, whether the key is there, and how many
    /// writes of unknown outcome are used up. Which value is there need not be said: if it has
    /// reads left, it is the one value that was put and has, and if not, nothing depends on it.
    /// Whole words of placed ops at the begin count by their number.
    fn memo(&self) -> Box<[u64]> {
        let full = self.by_call.first() / 64;
        let end = self.set.iter().rposition(|word| *word != 0);
        let words = &self.set[full..end.map_or(full, |end| end + 1).max(full)];
        let present = u64::from(self.left.state != State::Absent);
        let used = (self.left.deletes_used as u64) << 32 | self.left.puts_used as u64;
        [full as u64, present, used]
            .into_iter()
            .chain(words.iter().copied())
            .collect()
    }

    fn note_how_far(&mut self) {
        if let Some(stuck) = &self.stuck
            && stuck.placed >= self.placed.len()
        {
            return;
        }
        let mut ops = Vec::new();
        let mut op = self.by_call.first();
        while op < self.register.ops.len() {
            let reads_it = match (self.register.ops[op].act, self.left.state) {
                (Act::Get(State::Read(read)), State::Read(held)) => read == held,
                _ => false,
            };
            if reads_it || self.may_be_next(op) {
                ops.push(op);
            }
            op = self.by_call.after(op);
        }
        self.stuck = Some(Stuck {
            placed: self.placed.len(),
            state: self.left.state,
            ops,
        });
    }

    fn no_order(&self) -> Violation {
        let stuck = self.stuck.as_ref().expect("noted before it turned back");
        let holds = match stuck.state {
            State::Absent => "nothing".to_owned(),
            State::Unread => "a value that nobody read".to_owned(),
            State::Read(number) => format!("value {}", self.register.values[number].0),
        };
        let ops = &self.register.ops;
        Violation {
            key: self.register.key,
            why: format!(
                "no order explains its calls; the longest places {} of {}, leaves {holds}, and \
                 none of these can follow",
                stuck.placed,
                ops.len()
            ),
            calls: stuck.ops.iter().map(|op| *ops[*op].call).collect(),
        }
    }
}
