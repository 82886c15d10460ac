//! A cluster for tests that say themselves what happens: every call is one step of a story, and
//! every checker looks on.

use std::collections::BTreeMap;

use bytes::Bytes;
use raftkv::{
    raft::{Change, ChangeState, Index, LogPos, NodeId, Note, Status, Token},
    replica::{Operation, Replica, Reply},
};
use raftkv_wal::MemoryMedia;

use super::{
    engine::{Due, Sim},
    network::Network,
    settings::Settings,
};

/// Longer than any sound cluster needs for anything.
const PATIENCE_MS: u64 = 20_000;

/// A cluster of shipped replicas in virtual time.
pub struct Cluster {
    sim: Sim,
    replies: BTreeMap<Token, Reply>,
}

impl Cluster {
    /// `size` nodes with empty disks, all started. The seed decides every timeout and delay.
    #[must_use]
    pub fn new(size: u64, seed: u64) -> Cluster {
        Cluster::with_settings(Settings::new(size, seed))
    }

    /// The same, made otherwise than by default.
    #[must_use]
    pub fn with_settings(settings: Settings) -> Cluster {
        let mut sim = Sim::new(settings);
        sim.notes = Some(Vec::new());
        Cluster {
            sim,
            replies: BTreeMap::new(),
        }
    }

    /// The links between the nodes.
    pub fn network(&mut self) -> &mut Network {
        &mut self.sim.network
    }

    /// All node ids.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.sim.ids()
    }

    /// All ids but one.
    #[must_use]
    pub fn others(&self, node: NodeId) -> Vec<NodeId> {
        let ids = self.ids().into_iter();
        ids.filter(|&other| other != node).collect()
    }

    /// Cuts a node off from all others.
    pub fn isolate(&mut self, node: NodeId) {
        let others = self.others(node);
        self.sim.network.isolate(node, others);
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.sim.now() / 1_000
    }

    /// Every decision so far, with who took it.
    #[must_use]
    pub fn notes(&self) -> &[(NodeId, Note)] {
        self.sim.notes.as_deref().unwrap_or_default()
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, span_ms: u64) {
        let until = self.sim.now() + 1_000 * span_ms;
        while let Some(due) = self.sim.advance(until) {
            if let Due::Answer(token, reply) = due {
                self.replies.insert(token, reply);
            }
        }
    }

    /// Lets time pass until something holds.
    ///
    /// # Panics
    /// If it does not come to hold.
    pub fn run_until(&mut self, what: &str, mut holds: impl FnMut(&Cluster) -> bool) {
        let limit_ms = self.now_ms() + PATIENCE_MS;
        while !holds(self) {
            assert!(
                self.now_ms() < limit_ms,
                "{what}: not within {PATIENCE_MS} ms"
            );
            self.run_ms(1);
        }
    }

    /// The leader of the highest term among the nodes that are up.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.sim.leader()
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
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn status(&self, id: NodeId) -> Status {
        self.sim.status(id).cloned().expect("the node is down")
    }

    /// The same of all that are up.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let ids = self.ids().into_iter();
        ids.filter_map(|id| self.sim.status(id).cloned()).collect()
    }

    /// A node that is up.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn replica(&self, id: NodeId) -> &Replica<MemoryMedia> {
        self.sim.replica(id).expect("the node is down")
    }

    /// The positions of all entries in a node's log, as far as it reaches back.
    #[must_use]
    pub fn log(&self, id: NodeId) -> Vec<LogPos> {
        let log = self.replica(id).raft().log();
        let indices = (log.base().index.0 + 1..=log.last().index.0).map(Index);
        indices
            .map(|i| LogPos::new(log.term(i).expect("within the log"), i))
            .collect()
    }

    /// Asks a node for something. The reply is there once time has passed.
    pub fn submit(&mut self, id: NodeId, operation: Operation) -> Token {
        let token = self.sim.token();
        self.sim.submit(id, token, operation);
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

    /// Sets the next spare node up: it knows no members, and waits to be one.
    pub fn set_up_spare(&mut self) -> NodeId {
        let id = self.sim.take_spare();
        self.sim.set_up(id);
        id
    }

    /// Has the leader change the members, and lets time pass until that is done.
    ///
    /// # Panics
    /// If it is refused or does not come to an end.
    pub fn change(&mut self, change: &Change) {
        let limit_ms = self.now_ms() + PATIENCE_MS;
        loop {
            assert!(
                self.now_ms() < limit_ms,
                "{change:?}: not within {PATIENCE_MS} ms"
            );
            let leader = self.await_leader();
            match self.call(leader, Operation::Change(change.clone())) {
                Reply::Change(ChangeState::Done) => return,
                Reply::Change(ChangeState::Refused(refusal)) => panic!("{change:?}: {refusal:?}"),
                _ => self.run_ms(10),
            }
        }
    }

    /// Hands leadership over.
    pub fn transfer(&mut self, from: NodeId, to: Option<NodeId>) {
        self.sim.transfer(from, to);
    }

    /// Kills the process: memory is lost, what was written is not.
    pub fn kill(&mut self, id: NodeId) {
        self.sim.kill(id);
    }

    /// Cuts the power: of what was not synced, an arbitrary part is lost too.
    pub fn crash(&mut self, id: NodeId) {
        self.sim.cut_power(id);
    }

    /// Starts a node from what its disk holds.
    pub fn restart(&mut self, id: NodeId) {
        self.sim.start(id);
    }

    /// Lets time pass until all nodes hold the same log and state.
    pub fn await_agreement(&mut self) {
        self.run_until("all nodes agree", |cluster| {
            let statuses = cluster.statuses();
            let same = |a: &Status, b: &Status| a.last == b.last && a.applied == b.applied;
            let applied = |s: &Status| cluster.replica(s.id).applied();
            statuses
                .iter()
                .all(|s| same(s, &statuses[0]) && applied(s) == s.last.index)
        });
        self.sim.compare_states();
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
