//! The consensus FSM.

mod candidate;
mod core;
mod display;
mod effect;
mod follower;
mod input;
pub mod invariants;
mod leader;
mod log;
mod message;
mod note;
mod options;
mod progress;
mod quorum;
mod reads;
mod receive;
mod rng;
mod types;
mod votes;

pub use self::core::Raft;
pub use effect::{Effect, Effects, HardState, RefusalReason, RoleChange, RoleName};
pub use input::Input;
pub use leader::APPEND_MAX_ENTRIES;
pub use log::Log;
pub use message::{Append, AppendOutcome, Entry, EntryKind, Message, VoteKind};
pub use note::{Note, StepDown, VoteDenial};
pub use options::{Options, Saved, Status};
pub use quorum::Config;
pub use types::{Index, LogPos, NodeId, Round, Seq, Term, Token};
