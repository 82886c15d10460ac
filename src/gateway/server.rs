//! The gateway's loop: sockets, timers, and the way to the node and back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use mio::{Events, Interest, Poll, Waker, net};
use rustix::process::{Resource, getrlimit};
use socket2::{SockRef, TcpKeepalive};

use super::{
    Backend, CONNECTIONS_MAX, Shared, Wake,
    connection::{Ask, Connection, READ_BYTES},
    reflection::Reflection,
    service::{self, Response},
};
use crate::{
    h2::StreamId,
    node::{Answer, Numbered, Request},
    proto,
    raft::Token,
    replica::Operation,
};

const LISTENER: mio::Token = mio::Token(0);
const WAKER: mio::Token = mio::Token(1);
/// Connections are numbered from here and never twice, so that nothing late finds the wrong one.
const FIRST_CONNECTION: usize = 2;

const EVENTS_PER_TURN: usize = 1_024;

/// How often the health of the node is looked at while a client watches it.
const WATCH_PERIOD_MS: u64 = 100;

/// Time until accepting is tried again after the system refused, as it does without free
/// descriptors.
const ACCEPT_RETRY_MS: u64 = 100;

/// A client whose system acknowledges nothing for this long is gone, and its place is free.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Time that calls in flight get to finish after [`super::Gateway::shut_down`].
const SHUTDOWN_MS: u64 = 5_000;

/// Backups at one time. Each holds a file open, and reads of a disk that the log needs too.
const BACKUPS_MAX: usize = 4;

/// What a request at the node costs beside its key and value. It bounds how many there are, also
/// of those whose clients have gone: resetting calls does not undo the work they caused.
const REQUEST_OVERHEAD_BYTES: usize = 1 << 10;

/// The state of the gateway's thread.
pub struct Server {
    poll: Poll,
    /// Dropped, and so closed, when the gateway stops.
    listener: Option<net::TcpListener>,
    accept_at_ms: Option<u64>,
    shared: Shared,
    answers: Receiver<(Token, Answer)>,
    stopping: Arc<AtomicBool>,
    stop_at_ms: Option<u64>,
    started: Instant,
    connections: BTreeMap<usize, Slot>,
    connections_max: usize,
    next_connection: usize,
    timers: BTreeSet<(u64, usize)>,
    /// Connections that have something to do in this turn.
    due: BTreeSet<usize>,
    /// Who waits for the node.
    open: Numbered<Open>,
    /// What is read goes through here.
    buffer: Box<[u8; READ_BYTES]>,
    watch_at_ms: Option<u64>,
}

struct Slot {
    connection: Connection,
    /// As counted in `shared.buffered_bytes` and entered in `timers`.
    buffered_bytes: usize,
    timer_ms: Option<u64>,
}

/// A request at the node.
struct Open {
    connection: usize,
    stream: StreamId,
    bytes: usize,
}

impl Server {
    /// A server for `listener`, and what wakes it.
    pub fn new<B: Backend>(
        listener: TcpListener,
        stopping: Arc<AtomicBool>,
        connect: impl FnOnce(Sender<(Token, Answer)>, Wake) -> B,
    ) -> io::Result<(Server, Arc<Waker>)> {
        listener.set_nonblocking(true)?;
        // All clients may come at once, as when another node leads. Who finds the queue full tries
        // again after a second at the earliest; the 128 places of a listener of std are few.
        SockRef::from(&listener).listen(CONNECTIONS_MAX as i32)?;
        let mut listener = net::TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        // Not bounded, because the open requests are: by the node's queue and what it works on.
        let (sender, answers) = crossbeam_channel::unbounded();
        let wake_us = waker.clone();
        let node = connect(sender, Box::new(move || super::wake(&wake_us)));
        let server = Server {
            poll,
            listener: Some(listener),
            accept_at_ms: Some(0),
            shared: Shared {
                now_ms: 0,
                reflection: Reflection::new(proto::DESCRIPTORS),
                node: Box::new(node),
                buffered_bytes: 0,
                connections: 0,
            },
            answers,
            stopping,
            stop_at_ms: None,
            started: Instant::now(),
            connections: BTreeMap::new(),
            connections_max: super::connections_max(getrlimit(Resource::Nofile).current),
            next_connection: FIRST_CONNECTION,
            timers: BTreeSet::new(),
            due: BTreeSet::new(),
            open: Numbered::default(),
            buffer: Box::new([0; READ_BYTES]),
            watch_at_ms: None,
        };
        Ok((server, waker))
    }

    /// Serves until told to stop.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.is_done() {
            match self.poll.poll(&mut events, self.poll_timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Only a bug makes epoll_wait fail otherwise.
                Err(error) => panic!("poll: {error}"),
            }
            self.shared.now_ms = self.clock_ms();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_at_ms = Some(0),
                    WAKER => {}
                    mio::Token(number) => {
                        if let Some(slot) = self.connections.get_mut(&number) {
                            slot.connection
                                .mark_readable(event.is_read_closed() || event.is_error());
                            self.due.insert(number);
                        }
                    }
                }
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        if self.stopping.load(Ordering::Acquire) && self.stop_at_ms.is_none() {
            self.begin_shutdown();
        }
        if self.accept_at_ms.is_some_and(|at| at <= self.shared.now_ms) {
            self.accept();
        }
        self.take_answers();
        self.take_due_timers();
        self.tell_watchers();
        self.serve_due();
    }

    fn is_done(&self) -> bool {
        let Some(stop_at_ms) = self.stop_at_ms else {
            return false;
        };
        self.connections.is_empty() || stop_at_ms <= self.shared.now_ms
    }

    fn clock_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).expect("an age in ms fits 64 bits")
    }

    fn poll_timeout(&self) -> Option<Duration> {
        if !self.due.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer_ms = self.timers.first().map(|(at, _)| *at);
        let next_ms = [
            timer_ms,
            self.accept_at_ms,
            self.watch_at_ms,
            self.stop_at_ms,
        ];
        let at_ms = next_ms.into_iter().flatten().min()?;
        // One more: elapsed time is rounded down, and a timer a moment early would spin.
        let left_ms = (at_ms + 1).saturating_sub(self.clock_ms());
        Some(Duration::from_millis(left_ms))
    }

    fn begin_shutdown(&mut self) {
        self.stop_at_ms = Some(self.shared.now_ms + SHUTDOWN_MS);
        self.listener = None;
        self.accept_at_ms = None;
        for (number, slot) in &mut self.connections {
            let reason = "this node is stopping; try another";
            slot.connection.shut_down(reason, self.shared.now_ms);
            self.due.insert(*number);
        }
    }

    fn accept(&mut self) {
        self.accept_at_ms = None;
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((socket, _)) => self.admit(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client; trying again in 100 ms");
                    self.accept_at_ms = Some(self.shared.now_ms + ACCEPT_RETRY_MS);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, socket: net::TcpStream) {
        if self.connections.len() >= self.connections_max && !self.make_room() {
            return;
        }
        if configure(&socket).is_err() {
            return;
        }
        let number = self.next_connection;
        let mut connection = Connection::new(socket, self.shared.now_ms);
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = mio::Token(number);
        let registered = self
            .poll
            .registry()
            .register(connection.socket(), token, both);
        if registered.is_err() {
            return;
        }
        self.next_connection += 1;
        let slot = Slot {
            connection,
            buffered_bytes: 0,
            timer_ms: None,
        };
        self.connections.insert(number, slot);
        self.shared.connections = self.connections.len();
        self.due.insert(number);
    }

    /// Drops the connection that is idle for longest, if one is. It is told so, for its client to
    /// know that no call was lost.
    fn make_room(&mut self) -> bool {
        let idle = self.connections.iter().filter_map(|(number, slot)| {
            let since_ms = slot.connection.idle_since_ms()?;
            Some((since_ms, *number))
        });
        let Some((_, number)) = idle.min() else {
            return false;
        };
        if let Some(slot) = self.connections.get_mut(&number) {
            let reason = "this node has too many connections; connect again";
            slot.connection.shut_down(reason, self.shared.now_ms);
        }
        self.remove(number);
        true
    }

    fn take_answers(&mut self) {
        while let Ok((token, answer)) = self.answers.try_recv() {
            self.answer(token, answer);
        }
    }

    fn answer(&mut self, token: Token, answer: Answer) {
        if let Some((number, stream)) = self.close(token)
            && let Some(slot) = self.connections.get_mut(&number)
        {
            slot.connection.answer(stream, answer, &self.shared);
            self.recount(number);
            self.due.insert(number);
        }
    }

    /// The request is no longer at the node.
    fn close(&mut self, token: Token) -> Option<(usize, StreamId)> {
        let open = self.open.remove(token.0)?;
        self.shared.buffered_bytes -= open.bytes;
        Some((open.connection, open.stream))
    }

    fn take_due_timers(&mut self) {
        while let Some(&(at_ms, number)) = self.timers.first() {
            if at_ms > self.shared.now_ms {
                return;
            }
            self.timers.pop_first();
            self.due.insert(number);
        }
    }

    fn tell_watchers(&mut self) {
        let now_ms = self.shared.now_ms;
        if self.watch_at_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        self.watch_at_ms = None;
        let leader_known = self.shared.leader_known();
        for (number, slot) in &mut self.connections {
            if slot.connection.has_watchers() {
                slot.connection.tell_watchers(leader_known);
                self.due.insert(*number);
                self.watch_at_ms = Some(now_ms + WATCH_PERIOD_MS);
            }
        }
    }

    /// Gives each due connection its turn, then asks the node everything at once.
    fn serve_due(&mut self) {
        let mut requests = Vec::new();
        let mut asks = Vec::new();
        for number in std::mem::take(&mut self.due) {
            let Some(slot) = self.connections.get_mut(&number) else {
                continue;
            };
            slot.connection
                .turn(&self.shared, &mut self.buffer, &mut asks);
            for ask in asks.drain(..) {
                if ask.operation == Operation::Backup && self.backups() > BACKUPS_MAX {
                    self.respond(number, ask.stream, &Response::refused(service::busy()));
                } else {
                    requests.push(self.request(number, ask));
                }
            }
            self.settle(number);
        }
        if requests.is_empty() {
            return;
        }
        for request in requests {
            let token = request.token;
            if let Err(error) = self.shared.node.submit(request)
                && let Some((number, stream)) = self.close(token)
            {
                let response = Response::refused(service::not_queued(error));
                self.respond(number, stream, &response);
            }
        }
        self.shared.node.wake();
    }

    fn respond(&mut self, connection: usize, stream: StreamId, response: &Response) {
        if let Some(slot) = self.connections.get_mut(&connection) {
            slot.connection.respond(stream, response);
            self.due.insert(connection);
        }
    }

    /// Backups that are asked for or under way.
    fn backups(&self) -> usize {
        let slots = self.connections.values();
        slots.map(|slot| slot.connection.backups()).sum()
    }

    fn request(&mut self, connection: usize, ask: Ask) -> Request {
        let bytes = operation_bytes(&ask.operation);
        self.shared.buffered_bytes += bytes;
        let open = Open {
            connection,
            stream: ask.stream,
            bytes,
        };
        Request {
            token: Token(self.open.add(open)),
            operation: ask.operation,
        }
    }

    /// After a connection's turn: drops it, or notes when it wants the next one.
    fn settle(&mut self, number: usize) {
        let Some(slot) = self.connections.get_mut(&number) else {
            return;
        };
        if slot.connection.is_over() {
            return self.remove(number);
        }
        if slot.connection.has_more() {
            self.due.insert(number);
        }
        let timer_ms = slot.connection.deadline_ms();
        if timer_ms != slot.timer_ms {
            let old = std::mem::replace(&mut slot.timer_ms, timer_ms);
            if let Some(old_ms) = old {
                self.timers.remove(&(old_ms, number));
            }
        }
        if let Some(at_ms) = timer_ms {
            self.timers.insert((at_ms, number));
        }
        if slot.connection.has_watchers() && self.watch_at_ms.is_none() {
            self.watch_at_ms = Some(self.shared.now_ms + WATCH_PERIOD_MS);
        }
        self.recount(number);
    }

    fn recount(&mut self, number: usize) {
        if let Some(slot) = self.connections.get_mut(&number) {
            let bytes = slot.connection.buffered_bytes();
            self.shared.buffered_bytes += bytes;
            self.shared.buffered_bytes -= slot.buffered_bytes;
            slot.buffered_bytes = bytes;
        }
    }

    fn remove(&mut self, number: usize) {
        let Some(mut slot) = self.connections.remove(&number) else {
            return;
        };
        self.shared.buffered_bytes -= slot.buffered_bytes;
        self.shared.connections = self.connections.len();
        if let Some(at_ms) = slot.timer_ms {
            self.timers.remove(&(at_ms, number));
        }
        // Closing the socket takes it out of the poll, whether or not this succeeds.
        let _ = self.poll.registry().deregister(slot.connection.socket());
    }
}

/// Makes a connection answer at once and notice when its client is gone without a word.
fn configure(socket: &net::TcpStream) -> io::Result<()> {
    // Without it each small answer waits for the client's delayed ACK, some 40 ms.
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE_MAX)
        .with_interval(SILENCE_MAX / 5);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))
}

fn operation_bytes(operation: &Operation) -> usize {
    let data_bytes = match operation {
        Operation::Put { key, value } => key.len() + value.len(),
        Operation::Get { key } | Operation::Delete { key } => key.len(),
        Operation::Backup | Operation::Members | Operation::Transfer { .. } => 0,
        Operation::Change(change) => change.add.len() * REQUEST_OVERHEAD_BYTES,
    };
    REQUEST_OVERHEAD_BYTES + data_bytes
}
