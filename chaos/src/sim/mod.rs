//! The simulator: N shipped replicas on memory disks, a network of scheduled frames, clocks that
//! run apart, and every fault. One thread, and one seed decides everything.

mod cluster;
mod control;
mod damage;
mod engine;
mod fault;
mod host;
mod jobs;
mod mark;
mod network;
mod observe;
mod queue;
mod settings;
mod trace;
mod turn;

pub use cluster::{Cluster, delete, get, put};
pub(crate) use control::fail;
pub(crate) use engine::Due;
pub use engine::Sim;
pub(crate) use fault::listed;
pub use fault::{CrashPoint, Fault, Hits};
pub(crate) use host::Armed;
pub use mark::{Mark, Marks};
pub use network::{Delay, Network, Noise};
pub use queue::Micros;
pub use settings::{Settings, Syncs, TICK};
pub use trace::Line;
