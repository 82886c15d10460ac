//! A running node: one thread with one event loop for peers, clients' requests, the log and time.

mod handle;

pub use handle::{Answer, Handle, NodeStatus, REQUEST_QUEUE_MAX, Request, SubmitError};
