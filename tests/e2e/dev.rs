//! `raftkv dev`: a whole cluster by one command.

use std::{net::TcpListener, path::Path};

use raftkv::{client::Client, node::DataDir};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, Process, free_base_port, put, raftkv, turn, wait_for};

/// The ports of three nodes, above the base.
const OFFSETS: [u16; 6] = [0, 10, 20, 100, 110, 120];

fn dev(base_port: u16, data_dir: &Path) -> Process {
    let mut command = raftkv();
    command
        .args(["dev", "--base-port", &base_port.to_string(), "--data-dir"])
        .arg(data_dir);
    Process::start(command)
}

fn client(base_port: u16) -> Client {
    let endpoints = OFFSETS[3..]
        .iter()
        .map(|offset| format!("127.0.0.1:{}", base_port + offset));
    Client::new(endpoints)
        .expect("endpoints")
        .with_timeout(PATIENCE)
}

fn assert_no_node_runs(base_port: u16, data_dir: &Path) {
    for offset in OFFSETS {
        let port = base_port + offset;
        TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|e| panic!("port {port}: {e}"));
    }
    for id in ["0", "1", "2"] {
        DataDir::check_unlocked(&data_dir.join(id)).expect("unlocked");
    }
}

#[test]
fn dev_runs_a_cluster_until_ctrl_c_and_goes_on_with_the_same_data() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let base_port = free_base_port(&OFFSETS);
    for _ in 0..2 {
        let mut dev = dev(base_port, directory.path());
        let line = dev.wait_for_line("node 2 ");
        assert!(
            line.contains(&format!("127.0.0.1:{}", base_port + 120)),
            "{line}"
        );
        dev.wait_for_line("leads; a write is acknowledged once a majority has synced it");
        dev.wait_for_line(&format!(
            "export RAFTKV_ENDPOINTS=127.0.0.1:{}",
            base_port + 100
        ));
        dev.wait_for_line("raftkv-cli put greeting hello");
        let mut client = client(base_port);
        let runs = client.get("runs").expect("a majority").unwrap_or_default();
        put(&mut client, "runs", &format!("{runs}one "));
        dev.signal(Signal::INT);
        let end = dev.end();
        assert_eq!(end.code, Some(0), "{end:#?}");
        assert_no_node_runs(base_port, directory.path());
    }
    let mut dev = dev(base_port, directory.path());
    dev.wait_for_line("leads;");
    let runs = client(base_port).get("runs").expect("a majority");
    assert_eq!(runs.as_deref(), Some("one one "));
}

#[test]
fn dev_tells_that_a_node_died_and_how_to_start_it_again() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let base_port = free_base_port(&OFFSETS);
    let mut dev = dev(base_port, directory.path());
    dev.wait_for_line("leads;");
    let id = std::fs::read_to_string(directory.path().join("1/raftkv.pid")).expect("a file");
    let id = id
        .trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    kill_process(id, Signal::KILL).expect("a process of ours");
    dev.wait_for_line("node 1 was ended by signal 9");
    dev.wait_for_line("raftkv --node-id 1 --peers");
    put(&mut client(base_port), "key", "value");
}

#[test]
fn no_node_outlives_a_dev_that_was_killed() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let base_port = free_base_port(&OFFSETS);
    let mut dev = dev(base_port, directory.path());
    dev.wait_for_line("leads;");
    dev.kill();
    for id in ["0", "1", "2"] {
        let data_dir = directory.path().join(id);
        wait_for("a node that ends", || {
            DataDir::check_unlocked(&data_dir).ok()
        });
    }
}

#[test]
fn a_port_in_use_stops_dev_with_one_line_before_it_starts_a_node() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let base_port = free_base_port(&OFFSETS);
    let _held = TcpListener::bind(("127.0.0.1", base_port + 110)).expect("a free port");
    let end = dev(base_port, directory.path()).end();
    end.assert_says(
        3,
        &format!("127.0.0.1:{}: the port is in use", base_port + 110),
    );
    assert_eq!(end.stderr.len(), 1, "{end:#?}");
    assert!(!directory.path().join("0").exists());
}

#[test]
fn a_locked_directory_stops_dev_with_one_line_and_its_user_goes_on() {
    let _turn = turn();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let base_port = free_base_port(&OFFSETS);
    let mut first = dev(base_port, directory.path());
    first.wait_for_line("leads;");
    let end = dev(free_base_port(&OFFSETS), directory.path()).end();
    end.assert_says(3, "is locked by process");
    assert_eq!(end.stderr.len(), 1, "{end:#?}");
    put(&mut client(base_port), "key", "value");
}
