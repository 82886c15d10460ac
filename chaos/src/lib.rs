//! The chaos suite: shipped replicas in virtual time, faults drawn from a seed, and checkers that
//! see all nodes at once. docs/chaos-methodology.md says what is simulated and what a run proves.

mod batch;
mod digest;
mod draws;
pub mod explore;
pub mod history;
mod invariants;
pub mod linearizability;
mod report;
mod rng;
mod run;
mod scenario;
mod shrink;
mod sim;

pub use batch::{Failed, Order, Report, Totals, run_batch};
pub use invariants::Property;
pub use rng::Rng;
pub use run::{Failure, Outcome, run_partial, run_seed};
pub use scenario::{Class, Endured, Kind, Partial, Preset, Stats, Tally};
pub use shrink::{Shrunk, shrink};
pub use sim::{
    Cluster, CrashPoint, Delay, Fault, Hits, Line, Mark, Marks, Micros, Network, Noise, Settings,
    Sim, Syncs, TICK, delete, get, put,
};
