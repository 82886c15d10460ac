//! What both ends of a connection between nodes do with a socket.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

/// A peer that takes in nothing for this long is gone, whatever TCP hopes.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Read from a connection in one go.
pub(super) const READ_BYTES: usize = 64 << 10;

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// Nothing more for now.
    Drained,
    /// There may be more: read again, without waiting for an event.
    More,
    /// The other end closed, or the connection failed.
    Closed,
}

/// Makes a connection answer at once and notice when the other end is gone.
pub(super) fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE_MAX)
        .with_interval(SILENCE_MAX / 5);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))
}

/// Reads once and hands on what came. `ended` is whether the other end is known to have closed.
pub(super) fn read(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    ended: bool,
    mut take: impl FnMut(&[u8]),
) -> ReadEnd {
    loop {
        return match stream.read(buffer) {
            Ok(0) => ReadEnd::Closed,
            Ok(n) => {
                take(&buffer[..n]);
                // A short read emptied the socket; new bytes make a new event. An end that is known
                // already makes none.
                if n == buffer.len() || ended {
                    ReadEnd::More
                } else {
                    ReadEnd::Drained
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadEnd::Drained,
            Err(_) => ReadEnd::Closed,
        };
    }
}

/// Writes what the socket takes of `bytes`.
///
/// # Errors
/// When the connection failed.
pub(super) fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
