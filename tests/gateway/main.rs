//! The clients' side, with a scripted node in place of the real one: what each outcome looks like
//! to a client, which limits hold, and when the blocking client repeats a request.

mod backups;
mod cli;
mod client;
mod cluster;
mod health;
mod kv;
mod limits;
mod members;
mod node;
mod reflection;
mod refusals;
mod shutdown;
mod wire;
