//! The way into a running node from other threads: requests in by a bounded queue, answers out by
//! a channel of the asker's, one wake for each batch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;
use parking_lot::Mutex;

use bytes::Bytes;
use raftkv_wal::FileSource;

use super::{
    stages::Stages,
    status::{NodeStatus, Published},
    timings::{RecentSyncs, Timings},
};
use crate::{
    kv::{KEY_MAX_BYTES, VALUE_MAX_BYTES},
    raft::{ChangeState, Config, Index, NodeId, Snapshot, Token},
    replica::{Operation, TransferRefusal},
};

/// Requests that wait for the event loop; beyond it they are refused.
pub const REQUEST_QUEUE_MAX: usize = 4096;

/// What a client asks, with a token that its asker recognizes the answer by.
#[derive(Clone, Debug)]
pub struct Request {
    /// Unique among the asker's open requests.
    pub token: Token,
    /// What is asked.
    pub operation: Operation,
}

/// A snapshot's file, open: it stays readable when its name goes.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Which snapshot it is.
    pub snapshot: Snapshot,
    /// The store's revision.
    pub revision: u64,
    /// How many keys there are.
    pub keys: u64,
    /// Its bytes.
    pub source: Arc<FileSource>,
}

impl PartialEq for Backup {
    fn eq(&self, other: &Backup) -> bool {
        self.snapshot == other.snapshot && Arc::ptr_eq(&self.source, &other.source)
    }
}

impl Eq for Backup {}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stored: durable on a majority.
    Put,
    /// Read, linearizably.
    Get {
        /// The value, if the key exists.
        value: Option<Bytes>,
    },
    /// Removed: durable on a majority.
    Delete {
        /// Whether the key existed.
        found: bool,
    },
    /// A snapshot with all that was acknowledged before the request.
    Backup(Backup),
    /// No snapshot could be written or opened; the node's log says why.
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
    /// Nothing was applied: this node does not lead.
    NotLeader {
        /// The leader's client address, empty when none is known.
        leader_hint: String,
    },
    /// Nothing was applied: leadership is being handed over, too much waits already, or the node
    /// is stopping.
    Busy {
        /// Which, for the client to read.
        why: &'static str,
    },
    /// Nothing was applied: the disk has no room for it.
    DiskFull,
    /// It was accepted, and then the node ceased to lead or stopped: applied or not.
    Unknown,
}

/// Why a request was not even queued. Nothing was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The queue is full.
    Full,
    /// The node has stopped.
    Stopped,
    /// A key or a value is beyond [`KEY_MAX_BYTES`] or [`VALUE_MAX_BYTES`], or the key is empty.
    Size,
}

/// Where one asker's answers go.
pub(super) struct Asker {
    pub(super) answers: Sender<(Token, Answer)>,
    pub(super) wake: Box<dyn Fn() + Send>,
}

/// A request in the queue.
pub(super) struct Asked {
    pub(super) asker: u64,
    pub(super) at: Instant,
    pub(super) request: Request,
}

/// What handles and the event loop share.
pub(super) struct Shared {
    pub(super) status: Mutex<Published>,
    pub(super) timings: Mutex<Timings>,
    pub(super) stages: Mutex<Stages>,
    pub(super) recent_syncs: Mutex<RecentSyncs>,
    /// A snapshot was asked for.
    pub(super) wants_snapshot: AtomicBool,
    /// The node was asked not to lead.
    pub(super) wants_hand_over: AtomicBool,
    pub(super) askers: Mutex<BTreeMap<u64, Asker>>,
    /// Never used twice: an answer must not reach the next asker.
    pub(super) next_asker: AtomicU64,
    pub(super) waker: Waker,
}

impl Shared {
    /// Of a node that nobody asks yet.
    pub(super) fn new(status: NodeStatus, waker: Waker) -> Shared {
        Shared {
            status: Mutex::new(Published::new(status)),
            timings: Mutex::default(),
            stages: Mutex::default(),
            recent_syncs: Mutex::new(RecentSyncs::new(Instant::now())),
            wants_snapshot: AtomicBool::new(false),
            wants_hand_over: AtomicBool::new(false),
            askers: Mutex::default(),
            next_asker: AtomicU64::new(0),
            waker,
        }
    }
}

/// Makes the queue between handles and an event loop.
pub(super) fn queue(shared: Arc<Shared>) -> (HandleMaker, Receiver<Asked>) {
    let (requests, receiver) = bounded(REQUEST_QUEUE_MAX);
    (HandleMaker { shared, requests }, receiver)
}

/// Makes handles.
#[derive(Clone)]
pub(super) struct HandleMaker {
    shared: Arc<Shared>,
    requests: Sender<Asked>,
}

impl HandleMaker {
    /// A handle whose answers go to `answers`; `wake` is called after each batch of them.
    pub(super) fn handle(
        &self,
        answers: Sender<(Token, Answer)>,
        wake: impl Fn() + Send + 'static,
    ) -> Handle {
        let asker = self.shared.next_asker.fetch_add(1, Ordering::Relaxed);
        self.shared.askers.lock().insert(
            asker,
            Asker {
                answers,
                wake: Box::new(wake),
            },
        );
        Handle {
            asker,
            shared: Arc::clone(&self.shared),
            requests: self.requests.clone(),
        }
    }
}

/// A way into a running node.
pub struct Handle {
    asker: u64,
    shared: Arc<Shared>,
    requests: Sender<Asked>,
}

impl Handle {
    /// Queues a request. It is taken up at the next [`Handle::wake`], and then gets exactly one
    /// answer.
    ///
    /// # Errors
    /// When it was not queued: nothing was applied.
    pub fn submit(&self, request: Request) -> Result<(), SubmitError> {
        let (key_bytes, value_bytes) = match &request.operation {
            Operation::Put { key, value } => (key.len(), value.len()),
            Operation::Get { key } | Operation::Delete { key } => (key.len(), 0),
            Operation::Backup
            | Operation::Members
            | Operation::Change(_)
            | Operation::Transfer { .. } => (1, 0),
        };
        if !(1..=KEY_MAX_BYTES).contains(&key_bytes) || value_bytes > VALUE_MAX_BYTES {
            return Err(SubmitError::Size);
        }
        let asked = Asked {
            asker: self.asker,
            at: Instant::now(),
            request,
        };
        self.requests.try_send(asked).map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::Full,
            TrySendError::Disconnected(_) => SubmitError::Stopped,
        })
    }

    /// Wakes the event loop: once after a batch of requests, since a wake costs more than a
    /// request.
    pub fn wake(&self) {
        // It fails only when the event loop is gone, and then nobody is left to wake.
        let _ = self.shared.waker.wake();
    }

    /// Asks for a snapshot of what is applied, as soon as one can be taken.
    pub fn request_snapshot(&self) {
        self.shared.wants_snapshot.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Where the event loop's time went since this was last asked.
    #[must_use]
    pub fn take_timings(&self) -> Timings {
        std::mem::take(&mut self.shared.timings.lock())
    }

    /// Where the time of commits goes, since the node started.
    #[must_use]
    pub fn stages(&self) -> Stages {
        self.shared.stages.lock().clone()
    }

    /// What the node is and knows.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let sync_p99_us = self.shared.recent_syncs.lock().p99_us(Instant::now());
        NodeStatus {
            sync_p99_us,
            stages: self.stages().summary().to_vec(),
            ..self.shared.status.lock().get()
        }
    }

    /// Whether the node knows who leads.
    #[must_use]
    pub fn leader_known(&self) -> bool {
        self.shared.status.lock().leader_known()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.askers.lock().remove(&self.asker);
    }
}
