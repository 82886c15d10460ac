//! Real processes, real sockets, real disks: what an operator does to a cluster, and what a client
//! sees of it.

mod dev;
mod failover;
mod flags;
mod identity;
mod misuse;
mod shipped;
mod snapshots;
mod support;
