use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, unbounded};
use raftkv::{
    node::{Answer, Config, Handle, Node, Request},
    raft::{NodeId, RoleName, Token},
    replica::Operation,
};

/// Longer than anything here takes, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Member {
    pub node: Node,
    pub handle: Handle,
    pub answers: Receiver<(Token, Answer)>,
}

pub fn free_addresses(count: usize) -> Vec<String> {
    let bound: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    bound
        .iter()
        .map(|l| l.local_addr().expect("bound").to_string())
        .collect()
}

pub fn start(id: u64, addresses: &[String], dir: &Path) -> Member {
    let peers: BTreeMap<NodeId, String> =
        (0..).map(NodeId).zip(addresses.iter().cloned()).collect();
    run(Config {
        peers,
        ..config(id, &addresses[id as usize], dir)
    })
}

/// A node at `address` that knows nobody.
pub fn config(id: u64, address: &str, dir: &Path) -> Config {
    Config {
        node_id: NodeId(id),
        peers: BTreeMap::new(),
        join: false,
        raft_listen: address.to_owned(),
        peer_address: address.to_owned(),
        client_address: format!("client-{id}"),
        data_dir: dir.join(id.to_string()),
        heartbeat_ms: 50,
        election_timeout_ms: 150,
        snapshot_log_bytes: 256 << 20,
        snapshot_log_entries: 250_000,
    }
}

pub fn run(config: Config) -> Member {
    let node = Node::start(config).expect("the node starts");
    let (sender, answers) = unbounded();
    let handle = node.handle(sender, || {});
    Member {
        node,
        handle,
        answers,
    }
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn leader_of(members: &[Member]) -> Option<usize> {
    members
        .iter()
        .position(|m| m.handle.status().role == RoleName::Leader)
}

impl Member {
    pub fn ask(&self, operation: Operation) -> Answer {
        let request = Request {
            token: Token(1),
            operation,
        };
        self.handle.submit(request).expect("queued");
        self.handle.wake();
        self.answers.recv_timeout(PATIENCE).expect("an answer").1
    }

    pub fn stop(self) {
        self.node.stopper().stop();
        self.node.wait().expect("a clean stop");
    }
}

pub fn put(key: &'static str, value: &'static str) -> Operation {
    Operation::Put {
        key: key.into(),
        value: value.into(),
    }
}

pub fn get(key: &'static str) -> Operation {
    Operation::Get { key: key.into() }
}
