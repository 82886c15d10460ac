//! A closed loop of calls: each client has one outstanding, on a connection of its own.

use crate::{
    caller::{Answer, Caller, Method},
    floor::PUT_BYTES,
    latency::Latencies,
};
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
const KEYS: u64 = 1_000;

/// Prime to [`KEYS`], so that neighbours in time are none in the key space.
const KEY_STRIDE: u64 = 617;

/// What to do to a node.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Which calls.
    pub method: Method,
    /// How many clients.
    pub clients: usize,
    /// For how long, beside the warm-up.
    pub duration: Duration,
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
    let poll = Poll::new()?;
    let mut clients = Vec::new();
    for number in 0..load.clients {
        let mut caller = Caller::connect(address, load.method)?;
        caller.register(&poll, Token(number))?;
        clients.push(Client {
            caller,
            began: Instant::now(),
        });
    }
    let generator = Generator {
        count_from: Instant::now() + WARM_UP,
        count_until: Instant::now() + WARM_UP + load.duration,
        value: "v".repeat(PUT_BYTES),
        clients,
        calls: 0,
        latencies: Latencies::default(),
    };
    generator.run(poll)
}

struct Client {
    caller: Caller,
    began: Instant,
}

struct Generator {
    clients: Vec<Client>,
    count_from: Instant,
    count_until: Instant,
    value: String,
    calls: u64,
    latencies: Latencies,
}

impl Generator {
    fn run(mut self, mut poll: Poll) -> io::Result<Served> {
        let mut events = Events::with_capacity(self.clients.len());
        let mut outstanding = self.clients.len();
        for number in 0..self.clients.len() {
            self.begin(number)?;
        }
        // The last calls are waited for, so that the next load finds idle nodes.
        while outstanding > 0 {
            poll.poll(&mut events, Some(SILENCE_MAX))?;
            if events.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for event in &events {
                let Token(number) = event.token();
                if self.proceed(number)? && !self.begin(number)? {
                    outstanding -= 1;
                }
            }
        }
        Ok(Served {
            latencies: self.latencies,
            calls: self.calls,
        })
    }

    /// Begins a client's next call, if there is time for one.
    fn begin(&mut self, number: usize) -> io::Result<bool> {
        let client = &mut self.clients[number];
        client.began = Instant::now();
        if client.began >= self.count_until {
            return Ok(false);
        }
        let key = self.calls * KEY_STRIDE % KEYS;
        self.calls += 1;
        client.caller.begin(format!("key-{key:03}"), &self.value)?;
        Ok(true)
    }

    /// Whether the client's call has ended.
    fn proceed(&mut self, number: usize) -> io::Result<bool> {
        let client = &mut self.clients[number];
        match client.caller.proceed()? {
            None => Ok(false),
            Some(Answer::NotLeader { .. }) => Err(io::Error::other("the node does not lead")),
            Some(Answer::Done) => {
                let now = Instant::now();
                if (self.count_from..self.count_until).contains(&now) {
                    self.latencies.record(now - client.began);
                }
                Ok(true)
            }
        }
    }
}
