//! Members of one cluster in one thread: the shipped replicas, their logs on memory disks, and
//! between them the shipped frames, handed over as bytes. Nothing waits: no socket, no disk, and no
//! time but the ticks that are due.

use super::ram::RamMedia;
use bytes::Bytes;
use raftkv::{
    codec::{FRAME_MAX_BYTES, FrameDecoder, decode_packet},
    raft::{Config, Input, NodeId, Options, RoleName, Token},
    replica::{Operation, Outbox, Replica, Reply},
    storage::Storage,
};
use std::time::{Duration, Instant};

/// One tick of the FSM, as in the node.
const TICK: Duration = Duration::from_millis(10);

/// Ticks within which somebody is elected.
const ELECTION_MAX_TICKS: usize = 1_000;

/// The members, one of which leads.
pub struct LocalCluster {
    members: Vec<Member>,
    leader: usize,
    next_tick: Instant,
    next_token: u64,
    operations: Vec<(Token, Operation)>,
}

struct Member {
    replica: Replica<RamMedia>,
    out: Outbox,
    /// From each member, itself included, which says nothing.
    incoming: Vec<FrameDecoder>,
    heard: bool,
}

impl LocalCluster {
    /// So many members, and a leader elected. Each write to a disk takes `disk_delay` more than it
    /// must.
    ///
    /// # Panics
    /// When nobody is elected.
    pub fn new(members: usize, disk_delay: Duration) -> LocalCluster {
        let members = (0..members).map(|id| Member::new(id, members, disk_delay));
        let mut cluster = LocalCluster {
            members: members.collect(),
            leader: 0,
            next_tick: Instant::now() + TICK,
            next_token: 0,
            operations: Vec::new(),
        };
        for _ in 0..ELECTION_MAX_TICKS {
            cluster.tick();
            for _ in 0..cluster.members.len() {
                cluster.turn();
            }
            let statuses = cluster.members.iter().map(|member| member.replica.status());
            let leads = |status: raftkv::raft::Status| status.role == RoleName::Leader;
            if let Some(leader) = statuses.map(leads).position(|leads| leads) {
                cluster.leader = leader;
                return cluster;
            }
        }
        panic!("nobody was elected");
    }

    /// Adds a put to those of the next turn.
    pub fn put(&mut self, key: Bytes, value: Bytes) {
        self.next_token += 1;
        let put = Operation::Put { key, value };
        self.operations.push((Token(self.next_token), put));
    }

    /// Hands the puts over and gives every member a turn; returns how many puts were done.
    ///
    /// # Panics
    /// When a put is refused.
    pub fn turn(&mut self) -> usize {
        if Instant::now() >= self.next_tick {
            self.next_tick += TICK;
            self.tick();
        }
        if !self.operations.is_empty() {
            let leader = &mut self.members[self.leader];
            let operations = self.operations.drain(..).collect();
            leader
                .replica
                .submit(operations, &mut leader.out)
                .expect("a memory disk does not fail");
        }
        // The leader first, whose frames the others answer, and last, to hear them.
        for id in self.leader..=self.leader + self.members.len() {
            self.work(id % self.members.len());
        }
        let replies = &mut self.members[self.leader].out.replies;
        let done = replies.len();
        let is_put = |(_, reply): &(Token, Reply)| matches!(reply, Reply::Put { .. });
        assert!(replies.iter().all(is_put), "a put was not done");
        replies.clear();
        done
    }

    fn tick(&mut self) {
        for member in &mut self.members {
            let ticked = member.replica.step(Input::Tick, &mut member.out);
            let ticked = ticked.and_then(|()| member.replica.upkeep(&mut member.out));
            ticked.expect("a memory disk does not fail");
        }
    }

    /// One turn of a member, in the order of the node's event loop.
    fn work(&mut self, id: usize) {
        self.members[id].hear();
        self.deliver(id);
        while self.members[id].replica.needs_sync() {
            let Member { replica, out, .. } = &mut self.members[id];
            replica.sync(out).expect("a memory disk does not fail");
            self.deliver(id);
        }
        let Member { replica, out, .. } = &mut self.members[id];
        if let Some(mut job) = replica.take_job() {
            while job.step() {}
            let done = replica.job_done(job, out);
            done.expect("a memory disk does not fail");
        }
        out.notes.clear();
    }

    fn deliver(&mut self, from: usize) {
        self.members[from].out.writes.clear();
        let mut frames = std::mem::take(&mut self.members[from].out.frames);
        for (to, frame) in frames.drain(..) {
            let to = &mut self.members[to.0 as usize];
            to.incoming[from].receive(&frame);
            to.heard = true;
        }
        self.members[from].out.frames = frames;
    }
}

impl Member {
    fn new(id: usize, members: usize, disk_delay: Duration) -> Member {
        let config = Config::new((0..members as u64).map(NodeId));
        let options = Options::new(NodeId(id as u64), config, id as u64 + 1);
        let wal = raftkv_wal::Options::new([0; 40]);
        let opened = Storage::open(RamMedia::slowed_by(disk_delay), wal);
        let opened = opened.expect("a memory disk does not fail");
        let decoder = || FrameDecoder::new(FRAME_MAX_BYTES);
        Member {
            replica: Replica::new(options, opened),
            out: Outbox::default(),
            incoming: std::iter::repeat_with(decoder).take(members).collect(),
            heard: false,
        }
    }

    fn hear(&mut self) {
        if !std::mem::take(&mut self.heard) {
            return;
        }
        for (from, decoder) in self.incoming.iter_mut().enumerate() {
            while let Some(body) = decoder.next_frame().expect("a frame of our own is sound") {
                let packet = decode_packet(body).expect("a frame of our own is a packet");
                let received = self
                    .replica
                    .receive(NodeId(from as u64), packet, &mut self.out);
                received.expect("a memory disk does not fail");
            }
        }
    }
}
