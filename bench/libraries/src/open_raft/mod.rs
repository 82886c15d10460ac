//! openraft, which is handed the puts that are outstanding in one batch; all are waited for, as
//! suits it best. Messages are passed on as they are, and log and state machine are the least that
//! it takes: nothing is encoded or summed, and puts are counted where they were to be applied.

mod network;
mod storage;

use crate::{Failure, KEPT_ENTRIES, PUT_BYTES, RUN, figures::Figures};
use futures_util::TryStreamExt;
use hdrhistogram::Histogram;
use network::Network;
use openraft::{Config, Raft, SnapshotPolicy};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};
use storage::{Log, Machine};
use tokio::runtime::{Builder, Runtime};

/// Entries in one append, so that all that are outstanding fit.
const APPEND_MAX_ENTRIES: u64 = 1_024;
/// Entries that are cut from the log at once.
const PURGED_ENTRIES: u64 = 1_024;

openraft::declare_raft_types!(
    /// What the library is told of its user.
    Types:
        D = Put,
        R = (),
        Node = (),
);

type Member = Raft<Types, Machine>;

/// Shared by all logs, so that a copy of an entry is none of its bytes.
#[derive(Clone, Debug)]
struct Put(Arc<[u8; PUT_BYTES]>);

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// On one thread and on two, whichever serves it better.
pub fn run(nodes: u64, outstanding: usize) -> Result<Figures, Failure> {
    let on_one = run_on(1, nodes, outstanding)?;
    let on_two = run_on(2, nodes, outstanding)?;
    Ok(match on_one.puts_per_sec() >= on_two.puts_per_sec() {
        true => on_one,
        false => on_two,
    })
}

fn run_on(threads: usize, nodes: u64, outstanding: usize) -> Result<Figures, Failure> {
    let runtime = runtime(threads)?;
    let (latencies, elapsed) = runtime.block_on(async {
        let leader = start(nodes).await?;
        let began = Instant::now();
        // A task, since one that a runtime blocks on is none of its workers'.
        let latencies = tokio::spawn(drive(leader, outstanding)).await??;
        Ok::<_, Failure>((latencies, began.elapsed()))
    })?;
    Ok(Figures {
        library: "openraft",
        nodes,
        outstanding,
        threads,
        latencies,
        elapsed,
    })
}

fn runtime(threads: usize) -> Result<Runtime, Failure> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    Ok(builder.enable_time().build()?)
}

/// The first member leads.
async fn start(nodes: u64) -> Result<Member, Failure> {
    // Patient, since no election is measured. A snapshot is only where the log may be cut.
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 1_000,
        election_timeout_max: 2_000,
        max_payload_entries: APPEND_MAX_ENTRIES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(KEPT_ENTRIES),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        purge_batch_size: PURGED_ENTRIES,
        ..Config::default()
    };
    let config = Arc::new(config.validate()?);
    let network = Network::default();
    for id in 1..=nodes {
        let (log, machine) = (Log::default(), Machine::default());
        let member = Raft::new(id, config.clone(), network.clone(), log, machine).await?;
        network.join(id, member);
    }
    let leader = network.member(1);
    let members: BTreeMap<u64, ()> = (1..=nodes).map(|id| (id, ())).collect();
    leader.initialize(members).await?;
    // The members are the first entry; with the second, its own, it leads for sure.
    let waiting = leader.wait(None);
    waiting.applied_index_at_least(Some(1), "to lead").await?;
    Ok(leader)
}

async fn drive(leader: Member, outstanding: usize) -> Result<Histogram<u64>, Failure> {
    let mut latencies = Histogram::new(3)?;
    let mut now = Instant::now();
    let until = now + RUN;
    while now < until {
        let began = now;
        let puts = (0..outstanding).map(|_| Put(Arc::new([7; PUT_BYTES])));
        let mut results = leader.client_write_many(puts).await?;
        while let Some(result) = results.try_next().await? {
            result?;
            now = Instant::now();
            latencies.record((now - began).as_nanos() as u64)?;
        }
    }
    Ok(latencies)
}
