//! One connection to one node, and one call at a time over it.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    grpc::{self, Code, Deframer, Status},
    h2::{self, ErrorCode, Event, Header, Limits, StreamId},
    proto::{APPLIED_NO, APPLIED_TRAILER, LEADER_TRAILER},
};

/// One call, ready to be sent.
pub struct Request {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// The framed message.
    pub message: Bytes,
    /// Until when the answer is waited for.
    pub deadline: Instant,
}

/// Why a call gave no response message.
pub enum Failure {
    /// The server has not looked at it, and cannot: repeating it is safe.
    NotSent { reason: String },
    /// It was sent, in part at least, and no answer came.
    Broken { reason: String },
    /// The server answered with a status.
    Status {
        status: Status,
        /// The trailers promise that nothing was applied.
        nothing_applied: bool,
        /// Where they say that the leader is; empty when they do not.
        leader_hint: String,
    },
    /// Whoever took the messages of the answer wants no more.
    GivenUp { reason: String },
}

/// An open connection.
pub struct Connection {
    endpoint: String,
    socket: TcpStream,
    h2: h2::Connection,
    started: Instant,
    /// The server takes no more streams, or has closed.
    ending: bool,
    /// Bytes written since the call began.
    written_bytes: usize,
}

/// What has come of the answer so far.
struct Answer {
    stream: StreamId,
    deframer: Deframer,
    messages: VecDeque<Bytes>,
    /// There is one message, neither more nor less.
    is_unary: bool,
}

impl Connection {
    /// Connects to `host:port`, trying each address of the host.
    pub fn open(endpoint: &str, timeout: Duration) -> io::Result<Connection> {
        let started = Instant::now();
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in endpoint.to_socket_addrs()? {
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(Connection {
                        endpoint: endpoint.to_owned(),
                        socket,
                        h2: h2::Connection::client(Limits::default(), 0),
                        started,
                        ending: false,
                        written_bytes: 0,
                    });
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether a call can be made: the server has said nothing else so far. Takes in what has
    /// arrived since the last call.
    pub fn is_usable(&mut self) -> bool {
        if self.socket.set_nonblocking(true).is_err() {
            return false;
        }
        let alive = loop {
            match self.read_some() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => break false,
            }
        };
        while let Some(event) = self.h2.poll() {
            self.ending |= matches!(event, Event::GoAway { .. });
        }
        let usable = alive && !self.ending && !self.h2.is_closed();
        usable && self.socket.set_nonblocking(false).is_ok()
    }

    /// Makes one call and gives the response message.
    pub fn call(&mut self, request: &Request) -> Result<Bytes, Failure> {
        let left = request.deadline.saturating_duration_since(Instant::now());
        let mut answer = self.begin(request, Some(left), true)?;
        while !self.advance(&mut answer, request.deadline)? {}
        Ok(answer.messages.pop_front().expect("it was counted"))
    }

    /// Makes one call and hands over each message of its answer as it comes. The call itself has
    /// no deadline; the request's is that of the first message, and no message after it may take
    /// longer than `silence`.
    pub fn stream(
        &mut self,
        request: &Request,
        silence: Duration,
        mut take: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let mut answer = self.begin(request, None, false)?;
        let mut deadline = request.deadline;
        loop {
            let ended = self.advance(&mut answer, deadline)?;
            while let Some(message) = answer.messages.pop_front() {
                take(message).map_err(|reason| Failure::GivenUp { reason })?;
                deadline = Instant::now() + silence;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Sends a request.
    fn begin(
        &mut self,
        request: &Request,
        timeout: Option<Duration>,
        is_unary: bool,
    ) -> Result<Answer, Failure> {
        let headers = grpc::request_headers(self.endpoint.clone(), request.path, timeout);
        let not_sent = |reason: String| Failure::NotSent { reason };
        let stream = self
            .h2
            .open(&headers, false)
            .map_err(|error| not_sent(error.to_string()))?;
        self.h2
            .send_data(stream, request.message.clone(), true)
            .map_err(|error| not_sent(error.to_string()))?;
        self.written_bytes = 0;
        Ok(Answer {
            stream,
            deframer: Deframer::new(),
            messages: VecDeque::new(),
            is_unary,
        })
    }

    /// Waits for more of an answer until then. Returns whether that was its end.
    fn advance(&mut self, answer: &mut Answer, deadline: Instant) -> Result<bool, Failure> {
        self.exchange(deadline)
            .map_err(|error| self.broken(&error))?;
        while let Some(event) = self.h2.poll() {
            self.ending |= matches!(event, Event::GoAway { .. });
            if let Some(result) = answer.take(event) {
                return result.map(|()| true);
            }
        }
        if let Some(error) = self.h2.error() {
            let reason = format!("the server broke the protocol: {error}");
            return Err(Failure::Broken { reason });
        }
        Ok(false)
    }

    /// Writes all that can be written, then waits for something to read.
    fn exchange(&mut self, deadline: Instant) -> io::Result<()> {
        loop {
            self.limit_time(deadline)?;
            let output = self.h2.output(elapsed_ms(self.started));
            if output.is_empty() {
                break;
            }
            match self.socket.write(output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.h2.written(bytes);
                    self.written_bytes += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.read_some()
    }

    /// Reads what there is, or waits for it.
    fn read_some(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        match self.socket.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                self.h2.receive(&chunk[..bytes], elapsed_ms(self.started));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn limit_time(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.set_write_timeout(Some(left))
    }

    fn broken(&self, error: &io::Error) -> Failure {
        let reason = match error.kind() {
            // What a blocking socket says when its time is over.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
            io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => error.to_string(),
        };
        if self.written_bytes == 0 {
            return Failure::NotSent { reason };
        }
        Failure::Broken { reason }
    }
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Answer {
    /// Takes an event; gives the end of the call, if it is that.
    fn take(&mut self, event: Event) -> Option<Result<(), Failure>> {
        match event {
            Event::Headers {
                stream,
                headers,
                end_stream,
            } if stream == self.stream => match grpc::parse_response(&headers) {
                Some(status) => Some(self.end(status, &headers)),
                None if end_stream => Some(self.end(grpc::parse_status(&headers), &headers)),
                None => None,
            },
            Event::Data {
                stream,
                data,
                end_stream,
            } if stream == self.stream => {
                self.deframer.push(data);
                if let Err(status) = self.take_message() {
                    let reason = format!("the answer cannot be read: {status}");
                    return Some(Err(Failure::Broken { reason }));
                }
                end_stream.then(|| self.end(grpc::parse_status(&[]), &[]))
            }
            Event::Trailers { stream, headers } if stream == self.stream => {
                Some(self.end(grpc::parse_status(&headers), &headers))
            }
            // The server says that it has not looked at the stream (RFC 9113 §8.7).
            Event::Reset {
                stream,
                code: ErrorCode::REFUSED_STREAM,
            }
            | Event::Refused { stream }
                if stream == self.stream =>
            {
                let reason = "the server took no more calls".to_owned();
                Some(Err(Failure::NotSent { reason }))
            }
            Event::Reset { stream, code } if stream == self.stream => Some(Err(Failure::Status {
                status: grpc::reset_status(code),
                nothing_applied: false,
                leader_hint: String::new(),
            })),
            _ => None,
        }
    }

    fn take_message(&mut self) -> Result<(), Status> {
        while let Some(message) = self.deframer.next()? {
            self.messages.push_back(message);
            if self.is_unary && self.messages.len() > 1 {
                let text = "more than one message";
                return Err(Status::new(Code::Internal, text));
            }
        }
        Ok(())
    }

    fn end(&mut self, status: Status, trailers: &[Header]) -> Result<(), Failure> {
        if !status.is_ok() {
            let nothing_applied =
                grpc::header(trailers, APPLIED_TRAILER).is_some_and(|value| *value == APPLIED_NO);
            let hint = grpc::header(trailers, LEADER_TRAILER).map_or(&[][..], |hint| hint);
            return Err(Failure::Status {
                status,
                nothing_applied,
                leader_hint: String::from_utf8_lossy(hint).into_owned(),
            });
        }
        match self.is_unary && self.messages.is_empty() {
            false => Ok(()),
            true => Err(Failure::Broken {
                reason: "the server answered OK without a message".to_owned(),
            }),
        }
    }
}
