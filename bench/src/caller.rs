//! Calls to a node over one connection, never blocking, and cheap, because the generator shares its
//! cores with the servers.

use crate::api::{Answer, Method, System};
use bytes::Bytes;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use raftkv::{
    grpc::{self, Deframer, Status},
    h2::{Connection, Event, Header, Limits, StreamId},
};
use std::{
    io::{self, Read, Write},
    net::{self, SocketAddr},
    time::{Duration, Instant},
};

/// Read in one go.
pub const READ_BYTES: usize = 16 << 10;

/// A connection to one node, for calls of one method.
pub struct Caller {
    socket: TcpStream,
    h2: Connection,
    started: Instant,
    system: System,
    method: Method,
    headers: Vec<Header>,
    calls: Vec<Call>,
}

/// A call in flight.
struct Call {
    stream: StreamId,
    began: Instant,
    deframer: Deframer,
    response: Option<Bytes>,
}

/// A call that was answered.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What the node says.
    pub answer: Answer,
    /// As [`Caller::begin`] was told.
    pub began: Instant,
}

impl Caller {
    /// Connects.
    ///
    /// # Errors
    /// Whatever the network reports.
    pub fn connect(address: SocketAddr, system: System, method: Method) -> io::Result<Caller> {
        let socket = net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut caller = Caller {
            socket: TcpStream::from_std(socket),
            h2: Connection::client(Limits::default(), 0),
            started: Instant::now(),
            system,
            method,
            headers: grpc::request_headers(address.to_string(), system.path(method), None),
            calls: Vec::new(),
        };
        // A server gives up who does not begin with the preface within some seconds, and the first
        // call may come later than that.
        caller.flush()?;
        Ok(caller)
    }

    /// Has events of this connection told to `poll`.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn register(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut self.socket, token, both)
    }

    /// Begins a call, which leaves with the next [`Caller::flush`]. A get leaves `value` aside.
    ///
    /// # Errors
    /// When the connection is lost, or the node wants no more calls on it.
    pub fn begin(&mut self, key: String, value: &str, began: Instant) -> io::Result<()> {
        let stream = self
            .h2
            .open(&self.headers, false)
            .map_err(io::Error::other)?;
        let request = self.system.request(self.method, key, value);
        self.h2
            .send_data(stream, request, true)
            .map_err(io::Error::other)?;
        self.calls.push(Call {
            stream,
            began,
            deframer: Deframer::new(),
            response: None,
        });
        Ok(())
    }

    /// Goes on after an event of the socket, reading by way of `buffer`; adds the calls that are
    /// answered to `ended`.
    ///
    /// # Errors
    /// When the connection is lost, or a call ends with a status other than OK.
    pub fn proceed(
        &mut self,
        buffer: &mut [u8; READ_BYTES],
        ended: &mut Vec<Ended>,
    ) -> io::Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => {
                    let now_ms = self.started.elapsed().as_millis() as u64;
                    self.h2.receive(&buffer[..bytes], now_ms);
                    // A read that leaves room has emptied the socket.
                    if bytes < READ_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while let Some(event) = self.h2.poll() {
            if let Some((began, response)) = self.take(event)? {
                let answer = self.system.answer(self.method, response)?;
                ended.push(Ended { answer, began });
            }
        }
        self.flush()
    }

    /// Writes what is to be written, as far as the socket has room.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        loop {
            let now_ms = self.started.elapsed().as_millis() as u64;
            let output = self.h2.output(now_ms);
            if output.is_empty() {
                return Ok(());
            }
            match self.socket.write(output) {
                Ok(bytes) => self.h2.written(bytes),
                // The socket tells when it has room again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what came on the connection; at the end of a call gives the response, and forgets it.
    fn take(&mut self, event: Event) -> io::Result<Option<(Instant, Bytes)>> {
        let (Event::Headers { stream, .. }
        | Event::Data { stream, .. }
        | Event::Trailers { stream, .. }
        | Event::Reset { stream, .. }
        | Event::Refused { stream }) = event
        else {
            return Ok(None);
        };
        let Some(at) = self.calls.iter().position(|call| call.stream == stream) else {
            return Ok(None);
        };
        let Some(status) = self.calls[at].take(event)? else {
            return Ok(None);
        };
        let call = self.calls.swap_remove(at);
        match call.response {
            Some(response) if status.is_ok() => Ok(Some((call.began, response))),
            _ => Err(failed(&status)),
        }
    }
}

impl Call {
    /// Takes what came for it; gives the status at its end.
    fn take(&mut self, event: Event) -> io::Result<Option<Status>> {
        Ok(match event {
            Event::Headers {
                headers,
                end_stream,
                ..
            } => match grpc::parse_response(&headers) {
                None if end_stream => Some(grpc::parse_status(&headers)),
                refusal => refusal,
            },
            Event::Data { data, .. } => {
                self.deframer.push(data);
                if let Some(message) = self.deframer.next().map_err(io::Error::other)? {
                    self.response = Some(message);
                }
                None
            }
            Event::Trailers { headers, .. } => Some(grpc::parse_status(&headers)),
            Event::Reset { code, .. } => Some(grpc::reset_status(code)),
            Event::Refused { .. } => {
                return Err(io::Error::other("the node refused the stream"));
            }
            Event::GoAway { .. } => None,
        })
    }
}

fn failed(status: &Status) -> io::Error {
    io::Error::other(format!("the call ended with {status}"))
}

/// One call over a connection of its own.
///
/// # Errors
/// When there is no connection, or no answer within `timeout`, or a status other than OK.
pub fn call_once(
    address: SocketAddr,
    system: System,
    method: Method,
    key: &str,
    timeout: Duration,
) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let mut caller = Caller::connect(address, system, method)?;
    caller.register(&poll, Token(0))?;
    caller.begin(key.to_owned(), "", Instant::now())?;
    caller.flush()?;
    let mut ended = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        poll.poll(&mut events, Some(left))?;
        caller.proceed(&mut [0; READ_BYTES], &mut ended)?;
        if let Some(Ended { answer, .. }) = ended.pop() {
            return Ok(answer);
        }
    }
}
