//! raftkv-wal
