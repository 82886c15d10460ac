//! Committed entries on their way into the state machine.

use arrayvec::ArrayVec;
use raftkv_wal::Media;

use super::{Error, Outbox, Replica, Reply, members};
use crate::{
    codec,
    kv::{Command, Outcome, TOGETHER},
    raft::{EntryKind, Index, LogPos},
    storage::Storage,
};

/// Entries are applied so many at a time: after a restart the whole log is due at once, and a
/// leader that falls silent over it is replaced.
pub(super) const MAX_ENTRIES: u64 = 4096;

/// And fewer while a snapshot is written: a change then copies what the snapshot still shares.
const MAX_ENTRIES_WHILE_WRITING: u64 = 512;

impl<M: Media> Replica<M> {
    /// Whether committed entries wait for [`Replica::apply_some`].
    #[must_use]
    pub fn has_more_to_apply(&self) -> bool {
        self.applied < self.apply_upto && !self.snapshots.is_loading()
    }

    /// Applies some of the committed entries and answers what waited for them. A step does this
    /// too; what it leaves is the driver's to go on with, between its other duties.
    ///
    /// # Errors
    /// As [`Replica::step`].
    pub fn apply_some(&mut self, out: &mut Outbox) -> Result<(), Error> {
        if self.snapshots.is_loading() {
            return Ok(());
        }
        let at_once = match self.snapshots.is_writing() {
            true => self.apply_max_entries.min(MAX_ENTRIES_WHILE_WRITING),
            false => self.apply_max_entries,
        };
        let last = self.apply_upto.0.min(self.applied.0 + at_once);
        while self.applied.0 < last {
            self.apply_together(Index(last), out)?;
        }
        self.serve(out);
        self.take_snapshot_if_due(out);
        Ok(())
    }

    /// Applies the next entries, not beyond `last` and so few that their keys are looked for at
    /// once.
    fn apply_together(&mut self, last: Index, out: &mut Outbox) -> Result<(), Error> {
        let mut entries: ArrayVec<(LogPos, Option<Command<&[u8]>>), TOGETHER> = ArrayVec::new();
        for index in (self.applied.0 + 1..=last.0).take(TOGETHER).map(Index) {
            let term = self.raft.log().term(index);
            let pos = LogPos::new(term.expect("committed entries stay"), index);
            entries.push((pos, command(&self.storage, pos)?));
        }
        let commands = entries.iter().map(|(_, command)| command.as_ref());
        let keys = commands.map(|command| command.map_or(&[][..], |command| *command.key()));
        let places = self.kv.find(&keys.collect());
        for (at, (pos, command)) in entries.iter().enumerate() {
            let place = places.get(at).and_then(Option::as_ref);
            let outcome = command
                .as_ref()
                .map(|command| self.kv.apply_at(command, place));
            self.applied = pos.index;
            members::remember_digest(&mut self.digests, pos.index, &self.kv);
            if let Some(&(first, token)) = self.accepted.front()
                && first == *pos
            {
                self.accepted.pop_front();
                out.replies.push((token, reply(outcome, *pos)));
            }
        }
        Ok(())
    }
}

/// What the committed entry asks of the state machine, if anything.
fn command<M: Media>(storage: &Storage<M>, pos: LogPos) -> Result<Option<Command<&[u8]>>, Error> {
    let refuse = |what: String| Error::Apply { pos, what };
    let entry = storage.entry(pos.index);
    let entry = entry.map_err(|error| refuse(error.to_string()))?;
    assert!(entry.pos == pos, "entry {} is stored at {pos}", entry.pos);
    match entry.kind {
        // In force since it was appended (§6).
        EntryKind::NO_OP | EntryKind::CONFIG => Ok(None),
        EntryKind::COMMAND => {
            let command = codec::read_command(entry.data);
            command.map(Some).map_err(|error| refuse(error.to_string()))
        }
        EntryKind(kind) => Err(refuse(format!("its kind {kind} is unknown"))),
    }
}

fn reply(outcome: Option<Outcome>, at: LogPos) -> Reply {
    match outcome.expect("tokens belong to commands") {
        Outcome::Put => Reply::Put { at },
        Outcome::Deleted { found } => Reply::Delete { found, at },
    }
}
