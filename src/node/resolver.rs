//! Host names become addresses on a thread of their own: a name server may take seconds, and the
//! event loop has heartbeats to send.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::handle::Shared;
use crate::raft::NodeId;

/// Where a node was found, or why not.
pub(super) type Resolved = (NodeId, io::Result<SocketAddr>);

/// A name to look up for a node, and which of its addresses to take.
type Question = (NodeId, String, usize);

/// Looks names up, one after the other.
pub(super) struct Resolver {
    names: Sender<Question>,
    found: Receiver<Resolved>,
}

impl Resolver {
    /// Starts the thread; it ends when the resolver is dropped.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Resolver> {
        let (names, asked) = unbounded::<Question>();
        let (answer, found) = unbounded();
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                for (node, name, turn) in asked {
                    let address = name
                        .to_socket_addrs()
                        .and_then(|found| pick(&found.collect::<Vec<_>>(), turn));
                    // The loop is gone: so is the need.
                    if answer.send((node, address)).is_err() || shared.waker.wake().is_err() {
                        return;
                    }
                }
            })?;
        Ok(Resolver { names, found })
    }

    /// Asks for an address of a `host:port`: another one with each `turn`, if it has several.
    pub(super) fn ask(&self, node: NodeId, name: &str, turn: usize) {
        // It fails only when the thread is gone with the process.
        let _ = self.names.send((node, name.to_owned(), turn));
    }

    /// What was found since.
    pub(super) fn found(&self) -> impl Iterator<Item = Resolved> + '_ {
        self.found.try_iter()
    }
}

/// `localhost` may be `::1` first, where nobody listens: each turn takes the next address.
fn pick(addresses: &[SocketAddr], turn: usize) -> io::Result<SocketAddr> {
    match turn.checked_rem(addresses.len()) {
        Some(at) => Ok(addresses[at]),
        None => Err(io::Error::other("the name has no address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_name_gets_its_turn() {
        let addresses = ["[::1]:1", "127.0.0.1:1"].map(|a| a.parse().expect("an address"));
        let picked = [0, 1, 2].map(|turn| pick(&addresses, turn).expect("there are two"));
        assert_eq!(picked, [addresses[0], addresses[1], addresses[0]]);
        assert!(pick(&[], 3).is_err());
    }
}
