//! Three raftkv nodes as processes.

use crate::caller::{Answer, Method, call_once};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const NODES: usize = 3;

/// Time for the nodes to agree on a leader, or to follow one.
const AGREEMENT_MAX: Duration = Duration::from_secs(20);

/// Time for one answer, beyond which another node is asked.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Between two rounds of questions: what a failover time may be off by.
const ASK_PERIOD: Duration = Duration::from_millis(2);

/// A follower that names its leader has the few entries it missed after some heartbeats.
const CATCH_UP: Duration = Duration::from_millis(300);

/// The key of calls that only ask who leads.
const PROBE_KEY: &str = "probe";

/// The running nodes. Dropping it ends them.
pub struct Cluster {
    executable: PathBuf,
    directory: PathBuf,
    peers: String,
    nodes: Vec<Node>,
}

struct Node {
    raft: SocketAddr,
    client: SocketAddr,
    process: Option<Child>,
}

impl Cluster {
    /// Starts three nodes, with data and logs in `directory`, on free ports.
    ///
    /// # Errors
    /// Whatever starting them reports.
    pub fn start(executable: &Path, directory: &Path) -> io::Result<Cluster> {
        fs::create_dir_all(directory)?;
        let addresses = free_addresses()?;
        let (rafts, clients) = addresses.split_at(NODES);
        let peers = rafts.iter().enumerate();
        let peers: Vec<String> = peers.map(|(id, raft)| format!("{id}@{raft}")).collect();
        let nodes = rafts.iter().zip(clients).map(|(raft, client)| Node {
            raft: *raft,
            client: *client,
            process: None,
        });
        let mut cluster = Cluster {
            executable: executable.to_owned(),
            directory: directory.to_owned(),
            peers: peers.join(","),
            nodes: nodes.collect(),
        };
        for id in 0..NODES {
            cluster.start_node(id)?;
        }
        Ok(cluster)
    }

    fn start_node(&mut self, id: usize) -> io::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(id))?;
        let node = &mut self.nodes[id];
        let mut command = Command::new(&self.executable);
        command
            .arg("--node-id")
            .arg(id.to_string())
            .arg("--peers")
            .arg(&self.peers)
            .arg("--raft-listen")
            .arg(node.raft.to_string())
            .arg("--kv-listen")
            .arg(node.client.to_string())
            .arg("--data-dir")
            .arg(self.directory.join(format!("node-{id}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: the closure makes one system call and takes no lock, which is allowed between
        // fork and exec.
        unsafe { command.pre_exec(end_with_parent) };
        let process = command.spawn().map_err(|error| {
            let path = self.executable.display();
            io::Error::new(error.kind(), format!("cannot start {path}: {error}"))
        })?;
        node.process = Some(process);
        Ok(())
    }

    fn log_path(&self, id: usize) -> PathBuf {
        self.directory.join(format!("node-{id}.log"))
    }

    /// The client address of the leader and its id, waiting until there is one that answers reads.
    ///
    /// # Errors
    /// When none is found in time, or a node has ended by itself.
    pub fn leader(&mut self) -> io::Result<(usize, SocketAddr)> {
        let id = self.ask_all(Method::Get)?;
        Ok((id, self.nodes[id].client))
    }

    /// The ids of the processes.
    pub fn process_ids(&self) -> Vec<u32> {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes.map(Child::id).collect()
    }

    /// How often any node has campaigned since the start, as their logs have it.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn campaigns(&self) -> io::Result<usize> {
        let mut count = 0;
        for id in 0..NODES {
            let log = fs::read_to_string(self.log_path(id))?;
            count += log
                .lines()
                .filter(|line| line.contains(" Campaign "))
                .count();
        }
        Ok(count)
    }

    /// Kills the leader with SIGKILL and gives the time until a put is acknowledged again. Then
    /// starts the killed node and waits until it follows.
    ///
    /// # Errors
    /// When the nodes do not recover in time.
    pub fn fail_over(&mut self) -> io::Result<Duration> {
        let (id, _) = self.leader()?;
        let killed = Instant::now();
        if let Some(mut process) = self.nodes[id].process.take() {
            process.kill()?;
            process.wait()?;
        }
        self.ask_all(Method::Put)?;
        let without_leader = killed.elapsed();
        self.start_node(id)?;
        self.wait_until_following(id)?;
        Ok(without_leader)
    }

    fn wait_until_following(&mut self, id: usize) -> io::Result<()> {
        let deadline = Instant::now() + AGREEMENT_MAX;
        while Instant::now() < deadline {
            self.check_alive()?;
            match call_once(self.nodes[id].client, Method::Get, PROBE_KEY, ANSWER_MAX) {
                Ok(Answer::NotLeader { leader_hint }) if leader_hint.is_empty() => {}
                Ok(_) => {
                    thread::sleep(CATCH_UP);
                    return Ok(());
                }
                Err(_) => {}
            }
            thread::sleep(ASK_PERIOD);
        }
        Err(self.late(&format!("node {id} follows no leader")))
    }

    /// Asks the running nodes in turn until one does it, and gives that one's id.
    fn ask_all(&mut self, method: Method) -> io::Result<usize> {
        let deadline = Instant::now() + AGREEMENT_MAX;
        while Instant::now() < deadline {
            self.check_alive()?;
            for (id, node) in self.nodes.iter().enumerate() {
                if node.process.is_none() {
                    continue;
                }
                // One that fails to answer may be starting; the deadline ends it.
                let answer = call_once(node.client, method, PROBE_KEY, ANSWER_MAX);
                if answer.is_ok_and(|answer| answer == Answer::Done) {
                    return Ok(id);
                }
            }
            thread::sleep(ASK_PERIOD);
        }
        Err(self.late("no node leads"))
    }

    fn late(&self, what: &str) -> io::Error {
        let text = format!("{what} after {AGREEMENT_MAX:?}; {}", self.last_words());
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    fn check_alive(&mut self) -> io::Result<()> {
        for id in 0..self.nodes.len() {
            let Some(process) = &mut self.nodes[id].process else {
                continue;
            };
            if let Some(status) = process.try_wait()? {
                let text = format!("node {id} ended with {status}; {}", self.last_words());
                return Err(io::Error::other(text));
            }
        }
        Ok(())
    }

    /// The last line of each node's log, since the files do not outlive the run.
    fn last_words(&self) -> String {
        let words = (0..self.nodes.len()).map(|id| {
            let log = fs::read_to_string(self.log_path(id)).unwrap_or_default();
            let last = log.lines().next_back().unwrap_or("nothing");
            format!("node {id} last said: {last}")
        });
        words.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.take()) {
            end(process);
        }
    }
}

/// Has this process end when its parent does, also when that has no time to see to it: a node left
/// behind would disturb the next run.
fn end_with_parent() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

fn end(mut process: Child) {
    // It may have ended by itself, which is as good.
    let _ = process.kill();
    let _ = process.wait();
}

/// Addresses that nobody listens on: two for each node.
fn free_addresses() -> io::Result<Vec<SocketAddr>> {
    // All are held until all are known, so that no two are the same.
    let listeners: io::Result<Vec<TcpListener>> = (0..2 * NODES)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    listeners?.iter().map(TcpListener::local_addr).collect()
}
