//! A cluster of raw FSMs, their disks and the messages between them.

use std::collections::{BTreeSet, VecDeque};

use raftkv::raft::{
    Append, Config, Effect, Effects, Entry, HardState, Index, Input, LogPos, Message, NodeId, Note,
    Options, Raft, RoleName, Seq, Status, Token, invariants,
};

use crate::{
    checker::{self, Checker},
    disk::Disk,
};

/// A message between its nodes.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
    /// Delayed: only what names it delivers it.
    pub late: bool,
}

impl std::fmt::Display for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Envelope {
            from,
            to,
            message,
            late,
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
    applied: Index,
}

/// What a cluster is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub nodes: u64,
    pub election_timeout_ticks: u32,
    pub heartbeat_ticks: u32,
    pub seed: u64,
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
    /// The first word of each note that was made while tracing.
    pub fired: BTreeSet<String>,
    /// Whether messages were sent that no member sends.
    pub forged: bool,
    checker: Checker,
    next_token: u64,
}

impl Cluster {
    pub fn new(setup: Setup) -> Cluster {
        let config = Config::new((0..setup.nodes).map(NodeId));
        let node = |id| {
            let mut options = Options::new(NodeId(id), config.clone(), setup.seed + id);
            options.election_timeout_ticks = setup.election_timeout_ticks;
            options.heartbeat_ticks = setup.heartbeat_ticks;
            let disk = Disk::default();
            Node {
                raft: Some(Raft::restore(options.clone(), disk.durable.saved())),
                options,
                disk,
                held: VecDeque::new(),
                stalled: false,
                accepted: BTreeSet::new(),
                applied: Index::ZERO,
            }
        };
        Cluster {
            setup,
            nodes: (0..setup.nodes).map(node).collect(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            trace: None,
            fired: BTreeSet::new(),
            forged: false,
            checker: Checker::default(),
            next_token: 1,
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.setup.nodes).map(NodeId)
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
        if let Input::Read { tokens } = &input {
            for token in tokens {
                self.checker.read_arrived(*token);
            }
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
            if let Effect::Write { seq, hard, entries } = effect {
                checker::only_appended(&before, &after, entries.first().map(|e| e.pos.index));
                self.write(id, *seq, *hard, entries);
            }
        }
        assert_eq!(
            self.node(id).disk.view.last(),
            after.last,
            "n{id}: log and disk part"
        );
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

    /// Does what one effect asks for; a write was done before the others.
    fn run(&mut self, id: NodeId, effect: Effect) {
        let node = &mut self.nodes[at(id)];
        match effect {
            Effect::Write { .. } => {}
            Effect::Send { to, message, after } => {
                let letter = Envelope {
                    from: id,
                    to,
                    message,
                    late: false,
                };
                match after <= node.disk.durable_seq {
                    true => self.post(letter),
                    false => node.held.push_back((after, letter)),
                }
            }
            Effect::SendAppend { .. } => {
                let Effect::Send { to, message, .. } = resolve(effect, &node.disk) else {
                    unreachable!("an append resolves to a message")
                };
                self.post(Envelope {
                    from: id,
                    to,
                    message,
                    late: false,
                });
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
                for token in tokens {
                    self.checker.read_served(token, index);
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
            Effect::Note(_) => {}
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
            from, to, message, ..
        } = letter;
        self.step(to, Input::Receive { from, message });
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
        node.applied = Index::ZERO;
        node.disk.crash(kept);
        let hard = node.disk.durable.hard;
        self.checker.voted(id, hard);
    }

    pub fn restart(&mut self, id: NodeId) {
        let node = &mut self.nodes[at(id)];
        let raft = Raft::restore(node.options.clone(), node.disk.durable.saved());
        invariants::check(&raft);
        node.raft = Some(raft);
    }

    fn note(&mut self, id: NodeId, effect: &Effect) {
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
        let lost = match effect {
            Effect::Send { to, .. } | Effect::SendAppend { to, .. } => {
                self.cut.contains(&(id, *to))
            }
            _ => false,
        };
        let mut effect = resolve(effect.clone(), &node.disk);
        if let Effect::Send { after, .. } = &mut effect
            && *after <= node.disk.durable_seq
        {
            *after = Seq::NONE;
        }
        let text = effect.to_string();
        if let Effect::Note(note) = &effect {
            let word = note.to_string();
            let word = word.split(' ').next().expect("split yields one");
            self.fired.insert(word.to_owned());
        }
        trace.push(format!(
            "n{id}@{term} {text}{}",
            if lost { " (lost)" } else { "" }
        ));
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
    let range = prev.index.0 + 1..=last.0;
    let entries = range.map(|i| disk.view.get(Index(i)).expect("within the log").clone());
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

fn at(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id")
}
