//! A running node: one thread with one event loop for peers, clients' requests, the log and time.

mod error;
mod event_loop;
mod handle;
mod hello;
mod identity;
mod inbound;
mod jobs;
mod join;
mod link;
mod log_line;
mod network;
mod numbered;
mod peer_list;
mod resolver;
mod restored;
mod roster;
mod sealed;
mod socket;
mod stages;
mod status;
mod stopped;
mod syncer;
mod timings;

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use mio::{Poll, Waker};
use raftkv_wal::FileMedia;

use crate::{
    raft::{self, NodeId, RoleName, Term, Token},
    replica::{Outbox, Replica, SnapshotPolicy},
    storage::Storage,
};
use event_loop::{Clock, ElectionGate, EventLoop, TICK};
use handle::{HandleMaker, Shared};
use hello::Introduction;
use jobs::Jobs;
use network::{Network, WAKER};
use roster::Roster;
use stages::Batches;
use syncer::Syncer;

pub use error::{Fatal, StartError};
pub use handle::{Answer, Backup, Handle, REQUEST_QUEUE_MAX, Request, SubmitError};
pub use identity::{DataDir, Identity, first_config};
pub use network::NODE_ID_MAX;
pub use numbered::Numbered;
pub use peer_list::{check_address, parse_peers, split_address};
pub use restored::{RestoredDir, restored_cluster_id};
pub use stages::{Stage, StageSummary, Stages};
pub use status::{Follower, NodeStatus};
pub use stopped::StoppedDir;
pub use timings::Timings;

/// Leadership is handed over within this time, or not, before a node stops.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);
/// Between two looks at whether it is.
const HAND_OVER_POLL: Duration = Duration::from_millis(2);
/// Between two lines that tell how far a slow start is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's id.
    pub node_id: NodeId,
    /// The members that found the cluster, each with the `host:port` where it accepts others; the
    /// same on every node. Once the log says who is a member, only where to look for them.
    pub peers: BTreeMap<NodeId, String>,
    /// Not to found a cluster, but to wait to be added to the one of `peers`.
    pub join: bool,
    /// The `host:port` where other nodes reach this one, as they are told.
    pub peer_address: String,
    /// The `host:port` to accept peers on.
    pub raft_listen: String,
    /// The `host:port` where clients reach this node, as others are told.
    pub client_address: String,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// Between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Election timeouts are drawn from 1 to 2 times this.
    pub election_timeout_ms: u64,
    /// A snapshot is taken when so many bytes of log were applied since the last, ...
    pub snapshot_log_bytes: u64,
    /// ... or so many entries; but not before they come to half the size of the last.
    pub snapshot_log_entries: u64,
}

/// A node on a thread of its own.
pub struct Node {
    handles: HandleMaker,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Fatal>>,
}

impl Node {
    /// Opens the data directory, binds the address and begins to take part.
    ///
    /// # Errors
    /// When any of it cannot be had; the text names the thing and the cure.
    pub fn start(config: Config) -> Result<Node, StartError> {
        check_ids(&config)?;
        let mut options = fsm_options(&config)?;
        let joins = match config.join && !DataDir::has_identity(&config.data_dir)? {
            true => Some(join::cluster_of(&config)?),
            false => None,
        };
        let data_dir = DataDir::open(&config.data_dir, config.node_id, &config.peers, joins)?;
        let listener = bind(&config.raft_listen)?;
        options.config = first_config(&data_dir.identity.members);
        let (replica, log_is_empty) = open_replica(&config, options, &data_dir)?;
        let system = |error| StartError::System {
            doing: "starting the event loop",
            error,
        };
        let poll = Poll::new().map_err(system)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(system)?;
        let shared = Arc::new(Shared::new(initial_status(&config, &data_dir), waker));
        let (handles, requests) = handle::queue(Arc::clone(&shared));
        let me = introduction(&config, &data_dir);
        let in_force = Arc::clone(replica.raft().config());
        let peers = config.peers.clone();
        let roster = Roster::new(config.node_id, peers, in_force, me.description());
        if let Some(text) = roster.disagreement() {
            tracing::warn!("{text}");
        }
        let network = Network::new(
            poll,
            listener,
            Arc::clone(&shared),
            me,
            data_dir,
            log_is_empty,
            roster,
        )
        .map_err(system)?;
        let stop = Arc::new(AtomicBool::new(false));
        let event_loop = EventLoop {
            syncer: Syncer::new(Arc::clone(&shared)).map_err(system)?,
            jobs: Jobs::new(Arc::clone(&shared)).map_err(system)?,
            network,
            replica,
            requests,
            shared: Arc::clone(&shared),
            stop: Arc::clone(&stop),
            election: ElectionGate::new(log_is_empty),
            clock: Clock::new(),
            late_ticks_max: ticks(config.heartbeat_ms),
            patience: TICK * ticks(config.election_timeout_ms),
            open: Numbered::default(),
            out: Outbox::default(),
            recent_warnings: Vec::new(),
            leads: false,
            batches: Batches::default(),
        };
        let thread = thread::Builder::new()
            .name("node".to_owned())
            .spawn(move || event_loop.run())
            .map_err(system)?;
        Ok(Node {
            handles,
            shared,
            stop,
            thread,
        })
    }

    /// A way in, whose answers go to `answers`. `wake` is called on the node's thread after each
    /// batch of them and must not block.
    pub fn handle(
        &self,
        answers: Sender<(Token, Answer)>,
        wake: impl Fn() + Send + 'static,
    ) -> Handle {
        self.handles.handle(answers, wake)
    }

    /// A way to stop the node while another thread waits for its end.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: Arc::clone(&self.shared),
            stop: Arc::clone(&self.stop),
        }
    }

    /// Whether the node has stopped, asked to or not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the node has stopped.
    ///
    /// # Errors
    /// When it stopped because it could not go on.
    ///
    /// # Panics
    /// If its thread panicked.
    pub fn wait(self) -> Result<(), Fatal> {
        self.thread.join().expect("the event loop does not panic")
    }
}

/// Stops a running node.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
}

impl Stopper {
    /// Hands leadership over, if the node leads and there is another that can. Returns when that is
    /// done or has failed, a second later at most. The node goes on meanwhile, and after it.
    pub fn hand_over(&self) {
        self.shared.wants_hand_over.store(true, Ordering::Relaxed);
        // It fails only when the event loop has ended already.
        let _ = self.shared.waker.wake();
        let began = Instant::now();
        while began.elapsed() < HAND_OVER_MAX {
            let is_begun = !self.shared.wants_hand_over.load(Ordering::Acquire);
            let status = self.shared.status.lock().get();
            if is_begun && (status.role != RoleName::Leader || status.transferring.is_none()) {
                return;
            }
            thread::sleep(HAND_OVER_POLL);
        }
    }

    /// Asks the node to hand leadership over, if it leads, and to stop. [`Node::wait`] tells when
    /// it has.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // It fails only when the event loop has ended already.
        let _ = self.shared.waker.wake();
    }
}

/// Checks that every id has a token of its own in the poll.
fn check_ids(config: &Config) -> Result<(), StartError> {
    // Who joins need not be among the peers.
    let mut ids = config.peers.keys().chain([&config.node_id]);
    match ids.find(|id| id.0 > NODE_ID_MAX) {
        None => Ok(()),
        Some(id) => Err(StartError::Flag(format!(
            "node id {id} exceeds {NODE_ID_MAX}; take a smaller one"
        ))),
    }
}

/// What the data directory held, and whether that was nothing.
fn open_replica(
    config: &Config,
    options: raft::Options,
    data_dir: &DataDir,
) -> Result<(Replica<FileMedia>, bool), StartError> {
    let wal = FileMedia::open(data_dir.wal_path())
        .map_err(|error| StartError::io(&data_dir.wal_path(), error))?;
    let wal_options = raftkv_wal::Options::new(data_dir.owner());
    let mut told = Instant::now();
    let mut progress = |read: u64, bytes: u64| {
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            tracing::info!(
                "loading the snapshot: {} of {} MiB",
                read >> 20,
                bytes >> 20
            );
        }
    };
    let opened = Storage::open_telling(wal, wal_options, &mut progress);
    let opened = opened.map_err(|error| StartError::Storage {
        directory: config.data_dir.clone(),
        error: Box::new(error),
    })?;
    for warning in &opened.warnings {
        tracing::warn!("{warning}");
    }
    let saved = &opened.saved;
    let log_is_empty = saved.log.last() == raft::LogPos::ZERO && saved.hard.term == Term::ZERO;
    let mut replica = Replica::new(options, opened);
    replica.set_snapshot_policy(SnapshotPolicy {
        log_bytes: config.snapshot_log_bytes,
        log_entries: config.snapshot_log_entries,
        ..SnapshotPolicy::default()
    });
    Ok((replica, log_is_empty))
}

fn bind(address: &str) -> Result<mio::net::TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match bound {
        Ok(listener) => Ok(mio::net::TcpListener::from_std(listener)),
        Err(error) => Err(StartError::Listen {
            flag: "--raft-listen",
            address: address.to_owned(),
            error,
        }),
    }
}

fn fsm_options(config: &Config) -> Result<raft::Options, StartError> {
    let system = |error: getrandom::Error| StartError::System {
        doing: "seeding the election timeouts",
        error: io::Error::other(error),
    };
    let seed = getrandom::u64().map_err(system)?;
    let mut options = raft::Options::new(config.node_id, raft::Config::default(), seed);
    options.heartbeat_ticks = ticks(config.heartbeat_ms);
    options.election_timeout_ticks = ticks(config.election_timeout_ms);
    if options.heartbeat_ticks >= options.election_timeout_ticks {
        return Err(StartError::Flag(format!(
            "--heartbeat-ms {} must be less than --election-timeout-ms {} by a tick of {} ms",
            config.heartbeat_ms,
            config.election_timeout_ms,
            TICK.as_millis()
        )));
    }
    Ok(options)
}

fn ticks(span_ms: u64) -> u32 {
    span_ms
        .div_ceil(TICK.as_millis() as u64)
        .clamp(1, u64::from(u32::MAX / 4)) as u32
}

fn introduction(config: &Config, data_dir: &DataDir) -> Introduction {
    Introduction {
        cluster_id: data_dir.identity.cluster_id,
        node_id: config.node_id,
        incarnation: data_dir.identity.incarnation,
        peer_address: config.peer_address.clone(),
        client_address: config.client_address.clone(),
        heartbeat_ms: config.heartbeat_ms,
        election_timeout_ms: config.election_timeout_ms,
    }
}

fn initial_status(config: &Config, data_dir: &DataDir) -> NodeStatus {
    NodeStatus {
        id: config.node_id,
        cluster_id: data_dir.identity.cluster_id,
        peer_address: config.peer_address.clone(),
        client_address: config.client_address.clone(),
        election_timeout_ms: config.election_timeout_ms,
        ..NodeStatus::default()
    }
}
