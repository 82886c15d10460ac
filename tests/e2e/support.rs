//! Processes that a test starts, and what it waits for.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, unbounded};
use raftkv::client::{Client, Error};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Below the ports that the system gives to outgoing connections, so that none of those takes the
/// port of a node which is down for a moment.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// Clusters take turns: elections of one should not wait for the disk of another.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind that matters to the next.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between fork and exec a child holds all that its parent has open, a port that another test is
/// trying out too. So nobody starts a process while a port is held for a moment.
fn no_fork() -> MutexGuard<'static, ()> {
    static FORK: Mutex<()> = Mutex::new(());
    FORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program.
pub fn spawn(command: &mut Command) -> Child {
    let _alone = no_fork();
    command.spawn().expect("a program that runs")
}

/// Ports that are free, each `base` plus one of `offsets`; gives the base.
pub fn free_base_port(offsets: &[u16]) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Test binaries that run at the same time begin at different places.
    let begin = (std::process::id().wrapping_mul(211) % u32::from(span)) as u16;
    let _alone = no_fork();
    for _ in 0..1000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = PORTS.start + begin.wrapping_add(step.wrapping_mul(131)) % span;
        let free = |offset: &u16| TcpListener::bind(("127.0.0.1", base + offset)).is_ok();
        if offsets.iter().all(free) {
            return base;
        }
    }
    panic!("no free ports in {PORTS:?}");
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_base_port(&[0]))
}

/// Looks until there is something to see.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The program under test.
pub fn raftkv() -> Command {
    let mut command = Command::new(program());
    command.stdin(Stdio::null());
    command
}

/// `raftkv-cli` with these words, for this cluster.
pub fn cli(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = Command::new(program().with_file_name("raftkv-cli"));
    command.stdin(Stdio::null()).args(words);
    command.env("RAFTKV_ENDPOINTS", cluster.endpoints());
    command.env("RAFTKV_TIMEOUT", "60s");
    command
}

/// Runs `raftkv-cli` with these words and a file, for this cluster.
pub fn raftkv_cli(cluster: &Cluster, words: &[&str], file: &Path) -> End {
    let mut command = cli(cluster, words);
    command.arg(file);
    Process::start(command).end()
}

/// Where it is: in `RAFTKV_BIN_DIR`, where cargo says (which it does in the package of the program
/// only), or in a profile's directory beside the test's own.
pub fn program() -> PathBuf {
    if let Some(directory) = std::env::var_os("RAFTKV_BIN_DIR") {
        return PathBuf::from(directory).join("raftkv");
    }
    if let Some(program) = option_env!("CARGO_BIN_EXE_raftkv") {
        return PathBuf::from(program);
    }
    let test = std::env::current_exe().expect("a path of this test");
    let profiles = test.ancestors().nth(3).expect("target/PROFILE/deps/TEST");
    let mut programs = ["debug", "release"].map(|profile| profiles.join(profile).join("raftkv"));
    // The profile of the test first: what cargo built last.
    programs.sort_by_key(|program| !test.starts_with(program.parent().expect("a profile")));
    let found = programs.into_iter().find(|program| program.exists());
    found.unwrap_or_else(|| panic!("no raftkv below {}: run `make build`", profiles.display()))
}

/// A process whose output can be waited for. It is killed when dropped.
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// How a process ended.
#[derive(Debug)]
pub struct End {
    /// Its exit code, if it was not killed.
    pub code: Option<i32>,
    /// What it wrote to stdout, as far as nobody waited for it.
    pub stdout: Vec<String>,
    /// What it wrote to stderr.
    pub stderr: Vec<String>,
}

struct Output {
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Output {
    fn of(stream: impl Read + Send + 'static) -> Output {
        let (sender, lines) = unbounded();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Output {
            lines,
            seen: Vec::new(),
        }
    }

    /// The next line, or `None` at the end.
    fn next(&mut self, until: Instant) -> Option<String> {
        match self.lines.recv_deadline(until) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(error) => {
                assert!(!error.is_timeout(), "no end, after {:#?}", self.seen);
                None
            }
        }
    }

    fn wait_for(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Some(line) = self.next(until) {
            if line.contains(part) {
                return line;
            }
        }
        panic!("ended without {part:?}: {:#?}", self.seen);
    }
}

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> Process {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command);
        Process {
            stdout: Output::of(child.stdout.take().expect("stdout is piped")),
            stderr: Output::of(child.stderr.take().expect("stderr is piped")),
            child,
        }
    }

    /// Its id.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line of stderr with this part.
    pub fn wait_for_log(&mut self, part: &str) -> String {
        self.stderr.wait_for(part)
    }

    /// The next line of stdout with this part.
    pub fn wait_for_line(&mut self, part: &str) -> String {
        self.stdout.wait_for(part)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("it was not waited for yet");
    }

    /// Waits until it ends by itself.
    pub fn end(mut self) -> End {
        let until = Instant::now() + PATIENCE;
        while self.stderr.next(until).is_some() {}
        while self.stdout.next(until).is_some() {}
        let status = self.child.wait().expect("our child");
        End {
            code: status.code(),
            stdout: std::mem::take(&mut self.stdout.seen),
            stderr: std::mem::take(&mut self.stderr.seen),
        }
    }

    /// Ends it as a power cut of the process would.
    pub fn kill(mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    /// Its last line on stderr.
    pub fn last_line(&self) -> &str {
        self.stderr.last().map_or("", String::as_str)
    }

    /// Checks the exit code.
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:#?}");
    }

    /// Checks exit code and last line.
    pub fn assert_says(&self, code: i32, part: &str) {
        let says = self.last_line().starts_with("error: ") && self.last_line().contains(part);
        assert!(
            self.code == Some(code) && says,
            "{code}, {part:?}: {self:#?}"
        );
    }
}

/// So many nodes found a cluster.
const FOUNDERS: usize = 3;

/// Three nodes that can be started, killed and wiped, and others that join them.
pub struct Cluster {
    directory: TempDir,
    addresses: Vec<(String, String)>,
    running: Vec<Option<Process>>,
}

impl Cluster {
    /// Three nodes, none of them running.
    pub fn new() -> Cluster {
        let addresses = (0..FOUNDERS).map(|_| (free_address(), free_address()));
        let addresses: Vec<_> = addresses.collect();
        Cluster {
            directory: tempfile::tempdir().expect("a temporary directory"),
            running: addresses.iter().map(|_| None).collect(),
            addresses,
        }
    }

    /// Three running nodes, each of which has met the others.
    pub fn started() -> Cluster {
        let mut cluster = Cluster::new();
        cluster.start_all();
        for id in 0..FOUNDERS {
            let pins = cluster.data_dir(id).join("pins");
            wait_for("three pins", || {
                let text = std::fs::read_to_string(&pins).ok()?;
                (text.matches("\npin ").count() == 3).then_some(())
            });
        }
        cluster
    }

    /// `--peers`.
    pub fn peers(&self) -> String {
        self.peers_before(FOUNDERS)
    }

    fn peers_before(&self, end: usize) -> String {
        let mut peers = String::new();
        for (id, (raft, _)) in self.addresses[..end].iter().enumerate() {
            let _ = write!(peers, "{}{id}@{raft}", if id == 0 { "" } else { "," });
        }
        peers
    }

    /// Makes room for a node that joins, and gives its id.
    pub fn add(&mut self) -> usize {
        self.addresses.push((free_address(), free_address()));
        self.running.push(None);
        self.addresses.len() - 1
    }

    /// A place for a file of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where nodes serve clients.
    pub fn endpoints(&self) -> String {
        let clients = self.addresses.iter().map(|(_, clients)| clients.as_str());
        clients.collect::<Vec<_>>().join(",")
    }

    /// Where the node keeps its data.
    pub fn data_dir(&self, id: usize) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    /// Where it accepts peers, and clients.
    pub fn addresses(&self, id: usize) -> (&str, &str) {
        (&self.addresses[id].0, &self.addresses[id].1)
    }

    /// The command that starts the node.
    pub fn command(&self, id: usize) -> Command {
        let (raft, clients) = self.addresses(id);
        let joins = id >= FOUNDERS;
        let peers = self.peers_before(if joins { id } else { FOUNDERS });
        let mut command = node_command(id, &peers, raft, clients, &self.data_dir(id));
        command.args(joins.then_some("--join"));
        command
    }

    /// Starts a node that is not running.
    pub fn start(&mut self, id: usize) {
        assert!(self.running[id].is_none(), "node {id} is running");
        self.running[id] = Some(Process::start(self.command(id)));
    }

    /// Starts all nodes.
    pub fn start_all(&mut self) {
        (0..self.addresses.len()).for_each(|id| self.start(id));
    }

    /// Hands a running node over, for the test to end it or to see it end.
    pub fn take(&mut self, id: usize) -> Process {
        self.running[id].take().expect("the node is running")
    }

    /// The id of a running process.
    pub fn process_id(&self, id: usize) -> Pid {
        self.running[id].as_ref().expect("the node is running").id()
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: usize) {
        self.take(id).kill();
    }

    /// `kill -9` for all at once: none sees another one die and acts on it.
    pub fn kill_all(&mut self) {
        let running: Vec<Process> = self.running.iter_mut().filter_map(Option::take).collect();
        running
            .iter()
            .for_each(|process| process.signal(Signal::STOP));
        running.into_iter().for_each(Process::kill);
    }

    /// Gives each node that is not running other addresses.
    pub fn move_all(&mut self) {
        assert!(
            self.running.iter().all(Option::is_none),
            "a node is running"
        );
        self.addresses
            .fill_with(|| (free_address(), free_address()));
    }

    /// Loses the node's disk.
    pub fn wipe(&self, id: usize) {
        std::fs::remove_dir_all(self.data_dir(id)).expect("a directory to remove");
    }

    /// A client of all nodes.
    pub fn client(&self) -> Client {
        let endpoints = self.addresses.iter().map(|(_, clients)| clients.as_str());
        Client::new(endpoints)
            .expect("endpoints")
            .with_timeout(PATIENCE)
    }

    /// Who leads, by the word of a majority.
    pub fn leader(&self) -> usize {
        let mut client = self.client();
        client.get("who leads").expect("a majority");
        let leads = |(_, clients): &(String, String)| clients == client.endpoint();
        self.addresses.iter().position(leads).expect("a node leads")
    }
}

/// The command that starts a node.
pub fn node_command(id: usize, peers: &str, raft: &str, clients: &str, data_dir: &Path) -> Command {
    let mut command = raftkv();
    command.args(["--node-id", &id.to_string(), "--peers", peers]);
    command.args(["--raft-listen", raft, "--kv-listen", clients]);
    command.arg("--data-dir").arg(data_dir);
    command
}

/// Puts until it is acknowledged. The same value again does no harm, so an unknown outcome, such
/// as an election in mid-call leaves, is met by another attempt.
pub fn put(client: &mut Client, key: &str, value: &str) {
    wait_for(key, || match client.put(key, value) {
        Ok(()) => Some(()),
        Err(Error::OutcomeUnknown(_)) => None,
        Err(error) => panic!("put {key}: {error}"),
    });
}
