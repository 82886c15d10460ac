//! `make bench-snapshot`: what snapshots cost a running node, and what they save at a start.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use crossbeam_channel::{Receiver, unbounded};
use raftkv::{
    node::{Answer, Config, Handle, Node, Request, Timings},
    raft::{NodeId, Token},
    replica::Operation,
};
use raftkv_bench::{latency::median, machine::Machine};
use serde_json::{Value, json};

const VALUE_BYTES: usize = 256;
/// Puts under way while something is measured, and while keys are loaded.
const OUTSTANDING: usize = 64;
const OUTSTANDING_LOADING: usize = 2048;
/// Long enough for the log to be purged, a segment each tick.
const PURGE: Duration = Duration::from_secs(2);
/// How often a start is repeated.
const STARTS: usize = 3;
/// The default of `--snapshot-log-bytes`.
const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;
/// Never by itself.
const NO_SNAPSHOTS: u64 = 1 << 40;

/// Measures what snapshots cost a running node, and what they save at a start.
#[derive(Parser)]
struct Options {
    /// Keys of 256 bytes in the larger state; the smaller has a tenth.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Seconds of load that a snapshot is compared with.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
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

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-snapshot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let machine = Machine::this(directory.path());
    println!("{}", machine.line());
    println!("keys of 16 B with values of {VALUE_BYTES} B; puts of 256 B, {OUTSTANDING} under way");
    if let Some(minutes) = options.soak_minutes {
        let length = Duration::try_from_secs_f64(minutes * 60.0)?;
        return soak(directory.path(), options.keys, length);
    }
    let slice = Duration::try_from_secs_f64(options.seconds)?;
    let small = one_node(&directory.path().join("small"), options.keys / 10, slice)?;
    let large = one_node(&directory.path().join("large"), options.keys, slice)?;
    let catch_up = catch_up(directory.path(), options.keys, slice)?;
    if let Some(path) = &options.json {
        let report = json!({
            "machine": machine.processor, "cores": machine.cores, "commit": machine.commit,
            "small": small, "large": large, "catch_up": catch_up,
        });
        fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}

/// A cluster of one: its turns are all its own.
fn one_node(directory: &Path, keys: u64, slice: Duration) -> Result<Value, Box<dyn Error>> {
    println!("\n{keys} keys, one node");
    let memory = Memory::watch();
    let peers = BTreeMap::from([(NodeId(0), free_address()?)]);
    let config = config(0, &peers, directory);
    let node = Node::start(config.clone())?;
    let mut load = Load::new(&node);
    load.lead()?;
    load.fill(keys)?;
    println!("  memory with the keys: {} MiB", memory.now_mib());

    // The state without a snapshot, and with one being written, under the same load.
    load.run(keys, slice / 4, |_| false)?;
    let _ = load.handle.take_timings();
    let undisturbed = load.run(keys, slice, |_| false)?;
    let plain = load.handle.take_timings();
    let before = memory.now_mib();
    memory.forget_peak();
    let began = Instant::now();
    load.handle.request_snapshot();
    let disturbed = load.run(keys, Duration::from_secs(600), |status| status > 0)?;
    let took = began.elapsed();
    let during = load.handle.take_timings();
    let peak = memory.peak_mib();
    let bytes = snapshot_bytes(directory)?;
    let rate = bytes as f64 / 1e6 / took.as_secs_f64();
    tell("undisturbed", undisturbed, &plain);
    tell("during a snapshot", disturbed, &during);
    println!(
        "  snapshot of {:.1} MB in {:.2} s: {rate:.0} MB/s; memory grew by {} MiB at most",
        bytes as f64 / 1e6,
        took.as_secs_f64(),
        peak.saturating_sub(before)
    );
    // A second one, so that the log before the first goes.
    let had = load.handle.status().snapshot.0;
    load.handle.request_snapshot();
    load.run(keys, Duration::from_secs(600), |status| status > had)?;
    load.run(keys, PURGE, |_| false)?;
    drop(load);
    stop(node)?;

    let starts = Starts::measure(&config, &memory)?;
    let (warm_s, restart_peak) = (median(starts.warm_s), starts.peak_mib);
    let cold_s = (!starts.cold_s.is_empty()).then(|| median(starts.cold_s));
    let cold_text = cold_s.map_or("not permitted".to_owned(), |s| format!("{s:.2} s"));
    println!(
        "  restart until the first put: {warm_s:.2} s; with no page cached: {cold_text}; \
         {:.0} MB/s; memory {restart_peak} MiB at most",
        bytes as f64 / 1e6 / warm_s
    );
    Ok(json!({
        "keys": keys, "puts_per_sec": undisturbed, "puts_per_sec_during": disturbed,
        "turn_max_us": plain.turns_us.max(), "turn_max_us_during": during.turns_us.max(),
        "turn_p99_us": plain.turns_us.value_at_quantile(0.99),
        "turn_p99_us_during": during.turns_us.value_at_quantile(0.99),
        "sync_p99_us": plain.syncs_us.value_at_quantile(0.99),
        "sync_p99_us_during": during.syncs_us.value_at_quantile(0.99),
        "snapshot_bytes": bytes, "snapshot_mb_per_s": rate,
        "memory_growth_mib": peak.saturating_sub(before),
        "restart_s": warm_s, "restart_cold_s": cold_s, "restart_peak_mib": restart_peak,
    }))
}

/// Seconds that starts took until the node took a put, and the most memory of any.
#[derive(Default)]
struct Starts {
    warm_s: Vec<f64>,
    /// With no file in the page cache, where that is permitted.
    cold_s: Vec<f64>,
    peak_mib: u64,
}

impl Starts {
    fn measure(config: &Config, memory: &Memory) -> Result<Starts, Box<dyn Error>> {
        let mut starts = Starts::default();
        for _ in 0..STARTS {
            for is_cold in [false, true] {
                if is_cold && !drop_page_cache() {
                    continue;
                }
                memory.forget_peak();
                let began = Instant::now();
                let node = Node::start(config.clone())?;
                let mut load = Load::new(&node);
                load.lead()?;
                let took_s = began.elapsed().as_secs_f64();
                match is_cold {
                    true => starts.cold_s.push(took_s),
                    false => starts.warm_s.push(took_s),
                }
                starts.peak_mib = starts.peak_mib.max(memory.peak_mib());
                drop(load);
                stop(node)?;
            }
        }
        Ok(starts)
    }
}

/// Three nodes, of which the third begins with nothing when the others' logs are purged.
fn catch_up(directory: &Path, keys: u64, slice: Duration) -> Result<Value, Box<dyn Error>> {
    println!("\n{keys} keys, three nodes in one process, the third one empty");
    let mut peers = BTreeMap::new();
    for id in 0..3 {
        peers.insert(NodeId(id), free_address()?);
    }
    let configs: Vec<Config> = (0..3)
        .map(|id| config(id, &peers, &directory.join(id.to_string())))
        .collect();
    let nodes = [
        Node::start(configs[0].clone())?,
        Node::start(configs[1].clone())?,
    ];
    let mut load = leading(&nodes)?;
    load.fill(keys)?;
    for node in &nodes {
        // Two snapshots, so that the log before the first goes.
        let handle = Load::new(node).handle;
        for _ in 0..2 {
            let had = handle.status().snapshot;
            handle.request_snapshot();
            while handle.status().snapshot == had {
                load.run(keys, Duration::from_millis(100), |_| false)?;
            }
        }
    }
    let alone = load.run(keys, slice, |_| false)?;
    let memory = Memory::watch();
    let before = memory.now_mib();
    let began = Instant::now();
    let third = Node::start(configs[2].clone())?;
    let newcomer = Load::new(&third).handle;
    let goal = load.handle.status().commit;
    let with_transfer = load.run(keys, Duration::from_secs(600), |_| {
        newcomer.status().applied >= goal
    })?;
    let took = began.elapsed().as_secs_f64();
    let peak = memory.peak_mib();
    let with_three = load.run(keys, slice, |_| false)?;
    let share = |of: f64| with_transfer / of * 100.0;
    println!(
        "  caught up in {took:.2} s; puts meanwhile: {with_transfer:.0}/s, {:.0} % of the \
         {alone:.0}/s before, with two nodes, and {:.0} % of the {with_three:.0}/s after, with \
         three; memory of all three grew by {} MiB at most",
        share(alone),
        share(with_three),
        peak.saturating_sub(before)
    );
    drop((load, newcomer));
    for node in nodes.into_iter().chain([third]) {
        stop(node)?;
    }
    Ok(json!({
        "keys": keys, "catch_up_s": took, "puts_per_sec_alone": alone,
        "puts_per_sec_during": with_transfer, "puts_per_sec_three": with_three,
    }))
}

/// Overwrites keys all the time. Fails if the data directory outgrows four times the live data and
/// the log that a snapshot waits for.
fn soak(directory: &Path, keys: u64, length: Duration) -> Result<(), Box<dyn Error>> {
    let data_dir = directory.join("soak");
    let peers = BTreeMap::from([(NodeId(0), free_address()?)]);
    let config = Config {
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        ..config(0, &peers, &data_dir)
    };
    let memory = Memory::watch();
    let node = Node::start(config)?;
    let mut load = Load::new(&node);
    load.lead()?;
    load.fill(keys)?;
    let live_bytes = keys * (16 + VALUE_BYTES as u64);
    let limit_bytes = 4 * (live_bytes + SNAPSHOT_LOG_BYTES);
    println!(
        "\n{keys} keys, overwritten for {:.0} s",
        length.as_secs_f64()
    );
    let (began, mut peak_bytes, mut puts, mut last) = (Instant::now(), 0, 0.0, 0);
    let mut snapshots = 0;
    while began.elapsed() < length {
        let slice = Duration::from_millis(500);
        puts += load.run(keys, slice, |_| false)? * slice.as_secs_f64();
        peak_bytes = peak_bytes.max(size_bytes(&data_dir)?);
        let newest = load.handle.status().snapshot.0;
        snapshots += u32::from(newest != last);
        last = newest;
    }
    println!(
        "  {puts:.0} puts, {snapshots} snapshots; the data directory had {:.0} MB at most, the \
         limit is {:.0} MB; memory {} MiB at most",
        peak_bytes as f64 / 1e6,
        limit_bytes as f64 / 1e6,
        memory.peak_mib()
    );
    drop(load);
    stop(node)?;
    match peak_bytes <= limit_bytes {
        true => Ok(()),
        false => Err("the data directory outgrew its limit".into()),
    }
}

fn size_bytes(directory: &Path) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_bytes(&entry.path())?,
            Ok(metadata) => metadata.len(),
            // It went between the two looks.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

fn tell(what: &str, puts_per_sec: f64, timings: &Timings) {
    let (turns, syncs) = (&timings.turns_us, &timings.syncs_us);
    println!(
        "  {what}: {puts_per_sec:.0} puts/s; turn without sync p99 {:.2} ms, p100 {:.2} ms; \
         sync p50 {:.2} ms, p99 {:.2} ms",
        turns.value_at_quantile(0.99) as f64 / 1e3,
        turns.max() as f64 / 1e3,
        syncs.value_at_quantile(0.5) as f64 / 1e3,
        syncs.value_at_quantile(0.99) as f64 / 1e3,
    );
}

/// Puts into a node of this process.
struct Load {
    handle: Handle,
    answers: Receiver<(Token, Answer)>,
    next: u64,
    open: usize,
}

impl Load {
    fn new(node: &Node) -> Load {
        let (sender, answers) = unbounded();
        Load {
            handle: node.handle(sender, || {}),
            answers,
            next: 0,
            open: 0,
        }
    }

    fn submit(&mut self, key: u64) -> Result<(), Box<dyn Error>> {
        self.next += 1;
        let operation = Operation::Put {
            key: format!("key-{key:012}").into(),
            value: Bytes::from(vec![b'a' + (self.next % 26) as u8; VALUE_BYTES]),
        };
        let token = Token(self.next);
        let submitted = self.handle.submit(Request { token, operation });
        submitted.map_err(|error| format!("{error:?}"))?;
        self.open += 1;
        Ok(())
    }

    fn wait(&mut self) -> Result<bool, Box<dyn Error>> {
        let (_, answer) = self.answers.recv_timeout(Duration::from_secs(60))?;
        self.open -= 1;
        match answer {
            Answer::Put => Ok(true),
            Answer::NotLeader { .. } | Answer::Busy { .. } => Ok(false),
            other => Err(format!("a put is answered {other:?}").into()),
        }
    }

    /// Until the node takes a put.
    fn lead(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            self.submit(0)?;
            self.handle.wake();
            if self.wait()? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn fill(&mut self, keys: u64) -> Result<(), Box<dyn Error>> {
        // In no order of the keys.
        let order = (0..keys).map(|i| i * 7_368_787 % keys);
        for key in order {
            self.submit(key)?;
            if self.open >= OUTSTANDING_LOADING {
                self.handle.wake();
                while self.open > OUTSTANDING_LOADING / 2 {
                    self.wait()?;
                }
            }
        }
        self.handle.wake();
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Box<dyn Error>> {
        while self.open > 0 {
            self.wait()?;
        }
        Ok(())
    }

    /// Overwrites keys for so long, or until the newest snapshot makes `until` true; gives puts
    /// per second.
    fn run(
        &mut self,
        keys: u64,
        longest: Duration,
        mut until: impl FnMut(u64) -> bool,
    ) -> Result<f64, Box<dyn Error>> {
        let (began, mut done) = (Instant::now(), 0u64);
        let mut seed = 88_172_645_463_325_252u64;
        while began.elapsed() < longest && !until(self.handle.status().snapshot.0) {
            while self.open < OUTSTANDING {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                self.submit(seed % keys)?;
            }
            self.handle.wake();
            done += u64::from(self.wait()?);
            while let Ok((_, answer)) = self.answers.try_recv() {
                self.open -= 1;
                done += u64::from(answer == Answer::Put);
            }
        }
        let rate = done as f64 / began.elapsed().as_secs_f64();
        self.drain()?;
        Ok(rate)
    }
}

/// The one of the nodes that leads.
fn leading(nodes: &[Node]) -> Result<Load, Box<dyn Error>> {
    loop {
        for node in nodes {
            let mut load = Load::new(node);
            load.submit(0)?;
            load.handle.wake();
            if load.wait()? {
                return Ok(load);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn stop(node: Node) -> Result<(), Box<dyn Error>> {
    node.stopper().stop();
    node.wait().map_err(|error| error.to_string().into())
}

fn config(id: u64, peers: &BTreeMap<NodeId, String>, data_dir: &Path) -> Config {
    Config {
        node_id: NodeId(id),
        peers: peers.clone(),
        raft_listen: peers[&NodeId(id)].clone(),
        client_address: String::new(),
        data_dir: data_dir.to_owned(),
        heartbeat_ms: 50,
        election_timeout_ms: 150,
        snapshot_log_bytes: NO_SNAPSHOTS,
    }
}

fn free_address() -> Result<String, Box<dyn Error>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

fn snapshot_bytes(data_dir: &Path) -> Result<u64, Box<dyn Error>> {
    let mut newest = 0;
    for entry in fs::read_dir(data_dir.join("wal"))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|e| e == "snapshot") {
            newest = entry.metadata()?.len();
        }
    }
    Ok(newest)
}

/// Whether the system let go of what it had cached of the disk.
fn drop_page_cache() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

/// This process's anonymous memory, sampled all the time.
struct Memory {
    peak_kib: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Memory {
    fn watch() -> Memory {
        let memory = Memory {
            peak_kib: Arc::default(),
            is_over: Arc::default(),
        };
        let (peak, is_over) = (Arc::clone(&memory.peak_kib), Arc::clone(&memory.is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_kib(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        memory
    }

    fn now_mib(&self) -> u64 {
        anonymous_kib() >> 10
    }

    fn forget_peak(&self) {
        self.peak_kib.store(anonymous_kib(), Ordering::Relaxed);
    }

    fn peak_mib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed) >> 10
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn anonymous_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or(0)
}
