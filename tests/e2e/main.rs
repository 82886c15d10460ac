//! Real processes, real sockets, real disks: what an operator does to a cluster, and what a client
//! sees of it.

mod backup;
mod damage;
mod dev;
mod failover;
mod faulty_disk;
mod flags;
mod full_disk;
mod identity;
mod members;
mod misuse;
mod offline;
mod runbooks;
mod shipped;
mod snapshots;
mod support;
