//! One step of one node: what it writes, says and answers, with every place where it can crash.

use raftkv::{
    codec::Packet,
    raft::{Message, NodeId, RefusalReason, Status},
    replica::{Error, Outbox, Replica, Reply},
};
use raftkv_wal::{Failure, MemoryMedia, Operation as DiskOperation, SyncDone};

use super::{
    engine::{Event, Sim},
    fault::{CrashPoint, Fault},
    host::{Armed, Host},
    network::decode,
    settings::Syncs,
};
use crate::invariants::{Asked, hold, index_of};

/// What a node is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Step,
    Sync,
    Mark,
    Apply,
    /// It learns what became of work on its own snapshot.
    Taken,
    /// It learns what became of work on another's.
    Fetched,
    /// A sync with the mark that names a snapshot.
    NameSync,
    /// A sync with the mark of an install.
    InstallSync,
}

impl Phase {
    pub(super) fn is_sync(self) -> bool {
        matches!(self, Phase::Sync | Phase::NameSync | Phase::InstallSync)
    }
}

/// A sync of this length is a slow one.
const SLOW_SYNC: u64 = 10_000;

/// The points at which the disk itself stops, with the operation that does not happen.
const DISK_POINTS: &[(CrashPoint, Phase, DiskOperation)] = &[
    (CrashPoint::StepWrite, Phase::Step, DiskOperation::Write),
    (CrashPoint::StepSync, Phase::Step, DiskOperation::Sync),
    (CrashPoint::StepCreate, Phase::Step, DiskOperation::Create),
    (CrashPoint::StepPublish, Phase::Step, DiskOperation::Publish),
    (
        CrashPoint::StepSyncDirectory,
        Phase::Step,
        DiskOperation::SyncDirectory,
    ),
    (CrashPoint::SyncSync, Phase::Sync, DiskOperation::Sync),
    (CrashPoint::MarkWrite, Phase::Mark, DiskOperation::Write),
    (CrashPoint::MarkSync, Phase::Mark, DiskOperation::Sync),
    (
        CrashPoint::SnapshotCreate,
        Phase::Step,
        DiskOperation::CreateFile,
    ),
    (
        CrashPoint::SnapshotCreate,
        Phase::Apply,
        DiskOperation::CreateFile,
    ),
    (
        CrashPoint::SnapshotCreate,
        Phase::Mark,
        DiskOperation::CreateFile,
    ),
    (CrashPoint::NameWrite, Phase::Taken, DiskOperation::Write),
    (CrashPoint::NameSync, Phase::NameSync, DiskOperation::Sync),
    (CrashPoint::PurgeRemove, Phase::Mark, DiskOperation::Remove),
    (
        CrashPoint::PurgeSyncDirectory,
        Phase::Mark,
        DiskOperation::SyncDirectory,
    ),
    (
        CrashPoint::InstallWrite,
        Phase::Fetched,
        DiskOperation::Write,
    ),
    (
        CrashPoint::InstallSync,
        Phase::InstallSync,
        DiskOperation::Sync,
    ),
];

impl Sim {
    pub(super) fn with(
        &mut self,
        id: NodeId,
        phase: Phase,
        event: impl FnOnce(&mut Replica<MemoryMedia>, &mut Outbox) -> Result<(), Error>,
    ) {
        self.with_asked(id, phase, Asked::default(), event);
    }

    /// Runs one node for an event. `asked` is the question that a heartbeat's answer is for.
    pub(super) fn with_asked(
        &mut self,
        id: NodeId,
        phase: Phase,
        asked: Asked,
        event: impl FnOnce(&mut Replica<MemoryMedia>, &mut Outbox) -> Result<(), Error>,
    ) {
        self.step += 1;
        let host = &mut self.hosts[index_of(id)];
        let Some(mut replica) = host.replica.take() else {
            return;
        };
        let at_disk = host.armed.and_then(|armed| {
            let points = DISK_POINTS.iter().filter(|point| point.0 == armed.point);
            let point = points.clone().find(|point| point.1 == phase)?;
            (armed.skip == 0).then_some(point.2)
        });
        if let Some(operation) = at_disk {
            host.disk.stop_at(operation);
        }
        let mut out = Outbox::default();
        let learns = matches!(phase, Phase::Taken | Phase::Fetched);
        let written = learns.then(|| host.disk.writes());
        let result = event(&mut replica, &mut out);
        host.failures.extend(host.disk.take_failures());
        let stopped = at_disk.is_some() && host.disk.stopped().is_some();
        if at_disk.is_some() && !stopped {
            host.disk.forget_faults();
        }
        if stopped || result.is_err() {
            let raft = replica.raft();
            let before = self.checks.ledger.links(raft.log().base().index);
            self.shadows[index_of(id)].failed(raft, &before);
            return match result {
                Err(error) if !stopped => self.failed(id, error),
                _ => self.crash_at_disk(id),
            };
        }
        let host = &mut self.hosts[index_of(id)];
        if let Some(written) = written
            && host.disk.writes() > written
        {
            let writes = host.disk.writes();
            host.marked = Some((phase, writes));
            if phase == Phase::Taken {
                self.shadows[index_of(id)].marked(writes);
            }
        }
        let after = replica.status();
        let before = self.live[index_of(id)].replace(after).expect("it was up");
        self.observe(id, phase, &before, &replica, &mut out);
        self.hosts[index_of(id)].replica = Some(replica);
        self.leave(id, phase, asked, &before, out);
    }

    /// The disk failed, and the process stops: by order of the test, or the code is wrong.
    fn failed(&mut self, id: NodeId, error: Error) {
        let host = &mut self.hosts[index_of(id)];
        let mut failures = host.failures.iter();
        // A segment in reserve keeps a process on a disk that fills up.
        let failure = failures.find(|&&what| what != Failure::NoRoom || host.started_full);
        hold!(Assertion, failure.is_some(), "n{id} stops: {error}");
        self.hits
            .count(Fault::of_disk(*failure.expect("just seen")));
        self.note_line(Some(id), || format!("stops: {error}"));
        self.rng.aim(self.queue.now(), id.0);
        let down = self.rng.between(10_000, 500_000);
        self.go_down(id, false, Some(down));
    }

    /// The disk has stopped, and the power goes.
    pub(super) fn crash_at_disk(&mut self, id: NodeId) {
        let armed = self.host(id).armed.take();
        let armed = armed.expect("a disk stops at a point");
        self.hits.reach(armed.point);
        self.hits.count(Fault::CrashPoint);
        let armed = Armed {
            power: true,
            ..armed
        };
        self.crash_at(id, armed);
    }

    /// What the step said and answered leaves the node, unless it crashes on the way.
    fn leave(&mut self, id: NodeId, phase: Phase, asked: Asked, before: &Status, out: Outbox) {
        let after = self.live[index_of(id)].as_ref().expect("it is up");
        let hard = before.hard != after.hard;
        let voted = hard && after.hard.vote.is_some();
        let grew = before.last != after.last;
        let committed = before.commit != after.commit;
        let applied = before.applied != after.applied;
        let included = before.snapshot != after.snapshot;
        let config = after.config_at != before.config_at && after.config_at > before.commit;
        let config_synced = before.durable < after.config_at && after.config_at <= after.durable;
        let config_committed = before.commit < before.config_at && before.config_at <= after.commit;
        let named = phase == Phase::Taken && self.hosts[index_of(id)].marked.is_some();
        let (some, all) = match phase.is_sync() {
            true => (CrashPoint::ReleasedSome, CrashPoint::ReleasedAll),
            false => (CrashPoint::SentSome, CrashPoint::SentAll),
        };
        let answers = !out.replies.is_empty();
        if (voted && self.crashes(id, CrashPoint::WroteVote))
            || (hard && !voted && self.crashes(id, CrashPoint::WroteTerm))
            || (grew && self.crashes(id, CrashPoint::WroteEntries))
            || (config && self.crashes(id, CrashPoint::ConfigAppended))
            || (config_synced && phase.is_sync() && self.crashes(id, CrashPoint::ConfigSynced))
            || (config_committed && self.crashes(id, CrashPoint::ConfigCommitted))
            || (named && self.crashes(id, CrashPoint::Named))
            || (included && !phase.is_sync() && self.crashes(id, CrashPoint::Installed))
            || (included && phase.is_sync() && self.crashes(id, CrashPoint::Compacted))
            || (phase.is_sync() && self.crashes(id, CrashPoint::Synced))
            || (committed && self.crashes(id, CrashPoint::Committed))
        {
            return;
        }
        let mut frames = out.frames.into_iter();
        let half = frames.len() / 2;
        if half > 0 && self.is_due(id, some) {
            let first = frames.by_ref().take(half);
            for (to, frame) in first.collect::<Vec<_>>() {
                self.send(id, to, frame.into(), asked);
            }
            return self.crash_here(id, some);
        }
        let sent = frames.len() > 0;
        for (to, frame) in frames {
            self.send(id, to, frame.into(), asked);
        }
        if (sent && self.crashes(id, all)) || (applied && self.crashes(id, CrashPoint::Applied)) {
            return;
        }
        for (token, reply) in out.replies {
            self.answer(id, token, reply);
        }
        if answers && self.crashes(id, CrashPoint::Answered) {
            return;
        }
        if phase != Phase::Apply {
            self.go_on(id);
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, frame: Vec<u8>, asked: Asked) {
        let packet = decode(&frame).unwrap_or_else(|error| {
            panic!("assertion: n{from} sends what cannot be read: {error}");
        });
        self.bounds.sent(from);
        if let Packet::Message(message) = &packet {
            self.checks
                .said(from, to, message, &self.shadows[index_of(from)]);
        }
        let asked = match packet {
            Packet::Message(Message::Heartbeat { term, .. }) => Asked {
                term,
                step: self.step,
            },
            _ => asked,
        };
        let now = self.now();
        let sent = self.network.send(now, (from, to), frame, packet, asked);
        for (at, slot) in sent.into_iter().flatten() {
            self.queue.schedule(at, Event::Arrive { slot });
        }
    }

    fn answer(&mut self, id: NodeId, token: raftkv::raft::Token, reply: Reply) {
        match reply {
            Reply::Refused(RefusalReason::Busy) => self.hits.count(Fault::Shed),
            Reply::Refused(RefusalReason::DiskFull) => self.hits.count(Fault::RefusedFull),
            _ => {}
        }
        self.trace.number(token.0);
        self.note_line(Some(id), || format!("answers t{token} {reply:?}"));
        self.checks.answered(token, &reply);
        self.answers.push((token, reply));
    }

    /// What a step leaves to be done: work on snapshots, a sync, and entries to apply.
    pub(super) fn go_on(&mut self, id: NodeId) {
        self.take_job(id);
        let host = &self.hosts[index_of(id)];
        let Some(replica) = &host.replica else {
            return;
        };
        if replica.needs_sync() && !host.is_within_a_turn && !host.is_syncing {
            self.begin_sync(id);
        }
        match self.settings.apply {
            None => {
                while self.has_more_to_apply(id) {
                    self.apply(id);
                }
            }
            Some(_) if self.has_more_to_apply(id) => {
                self.hits.count(Fault::SlowApply);
                self.schedule_apply(id);
            }
            Some(_) => {}
        }
    }

    fn has_more_to_apply(&self, id: NodeId) -> bool {
        let replica = self.hosts[index_of(id)].replica.as_ref();
        replica.is_some_and(|replica| replica.has_more_to_apply())
    }

    fn begin_sync(&mut self, id: NodeId) {
        self.host(id).is_syncing = true;
        let (least, most) = self.settings.sync;
        let slow = self.host(id).slow_sync;
        self.rng.aim(self.queue.now(), id.0);
        let took = self.rng.between(least, most) + self.rng.between(slow / 2, slow);
        if took >= SLOW_SYNC {
            self.hits.count(Fault::SlowSync);
        }
        let at = self.now() + took;
        let syncs = self.settings.syncs;
        let host = self.host(id);
        host.synced_writes = host.disk.writes();
        host.synced_mark = host.marked;
        match syncs {
            Syncs::Blocking => {
                host.is_sync_over = true;
                self.freeze(id, at);
            }
            Syncs::Beside => {
                let replica = host.replica.as_mut().expect("it is up");
                let begun = replica.begin_sync();
                host.sync_job = begun.expect("nothing is done yet");
                // The disk is done when the thread begins, or when the loop learns of it.
                if took.is_multiple_of(2)
                    && host.armed.is_none()
                    && let Some(job) = host.sync_job.take()
                {
                    job.run();
                    host.sync_failures = host.disk.take_failures();
                }
                self.schedule(id, at, |node, epoch| Event::SyncEnds { node, epoch });
            }
        }
    }

    fn apply(&mut self, id: NodeId) {
        self.with(id, Phase::Apply, Replica::apply_some);
    }

    /// One entry of those that wait, and the next one later.
    pub(super) fn apply_slowly(&mut self, id: NodeId) {
        self.apply(id);
        if self.has_more_to_apply(id) {
            self.schedule_apply(id);
        }
    }

    pub(super) fn sync(&mut self, id: NodeId) {
        let host = self.host(id);
        host.is_syncing = false;
        let covered = host.synced_mark.take();
        let phase = match covered {
            Some((Phase::Taken, _)) => Phase::NameSync,
            Some(_) => Phase::InstallSync,
            None => Phase::Sync,
        };
        match self.settings.syncs {
            Syncs::Blocking => self.with(id, phase, Replica::sync),
            Syncs::Beside => {
                let host = self.host(id);
                host.failures.append(&mut host.sync_failures);
                let job = host.sync_job.take();
                self.with(id, phase, |replica, out| {
                    if let Some(job) = job {
                        job.run();
                    }
                    let done = replica.poll_sync()?;
                    assert!(done != SyncDone::No, "it has just ended");
                    replica.go_on(out)
                });
            }
        }
        let host = &mut self.hosts[index_of(id)];
        if host.marked == covered {
            host.marked = None;
        }
        self.shadows[index_of(id)].learnt(host.synced_writes);
        let Host { disk, versions, .. } = self.host(id);
        if disk.durable_writes() == disk.writes() {
            versions.pass(disk);
        }
    }

    pub(super) fn is_due(&mut self, id: NodeId, point: CrashPoint) -> bool {
        let host = &self.hosts[index_of(id)];
        host.armed
            .is_some_and(|armed| armed.point == point && armed.skip == 0)
    }

    /// Whether the node crashes at this point of its work.
    fn crashes(&mut self, id: NodeId, point: CrashPoint) -> bool {
        if self.hosts[index_of(id)].armed.is_none() {
            return false;
        }
        let due = self.is_due(id, point);
        if due {
            self.crash_here(id, point);
        } else if let Some(armed) = &mut self.host(id).armed
            && armed.point == point
        {
            armed.skip -= 1;
        }
        due
    }

    pub(super) fn crash_here(&mut self, id: NodeId, point: CrashPoint) {
        let armed = self.host(id).armed.take().expect("it is due");
        self.hits.reach(point);
        self.hits.count(Fault::CrashPoint);
        self.crash_at(id, armed);
    }

    fn crash_at(&mut self, id: NodeId, armed: Armed) {
        self.note_line(Some(id), || format!("crashes at {}", armed.point.name()));
        self.go_down(id, armed.power, Some(armed.down));
    }
}
