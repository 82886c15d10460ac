//! Three nodes as processes, of either system.

mod program;

use crate::{
    api::{Answer, Method, System},
    caller::call_once,
    machine::{Usage, usage},
    syncs::{DiskCalls, SyncCounter},
};
pub use program::Program;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

const NODES: usize = 3;

/// Time for the nodes to agree on a leader, or to follow one; a node may have to read its data.
const AGREEMENT_MAX: Duration = Duration::from_secs(120);

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
    program: Program,
    directory: PathBuf,
    nodes: Vec<Node>,
    syncs: Option<SyncCounter>,
}

struct Node {
    peer: SocketAddr,
    client: SocketAddr,
    process: Option<Child>,
}

impl Cluster {
    /// Starts three nodes, with data and logs in `directory`, on free ports. Where the syncs of
    /// raftkv can be counted, they are.
    ///
    /// # Errors
    /// Whatever starting them reports.
    pub fn start(program: Program, directory: &Path) -> io::Result<Cluster> {
        fs::create_dir_all(directory)?;
        let addresses = free_addresses()?;
        let (peers, clients) = addresses.split_at(NODES);
        let nodes = peers.iter().zip(clients).map(|(peer, client)| Node {
            peer: *peer,
            client: *client,
            process: None,
        });
        let syncs = match program.system() {
            System::Raftkv => SyncCounter::new(directory)
                .inspect_err(|error| eprintln!("syncs are not counted: {error}"))
                .ok(),
            System::Etcd => None,
        };
        let mut cluster = Cluster {
            program,
            directory: directory.to_owned(),
            nodes: nodes.collect(),
            syncs,
        };
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Whose nodes they are.
    pub fn system(&self) -> System {
        self.program.system()
    }

    fn start_all(&mut self) -> io::Result<()> {
        (0..NODES).try_for_each(|id| self.start_node(id))
    }

    fn start_node(&mut self, id: usize) -> io::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(id))?;
        let peers: Vec<SocketAddr> = self.nodes.iter().map(|node| node.peer).collect();
        let data = self.directory.join(format!("node-{id}"));
        let mut command = self
            .program
            .command(id, &peers, self.nodes[id].client, &data);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(syncs) = &self.syncs {
            syncs.watch(&id.to_string(), &mut command)?;
        }
        let process = command.spawn().map_err(|error| {
            let path = self.program.executable().display();
            io::Error::new(error.kind(), format!("cannot start {path}: {error}"))
        })?;
        self.nodes[id].process = Some(process);
        Ok(())
    }

    fn log_path(&self, id: usize) -> PathBuf {
        self.directory.join(format!("node-{id}.log"))
    }

    /// The client address of the leader and its id, waiting until there is one.
    ///
    /// # Errors
    /// When none is found in time, or a node has ended by itself.
    pub fn leader(&mut self) -> io::Result<(usize, SocketAddr)> {
        let id = self.ask_all(Method::Lead)?;
        Ok((id, self.nodes[id].client))
    }

    /// What each process has used since it started.
    ///
    /// # Errors
    /// When one has ended.
    pub fn usage(&self) -> io::Result<Vec<Usage>> {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes.map(|process| usage(process.id())).collect()
    }

    /// What each node has asked of its disk, where that is counted.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn disk_calls(&self) -> io::Result<Option<Vec<DiskCalls>>> {
        let Some(syncs) = &self.syncs else {
            return Ok(None);
        };
        let counts = (0..NODES).map(|id| syncs.count(&id.to_string()));
        counts.collect::<io::Result<_>>().map(Some)
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

    /// Ends all nodes, starts them again, and gives the time from there until a put is
    /// acknowledged.
    ///
    /// # Errors
    /// When the nodes do not recover in time.
    pub fn restart(&mut self) -> io::Result<Duration> {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.take()) {
            end(process);
        }
        let started = Instant::now();
        self.start_all()?;
        self.ask_all(Method::Put)?;
        Ok(started.elapsed())
    }

    /// Stops a follower with SIGSTOP, for as long as the nodes run, and gives its id.
    ///
    /// # Errors
    /// When no node leads, or the process has ended.
    pub fn hang_a_follower(&mut self) -> io::Result<usize> {
        let (leader, _) = self.leader()?;
        let follower = (leader + 1) % NODES;
        let process = self.nodes[follower].process.as_ref();
        let process = process.ok_or(io::ErrorKind::NotFound)?;
        kill_process(Pid::from_child(process), Signal::STOP)?;
        Ok(follower)
    }

    fn wait_until_following(&mut self, id: usize) -> io::Result<()> {
        let deadline = Instant::now() + AGREEMENT_MAX;
        let system = self.system();
        while Instant::now() < deadline {
            self.check_alive()?;
            // A read is answered once there is a leader; raftkv says where.
            let client = self.nodes[id].client;
            match call_once(client, system, Method::Get, PROBE_KEY, ANSWER_MAX) {
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
        let system = self.system();
        while Instant::now() < deadline {
            self.check_alive()?;
            for (id, node) in self.nodes.iter().enumerate() {
                if node.process.is_none() {
                    continue;
                }
                // One that fails to answer may be starting; the deadline ends it.
                let answer = call_once(node.client, system, method, PROBE_KEY, ANSWER_MAX);
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
