//! Clients that ask one thing at a time, follow hints, retry what was refused, give up waiting and
//! never repeat a write whose outcome they do not know. What they see is the history of the run.

use std::collections::BTreeMap;

use bytes::Bytes;
use raftkv::{
    raft::{NodeId, RefusalReason, Token},
    replica::{Operation, Reply},
};

use super::plan::{Load, Plan};
use crate::{
    history::{Call, History, Key, Moment, Request, Told, Value},
    rng::Rng,
    sim::{Fault, Micros, Sim},
};

/// A key with this many unknown writes is left for a fresh one: each doubles what a search for an
/// order has to try.
const UNKNOWN_MAX: u32 = 8;
/// How long the last client waits between two requests.
const PROBER_THINKS: (Micros, Micros) = (1_000, 5_000);

/// The stream of the first client; the others follow.
const CLIENT_DRAWS: u64 = 16;

/// What a client asks for, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) at: Micros,
    pub(crate) client: usize,
    /// Which of the keys in use.
    pub(crate) slot: usize,
    pub(crate) request: Request,
}

/// Something that is due for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// It asks for something new.
    Ask { client: usize },
    /// It asks for this, unless it still waits.
    AskThis(Ask),
    /// Its request reaches a node.
    Reach {
        client: usize,
        attempt: u64,
        call: usize,
        target: NodeId,
    },
    /// It has waited long enough.
    GiveUp { client: usize, call: usize },
    /// An answer reaches it.
    Hear {
        client: usize,
        attempt: u64,
        reply: Reply,
    },
}

#[derive(Debug)]
struct Client {
    rng: Rng,
    /// Whom it asks first.
    target: NodeId,
    waits_for: Option<Waiting>,
    calls_left: u64,
    acked_writes: u64,
    reads: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    call: usize,
    attempt: u64,
}

/// All clients, and what they saw.
#[derive(Debug)]
pub(super) struct Clients {
    load: Load,
    clients: Vec<Client>,
    keys: Vec<(Key, u32)>,
    next_key: u32,
    next_value: u64,
    attempts: u64,
    moment: u64,
    /// Whose each request is that a node has.
    tokens: BTreeMap<Token, (usize, u64)>,
    alarms: Vec<Option<Alarm>>,
    free: Vec<usize>,
    pub(super) history: History,
    /// What the clients asked for, but for the last one.
    asked: Vec<Ask>,
    /// All that they are to ask for, if that is not drawn.
    script: Option<Vec<Ask>>,
    /// Whether they ask for more.
    pub(super) is_on: bool,
    /// Whether the last client has begun.
    probes: bool,
}

impl Clients {
    pub(super) fn new(plan: &Plan) -> Clients {
        let (load, nodes) = (plan.load, plan.settings.nodes);
        let draws = &plan.settings.draws;
        let mut rng = Rng::stream(plan.seed, 4);
        let client = |number: u32| Client {
            rng: Rng::new(rng.draw()).pinned(draws, CLIENT_DRAWS + u64::from(number)),
            target: NodeId(rng.between(0, nodes - 1)),
            waits_for: None,
            calls_left: load.calls_max,
            acked_writes: 0,
            reads: 0,
        };
        Clients {
            clients: (0..=load.clients).map(client).collect(),
            keys: (0..load.keys).map(|key| (Key(key), 0)).collect(),
            next_key: load.keys,
            next_value: 1,
            attempts: 0,
            moment: 0,
            tokens: BTreeMap::new(),
            alarms: Vec::new(),
            free: Vec::new(),
            history: History::default(),
            asked: Vec::new(),
            script: plan.asks.clone(),
            is_on: true,
            probes: false,
            load,
        }
    }

    /// All clients begin, but for the last one, which is kept for what a healed cluster owes.
    pub(super) fn begin(&mut self, sim: &mut Sim) {
        let Some(script) = self.script.take() else {
            for client in 0..self.prober() {
                self.think(sim, client, false);
            }
            return;
        };
        for ask in &script {
            self.schedule(sim, ask.at, Alarm::AskThis(*ask));
        }
        self.script = Some(script);
    }

    /// What the clients asked for, but for the last one.
    pub(super) fn asked(&self) -> &[Ask] {
        &self.asked
    }

    /// The last client begins, and from now on nothing is lost between clients and nodes.
    pub(super) fn begin_to_probe(&mut self, sim: &mut Sim) {
        self.load.loss = 0;
        let prober = self.prober();
        if !std::mem::replace(&mut self.probes, true) {
            self.clients[prober].calls_left = u64::MAX;
            self.think(sim, prober, false);
        }
    }

    fn prober(&self) -> usize {
        self.clients.len() - 1
    }

    /// The writes and reads of the last client.
    pub(super) fn probed(&self) -> (u64, u64) {
        let prober = &self.clients[self.prober()];
        (prober.acked_writes, prober.reads)
    }

    /// Writes that were acknowledged.
    pub(super) fn acked_writes(&self) -> u64 {
        self.clients.iter().map(|client| client.acked_writes).sum()
    }

    /// Reads that were served.
    pub(super) fn reads(&self) -> u64 {
        self.clients.iter().map(|client| client.reads).sum()
    }

    /// The keys that have been used.
    pub(super) fn keys(&self) -> Vec<Key> {
        (0..self.next_key).map(Key).collect()
    }

    /// Whether all that was asked has ended, one way or the other.
    pub(super) fn are_idle(&self) -> bool {
        self.clients.iter().all(|client| client.waits_for.is_none())
    }

    fn now(&mut self) -> Moment {
        self.moment += 1;
        Moment(self.moment)
    }

    fn schedule(&mut self, sim: &mut Sim, after: Micros, alarm: Alarm) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.alarms.push(None);
            self.alarms.len() - 1
        });
        self.alarms[slot] = Some(alarm);
        sim.alarm(sim.now() + after, slot as u64);
    }

    /// An alarm rings.
    pub(super) fn ring(&mut self, sim: &mut Sim, slot: usize, overload: bool) {
        let alarm = self.alarms[slot].take().expect("it was set");
        self.free.push(slot);
        match alarm {
            Alarm::Ask { client } => {
                if self.is_on && self.clients[client].calls_left > 0 {
                    self.ask(sim, client);
                } else if !self.is_on {
                    self.think(sim, client, overload);
                }
            }
            Alarm::AskThis(ask) => {
                let client = ask.client % self.prober();
                if self.is_on && self.clients[client].waits_for.is_none() {
                    self.ask_this(sim, Ask { client, ..ask });
                }
            }
            Alarm::Reach {
                client,
                attempt,
                call,
                target,
            } => self.reach(sim, (client, attempt), call, target),
            Alarm::GiveUp { client, call } => {
                let waiting = self.clients[client].waits_for;
                if waiting.is_some_and(|waiting| waiting.call == call) {
                    self.give_up(sim, client, call, overload);
                }
            }
            Alarm::Hear {
                client,
                attempt,
                reply,
            } => {
                let waiting = self.clients[client].waits_for;
                if let Some(Waiting { call, .. }) = waiting.filter(|w| w.attempt == attempt) {
                    self.hear(sim, client, call, &reply, overload);
                }
            }
        }
    }

    fn think(&mut self, sim: &mut Sim, client: usize, overload: bool) {
        if self.script.is_some() && client != self.prober() {
            return;
        }
        let (least, most) = match client == self.prober() {
            true => PROBER_THINKS,
            false => self.load.think,
        };
        let think = self.wishes(sim, client).between(least, most);
        let think = match overload {
            true => {
                sim.count(Fault::Overload);
                think / 10
            }
            false => think,
        };
        self.schedule(sim, think, Alarm::Ask { client });
    }

    /// A client asks for something drawn.
    fn ask(&mut self, sim: &mut Sim, client: usize) {
        let (puts, gets) = (self.load.puts, self.load.gets);
        let keys = self.keys.len() as u64;
        let rng = self.wishes(sim, client);
        let slot = rng.between(0, keys - 1) as usize;
        let request = match rng.between(0, 999) {
            n if n < puts => Request::Put(Value(0)),
            n if n < puts + gets => Request::Get,
            _ => Request::Delete,
        };
        self.clients[client].calls_left -= 1;
        let at = sim.now();
        let ask = Ask {
            at,
            client,
            slot,
            request,
        };
        self.ask_this(sim, ask);
    }

    fn ask_this(&mut self, sim: &mut Sim, ask: Ask) {
        if ask.client != self.prober() {
            self.asked.push(ask);
        }
        let slot = ask.slot % self.keys.len();
        if self.keys[slot].1 >= UNKNOWN_MAX {
            self.keys[slot] = (Key(self.next_key), 0);
            self.next_key += 1;
        }
        let key = self.keys[slot].0;
        self.call(sim, ask.client, key, ask.request);
    }

    /// Whence a client draws what comes of its requests.
    fn draws(&mut self, sim: &Sim, client: usize) -> &mut Rng {
        let rng = &mut self.clients[client].rng;
        rng.aim(sim.now(), 0);
        rng
    }

    /// Whence a client draws what it asks for, and when; nothing of that is drawn with a script.
    fn wishes(&mut self, sim: &Sim, client: usize) -> &mut Rng {
        let rng = &mut self.clients[client].rng;
        rng.aim(sim.now(), 1);
        rng
    }

    /// A client asks for this.
    fn call(&mut self, sim: &mut Sim, client: usize, key: Key, request: Request) {
        let request = match request {
            Request::Put(_) => {
                self.next_value += 1;
                Request::Put(Value(self.next_value))
            }
            other => other,
        };
        let called = self.now();
        let call = self.history.calls.len();
        self.history.calls.push(Call {
            client: client as u32,
            key,
            request,
            called,
            told: None,
        });
        self.attempt(sim, client, call, 0);
        let patience = self.load.patience;
        self.schedule(sim, patience, Alarm::GiveUp { client, call });
    }

    /// The last client reads this key.
    pub(super) fn probe(&mut self, sim: &mut Sim, key: Key) {
        self.call(sim, self.prober(), key, Request::Get);
    }

    /// Sends the request of a call to the client's target.
    fn attempt(&mut self, sim: &mut Sim, client: usize, call: usize, after: Micros) {
        self.attempts += 1;
        let attempt = self.attempts;
        self.clients[client].waits_for = Some(Waiting { call, attempt });
        let (least, most) = self.load.travel;
        let loss = self.load.loss;
        let rng = self.draws(sim, client);
        let travel = rng.between(least, most);
        let lost = rng.chance(loss);
        if !lost {
            let alarm = Alarm::Reach {
                client,
                attempt,
                call,
                target: self.clients[client].target,
            };
            self.schedule(sim, after + travel, alarm);
        }
    }

    /// A request reaches its node, though its client may have given up since.
    fn reach(
        &mut self,
        sim: &mut Sim,
        (client, attempt): (usize, u64),
        call: usize,
        target: NodeId,
    ) {
        if !sim.is_up(target) {
            // Nobody listens: no byte was sent, and another node is asked.
            let alarm = Alarm::Hear {
                client,
                attempt,
                reply: Reply::Refused(RefusalReason::NotLeader { leader: None }),
            };
            return self.schedule(sim, self.load.backoff.0, alarm);
        }
        let Call { key, request, .. } = self.history.calls[call];
        let operation = self.operation(sim, client, key, request);
        let token = sim.token();
        self.tokens.insert(token, (client, attempt));
        sim.submit(target, token, operation);
    }

    fn operation(&mut self, sim: &Sim, client: usize, key: Key, request: Request) -> Operation {
        let key = Bytes::from(format!("k{}", key.0));
        match request {
            Request::Get => Operation::Get { key },
            Request::Delete => Operation::Delete { key },
            Request::Put(Value(value)) => {
                let (least, most) = self.load.value_bytes;
                let bytes = self.draws(sim, client).between(least, most) as usize;
                let mut data = value.to_le_bytes().to_vec();
                data.resize(bytes.max(8), b'.');
                let value = data.into();
                Operation::Put { key, value }
            }
        }
    }

    /// A node answers a request.
    pub(super) fn answered(&mut self, sim: &mut Sim, token: Token, reply: Reply) {
        let Some((client, attempt)) = self.tokens.remove(&token) else {
            return;
        };
        let (least, most) = self.load.travel;
        let loss = self.load.loss;
        let rng = self.draws(sim, client);
        let travel = rng.between(least, most);
        if !rng.chance(loss) {
            let alarm = Alarm::Hear {
                client,
                attempt,
                reply,
            };
            self.schedule(sim, travel, alarm);
        }
    }

    fn hear(&mut self, sim: &mut Sim, client: usize, call: usize, reply: &Reply, overload: bool) {
        let told = match reply {
            Reply::Put { at } => Told::Put { at: *at },
            Reply::Delete { found, at } => Told::Deleted {
                found: *found,
                at: *at,
            },
            Reply::Get { value, at } => Told::Got {
                value: value.as_ref().map(|value| value_of(value)),
                at: *at,
            },
            Reply::Refused(why) => return self.refused(sim, client, call, *why),
            Reply::Unknown => return self.give_up(sim, client, call, overload),
            Reply::Backup { .. }
            | Reply::NoSnapshot
            | Reply::Members { .. }
            | Reply::Change(_)
            | Reply::Transfer(_) => {
                unreachable!("these clients ask for keys only")
            }
        };
        match told {
            Told::Got { .. } => self.clients[client].reads += 1,
            _ => self.clients[client].acked_writes += 1,
        }
        let now = self.now();
        self.history.calls[call].told = Some((told, now));
        self.clients[client].waits_for = None;
        self.think(sim, client, overload);
    }

    /// Nothing was done: the client asks again, elsewhere.
    fn refused(&mut self, sim: &mut Sim, client: usize, call: usize, why: RefusalReason) {
        let (least, most) = self.load.backoff;
        let rng = self.draws(sim, client);
        let after = rng.between(least, most);
        let any = rng.pick(&sim.endpoints());
        let (target, after) = match why {
            RefusalReason::NotLeader {
                leader: Some(leader),
            } => (leader, 0),
            RefusalReason::NotLeader { leader: None } => (any, after),
            RefusalReason::Transferring { to } => (to, after),
            RefusalReason::Busy | RefusalReason::DiskFull => (self.clients[client].target, after),
        };
        self.clients[client].target = target;
        self.attempt(sim, client, call, after);
    }

    /// The client waits no longer: it does not know what became of the call.
    fn give_up(&mut self, sim: &mut Sim, client: usize, call: usize, overload: bool) {
        sim.count(Fault::Abandon);
        let Call { key, request, .. } = self.history.calls[call];
        if request != Request::Get
            && let Some(slot) = self.keys.iter_mut().find(|slot| slot.0 == key)
        {
            slot.1 += 1;
        }
        self.clients[client].target = self.draws(sim, client).pick(&sim.endpoints());
        self.clients[client].waits_for = None;
        self.think(sim, client, overload);
    }
}

/// The value that a client wrote.
pub(super) fn value_of(bytes: &[u8]) -> Value {
    let number = bytes.first_chunk().expect("values begin with their number");
    Value(u64::from_le_bytes(*number))
}

/// The key that a client used.
pub(super) fn key_of(bytes: &[u8]) -> Key {
    let text = std::str::from_utf8(bytes).expect("keys are text");
    Key(text[1..].parse().expect("keys have a number"))
}
