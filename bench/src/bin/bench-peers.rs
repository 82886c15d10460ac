//! `make bench-peers`: the same load on raftkv and on etcd, in turns, on one machine.

use clap::Parser;
use raftkv_bench::{
    api::Method,
    cluster::{Cluster, Program},
    ending::{exit_code, write_json},
    load::{self, Load, Pace},
    machine::Machine,
    report::row_json,
    rounds::{Call, Figures, Workload, run_calls},
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

const CALLS: [Call; 10] = [
    Call::closed(Method::Put, 1),
    Call::closed(Method::Put, 16),
    Call::closed(Method::Put, 64),
    Call::closed(Method::Put, 256),
    Call::closed(Method::Put, 1_000),
    Call::closed(Method::Get, 1),
    Call::closed(Method::Get, 16),
    Call::closed(Method::Get, 64),
    Call::closed(Method::Get, 256),
    Call::large_put(16, 64 << 10),
];

/// For loading keys.
const FILL_CLIENTS: usize = 256;

/// Restarts with so many keys are compared, or with fewer where fewer are wanted.
const RESTART_KEYS: u64 = 300_000;

/// Measures raftkv and etcd by turns.
#[derive(Parser)]
struct Options {
    /// How often each workload runs on each system.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each of these lasts.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often each leader is killed.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Keys of 256 bytes that both are filled with, for memory and restarts; 0 for none.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Write the results to this file as JSON, too.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "bench/results/bench_peers.json"
    )]
    json: PathBuf,
    /// Where the files go while it runs: on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    exit_code("bench-peers", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let Some(etcd) = Program::etcd() else {
        println!(
            "etcd is not installed (Debian: etcd-server), so there is nothing to compare with"
        );
        return Ok(());
    };
    fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let machine = Machine::this(directory.path());
    println!("{}\n{}", machine.line(), etcd.version());
    let programs = [Program::raftkv(None)?, etcd.clone()];
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    let mut pair = start(&programs, &directory.path().join("load"))?;
    let rows = measure_rows(&mut pair, options.rounds, duration)?;
    let failover_ms = measure_failovers(&mut pair, options.kills)?;
    drop(pair);
    let mut filled = Vec::new();
    if options.keys > 0 {
        for program in programs {
            let directory = directory.path().join(program.system().name());
            filled.push(measure_filled(program, &directory, options.keys)?);
        }
    }
    let report = json!({
        "machine": machine.json(),
        "commit": machine.commit,
        "etcd": etcd.version(),
        "connections": "one per client",
        "rows": rows,
        "failover_ms": {"raftkv": failover_ms[0].json(), "etcd": failover_ms[1].json()},
        "filled": filled,
    });
    write_json(&options.json, &report)?;
    println!("written to {}", options.json.display());
    Ok(())
}

fn start(programs: &[Program; 2], directory: &Path) -> io::Result<[Cluster; 2]> {
    let [raftkv, etcd] = programs;
    Ok([
        Cluster::start(raftkv.clone(), &directory.join("raftkv"))?,
        Cluster::start(etcd.clone(), &directory.join("etcd"))?,
    ])
}

/// Each call on one and on the other, who goes first changing from round to round.
fn measure_rows(
    pair: &mut [Cluster; 2],
    rounds: usize,
    duration: Duration,
) -> io::Result<Vec<Value>> {
    println!(
        "{:24}{:>9}{:>9}  {:24}{:>22}{:>22}",
        "",
        "raftkv/s",
        "etcd/s",
        "ratio (least to most)",
        "servers us/op, ratio",
        "generator us/op"
    );
    let mut figures: Vec<[Vec<Figures>; 2]> = CALLS.iter().map(|_| Default::default()).collect();
    for round in 0..rounds {
        for (call, figures) in CALLS.iter().zip(&mut figures) {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                eprintln!("round {}: {}", round + 1, call.name());
                let run = run_calls(&mut pair[which], *call, duration, 0.0)?;
                figures[which].push(run);
            }
        }
    }
    let rows = CALLS.iter().zip(&figures);
    Ok(rows.map(|(call, pair)| row(*call, pair)).collect())
}

fn row(call: Call, [raftkv, etcd]: &[Vec<Figures>; 2]) -> Value {
    let ratio = |figure: fn(&Figures) -> f64| {
        let pairs = raftkv.iter().zip(etcd);
        Spread::of(pairs.map(|(raftkv, etcd)| figure(raftkv) / figure(etcd)))
    };
    let rate = ratio(|it| it.ops_per_second);
    let p50 = ratio(|it| it.p50_us);
    let processor = ratio(|it| it.servers.map_or(f64::NAN, |servers| servers.us_per_op));
    let [ours, theirs] = [raftkv, etcd].map(|rounds| row_json(Workload::Call(call), rounds));
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    println!(
        "{:24}{:>9.0}{:>9.0}  {:24}{:>7.1}{:>7.1}{:>8.2}{:>11.1}{:>11.1}",
        call.name(),
        number(&ours, "ops_per_second"),
        number(&theirs, "ops_per_second"),
        rate.to_string(),
        number(&ours, "servers_us_per_op"),
        number(&theirs, "servers_us_per_op"),
        processor.middle,
        number(&ours, "generator_us_per_op"),
        number(&theirs, "generator_us_per_op"),
    );
    json!({
        "name": call.name(),
        "raftkv": ours,
        "etcd": theirs,
        "ops_ratio": rate.json(),
        "p50_ratio": p50.json(),
        "servers_us_ratio": processor.json(),
    })
}

fn measure_failovers(pair: &mut [Cluster; 2], kills: usize) -> io::Result<[Spread; 2]> {
    let mut times = [const { Vec::new() }; 2];
    for kill in 1..=kills {
        for (cluster, times) in pair.iter_mut().zip(&mut times) {
            eprintln!("kill {kill} of {kills}: {}", cluster.system().name());
            times.push(cluster.fail_over()?.as_secs_f64() * 1e3);
        }
    }
    let spreads = times.map(Spread::of);
    for (cluster, spread) in pair.iter().zip(&spreads) {
        let name = cluster.system().name();
        println!("{name}: leader killed to next put, ms, {kills} times: {spread}");
    }
    Ok(spreads)
}

/// Memory and restarts with many keys.
fn measure_filled(program: Program, directory: &Path, keys: u64) -> io::Result<Value> {
    let mut cluster = Cluster::start(program, directory)?;
    let name = cluster.system().name();
    let few = keys.min(RESTART_KEYS);
    fill(&mut cluster, few, few)?;
    let restart_few = cluster.restart()?;
    println!("{name}: restart with {few} keys to the first put: {restart_few:.2?}");
    fill(&mut cluster, keys, keys)?;
    let usage = cluster.usage()?;
    let resident = usage.iter().map(|usage| usage.resident_bytes).max();
    let anonymous = usage.iter().map(|usage| usage.anonymous_bytes).max();
    let [resident, anonymous] = [resident, anonymous].map(|bytes| bytes.unwrap_or(0) >> 20);
    println!("{name}: {keys} keys: RssAnon {anonymous} MiB, VmRSS {resident} MiB");
    let restart = cluster.restart()?;
    println!("{name}: restart with {keys} keys to the first put: {restart:.2?}");
    Ok(json!({
        "system": name,
        "keys": keys,
        "anonymous_mib": anonymous,
        "resident_mib": resident,
        "restart_keys": few,
        "restart_keys_seconds": restart_few.as_secs_f64(),
        "restart_seconds": restart.as_secs_f64(),
    }))
}

fn fill(cluster: &mut Cluster, keys: u64, puts: u64) -> io::Result<()> {
    eprintln!("{}: {puts} puts", cluster.system().name());
    let (_, leader) = cluster.leader()?;
    let load = Load {
        system: cluster.system(),
        method: Method::Put,
        clients: FILL_CLIENTS,
        outstanding: 1,
        value_bytes: 256,
        keys,
        pace: Pace::Count(puts),
    };
    load::run(&load, leader)?;
    Ok(())
}
