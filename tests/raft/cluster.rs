//! A cluster of raw FSMs, their disks and the messages between them.

use std::collections::{BTreeSet, VecDeque};

use raftkv::raft::{
    Append, Config, Effect, Effects, Entry, HardState, Index, Input, LogPos, Message, NodeId, Note,
    Options, Raft, RoleName, Seq, Snapshot, Status, Term, Token, invariants,
};

use crate::{
    checker::{self, Checker},
    disk::{Disk, Image},
};

/// A message between its nodes.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
    /// Delayed: only what names it delivers it.
    pub late: bool,
    /// The step in which it was sent; in the answer to a heartbeat, that of the heartbeat.
    pub asked_at: u64,
}

impl std::fmt::Display for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Envelope {
            from,
            to,
            message,
            late,
            ..
        } = self;
        write!(f, "n{from}@{} -> n{to} {message}", message.term())?;
        write!(f, "{}", if *late { " (late)" } else { "" })
    }
}

#[derive(Debug)]
pub struct Node {
    options: Options,
    /// None while it is down.
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// Messages that wait for a write.
    held: VecDeque<(Seq, Envelope)>,
    /// Its disk persists nothing unless told to.
    pub stalled: bool,
    /// Commands that were accepted under the current leadership and wait to be applied.
    accepted: BTreeSet<Index>,
    pub applied: Index,
    /// The snapshot that it asked for last, and of whom.
    pub wanted: Option<(NodeId, Snapshot)>,
}

/// What `cluster` alone makes.
impl Default for Setup {
    fn default() -> Setup {
        Setup {
            nodes: 3,
            joining: 0,
            election_timeout_ticks: 10,
            heartbeat_ticks: 2,
            append_max_bytes: 1 << 20,
            in_flight_max: 8,
            seed: 1,
        }
    }
}

/// What a cluster is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The members of configuration 0.
    pub nodes: u64,
    /// Nodes after those, whose configuration 0 is empty: they wait to be added.
    pub joining: u64,
    pub election_timeout_ticks: u32,
    pub heartbeat_ticks: u32,
    pub append_max_bytes: u64,
    pub in_flight_max: usize,
    pub seed: u64,
}

impl Setup {
    /// How many nodes there are.
    pub fn all(&self) -> u64 {
        self.nodes + self.joining
    }

    /// Configuration 0 of the members.
    pub fn config_0(&self) -> Config {
        Config::new((0..self.nodes).map(NodeId))
    }
}

#[derive(Debug)]
pub struct Cluster {
    pub setup: Setup,
    pub nodes: Vec<Node>,
    pub network: Vec<Envelope>,
    /// Links that carry nothing, from and to.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// What happened, as text, when asked for.
    pub trace: Option<Vec<String>>,
    /// The first word of each note that was made.
    pub fired: BTreeSet<String>,
    /// Whether messages were sent that no member sends.
    pub forged: bool,
    pub checker: Checker,
    next_token: u64,
    /// Steps so far.
    now: u64,
    /// The heartbeat that the present step receives: its term, and when it was sent.
    heartbeat: Option<(Term, u64)>,
}

impl Cluster {
    pub fn new(setup: Setup) -> Cluster {
        let node = |id| {
            let config = match id < setup.nodes {
                true => setup.config_0(),
                false => Config::default(),
            };
            let disk = Disk::new(config.clone());
            let mut options = Options::new(NodeId(id), config, setup.seed + id);
            options.election_timeout_ticks = setup.election_timeout_ticks;
            options.heartbeat_ticks = setup.heartbeat_ticks;
            options.append_max_bytes = setup.append_max_bytes;
            options.in_flight_max = setup.in_flight_max;
            Node {
                raft: Some(Raft::restore(options.clone(), disk.durable.saved())),
                options,
                disk,
                held: VecDeque::new(),
                stalled: false,
                accepted: BTreeSet::new(),
                applied: Index::ZERO,
                wanted: None,
            }
        };
        Cluster {
            setup,
            nodes: (0..setup.all()).map(node).collect(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            trace: None,
            fired: BTreeSet::new(),
            forged: false,
            checker: Checker::new(setup.config_0()),
            next_token: 1,
            now: 0,
            heartbeat: None,
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.setup.all()).map(NodeId)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[at(id)]
    }

    pub fn status(&self, id: NodeId) -> Option<Status> {
        self.node(id).raft.as_ref().map(Raft::status)
    }

    /// The live nodes' states.
    pub fn statuses(&self) -> Vec<Status> {
        self.ids().filter_map(|id| self.status(id)).collect()
    }

    /// The leaders, the newest term's last.
    pub fn leaders(&self) -> Vec<NodeId> {
        let mut leaders: Vec<Status> = self.statuses();
        leaders.retain(|status| status.role == RoleName::Leader);
        leaders.sort_by_key(|status| status.hard.term);
        leaders.iter().map(|status| status.id).collect()
    }

    pub fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    /// Feeds one input to a node, does what follows from it, and checks everything. A node that
    /// is down takes no notice.
    pub fn step(&mut self, id: NodeId, input: Input) {
        let Some(raft) = &mut self.nodes[at(id)].raft else {
            return;
        };
        self.now += 1;
        match &input {
            Input::Read { tokens } => {
                for token in tokens {
                    self.checker.read_arrived(*token, self.now);
                }
            }
            Input::Reconfigure { token, change } => self.checker.change_asked(*token, change),
            _ => {}
        }
        let before = raft.status();
        let mut effects = Effects::default();
        raft.step(input, &mut effects);
        let after = raft.status();
        invariants::check(raft);
        invariants::check_step(&before, &after);
        let effects: Vec<Effect> = effects.drain().collect();
        for effect in &effects {
            self.note(id, effect);
            match effect {
                Effect::Write { seq, hard, entries } => {
                    checker::only_appended(&before, &after, entries.first().map(|e| e.pos.index));
                    self.write(id, *seq, *hard, entries);
                }
                Effect::Install { seq, snapshot } => self.install(id, *seq, *snapshot),
                _ => {}
            }
        }
        let log = &self.node(id).disk.view;
        assert_eq!(log.last(), after.last, "n{id}: log and disk part");
        if after.base != log.base || after.snapshot > included(log) {
            self.compact(id, &after);
        }
        let disks: Vec<&Disk> = self.nodes.iter().map(|node| &node.disk).collect();
        let live: Vec<Status> = self
            .nodes
            .iter()
            .filter_map(|n| n.raft.as_ref())
            .map(Raft::status)
            .collect();
        self.checker.stepped(&before, &after, &disks, &live);
        for effect in effects {
            self.run(id, effect);
        }
    }

    /// Writes and checks what must hold of every log.
    fn write(&mut self, id: NodeId, seq: Seq, hard: Option<HardState>, entries: &[Entry]) {
        let disk = &mut self.nodes[at(id)].disk;
        disk.write(seq, hard, entries);
        for entry in entries {
            let prev = disk
                .view
                .get(entry.pos.index.before())
                .map_or(LogPos::ZERO, |e| e.pos);
            self.checker.appended(id, prev, entry);
        }
    }

    /// Replaces state and log, with what the snapshot was made of behind it for the checkers.
    fn install(&mut self, id: NodeId, seq: Seq, snapshot: Snapshot) {
        let history = self.checker.history(id, snapshot.pos);
        let config = self.status(id).expect("it took a step").config;
        let node = &mut self.nodes[at(id)];
        node.disk
            .install(seq, snapshot, history, Config::clone(&config));
        node.applied = snapshot.pos.index;
    }

    /// Does what the node's own snapshot allowed.
    fn compact(&mut self, id: NodeId, after: &Status) {
        let disk = &mut self.nodes[at(id)].disk;
        let pos = |index| disk.view.get(index).expect("it was applied").pos;
        let snapshot = snapshot_of(pos(after.snapshot));
        disk.compact(snapshot, after.base);
    }

    /// The node takes a snapshot as of `index`, or of all that it applied, and keeps the `keep`
    /// entries before that.
    ///
    /// # Errors
    /// If there is nothing that it could include.
    pub fn snapshot(&mut self, id: NodeId, index: Option<Index>, keep: u64) -> Result<(), String> {
        let node = self.node(id);
        let index = index.unwrap_or(node.applied);
        let entry = node.disk.view.get(index);
        let pos = entry
            .map(|entry| entry.pos)
            .filter(|_| index <= node.applied);
        let pos = pos.ok_or(format!("n{id} has not applied {index}"))?;
        let (snapshot, compact) = (snapshot_of(pos), Index(index.0.saturating_sub(keep)));
        self.step(id, Input::SnapshotTaken { snapshot, compact });
        Ok(())
    }

    /// What the node asked for arrives, whole and durable.
    ///
    /// # Errors
    /// If it asked for nothing.
    pub fn fetch(&mut self, id: NodeId) -> Result<(), String> {
        let wanted = self.nodes[at(id)].wanted.take();
        let (from, snapshot) = wanted.ok_or(format!("n{id} wants no snapshot"))?;
        let theirs = &self.node(from).disk.durable;
        let config = theirs.config_at(snapshot.pos.index).1;
        self.step(id, Input::SnapshotFetched { snapshot, config });
        Ok(())
    }

    /// Does what one effect asks for; a write was done before the others.
    fn run(&mut self, id: NodeId, effect: Effect) {
        let node = &mut self.nodes[at(id)];
        match effect {
            Effect::Write { .. } | Effect::Install { .. } => {}
            Effect::FetchSnapshot { from, snapshot } => node.wanted = Some((from, snapshot)),
            Effect::Send { to, message, after } => {
                let letter = self.letter(id, to, message);
                let node = &mut self.nodes[at(id)];
                match after <= node.disk.durable_seq {
                    true => self.post(letter),
                    false => node.held.push_back((after, letter)),
                }
            }
            Effect::SendAppend { .. } => {
                let Effect::Send { to, message, .. } = resolve(effect, &node.disk) else {
                    unreachable!("an append resolves to a message")
                };
                let letter = self.letter(id, to, message);
                self.post(letter);
            }
            Effect::Apply { range } => {
                for index in (range.start().0..=range.end().0).map(Index) {
                    assert_eq!(index, node.applied.next(), "n{id} applies out of order");
                    node.applied = index;
                    self.checker.applied(id, index, &node.disk);
                    if node.accepted.remove(&index) {
                        self.checker.acknowledged(index);
                    }
                }
            }
            Effect::Accepted { first, tokens } => {
                let places = (first.index.0..).map(Index).take(tokens.len());
                node.accepted.extend(places);
            }
            Effect::Serve { index, tokens } => {
                let term = self.status(id).expect("it took a step").hard.term;
                let config = self.node(id).disk.view.config().1;
                for token in tokens {
                    self.checker.read_served(token, index, (id, term), &config);
                }
            }
            Effect::Refused { tokens, .. } => {
                for token in tokens {
                    self.checker.read_refused(token);
                }
            }
            Effect::Role(change) => {
                if change.role != RoleName::Leader {
                    node.accepted.clear();
                }
            }
            Effect::Note(Note::Impossible { from, what }) => {
                assert!(
                    self.forged,
                    "n{id} calls an honest message of n{from} impossible: {what}"
                );
            }
            Effect::Reconfigured { token, state } => self.checker.reconfigured(token, &state),
            Effect::Note(_) => {}
        }
    }

    fn letter(&self, from: NodeId, to: NodeId, message: Message) -> Envelope {
        let asked_at = match (&message, self.heartbeat) {
            (Message::HeartbeatReply { term, .. }, Some((asked_in, asked_at))) => {
                // The answer to an earlier term's heartbeat confirms nothing.
                if *term == asked_in { asked_at } else { 0 }
            }
            _ => self.now,
        };
        let late = false;
        Envelope {
            from,
            to,
            message,
            late,
            asked_at,
        }
    }

    /// Puts a message on its link, after checking that its sender may say it.
    fn post(&mut self, letter: Envelope) {
        let Envelope {
            from, to, message, ..
        } = &letter;
        let disk = &self.nodes[at(*from)].disk.durable;
        self.checker.said(*from, *to, message, disk);
        if !self.cut.contains(&(*from, *to)) {
            self.network.push(letter);
        }
    }

    /// Whether the disk persists only what it is told to.
    pub fn set_stalled(&mut self, id: NodeId, stalled: bool) {
        self.nodes[at(id)].stalled = stalled;
    }

    /// Whether a message could arrive now.
    pub fn reaches(&self, letter: &Envelope) -> bool {
        !self.cut.contains(&(letter.from, letter.to))
    }

    /// Hands over a message that was taken from the network.
    pub fn receive(&mut self, letter: Envelope) {
        let Envelope {
            from,
            to,
            message,
            asked_at,
            ..
        } = letter;
        match &message {
            Message::Heartbeat { term, .. } => self.heartbeat = Some((*term, asked_at)),
            Message::HeartbeatReply { term, .. } => {
                self.checker.confirmed(to, *term, from, asked_at);
            }
            _ => {}
        }
        self.step(to, Input::Receive { from, message });
        self.heartbeat = None;
    }

    /// Makes a node's writes durable up to `upto`, or all. Write by write, so that each message
    /// that waits leaves with the disk as it promised.
    pub fn persist(&mut self, id: NodeId, upto: Seq) {
        let before = self.node(id).disk.durable_seq;
        loop {
            let node = &mut self.nodes[at(id)];
            let Some(seq) = node.disk.sync_next(upto) else {
                break;
            };
            let hard = node.disk.durable.hard;
            self.checker.voted(id, hard);
            self.release(id, seq);
        }
        let upto = self.node(id).disk.durable_seq;
        if upto > before {
            self.step(id, Input::Persisted { upto });
        }
    }

    fn release(&mut self, id: NodeId, durable: Seq) {
        let held = std::mem::take(&mut self.nodes[at(id)].held);
        let (due, rest) = held.into_iter().partition(|(after, _)| *after <= durable);
        self.nodes[at(id)].held = rest;
        let due: VecDeque<(Seq, Envelope)> = due;
        for (_, letter) in due {
            if let Some(trace) = &mut self.trace {
                trace.push(letter.to_string());
            }
            self.post(letter);
        }
    }

    /// The node's power fails; of its pending records the first `kept` survive.
    pub fn crash(&mut self, id: NodeId, kept: usize) {
        let node = &mut self.nodes[at(id)];
        node.raft = None;
        node.held.clear();
        node.accepted.clear();
        node.wanted = None;
        node.disk.crash(kept);
        node.applied = included(&node.disk.durable);
        let hard = node.disk.durable.hard;
        self.checker.voted(id, hard);
    }

    pub fn restart(&mut self, id: NodeId) {
        let node = &mut self.nodes[at(id)];
        let raft = Raft::restore(node.options.clone(), node.disk.durable.saved());
        invariants::check(&raft);
        node.raft = Some(raft);
    }

    /// Keeps account of what happened.
    fn note(&mut self, id: NodeId, effect: &Effect) {
        if let Effect::Note(note) = effect {
            let text = note.to_string();
            let word = text.split(' ').next().expect("split yields one");
            if !self.fired.contains(word) {
                self.fired.insert(word.to_owned());
            }
        }
        let Some(trace) = &mut self.trace else {
            return;
        };
        let node = &self.nodes[at(id)];
        let term = node
            .raft
            .as_ref()
            .expect("it took a step")
            .status()
            .hard
            .term;
        let mut effect = resolve(effect.clone(), &node.disk);
        let mut lost = "";
        if let Effect::Send { to, after, .. } = &mut effect {
            if *after <= node.disk.durable_seq {
                *after = Seq::NONE;
            }
            if self.cut.contains(&(id, *to)) {
                lost = " (lost)";
            }
        }
        trace.push(format!("n{id}@{term} {effect}{lost}"));
    }
}

/// The message that a range of the log becomes; any other effect is as it was.
fn resolve(effect: Effect, disk: &Disk) -> Effect {
    let Effect::SendAppend {
        to,
        term,
        prev,
        last,
        commit,
    } = effect
    else {
        return effect;
    };
    let base = disk.view.base;
    assert!(
        prev.index >= base.index,
        "{prev} is read, compacted is {base}"
    );
    let range = prev.index.0 + 1..=last.0;
    let entries = range.map(|i| disk.view.read(Index(i)).clone());
    let append = Append {
        term,
        prev,
        commit,
        entries: entries.collect(),
    };
    Effect::Send {
        to,
        message: Message::Append(append),
        after: Seq::NONE,
    }
}

/// The snapshot of one position is the same on every node.
fn snapshot_of(pos: LogPos) -> Snapshot {
    let (bytes, hash) = (pos.index.0, pos.term.0.into());
    Snapshot { pos, bytes, hash }
}

fn included(image: &Image) -> Index {
    image.snapshot.map_or(Index::ZERO, |s| s.pos.index)
}

fn at(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id")
}
