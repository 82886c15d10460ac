//! N replicas, their disks, and a clock that moves when told to.

use std::collections::BTreeMap;

use bytes::Bytes;
use raftkv::{
    codec::{FRAME_MAX_BYTES, FrameDecoder, decode_message},
    raft::{Config, Input, LogPos, NodeId, Note, Options, RoleName, Status, Token},
    replica::{Error, Operation, Outbox, Replica, Reply},
    storage::Storage,
};
use raftkv_wal::MemoryMedia;

use crate::{
    network::{Delivery, Network},
    rng::Rng,
};

/// The time that one tick of the FSM stands for.
pub const TICK_MS: u64 = 10;

/// Longer than any sound cluster needs for anything.
const PATIENCE_MS: u64 = 20_000;

/// A sync takes up to this long.
const SYNC_MAX_MS: u64 = 3;

/// Small segments, so that short runs rotate them.
const SEGMENT_BYTES: u64 = 64 << 10;

struct Node {
    disk: MemoryMedia,
    /// `None` while it is down.
    replica: Option<Replica<MemoryMedia>>,
    /// When what was written will be durable. Until then a power cut may take it.
    sync_at_ms: Option<u64>,
}

/// A cluster of shipped replicas in virtual time.
pub struct Cluster {
    /// The links between the nodes.
    pub network: Network,
    nodes: BTreeMap<NodeId, Node>,
    now_ms: u64,
    rng: Rng,
    tokens: u64,
    replies: BTreeMap<Token, Reply>,
    notes: Vec<(NodeId, Note)>,
}

impl Cluster {
    /// `size` nodes with empty disks, all started. The seed decides every timeout and delay.
    #[must_use]
    pub fn new(size: u64, seed: u64) -> Cluster {
        let node = || Node {
            disk: MemoryMedia::new(),
            replica: None,
            sync_at_ms: None,
        };
        let mut cluster = Cluster {
            network: Network::new(),
            nodes: (0..size).map(|id| (NodeId(id), node())).collect(),
            now_ms: 0,
            rng: Rng::new(seed),
            tokens: 0,
            replies: BTreeMap::new(),
            notes: Vec::new(),
        };
        for id in cluster.ids() {
            cluster.restart(id);
        }
        cluster
    }

    /// All node ids.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// All ids but one.
    #[must_use]
    pub fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.ids()
            .into_iter()
            .filter(|&other| other != node)
            .collect()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Every decision so far, with who took it.
    #[must_use]
    pub fn notes(&self) -> &[(NodeId, Note)] {
        &self.notes
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, span_ms: u64) {
        for _ in 0..span_ms {
            self.now_ms += 1;
            while let Some(delivery) = self.network.arrive(self.now_ms) {
                self.deliver(delivery);
            }
            for id in self.ids() {
                let now_ms = self.now_ms;
                let due = self.node(id).sync_at_ms.take_if(|at| *at <= now_ms);
                if due.is_some() {
                    self.with(id, Replica::sync);
                }
                if self.now_ms.is_multiple_of(TICK_MS) {
                    self.with(id, |replica, out| replica.step(Input::Tick, out));
                    self.with(id, |replica, _| replica.mark_if_idle());
                }
                self.with(id, Replica::apply_some);
            }
        }
    }

    /// Lets time pass until something holds.
    ///
    /// # Panics
    /// If it does not come to hold.
    pub fn run_until(&mut self, what: &str, mut holds: impl FnMut(&Cluster) -> bool) {
        let limit_ms = self.now_ms + PATIENCE_MS;
        while !holds(self) {
            assert!(
                self.now_ms < limit_ms,
                "{what}: not within {PATIENCE_MS} ms"
            );
            self.run_ms(1);
        }
    }

    /// The leader of the highest term among the nodes that are up.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |status: &Status| status.role == RoleName::Leader;
        let leaders = self.statuses().into_iter().filter(leads);
        leaders
            .max_by_key(|status| status.hard.term)
            .map(|status| status.id)
    }

    /// Lets time pass until a node leads and has committed in its own term.
    pub fn await_leader(&mut self) -> NodeId {
        self.run_until("a leader that has committed", |cluster| {
            cluster.leader().is_some_and(|id| {
                let status = cluster.status(id);
                let log = cluster.replica(id).raft().log();
                log.term(status.commit) == Some(status.hard.term)
            })
        });
        self.leader().expect("just seen")
    }

    /// What a node that is up knows.
    #[must_use]
    pub fn status(&self, id: NodeId) -> Status {
        self.replica(id).status()
    }

    /// The same of all that are up.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        self.nodes
            .values()
            .filter_map(|node| node.replica.as_ref())
            .map(Replica::status)
            .collect()
    }

    /// A node that is up.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn replica(&self, id: NodeId) -> &Replica<MemoryMedia> {
        self.nodes[&id].replica.as_ref().expect("the node is down")
    }

    /// The positions of all entries in a node's log.
    #[must_use]
    pub fn log(&self, id: NodeId) -> Vec<LogPos> {
        let log = self.replica(id).raft().log();
        let last = log.last().index;
        let indices = (1..=last.0).map(raftkv::raft::Index);
        indices
            .map(|i| LogPos::new(log.term(i).expect("within the log"), i))
            .collect()
    }

    /// Asks a node for something. The reply is there once time has passed.
    pub fn submit(&mut self, id: NodeId, operation: Operation) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.with(id, |replica, out| {
            replica.submit(vec![(token, operation)], out)
        });
        token
    }

    /// What became of an operation, if that is known yet.
    #[must_use]
    pub fn reply(&self, token: Token) -> Option<&Reply> {
        self.replies.get(&token)
    }

    /// Asks a node for something and waits for the reply.
    pub fn call(&mut self, id: NodeId, operation: Operation) -> Reply {
        let token = self.submit(id, operation);
        self.run_until("a reply", |cluster| cluster.reply(token).is_some());
        self.replies.remove(&token).expect("just seen")
    }

    /// Puts through the leader.
    ///
    /// # Panics
    /// If the put is not acknowledged.
    pub fn put(&mut self, key: &str, value: &str) {
        let leader = self.await_leader();
        let reply = self.call(leader, put(key, value));
        let done = matches!(reply, Reply::Put { .. });
        assert!(done, "put {key}={value} through n{leader}: {reply:?}");
    }

    /// Reads through the leader.
    ///
    /// # Panics
    /// If the read is not served.
    pub fn get(&mut self, key: &str) -> Option<String> {
        let leader = self.await_leader();
        match self.call(leader, get(key)) {
            Reply::Get { value, .. } => value.map(|v| String::from_utf8_lossy(&v).into_owned()),
            other => panic!("get {key} through n{leader}: {other:?}"),
        }
    }

    /// Hands leadership over.
    pub fn transfer(&mut self, from: NodeId, to: Option<NodeId>) {
        self.with(from, |replica, out| {
            replica.step(Input::Transfer { to }, out)
        });
    }

    /// Kills the process: memory is lost, what was written is not.
    pub fn kill(&mut self, id: NodeId) {
        let node = self.node(id);
        node.replica = None;
        node.sync_at_ms = None;
    }

    /// Cuts the power: of what was not synced, an arbitrary part is lost too.
    pub fn crash(&mut self, id: NodeId) {
        let mut rng = Rng::new(self.rng.draw());
        self.kill(id);
        self.node(id).disk.crash(&mut || rng.draw());
    }

    /// Starts a node from what its disk holds.
    pub fn restart(&mut self, id: NodeId) {
        let seed = self.rng.draw();
        let config = Config::new(self.ids());
        let node = self.node(id);
        assert!(node.replica.is_none(), "n{id} is up");
        let mut owner = [0; 40];
        owner[..8].copy_from_slice(&id.0.to_le_bytes());
        let wal = raftkv_wal::Options {
            segment_bytes: SEGMENT_BYTES,
            owner,
        };
        let (storage, saved) = Storage::open(node.disk.clone(), wal).expect("the log opens");
        node.replica = Some(Replica::new(Options::new(id, config, seed), storage, saved));
    }

    /// Lets time pass until all nodes hold the same log and state.
    pub fn await_agreement(&mut self) {
        self.run_until("all nodes agree", |cluster| {
            let statuses = cluster.statuses();
            let same = |a: &Status, b: &Status| a.last == b.last && a.applied == b.applied;
            statuses
                .iter()
                .all(|s| same(s, &statuses[0]) && s.applied == s.last.index)
        });
        let ids = self.ids();
        let image = |id: NodeId| self.replica(id).kv().image();
        assert!(
            ids.iter().all(|&id| image(id) == image(ids[0])),
            "states differ at equal logs"
        );
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of this cluster")
    }

    fn deliver(&mut self, Delivery { from, to, frame }: Delivery) {
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        decoder.receive(&frame);
        let body = decoder
            .next_frame()
            .expect("a sound frame")
            .expect("a whole frame");
        let message = decode_message(body).expect("a sound message");
        self.with(to, |replica, out| {
            replica.step(Input::Receive { from, message }, out)
        });
    }

    /// Runs one node for an event, and schedules the sync of what it wrote.
    fn with(
        &mut self,
        id: NodeId,
        event: impl FnOnce(&mut Replica<MemoryMedia>, &mut Outbox) -> Result<(), Error>,
    ) {
        let sync_ms = self.rng.between(0, SYNC_MAX_MS);
        let now_ms = self.now_ms;
        let node = self.node(id);
        let Some(replica) = &mut node.replica else {
            return;
        };
        let mut out = Outbox::default();
        event(replica, &mut out).expect("the disk works");
        if replica.needs_sync() {
            node.sync_at_ms.get_or_insert(now_ms + sync_ms);
        }
        for (to, frame) in out.frames {
            let delivery = Delivery {
                from: id,
                to,
                frame,
            };
            self.network.send(self.now_ms, delivery, &mut self.rng);
        }
        self.replies.extend(out.replies);
        for note in out.notes {
            let impossible = matches!(note, Note::Impossible { .. });
            assert!(!impossible, "n{id} at {} ms: {note}", self.now_ms);
            self.notes.push((id, note));
        }
    }
}

/// A put of text.
#[must_use]
pub fn put(key: &str, value: &str) -> Operation {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    Operation::Put { key, value }
}

/// A get of text.
#[must_use]
pub fn get(key: &str) -> Operation {
    Operation::Get {
        key: Bytes::copy_from_slice(key.as_bytes()),
    }
}

/// A delete of text.
#[must_use]
pub fn delete(key: &str) -> Operation {
    Operation::Delete {
        key: Bytes::copy_from_slice(key.as_bytes()),
    }
}
