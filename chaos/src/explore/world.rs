//! Three members and all that is between them, and every way in which it can go on.

use std::sync::Arc;

use raftkv::raft::{Config, Index, Input, Message, NodeId, RoleName, Status, Term, canonical};

use super::{
    action::{Action, Ask, id},
    bound::{Bound, PreVotes, UNLIMITED},
    key::{Interner, Keyed, NODES, RENAMINGS, index_of},
    letter::Letter,
    marks::Marks,
    node::Node,
    past::{Past, View},
    turn::Turn,
};

/// Cheap to copy: it refers to its parts.
#[derive(Clone, Debug)]
pub struct World {
    pub nodes: [Arc<Keyed<Node>>; NODES],
    /// The messages under way, a bag: in the order of their keys.
    pub letters: Vec<Arc<Keyed<Letter>>>,
    pub past: Arc<Keyed<Past>>,
}

/// The parts that worlds are made of, and what was seen while they were.
pub struct Parts {
    nodes: Interner<Node>,
    letters: Interner<Letter>,
    pasts: Interner<Past>,
    pub marks: Marks,
}

impl Parts {
    pub fn new() -> Parts {
        Parts {
            nodes: Interner::new(),
            letters: Interner::new(),
            pasts: Interner::new(),
            marks: Marks::default(),
        }
    }
}

impl Keyed<Node> {
    pub fn view(&self) -> View<'_> {
        View {
            status: &self.status,
            log: &self.disk.view,
            durable: &self.disk.durable,
        }
    }
}

impl World {
    /// Where the bound's behaviours begin.
    pub fn start(bound: &Bound, parts: &mut Parts) -> Result<World, String> {
        let all_vote = usize::from(bound.voters) == NODES;
        assert!(
            all_vote || bound.budget.snapshots == 0,
            "a snapshot may not name the members"
        );
        let mut world = World {
            nodes: [0, 1, 2].map(|n| parts.nodes.intern(Node::new(NodeId(n), bound))),
            letters: Vec::new(),
            past: parts.pasts.intern(Past::default()),
        };
        if bound.elected {
            world = world.elect(bound, parts)?;
        }
        Ok(world)
    }

    /// Node 0 campaigns, everything arrives and becomes durable, and after one heartbeat again.
    fn elect(self, bound: &Bound, parts: &mut Parts) -> Result<World, String> {
        let mut world = self;
        let free = Bound {
            in_flight: UNLIMITED,
            ..*bound
        };
        for first in [Action::Campaign(0), Action::Heartbeat(0)] {
            let mut next = Some(first);
            while let Some(action) = next {
                let after = world.apply(action, &free, parts)?;
                world = after.ok_or("no message is too many here")?;
                next = world.rest(bound);
            }
        }
        let mut past = Past::clone(&world.past);
        past.begin();
        world.past = parts.pasts.intern(past);
        Ok(world)
    }

    /// What has yet to happen before the cluster is at rest.
    fn rest(&self, bound: &Bound) -> Option<Action> {
        let nodes = (0..NODES as u8).zip(&self.nodes);
        let wins = |role| bound.pre_votes == PreVotes::Assumed && role == RoleName::PreCandidate;
        let mut due = nodes.filter_map(|(n, node)| match node.disk.pending() {
            0 => wins(node.status.role).then_some(Action::PreWin(n)),
            writes => Some(Action::Persist(n, writes as u8)),
        });
        let arrives = (!self.letters.is_empty()).then_some(Action::Deliver(0));
        due.next().or(arrives)
    }

    /// Its key; where worlds are folded, the least under any renaming.
    pub fn key(&self, folded: bool) -> u128 {
        let all = if folded { RENAMINGS.len() } else { 1 };
        let key = |renaming| {
            // A sum of hashes is a hash of a bag.
            let nodes = self.nodes.iter().map(|node| node.key(renaming));
            let letters = self.letters.iter().map(|letter| letter.key(renaming));
            let past = self.past.key(renaming);
            nodes.chain(letters).fold(past, u128::wrapping_add)
        };
        (0..all).map(key).min().expect("there is a renaming")
    }

    /// All that can happen next.
    pub fn actions(&self, bound: &Bound, out: &mut Vec<Action>) {
        out.clear();
        for (n, node) in (0..NODES as u8).zip(&self.nodes) {
            self.timers(n, node, bound, out);
            if self.past.has_asked(id(n)) {
                let later = node.status.hard.term.0 + 1..=self.past.newest().0;
                out.extend(later.map(|term| Action::PreDenied(n, term as u8)));
            }
            self.requests(n, node, bound, out);
            self.snapshots(n, node, bound, out);
            for writes in 1..=node.disk.pending() as u8 {
                out.push(Action::Persist(n, writes));
            }
            if self.past.used.crashes < bound.budget.crashes {
                let kept = 0..=node.disk.pending_records() as u8;
                out.extend(kept.map(|kept| Action::Crash(n, kept)));
            }
        }
        let (used, most) = (&self.past.used, &bound.budget);
        for place in 0..self.letters.len() {
            // Equal ones stand side by side.
            if place > 0 && self.letters[place - 1].key(0) == self.letters[place].key(0) {
                continue;
            }
            out.push(Action::Deliver(place as u8));
            if used.duplicates < most.duplicates {
                out.push(Action::Duplicate(place as u8));
            }
            if used.losses < most.losses {
                out.push(Action::Drop(place as u8));
            }
        }
    }

    fn timers(&self, n: u8, node: &Node, bound: &Bound, out: &mut Vec<Action>) {
        let (used, most) = (&self.past.used, &bound.budget);
        if node.leads() {
            if used.heartbeats < most.heartbeats {
                out.push(Action::Heartbeat(n));
            }
            let alone = node.status.config.voters().all(|voter| voter == id(n));
            if used.step_downs < most.step_downs && !alone {
                out.push(Action::StepDown(n));
            }
            return;
        }
        if used.campaigns < most.campaigns && canonical::may_campaign(&node.raft) {
            out.push(Action::Campaign(n));
        }
        if canonical::hears_leader(&node.raft) {
            out.push(Action::Lapse(n));
        }
        if bound.pre_votes == PreVotes::Assumed && node.status.role == RoleName::PreCandidate {
            out.push(Action::PreWin(n));
        }
    }

    fn requests(&self, n: u8, node: &Node, bound: &Bound, out: &mut Vec<Action>) {
        let (used, most) = (&self.past.used, &bound.budget);
        if !node.leads() {
            return;
        }
        if used.proposals < most.proposals {
            out.push(Action::Propose(n));
        }
        if used.reads < most.reads {
            out.push(Action::Read(n));
        }
        if used.transfers < most.transfers {
            let others = (0..NODES as u8).filter(|&other| other != n);
            out.extend(others.map(|other| Action::Transfer(n, other)));
        }
        if used.changes < most.changes {
            out.extend(asks(&node.status.config).map(|ask| Action::Change(n, ask)));
        }
    }

    fn snapshots(&self, n: u8, node: &Node, bound: &Bound, out: &mut Vec<Action>) {
        if node.wanted.is_some() {
            out.push(Action::Fetch(n));
        }
        if self.past.used.snapshots == bound.budget.snapshots {
            return;
        }
        let Status {
            base,
            snapshot,
            applied,
            ..
        } = node.status;
        for index in snapshot.0 + 1..=applied.0 {
            // Two are kept, or one; of a single one the log is kept from its beginning on.
            let mut upto = [base.index.0, snapshot.0, index].to_vec();
            upto.dedup();
            let taken = |upto| Action::Snapshot(n, index as u8, upto as u8);
            out.extend(upto.into_iter().map(taken));
        }
    }

    /// The world after this action; none if more messages would be under way than the bound has.
    ///
    /// # Errors
    /// The rule that was broken. Rules that the FSM asserts itself panic.
    pub fn apply(
        &self,
        action: Action,
        bound: &Bound,
        parts: &mut Parts,
    ) -> Result<Option<World>, String> {
        let mut gone = None;
        let (node, input) = match action {
            Action::Deliver(place) | Action::Duplicate(place) | Action::Drop(place) => {
                let place = usize::from(place);
                if !matches!(action, Action::Duplicate(_)) {
                    gone = Some(place);
                }
                let Letter { from, to, message } = Letter::clone(&self.letters[place]);
                (to, Some(Input::Receive { from, message }))
            }
            Action::PreDenied(n, term) => (id(n), Some(denial(n, Term(u64::from(term))))),
            Action::Heartbeat(n) => (id(n), Some(Input::Tick)),
            Action::Transfer(n, to) => (id(n), Some(Input::Transfer { to: Some(id(to)) })),
            Action::Campaign(n) | Action::Lapse(n) | Action::StepDown(n) => (id(n), None),
            Action::PreWin(n) | Action::Change(n, _) => (id(n), None),
            Action::Propose(n) | Action::Read(n) => (id(n), None),
            Action::Snapshot(n, ..) | Action::Fetch(n) => (id(n), None),
            Action::Persist(n, _) | Action::Crash(n, _) => (id(n), None),
        };
        let mut turn = Turn::new(self, bound, &mut parts.marks, node);
        match action {
            Action::Campaign(_) => turn.campaign()?,
            Action::Lapse(_) => turn.lapse()?,
            Action::StepDown(_) => turn.step_down()?,
            Action::Propose(_) => turn.propose()?,
            Action::Read(_) => turn.read()?,
            Action::PreWin(_) => turn.win_pre_votes()?,
            Action::Change(_, ask) => turn.change(ask)?,
            Action::Snapshot(_, index, compact) => {
                let [index, compact] = [index, compact].map(|n| Index(u64::from(n)));
                turn.take_snapshot(index, compact)?;
            }
            Action::Fetch(_) => turn.fetch()?,
            Action::Persist(_, writes) => turn.persist(usize::from(writes))?,
            Action::Crash(_, kept) => turn.crash(usize::from(kept))?,
            Action::Drop(_) => {}
            _ => turn.feed(input.expect("all others are one input"))?,
        }
        turn.node.reduce();
        if let Some(used) = self.past.used.with(action) {
            turn.past.to_mut().used = used;
        }
        let Turn {
            node: after,
            past,
            sent,
            ..
        } = turn;
        let past = match past {
            std::borrow::Cow::Borrowed(_) => Arc::clone(&self.past),
            std::borrow::Cow::Owned(past) => parts.pasts.intern(past),
        };
        let mut nodes = self.nodes.clone();
        nodes[index_of(node)] = parts.nodes.intern(after);
        let letters = self.mail(gone, sent, node, &nodes, parts);
        let few = letters.len() <= bound.in_flight;
        Ok(few.then_some(World {
            nodes,
            letters,
            past,
        }))
    }

    /// What is under way after a turn of `node`, less what has become void.
    fn mail(
        &self,
        gone: Option<usize>,
        sent: Vec<Letter>,
        node: NodeId,
        nodes: &[Arc<Keyed<Node>>; NODES],
        parts: &mut Parts,
    ) -> Vec<Arc<Keyed<Letter>>> {
        let void = |letter: &Letter| nodes[index_of(letter.to)].is_done_with(letter);
        let old = self.letters.iter().enumerate();
        let kept = old
            .filter(|&(place, letter)| gone != Some(place) && (letter.to != node || !void(letter)));
        let mut letters: Vec<_> = kept.map(|(_, letter)| Arc::clone(letter)).collect();
        for letter in sent {
            if !void(&letter) {
                letters.push(parts.letters.intern(letter));
            }
        }
        letters.sort_unstable_by_key(|letter| letter.key(0));
        letters
    }

    /// Checks what must hold of every state, however it was reached.
    ///
    /// # Errors
    /// The rule that does not.
    pub fn check(&self) -> Result<(), String> {
        for (n, one) in self.nodes.iter().enumerate() {
            for other in &self.nodes[n + 1..] {
                log_matching(one, other)?;
            }
            if one.leads() {
                self.past.complete(&one.view())?;
                self.matched(one)?;
            }
        }
        Ok(())
    }

    /// Figure 2, `matchIndex`: what a leader takes for replicated is on the follower's disk, until
    /// a later leader takes it away.
    fn matched(&self, leader: &Node) -> Result<(), String> {
        for of in &leader.status.progress {
            let (peer, index) = (of.node, of.matched);
            let Some(entry) = leader.disk.view.get(index) else {
                continue;
            };
            let disk = &self.nodes[index_of(peer)].disk.durable;
            if disk.hard.term <= leader.status.hard.term && !disk.holds(entry.pos) {
                let leader = leader.status.id;
                return Err(format!(
                    "matchIndex: n{leader} believes that n{peer} holds {}, its disk ends {}",
                    entry.pos,
                    disk.last()
                ));
            }
        }
        Ok(())
    }
}

/// All changes of one node that comes, one that goes, or both.
fn asks(config: &Config) -> impl Iterator<Item = Ask> {
    let voters: Vec<u8> = (0..NODES as u8).filter(|&n| config.votes(id(n))).collect();
    let can_come = |&n: &u8| !config.contains(id(n)) && !config.retired().contains(&id(n));
    let comes: Vec<u8> = (0..NODES as u8).filter(can_come).collect();
    let or_none = |nodes: Vec<u8>| nodes.into_iter().map(Some).chain([None]);
    let pairs = or_none(comes).flat_map(move |add| {
        let removals = or_none(voters.clone());
        removals.map(move |remove| Ask { add, remove })
    });
    pairs.filter(|ask| ask.add.is_some() || ask.remove.is_some())
}

/// A refusal of the pre-vote that this node asked for. Whose it is makes no difference.
fn denial(n: u8, term: Term) -> Input {
    Input::Receive {
        from: id((n + 1) % NODES as u8),
        message: Message::VoteReply {
            term,
            granted: false,
            pre_vote: true,
        },
    }
}

/// Log Matching (§5.3): entries of one position are the same, and so are all before them.
fn log_matching(one: &Node, other: &Node) -> Result<(), String> {
    for a in [&one.disk.view, &one.disk.durable] {
        for b in [&other.disk.view, &other.disk.durable] {
            let pairs = || a.entries.iter().zip(&b.entries);
            let same = pairs().rposition(|(x, y)| x.pos == y.pos);
            let upto = same.map_or(0, |place| place + 1);
            if let Some((x, y)) = pairs().take(upto).find(|(x, y)| x != y) {
                let (one, other) = (one.status.id, other.status.id);
                return Err(format!("Log Matching: n{one} has [{x}], n{other} [{y}]"));
            }
        }
    }
    Ok(())
}
