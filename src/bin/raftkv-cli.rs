//! The raftkv client.
fn main() {}
