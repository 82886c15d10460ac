//! Host names become addresses on a thread of their own: a name server may take seconds, and the
//! event loop has heartbeats to send.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::handle::Shared;
use crate::raft::NodeId;

/// Where a node was found, or why not.
pub(super) type Resolved = (NodeId, Result<SocketAddr, String>);

/// Looks names up, one after the other.
pub(super) struct Resolver {
    names: Sender<(NodeId, String)>,
    found: Receiver<Resolved>,
}

impl Resolver {
    /// Starts the thread; it ends when the resolver is dropped.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Resolver> {
        let (names, asked) = unbounded::<(NodeId, String)>();
        let (answer, found) = unbounded();
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                for (node, name) in asked {
                    let address = match name.to_socket_addrs() {
                        Ok(mut addresses) => addresses
                            .next()
                            .ok_or_else(|| format!("{name} has no address")),
                        Err(error) => Err(format!("{name}: {error}")),
                    };
                    // The loop is gone: so is the need.
                    if answer.send((node, address)).is_err() || shared.waker.wake().is_err() {
                        return;
                    }
                }
            })?;
        Ok(Resolver { names, found })
    }

    /// Asks for the address of a `host:port`.
    pub(super) fn ask(&self, node: NodeId, name: &str) {
        // It fails only when the thread is gone with the process.
        let _ = self.names.send((node, name.to_owned()));
    }

    /// What was found since.
    pub(super) fn found(&self) -> impl Iterator<Item = Resolved> + '_ {
        self.found.try_iter()
    }
}
