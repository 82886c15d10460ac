//! Virtual time: what is due when.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Microseconds since the start of the run.
pub type Micros = u64;

/// Something that is due. What is due at one moment comes in the order in which it was scheduled.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Micros, u64, T)>>,
    scheduled: u64,
    now: Micros,
}

impl<T: Ord> Queue<T> {
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
        self.heap.push(Reverse((at, self.scheduled, what)));
    }

    /// The next thing that is due by `until`; time moves there. Without one, time moves to
    /// `until`.
    pub(crate) fn next(&mut self, until: Micros) -> Option<T> {
        match self.heap.peek() {
            Some(Reverse((at, _, _))) if *at <= until => {
                let Reverse((at, _, what)) = self.heap.pop().expect("just seen");
                self.now = at;
                Some(what)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}
