//! A running node: one thread with one event loop for peers, clients' requests, the log and time.

mod error;
mod handle;
mod identity;
mod peer_list;
mod sealed;

pub use error::StartError;
pub use handle::{Answer, Handle, NodeStatus, REQUEST_QUEUE_MAX, Request, SubmitError};
pub use identity::{DataDir, Identity, Incarnation};
pub use peer_list::{MEMBERS_MAX, check_address, parse_peers, split_address};
