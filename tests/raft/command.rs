//! What a script or a generator can do to a cluster. Each command prints as the script line that
//! says it, so that a list of them is a script.

use std::fmt::{self, Display, Formatter};

use bytes::Bytes;
use raftkv::raft::{Index, Input, Message, NodeId, Seq};

use crate::{
    cluster::{Cluster, Envelope, Setup},
    members::{Ask, Known},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Cluster {
        setup: Setup,
        leader: Option<NodeId>,
    },
    /// Time passes at this node until it campaigns.
    Campaign(NodeId),
    /// For set-up: time passes with nothing heard, then this node campaigns and wins.
    Elect(NodeId),
    /// For set-up: an election timeout passes at these nodes, and what they say is lost.
    Lapse(Vec<NodeId>),
    Tick {
        node: Option<NodeId>,
        count: u32,
    },
    Put {
        node: NodeId,
        commands: Vec<String>,
    },
    Read {
        node: NodeId,
    },
    Transfer {
        node: NodeId,
        to: Option<NodeId>,
    },
    /// A change of the members is asked of this node.
    Change {
        node: NodeId,
        ask: Ask,
    },
    /// This node hears where another, or itself, is found.
    Describe {
        node: NodeId,
        of: NodeId,
        known: Known,
    },
    Deliver(Pick),
    Drop(Pick),
    /// A second copy of each, which arrives late.
    Dup(Pick),
    /// From now on late: only `release`, or its place, delivers it.
    Hold(Pick),
    Release(Pick),
    /// Links within the groups work, all others carry nothing.
    Partition(Vec<Vec<NodeId>>),
    Cut {
        from: NodeId,
        to: NodeId,
    },
    Heal,
    Persist {
        node: Option<NodeId>,
        upto: Option<Seq>,
    },
    /// `settle` leaves this node's disk alone, until the next `persist` of it.
    Stall(NodeId),
    Crash {
        node: NodeId,
        tail: Tail,
    },
    Restart(NodeId),
    /// A snapshot of what is applied, or only of what was at `index`; `keep` entries before that
    /// stay in the log.
    Snapshot {
        node: NodeId,
        index: Option<Index>,
        keep: u64,
    },
    /// The snapshot that this node asked for arrives.
    Fetch(NodeId),
    /// Delivers, fetches and persists until nothing is left to do, after a heartbeat if asked to.
    Settle {
        heartbeat: bool,
    },
    Status(Option<NodeId>),
    Log(Option<NodeId>),
    Disk(NodeId),
    /// The configuration in force, the newest that it knows to be committed, and what that one says
    /// of each member.
    Members(Option<NodeId>),
    Inflight,
    /// A message that nobody sent.
    Say {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
}

/// What a crash leaves of the writes that were not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    Lost,
    Kept,
    /// The first so many records.
    Records(usize),
}

/// Which of the messages on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    pub to: Option<NodeId>,
    pub from: Option<NodeId>,
    pub kind: Option<String>,
    /// Its place among all messages on the way.
    pub place: Option<usize>,
    /// No more than so many.
    pub count: Option<usize>,
}

/// A cluster that does not come to rest in so many rounds never will.
const SETTLE_MAX_ROUNDS: u32 = 1000;

impl Pick {
    pub fn at(place: usize) -> Pick {
        Pick {
            place: Some(place),
            ..Pick::default()
        }
    }

    fn matches(&self, place: usize, letter: &Envelope) -> bool {
        let text = letter.message.to_string();
        self.to.is_none_or(|to| letter.to == to)
            && self.from.is_none_or(|from| letter.from == from)
            && self.place.is_none_or(|at| at == place)
            && self
                .kind
                .as_ref()
                .is_none_or(|kind| text.split(' ').next() == Some(kind))
    }

    /// The places of all that match.
    fn places(&self, network: &[Envelope]) -> Result<Vec<usize>, String> {
        let all = network.iter().enumerate();
        let found = all.filter(|(place, letter)| self.matches(*place, letter));
        let count = self.count.unwrap_or(usize::MAX);
        let places: Vec<usize> = found.map(|(place, _)| place).take(count).collect();
        match places.is_empty() {
            true => Err("no such message is on its way".to_owned()),
            false => Ok(places),
        }
    }

    fn take(&self, network: &mut Vec<Envelope>) -> Result<Vec<Envelope>, String> {
        let places = self.places(network)?;
        Ok(remove(network, &places))
    }
}

/// Takes out what stands at these ascending places.
fn remove(network: &mut Vec<Envelope>, places: &[usize]) -> Vec<Envelope> {
    let mut taken: Vec<Envelope> = places.iter().rev().map(|&p| network.remove(p)).collect();
    taken.reverse();
    taken
}

impl Cluster {
    /// Does what the command says.
    ///
    /// # Errors
    /// If there is nothing to do it to: a script that expects a message must find it.
    pub fn execute(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Cluster { setup, leader } => {
                let trace = self.trace.take();
                *self = Cluster::new(*setup);
                self.trace = trace;
                leader.map_or(Ok(()), |leader| self.elect(leader))?;
            }
            Command::Campaign(node) => self.campaign(*node)?,
            Command::Elect(node) => self.elect(*node)?,
            Command::Lapse(nodes) => self.lapse(nodes),
            Command::Tick { node, count } => {
                for id in node.map_or_else(|| self.ids().collect(), |id| vec![id]) {
                    (0..*count).for_each(|_| self.step(id, Input::Tick));
                }
            }
            Command::Put { node, commands } => {
                let commands = commands
                    .iter()
                    .map(|text| (self.token(), Bytes::from(text.clone())));
                let commands = commands.collect();
                self.step(*node, Input::Propose { commands });
            }
            Command::Read { node } => {
                let tokens = vec![self.token()];
                self.step(*node, Input::Read { tokens });
            }
            Command::Transfer { node, to } => self.step(*node, Input::Transfer { to: *to }),
            Command::Change { node, ask } => {
                let (token, change) = (self.token(), ask.change());
                self.step(*node, Input::Reconfigure { token, change });
            }
            Command::Describe { node, of, known } => {
                let (of, description) = (*of, known.description());
                let described = Input::Described {
                    node: of,
                    description,
                };
                self.step(*node, described);
            }
            Command::Say { from, to, message } => {
                self.forged = true;
                let (from, message) = (*from, message.clone());
                self.step(*to, Input::Receive { from, message });
            }
            Command::Deliver(_)
            | Command::Drop(_)
            | Command::Dup(_)
            | Command::Hold(_)
            | Command::Release(_) => self.network(command)?,
            Command::Partition(_) | Command::Cut { .. } | Command::Heal => self.links(command),
            Command::Persist { .. }
            | Command::Stall(_)
            | Command::Crash { .. }
            | Command::Restart(_) => self.machines(command)?,
            Command::Snapshot { node, index, keep } => self.snapshot(*node, *index, *keep)?,
            Command::Fetch(node) => self.fetch(*node)?,
            Command::Settle { heartbeat } => self.settle(*heartbeat)?,
            Command::Status(_)
            | Command::Log(_)
            | Command::Disk(_)
            | Command::Members(_)
            | Command::Inflight => self.look(command),
        }
        Ok(())
    }

    fn network(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Deliver(pick) => {
                let mut places = pick.places(&self.network)?;
                places.retain(|&place| {
                    let letter = &self.network[place];
                    self.reaches(letter) && (pick.place.is_some() || !letter.late)
                });
                let letters = remove(&mut self.network, &places);
                letters.into_iter().for_each(|letter| self.receive(letter));
            }
            Command::Drop(pick) => {
                pick.take(&mut self.network)?;
            }
            Command::Dup(pick) => {
                let places = pick.places(&self.network)?;
                let copies = places.iter().map(|&place| self.network[place].clone());
                let copies: Vec<Envelope> = copies
                    .map(|letter| Envelope {
                        late: true,
                        ..letter
                    })
                    .collect();
                self.network.extend(copies);
            }
            Command::Hold(pick) => {
                for place in pick.places(&self.network)? {
                    self.network[place].late = true;
                }
            }
            Command::Release(pick) => {
                let places = pick.places(&self.network)?.into_iter();
                let late: Vec<usize> = places.filter(|&place| self.network[place].late).collect();
                let letters = remove(&mut self.network, &late);
                letters.into_iter().for_each(|letter| self.receive(letter));
            }
            _ => unreachable!("not about messages"),
        }
        Ok(())
    }

    fn links(&mut self, command: &Command) {
        match command {
            Command::Partition(groups) => {
                let group = |id: NodeId| groups.iter().position(|group| group.contains(&id));
                let pairs = self
                    .ids()
                    .flat_map(|from| self.ids().map(move |to| (from, to)));
                self.cut = pairs
                    .filter(|(from, to)| group(*from) != group(*to))
                    .collect();
            }
            Command::Cut { from, to } => {
                self.cut.insert((*from, *to));
            }
            Command::Heal => self.cut.clear(),
            _ => unreachable!("not about links"),
        }
    }

    fn machines(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Persist { node, upto } => {
                for id in node.map_or_else(|| self.ids().collect(), |id| vec![id]) {
                    self.set_stalled(id, false);
                    self.persist(id, upto.unwrap_or(Seq(u64::MAX)));
                }
            }
            Command::Stall(node) => self.set_stalled(*node, true),
            Command::Crash { node, tail } => {
                self.status(*node).ok_or(format!("n{node} is down"))?;
                let kept = match tail {
                    Tail::Lost => 0,
                    Tail::Kept => usize::MAX,
                    Tail::Records(count) => *count,
                };
                self.crash(*node, kept);
            }
            Command::Restart(node) => match self.status(*node) {
                None => self.restart(*node),
                Some(_) => return Err(format!("n{node} is up")),
            },
            _ => unreachable!("not about machines"),
        }
        Ok(())
    }

    /// Delivers, fetches and persists until nothing is left to do.
    fn settle(&mut self, heartbeat: bool) -> Result<(), String> {
        if heartbeat {
            for id in self.leaders() {
                (0..self.setup.heartbeat_ticks).for_each(|_| self.step(id, Input::Tick));
            }
        }
        for _ in 0..SETTLE_MAX_ROUNDS {
            let ready = |cluster: &Cluster, place: usize| {
                let letter = &cluster.network[place];
                !letter.late && cluster.reaches(letter)
            };
            let places = 0..self.network.len();
            let places: Vec<usize> = places.filter(|&place| ready(self, place)).collect();
            let letters = remove(&mut self.network, &places);
            let mut busy = !letters.is_empty();
            letters.into_iter().for_each(|letter| self.receive(letter));
            for id in self.ids() {
                if self.can_fetch(id) {
                    busy = true;
                    self.fetch(id)?;
                }
                let node = self.node(id);
                if !node.stalled && node.disk.pending().next().is_some() {
                    busy = true;
                    self.persist(id, Seq(u64::MAX));
                }
            }
            if !busy {
                return Ok(());
            }
        }
        Err(format!("not at rest after {SETTLE_MAX_ROUNDS} rounds"))
    }

    /// Whether the node wants a snapshot of one that it reaches.
    fn can_fetch(&self, id: NodeId) -> bool {
        let wanted = self.node(id).wanted;
        wanted.is_some_and(|(from, _)| {
            let linked = !self.cut.contains(&(id, from)) && !self.cut.contains(&(from, id));
            linked && self.status(from).is_some()
        })
    }

    /// Time passes at `node` until it campaigns; only that last moment is shown.
    fn campaign(&mut self, node: NodeId) -> Result<(), String> {
        for _ in 0..2 * self.setup.election_timeout_ticks {
            let shown = self.trace.as_ref().map_or(0, Vec::len);
            self.fired.remove("Campaign");
            self.step(node, Input::Tick);
            if self.fired.contains("Campaign") {
                return Ok(());
            }
            if let Some(trace) = &mut self.trace {
                trace.truncate(shown);
            }
        }
        Err(format!("n{node} does not campaign"))
    }

    /// An election timeout passes at these nodes with nothing heard; what they say is lost.
    fn lapse(&mut self, nodes: &[NodeId]) {
        let messages = self.network.len();
        for &id in nodes {
            (0..self.setup.election_timeout_ticks).for_each(|_| self.step(id, Input::Tick));
        }
        self.network.truncate(messages);
    }

    fn elect(&mut self, node: NodeId) -> Result<(), String> {
        let apart =
            |id: &NodeId| self.cut.contains(&(*id, node)) || self.cut.contains(&(node, *id));
        let near: Vec<NodeId> = self.ids().filter(|id| !apart(id)).collect();
        self.lapse(&near);
        self.campaign(node)?;
        self.settle(false)?;
        self.settle(true)?;
        match self.leaders().contains(&node) {
            true => Ok(()),
            false => Err(format!("n{node} was not elected")),
        }
    }

    /// Shows, changes nothing.
    fn look(&mut self, command: &Command) {
        let some = |node: Option<NodeId>| node.map_or_else(|| self.ids().collect(), |id| vec![id]);
        let entries = |id: NodeId, image: &crate::disk::Image| {
            let list = image.entries().iter().map(|entry| format!(" [{entry}]"));
            let snapshot = image.snapshot.map_or(String::new(), |snapshot| {
                format!(" snapshot={} base={}", snapshot.pos, image.base)
            });
            format!("n{id}{snapshot}{}", list.collect::<String>())
        };
        let lines: Vec<String> = match command {
            Command::Status(node) => some(*node)
                .into_iter()
                .map(|id| {
                    self.status(id)
                        .map_or(format!("n{id} down"), |s| s.to_string())
                })
                .collect(),
            Command::Log(node) => some(*node)
                .into_iter()
                .map(|id| entries(id, &self.node(id).disk.view))
                .collect(),
            Command::Disk(id) => {
                let disk = &self.node(*id).disk.durable;
                vec![format!("{} {}", entries(*id, disk), disk.hard)]
            }
            Command::Members(node) => some(*node).into_iter().map(|id| self.members(id)).collect(),
            Command::Inflight => {
                let letters = self.network.iter().enumerate();
                letters
                    .map(|(place, letter)| format!("{place}: {letter}"))
                    .collect()
            }
            _ => unreachable!("not a look"),
        };
        self.trace.get_or_insert_default().extend(lines);
    }
}

impl Display for Pick {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.to.map_or(Ok(()), |to| write!(f, " {to}"))?;
        self.from.map_or(Ok(()), |from| write!(f, " from={from}"))?;
        self.kind
            .as_ref()
            .map_or(Ok(()), |kind| write!(f, " kind={kind}"))?;
        self.place
            .map_or(Ok(()), |place| write!(f, " at={place}"))?;
        self.count.map_or(Ok(()), |count| write!(f, " n={count}"))
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let optional = |node: &Option<NodeId>| node.map_or(String::new(), |id| format!(" {id}"));
        match self {
            Command::Cluster { setup, leader } => {
                let (timeout, beat) = (setup.election_timeout_ticks, setup.heartbeat_ticks);
                write!(f, "cluster nodes={} joining={}", setup.nodes, setup.joining)?;
                write!(f, " timeout={timeout}")?;
                let (bytes, count) = (setup.append_max_bytes, setup.in_flight_max);
                write!(f, " heartbeat={beat} append={bytes} inflight={count}")?;
                write!(f, " seed={}", setup.seed)?;
                leader.map_or(Ok(()), |leader| write!(f, " leader={leader}"))
            }
            Command::Campaign(node) => write!(f, "campaign {node}"),
            Command::Elect(node) => write!(f, "elect {node}"),
            Command::Lapse(nodes) => {
                write!(f, "lapse")?;
                nodes.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Command::Tick { node, count } => write!(f, "tick{} n={count}", optional(node)),
            Command::Put { node, commands } => {
                write!(f, "put {node}")?;
                commands
                    .iter()
                    .try_for_each(|text| write!(f, " {}", text.replace("put ", "")))
            }
            Command::Read { node } => write!(f, "read {node}"),
            Command::Transfer { node, to } => write!(f, "transfer {node}{}", optional(to)),
            Command::Change { node, ask } => write!(f, "change {node}{ask}"),
            Command::Describe { node, of, known } => write!(f, "describe {node} node={of}{known}"),
            Command::Deliver(pick) => write!(f, "deliver{pick}"),
            Command::Drop(pick) => write!(f, "drop{pick}"),
            Command::Dup(pick) => write!(f, "dup{pick}"),
            Command::Hold(pick) => write!(f, "hold{pick}"),
            Command::Release(pick) => write!(f, "release{pick}"),
            Command::Partition(groups) => {
                write!(f, "partition")?;
                groups.iter().try_for_each(|group| {
                    let names: Vec<String> = group.iter().map(NodeId::to_string).collect();
                    write!(f, " {}", names.join("/"))
                })
            }
            Command::Cut { from, to } => write!(f, "cut {from} {to}"),
            Command::Heal => write!(f, "heal"),
            Command::Persist { node, upto } => {
                write!(f, "persist{}", optional(node))?;
                upto.map_or(Ok(()), |upto| write!(f, " upto={upto}"))
            }
            Command::Stall(node) => write!(f, "stall {node}"),
            Command::Crash { node, tail } => match tail {
                Tail::Lost => write!(f, "crash {node} tail=lost"),
                Tail::Kept => write!(f, "crash {node} tail=kept"),
                Tail::Records(count) => write!(f, "crash {node} tail={count}"),
            },
            Command::Restart(node) => write!(f, "restart {node}"),
            Command::Snapshot { node, index, keep } => {
                write!(f, "snapshot {node} keep={keep}")?;
                index.map_or(Ok(()), |index| write!(f, " at={index}"))
            }
            Command::Fetch(node) => write!(f, "fetch {node}"),
            Command::Settle { heartbeat: false } => write!(f, "settle"),
            Command::Settle { heartbeat: true } => write!(f, "settle heartbeat"),
            Command::Status(node) => write!(f, "status{}", optional(node)),
            Command::Log(node) => write!(f, "log{}", optional(node)),
            Command::Disk(node) => write!(f, "disk {node}"),
            Command::Members(node) => write!(f, "members{}", optional(node)),
            Command::Inflight => write!(f, "inflight"),
            Command::Say { from, to, message } => write!(f, "say {from} {to} {message}"),
        }
    }
}
