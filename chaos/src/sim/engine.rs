//! Virtual time, and what is due for whom.

use raftkv::{
    codec::Packet,
    raft::{Index, Input, Message, NodeId, RoleName, Status, Token},
    replica::{Operation, Replica, Reply},
};
use raftkv_wal::{MemoryMedia, is_leftover};

use super::{
    fault::{CrashPoint, Fault, Hits},
    host::{Host, Incoming},
    mark::Marks,
    network::{Flight, Network},
    queue::{Micros, Queue},
    settings::{Settings, TICK},
    trace::{Line, Trace},
    turn::Phase,
};
use crate::{
    invariants::{Asked, Bounds, Checks, Shadow, hold, index_of},
    rng::Rng,
};

/// What is due. Whoever drives the simulation sees its alarms and answers; the rest is the
/// cluster's own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Tick { node: u32, epoch: u32 },
    Arrive { slot: u32 },
    SyncEnds { node: u32, epoch: u32 },
    Apply { node: u32, epoch: u32 },
    Job { node: u32, epoch: u32 },
    Thaw { node: u32, epoch: u32 },
    Restart { node: u32, epoch: u32 },
    Alarm(u64),
}

/// What the driver of a simulation is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The time that was asked for has come.
    Alarm(u64),
    /// A node answers a request.
    Answer(Token, Reply),
    /// C_old,new is in force, at its leader to begin with.
    Joint(NodeId),
}

/// A cluster of shipped replicas in virtual time.
pub struct Sim {
    /// What it was made with.
    pub settings: Settings,
    /// The links between the nodes.
    pub network: Network,
    pub(super) hosts: Vec<Host>,
    /// Those that are, or were, set up, and not taken away since.
    pub(super) in_use: Vec<NodeId>,
    /// How many ids are not spare.
    pub(super) taken: u64,
    pub(super) shadows: Vec<Shadow>,
    /// What each node that is up said of itself after its last step.
    pub(super) live: Vec<Option<Status>>,
    /// How far each node's state machine is.
    pub(super) applied: Vec<Index>,
    pub(super) checks: Checks,
    pub(super) bounds: Bounds,
    pub(super) queue: Queue<Event>,
    /// Grows with each step of any node.
    pub(super) step: u64,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) marks: Marks,
    pub(super) hits: Hits,
    pub(super) answers: Vec<(Token, Reply)>,
    /// Who has just put C_old,new into its log as a leader.
    pub(super) joint: Vec<NodeId>,
    /// Elections won so far.
    pub(super) elections: u64,
    /// Every note, when somebody wants to see them.
    pub(super) notes: Option<Vec<(NodeId, raftkv::raft::Note)>>,
    tokens: u64,
}

impl Sim {
    /// Nodes with empty disks, all started.
    #[must_use]
    pub fn new(settings: Settings) -> Sim {
        let ids = || (0..settings.hosts()).map(NodeId);
        let stream = |purpose| Rng::stream(settings.seed, purpose).pinned(&settings.draws, purpose);
        let mut sim = Sim {
            network: Network::new(settings.hosts(), stream(1)),
            in_use: (0..settings.nodes).map(NodeId).collect(),
            taken: settings.nodes,
            hosts: ids().map(Host::new).collect(),
            shadows: ids().map(Shadow::new).collect(),
            live: ids().map(|_| None).collect(),
            applied: ids().map(|_| Index::ZERO).collect(),
            checks: Checks::new(settings.members()),
            bounds: Bounds::default(),
            queue: Queue::new(),
            step: 0,
            rng: stream(2),
            trace: Trace::default(),
            marks: Marks::default(),
            hits: Hits::default(),
            answers: Vec::new(),
            joint: Vec::new(),
            elections: 0,
            notes: None,
            tokens: 0,
            settings,
        };
        if let Some((id, armed)) = sim.settings.first_crash {
            sim.arm(id, armed);
        }
        for id in sim.ids() {
            sim.start(id);
        }
        sim
    }

    /// All nodes, save spare ones and those that were taken away.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.in_use.clone()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.queue.now()
    }

    /// The steps that nodes have taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// What two runs of one seed have in common.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.trace.digest()
    }

    /// How many lines a record of it has, without routine.
    pub(crate) fn events(&self) -> u64 {
        self.trace.events()
    }

    /// Which branches of the FSM were taken.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What went wrong.
    #[must_use]
    pub fn hits(&self) -> Hits {
        let mut hits = self.hits.clone();
        hits.add(&self.network.hits);
        hits
    }

    /// How many elections were won.
    #[must_use]
    pub fn elections(&self) -> u64 {
        self.elections
    }

    /// A node that is up.
    #[must_use]
    pub fn replica(&self, id: NodeId) -> Option<&Replica<MemoryMedia>> {
        self.hosts[index_of(id)].replica.as_deref()
    }

    /// What a node that is up said after its last step.
    #[must_use]
    pub fn status(&self, id: NodeId) -> Option<&Status> {
        self.live[index_of(id)].as_ref()
    }

    /// The leader of the highest term among the nodes that are up.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let live = self.live.iter().flatten();
        live.filter(|status| status.role == RoleName::Leader)
            .max_by_key(|status| status.hard.term)
            .map(|status| status.id)
    }

    /// Keeps what happens as lines from now on.
    pub fn record(&mut self) {
        self.trace.record();
    }

    /// The lines so far.
    pub fn take_lines(&mut self) -> Vec<Line> {
        self.trace.take_lines()
    }

    pub(crate) fn note_line(&mut self, node: Option<NodeId>, what: impl FnOnce() -> String) {
        let now = self.now();
        self.trace.line(now, node, what);
    }

    pub(crate) fn alarm(&mut self, at: Micros, alarm: u64) {
        self.queue.schedule(at, Event::Alarm(alarm));
    }

    /// A token that no request has.
    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Gives a node a request. It is lost if the node is down.
    pub(crate) fn submit(&mut self, id: NodeId, token: Token, operation: Operation) {
        self.bounds.request();
        self.hits.count(Fault::Request);
        self.incoming(id, Incoming::Request(token, operation));
    }

    /// Lets time pass until something is due for the driver, or until `until`.
    pub(crate) fn advance(&mut self, until: Micros) -> Option<Due> {
        loop {
            if !self.answers.is_empty() {
                let (token, reply) = self.answers.remove(0);
                return Some(Due::Answer(token, reply));
            }
            if let Some(leader) = self.joint.pop() {
                return Some(Due::Joint(leader));
            }
            let event = self.queue.next(until)?;
            self.bounds.event(self.queue.now());
            match event {
                Event::Alarm(alarm) => return Some(Due::Alarm(alarm)),
                event => self.run(event),
            }
        }
    }

    fn run(&mut self, event: Event) {
        let host_is = |host: &Host, epoch: u32| host.epoch == epoch && host.replica.is_some();
        match event {
            Event::Alarm(_) => unreachable!("alarms are the driver's"),
            Event::Arrive { slot } => {
                if let Some(flight) = self.network.arrive(slot) {
                    self.arrived(flight);
                }
            }
            Event::Restart { node, epoch } => {
                let host = &self.hosts[node as usize];
                if host.epoch == epoch && host.replica.is_none() && !host.is_lost {
                    self.start(host.id);
                }
            }
            Event::Tick { node, epoch } => {
                if host_is(&self.hosts[node as usize], epoch) {
                    self.tick(NodeId(node.into()));
                }
            }
            Event::SyncEnds { node, epoch } => {
                if host_is(&self.hosts[node as usize], epoch) {
                    self.sync_ends(NodeId(node.into()));
                }
            }
            Event::Apply { node, epoch } => {
                if host_is(&self.hosts[node as usize], epoch) {
                    let id = NodeId(node.into());
                    self.host(id).is_apply_scheduled = false;
                    if self.host(id).frozen_until.is_none() {
                        self.apply_slowly(id);
                    }
                }
            }
            Event::Job { node, epoch } => {
                if host_is(&self.hosts[node as usize], epoch) {
                    self.job_step(NodeId(node.into()));
                }
            }
            Event::Thaw { node, epoch } => {
                let host = &self.hosts[node as usize];
                let over = host.frozen_until.is_some_and(|until| until <= self.now());
                if host_is(host, epoch) && over {
                    self.thaw(host.id);
                }
            }
        }
    }

    pub(super) fn host(&mut self, id: NodeId) -> &mut Host {
        &mut self.hosts[index_of(id)]
    }

    pub(super) fn schedule(
        &mut self,
        id: NodeId,
        at: Micros,
        event: impl FnOnce(u32, u32) -> Event,
    ) {
        let epoch = self.host(id).epoch;
        self.queue.schedule(at, event(id.0 as u32, epoch));
    }

    pub(super) fn schedule_tick(&mut self, id: NodeId) {
        let at = self.now() + self.settings.tick[index_of(id)];
        self.schedule(id, at, |node, epoch| Event::Tick { node, epoch });
    }

    pub(super) fn schedule_apply(&mut self, id: NodeId) {
        let (least, most) = self.settings.apply.unwrap_or((0, 0));
        let now = self.now();
        self.rng.aim(now, id.0);
        let at = now + self.rng.between(least, most);
        if !std::mem::replace(&mut self.host(id).is_apply_scheduled, true) {
            self.schedule(id, at, |node, epoch| Event::Apply { node, epoch });
        }
    }

    fn tick(&mut self, id: NodeId) {
        self.schedule_tick(id);
        self.bounds.tick();
        if self.settings.tick[index_of(id)] != TICK {
            self.hits.count(Fault::Skew);
        }
        if self.host(id).frozen_until.is_some() {
            self.hits.count(Fault::LateTick);
            self.host(id).late_ticks += 1;
            return;
        }
        self.with(id, Phase::Step, |replica, out| {
            replica.step(Input::Tick, out)
        });
        let purges = self.is_due(id, CrashPoint::Purged);
        let files = |sim: &mut Sim| {
            let names = sim.host(id).disk.names();
            names.iter().filter(|name| !is_leftover(name)).count()
        };
        let before = if purges { files(self) } else { 0 };
        self.with(id, Phase::Mark, Replica::upkeep);
        if purges && self.is_up(id) && files(self) < before {
            self.crash_here(id, CrashPoint::Purged);
        }
    }

    fn sync_ends(&mut self, id: NodeId) {
        match self.host(id).frozen_until {
            Some(_) => self.host(id).is_sync_over = true,
            None => self.sync(id),
        }
    }

    /// A node that was paused or blocked goes on: first with what waited, then with late ticks, of
    /// which the shipped loop forgets those beyond one heartbeat.
    fn thaw(&mut self, id: NodeId) {
        self.host(id).frozen_until = None;
        self.note_line(Some(id), || "goes on".to_owned());
        self.host(id).is_within_a_turn = true;
        if std::mem::take(&mut self.host(id).is_sync_over) {
            self.sync(id);
        }
        while let Some(incoming) = self.host(id).inbox.pop_front() {
            self.hits.count(Fault::Pause);
            self.incoming(id, incoming);
        }
        if self.host(id).is_job_over && self.host(id).frozen_until.is_none() {
            self.job_ends(id);
        }
        let ticks = std::mem::take(&mut self.host(id).late_ticks);
        self.ticks(id, ticks.min(self.settings.heartbeat_ticks));
        self.host(id).is_within_a_turn = false;
        self.go_on(id);
    }

    /// Feeds so many ticks at once.
    pub(super) fn ticks(&mut self, id: NodeId, count: u32) {
        for _ in 0..count {
            if self.host(id).replica.is_some() && self.host(id).frozen_until.is_none() {
                self.with(id, Phase::Step, |replica, out| {
                    replica.step(Input::Tick, out)
                });
            }
        }
    }

    fn arrived(&mut self, flight: Flight) {
        let (now, to) = (self.now(), flight.to);
        if flight.is_damaged {
            let refused = self.network.refuse_damaged(&flight).is_some();
            let text = || "a damaged frame was taken for a message".to_owned();
            hold!(Damage, refused, "n{to}: {}", text());
            self.trace.line(now, Some(to), || {
                format!("refuses a damaged frame of n{}", flight.from)
            });
            return;
        }
        self.incoming(to, Incoming::Message(flight));
    }

    pub(super) fn incoming(&mut self, id: NodeId, incoming: Incoming) {
        let inbox_max = self.settings.inbox_max;
        let host = self.host(id);
        if host.replica.is_none() {
            return;
        }
        if host.frozen_until.is_some() {
            if host.inbox.len() < inbox_max {
                host.inbox.push_back(incoming);
            } else {
                self.hits.count(Fault::Overflow);
            }
            return;
        }
        match incoming {
            Incoming::Message(flight) => self.receive(flight),
            Incoming::Hello(node, description) => {
                self.with(id, Phase::Step, |replica, out| {
                    replica.step(Input::Described { node, description }, out)
                });
            }
            Incoming::Request(token, operation) => {
                let step = self.step;
                if let Operation::Get { .. } = operation {
                    let status = self.live[index_of(id)].as_ref().expect("it is up");
                    self.checks.read_arrived(token, status, step);
                }
                self.trace.number(token.0);
                self.note_line(Some(id), || format!("is asked t{token} {operation:?}"));
                self.with(id, Phase::Step, |replica, out| {
                    replica.submit(vec![(token, operation)], out)
                });
            }
        }
    }

    fn receive(&mut self, flight: Flight) {
        let Flight {
            from,
            to,
            packet,
            asked,
            frame,
            ..
        } = flight;
        let now = self.now();
        // The frame's CRC stands for its bytes.
        let crc = u32::from_le_bytes(frame[4..8].try_into().expect("a frame has a header"));
        self.trace.number(now ^ u64::from(crc) << 20 ^ to.0);
        let text = || match &packet {
            Packet::Message(message) => format!("<- n{from}@{} {message}", message.term()),
            packet => format!("<- n{from} {packet}"),
        };
        match packet {
            Packet::Message(Message::Heartbeat { .. } | Message::HeartbeatReply { .. }) => {
                self.trace.routine(now, Some(to), text);
            }
            _ => self.trace.line(now, Some(to), text),
        }
        if let Packet::Message(Message::HeartbeatReply { term, .. }) = packet {
            let status = self.live[index_of(to)].as_ref().expect("it is up");
            if status.role == RoleName::Leader && status.hard.term == term {
                self.checks.heartbeat_answered(status, from, asked);
            }
        }
        let asked = match packet {
            Packet::Message(Message::Heartbeat { .. }) => asked,
            _ => Asked::default(),
        };
        self.with_asked(to, Phase::Step, asked, |replica, out| {
            replica.receive(from, packet, out)
        });
    }
}
