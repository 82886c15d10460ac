//! The messages of `proto/` as rust-protobuf makes and reads them. raftkv ships prost; what both
//! write and read alike is what the `.proto` files say, and not one library's opinion of it.

#[allow(missing_docs, clippy::all, clippy::semicolon_if_nothing_returned)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/oracle/mod.rs"));
}

pub use generated::{cluster, command, peer, raftkv};
