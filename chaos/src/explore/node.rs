//! A member: the shipped FSM, its disk, and what it has said but may not send yet.

use raftkv::raft::{
    Config, Effect, Effects, Input, LogPos, Message, NodeId, Options, Raft, RoleName, Seq, Status,
    canonical,
};

use super::{
    bound::Bound,
    disk::{Disk, Image},
    key::{self, Encode, Names},
    letter::Letter,
};

/// A heartbeat each tick, and an election timeout that one tick of silence does not reach: the
/// least that keeps apart what [`canonical::reduce`] keeps apart.
pub const ELECTION_TIMEOUT_TICKS: u32 = 3;
pub const HEARTBEAT_TICKS: u32 = 1;

/// A message that waits for a write.
#[derive(Clone, Debug)]
pub struct Held {
    pub after: Seq,
    pub letter: Letter,
    /// The entry that it acknowledges: by the time that it leaves, another may stand there.
    pub acknowledges: Option<LogPos>,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub raft: Raft,
    pub disk: Disk,
    pub held: Vec<Held>,
    /// The snapshot that it was offered last and lacked then: it may arrive at any moment.
    pub wanted: Option<LogPos>,
    /// What the FSM says of itself.
    pub status: Status,
}

/// Who waits to be added knows of no member.
pub fn first_config(id: NodeId, bound: &Bound) -> Config {
    let first = bound.first_config();
    match first.contains(id) {
        true => first,
        false => Config::default(),
    }
}

fn options(id: NodeId, bound: &Bound) -> Options {
    let mut options = Options::new(id, first_config(id, bound), 0);
    options.election_timeout_ticks = ELECTION_TIMEOUT_TICKS;
    options.heartbeat_ticks = HEARTBEAT_TICKS;
    options
}

impl Node {
    /// A member that has never run.
    pub fn new(id: NodeId, bound: &Bound) -> Node {
        Node::start(id, Disk::default(), bound)
    }

    /// A member that starts on what its disk holds.
    pub fn start(id: NodeId, disk: Disk, bound: &Bound) -> Node {
        let saved = disk.durable.saved(&bound.first_config());
        let raft = Raft::restore(options(id, bound), saved);
        let mut node = Node {
            status: raft.status(),
            raft,
            disk,
            held: Vec::new(),
            wanted: None,
        };
        node.reduce();
        node
    }

    /// Brings the node into its normal form.
    pub fn reduce(&mut self) {
        canonical::reduce(&mut self.raft);
        let synced = self.disk.synced.0;
        for held in &mut self.held {
            held.after = Seq(held.after.0 - synced);
        }
        self.disk.synced = Seq::NONE;
        self.status = self.raft.status();
    }

    /// Takes out what waits for no write that is not durable.
    pub fn release(&mut self) -> Vec<Held> {
        let synced = self.disk.synced;
        let due = |held: &mut Held| held.after <= synced;
        self.held.extract_if(.., due).collect()
    }

    pub fn leads(&self) -> bool {
        self.status.role == RoleName::Leader
    }

    /// Whether a message to this node can have no effect any more, whatever happens before it
    /// arrives. It is an answer to a question of a role that the node has left for good: terms on
    /// disk do not fall, so neither a crash nor an election takes it back to where it asked.
    /// That is argued from the rules in `src/raft/receive.rs`; as these are what is searched,
    /// it is also tried out, and an answer that does have an effect now is kept.
    pub fn is_done_with(&self, letter: &Letter) -> bool {
        self.has_left(&letter.message) && self.takes_no_notice(letter)
    }

    fn has_left(&self, message: &Message) -> bool {
        let term = message.term();
        let image: &Image = &self.disk.durable;
        let durable = image.hard.term;
        let now_in = (self.status.hard.term == term).then_some(self.status.role);
        match message {
            Message::Append(_)
            | Message::SnapshotOffer { .. }
            | Message::Heartbeat { .. }
            | Message::VoteRequest { .. } => false,
            Message::TimeoutNow { .. } => term < durable,
            // It names the term that would be.
            Message::VoteReply {
                pre_vote: true,
                granted: true,
                ..
            } => term <= durable,
            Message::VoteReply { pre_vote: true, .. } => term < durable,
            Message::VoteReply { .. } => {
                term < durable || term == durable && now_in != Some(RoleName::Candidate)
            }
            Message::AppendReply { .. } | Message::HeartbeatReply { .. } => {
                let asks = [Some(RoleName::Candidate), Some(RoleName::Leader)].contains(&now_in);
                term < durable || term == durable && !asks
            }
        }
    }

    fn takes_no_notice(&self, letter: &Letter) -> bool {
        let text = |raft: &mut Raft| {
            canonical::reduce(raft);
            let mut text = Vec::new();
            canonical::encode(raft, &key::RENAMINGS[0], &mut text);
            text
        };
        let mut raft = self.raft.clone();
        let before = text(&mut raft);
        let mut effects = Effects::default();
        let (from, message) = (letter.from, letter.message.clone());
        raft.step(Input::Receive { from, message }, &mut effects);
        let silent = effects
            .drain()
            .all(|effect| matches!(effect, Effect::Note(_)));
        silent && text(&mut raft) == before
    }
}

impl Encode for Node {
    const TAG: u8 = b'n';

    fn encode(&self, names: &Names, out: &mut Vec<u8>) {
        canonical::encode(&self.raft, names, out);
        self.disk.encode(names, out);
        key::position(self.wanted.unwrap_or(LogPos::ZERO), out);
        // What one write releases leaves together, onto a network that keeps no order.
        let text = |held: &Held| {
            let mut text = Vec::new();
            key::number(held.after.0, &mut text);
            held.letter.encode(names, &mut text);
            let acknowledges = held.acknowledges.unwrap_or(LogPos::ZERO);
            key::position(acknowledges, &mut text);
            text
        };
        let mut held: Vec<Vec<u8>> = self.held.iter().map(text).collect();
        held.sort_unstable();
        key::number(held.len() as u64, out);
        for text in held {
            key::number(text.len() as u64, out);
            out.extend(text);
        }
    }
}
