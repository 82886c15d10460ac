//! A raftkv node.
fn main() {}
