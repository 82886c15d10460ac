//! The gateway alone beside a tonic server, by turns: calls that are answered at once, with no node
//! behind either. Each server has a core, and the generator the other.

use bytes::Bytes;
use clap::Parser;
use raftkv::{node::Answer, replica::Operation};
use raftkv_bench::{
    api::{Method, System},
    ending::{exit_code, write_json},
    floor::PUT_BYTES,
    load::{Connected, KEYS, Load, Pace},
    machine::{Machine, processor_time},
    spread::Spread,
    stub,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use std::{
    env,
    error::Error,
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{self, Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

const METHODS: [Method; 2] = [Method::Put, Method::Get];
const CONNECTIONS: usize = 4;
/// On each connection.
const OUTSTANDING: usize = 16;

/// Measures the gateway and tonic by turns.
#[derive(Parser)]
struct Options {
    /// How often each kind of call runs on each server.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that each of these lasts.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The server by tonic: bench/libraries has it.
    #[arg(long, default_value = "target/libraries/release/bench-tonic")]
    tonic: PathBuf,
    /// Write the results to this file as JSON, too.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "bench/results/bench_gateway.json"
    )]
    json: PathBuf,
    /// Be the gateway that is measured, until standard input ends.
    #[arg(long, hide = true)]
    serve: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.serve {
        true => serve().map_err(Into::into),
        false => measure(&options),
    };
    exit_code("bench-gateway", ended)
}

fn serve() -> io::Result<()> {
    let value = Bytes::from("v".repeat(PUT_BYTES));
    let gateway = stub::gateway(move |operation| match operation {
        Operation::Put { .. } => Some(Answer::Put),
        Operation::Get { .. } => Some(Answer::Get {
            value: Some(value.clone()),
        }),
        _ => None,
    })?;
    println!("{}", gateway.address());
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let machine = Machine::this(".".as_ref());
    let duration = Duration::try_from_secs_f64(options.seconds)?;
    let [servers_core, own_core] = two_cores()?;
    sched_setaffinity(None, &servers_core)?;
    let pair = [
        Server::start(Command::new(env::current_exe()?).arg("--serve"))?,
        Server::start(&mut Command::new(&options.tonic))
            .map_err(|error| format!("{}: {error}", options.tonic.display()))?,
    ];
    sched_setaffinity(None, &own_core)?;
    println!("{}", machine.line());
    let mut rows = Vec::new();
    for method in METHODS {
        let mut runs = [const { Vec::new() }; 2];
        for round in 0..options.rounds {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                runs[which].push(pair[which].run(method, duration)?);
            }
        }
        rows.push(row(method, &runs));
    }
    let report = json!({
        "machine": machine.json(),
        "commit": machine.commit,
        "connections": CONNECTIONS,
        "outstanding": CONNECTIONS * OUTSTANDING,
        "rounds": options.rounds,
        "rows": rows,
    });
    write_json(&options.json, &report)?;
    println!("written to {}", options.json.display());
    Ok(())
}

/// For the servers, of which one works at a time, and for the generator.
fn two_cores() -> Result<[CpuSet; 2], Box<dyn Error>> {
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let mut next = || {
        let mut set = CpuSet::new();
        set.set(cores.next().ok_or("it takes two cores")?);
        Ok::<_, Box<dyn Error>>(set)
    };
    Ok([next()?, next()?])
}

/// A process that serves. Dropping it ends it.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it, on the cores of this thread. It prints its address.
    fn start(command: &mut Command) -> Result<Server, Box<dyn Error>> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Server {
            process,
            address: line.trim().parse()?,
        })
    }

    fn run(&self, method: Method, duration: Duration) -> io::Result<Run> {
        let load = Load {
            system: System::Raftkv,
            method,
            clients: CONNECTIONS,
            outstanding: OUTSTANDING,
            value_bytes: PUT_BYTES,
            keys: KEYS,
            pace: Pace::Closed(duration),
        };
        let clients = Connected::new(&load, self.address)?;
        let processes = [self.process.id(), process::id()];
        let [server, own] = processes.map(processor_time);
        let (server, own, began) = (server?, own?, Instant::now());
        let served = clients.run()?;
        let elapsed = began.elapsed();
        let [server_after, own_after] = processes.map(processor_time);
        let (server, own) = (server_after? - server, own_after? - own);
        let us_per_call = |used: Duration| used.as_secs_f64() * 1e6 / served.calls as f64;
        Ok(Run {
            calls_per_second: served.latencies.count() as f64 / duration.as_secs_f64(),
            p50_us: served.latencies.percentile_us(50.0),
            p99_us: served.latencies.percentile_us(99.0),
            server_us: us_per_call(server),
            generator_us: us_per_call(own),
            busy_percent: 100.0 * server.as_secs_f64() / elapsed.as_secs_f64(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Run {
    calls_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Processor time per call.
    server_us: f64,
    generator_us: f64,
    /// Of the server's core.
    busy_percent: f64,
}

fn row(method: Method, [ours, theirs]: &[Vec<Run>; 2]) -> Value {
    let ratio = |figure: fn(&Run) -> f64| {
        let pairs = ours.iter().zip(theirs);
        Spread::of(pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)))
    };
    let calls = ratio(|run| run.calls_per_second);
    let server = ratio(|run| run.server_us);
    println!(
        "{}: {calls} x tonic's calls per second, {server} x its processor time per call",
        method.name()
    );
    json!({
        "name": method.name(),
        "raftkv": system("raftkv", ours),
        "tonic": system("tonic", theirs),
        "calls_ratio": calls.json(),
        "server_us_ratio": server.json(),
    })
}

fn system(name: &str, runs: &[Run]) -> Value {
    let spread = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure));
    let calls_per_second = spread(|run| run.calls_per_second);
    let server_us = spread(|run| run.server_us);
    let generator_us = spread(|run| run.generator_us);
    let busy_percent = spread(|run| run.busy_percent);
    println!(
        "  {name:8}{:9.0} calls/s; server {server_us} us a call, {:.0} % of its core; generator \
         {generator_us}",
        calls_per_second.middle, busy_percent.middle
    );
    json!({
        "calls_per_second": calls_per_second.json(),
        "p50_us": spread(|run| run.p50_us).json(),
        "p99_us": spread(|run| run.p99_us).json(),
        "server_us_per_call": server_us.json(),
        "generator_us_per_call": generator_us.json(),
        "server_busy_percent": busy_percent.json(),
    })
}
