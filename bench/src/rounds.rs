//! All workloads in turn, several times over: what the machine does in a bad minute then touches
//! one round of each and not all rounds of one.

use crate::{
    caller::Method,
    cluster::Cluster,
    floor::{Floor, Path},
    latency::Latencies,
    load::{self, Load, Served},
    machine::processor_time,
    raw,
};
use std::{io, path, process, time::Duration};

/// How often a load is tried again when the leadership moved under it.
const LOAD_ATTEMPTS: usize = 3;

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
    /// A call to the leader of a cluster.
    Raftkv {
        /// Which one.
        method: Method,
        /// How many clients, each with one outstanding on its own connection.
        clients: usize,
    },
}

impl Workload {
    /// All of them, in the order of a round. What is compared stands side by side.
    pub const ALL: [Workload; 10] = [
        Workload::SyncedAppend { writers: 1 },
        Workload::SyncedAppend { writers: 3 },
        Workload::RoundTrip,
        Workload::Floor(Path::Direct),
        Workload::Floor(Path::Gateway),
        Workload::raftkv(Method::Put, 1),
        Workload::raftkv(Method::Put, 16),
        Workload::raftkv(Method::Put, 64),
        Workload::raftkv(Method::Get, 1),
        Workload::raftkv(Method::Get, 64),
    ];

    const fn raftkv(method: Method, clients: usize) -> Workload {
        Workload::Raftkv { method, clients }
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Workload::SyncedAppend { writers } => format!("synced append, writers: {writers}"),
            Workload::RoundTrip => "loopback round trip".to_owned(),
            Workload::Floor(Path::Direct) => "floor put, clients: 1".to_owned(),
            Workload::Floor(Path::Gateway) => "floor put by gateway, clients: 1".to_owned(),
            Workload::Raftkv { method, clients } => {
                let method = match method {
                    Method::Put => "put",
                    Method::Get => "get",
                };
                format!("raftkv {method}, clients: {clients}")
            }
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
    /// Processor time of all nodes for one call.
    pub servers_us_per_op: Option<f64>,
    /// Processor time of the generator for one call.
    pub generator_us_per_op: Option<f64>,
}

impl Figures {
    fn of(latencies: &Latencies, duration: Duration) -> Figures {
        Figures {
            ops_per_second: latencies.count() as f64 / duration.as_secs_f64(),
            p50_us: latencies.percentile_us(50.0),
            p99_us: latencies.percentile_us(99.0),
            servers_us_per_op: None,
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
            Workload::Raftkv { method, clients } => {
                return self.load(&Load {
                    method,
                    clients,
                    duration,
                });
            }
        };
        Ok(Figures::of(&latencies?, duration))
    }

    fn load(&mut self, load: &Load) -> io::Result<Figures> {
        let mut attempts = 1;
        loop {
            let (_, leader) = self.cluster.leader()?;
            let servers_before = self.servers_time()?;
            let generator_before = processor_time(process::id())?;
            match load::run(load, leader) {
                Ok(Served { latencies, calls }) => {
                    let per_call = |time: Duration| Some(time.as_secs_f64() * 1e6 / calls as f64);
                    let servers = self.servers_time()? - servers_before;
                    let generator = processor_time(process::id())? - generator_before;
                    return Ok(Figures {
                        servers_us_per_op: per_call(servers),
                        generator_us_per_op: per_call(generator),
                        ..Figures::of(&latencies, load.duration)
                    });
                }
                Err(error) if attempts < LOAD_ATTEMPTS => {
                    eprintln!("again, because of: {error}");
                    attempts += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn servers_time(&self) -> io::Result<Duration> {
        let processes = self.cluster.process_ids();
        processes.into_iter().map(processor_time).sum()
    }
}
