//! A log in memory, and a state machine that counts.

use super::Types;
use futures_util::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftLogReader, RaftSnapshotBuilder,
    entry::RaftEntry,
    storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine},
    type_config::alias::{
        EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
    },
};
use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard},
};

/// Shared by the member and its readers.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    vote: Option<VoteOf<Types>>,
    /// The last that was cut off, right before `first`.
    purged: Option<LogIdOf<Types>>,
    first: u64,
    entries: VecDeque<EntryOf<Types>>,
}

impl Kept {
    /// How many entries stand before this index.
    fn place(&self, index: u64) -> usize {
        let place = index.saturating_sub(self.first) as usize;
        place.min(self.entries.len())
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let kept = lock(&self.0);
        let from = match range.start_bound() {
            Bound::Included(&index) => kept.place(index),
            Bound::Excluded(&index) => kept.place(index + 1),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(&index) => kept.place(index + 1),
            Bound::Excluded(&index) => kept.place(index),
            Bound::Unbounded => kept.entries.len(),
        };
        let wanted = kept.entries.range(from..until.max(from));
        Ok(wanted.cloned().collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(lock(&self.0).vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let kept = lock(&self.0);
        let last = kept.entries.back().map(|entry| entry.log_id());
        Ok(LogState {
            last_purged_log_id: kept.purged,
            last_log_id: last.or(kept.purged),
        })
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        lock(&self.0).vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        lock(&self.0).entries.extend(entries);
        done.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let mut kept = lock(&self.0);
        let place = kept.place(last.map_or(0, |last| last.index() + 1));
        kept.entries.truncate(place);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> io::Result<()> {
        let mut kept = lock(&self.0);
        let place = kept.place(upto.index() + 1);
        kept.entries.drain(..place);
        kept.first = upto.index() + 1;
        kept.purged = Some(upto);
        Ok(())
    }
}

/// Counts what it applies.
#[derive(Clone, Default)]
pub struct Machine(Arc<Mutex<Applied>>);

#[derive(Default)]
struct Applied {
    last: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    puts: u64,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let applied = lock(&self.0);
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut applied = lock(&self.0);
            applied.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(_) => applied.puts += 1,
                EntryPayload::Membership(members) => {
                    applied.membership =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), members);
                }
            }
            drop(applied);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Types>, (): ()) -> io::Result<()> {
        panic!("a member fell behind what the leader's log keeps");
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        let applied = lock(&self.0);
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: applied.last,
            last_membership: applied.membership.clone(),
        };
        Ok(SnapshotOf::<Types, ()> { meta, snapshot: () })
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}
