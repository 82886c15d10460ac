//! Where the time of a commit goes, by stages: histograms that are always kept.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::raft::Index;

/// Longer than anything that is told apart: a minute.
const LONGEST_US: u64 = 60_000_000;

/// A part of the way of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A request waits until the event loop takes it up.
    Queue,
    /// The requests of a turn are encoded, written to the log and framed for the followers.
    Encode,
    /// A sync of the log, while this node leads.
    LocalSync,
    /// A sync of the log, while it does not.
    FollowerSync,
    /// From the end of [`Stage::Encode`] until the first follower has acknowledged: the network
    /// there and back, and that follower's sync.
    Followers,
    /// From the end of [`Stage::Encode`] until the entries are committed and applied.
    Quorum,
    /// The step in which they are: commit index, state machine, answers.
    Apply,
    /// From there until the answers are with those who asked, and these are woken.
    Reply,
}

impl Stage {
    /// All, in the order of a commit.
    pub const ALL: [Stage; 8] = [
        Stage::Queue,
        Stage::Encode,
        Stage::LocalSync,
        Stage::FollowerSync,
        Stage::Followers,
        Stage::Quorum,
        Stage::Apply,
        Stage::Reply,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Queue => "queue",
            Stage::Encode => "encode",
            Stage::LocalSync => "local_sync",
            Stage::FollowerSync => "follower_sync",
            Stage::Followers => "followers",
            Stage::Quorum => "quorum",
            Stage::Apply => "apply",
            Stage::Reply => "reply",
        }
    }
}

/// One stage in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageSummary {
    /// Which.
    pub stage: Stage,
    /// How often it was passed: by a request in [`Stage::Queue`], by all of a turn elsewhere.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// What one in a hundred exceeded.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// Durations of the stages in microseconds, since the node started.
#[derive(Clone, Debug)]
pub struct Stages {
    histograms: [Histogram<u64>; Stage::ALL.len()],
}

impl Default for Stages {
    fn default() -> Stages {
        let histogram = |_| {
            Histogram::new_with_bounds(1, LONGEST_US, 2)
                .expect("the bounds are in order and 2 digits can be told apart")
        };
        Stages {
            histograms: Stage::ALL.map(histogram),
        }
    }
}

impl Stages {
    /// The durations of one stage.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &Histogram<u64> {
        &self.histograms[stage as usize]
    }

    /// All stages in numbers.
    #[must_use]
    pub fn summary(&self) -> [StageSummary; Stage::ALL.len()] {
        Stage::ALL.map(|stage| {
            let histogram = self.of(stage);
            StageSummary {
                stage,
                count: histogram.len(),
                p50_us: histogram.value_at_quantile(0.5),
                p99_us: histogram.value_at_quantile(0.99),
                max_us: histogram.max(),
            }
        })
    }

    pub(super) fn record(&mut self, stage: Stage, took: Duration) {
        self.histograms[stage as usize].saturating_record(took.as_micros() as u64);
    }
}

/// The entries of a turn, on their way through the stages.
#[derive(Debug)]
struct Batch {
    last: Index,
    written: Instant,
    acknowledged: bool,
    committed: Option<Instant>,
}

/// Follows what a leader has written until it is answered.
#[derive(Debug, Default)]
pub(super) struct Batches {
    under_way: VecDeque<Batch>,
}

impl Batches {
    /// Entries up to `last` are in the log and on their way to the followers.
    pub(super) fn written(&mut self, last: Index) {
        self.under_way.push_back(Batch {
            last,
            written: Instant::now(),
            acknowledged: false,
            committed: None,
        });
    }

    /// A follower has acknowledged what is up to `index`.
    pub(super) fn acknowledged(&mut self, index: Index, stages: &mut Stages) {
        let reached = self.under_way.iter_mut();
        for batch in reached.take_while(|batch| batch.last <= index) {
            if !batch.acknowledged {
                batch.acknowledged = true;
                stages.record(Stage::Followers, batch.written.elapsed());
            }
        }
    }

    /// What is up to `index` is applied.
    pub(super) fn applied(&mut self, index: Index, now: Instant, stages: &mut Stages) {
        let reached = self.under_way.iter_mut();
        for batch in reached.take_while(|batch| batch.last <= index) {
            if batch.committed.is_none() {
                batch.committed = Some(now);
                stages.record(Stage::Quorum, now - batch.written);
            }
        }
    }

    /// What is applied is answered too.
    pub(super) fn answered(&mut self, stages: &mut Stages) {
        while let Some(Batch {
            committed: Some(committed),
            ..
        }) = self.under_way.front()
        {
            stages.record(Stage::Reply, committed.elapsed());
            self.under_way.pop_front();
        }
    }

    /// This node does not lead, so nobody here follows what it had written.
    pub(super) fn clear(&mut self) {
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(stages: &Stages, stage: Stage) -> u64 {
        stages.of(stage).len()
    }

    #[test]
    fn each_batch_passes_each_stage_once() {
        let mut stages = Stages::default();
        let mut batches = Batches::default();
        batches.written(Index(3));
        batches.written(Index(5));
        batches.acknowledged(Index(4), &mut stages);
        batches.acknowledged(Index(4), &mut stages);
        assert_eq!(count(&stages, Stage::Followers), 1);
        batches.answered(&mut stages);
        assert_eq!(count(&stages, Stage::Reply), 0, "nothing is applied");
        for _ in 0..2 {
            batches.acknowledged(Index(5), &mut stages);
            batches.applied(Index(5), Instant::now(), &mut stages);
            batches.answered(&mut stages);
        }
        for stage in [Stage::Followers, Stage::Quorum, Stage::Reply] {
            assert_eq!(count(&stages, stage), 2, "{}", stage.name());
        }
    }

    #[test]
    fn stages_are_numbered_in_their_order() {
        let mut stages = Stages::default();
        for (at, stage) in Stage::ALL.into_iter().enumerate() {
            stages.record(stage, Duration::from_micros(at as u64 + 1));
        }
        for (at, summary) in stages.summary().into_iter().enumerate() {
            assert_eq!((summary.count, summary.max_us), (1, at as u64 + 1));
        }
    }
}
