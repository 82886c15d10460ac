//! An in-process raftkv cluster in virtual time: the shipped replica, codec and WAL on memory
//! disks, over a network of scheduled messages. One thread, and one seed decides everything.

mod cluster;
pub mod history;
pub mod linearizability;
mod network;
mod rng;

pub use cluster::{Cluster, TICK_MS, delete, get, put};
pub use network::Network;
pub use rng::Rng;
