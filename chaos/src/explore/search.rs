//! Breadth first, so that a counterexample is as short as any.

use std::{
    any::Any,
    collections::HashSet,
    hash::BuildHasherDefault,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    action::Action,
    bound::Bound,
    key::Direct,
    marks::Marks,
    world::{Parts, World},
};

/// What a search found.
#[derive(Debug)]
pub struct Outcome {
    /// Different states, folded as the bound says.
    pub states: usize,
    /// Actions tried.
    pub transitions: u64,
    /// Actions on the longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// What happened on the way.
    pub marks: Marks,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a search ended.
#[derive(Debug)]
pub enum Verdict {
    /// Every state of the bound was visited, and every rule held.
    Exhausted,
    /// The limit of states was reached first. No rule was broken until then.
    Cut,
    /// A rule does not hold.
    Violated {
        /// Which, and how.
        rule: String,
        /// One shortest way there, an action a line.
        trace: Vec<String>,
    },
}

/// How a state was first reached: from which one, by what.
#[derive(Clone, Copy)]
struct Origin {
    from: u32,
    by: Action,
}

/// A broken rule: where, by what, and which.
struct Fault {
    from: u32,
    by: Option<Action>,
    rule: String,
}

/// A state that is yet to be gone on from, with its number.
type Open = (World, u32);

/// The states that have been seen, by key. Several locks, so that threads seldom meet.
struct Seen {
    shards: Vec<Mutex<HashSet<u128, BuildHasherDefault<Direct>>>>,
    count: AtomicUsize,
}

const SHARDS: usize = 64;

/// So many states are taken up at a time.
const BATCH: usize = 64;

impl Seen {
    fn new() -> Seen {
        Seen {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
        }
    }

    /// Whether this key is new.
    fn add(&self, key: u128) -> bool {
        let shard = (key >> 64) as usize % SHARDS;
        let new = self.shards[shard]
            .lock()
            .expect("no thread dies")
            .insert(key);
        if new {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        new
    }
}

/// One thread's part of a search.
struct Worker {
    parts: Parts,
    actions: Vec<Action>,
    transitions: u64,
    found: Vec<(World, Origin)>,
    faults: Vec<Fault>,
}

impl Worker {
    fn new() -> Worker {
        Worker {
            parts: Parts::new(),
            actions: Vec::new(),
            transitions: 0,
            found: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Takes up states of this level until none is left.
    fn work(
        &mut self,
        bound: &Bound,
        seen: &Seen,
        level: &[Open],
        taken: &AtomicUsize,
        stop: &AtomicBool,
    ) {
        while !stop.load(Ordering::Relaxed) {
            let start = taken.fetch_add(BATCH, Ordering::Relaxed);
            if start >= level.len() {
                return;
            }
            for (world, number) in &level[start..level.len().min(start + BATCH)] {
                self.go_on(bound, seen, world, *number);
            }
            let full = seen.count.load(Ordering::Relaxed) >= bound.max_states;
            if full || !self.faults.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }

    fn go_on(&mut self, bound: &Bound, seen: &Seen, world: &World, number: u32) {
        let mut actions = std::mem::take(&mut self.actions);
        world.actions(bound, &mut actions);
        for &by in &actions {
            self.transitions += 1;
            let result = attempt(|| {
                let Some(next) = world.apply(by, bound, &mut self.parts)? else {
                    return Ok(None);
                };
                if !seen.add(next.key(bound.folded)) {
                    return Ok(None);
                }
                next.check()?;
                Ok(Some(next))
            });
            let from = number;
            match result {
                Ok(None) => {}
                Ok(Some(next)) => self.found.push((next, Origin { from, by })),
                Err(rule) => self.faults.push(Fault {
                    from,
                    by: Some(by),
                    rule,
                }),
            }
        }
        self.actions = actions;
    }
}

/// Does it, and takes a panic for the broken rule that it is.
fn attempt<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|cause| Err(said(&*cause)))
}

fn said(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    let text = text.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

/// Visits the states of a bound with so many threads, with one on the caller's own. What there is
/// does not depend on the number of threads.
#[must_use]
pub fn run(bound: &Bound, threads: usize) -> Outcome {
    let began = Instant::now();
    let mut workers: Vec<Worker> = (0..threads.max(1)).map(|_| Worker::new()).collect();
    let seen = Seen::new();
    let mut origins: Vec<Origin> = Vec::new();
    let mut depth = 0;
    let start = attempt(|| World::start(bound, &mut workers[0].parts));
    let (mut level, mut fault): (Vec<Open>, Option<Fault>) = match start {
        Ok(world) => {
            seen.add(world.key(bound.folded));
            (vec![(world, 0)], None)
        }
        Err(rule) => {
            let (from, by) = (0, None);
            (Vec::new(), Some(Fault { from, by, rule }))
        }
    };
    let full = || seen.count.load(Ordering::Relaxed) >= bound.max_states;
    while fault.is_none() && !level.is_empty() && !full() {
        search_level(&mut workers, bound, &seen, &level);
        let faults = workers.iter_mut().flat_map(|w| w.faults.drain(..));
        // Of faults in one level the one that one thread alone would most likely meet first.
        fault = faults.min_by_key(|fault| fault.from);
        level.clear();
        for (world, origin) in workers.iter_mut().flat_map(|w| w.found.drain(..)) {
            origins.push(origin);
            let number = u32::try_from(origins.len()).expect("states fit 32 bits");
            level.push((world, number));
        }
        depth += usize::from(!level.is_empty());
    }
    let verdict = match fault {
        Some(fault) => violated(bound, &origins, fault),
        None if level.is_empty() => Verdict::Exhausted,
        None => Verdict::Cut,
    };
    Outcome {
        states: seen.count.load(Ordering::Relaxed),
        transitions: workers.iter().map(|worker| worker.transitions).sum(),
        depth,
        took: began.elapsed(),
        marks: workers
            .iter()
            .fold(Marks::default(), |all, w| all.and(w.parts.marks)),
        verdict,
    }
}

fn search_level(workers: &mut [Worker], bound: &Bound, seen: &Seen, level: &[Open]) {
    let (taken, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    if let [alone] = workers {
        return alone.work(bound, seen, level, &taken, &stop);
    }
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| worker.work(bound, seen, level, &taken, &stop));
        }
    });
}

/// Walks the way to a fault once more, to tell it.
fn violated(bound: &Bound, origins: &[Origin], fault: Fault) -> Verdict {
    let mut way: Vec<Action> = fault.by.into_iter().collect();
    let mut at = fault.from;
    while at > 0 {
        let origin = origins[at as usize - 1];
        way.push(origin.by);
        at = origin.from;
    }
    way.reverse();
    let mut trace = Vec::new();
    let mut parts = Parts::new();
    let told = attempt(|| {
        let mut world = World::start(bound, &mut parts)?;
        for action in way {
            trace.push(action.script(&world));
            let next = world.apply(action, bound, &mut parts)?;
            world = next.ok_or("the way leads out of the bound")?;
        }
        world.check()
    });
    let rule = told.err().unwrap_or(fault.rule);
    Verdict::Violated { rule, trace }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::explore::BOUNDS;

    /// Each state of the unfolded search, under the key that it has when folded.
    fn folded_keys(bound: &Bound) -> (usize, HashSet<u128>) {
        let mut parts = Parts::new();
        let mut open = vec![World::start(bound, &mut parts).expect("a start")];
        let (mut plain, mut folded) = (HashSet::new(), HashSet::new());
        let mut actions = Vec::new();
        while let Some(world) = open.pop() {
            if !plain.insert(world.key(false)) {
                continue;
            }
            folded.insert(world.key(true));
            world.actions(bound, &mut actions);
            for &action in &actions {
                open.extend(world.apply(action, bound, &mut parts).expect("no fault"));
            }
        }
        (plain.len(), folded)
    }

    #[test]
    fn folding_loses_no_state_but_those_that_differ_in_names() {
        let bound = &BOUNDS[0];
        let (plain, folded) = folded_keys(bound);
        let outcome = run(bound, 2);
        assert_eq!(outcome.states, folded.len());
        assert!(
            plain > 5 * folded.len(),
            "{plain} states, folded {}",
            folded.len()
        );
        let unfolded = Bound {
            folded: false,
            ..*bound
        };
        assert_eq!(run(&unfolded, 2).states, plain);
    }
}
