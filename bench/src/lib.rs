//! raftkv-bench
