//! All workloads in turn, several times over: what the machine does in a bad minute then touches
//! one round of each and not all rounds of one.

use crate::{
    api::Method,
    cluster::Cluster,
    floor::{Floor, PUT_BYTES, Path},
    latency::Latencies,
    load::{Connected, KEYS, Load, Pace},
    machine::{Usage, processor_time},
    raw,
    syncs::DiskCalls,
};
use std::{io, path, process, thread, time::Duration};

/// How often a load is tried again when the leadership moved under it.
const LOAD_ATTEMPTS: usize = 10;

/// Until the servers have accepted all clients, which is no part of a call.
const CONNECT: Duration = Duration::from_millis(50);

/// The clients of an open loop: so many calls may be late before one has to wait.
const OPEN_CLIENTS: usize = 256;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// One synced append, by so many writers at once.
    SyncedAppend {
        /// How many.
        writers: usize,
    },
    /// One byte there and back over loopback.
    RoundTrip,
    /// A put to the floor program.
    Floor(Path),
    /// Calls to the leader of a cluster.
    Call(Call),
}

/// Calls to the leader of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub method: Method,
    /// How many clients, each with one outstanding on its own connection.
    pub clients: usize,
    /// Of each value.
    pub value_bytes: usize,
    /// At so many percent of the most puts per second that were seen before; as many as are
    /// answered without.
    pub percent_of_peak: Option<u32>,
}

impl Call {
    /// Calls with values of [`PUT_BYTES`], as fast as they are answered.
    pub const fn closed(method: Method, clients: usize) -> Call {
        Call {
            method,
            clients,
            value_bytes: PUT_BYTES,
            percent_of_peak: None,
        }
    }

    /// Puts of larger values.
    pub const fn large_put(clients: usize, value_bytes: usize) -> Call {
        Call {
            value_bytes,
            ..Call::closed(Method::Put, clients)
        }
    }

    /// Puts at a rate.
    pub const fn open(percent_of_peak: u32) -> Call {
        Call {
            percent_of_peak: Some(percent_of_peak),
            ..Call::closed(Method::Put, OPEN_CLIENTS)
        }
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        let method = self.method.name();
        let size = match self.value_bytes {
            PUT_BYTES => String::new(),
            bytes => format!(" {} KiB", bytes >> 10),
        };
        match (self.percent_of_peak, self.clients) {
            (Some(percent), _) => format!("{method} at {percent} % of the peak"),
            (None, 1) => format!("{method}{size}, 1 client"),
            (None, clients) => format!("{method}{size}, {clients} clients"),
        }
    }
}

impl Workload {
    /// All of them, in the order of a round. What is compared stands side by side.
    pub const ALL: [Workload; 19] = [
        Workload::SyncedAppend { writers: 1 },
        Workload::SyncedAppend { writers: 3 },
        Workload::RoundTrip,
        Workload::Floor(Path::Direct),
        Workload::Floor(Path::Gateway),
        Workload::Call(Call::closed(Method::Put, 1)),
        Workload::Call(Call::closed(Method::Put, 16)),
        Workload::Call(Call::closed(Method::Put, 64)),
        Workload::Call(Call::closed(Method::Put, 256)),
        Workload::Call(Call::closed(Method::Put, 1_000)),
        Workload::Call(Call::closed(Method::Get, 1)),
        Workload::Call(Call::closed(Method::Get, 16)),
        Workload::Call(Call::closed(Method::Get, 64)),
        Workload::Call(Call::closed(Method::Get, 256)),
        Workload::Call(Call::closed(Method::Get, 1_000)),
        Workload::Call(Call::large_put(16, 4 << 10)),
        Workload::Call(Call::large_put(16, 64 << 10)),
        Workload::Call(Call::open(50)),
        Workload::Call(Call::open(80)),
    ];

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Workload::SyncedAppend { writers } => format!("synced append, writers: {writers}"),
            Workload::RoundTrip => "loopback round trip".to_owned(),
            Workload::Floor(Path::Direct) => "floor put, 1 client".to_owned(),
            Workload::Floor(Path::Gateway) => "floor put by gateway, 1 client".to_owned(),
            Workload::Call(call) => call.name(),
        }
    }
}

/// One workload in one round.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Operations per second.
    pub ops_per_second: f64,
    /// The median latency.
    pub p50_us: f64,
    /// The latency that one operation in a hundred exceeded.
    pub p99_us: f64,
    /// The latency that one operation in a thousand exceeded.
    pub p999_us: f64,
    /// What the nodes used.
    pub servers: Option<Servers>,
    /// Processor time of the generator for one call.
    pub generator_us_per_op: Option<f64>,
}

/// What the nodes used for one call, all of them together.
#[derive(Clone, Copy, Debug)]
pub struct Servers {
    /// Processor time.
    pub us_per_op: f64,
    /// Bytes handed to `pwrite`, where that is counted.
    pub bytes_per_op: Option<f64>,
    /// `fdatasync`, where that is counted.
    pub syncs_per_op: Option<f64>,
    /// The same for one second.
    pub syncs_per_second: Option<f64>,
    /// `VmRSS` of the largest node at the end.
    pub resident_bytes: u64,
}

impl Figures {
    fn of(latencies: &Latencies, duration: Duration) -> Figures {
        Figures {
            ops_per_second: latencies.count() as f64 / duration.as_secs_f64(),
            p50_us: latencies.percentile_us(50.0),
            p99_us: latencies.percentile_us(99.0),
            p999_us: latencies.percentile_us(99.9),
            servers: None,
            generator_us_per_op: None,
        }
    }
}

/// Where workloads run.
pub struct Bench<'a> {
    /// For files of the raw appends.
    pub directory: &'a path::Path,
    /// The floor program.
    pub floor: &'a mut Floor,
    /// raftkv.
    pub cluster: &'a mut Cluster,
    /// The most puts per second so far.
    pub peak: f64,
}

impl Bench<'_> {
    /// Runs one workload for so long.
    ///
    /// # Errors
    /// Whatever the disk, the network or the nodes report.
    pub fn run(&mut self, workload: Workload, duration: Duration) -> io::Result<Figures> {
        let latencies = match workload {
            Workload::SyncedAppend { writers } => {
                raw::synced_appends(self.directory, writers, duration)
            }
            Workload::RoundTrip => raw::round_trips(duration),
            Workload::Floor(path) => self.floor.put_for(path, duration),
            Workload::Call(call) => {
                let figures = run_calls(self.cluster, call, duration, self.peak)?;
                if call.method == Method::Put {
                    self.peak = self.peak.max(figures.ops_per_second);
                }
                return Ok(figures);
            }
        };
        Ok(Figures::of(&latencies?, duration))
    }
}

/// Runs calls for so long.
///
/// # Errors
/// Whatever the network or the nodes report, time and again.
pub fn run_calls(
    cluster: &mut Cluster,
    call: Call,
    duration: Duration,
    peak: f64,
) -> io::Result<Figures> {
    let pace = match call.percent_of_peak {
        None => Pace::Closed(duration),
        Some(percent) => Pace::Open {
            rate: peak * f64::from(percent) / 100.0,
            duration,
        },
    };
    let load = Load {
        system: cluster.system(),
        method: call.method,
        clients: call.clients,
        outstanding: 1,
        value_bytes: call.value_bytes,
        keys: KEYS,
        pace,
    };
    let mut attempts = 1;
    loop {
        match run_once(cluster, &load, duration) {
            Err(error) if attempts < LOAD_ATTEMPTS => {
                eprintln!("again, because of: {error}");
                attempts += 1;
            }
            ended => return ended,
        }
    }
}

fn run_once(cluster: &mut Cluster, load: &Load, duration: Duration) -> io::Result<Figures> {
    let (_, leader) = cluster.leader()?;
    let clients = Connected::new(load, leader)?;
    thread::sleep(CONNECT);
    let before = cluster.usage()?;
    let disk_before = cluster.disk_calls()?;
    let generator_before = processor_time(process::id())?;
    let served = clients.run()?;
    let generator = processor_time(process::id())? - generator_before;
    let after = cluster.usage()?;
    let disk = cluster.disk_calls()?.zip(disk_before);
    let disk = |of: fn(&DiskCalls) -> u64| {
        let (after, before) = disk.as_ref()?;
        let sum = |nodes: &[DiskCalls]| nodes.iter().map(of).sum::<u64>();
        Some((sum(after) - sum(before)) as f64)
    };
    let syncs = disk(|calls| calls.syncs);
    let calls = served.calls as f64;
    let used = |of: fn(&Usage) -> f64| {
        let used = after.iter().zip(&before).map(|(a, b)| of(a) - of(b));
        used.sum::<f64>() / calls
    };
    let resident = after.iter().map(|usage| usage.resident_bytes);
    Ok(Figures {
        servers: Some(Servers {
            us_per_op: used(|usage| usage.processor.as_secs_f64() * 1e6),
            bytes_per_op: disk(|calls| calls.written_bytes).map(|bytes| bytes / calls),
            syncs_per_op: syncs.map(|syncs| syncs / calls),
            syncs_per_second: syncs.map(|syncs| syncs / duration.as_secs_f64()),
            resident_bytes: resident.max().unwrap_or(0),
        }),
        generator_us_per_op: Some(generator.as_secs_f64() * 1e6 / calls),
        ..Figures::of(&served.latencies, duration)
    })
}
