//! The consensus FSM.

mod effect;
mod input;
mod message;
mod note;
mod types;

pub use effect::{Effect, Effects, HardState, RefusalReason, RoleChange, RoleName};
pub use input::Input;
pub use message::{Append, AppendOutcome, Entry, EntryKind, Message, VoteKind};
pub use note::{Note, StepDown, VoteDenial};
pub use types::{Index, LogPos, NodeId, Round, Seq, Term, Token};
