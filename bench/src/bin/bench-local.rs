//! `make bench`, `make bench-scaling` and `make bench-regress`: commits in one process, where
//! nothing is waited for.

use clap::{Parser, Subcommand};
use raftkv_bench::{
    ending::{exit_code, write_json},
    local::{Run, Spec, judge, run},
    machine::Machine,
};
use serde_json::{Value, json};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

const NODES: [usize; 3] = [3, 5, 7];
const OUTSTANDING: [usize; 3] = [1, 64, 1024];

/// Of the study that this follows.
const LOCAL_OPS: u64 = 2_000;
const SCALING_OPS: u64 = 3_000;
/// Beside those, since 3,000 operations last milliseconds.
const LONG: Duration = Duration::from_secs(5);

/// A fresh run that is to be compared: so often, and for so long each time.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);

/// Measures commits in one process.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
    /// Where results are written to, and baselines are read from.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

#[derive(Subcommand)]
enum What {
    /// 3 members, 2,000 puts, one outstanding.
    Local,
    /// 3, 5 and 7 members at 1, 64 and 1,024 outstanding.
    Scaling,
    /// Compares with the baselines: fails when throughput drops or p99 rises by more than DRIFT
    /// percent, each in terms of a calibration loop beside it.
    Regress {
        /// Percent.
        #[arg(long, default_value_t = 30.0)]
        drift: f64,
        /// Each write to a disk takes so many nanoseconds longer: to see a regression found.
        #[arg(long, default_value_t = 0)]
        slow_ns: u64,
    },
    /// One long run, to look at with a profiler.
    Profile {
        /// Members.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// Puts under way.
        #[arg(long, default_value_t = 1)]
        outstanding: usize,
        /// For so long.
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.what {
        What::Local => local(&options.results),
        What::Scaling => scaling(&options.results),
        What::Regress { drift, slow_ns } => {
            match regress(&options.results, drift, Duration::from_nanos(slow_ns)) {
                Ok(true) => Ok(()),
                Ok(false) => Err("worse than the baseline".into()),
                Err(error) => Err(error),
            }
        }
        What::Profile {
            nodes,
            outstanding,
            seconds,
        } => {
            let duration = Duration::from_secs_f64(seconds);
            tell(&run(spec(nodes, outstanding, 0, duration)));
            Ok(())
        }
    };
    exit_code("bench-local", ended)
}

fn spec(nodes: usize, outstanding: usize, ops_min: u64, duration_min: Duration) -> Spec {
    Spec {
        nodes,
        outstanding,
        ops_min,
        duration_min,
        disk_delay: Duration::ZERO,
    }
}

fn local(results: &Path) -> Result<(), Box<dyn Error>> {
    let specs = [spec(3, 1, LOCAL_OPS, Duration::ZERO)];
    write(results, "bench_local.json", &specs)
}

fn scaling(results: &Path) -> Result<(), Box<dyn Error>> {
    for nodes in NODES {
        let short = OUTSTANDING.map(|n| spec(nodes, n, SCALING_OPS, Duration::ZERO));
        let long = OUTSTANDING.map(|n| spec(nodes, n, 0, LONG));
        let specs: Vec<Spec> = short.into_iter().chain(long).collect();
        write(results, &format!("bench_n{nodes}.json"), &specs)?;
    }
    Ok(())
}

fn write(results: &Path, name: &str, specs: &[Spec]) -> Result<(), Box<dyn Error>> {
    let mut runs = Vec::new();
    for &spec in specs {
        let run = run(spec);
        tell(&run);
        runs.push(run.json());
    }
    fs::create_dir_all(results)?;
    let machine = Machine::this(results);
    let report = json!({
        "machine": machine.json(),
        "commit": machine.commit,
        "runs": runs,
    });
    let path = results.join(name);
    write_json(&path, &report)?;
    println!("written to {}", path.display());
    Ok(())
}

fn tell(run: &Run) {
    let Spec {
        nodes, outstanding, ..
    } = run.spec;
    let at = |percent| run.latencies.percentile_us(percent);
    println!(
        "{nodes} nodes, {outstanding:4} outstanding: {:8} puts in {:6.3} s ({:6.3} on a core), \
         {:8.0} puts/s; p50 {:.1} us, p95 {:.1}, p99 {:.1}, p99.9 {:.1}",
        run.latencies.count(),
        run.duration.as_secs_f64(),
        run.on_core.as_secs_f64(),
        run.puts_per_sec(),
        at(50.0),
        at(95.0),
        at(99.0),
        at(99.9),
    );
}

/// Whether nothing is worse than in the baselines.
fn regress(results: &Path, drift: f64, disk_delay: Duration) -> Result<bool, Box<dyn Error>> {
    let mut all_hold = true;
    for nodes in NODES {
        let path = results.join(format!("bench_n{nodes}.json"));
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let baseline: Value = serde_json::from_str(&text)?;
        let runs = baseline["runs"].as_array().cloned().unwrap_or_default();
        let is_long = |run: &&Value| run["seconds"].as_f64() >= Some(LONG.as_secs_f64());
        for baseline in runs.iter().filter(is_long) {
            let outstanding = baseline["outstanding"].as_u64().unwrap_or_default() as usize;
            let fresh = best_of_rounds(Spec {
                disk_delay,
                ..spec(nodes, outstanding, 0, ROUND)
            });
            for verdict in judge(&fresh, baseline, drift) {
                println!("{verdict}");
                all_hold &= verdict.holds();
            }
        }
    }
    Ok(all_hold)
}

/// The best throughput and the best p99 of several runs, each in terms of its calibration: what
/// else the machine does can only make them worse.
fn best_of_rounds(spec: Spec) -> Value {
    let runs: Vec<Run> = (0..ROUNDS).map(|_| run(spec)).collect();
    let rate = |run: &Run| run.puts_per_sec() / run.calibration_per_sec;
    let p99 = |run: &Run| run.latencies.percentile_us(99.0) * run.calibration_per_sec;
    let quickest = runs.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)));
    let quickest = quickest.expect("there is a round");
    let least_p99 = runs.iter().map(p99).fold(f64::INFINITY, f64::min);
    let mut best = quickest.json();
    best["p99_us"] = (least_p99 / quickest.calibration_per_sec).into();
    best
}
