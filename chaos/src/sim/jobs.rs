//! Work on snapshots beside a node's event loop, step by step, at times that are drawn.

use raftkv::{raft::NodeId, replica::Replica};
use raftkv_wal::Operation;

use super::{
    engine::{Event, Sim},
    fault::{CrashPoint, Fault},
    turn::Phase,
};
use crate::invariants::index_of;

/// A step of this length is a slow one.
const SLOW_JOB: u64 = 50_000;

/// Where a node's own snapshot, or a fetched one, is when the disk stops.
const TAKEN_POINTS: &[(CrashPoint, Operation)] = &[
    (CrashPoint::TakenWrite, Operation::Write),
    (CrashPoint::TakenSync, Operation::Sync),
    (CrashPoint::TakenRead, Operation::Read),
    (CrashPoint::TakenPublish, Operation::Publish),
    (CrashPoint::TakenSyncDirectory, Operation::SyncDirectory),
];
const FETCHED_POINTS: &[(CrashPoint, Operation)] = &[
    (CrashPoint::FetchedWrite, Operation::Write),
    (CrashPoint::FetchedSync, Operation::Sync),
    (CrashPoint::FetchedRead, Operation::Read),
    (CrashPoint::FetchedPublish, Operation::Publish),
    (CrashPoint::FetchedSyncDirectory, Operation::SyncDirectory),
];
const LOAD_POINTS: &[(CrashPoint, Operation)] = &[(CrashPoint::LoadRead, Operation::Read)];

/// What work is done on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WorkOn {
    /// The node's own state.
    #[default]
    Taken,
    /// A peer's snapshot.
    Fetched,
    /// The state that an installed snapshot becomes.
    Loaded,
}

impl WorkOn {
    fn points(self) -> &'static [(CrashPoint, Operation)] {
        match self {
            WorkOn::Taken => TAKEN_POINTS,
            WorkOn::Fetched => FETCHED_POINTS,
            WorkOn::Loaded => LOAD_POINTS,
        }
    }
}

impl Sim {
    /// Begins the work that a replica wants to have done, one piece at a time.
    pub(super) fn take_job(&mut self, id: NodeId) {
        let host = self.host(id);
        if host.job.is_some() {
            return;
        }
        let Some(job) = host.replica.as_mut().and_then(|replica| replica.take_job()) else {
            return;
        };
        host.job = Some(job);
        self.schedule_job(id);
    }

    fn schedule_job(&mut self, id: NodeId) {
        let (least, most) = self.settings.job;
        let slow = self.host(id).slow_jobs;
        self.rng.aim(self.queue.now(), id.0);
        let took = self.rng.between(least, most) + self.rng.between(slow / 2, slow);
        if took >= SLOW_JOB {
            self.hits.count(Fault::SlowSnapshot);
        }
        let at = self.now() + took;
        self.schedule(id, at, |node, epoch| Event::Job { node, epoch });
    }

    /// One step of the work is due. It goes on while the loop waits for the disk, as a thread does.
    pub(super) fn job_step(&mut self, id: NodeId) {
        let host = &mut self.hosts[index_of(id)];
        host.look_at_work();
        let at_disk = host.armed.and_then(|armed| {
            let points = host.work_on.points().iter();
            let point = points.clone().find(|point| point.0 == armed.point)?;
            Some(point.1)
        });
        if let Some(operation) = at_disk {
            host.disk.stop_at(operation);
        }
        let more = host.job.as_mut().expect("it is scheduled").step();
        host.job_failures.extend(host.disk.take_failures());
        if host.disk.stopped().is_some() {
            return self.crash_at_disk(id);
        }
        if at_disk.is_some() {
            host.disk.forget_faults();
        }
        if more {
            return self.schedule_job(id);
        }
        host.is_job_over = true;
        if host.frozen_until.is_none() {
            self.job_ends(id);
        }
    }

    /// The loop learns what became of the work.
    pub(super) fn job_ends(&mut self, id: NodeId) {
        let host = self.host(id);
        host.is_job_over = false;
        let job = host.job.take().expect("it is over");
        host.failures = std::mem::take(&mut host.job_failures);
        let phase = match host.work_on {
            WorkOn::Taken => Phase::Taken,
            WorkOn::Fetched | WorkOn::Loaded => Phase::Fetched,
        };
        self.with(id, phase, |replica, out| {
            Replica::job_done(replica, job, out)
        });
    }
}
