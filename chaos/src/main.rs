//! `raftkv-chaos`: runs scenarios of the chaos suite, and takes failures apart.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use raftkv_chaos::{
    Failure, Order, Partial, Preset, Report, Totals, run_batch, run_partial, run_seed, shrink,
};

/// Prints a line. Whoever reads may have seen enough and be gone; the run still counts.
macro_rules! say {
    ($($text:tt)+) => {{
        let _ = writeln!(io::stdout(), $($text)+);
    }};
}

#[cfg(feature = "planted-bugs")]
mod mutants;

/// Runs shipped replicas in virtual time under faults drawn from a seed.
///
/// Exits with 1 if a scenario fails and with 2 on a bad argument.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// 20 scenarios of the four presets.
    Smoke(Batch),
    /// 500 scenarios.
    Full(Batch),
    /// As many scenarios as are asked for, or as fit in the budget.
    Budget {
        /// Begin no scenario after so many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 540)]
        budget: u64,
        /// How many scenarios.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
        scenarios: u64,
        #[command(flatten)]
        batch: Batch,
    },
    /// One seed, twice: prints what happens, and shrinks it if it fails.
    Seed {
        /// The seed.
        seed: u64,
        /// Do not print what happens.
        #[arg(long)]
        quiet: bool,
    },
    /// Cuts links so that some nodes still see a majority, in ways that broke other systems.
    Partial {
        /// Only these.
        names: Vec<String>,
        /// How many seeds for each, and for each place of the leader.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: u64,
    },
    /// Prints the digests of the first seeds, to compare builds and machines.
    Digests {
        /// How many seeds.
        #[arg(default_value_t = 10)]
        count: u64,
    },
    /// Plants every known bug in turn and sees which checker finds it.
    #[cfg(feature = "planted-bugs")]
    Mutants(mutants::Options),
}

#[derive(Args)]
struct Batch {
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    base_seed: u64,
    /// How many threads [default: the cores].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
    /// Where the JSON goes.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            eprintln!("raftkv-chaos: {}", line.trim_start_matches("error: "));
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    match options.what {
        What::Smoke(batch) => run("smoke", 20, None, batch, &Preset::ALL[..4]),
        What::Full(batch) => run("full", 500, None, batch, &Preset::ALL),
        What::Budget {
            budget,
            scenarios,
            batch,
        } => {
            let budget = Some(Duration::from_secs(budget));
            run("budget", scenarios, budget, batch, &Preset::ALL)
        }
        What::Seed { seed, quiet } => replay(seed, quiet),
        What::Partial { names, seeds } => partial(&names, seeds),
        What::Digests { count } => {
            for seed in 1..=count {
                say!("{seed} {:016x}", run_seed(seed, false).stats.digest);
            }
            ExitCode::SUCCESS
        }
        #[cfg(feature = "planted-bugs")]
        What::Mutants(options) => mutants::run(&options),
    }
}

/// Runs partial partitions, and says how long nothing was committed and how many leaders came.
fn partial(names: &[String], seeds: u64) -> ExitCode {
    let is_known = |name: &&String| Partial::ALL.iter().any(|partial| partial.name() == *name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let all: Vec<&str> = Partial::ALL.iter().map(|partial| partial.name()).collect();
        eprintln!("raftkv-chaos: {unknown} is none of {}", all.join(", "));
        return ExitCode::from(2);
    }
    let mut code = ExitCode::SUCCESS;
    say!(
        "{:<22}  runs  timeouts until progress  leaders in 100 timeouts",
        "links"
    );
    let is_asked =
        |partial: &&Partial| names.is_empty() || names.iter().any(|name| name == partial.name());
    for &partial in Partial::ALL.iter().filter(is_asked) {
        let (mut runs, mut stood_still, mut elections) = (0, 0.0_f64, 0);
        for &place in partial.places() {
            for seed in 1..=seeds {
                match run_partial(partial, place, seed) {
                    Ok(endured) => {
                        runs += 1;
                        stood_still = stood_still.max(endured.stood_still);
                        elections = elections.max(endured.elections);
                    }
                    Err(Failure { property, what }) => {
                        let (links, property) = (partial.name(), property.name());
                        say!("{links}, leader at {place}, seed {seed}: {property}: {what}");
                        code = ExitCode::FAILURE;
                    }
                }
            }
        }
        let name = partial.name();
        say!("{name:<22}  {runs:>4}  {stood_still:>23.1}  {elections:>23}");
    }
    code
}

fn cores() -> u64 {
    thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

fn run(
    name: &str,
    scenarios: u64,
    budget: Option<Duration>,
    batch: Batch,
    presets: &'static [Preset],
) -> ExitCode {
    let order = Order {
        base_seed: batch.base_seed,
        scenarios,
        budget,
        jobs: batch.jobs.unwrap_or_else(cores) as usize,
        presets,
    };
    let is_terminal = io::stderr().is_terminal();
    // The files may be others when the batch ends.
    let commit = commit();
    let report = run_batch(order, |totals, elapsed| {
        if is_terminal {
            show_progress(&order, totals, elapsed);
        }
    });
    if is_terminal {
        eprint!("\r\x1b[K");
    }
    say!("{report}");
    let out = batch
        .out
        .unwrap_or_else(|| format!("bench/results/chaos_{name}.json").into());
    if let Err(error) = write_json(&out, &report, &commit) {
        eprintln!("raftkv-chaos: cannot write {}: {error}", out.display());
        return ExitCode::FAILURE;
    }
    say!("{}", out.display());
    if report.is_good() {
        return ExitCode::SUCCESS;
    }
    if let Some(failed) = report.totals.failed.first() {
        say!("replay: make chaos SEED={}", failed.seed);
        take_apart(failed.seed, &directory_of(&out));
    }
    ExitCode::FAILURE
}

fn show_progress(order: &Order, totals: &Totals, elapsed: Duration) {
    let by_count = totals.attempted as f64 / order.scenarios as f64;
    let by_time = order
        .budget
        .map_or(0.0, |budget| elapsed.as_secs_f64() / budget.as_secs_f64());
    let filled = (by_count.max(by_time).min(1.0) * 30.0) as usize;
    let bar = format!("{}{}", "#".repeat(filled), " ".repeat(30 - filled));
    let (attempted, failed) = (totals.attempted, totals.failed.len());
    let seconds = elapsed.as_secs();
    eprint!(
        "\r[{bar}] {attempted} of {}, {failed} failed, {seconds} s",
        order.scenarios
    );
    let _ = io::stderr().flush();
}

fn directory_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

/// What was run: the commit, and whether anything was changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => commit + "+changes",
    }
}

fn write_json(out: &Path, report: &Report, commit: &str) -> io::Result<()> {
    fs::create_dir_all(directory_of(out))?;
    let json = serde_json::to_string_pretty(&report.to_json(commit))?;
    fs::write(out, json + "\n")
}

/// Runs a seed twice, prints it, and takes it apart if it fails.
fn replay(seed: u64, quiet: bool) -> ExitCode {
    let first = run_seed(seed, !quiet);
    for line in &first.lines {
        say!("{line}");
    }
    let (digest, again) = (first.stats.digest, run_seed(seed, false).stats.digest);
    let stats = &first.stats;
    say!(
        "seed {seed} ({}): {} virtual seconds, {} writes, {} reads, {} elections",
        first.preset.name(),
        stats.virtual_time / 1_000_000,
        stats.acked_writes,
        stats.reads,
        stats.elections
    );
    say!("digests of two runs: {digest:016x} {again:016x}");
    match &first.failure {
        None if digest == again => return ExitCode::SUCCESS,
        None => say!("determinism: the digests differ"),
        Some(failure) => {
            say!("{}: {}", failure.property.name(), failure.what);
            take_apart(seed, Path::new("bench/results"));
        }
    }
    ExitCode::FAILURE
}

/// Shrinks a failure, and leaves it as JSON lines and as text.
fn take_apart(seed: u64, directory: &Path) {
    let Some(shrunk) = shrink(seed) else {
        return;
    };
    let failure = &shrunk.failure;
    let head = serde_json::json!({
        "seed": seed,
        "property": failure.property.name(),
        "what": failure.what,
        "plan": shrunk.plan,
    });
    let mut json = format!("{head}\n");
    let mut text = format!(
        "seed {seed}: {}: {}\n\n{}\n\n",
        failure.property.name(),
        failure.what,
        shrunk.plan
    );
    let told = shrunk.told();
    for line in &shrunk.lines {
        json += &format!("{}\n", line.to_json());
    }
    for line in &told {
        text += &format!("{line}\n");
    }
    say!(
        "shrunk from {} to {} events in {} lines by {} runs: {}: {}",
        shrunk.events_before,
        shrunk.lines.len(),
        told.len(),
        shrunk.tried,
        failure.property.name(),
        failure.what
    );
    for (extension, content) in [("jsonl", json), ("txt", text)] {
        let file = directory.join(format!("chaos_failure_{seed}.{extension}"));
        let written = fs::create_dir_all(directory).and_then(|()| fs::write(&file, content));
        match written {
            Ok(()) => say!("{}", file.display()),
            Err(error) => eprintln!("raftkv-chaos: cannot write {}: {error}", file.display()),
        }
    }
}
