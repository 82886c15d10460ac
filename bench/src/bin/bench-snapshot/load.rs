//! Nodes of this process, and puts into them.

use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};
use raftkv::{
    node::{Answer, Config, Handle, Node, Request},
    raft::{NodeId, RoleName, Token},
    replica::Operation,
};

pub const VALUE_BYTES: usize = 256;
/// Puts under way while something is measured, and while keys are loaded.
pub const OUTSTANDING: usize = 64;
const OUTSTANDING_LOADING: usize = 2048;
/// Never by itself.
const NO_SNAPSHOTS: u64 = 1 << 40;

/// Puts into a node of this process.
pub struct Load {
    pub handle: Handle,
    answers: Receiver<(Token, Answer)>,
    next: u64,
    open: usize,
}

impl Load {
    pub fn new(node: &Node) -> Load {
        let (sender, answers) = unbounded();
        Load {
            handle: node.handle(sender, || {}),
            answers,
            next: 0,
            open: 0,
        }
    }

    fn submit(&mut self, key: u64) -> Result<(), Box<dyn Error>> {
        self.next += 1;
        let operation = Operation::Put {
            key: format!("key-{key:012}").into(),
            value: Bytes::from(vec![b'a' + (self.next % 26) as u8; VALUE_BYTES]),
        };
        let token = Token(self.next);
        let submitted = self.handle.submit(Request { token, operation });
        submitted.map_err(|error| format!("{error:?}"))?;
        self.open += 1;
        Ok(())
    }

    /// Waits for an answer: whether that was a put that was done.
    fn wait(&mut self) -> Result<bool, Box<dyn Error>> {
        let (_, answer) = self.answers.recv_timeout(Duration::from_secs(60))?;
        self.open -= 1;
        is_done(&answer)
    }

    /// Until the node takes a put.
    pub fn lead(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            self.submit(0)?;
            self.handle.wake();
            if self.wait()? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn fill(&mut self, keys: u64) -> Result<(), Box<dyn Error>> {
        // In no order of the keys.
        let order = (0..keys).map(|i| i * 7_368_787 % keys);
        for key in order {
            self.submit(key)?;
            if self.open >= OUTSTANDING_LOADING {
                self.handle.wake();
                while self.open > OUTSTANDING_LOADING / 2 {
                    self.wait()?;
                }
            }
        }
        self.handle.wake();
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Box<dyn Error>> {
        while self.open > 0 {
            self.wait()?;
        }
        Ok(())
    }

    /// Overwrites keys for so long, or until the newest snapshot makes `until` true; gives puts
    /// per second.
    pub fn run(
        &mut self,
        keys: u64,
        longest: Duration,
        mut until: impl FnMut(u64) -> bool,
    ) -> Result<f64, Box<dyn Error>> {
        let (began, mut done) = (Instant::now(), 0u64);
        let mut seed = 88_172_645_463_325_252u64;
        while began.elapsed() < longest && !until(self.handle.status().snapshot.0) {
            while self.open < OUTSTANDING {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                self.submit(seed % keys)?;
            }
            self.handle.wake();
            done += u64::from(self.wait()?);
            while let Ok((_, answer)) = self.answers.try_recv() {
                self.open -= 1;
                done += u64::from(is_done(&answer)?);
            }
            if self.handle.status().role != RoleName::Leader {
                return Err("another node leads now: the machine has too much else to do".into());
            }
        }
        let rate = done as f64 / began.elapsed().as_secs_f64();
        self.drain()?;
        Ok(rate)
    }
}

fn is_done(answer: &Answer) -> Result<bool, Box<dyn Error>> {
    match answer {
        Answer::Put => Ok(true),
        Answer::NotLeader { .. } | Answer::Busy { .. } => Ok(false),
        other => Err(format!("a put is answered {other:?}").into()),
    }
}

/// The one of the nodes that leads.
pub fn leading(nodes: &[Node]) -> Result<Load, Box<dyn Error>> {
    loop {
        for node in nodes {
            let mut load = Load::new(node);
            load.submit(0)?;
            load.handle.wake();
            if load.wait()? {
                return Ok(load);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

pub fn stop(node: Node) -> Result<(), Box<dyn Error>> {
    node.stopper().stop();
    node.wait().map_err(|error| error.to_string().into())
}

pub fn config(id: u64, peers: &BTreeMap<NodeId, String>, data_dir: &Path) -> Config {
    Config {
        node_id: NodeId(id),
        peers: peers.clone(),
        raft_listen: peers[&NodeId(id)].clone(),
        peer_address: peers[&NodeId(id)].clone(),
        join: false,
        client_address: String::new(),
        data_dir: data_dir.to_owned(),
        heartbeat_ms: 50,
        election_timeout_ms: 150,
        snapshot_log_bytes: NO_SNAPSHOTS,
        snapshot_log_entries: NO_SNAPSHOTS,
    }
}

pub fn free_address() -> Result<String, Box<dyn Error>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
