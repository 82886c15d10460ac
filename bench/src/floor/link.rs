//! A connection on which messages of one fixed size arrive.

use mio::net::TcpStream;
use std::{
    io::{self, Read, Write},
    net,
};

const BUFFER_BYTES: usize = 64 << 10;

/// One end of a connection, non-blocking.
pub(super) struct Link {
    socket: TcpStream,
    message_bytes: usize,
    buffer: Vec<u8>,
    filled_bytes: usize,
    /// How much of the buffer was given out and is no longer needed.
    given_bytes: usize,
}

impl Link {
    /// Takes a connected socket over.
    pub(super) fn new(socket: net::TcpStream, message_bytes: usize) -> io::Result<Link> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Link {
            socket: TcpStream::from_std(socket),
            message_bytes,
            buffer: vec![0; BUFFER_BYTES],
            filled_bytes: 0,
            given_bytes: 0,
        })
    }

    /// The socket, to be registered.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Sends all of `bytes`. With one put outstanding the socket has room, so a full one is an
    /// error.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Reads what there is and gives the whole messages, one behind the other.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other end has closed.
    pub(super) fn receive(&mut self) -> io::Result<&[u8]> {
        self.buffer
            .copy_within(self.given_bytes..self.filled_bytes, 0);
        self.filled_bytes -= self.given_bytes;
        self.given_bytes = 0;
        match self.socket.read(&mut self.buffer[self.filled_bytes..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => self.filled_bytes += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.filled_bytes == BUFFER_BYTES {
            // More may be in the socket, of which no event would tell.
            return Err(io::Error::other("more than one put outstanding"));
        }
        self.given_bytes = self.filled_bytes - self.filled_bytes % self.message_bytes;
        Ok(&self.buffer[..self.given_bytes])
    }
}
