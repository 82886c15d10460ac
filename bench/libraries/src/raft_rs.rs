//! raft-rs in one thread, which routes the library's own messages as they are. The log is the
//! library's own in memory: nothing is encoded, summed or applied.

use crate::{Failure, KEPT_ENTRIES, PUT_BYTES, RUN, figures::Figures};
use hdrhistogram::Histogram;
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{Entry, Message},
    storage::MemStorage,
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

const TICK: Duration = Duration::from_millis(10);

struct Member {
    node: RawNode<MemStorage>,
    inbox: VecDeque<Message>,
    compacted: u64,
}

pub fn run(nodes: u64, outstanding: usize) -> Result<Figures, Failure> {
    let mut cluster = Cluster::new(nodes)?;
    let mut under_way: VecDeque<Instant> = VecDeque::new();
    let mut latencies = Histogram::<u64>::new(3)?;
    let began = Instant::now();
    let mut now = began;
    while now - began < RUN {
        while under_way.len() < outstanding {
            under_way.push_back(now);
            cluster.members[0]
                .node
                .propose(Vec::new(), vec![7; PUT_BYTES])?;
        }
        let done = cluster.turn()?;
        now = Instant::now();
        for began in under_way.drain(..done) {
            latencies.record((now - began).as_nanos() as u64)?;
        }
    }
    Ok(Figures {
        library: "raft-rs",
        nodes,
        outstanding,
        threads: 1,
        latencies,
        elapsed: now - began,
    })
}

struct Cluster {
    members: Vec<Member>,
    next_tick: Instant,
}

impl Cluster {
    /// The first member leads.
    fn new(nodes: u64) -> Result<Cluster, Failure> {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let ids: Vec<u64> = (1..=nodes).collect();
        let mut members = Vec::new();
        for &id in &ids {
            let config = Config {
                id,
                election_tick: 15,
                heartbeat_tick: 5,
                max_size_per_msg: 128 << 10,
                max_inflight_msgs: 64,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((ids.clone(), vec![]));
            members.push(Member {
                node: RawNode::new(&config, storage, &logger)?,
                inbox: VecDeque::new(),
                compacted: 0,
            });
        }
        let mut cluster = Cluster {
            members,
            next_tick: Instant::now() + TICK,
        };
        cluster.members[0].node.campaign()?;
        while cluster.members[0].node.raft.state != StateRole::Leader {
            cluster.turn()?;
        }
        for _ in 0..10 {
            cluster.turn()?;
        }
        Ok(cluster)
    }

    /// Gives each member a turn, the first one again at the end; returns how many of its proposals
    /// are committed.
    fn turn(&mut self) -> Result<usize, Failure> {
        if Instant::now() >= self.next_tick {
            self.next_tick += TICK;
            for member in &mut self.members {
                member.node.tick();
            }
        }
        let mut done = 0;
        for at in 0..=self.members.len() {
            let at = at % self.members.len();
            let (messages, committed) = self.members[at].turn()?;
            if at == 0 {
                done += committed;
            }
            for message in messages {
                let to = message.to as usize - 1;
                self.members[to].inbox.push_back(message);
            }
        }
        Ok(done)
    }
}

impl Member {
    fn turn(&mut self) -> Result<(Vec<Message>, usize), Failure> {
        while let Some(message) = self.inbox.pop_front() {
            self.node.step(message)?;
        }
        let (mut messages, mut committed) = (Vec::new(), 0);
        let count = |entries: &[Entry]| entries.iter().filter(|it| !it.data.is_empty()).count();
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            messages.extend(ready.take_messages());
            committed += count(&ready.take_committed_entries());
            if !ready.entries().is_empty() {
                self.node.mut_store().wl().append(ready.entries())?;
            }
            if let Some(hard_state) = ready.hs() {
                self.node.mut_store().wl().set_hardstate(hard_state.clone());
            }
            messages.extend(ready.take_persisted_messages());
            let mut light = self.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.node
                    .mut_store()
                    .wl()
                    .mut_hard_state()
                    .set_commit(commit);
            }
            messages.extend(light.take_messages());
            committed += count(&light.take_committed_entries());
            self.node.advance_apply();
        }
        let applied = self.node.raft.raft_log.applied;
        if applied > self.compacted + 2 * KEPT_ENTRIES {
            self.compacted = applied - KEPT_ENTRIES;
            self.node.mut_store().wl().compact(self.compacted)?;
        }
        Ok((messages, committed))
    }
}
