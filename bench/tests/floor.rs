//! The floor program, as real processes.

use raftkv_bench::floor::{Floor, Path};
use std::time::Duration;

#[test]
fn a_put_is_answered_on_both_paths() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let executable = env!("CARGO_BIN_EXE_bench-cluster");
    let mut floor = Floor::start(executable.as_ref(), directory.path()).expect("it starts");
    for path in [Path::Gateway, Path::Direct, Path::Gateway] {
        let latencies = floor.put_for(path, Duration::ZERO).expect("an answer");
        assert_eq!(latencies.count(), 1);
    }
}
