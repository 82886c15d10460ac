//! When a snapshot is taken, how one is fetched from a peer, and what becomes of it. What takes
//! long is a [`Job`], which the driver runs elsewhere; one at a time.

use std::collections::VecDeque;

use bytes::Bytes;
use raftkv_wal::Media;

use super::{Error, Outbox, Replica, Written};
use crate::{
    codec,
    kv::Kv,
    raft::{Config, Index, Input, LogPos, NodeId, Seq, Snapshot},
    storage::{Done, Header, Job, JobError, Origin, SNAPSHOTS_KEPT},
};

/// A peer's chunk has so many bytes, save the last.
const FETCHED_CHUNK_BYTES: u64 = 256 << 10;
/// No more than this is asked for before it is stored: a slow disk here, or a slow network, must
/// not fill the sender's queue.
const FETCH_WINDOW_BYTES: u64 = 4 * FETCHED_CHUNK_BYTES;
/// And no more than so much a tick, 50 MB/s at ticks of 10 ms: a node that comes back has time, and
/// those that serve meanwhile share disks and processors with what feeds it.
const FETCHED_BYTES_PER_TICK: u64 = 512 << 10;
/// After a failure, mostly of a full disk, nothing is tried for so many ticks.
const RETRY_TICKS: u32 = 500;

/// When snapshots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// One is due when entries of so many bytes were applied since the last.
    pub log_bytes: u64,
    /// Or so many entries, each of which costs memory and a moment of the next start. But in
    /// neither case before they come to half the size of the last: else a large state would be
    /// written again and again (th. 5.1.2).
    pub log_entries: u64,
    /// How many are kept, and the log from the oldest of them on.
    pub kept: usize,
}

impl Default for SnapshotPolicy {
    /// 256 MiB, 250,000 entries, and two.
    fn default() -> SnapshotPolicy {
        SnapshotPolicy {
            log_bytes: 256 << 20,
            log_entries: 250_000,
            kept: SNAPSHOTS_KEPT,
        }
    }
}

/// What a replica is doing about snapshots.
pub(super) struct Snapshots<M: Media> {
    policy: SnapshotPolicy,
    /// One is wanted, due or not.
    requested: bool,
    /// Jobs that are not begun, and what each is for.
    jobs: VecDeque<(Purpose, Job<M>)>,
    running: Option<Purpose>,
    fetch: Option<Fetch<M>>,
    /// Taken and named in the log, which is not durable yet.
    marked: Option<Snapshot>,
    /// Installed, and on its way into the state machine.
    loading: Option<Snapshot>,
    /// There are files to remove, once this write is durable.
    untidy: Option<Seq>,
    retry_ticks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Write,
    Verify(Origin),
    Store,
    Discard,
    Load,
}

/// A snapshot that is being fetched.
struct Fetch<M: Media> {
    from: NodeId,
    snapshot: Snapshot,
    /// `None` while a job has it.
    sink: Option<M::Sink>,
    /// Up to here it is written, has arrived, and was asked for.
    stored: u64,
    arrived: u64,
    asked: u64,
    /// And up to here it may be asked for by now.
    allowed: u64,
    /// What has arrived and is not written.
    chunks: Vec<Bytes>,
    /// Something has arrived since the last offer.
    progressed: bool,
    /// It is whole, and durable under its name: the members as of its last entry.
    published: Option<Config>,
}

impl<M: Media> Default for Snapshots<M> {
    fn default() -> Snapshots<M> {
        Snapshots {
            policy: SnapshotPolicy::default(),
            requested: false,
            jobs: VecDeque::new(),
            running: None,
            fetch: None,
            marked: None,
            loading: None,
            untidy: None,
            retry_ticks: 0,
        }
    }
}

impl<M: Media> Snapshots<M> {
    pub(super) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// What is named in the log, perhaps not durably.
    pub(super) fn pending_mark(&self) -> Option<Snapshot> {
        self.marked
    }

    /// The state is shared with a job.
    pub(super) fn is_writing(&self) -> bool {
        let queued = self.jobs.iter().map(|(purpose, _)| *purpose);
        self.running
            .into_iter()
            .chain(queued)
            .any(|p| p == Purpose::Write)
    }

    fn is_busy(&self) -> bool {
        self.running.is_some() || !self.jobs.is_empty()
    }

    fn queue(&mut self, purpose: Purpose, job: Job<M>) {
        self.jobs.push_back((purpose, job));
    }
}

impl<M: Media> Replica<M> {
    /// Takes snapshots by these rules from now on.
    pub fn set_snapshot_policy(&mut self, policy: SnapshotPolicy) {
        self.snapshots.policy = policy;
    }

    /// After a failure: for so many ticks no snapshot is taken or fetched.
    pub fn snapshot_retry_ticks(&self) -> u32 {
        self.snapshots.retry_ticks
    }

    /// Asks for a snapshot of what is applied, as soon as one can be taken.
    pub fn request_snapshot(&mut self) {
        self.snapshots.requested = true;
    }

    /// Work that the driver should have done beside its own, and then return to
    /// [`Replica::job_done`]. The next comes when that is done.
    pub fn take_job(&mut self) -> Option<Job<M>> {
        if self.snapshots.running.is_some() {
            return None;
        }
        let (purpose, job) = self.snapshots.jobs.pop_front()?;
        self.snapshots.running = Some(purpose);
        Some(job)
    }

    /// Goes on with what a job has done.
    ///
    /// # Errors
    /// As [`Replica::step`].
    ///
    /// # Panics
    /// If the job is not done, or none was taken.
    pub fn job_done(&mut self, job: Job<M>, out: &mut Outbox) -> Result<(), Error> {
        let purpose = self.snapshots.running.take().expect("a job was taken");
        match (purpose, job.finish()) {
            (Purpose::Write, Ok(Done::Written { snapshot, sink })) => {
                self.verify(Origin::Taken, sink, snapshot, out);
                Ok(())
            }
            (Purpose::Verify(Origin::Taken), Ok(Done::Published { snapshot, .. })) => {
                self.mark_taken(snapshot, out)
            }
            (Purpose::Store, Ok(Done::Stored { sink })) => {
                self.stored(sink, out);
                Ok(())
            }
            (Purpose::Verify(Origin::Fetched), Ok(Done::Published { snapshot, config })) => {
                let fetch = self.snapshots.fetch.as_mut();
                fetch.expect("one was fetched").published = Some(config.clone());
                self.step(Input::SnapshotFetched { snapshot, config }, out)
            }
            (Purpose::Load, Ok(Done::Loaded(state))) => self.loaded(state, out),
            (Purpose::Load, Err(error)) => Err(Error::Snapshot(error)),
            (Purpose::Discard, _) => Ok(()),
            (purpose, Err(error)) => {
                self.give_up(purpose, &error, out);
                Ok(())
            }
            (purpose, Ok(_)) => unreachable!("the result of another job than {purpose:?}"),
        }
    }

    /// Takes a snapshot if one is due or wanted, and nothing else is under way.
    pub(super) fn take_snapshot_if_due(&mut self, out: &mut Outbox) {
        let Snapshots {
            policy,
            requested,
            fetch,
            marked,
            retry_ticks,
            ..
        } = &self.snapshots;
        let last = self.storage.snapshots().last();
        let (included, bytes) = last.map_or((Index::ZERO, 0), |s| (s.pos.index, s.bytes));
        let since = self.raft.log().bytes(included, self.applied);
        // What was installed may not be loaded yet.
        let entries = self.applied.0.saturating_sub(included.0);
        let is_much = since >= policy.log_bytes || entries >= policy.log_entries;
        let due = is_much && since >= bytes / 2
            || *requested
            || self.backups.iter().any(|(index, _)| *index > included);
        // Who was added later begins without knowing the members, and a snapshot has to name them.
        let unknown = self.raft.config_at(self.applied).members().is_empty();
        let hindered = fetch.is_some() || marked.is_some() || *retry_ticks > 0 || unknown;
        if !due || hindered || self.snapshots.is_busy() || self.applied <= included {
            return;
        }
        self.snapshots.requested = false;
        match self.storage.begin_snapshot(Origin::Taken) {
            Ok(sink) => {
                let frozen = self.kv.freeze();
                let index = match planted!("snapshot_of_a_later_state") {
                    true => included.next().max(self.applied.before()),
                    false => self.applied,
                };
                let term = self.raft.log().term(index);
                let pos = LogPos::new(term.expect("applied entries stay"), index);
                let members = match planted!("snapshot_with_a_stale_config") {
                    true => self.raft.configs().next().expect("one is known").1,
                    false => self.raft.config_at(index),
                };
                let header = Header {
                    cluster_id: self.storage.cluster_id(),
                    pos,
                    revision: frozen.revision(),
                    keys: frozen.len() as u64,
                    config: Config::clone(members),
                };
                let job = Job::write(sink, header, frozen);
                self.snapshots.queue(Purpose::Write, job);
            }
            Err(error) => self.give_up(Purpose::Write, &JobError::Write(error), out),
        }
    }

    /// A snapshot is known to be good once it was read back.
    fn verify(&mut self, origin: Origin, sink: M::Sink, snapshot: Snapshot, out: &mut Outbox) {
        let purpose = Purpose::Verify(origin);
        let job = match self.storage.read_back(origin) {
            Ok((source, file)) => Job::verify(source, file, sink, snapshot),
            Err(error) => Err(JobError::Publish(error)),
        };
        match job {
            Ok(job) => self.snapshots.queue(purpose, job),
            Err(error) => self.give_up(purpose, &error, out),
        }
    }

    fn mark_taken(&mut self, snapshot: Snapshot, out: &mut Outbox) -> Result<(), Error> {
        let kept = self.snapshots.policy.kept;
        self.storage.add_snapshot(snapshot, Origin::Taken, kept)?;
        self.snapshots.marked = Some(snapshot);
        match planted!("log_dropped_before_the_mark_is_durable") {
            true => self.marks_are_durable(out),
            false => Ok(()),
        }
    }

    /// What the log names is durable: now, and not before, may the entries go that it includes.
    pub(super) fn marks_are_durable(&mut self, out: &mut Outbox) -> Result<(), Error> {
        let Some(snapshot) = self.snapshots.marked else {
            return Ok(());
        };
        let covered = self.synced_mark == Some(snapshot);
        if !covered && !planted!("log_dropped_before_the_mark_is_durable") {
            return Ok(());
        }
        self.snapshots.marked = None;
        let compact = self.storage.compact(self.snapshots.policy.kept);
        self.snapshots.untidy = Some(Seq::NONE);
        self.answer_backups(out);
        self.step(Input::SnapshotTaken { snapshot, compact }, out)
    }

    /// Once a tick.
    pub(super) fn tidy_snapshots(&mut self, out: &mut Outbox) -> Result<(), Error> {
        self.snapshots.retry_ticks = self.snapshots.retry_ticks.saturating_sub(1);
        let marked = self.snapshots.marked.is_some();
        if self
            .snapshots
            .untidy
            .is_some_and(|seq| seq <= self.durable && !marked)
            && !self.storage.tidy_up()?
        {
            self.snapshots.untidy = None;
        }
        match &mut self.snapshots.fetch {
            Some(fetch) if fetch.snapshot.pos.index <= self.raft.status().commit => {
                self.abandon_fetch();
            }
            Some(fetch) => fetch.tick(out),
            None => {}
        }
        self.take_snapshot_if_due(out);
        Ok(())
    }

    /// What could not be finished is dropped, and tried again after a while.
    fn give_up(&mut self, purpose: Purpose, error: &JobError, out: &mut Outbox) {
        out.warnings.push(error.to_string());
        self.snapshots.retry_ticks = RETRY_TICKS;
        let dropped = match purpose {
            Purpose::Store | Purpose::Verify(Origin::Fetched) => {
                self.snapshots.fetch = None;
                self.storage.discard_snapshot(Origin::Fetched)
            }
            _ => {
                self.refuse_backups(out);
                self.storage.discard_snapshot(Origin::Taken)
            }
        };
        if let Err(error) = dropped {
            out.warnings.push(format!("cannot remove it: {error}"));
        }
    }

    /// A leader has a snapshot that this node needs: begin to fetch it, or ask again for what did
    /// not come. Another one takes the place of what was being fetched.
    pub(super) fn fetch(
        &mut self,
        from: NodeId,
        snapshot: Snapshot,
        out: &mut Outbox,
    ) -> Result<(), Error> {
        let busy = self.snapshots.is_busy();
        match &mut self.snapshots.fetch {
            Some(fetch) if fetch.snapshot == snapshot => {
                fetch.from = from;
                if let Some(config) = fetch.published.clone() {
                    return self.step(Input::SnapshotFetched { snapshot, config }, out);
                }
                if !std::mem::take(&mut fetch.progressed) && !busy {
                    fetch.asked = fetch.arrived;
                    fetch.ask(out);
                }
                return Ok(());
            }
            _ if busy || self.snapshots.retry_ticks > 0 => return Ok(()),
            Some(_) => self.abandon_fetch(),
            None => {}
        }
        match self.storage.begin_snapshot(Origin::Fetched) {
            Ok(sink) => {
                let mut fetch = Fetch::new(from, snapshot, sink);
                fetch.ask(out);
                self.snapshots.fetch = Some(fetch);
            }
            Err(error) => self.give_up(Purpose::Store, &JobError::Write(error), out),
        }
        Ok(())
    }

    /// It is not needed any more, or another one is. While a job works on it, it stays.
    fn abandon_fetch(&mut self) {
        if self.snapshots.is_busy() {
            return;
        }
        if let Some(fetch) = self.snapshots.fetch.take() {
            // What cannot be removed now is debris at the next start.
            let _ = match fetch.published.is_some() {
                true => self.storage.discard_published(fetch.snapshot),
                false => self.storage.discard_snapshot(Origin::Fetched),
            };
        }
    }

    /// Another member asks for a part of a snapshot. One that is gone it will not be offered again.
    pub(super) fn send_chunk(
        &mut self,
        to: NodeId,
        snapshot: Snapshot,
        offset: u64,
        out: &mut Outbox,
    ) -> Result<(), Error> {
        let max_bytes = FETCHED_CHUNK_BYTES as usize;
        match self.storage.chunk(snapshot, offset, max_bytes) {
            Ok(Some(data)) => {
                let mut frame = Vec::with_capacity(data.len() + 128);
                codec::encode_chunk(snapshot, offset, data, &mut frame);
                out.frames.push((to, frame.into()));
            }
            Ok(None) => {}
            Err(error) => {
                let text = format!("cannot read the snapshot of {}: {error}", snapshot.pos);
                out.warnings.push(text);
            }
        }
        Ok(())
    }

    pub(super) fn take_chunk(
        &mut self,
        snapshot: Snapshot,
        offset: u64,
        data: Bytes,
        out: &mut Outbox,
    ) -> Result<(), Error> {
        let Some(fetch) = &mut self.snapshots.fetch else {
            return Ok(());
        };
        // One that comes twice, too late or too early: what is missing is asked for again.
        let due = FETCHED_CHUNK_BYTES.min(fetch.snapshot.bytes - fetch.arrived);
        let wanted = fetch.snapshot == snapshot && fetch.arrived == offset;
        if !wanted || data.len() as u64 != due {
            return Ok(());
        }
        fetch.arrived += due;
        fetch.asked = fetch.asked.max(fetch.arrived);
        fetch.chunks.push(data);
        fetch.progressed = true;
        self.store(out);
        Ok(())
    }

    /// Has what arrived written, if that is not going on.
    fn store(&mut self, out: &mut Outbox) {
        let Some(fetch) = &mut self.snapshots.fetch else {
            return;
        };
        fetch.ask(out);
        if fetch.chunks.is_empty() {
            return;
        }
        if let Some(sink) = fetch.sink.take() {
            fetch.stored = fetch.arrived;
            let chunks = std::mem::take(&mut fetch.chunks);
            let is_last = fetch.arrived == fetch.snapshot.bytes;
            self.snapshots
                .queue(Purpose::Store, Job::store(sink, chunks, is_last));
        }
    }

    fn stored(&mut self, sink: M::Sink, out: &mut Outbox) {
        let fetch = self.snapshots.fetch.as_mut().expect("one is fetched");
        fetch.progressed = true;
        let snapshot = fetch.snapshot;
        if fetch.stored == snapshot.bytes {
            return self.verify(Origin::Fetched, sink, snapshot, out);
        }
        fetch.sink = Some(sink);
        self.store(out);
    }

    /// Figure 13, 8: the state is replaced. Until the new one is loaded nothing is applied or read.
    pub(super) fn install(
        &mut self,
        seq: Seq,
        snapshot: Snapshot,
        out: &mut Outbox,
    ) -> Result<(), Error> {
        self.storage.add_snapshot(snapshot, Origin::Fetched, 1)?;
        self.snapshots.fetch = None;
        self.snapshots.marked = None;
        self.snapshots.untidy = Some(seq);
        self.written = seq;
        self.apply_upto = snapshot.pos.index;
        let old = std::mem::take(&mut self.kv);
        if planted!("state_used_before_it_is_loaded") {
            self.applied = snapshot.pos.index;
        }
        let load = self.storage.load_job(snapshot)?;
        self.snapshots.loading = Some(snapshot);
        self.snapshots.queue(Purpose::Discard, Job::discard(old));
        self.snapshots.queue(Purpose::Load, load);
        out.writes.push(Written {
            seq,
            hard: None,
            entries: None,
            installed: Some(snapshot),
        });
        Ok(())
    }

    fn loaded(&mut self, state: Kv, out: &mut Outbox) -> Result<(), Error> {
        let snapshot = self.snapshots.loading.take().expect("one is loaded");
        self.kv = state;
        self.applied = snapshot.pos.index;
        self.apply_some(out)
    }
}

impl<M: Media> Fetch<M> {
    fn new(from: NodeId, snapshot: Snapshot, sink: M::Sink) -> Fetch<M> {
        Fetch {
            from,
            snapshot,
            sink: Some(sink),
            stored: 0,
            arrived: 0,
            asked: 0,
            allowed: FETCH_WINDOW_BYTES,
            chunks: Vec::new(),
            progressed: true,
            published: None,
        }
    }

    /// A tick has passed.
    fn tick(&mut self, out: &mut Outbox) {
        let most = self.asked + FETCH_WINDOW_BYTES;
        self.allowed = most.min(self.allowed + FETCHED_BYTES_PER_TICK);
        self.ask(out);
    }

    /// Asks for as much as may be under way.
    fn ask(&mut self, out: &mut Outbox) {
        let Snapshot { bytes, .. } = self.snapshot;
        let upto = bytes
            .min(self.allowed)
            .min(self.stored + FETCH_WINDOW_BYTES);
        while self.asked < upto {
            let mut frame = Vec::new();
            codec::encode_fetch(self.snapshot, self.asked, &mut frame);
            out.frames.push((self.from, frame.into()));
            self.asked = bytes.min(self.asked + FETCHED_CHUNK_BYTES);
        }
    }
}
