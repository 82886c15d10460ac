//! raftkv-chaos
