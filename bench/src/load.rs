//! Calls from one thread, over a connection for each client, which has one or more outstanding: as
//! fast as they are answered, or at a rate.

mod alarm;

use crate::{
    api::{Answer, Method, System},
    caller::{Caller, Ended, READ_BYTES},
    latency::Latencies,
};
use alarm::Alarm;
use mio::{Events, Poll, Token};
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Calls in this time from the start are not counted.
const WARM_UP: Duration = Duration::from_millis(100);

/// A node that answers nothing for so long is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// So many keys are written and read, in an order that repeats after all of them.
pub const KEYS: u64 = 1_000;

/// A prime, so that neighbours in time are none in the key space.
const KEY_STRIDE: u64 = 611_953;

/// The token of the alarm; clients have lower ones.
const ALARM: Token = Token(usize::MAX - 1);

/// What to do to a node.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Whose node it is.
    pub system: System,
    /// Which calls.
    pub method: Method,
    /// How many clients, with a connection each.
    pub clients: usize,
    /// Calls that each of them may have outstanding.
    pub outstanding: usize,
    /// Of each value.
    pub value_bytes: usize,
    /// How many keys, no multiple of 611,953.
    pub keys: u64,
    /// When to begin calls, and for how long.
    pub pace: Pace,
}

/// When calls begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as the one before is answered, for so long beside the warm-up.
    Closed(Duration),
    /// So many per second for so long, whatever the answers: latency counts from when a call was to
    /// begin, so that one that waits for a free client is not forgotten.
    Open {
        /// Calls per second.
        rate: f64,
        /// For so long, beside the warm-up.
        duration: Duration,
    },
    /// As soon as the one before is answered, so many in all.
    Count(u64),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Of the calls that ended within the duration.
    pub latencies: Latencies,
    /// All calls, for which processor time was used.
    pub calls: u64,
}

/// Drives the node at `address`, which must lead, from one thread.
///
/// # Errors
/// When a call fails, or the node does not lead any more.
pub fn run(load: &Load, address: SocketAddr) -> io::Result<Served> {
    Connected::new(load, address)?.run()
}

/// Clients that are connected and have not called yet.
pub struct Connected {
    load: Load,
    poll: Poll,
    clients: Vec<Caller>,
}

impl Connected {
    /// Connects them.
    ///
    /// # Errors
    /// Whatever the network reports.
    pub fn new(load: &Load, address: SocketAddr) -> io::Result<Connected> {
        let poll = Poll::new()?;
        let mut clients = Vec::new();
        for number in 0..load.clients {
            let mut caller = Caller::connect(address, load.system, load.method)?;
            caller.register(&poll, Token(number))?;
            clients.push(caller);
        }
        Ok(Connected {
            load: *load,
            poll,
            clients,
        })
    }

    /// Has them call.
    ///
    /// # Errors
    /// When a call fails, or the node does not lead any more.
    pub fn run(self) -> io::Result<Served> {
        let Connected {
            load,
            poll,
            clients,
        } = self;
        let started = Instant::now();
        let (count_from, count_until) = match load.pace {
            Pace::Closed(duration) | Pace::Open { duration, .. } => {
                (started + WARM_UP, started + WARM_UP + duration)
            }
            Pace::Count(_) => (started, started + Duration::from_secs(86_400)),
        };
        let generator = Generator {
            load,
            started,
            count_from,
            count_until,
            value: "v".repeat(load.value_bytes),
            idle: (0..clients.len() * load.outstanding)
                .rev()
                .map(|place| place / load.outstanding)
                .collect(),
            unsent: None,
            clients,
            ended: Vec::new(),
            buffer: Box::new([0; READ_BYTES]),
            calls: 0,
            latencies: Latencies::default(),
        };
        generator.run(poll)
    }
}

struct Generator {
    load: Load,
    started: Instant,
    count_from: Instant,
    count_until: Instant,
    value: String,
    clients: Vec<Caller>,
    /// Clients that may begin a call, once for each that they may.
    idle: Vec<usize>,
    /// The client that has begun calls and not sent them.
    unsent: Option<usize>,
    /// Calls that a client's last event ended.
    ended: Vec<Ended>,
    buffer: Box<[u8; READ_BYTES]>,
    calls: u64,
    latencies: Latencies,
}

impl Generator {
    fn run(mut self, mut poll: Poll) -> io::Result<Served> {
        let mut events = Events::with_capacity(self.clients.len() + 1);
        let mut alarm = Alarm::new(&poll, ALARM)?;
        loop {
            let next = self.begin_due()?;
            self.send_begun(None)?;
            let outstanding = self.clients.len() * self.load.outstanding - self.idle.len();
            // The last calls are waited for, so that the next load finds idle nodes.
            if outstanding == 0 && next.is_none() {
                return Ok(Served {
                    latencies: self.latencies,
                    calls: self.calls,
                });
            }
            if let Some(next) = next {
                alarm.set(next)?;
            }
            poll.poll(&mut events, Some(SILENCE_MAX))?;
            if events.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for event in &events {
                match event.token() {
                    ALARM => alarm.clear(),
                    Token(number) => self.proceed(number)?,
                }
            }
        }
    }

    /// Begins the calls whose time has come, as far as there are clients for them. Gives when the
    /// next is due that a client is free for.
    fn begin_due(&mut self) -> io::Result<Option<Instant>> {
        let mut now = Instant::now();
        while let Some(&number) = self.idle.last() {
            let began = match self.load.pace {
                Pace::Closed(_) => now,
                Pace::Open { rate, .. } => {
                    let due = self.started + Duration::from_secs_f64(self.calls as f64 / rate);
                    if due > now {
                        now = Instant::now();
                    }
                    if due > now && due < self.count_until {
                        return Ok(Some(due));
                    }
                    due
                }
                Pace::Count(count) if self.calls == count => return Ok(None),
                Pace::Count(_) => now,
            };
            if began >= self.count_until {
                return Ok(None);
            }
            self.idle.pop();
            let key = self.calls * KEY_STRIDE % self.load.keys;
            self.calls += 1;
            self.send_begun(Some(number))?;
            self.clients[number].begin(format!("key-{key:08}"), &self.value, began)?;
            now = Instant::now();
        }
        Ok(None)
    }

    /// Sends what a client has begun, unless that is the client who begins the `next` call: the
    /// calls of one connection leave together.
    fn send_begun(&mut self, next: Option<usize>) -> io::Result<()> {
        match std::mem::replace(&mut self.unsent, next) {
            Some(number) if next != Some(number) => self.clients[number].flush(),
            _ => Ok(()),
        }
    }

    fn proceed(&mut self, number: usize) -> io::Result<()> {
        self.clients[number].proceed(&mut self.buffer, &mut self.ended)?;
        for Ended { answer, began } in self.ended.drain(..) {
            if answer != Answer::Done {
                return Err(io::Error::other("the node does not lead"));
            }
            let now = Instant::now();
            if (self.count_from..self.count_until).contains(&now) {
                self.latencies.record(now - began);
            }
            self.idle.push(number);
        }
        Ok(())
    }
}
