//! `make bench-cluster`: three real nodes on loopback, beside the floor that the machine sets.

use clap::Parser;
use raftkv_bench::{
    floor::{Floor, Path, Role},
    raw,
};
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

/// Measures three real nodes beside the floor that the machine sets.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Seconds that each workload runs, over all rounds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Where the files go while it runs: on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.role {
        Some(role) => role.run().map_err(Into::into),
        None => measure(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let mut floor = Floor::start(&env::current_exe()?, &directory.path().join("floor"))?;
    let rows = [
        (
            "synced append, 1 writer",
            raw::synced_appends(directory.path(), 1, duration)?,
        ),
        (
            "synced append, 3 writers",
            raw::synced_appends(directory.path(), 3, duration)?,
        ),
        ("loopback round trip", raw::round_trips(duration)?),
        ("floor", floor.put_for(Path::Direct, duration)?),
        ("floor, gateway", floor.put_for(Path::Gateway, duration)?),
    ];
    for (name, latencies) in rows {
        let rate = latencies.count() as f64 / duration.as_secs_f64();
        println!(
            "{name:26}{rate:9.0}/s  p50 {:8.1} us  p99 {:8.1} us",
            latencies.percentile_us(50.0),
            latencies.percentile_us(99.0)
        );
    }
    Ok(())
}
