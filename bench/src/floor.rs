//! The floor under a replicated put: three processes that pass its messages and sync its bytes,
//! and do nothing else. No Raft, no HTTP/2, one put at a time.
//!
//! The leader sends a put of [`PUT_BYTES`] to both followers, appends it to its own file and
//! answers when its own sync is done and one follower has acknowledged, which is a majority of
//! three. A follower acknowledges after its sync. Each process is one event loop on one thread;
//! by [`Path::Gateway`] a put crosses one more thread on its way in and out, as it does in raftkv.

mod link;
mod node;

pub use node::Role;

use crate::latency::Latencies;
use link::Link;
use mio::{Events, Interest, Poll, Token};
use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{self, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Size of a put on the wire and in the file: what a value has in the other benchmarks.
pub const PUT_BYTES: usize = 256;

/// Size of an acknowledgement: the number of the put.
const ACK_BYTES: usize = 8;

/// How many nodes follow the leader.
const FOLLOWERS: usize = 2;

/// Which way a put takes through the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The event loop holds the client's connection.
    Direct,
    /// A thread of its own holds the client's connection. It passes the put to the event loop by
    /// a channel and a wake-up, and gets the answer back the same way.
    Gateway,
}

/// The running processes, and a connection of either kind to the leader.
pub struct Floor {
    direct: Client,
    gateway: Client,
    _nodes: Nodes,
}

impl Floor {
    /// Starts the processes, with their files in `directory`. `executable` is bench-cluster, which
    /// takes [`Role`]s as subcommands.
    ///
    /// # Errors
    /// Whatever starting and connecting report.
    pub fn start(executable: &path::Path, directory: &path::Path) -> io::Result<Floor> {
        fs::create_dir_all(directory)?;
        let mut nodes = Nodes {
            executable: executable.to_owned(),
            running: Vec::new(),
        };
        let mut followers = Vec::new();
        for number in 0..FOLLOWERS {
            let file = directory.join(format!("follower-{number}"));
            followers.extend(nodes.start(&Role::FloorFollower { file })?);
        }
        let file = directory.join("leader");
        let leader = nodes.start(&Role::FloorLeader { file, followers })?;
        let [direct, gateway] = leader[..] else {
            return Err(io::Error::other("the floor's leader gave no two addresses"));
        };
        Ok(Floor {
            direct: Client::connect(direct)?,
            gateway: Client::connect(gateway)?,
            _nodes: nodes,
        })
    }

    /// Puts one after the other until `duration` has passed, at least one.
    ///
    /// # Errors
    /// What the network reports; a process that ended shows as an end of file.
    pub fn put_for(&mut self, path: Path, duration: Duration) -> io::Result<Latencies> {
        let client = match path {
            Path::Direct => &mut self.direct,
            Path::Gateway => &mut self.gateway,
        };
        let mut latencies = Latencies::default();
        let started = Instant::now();
        loop {
            let before = Instant::now();
            client.put()?;
            latencies.record(before.elapsed());
            if started.elapsed() >= duration {
                return Ok(latencies);
            }
        }
    }
}

/// The processes. Dropping it ends them.
struct Nodes {
    executable: PathBuf,
    running: Vec<Child>,
}

impl Nodes {
    /// Starts one more and gives the addresses on which it listens.
    fn start(&mut self, role: &Role) -> io::Result<Vec<SocketAddr>> {
        let mut child = Command::new(&self.executable)
            .args(role.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        self.running.push(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let addresses: Result<Vec<SocketAddr>, _> =
            line.split_whitespace().map(str::parse).collect();
        addresses.map_err(|_| io::Error::other(format!("a floor process said {line:?}")))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.running {
            // It may have ended by itself, which is as good.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// A client with one put outstanding.
struct Client {
    poll: Poll,
    events: Events,
    link: Link,
    puts: u64,
}

impl Client {
    fn connect(leader: SocketAddr) -> io::Result<Client> {
        let poll = Poll::new()?;
        let mut link = Link::new(TcpStream::connect(leader)?, ACK_BYTES)?;
        poll.registry()
            .register(link.socket(), Token(0), Interest::READABLE)?;
        Ok(Client {
            poll,
            events: Events::with_capacity(1),
            link,
            puts: 0,
        })
    }

    fn put(&mut self) -> io::Result<()> {
        self.puts += 1;
        let mut put = [b'v'; PUT_BYTES];
        put[..ACK_BYTES].copy_from_slice(&self.puts.to_le_bytes());
        self.link.send(&put)?;
        let mut answered = 0;
        while answered < self.puts {
            node::wait(&mut self.poll, &mut self.events)?;
            let acks = self.link.receive()?;
            if !acks.is_empty() {
                answered = node::number(acks);
            }
        }
        Ok(())
    }
}
