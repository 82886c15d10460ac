//! Before a node that is to join a cluster has anything of its own, it asks which cluster that is:
//! the id goes into its data directory, and the log begins with it.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    thread,
    time::{Duration, Instant},
};

use super::{
    Config,
    error::StartError,
    hello::{self, HELLO_MAX_BYTES},
};
use crate::codec::FrameDecoder;

/// One attempt may take so long to connect, and so long again to be answered.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
/// Between two lines that tell why nobody answers.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Asks the nodes of `--peers` in turn, until one answers, which cluster they are.
///
/// # Errors
/// When there is nobody to ask.
pub(super) fn cluster_of(config: &Config) -> Result<[u8; 16], StartError> {
    let others = config.peers.iter().filter(|(id, _)| **id != config.node_id);
    let others: Vec<_> = others.collect();
    if others.is_empty() {
        let text = "--join needs a member to ask; name one or more in --peers";
        return Err(StartError::Flag(text.to_owned()));
    }
    let mut told: Option<Instant> = None;
    for (id, address) in others.iter().cycle() {
        match ask(config, address) {
            Ok(cluster_id) => {
                tracing::info!("node {id} at {address} answered; waiting to be added as a member");
                return Ok(cluster_id);
            }
            Err(error) if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) => {
                tracing::warn!(
                    "no member tells which cluster to join, still asking: {address}: {error}"
                );
                told = Some(Instant::now());
            }
            Err(_) => {}
        }
        thread::sleep(PAUSE);
    }
    unreachable!("there is somebody to ask, again and again")
}

fn ask(config: &Config, address: &str) -> io::Result<[u8; 16]> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ATTEMPT_MAX) {
            Ok(stream) => return exchange(config, stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Says hello without a cluster; the answer is a refusal, and names it.
fn exchange(config: &Config, mut stream: TcpStream) -> io::Result<[u8; 16]> {
    stream.set_read_timeout(Some(ATTEMPT_MAX))?;
    stream.set_write_timeout(Some(ATTEMPT_MAX))?;
    let mut question = Vec::new();
    hello::encode_question(config.node_id, &mut question);
    stream.write_all(&question)?;
    let mut decoder = FrameDecoder::new(HELLO_MAX_BYTES);
    let mut buffer = [0; HELLO_MAX_BYTES as usize];
    let deadline = Instant::now() + ATTEMPT_MAX;
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    while Instant::now() < deadline {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Err(wrong("it closed the connection".to_owned()));
        }
        decoder.receive(&buffer[..bytes]);
        let frame = decoder
            .next_frame()
            .map_err(|error| wrong(error.to_string()))?;
        let Some(body) = frame else { continue };
        let answer = hello::decode(body).map_err(|error| wrong(error.to_string()))?;
        let answer = answer.map_err(|version| wrong(hello::other_version(version).reason))?;
        let unknown = || wrong("it waits to join a cluster itself".to_owned());
        return answer.cluster_id.ok_or_else(unknown);
    }
    Err(io::ErrorKind::TimedOut.into())
}
