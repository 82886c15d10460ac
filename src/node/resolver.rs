//! Host names become addresses on a thread for each lookup: a name server may take seconds, while
//! the event loop has heartbeats to send and other names their own servers.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::raft::NodeId;

/// Where a node was found, or why not.
pub(super) type Resolved = (NodeId, io::Result<SocketAddr>);

/// Looks names up. Who asks for a node waits for the answer before asking again, so that there are
/// no more threads than nodes.
pub(super) struct Resolver {
    answers: Answers,
    found: Receiver<Resolved>,
}

#[derive(Clone)]
struct Answers {
    found: Sender<Resolved>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Answers {
    fn give(&self, node: NodeId, address: io::Result<SocketAddr>) {
        // It fails only when the resolver is gone, and with it the need.
        let _ = self.found.send((node, address));
        (self.wake)();
    }
}

impl Resolver {
    /// Calls `wake` whenever something was found.
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Resolver {
        let (sender, found) = unbounded();
        let answers = Answers {
            found: sender,
            wake: Arc::new(wake),
        };
        Resolver { answers, found }
    }

    /// Asks for an address of a `host:port`: another one with each `turn`, if it has several.
    pub(super) fn ask(&self, node: NodeId, name: &str, turn: usize) {
        if let Ok(address) = name.parse() {
            return self.answers.give(node, Ok(address));
        }
        let name = name.to_owned();
        self.look_up(node, turn, move || Ok(name.to_socket_addrs()?.collect()));
    }

    fn look_up(
        &self,
        node: NodeId,
        turn: usize,
        look: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) {
        let answers = self.answers.clone();
        let started = thread::Builder::new()
            .name(format!("resolve-{node}"))
            .spawn(move || answers.give(node, look().and_then(|found| pick(&found, turn))));
        if let Err(error) = started {
            self.answers.give(node, Err(error));
        }
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

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_address_of_a_name_gets_its_turn() {
        let addresses = ["[::1]:1", "127.0.0.1:1"].map(address);
        let picked = [0, 1, 2].map(|turn| pick(&addresses, turn).expect("there are two"));
        assert_eq!(picked, [addresses[0], addresses[1], addresses[0]]);
        assert!(pick(&[], 3).is_err());
    }

    #[test]
    fn an_address_is_found_at_once() {
        let resolver = Resolver::new(|| {});
        resolver.ask(NodeId(1), "[::1]:9000", 5);
        let (node, found) = resolver.found().next().expect("without a lookup");
        assert_eq!(node, NodeId(1));
        assert_eq!(found.expect("an address"), address("[::1]:9000"));
    }

    #[test]
    fn a_slow_name_delays_no_other() {
        let (woken, wakes) = unbounded();
        let resolver = Resolver::new(move || woken.send(()).expect("the test waits"));
        let (answer, name_server) = unbounded::<()>();
        resolver.look_up(NodeId(1), 0, move || {
            name_server.recv().expect("it answers in the end");
            Ok(vec![address("127.0.0.1:1")])
        });
        resolver.look_up(NodeId(2), 0, || Ok(vec![address("127.0.0.1:2")]));
        for node in [2, 1] {
            wakes.recv().expect("woken");
            let found: Vec<_> = resolver.found().map(|(node, _)| node).collect();
            assert_eq!(found, [NodeId(node)]);
            if node == 2 {
                answer.send(()).expect("the lookup waits");
            }
        }
    }
}
