//! raftkv: a replicated key-value store over Raft, without an async runtime.
//!
//! Arrows of import point down only; `tests/tidy.rs` holds them:
//!
//! ```text
//!  node/  event loop ── gateway/  gRPC services        client  blocking
//!     │                     └── grpc/ ── h2/ ─────────────┘
//!  replica    the one interpreter of effects
//!     ├── raft/    the consensus FSM: pure
//!     ├── kv/      the replicated state machine: pure
//!     └── storage/ raft log on top of the `raftkv-wal` crate
//!  offline/   what is done to the directory of a stopped node, over storage/ and node/
//!  codec/     bytes <-> messages, over types that build.rs makes from proto/
//! ```

#[cfg(feature = "planted-bugs")]
#[macro_use]
extern crate raftkv_planted;

/// Whether a test has planted the bug of this name (`chaos/planted`): never in what ships.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

pub mod client;
pub mod codec;
pub mod gateway;
pub mod grpc;
pub mod h2;
pub mod kv;
pub mod node;
pub mod offline;
pub mod raft;
pub mod replica;
pub mod storage;

/// Types generated from `proto/` by build.rs.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
    pub use self::raftkv::*;

    /// The encoded `FileDescriptorSet` of `proto/`, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

    /// Trailer by which the gateway says whether a refused call was applied.
    pub const APPLIED_TRAILER: &str = "raftkv-applied";
    /// Its only value: nothing was applied, so repeating the call is safe.
    pub const APPLIED_NO: &str = "no";
    /// Trailer of a call that only the leader serves: its client address, when known.
    pub const LEADER_TRAILER: &str = "raftkv-leader";
}
