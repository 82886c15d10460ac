//! The clients' side of a node: a thread with its own mio loop that speaks gRPC.
//!
//! It serves the services of `raftkv.proto`, health and server reflection. Requests that are
//! complete go to the node in one batch per turn of the loop, and the answers of a turn of the node
//! come back in one. Outcomes are told apart by codes: a response with `ok: false`, or a status
//! with the trailer `raftkv-applied: no`, means that nothing was applied; any other failure leaves
//! that open.

mod cluster;
mod connection;
mod reflection;
mod server;
mod service;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crossbeam_channel::Sender;
use mio::Waker;

use self::reflection::Reflection;
use crate::{
    node::{Answer, Handle, NodeStatus, Request, SubmitError},
    raft::Token,
};

/// Connections open at once, or fewer where the process may open few files. Beyond it the one that
/// is idle for longest makes room, and while none is idle a new one is closed.
pub const CONNECTIONS_MAX: usize = 2_048;

/// Served at once however few files the process may open.
const CONNECTIONS_MIN: usize = 16;

/// Of the files the process may open, these are not for clients. The log, the peers and the
/// strangers at the peers' port need less than half of them; a log without a descriptor for its
/// next segment stops the node.
const DESCRIPTORS_RESERVED: u64 = 128;

/// Requests, answers and parts of them that wait in the gateway, in bytes. Beyond it, what would
/// take a connection over its equal share is refused with RESOURCE_EXHAUSTED: one client that does
/// not read does not keep the others from working. Since all may still use their shares, twice
/// this is never passed.
pub const BUFFERED_MAX_BYTES: usize = 32 << 20;

/// The node, as the gateway sees it.
pub trait Backend: Send + 'static {
    /// Queues a request, which then gets exactly one answer.
    ///
    /// # Errors
    /// When it was not queued: nothing was applied.
    fn submit(&self, request: Request) -> Result<(), SubmitError>;

    /// Called once after each batch of requests.
    fn wake(&self);

    /// Whether the node knows who leads.
    fn leader_known(&self) -> bool;

    /// What the node is and knows.
    fn status(&self) -> NodeStatus;
}

impl Backend for Handle {
    fn submit(&self, request: Request) -> Result<(), SubmitError> {
        Handle::submit(self, request)
    }

    fn wake(&self) {
        Handle::wake(self);
    }

    fn leader_known(&self) -> bool {
        Handle::leader_known(self)
    }

    fn status(&self) -> NodeStatus {
        Handle::status(self)
    }
}

/// Wakes the gateway, for the node to call after each batch of answers.
pub type Wake = Box<dyn Fn() + Send>;

/// A running gateway.
pub struct Gateway {
    address: SocketAddr,
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Gateway {
    /// Serves the clients that connect to `listener`. `connect` makes the way to the node, which
    /// sends its answers where it is told to and then calls [`Wake`].
    ///
    /// # Errors
    /// Of the operating system: no poll, no waker or no thread to be had.
    pub fn start<B: Backend>(
        listener: TcpListener,
        connect: impl FnOnce(Sender<(Token, Answer)>, Wake) -> B,
    ) -> io::Result<Gateway> {
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (server, waker) = server::Server::new(listener, stopping.clone(), connect)?;
        let thread = thread::Builder::new()
            .name("gateway".into())
            .spawn(move || server.run())?;
        Ok(Gateway {
            address,
            waker,
            stopping,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops gracefully: no new connections and calls (GOAWAY), those in flight finish, then all
    /// connections close. Returns when that is done, or after 5 s with calls left. The node must
    /// go on answering meanwhile.
    pub fn shut_down(self) {
        drop(self);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        wake(&self.waker);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the gateway thread does not panic");
        }
    }
}

/// An eventfd that cannot be written has no cure, and a wake that is lost hangs every client.
fn wake(waker: &Waker) {
    waker
        .wake()
        .expect("the waker of a running loop can be written");
}

/// How many connections a process has that may open so many files; `None` is without a limit.
fn connections_max(descriptors_max: Option<u64>) -> usize {
    let left = descriptors_max.map_or(u64::MAX, |max| max.saturating_sub(DESCRIPTORS_RESERVED));
    usize::try_from(left)
        .unwrap_or(usize::MAX)
        .clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// What all connections share in one turn of the loop.
struct Shared {
    now_ms: u64,
    reflection: Reflection,
    node: Box<dyn Backend>,
    /// Bytes that waited at the end of the last turn, in all connections and at the node.
    buffered_bytes: usize,
    /// How many connections share the room.
    connections: usize,
}

impl Shared {
    fn leader_known(&self) -> bool {
        self.node.leader_known()
    }

    /// Whether there is no room for so many `more` bytes of a connection that has `own` already.
    fn is_full(&self, own_bytes: impl FnOnce() -> usize, more_bytes: usize) -> bool {
        self.buffered_bytes + more_bytes > BUFFERED_MAX_BYTES
            && own_bytes() + more_bytes > BUFFERED_MAX_BYTES / self.connections.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_to_the_log_and_the_peers() {
        for (descriptors_max, connections) in [
            (Some(0), 16),
            (Some(128), 16),
            (Some(144), 16),
            (Some(145), 17),
            (Some(1_024), 896),
            (Some(2_175), 2_047),
            (Some(2_176), 2_048),
            (Some(u64::MAX), 2_048),
            (None, 2_048),
        ] {
            assert_eq!(connections_max(descriptors_max), connections);
        }
    }
}
