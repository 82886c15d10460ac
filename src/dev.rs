//! `raftkv dev`: a cluster of real processes on this machine. Each is this binary with the flags
//! of a node, so whatever works here works on three machines.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{self, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use raftkv::{
    client::Client,
    node::{DataDir, StartError},
};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    Failure, failure,
    flags::{DevFlags, DevNode},
};

/// A node that is told to stop has this long before it is killed: the gateway's calls in flight
/// and the handing over of leadership each have a shorter limit.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How long one question for the leader may take.
const ASK_LEADER: Duration = Duration::from_millis(500);

/// What the client tries without `--endpoints` when it was told nothing.
const DEFAULT_CLUSTER: &str = "127.0.0.1:9100,127.0.0.1:9110,127.0.0.1:9120";

/// The cause of an exit that no node explained.
const GENERAL_FAILURE: u8 = 1;

/// What the main thread waits for.
enum Event {
    /// A signal asks to stop.
    Stop,
    /// This node's log has ended, with this last line: it has exited or is about to.
    Ended { id: u16, last_line: String },
    /// Clients are served, by this address.
    Leader(String),
}

/// A node's process; `None` once it was waited for.
struct Cluster {
    nodes: Vec<(DevNode, Option<Child>)>,
    events: Receiver<Event>,
    peers: String,
}

/// Runs the cluster until a signal asks to stop, or a start that failed.
///
/// # Errors
/// Exit code and last line. No node is left running.
pub fn run(flags: &DevFlags) -> Result<(), Failure> {
    let nodes = flags.cluster().map_err(failure)?;
    check_free(&nodes).map_err(failure)?;
    let system = |error| {
        let doing = "starting raftkv dev";
        failure(StartError::System { doing, error })
    };
    let (sender, events) = unbounded();
    // Signals are caught before there is a node that could outlive one.
    watch_signals(sender.clone()).map_err(system)?;
    let peers: Vec<String> = nodes
        .iter()
        .map(|node| format!("{}@{}", node.id, node.raft))
        .collect();
    let mut cluster = Cluster {
        nodes: nodes.into_iter().map(|node| (node, None)).collect(),
        events,
        peers: peers.join(","),
    };
    let ran = cluster
        .start(flags, &sender)
        .map_err(system)
        .and_then(|()| {
            ask_for_leader(cluster.endpoints(), sender).map_err(system)?;
            cluster.watch()
        });
    cluster.stop();
    ran
}

impl Cluster {
    fn start(&mut self, flags: &DevFlags, sender: &Sender<Event>) -> io::Result<()> {
        let program = env::current_exe()?;
        let parent = rustix::process::getpid();
        for (node, process) in &mut self.nodes {
            say(&format!(
                "node {}   raft {}   clients {}   data {}",
                node.id,
                node.raft,
                node.clients,
                node.data_dir.display()
            ));
            let mut command = Command::new(&program);
            command
                .args(node_flags(node, &self.peers))
                .args(["--log-level", &flags.log_level.name()]);
            for (name, _) in env::vars_os() {
                // The flags here are all there is, whatever the shell exports for other nodes.
                if name.to_string_lossy().starts_with("RAFTKV_") {
                    command.env_remove(name);
                }
            }
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            // Ctrl-C reaches the whole foreground group; the nodes are stopped from here alone.
            command.process_group(0);
            // SAFETY: both are plain system calls, which a forked child of a process with threads
            // may make.
            unsafe { command.pre_exec(move || end_with(parent)) };
            let mut child = command.spawn()?;
            let log = child.stderr.take().expect("stderr is piped");
            *process = Some(child);
            let (id, sender) = (node.id, sender.clone());
            thread::Builder::new().spawn(move || {
                let last_line = copy_log(id, log);
                // The receiver is gone only when nobody asks any more.
                let _ = sender.send(Event::Ended { id, last_line });
            })?;
        }
        Ok(())
    }

    fn endpoints(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|(node, _)| node.clients.clone())
            .collect()
    }

    /// Runs until a signal. Before a leader is there the end of a node ends all.
    fn watch(&mut self) -> Result<(), Failure> {
        let mut is_ready = false;
        while let Ok(event) = self.events.recv() {
            match event {
                Event::Stop => return Ok(()),
                Event::Leader(address) => {
                    is_ready = true;
                    self.say_ready(&address);
                }
                Event::Ended { id, last_line } => {
                    let status = self.wait(id);
                    if !is_ready {
                        let cause = last_line.trim_start_matches("error: ");
                        return Err((exit_code(status), format!("node {id}: {cause}")));
                    }
                    self.say_ended(id, status);
                    if self.nodes.iter().all(|(_, process)| process.is_none()) {
                        return Err((GENERAL_FAILURE, "no node is left".to_owned()));
                    }
                }
            }
        }
        unreachable!("the thread that waits for signals keeps its sender");
    }

    fn wait(&mut self, id: u16) -> Option<ExitStatus> {
        self.nodes[usize::from(id)]
            .1
            .take()
            .and_then(|mut process| process.wait().ok())
    }

    fn say_ready(&self, leader: &str) {
        let leads = self.nodes.iter().find(|(node, _)| node.clients == leader);
        let leads = leads.map_or_else(
            || leader.to_owned(),
            |(node, _)| format!("node {}", node.id),
        );
        say(&format!(
            "ready    {leads} leads; a write is acknowledged once a majority has synced it to disk"
        ));
        say("next     in another shell:");
        let endpoints = self.endpoints().join(",");
        if endpoints != DEFAULT_CLUSTER {
            say(&format!("           export RAFTKV_ENDPOINTS={endpoints}"));
        }
        let client = quoted(&sibling("raftkv-cli").display().to_string());
        say(&format!("           {client} put greeting hello"));
        say("         Ctrl-C stops all nodes");
    }

    fn say_ended(&self, id: u16, status: Option<ExitStatus>) {
        let how = match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("exited with code {code}"),
            Some((None, Some(signal))) => format!("was ended by signal {signal}"),
            _ => "ended".to_owned(),
        };
        let node = &self.nodes[usize::from(id)].0;
        say(&format!(
            "node {id} {how}; the others go on.  To start it again, in another shell:"
        ));
        let mut words = vec![sibling("raftkv").display().to_string()];
        words.extend(node_flags(node, &self.peers));
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        say(&format!("           {}", words.join(" ")));
    }

    /// Tells all nodes to stop, and waits until they have; a second signal, or a node that takes
    /// too long, ends what is left at once.
    fn stop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_MAX;
        while self.nodes.iter().any(|(_, process)| process.is_some()) {
            match self.events.recv_deadline(deadline) {
                Ok(Event::Ended { id, .. }) => {
                    self.wait(id);
                }
                Ok(Event::Leader(_)) => {}
                Ok(Event::Stop) | Err(_) => {
                    self.signal(Signal::KILL);
                    for id in 0..self.nodes.len() {
                        self.wait(id as u16);
                    }
                }
            }
        }
        say("stopped");
    }

    fn signal(&self, signal: Signal) {
        for process in self
            .nodes
            .iter()
            .filter_map(|(_, process)| process.as_ref())
        {
            // It was not waited for yet, so the id is still its own, even if it has exited.
            let _ = kill_process(Pid::from_child(process), signal);
        }
    }
}

/// Refuses what would make a node fail, before there is one.
fn check_free(nodes: &[DevNode]) -> Result<(), StartError> {
    let mut held = Vec::new();
    for node in nodes {
        DataDir::check_unlocked(&node.data_dir)?;
        for address in [&node.raft, &node.clients] {
            let listener = TcpListener::bind(address).map_err(|error| StartError::Listen {
                flag: "--base-port: address",
                address: address.clone(),
                error,
            })?;
            held.push(listener);
        }
    }
    Ok(())
}

fn watch_signals(sender: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().spawn(move || {
        for _ in signals.forever() {
            let _ = sender.send(Event::Stop);
        }
    })?;
    Ok(())
}

/// Sends the leader's address once, when there is one.
fn ask_for_leader(endpoints: Vec<String>, sender: Sender<Event>) -> io::Result<()> {
    thread::Builder::new().spawn(move || {
        let client = Client::new(endpoints).expect("addresses that this program made");
        let mut client = client.with_timeout(ASK_LEADER);
        // Whoever answers a read has the word of a majority that it leads.
        while client.get("raftkv").is_err() {}
        let _ = sender.send(Event::Leader(client.endpoint().to_owned()));
    })?;
    Ok(())
}

/// The child ends when its parent does, even by `kill -9`, and stops as if asked to.
fn end_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// Copies a node's log to stderr until it ends, and returns its last line.
fn copy_log(id: u16, log: ChildStderr) -> String {
    let mut log = BufReader::new(log);
    let (mut line, mut last) = (Vec::new(), String::new());
    while log
        .read_until(b'\n', &mut line)
        .is_ok_and(|bytes| bytes > 0)
    {
        last = String::from_utf8_lossy(&line).trim_end().to_owned();
        // Nobody reads it: the cluster goes on all the same.
        let _ = writeln!(io::stderr(), "node {id} | {last}");
        line.clear();
    }
    last
}

/// A word as a shell takes it back.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@,+=%".contains(char);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn node_flags(node: &DevNode, peers: &str) -> Vec<String> {
    let id = node.id.to_string();
    let data_dir = path::absolute(&node.data_dir).unwrap_or_else(|_| node.data_dir.clone());
    let data_dir = data_dir.display().to_string();
    [
        ("--node-id", id.as_str()),
        ("--peers", peers),
        ("--raft-listen", &node.raft),
        ("--kv-listen", &node.clients),
        ("--data-dir", &data_dir),
    ]
    .iter()
    .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
    .collect()
}

fn exit_code(status: Option<ExitStatus>) -> u8 {
    let code = status.and_then(|status| status.code());
    code.and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0)
        .unwrap_or(GENERAL_FAILURE)
}

/// A program that lies beside this one, as it can be typed anywhere.
fn sibling(name: &str) -> PathBuf {
    env::current_exe().map_or_else(|_| PathBuf::from(name), |own| own.with_file_name(name))
}

fn say(line: &str) {
    // Nobody reads it: the cluster goes on all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_back_what_it_is_told_to_paste() {
        for word in [
            "--peers",
            "0@127.0.0.1:9110,1@[::1]:9",
            "/a b/$HOME",
            "it's",
            "",
            "*",
        ] {
            let command = format!("printf %s {}", quoted(word));
            let printed = Command::new("sh").args(["-c", &command]).output();
            let printed = String::from_utf8(printed.expect("a shell").stdout);
            assert_eq!(printed.expect("as it came"), word);
        }
        assert_eq!(quoted("/var/lib/raftkv-0"), "/var/lib/raftkv-0");
    }
}
