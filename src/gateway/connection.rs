//! One client's connection: its socket, its HTTP/2 state and its open calls.

mod backups;
mod streams;

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::Shutdown,
};

use bytes::Bytes;
use mio::net::TcpStream;

use super::{
    Shared,
    cluster::{self, Asked, ClusterMethod},
    service::{self, KvMethod, Method, Response},
};
use crate::{
    grpc::{self, Code, Deframer, Refusal, Status},
    h2::{self, Event, Header, Limits, StreamGone, StreamId},
    node::{Answer, Backup},
    proto::grpc::health::v1::health_check_response::ServingStatus,
    replica::Operation,
};

/// Read in one go.
pub const READ_BYTES: usize = 16 << 10;

/// Read in one turn at most, so that one client cannot keep the others waiting.
const TURN_READ_BYTES: usize = 256 << 10;

/// Largest question about the services or their health, in bytes: such a question holds little more
/// than a name, and what is unfinished of it must not take what requests need.
const QUESTION_MAX_BYTES: usize = 16 << 10;

/// Time that what still arrives after our goodbye is read and dropped: a socket closed with unread
/// bytes resets the connection, and the client may lose the goodbye.
const LINGER_MS: u64 = 1_000;

/// An operation that a call asks of the node.
pub struct Ask {
    /// The call.
    pub stream: StreamId,
    /// What it asks for.
    pub operation: Operation,
}

/// A connection of the gateway.
pub struct Connection {
    socket: TcpStream,
    h2: h2::Connection,
    calls: BTreeMap<StreamId, Call>,
    readable: bool,
    /// Whether the client has closed, behind what is still to be read.
    ended: bool,
    lost: bool,
    /// All is said; until this time the client may close.
    linger_until_ms: Option<u64>,
    /// When the client last sent or took anything.
    active_ms: u64,
    /// A backup has more that the client would take at once.
    backup_due: bool,
}

struct Call {
    state: State,
    deadline_ms: Option<u64>,
}

enum State {
    /// Not gRPC: told so with this HTTP status once the request has ended.
    Plain(u16),
    /// One request message is being received.
    Receiving {
        method: Method,
        deframer: Deframer,
        message: Option<Bytes>,
    },
    /// The node was asked for an operation of KvService.
    Asked(KvMethod),
    /// The node was asked for something of ClusterService.
    AskedCluster,
    /// The node was asked for a backup.
    AskedBackup,
    /// A backup that is sent, and how many of its bytes are.
    Saving { backup: Backup, sent: u64 },
    /// A stream of questions about the services.
    Reflecting(Deframer),
    /// A watcher of a service's health, and what it was last told.
    Watching(ServingStatus),
}

impl Connection {
    /// A connection just accepted. Its SETTINGS go out in the first turn.
    pub fn new(socket: TcpStream, now_ms: u64) -> Connection {
        Connection {
            socket,
            h2: h2::Connection::server(Limits::default(), now_ms),
            calls: BTreeMap::new(),
            readable: true,
            ended: false,
            lost: false,
            linger_until_ms: None,
            active_ms: now_ms,
            backup_due: false,
        }
    }

    /// The socket, to register it.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// The socket has something to read, and its end behind that if it `ended`.
    pub fn mark_readable(&mut self, ended: bool) {
        self.readable = true;
        self.ended |= ended;
    }

    /// Reads, ends what ran out of time, answers what needs no node, and writes. What needs the
    /// node is left in `asks`.
    pub fn turn(&mut self, shared: &Shared, buffer: &mut [u8; READ_BYTES], asks: &mut Vec<Ask>) {
        if self.linger_until_ms.is_some() {
            return self.linger(shared.now_ms);
        }
        self.read(shared, buffer, asks);
        if self.h2.deadline_ms().is_some_and(|at| at <= shared.now_ms) {
            self.h2.tick(shared.now_ms);
            self.take_events(shared, asks);
        }
        self.expire_calls(shared.now_ms);
        self.flush(shared.now_ms);
        self.send_backups(shared.now_ms);
        if self.h2.is_closed() && !self.lost {
            self.linger_until_ms = Some(shared.now_ms + LINGER_MS);
            self.lost = self.socket.shutdown(Shutdown::Write).is_err();
            self.linger(shared.now_ms);
        }
    }

    /// Whether the connection is to be dropped.
    pub fn is_over(&self) -> bool {
        self.lost
    }

    /// Whether a further turn would read or send more, without a new event from the socket.
    pub fn has_more(&self) -> bool {
        self.can_read() || self.backup_due
    }

    fn can_read(&self) -> bool {
        self.readable && self.linger_until_ms.is_none() && self.h2.wants_read()
    }

    /// When the next turn is due, if no event comes first.
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.linger_until_ms.is_some() {
            return self.linger_until_ms;
        }
        let calls = self.calls.values().filter_map(|call| call.deadline_ms);
        calls.chain(self.h2.deadline_ms()).min()
    }

    /// Bytes that wait here: of requests not yet complete, and of answers not yet taken.
    pub fn buffered_bytes(&self) -> usize {
        let received: usize = self.calls.values().map(Call::held_bytes).sum();
        received + self.h2.unsent_bytes()
    }

    /// Since when the client has sent nothing, if it waits for nothing: no answer is being made or
    /// delivered. Streams without an end do not count, or silent ones would lock all others out.
    pub fn idle_since_ms(&self) -> Option<u64> {
        let is_idle = self.calls.values().all(Call::is_endless) && self.h2.unsent_bytes() == 0;
        is_idle.then_some(self.active_ms)
    }

    /// Takes no new calls; those that wait for the node go on, streams end for this reason.
    pub fn shut_down(&mut self, reason: &'static str, now_ms: u64) {
        let endless: Vec<StreamId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.is_endless())
            .map(|(stream, _)| *stream)
            .collect();
        for stream in endless {
            let status = Status::new(Code::Unavailable, reason);
            self.end_stream(stream, &status);
        }
        self.h2.shut_down();
        self.flush(now_ms);
    }

    /// The node's answer to a call; nothing happens if the call is gone.
    pub fn answer(&mut self, stream: StreamId, answer: Answer, shared: &Shared) {
        let method = match self.calls.get(&stream).map(|call| &call.state) {
            Some(State::Asked(method)) => *method,
            Some(State::AskedCluster) => {
                return self.respond(stream, &cluster::response(answer));
            }
            Some(State::AskedBackup) => return self.begin_backup(stream, answer),
            _ => return,
        };
        let answer_bytes = match &answer {
            Answer::Get { value: Some(value) } => value.len(),
            _ => 0,
        };
        if answer_bytes > 0 && shared.is_full(|| self.buffered_bytes(), answer_bytes) {
            return self.refuse(stream, service::busy());
        }
        let response = service::kv_response(method, answer);
        self.respond(stream, &response);
    }

    /// Writes until the socket is full or nothing is left.
    fn flush(&mut self, now_ms: u64) {
        while !self.lost {
            let output = self.h2.output(now_ms);
            if output.is_empty() {
                return;
            }
            match self.socket.write(output) {
                Ok(0) => self.lost = true,
                Ok(bytes) => self.h2.written(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.lost = true,
            }
        }
    }

    fn linger(&mut self, now_ms: u64) {
        self.calls.clear();
        let mut chunk = [0; 16 << 10];
        let mut read_bytes = 0;
        while !self.lost && read_bytes < TURN_READ_BYTES {
            match self.socket.read(&mut chunk) {
                Ok(0) => self.lost = true,
                Ok(bytes) => read_bytes += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.lost = true,
            }
        }
        // One who goes on sending has had its turn's worth of goodbye.
        self.lost |= read_bytes >= TURN_READ_BYTES;
        self.lost |= self.linger_until_ms.is_some_and(|until| until <= now_ms);
    }

    fn read(&mut self, shared: &Shared, buffer: &mut [u8; READ_BYTES], asks: &mut Vec<Ask>) {
        let mut read_bytes = 0;
        while !self.lost && self.can_read() && read_bytes < TURN_READ_BYTES {
            match self.socket.read(buffer) {
                Ok(0) => self.lost = true,
                Ok(bytes) => {
                    read_bytes += bytes;
                    self.active_ms = shared.now_ms;
                    self.h2.receive(&buffer[..bytes], shared.now_ms);
                    self.take_events(shared, asks);
                    // A short read emptied the socket; new bytes make a new event. An end that is
                    // known already makes none.
                    self.readable = bytes == READ_BYTES || self.ended;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.lost = true,
            }
        }
    }

    fn take_events(&mut self, shared: &Shared, asks: &mut Vec<Ask>) {
        while let Some(event) = self.h2.poll() {
            match event {
                Event::Headers {
                    stream,
                    headers,
                    end_stream,
                } => {
                    self.open(stream, &headers, shared);
                    if end_stream {
                        self.request_ended(stream, shared, asks);
                    }
                }
                Event::Data {
                    stream,
                    data,
                    end_stream,
                } => {
                    self.request_data(stream, data, shared);
                    if end_stream {
                        self.request_ended(stream, shared, asks);
                    }
                }
                Event::Trailers { stream, .. } => self.request_ended(stream, shared, asks),
                // The call is freed at once. What it asked of the node goes on: it may be in the
                // log already.
                Event::Reset { stream, .. } => {
                    self.calls.remove(&stream);
                }
                Event::Refused { .. } | Event::GoAway { .. } => {}
            }
        }
    }

    fn open(&mut self, stream: StreamId, headers: &[Header], shared: &Shared) {
        let (state, timeout) = match grpc::parse_request(headers) {
            Err(Refusal::Http(status)) => (State::Plain(status), None),
            Err(Refusal::Grpc(status)) => return self.refuse(stream, status),
            Ok(call) => match Method::of_path(&call.path) {
                Err(status) => return self.refuse(stream, status),
                Ok(method) => (State::of_method(method), call.timeout),
            },
        };
        let deadline_ms = timeout.map(|timeout| {
            let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            shared.now_ms.saturating_add(ms)
        });
        self.calls.insert(stream, Call { state, deadline_ms });
        if self.reflects(stream) {
            // The client may wait for these before it asks anything.
            let sent = self
                .h2
                .send_headers(stream, grpc::response_headers(), false);
            self.keep_if(stream, sent);
        }
    }

    fn request_data(&mut self, stream: StreamId, data: Bytes, shared: &Shared) {
        let full = shared.is_full(|| self.buffered_bytes(), data.len());
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let received = match &mut call.state {
            State::Receiving {
                deframer, message, ..
            } => {
                if full {
                    Err(service::busy())
                } else {
                    deframer.push(data);
                    receive_one(deframer, message)
                }
            }
            State::Reflecting(deframer) => {
                if full {
                    return self.end_stream(stream, &service::busy());
                }
                deframer.push(data);
                return self.reflect(stream, shared);
            }
            _ => Ok(()),
        };
        if let Err(status) = received {
            self.refuse(stream, status);
        }
    }

    fn request_ended(&mut self, stream: StreamId, shared: &Shared, asks: &mut Vec<Ask>) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        match &mut call.state {
            State::Plain(http_status) => {
                let (headers, body) = grpc::plain_response(*http_status);
                let sent = self.h2.send_headers(stream, &headers, false);
                // Gone already is as good as answered.
                let _ = sent.and_then(|()| self.h2.send_data(stream, body, true));
                self.calls.remove(&stream);
            }
            State::Receiving {
                method,
                deframer,
                message,
            } => {
                let method = *method;
                let message = deframer.finish().and_then(|()| {
                    message.take().ok_or_else(|| {
                        Status::new(Code::Internal, "the request ended without a message")
                    })
                });
                match message {
                    Ok(message) => self.dispatch(stream, method, message, shared, asks),
                    Err(status) => self.refuse(stream, status),
                }
            }
            State::Reflecting(deframer) => {
                let status = deframer.finish().err().unwrap_or_else(Status::ok);
                self.end_stream(stream, &status);
            }
            _ => {}
        }
    }

    fn dispatch(
        &mut self,
        stream: StreamId,
        method: Method,
        message: Bytes,
        shared: &Shared,
        asks: &mut Vec<Ask>,
    ) {
        match method {
            Method::Kv(method) => {
                let operation = service::kv_operation(method, message);
                self.ask(stream, State::Asked(method), operation, shared, asks);
            }
            Method::Cluster(method) => self.ask_cluster(stream, method, message, shared, asks),
            Method::Save => {
                let operation = service::backup_request(message).map(|()| Operation::Backup);
                self.ask(stream, State::AskedBackup, operation, shared, asks);
            }
            Method::Check => {
                let response = match service::health_service(message) {
                    Ok(service) => service::health_check(&service, shared.leader_known()),
                    Err(status) => Response::refused(status),
                };
                self.respond(stream, &response);
            }
            Method::Watch => match service::health_service(message) {
                Ok(service) => {
                    self.watch(stream, service::health(&service, shared.leader_known()));
                }
                Err(status) => self.refuse(stream, status),
            },
            // Reflection is answered message by message, never at the end.
            Method::Reflect => unreachable!("a reflection stream is not collected"),
        }
    }

    fn ask_cluster(
        &mut self,
        stream: StreamId,
        method: ClusterMethod,
        message: Bytes,
        shared: &Shared,
        asks: &mut Vec<Ask>,
    ) {
        let operation = match cluster::ask(method, message, || shared.node.status()) {
            Ok(Asked::Answered(response)) => return self.respond(stream, &response),
            Ok(Asked::Node(operation)) => Ok(operation),
            Err(status) => Err(status),
        };
        self.ask(stream, State::AskedCluster, operation, shared, asks);
    }

    fn ask(
        &mut self,
        stream: StreamId,
        asked: State,
        operation: Result<Operation, Status>,
        shared: &Shared,
        asks: &mut Vec<Ask>,
    ) {
        let call = self.calls.get_mut(&stream).expect("the caller found it");
        if call.deadline_ms.is_some_and(|at| at <= shared.now_ms) {
            let text = "the deadline passed before the request was complete";
            return self.refuse(stream, Status::new(Code::DeadlineExceeded, text));
        }
        match operation {
            Ok(operation) => {
                call.state = asked;
                asks.push(Ask { stream, operation });
            }
            Err(status) => self.refuse(stream, status),
        }
    }

    fn expire_calls(&mut self, now_ms: u64) {
        let expired: Vec<StreamId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.deadline_ms.is_some_and(|at| at <= now_ms))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in expired {
            let status = Status::new(Code::DeadlineExceeded, "the deadline passed");
            match self.calls[&stream].state {
                State::Reflecting(_) | State::Watching(_) | State::Saving { .. } => {
                    self.end_stream(stream, &status);
                }
                // Asked of the node: it may still happen, so nothing is promised.
                State::Asked(_) | State::AskedCluster => {
                    self.respond(stream, &Response::unknown(status));
                }
                State::Plain(_) | State::Receiving { .. } | State::AskedBackup => {
                    self.refuse(stream, status);
                }
            }
        }
    }

    fn refuse(&mut self, stream: StreamId, status: Status) {
        self.respond(stream, &Response::refused(status));
    }

    /// Answers and forgets a call that has not begun to answer. If it is gone meanwhile, there is
    /// nobody to tell.
    pub fn respond(&mut self, stream: StreamId, response: &Response) {
        self.calls.remove(&stream);
        let (status, metadata) = (&response.status, &response.metadata());
        let _ = match &response.message {
            None => self
                .h2
                .send_headers(stream, &grpc::trailers_only(status, metadata), true),
            Some(message) => self
                .h2
                .send_headers(stream, grpc::response_headers(), false)
                .and_then(|()| self.h2.send_data(stream, message.clone(), false))
                .and_then(|()| {
                    self.h2
                        .send_trailers(stream, &grpc::trailers(status, metadata))
                }),
        };
    }

    /// Ends and forgets a call that has sent its headers.
    fn end_stream(&mut self, stream: StreamId, status: &Status) {
        self.calls.remove(&stream);
        let _ = self.h2.send_trailers(stream, &grpc::trailers(status, &[]));
    }

    fn keep_if(&mut self, stream: StreamId, sent: Result<(), StreamGone>) {
        if sent.is_err() {
            self.calls.remove(&stream);
        }
    }
}

impl State {
    fn of_method(method: Method) -> State {
        match method {
            Method::Reflect => State::Reflecting(Deframer::with_max(QUESTION_MAX_BYTES)),
            Method::Kv(_) => State::receiving(method, Deframer::new()),
            Method::Check | Method::Watch | Method::Save | Method::Cluster(_) => {
                State::receiving(method, Deframer::with_max(QUESTION_MAX_BYTES))
            }
        }
    }

    fn receiving(method: Method, deframer: Deframer) -> State {
        State::Receiving {
            method,
            deframer,
            message: None,
        }
    }
}

impl Call {
    /// Whether it goes on for as long as the client likes.
    fn is_endless(&self) -> bool {
        matches!(self.state, State::Reflecting(_) | State::Watching(_))
    }

    fn held_bytes(&self) -> usize {
        match &self.state {
            State::Receiving {
                deframer, message, ..
            } => deframer.held_bytes() + message.as_ref().map_or(0, Bytes::len),
            State::Reflecting(deframer) => deframer.held_bytes(),
            _ => 0,
        }
    }
}

/// Takes the message of a call that has one, and refuses a second.
fn receive_one(deframer: &mut Deframer, message: &mut Option<Bytes>) -> Result<(), Status> {
    while let Some(next) = deframer.next()? {
        if message.replace(next).is_some() {
            let text = "more than one message; this method takes one";
            return Err(Status::new(Code::Internal, text));
        }
    }
    Ok(())
}
