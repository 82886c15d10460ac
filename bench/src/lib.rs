//! Benchmarks of raftkv, and what they are measured against.
//!
//! A figure of a shared machine means little alone, so each one is taken beside what the machine
//! itself allows in the same run: [`raw`] is one synced append and one round trip, [`floor`] is
//! the least that a replicated put can cost.

pub mod api;
pub mod caller;
pub mod chart;
pub mod cluster;
pub mod disk;
pub mod ending;
pub mod floor;
pub mod latency;
pub mod load;
pub mod local;
pub mod machine;
pub mod raw;
pub mod report;
pub mod rounds;
pub mod spread;
pub mod stub;
pub mod syncs;
pub mod ways;
