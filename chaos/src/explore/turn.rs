//! What one action does to a node and its surroundings: the FSM takes its inputs, its effects are
//! done, and whatever they could have broken is checked.

use std::{borrow::Cow, ops::RangeInclusive};

use bytes::Bytes;
use raftkv::raft::{
    Append, AppendOutcome, Effect, Effects, Index, Input, LogPos, Message, NodeId, Note, RoleName,
    Status, Token, VoteKind, invariants,
};

use crate::invariants::{leads_to, majorities};

use super::{
    action::Ask,
    bound::{Bound, Disks, PreVotes},
    disk::{Image, snapshot_of},
    key::{self, NODES},
    letter::Letter,
    marks::Marks,
    node::{ELECTION_TIMEOUT_TICKS, Held, Node, first_config},
    past::{Past, View},
    world::World,
};

/// A node that is taking its turn, in a world that stands still.
pub struct Turn<'a> {
    world: &'a World,
    bound: &'a Bound,
    marks: &'a mut Marks,
    id: NodeId,
    pub node: Node,
    pub past: Cow<'a, Past>,
    /// What went onto the network.
    pub sent: Vec<Letter>,
    campaigned: bool,
}

type Checked = Result<(), String>;

impl<'a> Turn<'a> {
    pub fn new(world: &'a World, bound: &'a Bound, marks: &'a mut Marks, id: NodeId) -> Turn<'a> {
        Turn {
            world,
            bound,
            marks,
            id,
            node: Node::clone(&world.nodes[key::index_of(id)]),
            past: Cow::Borrowed(&world.past),
            sent: Vec::new(),
            campaigned: false,
        }
    }

    /// Time passes until the election timer fires; nothing else happens before.
    pub fn campaign(&mut self) -> Checked {
        for _ in 0..2 * ELECTION_TIMEOUT_TICKS {
            self.feed(Input::Tick)?;
            if self.campaigned {
                return Ok(());
            }
        }
        Err(format!("n{} does not campaign in time", self.id))
    }

    /// The minimum election timeout passes and the timer has not fired.
    pub fn lapse(&mut self) -> Checked {
        for _ in 0..ELECTION_TIMEOUT_TICKS {
            self.feed(Input::Tick)?;
        }
        match self.campaigned {
            true => Err(format!("n{} campaigns before its timeout", self.id)),
            false => Ok(()),
        }
    }

    /// Time passes until check-quorum ends a leadership; the heartbeats meanwhile are lost.
    pub fn step_down(&mut self) -> Checked {
        for _ in 0..ELECTION_TIMEOUT_TICKS {
            self.sent.clear();
            self.feed(Input::Tick)?;
            if self.node.raft.status().role != RoleName::Leader {
                return Ok(());
            }
        }
        Err(format!("n{} leads on, unheard", self.id))
    }

    pub fn propose(&mut self) -> Checked {
        let number = self.past.used.proposals;
        let commands = vec![(Token(0), Bytes::from(vec![b'0' + number]))];
        self.feed(Input::Propose { commands })
    }

    pub fn read(&mut self) -> Checked {
        let token = Token(u64::from(self.past.used.reads));
        self.past.to_mut().read_arrived(self.id, token);
        let tokens = vec![token];
        self.feed(Input::Read { tokens })
    }

    /// A change of the members is asked for.
    pub fn change(&mut self, ask: Ask) -> Checked {
        let (token, change) = (Token(0), ask.change());
        self.feed(Input::Reconfigure { token, change })
    }

    /// Enough of the others grant their pre-votes, by whatever configuration these count.
    pub fn win_pre_votes(&mut self) -> Checked {
        let term = self.node.status.hard.term.next();
        let id = self.id;
        let others = (0..NODES as u64).map(NodeId).filter(|&node| node != id);
        for from in others {
            if self.node.raft.status().role != RoleName::PreCandidate {
                break;
            }
            let message = Message::VoteReply {
                term,
                granted: true,
                pre_vote: true,
            };
            self.feed(Input::Receive { from, message })?;
        }
        Ok(())
    }

    /// The oldest so many writes become durable, then the FSM is told.
    pub fn persist(&mut self, writes: usize) -> Checked {
        self.sync(writes)?;
        self.persisted()
    }

    /// What each write releases leaves with the disk as that write leaves it.
    fn sync(&mut self, writes: usize) -> Checked {
        for _ in 0..writes {
            self.node.disk.sync_next()?;
            for held in self.node.release() {
                self.post(held.letter, held.acknowledges)?;
            }
        }
        Ok(())
    }

    fn persisted(&mut self) -> Checked {
        let upto = self.node.disk.synced;
        self.feed(Input::Persisted { upto })
    }

    /// A snapshot of what was applied up to `index` has been written; a mark names it, becomes
    /// durable with all that was written before, and then the FSM is told.
    pub fn take_snapshot(&mut self, index: Index, compact: Index) -> Checked {
        self.sync(self.node.disk.pending())?;
        let entry = self.node.disk.durable.get(index);
        let pos = entry.ok_or("a snapshot beyond the log")?.pos;
        self.past.included(pos)?;
        self.node.disk.mark(index, compact);
        let snapshot = snapshot_of(pos);
        self.feed(Input::SnapshotTaken { snapshot, compact })?;
        self.persisted()
    }

    /// What it wants is there.
    pub fn fetch(&mut self) -> Checked {
        let pos = self.node.wanted.ok_or("nothing is wanted")?;
        let snapshot = snapshot_of(pos);
        // It holds what every log has up to there.
        let config = self.past.config(&self.bound.first_config(), pos.index);
        self.feed(Input::SnapshotFetched { snapshot, config })
    }

    /// The power fails and comes back. The next start makes durable what it finds.
    pub fn crash(&mut self, kept: usize) -> Checked {
        let pending = self.node.disk.pending_records();
        if kept < pending {
            self.marks.set("CrashLostWrite");
        }
        if kept > 0 && kept < pending {
            self.marks.set("CrashKeptPart");
        }
        let mut disk = self.node.disk.clone();
        disk.crash(kept)?;
        self.node = Node::start(self.id, disk, self.bound);
        invariants::check(&self.node.raft);
        if self.past.has_reads() {
            self.past.to_mut().reads_forgotten(self.id);
        }
        self.in_force(&self.node.raft.status())
    }

    /// One input, and all that follows from it at once.
    pub fn feed(&mut self, input: Input) -> Checked {
        self.step(input)?;
        while self.bound.disks == Disks::AtOnce && self.node.disk.pending() > 0 {
            // It feeds in turn.
            self.persist(self.node.disk.pending())?;
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Checked {
        let before = self.node.raft.status();
        let mut effects = Effects::default();
        self.node.raft.step(input, &mut effects);
        let after = self.node.raft.status();
        invariants::check(&self.node.raft);
        invariants::check_step(&before, &after);
        let effects: Vec<Effect> = effects.drain().collect();
        for effect in &effects {
            if let Effect::Write { seq, hard, entries } = effect {
                only_appended(
                    &before,
                    &after,
                    entries.first().map(|entry| entry.pos.index),
                )?;
                self.node.disk.write(*seq, *hard, entries)?;
            }
            if let Effect::Install { seq, snapshot } = effect {
                let entries = self.past.included(snapshot.pos)?;
                self.node.disk.install(*seq, entries)?;
                self.node.wanted = None;
            }
        }
        if self.node.disk.view.last() != after.last {
            return Err(format!("n{}: log and disk part", self.id));
        }
        if self.bound.pre_votes == PreVotes::Assumed && after.hard.term > before.hard.term {
            self.past.to_mut().enters(after.hard.term);
        }
        self.look(&before, &after)?;
        if after.last != before.last || after.config_at != before.config_at {
            self.in_force(&after)?;
        }
        for effect in effects {
            self.run(effect, &before, &after)?;
        }
        Ok(())
    }

    /// I9: the configuration in force is the last in the log, committed or not (§6), and follows
    /// from the one before it.
    fn in_force(&self, after: &Status) -> Checked {
        let first = match after.snapshot {
            Index::ZERO => first_config(self.id, self.bound),
            _ => self.bound.first_config(),
        };
        let log = &self.node.disk.view;
        let (at, config) = log.config(&first, after.last.index);
        if *after.config != config {
            let (id, found) = (self.id, &after.config);
            return Err(format!(
                "Configuration: n{id} goes by {found}, its log says {config}"
            ));
        }
        if at == Index::ZERO {
            return Ok(());
        }
        let (before, old) = log.config(&self.bound.first_config(), at.before());
        if !leads_to(&majorities(&old), &majorities(&config)) {
            return Err(format!("Configuration: {config} follows {old} in a log"));
        }
        let durable = &self.node.disk.durable;
        let leader = View {
            status: after,
            log,
            durable,
        };
        // What it found when it took office others had put there.
        let own = log
            .get(at)
            .is_some_and(|entry| entry.pos.term == after.hard.term);
        match after.role == RoleName::Leader && own && at > after.commit {
            true => self.past.reconfigures(&leader, before),
            false => Ok(()),
        }
    }

    /// Checks what a change of role or of the commit index could have broken.
    fn look(&mut self, before: &Status, after: &Status) -> Checked {
        let takes_office = after.role == RoleName::Leader && before.role != RoleName::Leader;
        if !takes_office && after.commit <= before.commit {
            return Ok(());
        }
        let me = View {
            status: after,
            log: &self.node.disk.view,
            durable: &self.node.disk.durable,
        };
        let all: [View; NODES] = std::array::from_fn(|place| match place {
            _ if place == key::index_of(self.id) => View { ..me },
            _ => self.world.nodes[place].view(),
        });
        // What it appended in this step, it can have counted nothing by.
        let first = self.bound.first_config();
        let (_, config) = me
            .log
            .config(&first, before.last.index.min(after.last.index));
        let past = self.past.to_mut();
        if takes_office {
            past.elected(&me, &all, &config)?;
        }
        let known = past.committed.len();
        past.commits(before.commit, &me, &all, &config)?;
        if past.committed[known..].iter().any(|(_, term)| term.0 > 1) {
            self.marks.set("CommittedLater");
        }
        Ok(())
    }

    fn run(&mut self, effect: Effect, before: &Status, after: &Status) -> Checked {
        match effect {
            Effect::Write { .. }
            | Effect::Install { .. }
            | Effect::Accepted { .. }
            | Effect::Reconfigured { .. }
            | Effect::Role(_) => {}
            Effect::Send { to, message, after } => {
                let from = self.id;
                let letter = Letter { from, to, message };
                let acknowledges = acknowledged(&letter, &self.node.disk.view);
                match after <= self.node.disk.synced {
                    true => self.post(letter, acknowledges)?,
                    false => self.node.held.push(Held {
                        after,
                        letter,
                        acknowledges,
                    }),
                }
            }
            Effect::SendAppend {
                to,
                term,
                prev,
                last,
                commit,
            } => {
                let entries = (prev.index.0 + 1..=last.0).map(Index);
                let log = &self.node.disk.view;
                let entries = entries.map(|index| log.get(index).cloned());
                let append = Append {
                    term,
                    prev,
                    commit,
                    entries: entries.collect::<Option<_>>().ok_or("no such entry")?,
                };
                let (from, message) = (self.id, Message::Append(append));
                self.post(Letter { from, to, message }, None)?;
            }
            Effect::FetchSnapshot { snapshot, .. } => self.node.wanted = Some(snapshot.pos),
            Effect::Apply { range } => self.applies(range, before, after)?,
            Effect::Serve { index, tokens } => {
                self.marks.set("ReadServed");
                for token in tokens {
                    self.past.to_mut().read_served(token, index)?;
                }
            }
            Effect::Refused { tokens, .. } if self.past.has_reads() => {
                let past = self.past.to_mut();
                tokens.iter().for_each(|&token| past.read_refused(token));
            }
            Effect::Refused { .. } => {}
            Effect::Note(Note::Impossible { from, what }) => {
                return Err(format!("n{} calls n{from} impossible: {what}", self.id));
            }
            Effect::Note(note) => {
                self.campaigned |= matches!(note, Note::Campaign { .. });
                let assumed = self.bound.pre_votes == PreVotes::Assumed;
                if assumed && matches!(note, Note::Campaign { pre_vote: true, .. }) {
                    self.past.to_mut().asks(self.id);
                }
                self.marks.note(&note);
            }
        }
        Ok(())
    }

    fn applies(
        &mut self,
        range: RangeInclusive<Index>,
        before: &Status,
        after: &Status,
    ) -> Checked {
        self.marks.set("Applied");
        if *range.start() != before.applied.next() || *range.end() != after.applied {
            return Err(format!("n{} applies out of order", self.id));
        }
        let view = View {
            status: after,
            log: &self.node.disk.view,
            durable: &self.node.disk.durable,
        };
        for index in (range.start().0..=range.end().0).map(Index) {
            self.past.applies(index, &view)?;
        }
        Ok(())
    }

    /// A message leaves: what it vouches for must be on the disk (Figure 2, "before responding to
    /// RPCs"; th. 3.8).
    fn post(&mut self, letter: Letter, acknowledges: Option<LogPos>) -> Checked {
        said(&letter, acknowledges, &self.node.disk.durable)?;
        let pre_vote = matches!(
            letter.message,
            Message::VoteRequest {
                kind: VoteKind::PreVote,
                ..
            } | Message::VoteReply { pre_vote: true, .. }
        );
        if !(pre_vote && self.bound.pre_votes == PreVotes::Assumed) {
            self.sent.push(letter);
        }
        Ok(())
    }
}

/// The last entry that a message acknowledges.
fn acknowledged(letter: &Letter, log: &Image) -> Option<LogPos> {
    match letter.message {
        Message::AppendReply {
            outcome: AppendOutcome::Match(index),
            ..
        } => log.get(index).map(|entry| entry.pos),
        _ => None,
    }
}

fn said(letter: &Letter, acknowledges: Option<LogPos>, durable: &Image) -> Checked {
    let Letter { from, to, message } = letter;
    let named = match message {
        Message::Heartbeat { .. } | Message::HeartbeatReply { .. } => return Ok(()),
        Message::VoteRequest { kind, .. } if *kind == VoteKind::PreVote => return Ok(()),
        Message::VoteReply { pre_vote: true, .. } => return Ok(()),
        Message::Append(_)
        | Message::SnapshotOffer { .. }
        | Message::TimeoutNow { .. }
        | Message::VoteRequest { .. } => Some(from),
        Message::AppendReply { .. } | Message::VoteReply { granted: false, .. } => None,
        Message::VoteReply { .. } => Some(to),
    };
    let hard = durable.hard;
    let mut holds = hard.term == message.term() && (named.is_none() || hard.vote == named.copied());
    if let Message::VoteRequest { last, .. } = message {
        holds &= durable.last() == *last;
    }
    if let Message::SnapshotOffer { snapshot, .. } = message {
        let pos = snapshot.pos;
        holds &= durable.holds(pos) && pos.index <= durable.included;
    }
    holds &= acknowledges.is_none_or(|pos| durable.holds(pos));
    match holds {
        true => Ok(()),
        false => Err(format!(
            "not durable: n{from} says {message} of term {}, its disk has {hard} and ends {}",
            message.term(),
            durable.last()
        )),
    }
}

/// Leader Append-Only (§5.3): while a node leads a term, its log only grows.
fn only_appended(before: &Status, after: &Status, first: Option<Index>) -> Checked {
    let led = before.role == RoleName::Leader && after.hard.term == before.hard.term;
    match first {
        Some(first) if led && first <= before.last.index => Err(format!(
            "Leader Append-Only: n{} rewrites {first}, had {}",
            after.id, before.last
        )),
        _ => Ok(()),
    }
}
