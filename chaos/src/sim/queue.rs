//! Virtual time: what is due when.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Microseconds since the start of the run.
pub type Micros = u64;

/// Something that is due. What is due at one moment comes in the order in which it was scheduled.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Item<T>>,
    scheduled: u64,
    now: Micros,
}

/// What is due, with its time and, below that, its number. The earliest is the greatest.
#[derive(Debug)]
struct Item<T> {
    key: u128,
    what: T,
}

impl<T> Ord for Item<T> {
    fn cmp(&self, other: &Item<T>) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Item<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Item<T>) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Item<T> {}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue {
            heap: BinaryHeap::new(),
            scheduled: 0,
            now: 0,
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    pub(crate) fn schedule(&mut self, at: Micros, what: T) {
        assert!(at >= self.now, "scheduled in the past");
        self.scheduled += 1;
        let key = u128::from(at) << 64 | u128::from(self.scheduled);
        self.heap.push(Item { key, what });
    }

    /// The next thing that is due by `until`; time moves there. Without one, time moves to
    /// `until`.
    pub(crate) fn next(&mut self, until: Micros) -> Option<T> {
        let due = |item: &Item<T>| (item.key >> 64) as Micros;
        match self.heap.peek().map(due) {
            Some(at) if at <= until => {
                self.now = at;
                self.heap.pop().map(|item| item.what)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}
