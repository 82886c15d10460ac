//! Real processes, real sockets, real disks: what an operator does to a cluster, and what a client
//! sees of it.

mod backup;
mod dev;
mod failover;
mod flags;
mod identity;
mod misuse;
mod offline;
mod shipped;
mod snapshots;
mod support;
