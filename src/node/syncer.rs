//! Where the log is synced: on the event loop's thread, which a short sync lets wait no longer than
//! the wakes would take that a second thread costs; or on a thread beside, while the loop hears,
//! sends, and gathers what the next sync will cover.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, unbounded};
use raftkv_wal::{SyncDone, SyncJob};

use super::{
    event_loop::{EventLoop, timing_commits},
    handle::Shared,
    stages::Stage,
};
use crate::replica;

/// A sync of so much is worth a thread: it takes a fifth longer than a small one, and what comes in
/// pieces of this size is gathered by it (docs/performance.md).
const LARGE_BYTES: usize = 64 << 10;
/// On a disk that takes so long, or a machine that others use as much, two wakes are nothing.
const LONG: Duration = Duration::from_millis(1);
/// The newest sync counts as much in what is usual.
const WEIGHT: u32 = 8;

/// The thread beside, which runs one sync at a time.
pub(super) struct Syncer {
    todo: Sender<SyncJob>,
    under_way: Option<UnderWay>,
    /// How long a sync usually takes of late.
    usual: Duration,
}

/// The sync that the thread is at.
struct UnderWay {
    since: Instant,
    /// When the leader's patience with its disk was last at an end.
    judged: Instant,
}

impl Syncer {
    /// A thread that waits for syncs and ends with this. It wakes the event loop after each.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Syncer> {
        let (todo, jobs) = unbounded::<SyncJob>();
        thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || {
                for job in jobs {
                    job.run();
                    // It fails only when the loop is gone, and with it the need.
                    let _ = shared.waker.wake();
                }
            })?;
        Ok(Syncer {
            todo,
            under_way: None,
            usual: Duration::ZERO,
        })
    }

    fn is_for_the_loop(&self, bytes: usize) -> bool {
        bytes < LARGE_BYTES && self.usual < LONG
    }

    fn run(&mut self, job: SyncJob) {
        let now = Instant::now();
        self.under_way = Some(UnderWay {
            since: now,
            judged: now,
        });
        self.todo.send(job).expect("the thread waits for syncs");
    }

    fn took(&mut self, took: Duration) {
        self.usual = (self.usual * (WEIGHT - 1) + took) / WEIGHT;
    }
}

impl EventLoop {
    /// Goes on when the thread beside is done, and does not wait for it longer than followers would
    /// for this node.
    pub(super) fn end_sync(&mut self, now_ms: u64) -> Result<(), replica::Error> {
        let Some(under_way) = &mut self.syncer.under_way else {
            return Ok(());
        };
        match self.replica.poll_sync()? {
            SyncDone::Yes(took) => {
                self.syncer.under_way = None;
                self.synced(took, now_ms)?;
            }
            SyncDone::No if under_way.judged.elapsed() < self.patience => return Ok(()),
            SyncDone::No => {
                under_way.judged = Instant::now();
                let takes = under_way.since.elapsed();
                self.judge_disk("takes", takes, now_ms)?;
            }
        }
        self.flush(now_ms);
        Ok(())
    }

    /// Syncs what was written, or has the thread beside do it, unless that is at work. Returns how
    /// long the loop waited for the disk.
    pub(super) fn sync(&mut self, now_ms: u64) -> Result<Duration, replica::Error> {
        let mut waited = Duration::ZERO;
        while self.syncer.under_way.is_none() && self.replica.needs_sync() {
            if self.syncer.is_for_the_loop(self.replica.unsynced_bytes()) {
                let began = Instant::now();
                self.replica.sync_log()?;
                let took = began.elapsed();
                waited += took;
                self.synced(Some(took), now_ms)?;
            } else if let Some(job) = self.replica.begin_sync()? {
                self.syncer.run(job);
                continue;
            } else {
                self.synced(None, now_ms)?;
            }
            self.flush(now_ms);
        }
        Ok(waited)
    }

    /// Goes on after a sync, which took so long if that is known.
    fn synced(&mut self, took: Option<Duration>, now_ms: u64) -> Result<(), replica::Error> {
        if let Some(took) = took {
            self.note_sync(took);
        }
        let EventLoop {
            replica,
            out,
            shared,
            batches,
            ..
        } = self;
        timing_commits(replica, shared, batches, |replica| replica.go_on(out))?;
        self.judge_disk("took", took.unwrap_or_default(), now_ms)
    }

    /// A leader applies only what is durable here, so it answers no writes while its disk works;
    /// and if it waits for that itself, longer than followers are patient, it is deposed each time.
    /// It hands over instead, while it still can.
    fn judge_disk(
        &mut self,
        verb: &str,
        duration: Duration,
        now_ms: u64,
    ) -> Result<(), replica::Error> {
        if duration < self.patience || !self.leads || self.is_alone() {
            return Ok(());
        }
        let text = format!(
            "a sync of the log {verb} {} ms, longer than the election timeout of {} ms: handing \
             leadership over; look at the disk",
            duration.as_millis(),
            self.patience.as_millis()
        );
        // Where the disks of all are slow, there is nobody to hand it to.
        self.network.complain(None, "slow disk", &text, now_ms);
        self.hand_over()
    }

    fn note_sync(&mut self, took: Duration) {
        self.syncer.took(took);
        self.shared.timings.lock().sync(took);
        let now = Instant::now();
        self.shared.recent_syncs.lock().record(took, now);
        let stage = match self.leads {
            true => Stage::LocalSync,
            false => Stage::FollowerSync,
        };
        self.shared.stages.lock().record(stage, took);
    }
}
