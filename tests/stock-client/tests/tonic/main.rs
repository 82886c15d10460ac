//! What clients that we did not write see of three real nodes: tonic, a gRPC library for Rust.

mod client;
mod cluster;
mod failover;
mod refusals;
mod services;

#[path = "../../../e2e/support.rs"]
#[allow(dead_code, reason = "the tests of the program use the rest")]
mod support;
