//! `make bench-growth`: what a put costs with ever more keys, log and connections, and what a
//! follower that hangs costs. What grows with any of them grows with uptime.

use bytes::Bytes;
use clap::Parser;
use raftkv_bench::{
    api::Method,
    cluster::{Cluster, Program},
    ending::{exit_code, write_json},
    local::LocalCluster,
    machine::Machine,
    rounds::{Call, run_calls},
    spread::Spread,
};
use serde_json::{Value, json};
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

const MEMBERS: usize = 3;
const OUTSTANDING: usize = 64;
/// Puts whose cost is taken, at each size.
const PUTS: usize = 100_000;
const KEYS: [usize; 5] = [10_000, 30_000, 100_000, 300_000, 1_000_000];
const LOG_ENTRIES: [usize; 5] = [100_000, 200_000, 400_000, 800_000, 1_600_000];
const CLIENTS: [usize; 5] = [4, 16, 64, 256, 1_000];
const ROUNDS: usize = 3;
/// Prime to all of [`KEYS`].
const KEY_STRIDE: usize = 611_953;
/// What the last may cost, in terms of the first.
const GROWTH_MAX: f64 = 1.5;

/// How many measurements are spread over the time in which a follower hangs.
const SLICES: u32 = 10;

/// Shows what a put costs with ever more keys, log and connections, and while a follower hangs.
#[derive(Parser)]
struct Options {
    /// Seconds for each number of connections.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds for which a follower hangs.
    #[arg(long, default_value_t = 60.0)]
    hung_seconds: f64,
    /// Write the results to this file as JSON, too.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "bench/results/bench_growth.json"
    )]
    json: PathBuf,
    /// Where the files go while it runs.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    exit_code("bench-growth", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&options.directory)?;
    let machine = Machine::this(&options.directory);
    println!("{}", machine.line());
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    let curves = [
        curve(
            "keys",
            "us of processor time per put, in process",
            by_keys(),
        ),
        curve(
            "log entries",
            "us of processor time per put, in process",
            by_log(),
        ),
        curve(
            "connections",
            "us of processor time per put, all three nodes",
            by_clients(&options.directory, duration)?,
        ),
    ];
    let hung = Duration::try_from_secs_f64(options.hung_seconds)?;
    let hung = beside_a_hung_follower(&options.directory, hung)?;
    let report = json!({
        "machine": machine.json(),
        "commit": machine.commit,
        "curves": curves,
        "hung_follower": hung,
    });
    write_json(&options.json, &report)?;
    Ok(())
}

fn curve(over: &str, unit: &str, points: Vec<(usize, f64)>) -> Value {
    println!("\n{over}: {unit}");
    for (size, cost_us) in &points {
        println!("{size:>10} {cost_us:>8.2}");
    }
    let growth = match (points.first(), points.last()) {
        (Some((_, first)), Some((_, last))) => last / first,
        _ => f64::NAN,
    };
    let verdict = if growth <= GROWTH_MAX {
        "reached"
    } else {
        "missed"
    };
    println!("the last costs {growth:.2} x the first; at most {GROWTH_MAX} is wanted: {verdict}");
    json!({"over": over, "unit": unit, "points": points, "growth": growth})
}

fn by_keys() -> Vec<(usize, f64)> {
    let mut load = Local::new();
    let mut filled = 0;
    KEYS.into_iter()
        .map(|keys| {
            (filled..keys).for_each(|key| load.put(key));
            filled = keys;
            (keys, load.cost_us(keys))
        })
        .collect()
}

/// Without a snapshot meanwhile, the log is as long as the puts are many; with them, as shipped, it
/// is cut. Either way the cost stays.
fn by_log() -> Vec<(usize, f64)> {
    let mut load = Local::new();
    let mut entries = 0;
    LOG_ENTRIES
        .into_iter()
        .map(|wanted| {
            while entries < wanted - PUTS.min(wanted) {
                load.put(entries % 1_000);
                entries += 1;
            }
            entries += PUTS;
            (wanted, load.cost_us(1_000))
        })
        .collect()
}

struct Local {
    cluster: LocalCluster,
    value: Bytes,
    under_way: usize,
}

impl Local {
    fn new() -> Local {
        Local {
            cluster: LocalCluster::new(MEMBERS, Duration::ZERO),
            value: vec![b'v'; 256].into(),
            under_way: 0,
        }
    }

    fn put(&mut self, key: usize) {
        self.cluster
            .put(format!("key-{key:012}").into(), self.value.clone());
        self.under_way += 1;
        while self.under_way >= OUTSTANDING {
            self.under_way -= self.cluster.turn();
        }
    }

    /// The least of some rounds: what else the machine does can only add.
    fn cost_us(&mut self, keys: usize) -> f64 {
        let rounds = (0..ROUNDS).map(|_| {
            let before = raftkv_bench::machine::thread_time();
            (0..PUTS / ROUNDS).for_each(|n| self.put(n * KEY_STRIDE % keys));
            let took = raftkv_bench::machine::thread_time() - before;
            took.as_secs_f64() * 1e6 / (PUTS / ROUNDS) as f64
        });
        Spread::of(rounds.collect::<Vec<_>>()).least
    }
}

fn by_clients(directory: &Path, duration: Duration) -> io::Result<Vec<(usize, f64)>> {
    let directory = tempfile::tempdir_in(directory)?;
    let mut cluster = Cluster::start(Program::raftkv(None)?, directory.path())?;
    let mut costs = vec![Vec::new(); CLIENTS.len()];
    for _ in 0..ROUNDS {
        for (clients, costs) in CLIENTS.iter().zip(&mut costs) {
            let call = Call::closed(Method::Put, *clients);
            let figures = run_calls(&mut cluster, call, duration, 0.0)?;
            costs.extend(figures.servers.map(|servers| servers.us_per_op));
        }
    }
    let middles = costs.into_iter().map(|costs| Spread::of(costs).middle);
    Ok(CLIENTS.into_iter().zip(middles).collect())
}

/// A follower neither answers nor reads nor closes its connections: what is for it piles up
/// somewhere, or is dropped.
fn beside_a_hung_follower(directory: &Path, hung: Duration) -> io::Result<Value> {
    let directory = tempfile::tempdir_in(directory)?;
    let mut cluster = Cluster::start(Program::raftkv(None)?, directory.path())?;
    let call = Call::closed(Method::Put, OUTSTANDING);
    let slice = hung / SLICES;
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        all.push(run_calls(&mut cluster, call, slice, 0.0)?.ops_per_second);
    }
    let all = Spread::of(all);
    let follower = cluster.hang_a_follower()?;
    let leader_mib = |cluster: &mut Cluster| -> io::Result<u64> {
        let (leader, _) = cluster.leader()?;
        Ok(cluster.usage()?[leader].anonymous_bytes >> 20)
    };
    let mib_before = leader_mib(&mut cluster)?;
    println!("\nnode {follower} hangs; puts so far, puts/s, MiB of the leader (RssAnon):");
    let mut points = Vec::new();
    let (mut puts, mut rates) = (0.0, Vec::new());
    for _ in 0..SLICES {
        let rate = run_calls(&mut cluster, call, slice, 0.0)?.ops_per_second;
        puts += rate * slice.as_secs_f64();
        rates.push(rate);
        let mib = leader_mib(&mut cluster)?;
        println!("{puts:>10.0} {rate:>8.0} {mib:>6}");
        points.push((puts as u64, mib));
    }
    let rates = Spread::of(rates);
    let ratio = rates.middle / all.middle;
    println!(
        "{:.0} puts/s beside {:.0} with all three: {ratio:.2} x",
        rates.middle, all.middle
    );
    let most_mib = points.iter().map(|(_, mib)| *mib).max().unwrap_or(0);
    Ok(json!({
        "puts_per_sec_with_all": all.middle,
        "puts_per_sec": rates.middle,
        "ratio": ratio,
        "leader_mib_by_puts": points,
        "leader_gained_mib": most_mib.saturating_sub(mib_before),
    }))
}
