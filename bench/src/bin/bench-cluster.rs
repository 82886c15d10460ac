//! `make bench-cluster`: three real nodes on loopback, beside the floor that the machine sets.

use clap::Parser;
use raftkv_bench::{
    cluster::{Cluster, Program},
    ending::{exit_code, write_json},
    floor::{Floor, Role},
    machine::Machine,
    report::{Idle, Report},
    rounds::{Bench, Figures, Workload},
};
use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

/// Odd, so that one of them is the median.
const ROUNDS: u32 = 5;

/// How often the leader is killed.
const KILLS: usize = 20;

/// Without a call for so long the nodes are idle.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures three real nodes beside the floor that the machine sets.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Seconds that each workload runs, over all rounds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds that idle nodes are watched for: what they use, and whether anyone campaigns.
    #[arg(long, default_value_t = 10.0)]
    idle_seconds: f64,
    /// Run no other workloads than those whose name has this in it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Leave the killing of leaders out.
    #[arg(long)]
    skip_failover: bool,
    /// Write the results to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the files go while it runs: on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// The node's program [default: the one beside this program].
    #[arg(long, value_name = "PROGRAM")]
    raftkv: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.role {
        Some(role) => role.run().map_err(Into::into),
        None => measure(&options),
    };
    exit_code("bench-cluster", ended)
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let slice = Duration::try_from_secs_f64(options.seconds)? / ROUNDS;
    let this_program = env::current_exe()?;
    let raftkv = Program::raftkv(options.raftkv.as_deref())?;
    fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let mut cluster = Cluster::start(raftkv, &directory.path().join("raftkv"))?;
    let rows = measure_workloads(
        &this_program,
        &mut cluster,
        directory.path(),
        slice,
        &options.only,
    )?;
    let idle = measure_idle(
        &mut cluster,
        Duration::try_from_secs_f64(options.idle_seconds)?,
    )?;
    let mut failovers = Vec::new();
    if !options.skip_failover {
        for kill in 1..=KILLS {
            eprintln!("kill {kill} of {KILLS}");
            failovers.push(cluster.fail_over()?);
        }
    }
    let report = Report {
        machine: Machine::this(directory.path()),
        rows,
        failovers,
        idle,
    };
    print!("{report}");
    if let Some(path) = &options.json {
        write_json(path, &report.json())?;
    }
    match report.is_synced() {
        true => Ok(()),
        false => Err("puts were acknowledged that no majority had synced".into()),
    }
}

fn measure_workloads(
    this_program: &Path,
    cluster: &mut Cluster,
    directory: &Path,
    slice: Duration,
    only: &str,
) -> io::Result<Vec<(Workload, Vec<Figures>)>> {
    let mut floor = Floor::start(this_program, &directory.join("floor"))?;
    let mut bench = Bench {
        directory,
        floor: &mut floor,
        cluster,
        peak: 0.0,
    };
    let wanted = Workload::ALL
        .into_iter()
        .filter(|it| it.name().contains(only));
    let mut rows: Vec<_> = wanted.map(|workload| (workload, Vec::new())).collect();
    for round in 1..=ROUNDS {
        for (workload, rounds) in &mut rows {
            eprintln!("round {round} of {ROUNDS}: {}", workload.name());
            rounds.push(bench.run(*workload, slice)?);
        }
    }
    Ok(rows)
}

/// What idle nodes use, and whether their leader stays in office.
fn measure_idle(cluster: &mut Cluster, span: Duration) -> io::Result<Idle> {
    cluster.leader()?;
    eprintln!("idle for {SETTLE:?}, then watched for {span:?}");
    thread::sleep(SETTLE);
    let before = cluster.usage()?;
    let campaigns_before = cluster.campaigns()?;
    thread::sleep(span);
    let used = cluster.usage()?.into_iter().zip(before);
    let used = used.map(|(after, before)| (after.processor - before.processor).as_secs_f64());
    Ok(Idle {
        span,
        percent: used
            .map(|seconds| seconds / span.as_secs_f64() * 100.0)
            .collect(),
        campaigns: cluster.campaigns()? - campaigns_before,
    })
}
