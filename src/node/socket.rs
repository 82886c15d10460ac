//! What both ends of a connection between nodes do with a socket.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read, Write},
    time::Duration,
};

use bytes::Bytes;
use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

/// A peer that takes in nothing for this long is gone, whatever TCP hopes.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Read from a connection in one go.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Frames written to a connection in one go.
const WRITE_MAX_FRAMES: usize = 64;

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

/// Writes once, of these frames what comes after so many bytes of the first. Returns how many
/// bytes the socket took: none when it has no room.
///
/// # Errors
/// When the connection failed.
pub(super) fn write(
    stream: &mut TcpStream,
    frames: &VecDeque<Bytes>,
    skip_bytes: usize,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); WRITE_MAX_FRAMES];
    let mut count = 0;
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(&frame[if count == 0 { skip_bytes } else { 0 }..]);
        count += 1;
    }
    loop {
        return match stream.write_vectored(&slices[..count]) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        };
    }
}
