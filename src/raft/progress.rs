//! What a leader knows of one follower's log, and how it sends to it.

use std::collections::VecDeque;

use super::types::{Index, Round, Snapshot};

/// How entries go to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Where the logs part is not known: one append at a time.
    Probe {
        /// One is under way.
        waiting: bool,
    },
    /// The logs match: appends follow each other without waiting. Holds the last index of each
    /// that is under way.
    Stream { in_flight: VecDeque<Index> },
    /// It lacks what our log has no more, and was offered this snapshot: nothing is appended until
    /// it has what that includes.
    Snapshot { offered: Snapshot },
}

/// A follower as its leader sees it. `matched < next` always: what is known to be there is never
/// sent again.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// `matchIndex`: durably there and equal to ours.
    pub(super) matched: Index,
    /// `nextIndex`: the next entry to send.
    pub(super) next: Index,
    pub(super) flow: Flow,
    /// The newest read round that it confirmed.
    pub(super) round: Round,
    /// The leader's tick when it was last heard.
    pub(super) heard_at: u64,
}

impl Progress {
    /// At the start of a term `nextIndex` is one past the leader's last entry (Figure 2).
    pub(super) fn new(last: Index, now: u64) -> Progress {
        Progress {
            matched: Index::ZERO,
            next: last.next(),
            flow: Flow::Probe { waiting: false },
            round: Round::ZERO,
            heard_at: now,
        }
    }

    /// It holds our entries up to `index`. Returns whether that moved or proved anything.
    pub(super) fn matched(&mut self, index: Index) -> bool {
        let proved = matches!(self.flow, Flow::Probe { .. }) && index >= self.next.before();
        let moved = index > self.matched;
        self.matched = match planted!("match_lowered_by_a_late_ack") {
            true => index,
            false => self.matched.max(index),
        };
        self.next = self.next.max(self.matched.next());
        match &mut self.flow {
            Flow::Probe { .. } if proved => {
                self.flow = Flow::Stream {
                    in_flight: VecDeque::new(),
                };
            }
            Flow::Probe { .. } | Flow::Snapshot { .. } => {}
            Flow::Stream { in_flight } => {
                while in_flight.front().is_some_and(|&last| last <= index) {
                    in_flight.pop_front();
                }
            }
        }
        moved || proved
    }

    /// Whether a refusal of the append after `rejected` is about what we believe now: answers
    /// arrive late and twice, and an old one must not move `next` back (etcd-io/raft #149).
    pub(super) fn refusal_is_current(&self, rejected: Index) -> bool {
        if planted!("next_lowered_by_a_late_refusal") {
            return true;
        }
        match self.flow {
            Flow::Probe { .. } => rejected > self.matched && rejected == self.next.before(),
            Flow::Stream { .. } => rejected > self.matched && rejected < self.next,
            // Of a probe before the offer.
            Flow::Snapshot { .. } => false,
        }
    }

    /// Any acknowledgement that our log reaches back to ends an offer: the follower need not have
    /// taken that very snapshot.
    pub(super) fn rejoined(&mut self, base: Index) -> bool {
        let rejoined = matches!(self.flow, Flow::Snapshot { .. }) && self.matched >= base;
        if rejoined {
            self.flow = Flow::Stream {
                in_flight: VecDeque::new(),
            };
        }
        rejoined
    }

    /// Its log forks from ours: try `next` instead, one append at a time.
    pub(super) fn go_back(&mut self, next: Index) {
        self.next = match planted!("next_lowered_by_a_late_refusal") {
            true => next,
            false => next.max(self.matched.next()),
        };
        self.flow = Flow::Probe { waiting: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streaming(matched: u64, next: u64) -> Progress {
        let mut progress = Progress::new(Index(matched), 0);
        assert!(progress.matched(Index(matched)));
        progress.next = Index(next);
        progress
    }

    #[test]
    fn a_late_ack_never_lowers_what_is_known() {
        let mut progress = streaming(5, 9);
        assert!(!progress.matched(Index(3)));
        assert_eq!((progress.matched, progress.next), (Index(5), Index(9)));
    }

    #[test]
    fn a_refusal_below_the_match_is_late() {
        let progress = streaming(5, 9);
        assert!(!progress.refusal_is_current(Index(5)));
        assert!(progress.refusal_is_current(Index(8)));
        assert!(!progress.refusal_is_current(Index(9)), "never sent");
    }

    #[test]
    fn a_probe_is_answered_only_by_its_own_refusal() {
        let mut progress = Progress::new(Index(9), 0);
        assert!(progress.refusal_is_current(Index(9)));
        progress.go_back(Index(4));
        assert!(!progress.refusal_is_current(Index(9)));
        assert!(progress.refusal_is_current(Index(3)));
    }

    #[test]
    fn a_refusal_of_what_was_acknowledged_is_not_answered_by_the_same_probe_again() {
        let mut progress = streaming(5, 9);
        progress.go_back(Index(2));
        assert_eq!(progress.next, Index(6));
        assert!(!progress.refusal_is_current(Index(5)));
    }

    #[test]
    fn going_back_stops_at_the_match() {
        let mut progress = streaming(5, 9);
        progress.go_back(Index(2));
        assert_eq!(progress.next, Index(6));
    }
}
