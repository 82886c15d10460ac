//! The thread that works on snapshots while the event loop goes on.

use std::{io, sync::Arc, thread};

use crossbeam_channel::{Receiver, Sender, unbounded};
use raftkv_wal::FileMedia;

use super::handle::Shared;
use crate::storage::Job;

/// A tenth of what the event loop gets of a core that both want.
const NICENESS: i32 = 10;

/// Runs one job at a time.
pub(super) struct Jobs {
    todo: Sender<Job<FileMedia>>,
    done: Receiver<Job<FileMedia>>,
}

impl Jobs {
    /// A thread that waits for jobs and ends with this. It wakes the event loop when one is done.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Jobs> {
        let (todo, jobs) = unbounded::<Job<FileMedia>>();
        let (results, done) = unbounded();
        thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || {
                // Clients wait for the event loop, and nobody for this. It fails where the system
                // knows no such thing.
                let _ = rustix::process::nice(NICENESS);
                for mut job in jobs {
                    while job.step() {}
                    if results.send(job).is_err() {
                        return;
                    }
                    // It fails only when the loop is gone, and with it the need.
                    let _ = shared.waker.wake();
                }
            })?;
        Ok(Jobs { todo, done })
    }

    pub(super) fn run(&self, job: Job<FileMedia>) {
        self.todo.send(job).expect("the thread waits for jobs");
    }

    /// One that is done.
    pub(super) fn take_done(&self) -> Option<Job<FileMedia>> {
        self.done.try_recv().ok()
    }
}
