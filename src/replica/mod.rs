//! The one interpreter of the FSM's effects: log, state machine and messages, with no socket, no
//! clock and no thread. The node, the simulator and the benches all run this.

mod apply;
mod backups;
mod frames;
mod members;
mod snapshots;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::RangeInclusive,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use raftkv_wal::{Media, SyncDone, SyncJob};

use crate::{
    codec::{self, Packet},
    kv::{Command, Kv},
    raft::{
        self, Change, ChangeState, Config, Effect, Effects, HardState, Index, Input, LogPos,
        Message, NodeId, Note, Options, Raft, RefusalReason, RoleChange, RoleName, Seq, Snapshot,
        Status, Token,
    },
    storage::{self, JobError, Opened, Storage},
};
use frames::{Appended, Frames};
use snapshots::Snapshots;

pub use members::{Digests, TransferRefusal};
pub use snapshots::SnapshotPolicy;

/// What a client asks of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store the value under the key.
    Put {
        /// 1 byte to 4 KiB.
        key: Bytes,
        /// Up to 1 MiB.
        value: Bytes,
    },
    /// Read the newest value.
    Get {
        /// 1 byte to 4 KiB.
        key: Bytes,
    },
    /// Remove the key.
    Delete {
        /// 1 byte to 4 KiB.
        key: Bytes,
    },
    /// Have a snapshot with all that was acknowledged before.
    Backup,
    /// Learn who the members are, linearizably.
    Members,
    /// Change the members, or learn how far that is.
    Change(Change),
    /// Hand leadership to a member, or to the one whose log is furthest.
    Transfer {
        /// The member, or any.
        to: Option<NodeId>,
    },
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Stored: durable on a majority and applied.
    Put {
        /// Where its entry stands.
        at: LogPos,
    },
    /// Read, linearizably.
    Get {
        /// The value, if the key exists.
        value: Option<Bytes>,
        /// The last entry that was applied when it was read.
        at: Index,
    },
    /// Removed: durable on a majority and applied.
    Delete {
        /// Whether the key existed.
        found: bool,
        /// Where its entry stands.
        at: LogPos,
    },
    /// There is such a snapshot, durable.
    Backup {
        /// For [`Replica::open_snapshot`].
        snapshot: Snapshot,
    },
    /// A snapshot was to be written and could not be: [`Outbox::warnings`] has the reason.
    NoSnapshot,
    /// Who the members are, by the configuration in force (§6).
    Members {
        /// Where it stands in the log.
        at: Index,
        /// Whether it is committed.
        is_committed: bool,
        /// The members.
        config: Arc<Config>,
    },
    /// How far a change of members is.
    Change(ChangeState),
    /// To whom leadership is being handed over, or why to nobody.
    Transfer(Result<NodeId, TransferRefusal>),
    /// Refused: nothing was applied.
    Refused(RefusalReason),
    /// Accepted by a leader that then ceased to lead: applied or not, nobody here knows.
    Unknown,
}

/// What was written to the log and is not known to be durable yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The number of the write.
    pub seq: Seq,
    /// Term and vote, when they changed.
    pub hard: Option<HardState>,
    /// The entries; they replace all that stood from the first one on.
    pub entries: Option<RangeInclusive<Index>>,
    /// A snapshot that takes the place of the whole log.
    pub installed: Option<Snapshot>,
}

/// What a replica wants of the world around it. The driver takes it all after each call.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What was written, in order.
    pub writes: Vec<Written>,
    /// Whole frames to send, in order for each member.
    pub frames: Vec<(NodeId, Bytes)>,
    /// Answers to operations.
    pub replies: Vec<(Token, Reply)>,
    /// Why the FSM decided as it did.
    pub notes: Vec<Note>,
    /// The newest change of role, term or leader.
    pub role: Option<RoleChange>,
    /// Something was not written because the disk is full.
    pub disk_full: bool,
    /// What else an operator should know.
    pub warnings: Vec<String>,
}

/// Why a replica cannot go on. The process must stop: what it would say next might be wrong.
#[derive(Debug)]
pub enum Error {
    /// The log could not be written.
    Storage(storage::Error),
    /// The state that was installed cannot be loaded.
    Snapshot(JobError),
    /// A committed entry cannot be applied here. Skipping it would diverge in silence.
    Apply {
        /// The entry.
        pos: LogPos,
        /// Why.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Storage(error) => error.fmt(f),
            Error::Snapshot(error) => error.fmt(f),
            Error::Apply { pos, what } => {
                write!(
                    f,
                    "committed entry {pos} cannot be applied: {what}; start a newer program"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Error {
        Error::Storage(error)
    }
}

/// Ticks without a write before the log marks its end: a mark is a sync, which must not stand in
/// the way of puts that come one by one.
const MARK_AFTER_TICKS: u32 = 5;
/// Ticks between two looks whether a full disk has room again.
const LOOK_FOR_ROOM_TICKS: u32 = 100;

/// Commands are encoded into buffers of this size: each holds many, and comes back when the last of
/// them is written.
const ENCODED_BYTES: usize = 64 << 10;

/// What a read is answered with.
enum Read {
    /// The value of this key.
    Value(Bytes),
    /// A snapshot.
    Backup,
    /// The members.
    Members,
}

/// One member: consensus, log and state machine.
pub struct Replica<M: Media> {
    raft: Raft,
    storage: Storage<M>,
    kv: Kv,
    effects: Effects,
    written: Seq,
    /// The newest write of the last sync; what has been made of that is `durable`.
    synced: Seq,
    /// The snapshot that was named in the log before the last sync began.
    synced_mark: Option<Snapshot>,
    durable: Seq,
    /// The newest write at the last call of [`Replica::mark_if_idle`].
    seen: Seq,
    idle_ticks: u32,
    ticks: u32,
    marked: Seq,
    /// Messages that wait for a write to be durable, in the order of those writes.
    held: VecDeque<(Seq, NodeId, Message)>,
    applied: Index,
    /// How far to apply.
    apply_upto: Index,
    apply_max_entries: u64,
    /// Accepted commands, in log order.
    accepted: VecDeque<(LogPos, Token)>,
    /// Where commands are encoded: its memory comes back with the last of them.
    encoded: BytesMut,
    frames: Frames,
    /// What each unanswered read asks for.
    reads: BTreeMap<Token, Read>,
    /// Confirmed reads that wait for an index to be applied, in order.
    confirmed: VecDeque<(Index, Vec<Token>)>,
    /// Confirmed backups that wait for a snapshot of an index or a later one.
    backups: Vec<(Index, Token)>,
    digests: Arc<Digests>,
    snapshots: Snapshots<M>,
}

impl<M: Media> Replica<M> {
    /// A replica of what a data directory held. The state is that of the snapshot until a leader
    /// says what is committed; then the log is replayed into it.
    pub fn new(options: Options, opened: Opened<M>) -> Replica<M> {
        let Opened {
            storage,
            saved,
            state,
            ..
        } = opened;
        let included = saved
            .snapshot
            .map_or(Index::ZERO, |snapshot| snapshot.pos.index);
        Replica {
            raft: Raft::restore(options, saved),
            storage,
            kv: state,
            effects: Effects::default(),
            written: Seq::NONE,
            synced: Seq::NONE,
            synced_mark: None,
            durable: Seq::NONE,
            seen: Seq::NONE,
            idle_ticks: 0,
            ticks: 0,
            marked: Seq::NONE,
            held: VecDeque::new(),
            applied: included,
            apply_upto: included,
            apply_max_entries: apply::MAX_ENTRIES,
            accepted: VecDeque::new(),
            encoded: BytesMut::with_capacity(ENCODED_BYTES),
            frames: Frames::default(),
            reads: BTreeMap::new(),
            confirmed: VecDeque::new(),
            backups: Vec::new(),
            digests: Arc::default(),
            snapshots: Snapshots::default(),
        }
    }

    /// Applies at most so many entries at a time, 4096 unless told otherwise.
    pub fn set_apply_max_entries(&mut self, entries: u64) {
        self.apply_max_entries = entries;
    }

    /// Feeds one event to the FSM and does what follows from it, save syncing.
    ///
    /// # Errors
    /// When the log fails or a committed entry cannot be applied: the process must stop.
    pub fn step(&mut self, input: Input, out: &mut Outbox) -> Result<(), Error> {
        self.raft.step(input, &mut self.effects);
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            self.run(effect, out)?;
        }
        self.effects = effects;
        self.frames.forget_append();
        Ok(())
    }

    /// Takes what a member says.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn receive(&mut self, from: NodeId, packet: Packet, out: &mut Outbox) -> Result<(), Error> {
        match packet {
            Packet::Message(Message::Append(append)) if !self.has_room_for(&append.entries) => {
                // As if it had been lost: the leader asks again, and counts on the others.
                out.disk_full = true;
                Ok(())
            }
            Packet::Message(message) => self.step(Input::Receive { from, message }, out),
            Packet::Fetch { snapshot, offset } => self.send_chunk(from, snapshot, offset, out),
            Packet::Chunk {
                snapshot,
                offset,
                data,
            } => self.take_chunk(snapshot, offset, data, out),
        }
    }

    /// Takes operations of clients, all that came in one turn of a loop together, so that they
    /// share a write and a read round. Each token gets one reply, then or later.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn submit(
        &mut self,
        operations: Vec<(Token, Operation)>,
        out: &mut Outbox,
    ) -> Result<(), Error> {
        let mut commands = Vec::new();
        let mut reads = Vec::new();
        for (token, operation) in operations {
            match operation {
                Operation::Put { key, value } => {
                    commands.push((token, self.encoded(&Command::Put { key, value })));
                }
                Operation::Delete { key } => {
                    commands.push((token, self.encoded(&Command::Delete { key })));
                }
                Operation::Get { key } => reads.push((token, Read::Value(key))),
                Operation::Backup => reads.push((token, Read::Backup)),
                Operation::Members => reads.push((token, Read::Members)),
                Operation::Change(change) => {
                    self.step(Input::Reconfigure { token, change }, out)?;
                }
                Operation::Transfer { to } => self.transfer(token, to, out)?,
            }
        }
        let bytes = commands.iter().map(|(_, command)| command.len()).sum();
        // Who does not lead writes nothing of it, and names the leader, whose disk may have room.
        let writes = self.raft.leads() && !commands.is_empty();
        if writes && !self.storage.has_room(commands.len(), bytes) {
            out.disk_full = true;
            let reply = Reply::Refused(RefusalReason::DiskFull);
            let refused = commands.drain(..).map(|(token, _)| (token, reply.clone()));
            out.replies.extend(refused);
        }
        if !commands.is_empty() {
            self.step(Input::Propose { commands }, out)?;
        }
        if !reads.is_empty() {
            let tokens = reads.iter().map(|(token, _)| *token).collect();
            self.reads.extend(reads);
            self.step(Input::Read { tokens }, out)?;
        }
        Ok(())
    }

    fn encoded(&mut self, command: &Command) -> Bytes {
        codec::encode_command(command, &mut self.encoded);
        self.encoded.split().freeze()
    }

    /// Whether something was written that is not durable yet.
    #[must_use]
    pub fn needs_sync(&self) -> bool {
        self.written > self.durable || self.snapshots.pending_mark().is_some()
    }

    /// Makes all that was written durable, sends what waited for it and goes on from there.
    ///
    /// # Errors
    /// As [`Replica::step`]. After a failed sync nothing may be vouched for.
    pub fn sync(&mut self, out: &mut Outbox) -> Result<(), Error> {
        self.sync_log()?;
        self.go_on(out)
    }

    /// The first half of [`Replica::sync`]: waits for the disk, and nothing else.
    ///
    /// # Errors
    /// As [`Replica::sync`].
    pub fn sync_log(&mut self) -> Result<(), Error> {
        self.storage.sync()?;
        self.covers_all_written();
        Ok(())
    }

    /// As [`Replica::sync_log`], on the thread that runs the job; without one there is nothing to
    /// wait for. [`Replica::go_on`] follows when [`Replica::poll_sync`] says so, and no other sync
    /// begins before. What is written meanwhile belongs to the next.
    ///
    /// # Errors
    /// As [`Replica::sync`].
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob>, Error> {
        let job = self.storage.begin_sync()?;
        self.covers_all_written();
        Ok(job)
    }

    /// Whether that has ended.
    ///
    /// # Errors
    /// As [`Replica::sync`].
    pub fn poll_sync(&mut self) -> Result<SyncDone, Error> {
        Ok(self.storage.poll_sync()?)
    }

    /// How many bytes wait for a sync.
    #[must_use]
    pub fn unsynced_bytes(&self) -> usize {
        self.storage.unsynced_bytes()
    }

    /// A sync that begins or has ended now covers this.
    fn covers_all_written(&mut self) {
        self.synced = self.written;
        self.synced_mark = self.snapshots.pending_mark();
    }

    /// The second half of [`Replica::sync`]: sends what waited for the disk, and goes on.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn go_on(&mut self, out: &mut Outbox) -> Result<(), Error> {
        if planted!("sync_covers_what_came_meanwhile") {
            self.covers_all_written();
        }
        self.durable = self.synced;
        while let Some((after, _, _)) = self.held.front()
            && *after <= self.durable
        {
            let (_, to, message) = self.held.pop_front().expect("just seen");
            out.frames.push((to, self.frames.message(&message)));
        }
        self.marks_are_durable(out)?;
        self.step(Input::Persisted { upto: self.durable }, out)
    }

    /// To be called once a tick, for what has time. When nothing was written for some ticks, the
    /// log proves its last batch durable, so that later damage to it is not taken for a torn tail
    /// (docs/wal.md). Files of no use go, one at a time. After a full disk there may be room.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn upkeep(&mut self, out: &mut Outbox) -> Result<(), Error> {
        let idle = self.seen == self.written && !self.needs_sync();
        self.seen = self.written;
        self.idle_ticks = if idle { self.idle_ticks + 1 } else { 0 };
        if self.idle_ticks >= MARK_AFTER_TICKS && self.marked < self.written {
            self.storage.mark()?;
            self.marked = self.written;
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(LOOK_FOR_ROOM_TICKS) {
            self.storage.look_for_room();
        }
        self.tidy_snapshots(out)
    }

    /// What consensus is at.
    #[must_use]
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// The last entry that the state machine has taken.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The encoded entry at `index`, as it is stored and sent.
    ///
    /// # Panics
    /// If there is no such entry.
    #[must_use]
    pub fn encoded_entry(&self, index: Index) -> &[u8] {
        self.storage.encoded_entry(index)
    }

    /// The consensus state, to look at.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The state machine, to look at.
    #[must_use]
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    fn run(&mut self, effect: Effect, out: &mut Outbox) -> Result<(), Error> {
        match effect {
            Effect::Write { seq, hard, entries } => self.write(seq, hard, &entries, out)?,
            Effect::FetchSnapshot { from, snapshot } => self.fetch(from, snapshot, out)?,
            Effect::Install { seq, snapshot } => self.install(seq, snapshot, out)?,
            Effect::Send { to, message, after } if after <= self.durable => {
                out.frames.push((to, self.frames.message(&message)));
            }
            Effect::Send { to, message, after } => self.held.push_back((after, to, message)),
            Effect::SendAppend {
                to,
                term,
                prev,
                last,
                commit,
            } => {
                let storage = &self.storage;
                let append = Appended {
                    term,
                    prev,
                    last,
                    commit,
                };
                let frame = self
                    .frames
                    .append(append, |index| storage.encoded_entry(index));
                out.frames.push((to, frame));
            }
            Effect::Apply { range } => {
                assert!(
                    *range.start() == self.apply_upto.next(),
                    "gap before {range:?}"
                );
                self.apply_upto = *range.end();
                self.apply_some(out)?;
            }
            Effect::Accepted { first, tokens } => {
                for (index, token) in (first.index.0..).zip(tokens) {
                    self.accepted
                        .push_back((LogPos::new(first.term, Index(index)), token));
                }
            }
            Effect::Serve { index, tokens } => {
                self.confirmed.push_back((index, tokens));
                self.serve(out);
            }
            Effect::Refused { tokens, reason } => {
                for token in tokens {
                    self.reads.remove(&token);
                    out.replies.push((token, Reply::Refused(reason)));
                }
            }
            Effect::Reconfigured { token, state } => {
                out.replies.push((token, Reply::Change(state)));
            }
            Effect::Role(change) => self.role_changed(change, out),
            Effect::Note(note) => out.notes.push(note),
        }
        Ok(())
    }

    fn write(
        &mut self,
        seq: Seq,
        hard: Option<HardState>,
        entries: &[raft::Entry],
        out: &mut Outbox,
    ) -> Result<(), Error> {
        self.storage.write(hard, entries)?;
        self.written = seq;
        let first = entries.first().map(|entry| entry.pos.index);
        let last = entries.last().map(|entry| entry.pos.index);
        let entries = first.zip(last).map(|(first, last)| first..=last);
        out.writes.push(Written {
            seq,
            hard,
            entries,
            installed: None,
        });
        Ok(())
    }

    /// Who ceases to lead no longer learns what becomes of the commands that it accepted.
    fn role_changed(&mut self, change: RoleChange, out: &mut Outbox) {
        if change.role != RoleName::Leader {
            let leader = change.leader;
            let outcome = match planted!("unknown_reported_as_refused") {
                true => Reply::Refused(RefusalReason::NotLeader { leader }),
                false => Reply::Unknown,
            };
            let accepted = self.accepted.drain(..);
            out.replies
                .extend(accepted.map(|(_, token)| (token, outcome.clone())));
        }
        out.role = Some(change);
    }

    fn has_room_for(&mut self, entries: &[raft::Entry]) -> bool {
        let bytes = entries.iter().map(|entry| entry.data.len()).sum();
        entries.is_empty() || self.storage.has_room(entries.len(), bytes)
    }

    /// Answers the confirmed reads whose index is applied (§8).
    fn serve(&mut self, out: &mut Outbox) {
        if self.snapshots.is_loading() {
            return;
        }
        while let Some((index, _)) = self.confirmed.front()
            && (*index <= self.applied || planted!("read_served_before_applied"))
        {
            let (index, tokens) = self.confirmed.pop_front().expect("just seen");
            for token in tokens {
                let read = self.reads.remove(&token);
                match read.expect("each read is answered once") {
                    Read::Value(key) => {
                        let value = self.kv.get(&key).map(|stored| stored.value);
                        let at = self.applied;
                        out.replies.push((token, Reply::Get { value, at }));
                    }
                    Read::Members => out.replies.push((token, self.members())),
                    Read::Backup => self.backups.push((index, token)),
                }
            }
        }
        self.answer_backups(out);
    }
}
