//! `make bench-snapshot`: what snapshots cost a running node, and what they save at a start.

mod catch_up;
mod load;
mod memory;
mod one_node;
mod soak;

use std::{error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, builder::RangedU64ValueParser};
use raftkv_bench::{
    ending::{exit_code, write_json},
    machine::Machine,
};
use serde_json::{Value, json};

use load::{OUTSTANDING, VALUE_BYTES};

/// Measures what snapshots cost a running node, and what they save at a start.
#[derive(Parser)]
struct Options {
    /// Keys of 256 bytes in the larger state; the smaller has a tenth.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Seconds of load that a snapshot is compared with.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How often a node is away and fetches a snapshot.
    #[arg(long, default_value_t = 5, value_parser = at_least_one())]
    rounds: usize,
    /// Measure nothing but that.
    #[arg(long)]
    catch_up_only: bool,
    /// Nothing but overwrites for so many minutes, by a node that takes snapshots by itself: how
    /// large does its data directory get?
    #[arg(long, value_name = "MINUTES")]
    soak_minutes: Option<f64>,
    /// Write the results to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the files go while it runs: on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

fn main() -> ExitCode {
    exit_code("bench-snapshot", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let machine = Machine::this(directory.path());
    println!("{}", machine.line());
    println!("keys of 16 B with values of {VALUE_BYTES} B; puts of 256 B, {OUTSTANDING} under way");
    if let Some(minutes) = options.soak_minutes {
        let length = Duration::try_from_secs_f64(minutes * 60.0)?;
        return soak::soak(directory.path(), options.keys, length);
    }
    let slice = Duration::try_from_secs_f64(options.seconds)?;
    let one_node = |name: &str, keys| match options.catch_up_only {
        true => Ok(Value::Null),
        false => one_node::one_node(&directory.path().join(name), keys, slice),
    };
    let small = one_node("small", options.keys / 10)?;
    let large = one_node("large", options.keys)?;
    let catch_up = catch_up::catch_up(directory.path(), options.keys, slice, options.rounds)?;
    if let Some(path) = &options.json {
        let report = json!({
            "machine": machine.processor, "cores": machine.cores, "commit": machine.commit,
            "small": small, "large": large, "catch_up": catch_up,
        });
        write_json(path, &report)?;
    }
    Ok(())
}
