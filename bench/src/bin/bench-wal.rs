//! `make bench-wal`: the log's append beside the other ways to append durably.

use clap::Parser;
use raftkv_bench::{
    ending::{exit_code, write_json},
    latency::Latencies,
    machine::Machine,
    spread::Spread,
    ways::{Appender, Way},
};
use serde_json::json;
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;

/// The first is what all ways are compared with; the others show what a batch costs.
const SIZES: [usize; 5] = [128, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Nodes on one disk.
const WRITERS: usize = 3;

/// Measures the log's append beside the other ways to append durably.
#[derive(Parser)]
struct Options {
    /// Seconds that each way gets for each size, over all rounds.
    #[arg(long, default_value_t = 2.5)]
    seconds: f64,
    /// Write the results to this file as JSON, too.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "bench/results/bench_wal.json"
    )]
    json: PathBuf,
    /// Where the files go while it runs: on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    exit_code("bench-wal", measure(&Options::parse()))
}

/// A way, a size, and by how many at once.
type Row = (Way, usize, usize);

fn rows() -> Vec<Row> {
    let ways = Way::ALL.into_iter().map(|way| (way, SIZES[0], 1));
    let zeroed = Way::Zeroed { by_bytes: 4096 };
    let middle = Way::Zeroed { by_bytes: 64 << 10 };
    let sized = SIZES[1..].iter().flat_map(|&size| {
        let ways = [
            Way::Shipped,
            middle,
            zeroed,
            Way::Unwritten,
            Way::MappedDropped,
        ];
        ways.map(|way| (way, size, 1))
    });
    let together = [Way::Shipped, zeroed].map(|way| (way, SIZES[0], WRITERS));
    ways.chain(sized).chain(together).collect()
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let slice = Duration::try_from_secs_f64(options.seconds)? / ROUNDS as u32;
    fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let machine = Machine::this(directory.path());
    println!(
        "{}\n{ROUNDS} rounds of all rows; medians of each round's, in us\n",
        machine.line()
    );
    let rows = rows();
    let mut rounds: Vec<Vec<Latencies>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (row, rounds) in rows.iter().zip(&mut rounds) {
            rounds.push(append_together(*row, directory.path(), slice)?);
        }
    }
    let mut found = Vec::new();
    for ((way, bytes, writers), rounds) in rows.iter().zip(&rounds) {
        let at = |percent| Spread::of(rounds.iter().map(|it| it.percentile_us(percent)));
        let (p50, p99) = (at(50.0), at(99.0));
        let size = match bytes >> 10 {
            0 => format!("{bytes} B"),
            kib => format!("{kib} KiB"),
        };
        println!(
            "{:46}{size:>9}, writers: {writers}  p50 {p50}, p99 {:.0}",
            way.name(),
            p99.middle
        );
        found.push(json!({
            "way": way.name(), "bytes": bytes, "writers": writers,
            "p50_us": p50.json(), "p99_us": p99.json(),
        }));
    }
    let report = json!({"machine": machine.json(), "commit": machine.commit, "rows": found});
    write_json(&options.json, &report)?;
    println!("written to {}", options.json.display());
    Ok(())
}

fn append_together(
    (way, bytes, writers): Row,
    directory: &Path,
    duration: Duration,
) -> io::Result<Latencies> {
    let mut appenders = Vec::new();
    for writer in 0..writers {
        appenders.push(Appender::new(way, &directory.join(writer.to_string()))?);
    }
    let mut all = Latencies::default();
    thread::scope(|scope| {
        let threads: Vec<_> = appenders
            .into_iter()
            .map(|appender| scope.spawn(move || append_for(appender, bytes, duration)))
            .collect();
        for thread in threads {
            all.add(&thread.join().expect("the writer does not panic")?);
        }
        io::Result::Ok(())
    })?;
    for writer in 0..writers {
        fs::remove_dir_all(directory.join(writer.to_string()))?;
    }
    Ok(all)
}

fn append_for(mut appender: Appender, bytes: usize, duration: Duration) -> io::Result<Latencies> {
    let record = vec![7; bytes];
    let mut latencies = Latencies::default();
    let started = Instant::now();
    while started.elapsed() < duration {
        appender.make_room(bytes)?;
        let before = Instant::now();
        appender.append(&record)?;
        latencies.record(before.elapsed());
    }
    Ok(latencies)
}
