//! Disks that are slow or fail, under the shipped program.

use std::{fs, path::PathBuf, process::Command};

use crate::support::{Cluster, Process, put, raftkv, raftkv_cli, spawn, turn, wait_for};

/// Each sync of the log takes 0.4 s.
const SLOW_SYNC: &str = "slow sync";
/// A sync of the log beside the event loop takes as long as the fault is there.
const HANGING_SYNC: &str = "hanging sync";
/// One sync of the log fails.
const FAILED_SYNC: &str = "failed sync";
/// Each read of a snapshot takes a second.
const SLOW_SNAPSHOT: &str = "slow snapshot";
/// No byte of a snapshot can be read.
const UNREADABLE_SNAPSHOT: &str = "unreadable snapshot";

/// Three nodes on disks that can be given a fault.
struct Faulty {
    cluster: Cluster,
    library: PathBuf,
    running: Vec<Process>,
}

impl Faulty {
    fn new() -> Faulty {
        let cluster = Cluster::new();
        let library = cluster.path("faulty_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/faulty_disk.c");
        // The linker of every Rust program.
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
        let compiled = spawn(compiler.arg(source)).wait();
        assert!(compiled.expect("a C compiler").success());
        Faulty {
            cluster,
            library,
            running: Vec::new(),
        }
    }

    fn started() -> Faulty {
        let mut faulty = Faulty::new();
        faulty.running = (0..3).map(|id| faulty.start(id)).collect();
        put(&mut faulty.cluster.client(), "before", "yes");
        faulty
    }

    /// Three nodes that do not run, and whose state is in one snapshot only: there is no older one,
    /// and no log before it.
    fn restored() -> Faulty {
        let mut faulty = Faulty::started();
        let backup = faulty.cluster.path("backup.snapshot");
        raftkv_cli(&faulty.cluster, &["backup", "save"], &backup).assert_code(0);
        faulty.running.clear();
        let peers = faulty.cluster.peers();
        for id in 0..3 {
            faulty.cluster.wipe(id);
            let mut restore = raftkv();
            restore.arg("restore").arg(&backup);
            restore.args(["--peers", &peers, "--token", "a test"]);
            restore.args(["--node-id", &id.to_string()]);
            restore.arg("--data-dir").arg(faulty.cluster.data_dir(id));
            Process::start(restore).end().assert_code(0);
        }
        faulty
    }

    fn start(&self, id: usize) -> Process {
        let mut command = self.cluster.command(id);
        command.env("LD_PRELOAD", &self.library);
        command.env("DISK_FAULT", self.fault(id));
        Process::start(command)
    }

    fn fault(&self, id: usize) -> PathBuf {
        self.cluster.path(&format!("fault-{id}"))
    }

    fn set(&self, id: usize, fault: &str) {
        let file = self.cluster.path("fault.tmp");
        fs::write(&file, fault).expect("written");
        fs::rename(file, self.fault(id)).expect("renamed");
    }

    fn heal(&self, id: usize) {
        fs::remove_file(self.fault(id)).expect("it was there");
    }
}

#[test]
fn a_leader_whose_sync_outlasts_an_election_timeout_hands_over_and_says_so() {
    let _turn = turn();
    let mut faulty = Faulty::started();
    let leader = faulty.cluster.leader();
    faulty.set(leader, SLOW_SYNC);
    put(&mut faulty.cluster.client(), "slow", "yes");
    let line = faulty.running[leader].wait_for_log("a sync of the log took");
    assert!(
        line.contains("longer than the election timeout of 150 ms"),
        "{line}"
    );
    assert!(line.contains("handing leadership over"), "{line}");
    wait_for("another leader", || {
        (faulty.cluster.leader() != leader).then_some(())
    });
    put(&mut faulty.cluster.client(), "after", "yes");
    faulty.heal(leader);
    for key in ["before", "slow", "after"] {
        let value = faulty.cluster.client().get(key).expect("a majority");
        assert_eq!(value.as_deref(), Some("yes"), "{key}");
    }
}

#[test]
fn a_leader_whose_disk_hangs_beside_its_loop_hands_over_meanwhile() {
    let _turn = turn();
    let mut faulty = Faulty::started();
    let leader = faulty.cluster.leader();
    faulty.set(leader, HANGING_SYNC);
    let large = "x".repeat(100_000);
    put(&mut faulty.cluster.client(), "large", &large);
    let hung = faulty.fault(leader).with_extension("hung");
    assert!(hung.exists(), "the sync was not beside the loop");
    let line = faulty.running[leader].wait_for_log("a sync of the log takes");
    assert!(line.contains("handing leadership over"), "{line}");

    // The disk hangs still, and the others serve.
    put(&mut faulty.cluster.client(), "small", "yes");
    let next = faulty.cluster.leader();
    assert_ne!(next, leader);

    // What it did not sync then, it has now: without another it is needed for a majority.
    faulty.heal(leader);
    drop(faulty.running.remove(next));
    put(&mut faulty.cluster.client(), "after", "yes");
    for (key, value) in [("large", &*large), ("small", "yes"), ("after", "yes")] {
        let found = faulty.cluster.client().get(key).expect("a majority");
        assert_eq!(found.as_deref(), Some(value), "{key}");
    }
}

#[test]
fn a_failed_sync_ends_the_node_although_the_next_one_would_succeed() {
    let _turn = turn();
    let mut faulty = Faulty::started();
    let leader = faulty.cluster.leader();
    faulty.set(leader, FAILED_SYNC);
    put(&mut faulty.cluster.client(), "after", "yes");
    let end = faulty.running.remove(leader).end();
    end.assert_says(74, "Input/output error");
    assert!(!faulty.fault(leader).exists(), "it failed once");

    // What it acknowledged it still has: it is half of the majority that serves.
    let again = faulty.start(leader);
    faulty.running.insert(leader, again);
    let other = (leader + 1) % 3;
    faulty.running.remove(other).kill();
    for key in ["before", "after"] {
        let value = faulty.cluster.client().get(key).expect("a majority");
        assert_eq!(value.as_deref(), Some("yes"), "{key}");
    }
}

#[test]
fn a_snapshot_that_cannot_be_read_stops_a_start_and_is_not_called_damaged() {
    let _turn = turn();
    let mut faulty = Faulty::restored();
    faulty.set(0, UNREADABLE_SNAPSHOT);
    let end = faulty.start(0).end();
    end.assert_says(74, ".snapshot: Input/output error");
    assert!(!end.last_line().contains("damaged"), "{end:#?}");
    assert!(!end.last_line().contains("replaced"), "{end:#?}");

    faulty.heal(0);
    faulty.running = (0..2).map(|id| faulty.start(id)).collect();
    let value = faulty.cluster.client().get("before").expect("a majority");
    assert_eq!(value.as_deref(), Some("yes"));
}

#[test]
fn a_start_that_takes_long_tells_how_far_it_is() {
    let _turn = turn();
    let faulty = Faulty::restored();
    faulty.set(0, SLOW_SNAPSHOT);
    let mut slow = faulty.start(0);
    slow.wait_for_log("loading the snapshot: 0 of 0 MiB");
}
