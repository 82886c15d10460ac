//! A sync of the log on another thread, while the log is written and read on.

use crate::{Error, Media, SegmentFile, Wal};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// What another thread is to [run](SyncJob::run).
#[derive(Debug)]
pub struct SyncJob(Arc<Mutex<State>>);

/// Whoever holds the lock syncs, or finds what came of it.
enum State {
    Todo(Box<dyn FnOnce() -> io::Result<()> + Send>),
    Done(io::Result<()>, Duration),
    Taken,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Todo(_) => "todo",
            State::Done(..) => "done",
            State::Taken => "taken",
        })
    }
}

impl SyncJob {
    /// Waits for the disk. What came of it is told by [`Wal::poll_sync`].
    pub fn run(self) {
        lock(&self.0).run();
    }
}

impl State {
    fn run(&mut self) {
        match std::mem::replace(self, State::Taken) {
            State::Todo(sync) => {
                let began = Instant::now();
                let synced = sync();
                *self = State::Done(synced, began.elapsed());
            }
            done => *self = done,
        }
    }

    fn take(&mut self) -> (io::Result<()>, Duration) {
        match std::mem::replace(self, State::Taken) {
            State::Done(synced, took) => (synced, took),
            // It panicked.
            _ => (Err(io::Error::other("a sync has no end")), Duration::ZERO),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sync that is under way elsewhere.
#[derive(Debug)]
pub(crate) struct UnderWay {
    /// What it covers of the active segment: a log that rotates ends it before.
    end: u32,
    state: Arc<Mutex<State>>,
}

/// Whether the sync under way has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncDone {
    /// Not yet.
    No,
    /// What it was begun for is durable. It took so long, unless the log has ended it before.
    Yes(Option<Duration>),
}

impl<M: Media> Wal<M> {
    /// Begins to make everything written durable, on whatever thread runs the job; `None` when it
    /// is already. What is written from now on belongs to the next sync.
    ///
    /// # Errors
    /// As for [`sync`](Wal::sync).
    ///
    /// # Panics
    /// When a sync is under way.
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob>, Error> {
        self.check_usable()?;
        assert!(self.under_way.is_none(), "one sync at a time");
        let end = self.active().end;
        if self.durable == end {
            return Ok(None);
        }
        let sync = self.active().file.sync_elsewhere();
        let state = Arc::new(Mutex::new(State::Todo(sync)));
        let job = SyncJob(Arc::clone(&state));
        self.under_way = Some(UnderWay { end, state });
        Ok(Some(job))
    }

    /// Looks whether the sync under way has ended. Does not wait.
    ///
    /// # Errors
    /// As for [`sync`](Wal::sync).
    pub fn poll_sync(&mut self) -> Result<SyncDone, Error> {
        self.check_usable()?;
        let Some(under_way) = &self.under_way else {
            return Ok(SyncDone::Yes(None));
        };
        let (synced, took) = match under_way.state.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(SyncDone::No),
            Ok(state) if matches!(*state, State::Todo(_)) => return Ok(SyncDone::No),
            Ok(mut state) => state.take(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().take(),
        };
        self.end_sync(synced)?;
        Ok(SyncDone::Yes(Some(took)))
    }

    /// Ends the sync under way, if there is one: waits for it, or does it if nobody has begun. Of
    /// two syncs of a file at once only one would be told of an error.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        let Some(under_way) = &self.under_way else {
            return Ok(());
        };
        let mut state = lock(&under_way.state);
        state.run();
        let (synced, _) = state.take();
        drop(state);
        self.end_sync(synced)
    }

    fn end_sync(&mut self, synced: io::Result<()>) -> Result<(), Error> {
        let under_way = self.under_way.take().expect("a sync was under way");
        match synced {
            Ok(()) => {
                self.durable = under_way.end;
                Ok(())
            }
            Err(source) => Err(self.poison("sync", source)),
        }
    }
}
