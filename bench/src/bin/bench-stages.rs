//! `make bench-stages` and `make flamegraph`: three nodes with their gateways in one process, under
//! load over real sockets and disks; where the time of a commit goes, as the nodes record it.

use clap::Parser;
use raftkv::{
    gateway::Gateway,
    node::{Config, Node, Stage, Stages},
    raft::{NodeId, RoleName},
    replica::SnapshotPolicy,
};
use raftkv_bench::{
    api::{Method, System},
    ending::{exit_code, write_json},
    load::{self, KEYS, Load, Pace},
    machine::Machine,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const NODES: u64 = 3;
const CLIENTS: [usize; 2] = [1, 64];
const ELECTION_MAX: Duration = Duration::from_secs(20);

/// Shows where the time of a commit goes.
#[derive(Parser)]
struct Options {
    /// Seconds of load, for each number of clients.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Draw what the processor does meanwhile, with 64 clients, as a flame graph.
    #[cfg(feature = "flamegraph")]
    #[arg(long, value_name = "FILE")]
    flamegraph: Option<PathBuf>,
    /// Write the results to this file as JSON, too.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "bench/results/bench_stages.json"
    )]
    json: PathBuf,
    /// Where the files go while it runs.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    exit_code("bench-stages", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let machine = Machine::this(directory.path());
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    println!("{}", machine.line());
    let mut runs = Vec::new();
    for clients in CLIENTS {
        // New nodes, whose histograms are empty.
        let members = start(&directory.path().join(clients.to_string()))?;
        let leader = leader(&members)?;
        #[cfg(feature = "flamegraph")]
        let profiler = pprof::ProfilerGuardBuilder::default()
            .frequency(997)
            .build()?;
        let load = Load {
            system: System::Raftkv,
            method: Method::Put,
            clients,
            outstanding: 1,
            value_bytes: 256,
            keys: KEYS,
            pace: Pace::Closed(duration),
        };
        let served = load::run(&load, members[leader].gateway.address())?;
        #[cfg(feature = "flamegraph")]
        if let Some(path) = options
            .flamegraph
            .as_ref()
            .filter(|_| clients == CLIENTS[1])
        {
            profiler
                .report()
                .build()?
                .flamegraph(fs::File::create(path)?)?;
            println!("drawn: {}", path.display());
        }
        println!(
            "\n{clients} clients: {:.0} puts/s, p50 {:.0} us at the client",
            served.latencies.count() as f64 / duration.as_secs_f64(),
            served.latencies.percentile_us(50.0)
        );
        let stages = stages(&members, leader);
        runs.push(json!({
            "clients": clients,
            "p50_us": served.latencies.percentile_us(50.0),
            "stages": stages,
        }));
    }
    let report = json!({"machine": machine.json(), "commit": machine.commit, "runs": runs});
    write_json(&options.json, &report)?;
    Ok(())
}

struct Member {
    /// First, so that it goes before the node that answers it.
    gateway: Gateway,
    node: Node,
}

fn start(directory: &Path) -> Result<Vec<Member>, Box<dyn Error>> {
    let mut peers = BTreeMap::new();
    let mut held = Vec::new();
    for id in 0..NODES {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        peers.insert(NodeId(id), listener.local_addr()?.to_string());
        held.push(listener);
    }
    drop(held);
    let mut members = Vec::new();
    for (&node_id, address) in &peers {
        let clients = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let node = Node::start(Config {
            node_id,
            peers: peers.clone(),
            raft_listen: address.clone(),
            peer_address: address.clone(),
            join: false,
            client_address: clients.local_addr()?.to_string(),
            data_dir: directory.join(node_id.to_string()),
            heartbeat_ms: 50,
            election_timeout_ms: 150,
            snapshot_log_bytes: SnapshotPolicy::default().log_bytes,
            snapshot_log_entries: SnapshotPolicy::default().log_entries,
        })?;
        let gateway = Gateway::start(clients, |answers, wake| node.handle(answers, wake))?;
        members.push(Member { gateway, node });
    }
    Ok(members)
}

fn leader(members: &[Member]) -> Result<usize, Box<dyn Error>> {
    let began = Instant::now();
    while began.elapsed() < ELECTION_MAX {
        let leads = |member: &Member| member.handle().status().role == RoleName::Leader;
        if let Some(leader) = members.iter().position(leads) {
            return Ok(leader);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err("nobody was elected".into())
}

impl Member {
    fn handle(&self) -> raftkv::node::Handle {
        let (answers, _) = crossbeam_channel::unbounded();
        self.node.handle(answers, || {})
    }

    fn stages(&self) -> Stages {
        self.handle().stages()
    }
}

/// Of the leader, and the syncs of a follower.
fn stages(members: &[Member], leader: usize) -> Vec<Value> {
    let leading = members[leader].stages();
    let following = members[(leader + 1) % members.len()].stages();
    Stage::ALL
        .map(|stage| {
            let histogram = match stage {
                Stage::FollowerSync => following.of(stage),
                _ => leading.of(stage),
            };
            let at = |quantile| histogram.value_at_quantile(quantile);
            println!(
                "{:16}{:>9} times, p50 {:>6} us, p99 {:>6} us",
                stage.name(),
                histogram.len(),
                at(0.5),
                at(0.99)
            );
            json!({
                "stage": stage.name(), "count": histogram.len(),
                "p50_us": at(0.5), "p99_us": at(0.99),
            })
        })
        .into()
}
