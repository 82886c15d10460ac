//! Calls to a node: one connection with one call at a time, never blocking, and cheap, because the
//! generator shares its cores with the servers.

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
    call: Option<Call>,
}

/// The call in flight.
struct Call {
    stream: StreamId,
    deframer: Deframer,
    response: Option<Bytes>,
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
        Ok(Caller {
            socket: TcpStream::from_std(socket),
            h2: Connection::client(Limits::default(), 0),
            started: Instant::now(),
            system,
            method,
            headers: grpc::request_headers(address.to_string(), system.path(method), None),
            call: None,
        })
    }

    /// Has events of this connection told to `poll`.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn register(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut self.socket, token, both)
    }

    /// Begins a call; none may be in flight. A get leaves `value` aside.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn begin(&mut self, key: String, value: &str) -> io::Result<()> {
        assert!(self.call.is_none(), "one call at a time");
        let stream = self
            .h2
            .open(&self.headers, false)
            .map_err(io::Error::other)?;
        let request = self.system.request(self.method, key, value);
        self.h2
            .send_data(stream, request, true)
            .map_err(io::Error::other)?;
        self.call = Some(Call {
            stream,
            deframer: Deframer::new(),
            response: None,
        });
        self.flush()
    }

    /// Goes on after an event of the socket, reading by way of `buffer`; gives the answer when it
    /// is complete.
    ///
    /// # Errors
    /// When the connection is lost, or the call ends with a status other than OK.
    pub fn proceed(&mut self, buffer: &mut [u8; READ_BYTES]) -> io::Result<Option<Answer>> {
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
        let mut answer = None;
        while let Some(event) = self.h2.poll() {
            if let Some(response) = self.take(event)? {
                self.call = None;
                answer = Some(self.system.answer(self.method, response)?);
            }
        }
        self.flush()?;
        Ok(answer)
    }

    fn flush(&mut self) -> io::Result<()> {
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

    /// Takes what came on the connection; gives the response at the end of the call.
    fn take(&mut self, event: Event) -> io::Result<Option<Bytes>> {
        let Some(call) = &mut self.call else {
            return Ok(None);
        };
        let status = match event {
            Event::Headers {
                headers,
                end_stream,
                ..
            } => match grpc::parse_response(&headers) {
                None if end_stream => grpc::parse_status(&headers),
                None => return Ok(None),
                Some(status) => status,
            },
            Event::Data { data, .. } => {
                call.deframer.push(data);
                if let Some(message) = call.deframer.next().map_err(io::Error::other)? {
                    call.response = Some(message);
                }
                return Ok(None);
            }
            Event::Trailers { headers, .. } => grpc::parse_status(&headers),
            Event::Reset { stream, code } if stream == call.stream => grpc::reset_status(code),
            Event::Refused { stream } if stream == call.stream => {
                return Err(io::Error::other("the node refused the stream"));
            }
            _ => return Ok(None),
        };
        match (status, call.response.take()) {
            (status, Some(response)) if status.is_ok() => Ok(Some(response)),
            (status, _) => Err(failed(&status)),
        }
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
    caller.begin(key.to_owned(), "")?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        poll.poll(&mut events, Some(left))?;
        if let Some(answer) = caller.proceed(&mut [0; READ_BYTES])? {
            return Ok(answer);
        }
    }
}
