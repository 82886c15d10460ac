//! What is wrong with a start is told in one line.

use std::net::TcpListener;

use crate::support::{Cluster, Process, free_address, node_command, raftkv};

#[test]
fn a_bad_flag_is_one_line_and_exit_code_2() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data_dir = directory.path().join("none");
    let (raft, clients) = (free_address(), free_address());
    let peers = format!("0@{raft}");
    for (flag, value, says) in [
        ("--node-id", "5", "--node-id 5 is not among --peers"),
        ("--node-id", "minus one", "'minus one' for '--node-id <N>'"),
        (
            "--peers",
            "0@127.0.0.1:1,0@127.0.0.1:2",
            "node id 0 occurs twice",
        ),
        ("--peers", "0@localhost", "write HOST:PORT"),
        ("--kv-listen", "9100", "no port"),
        ("--heartbeat-ms", "0", "'0' for '--heartbeat-ms <MS>'"),
        ("--heartbeat-ms", "150", "--election-timeout-ms 150"),
        ("--no-such-flag", "1", "'--no-such-flag'"),
    ] {
        let mut command = raftkv();
        let sound = [
            ("--node-id", "0"),
            ("--peers", &peers),
            ("--raft-listen", &raft),
            ("--kv-listen", &clients),
        ];
        for (name, sound) in sound.iter().filter(|(name, _)| *name != flag) {
            command.args([name, sound]);
        }
        command.args([flag, value]).arg("--data-dir").arg(&data_dir);
        let end = Process::start(command).end();
        end.assert_says(2, says);
        assert_eq!(end.stderr.len(), 1, "{end:#?}");
        assert!(!data_dir.exists(), "{flag} {value} made a directory");
    }
}

#[test]
fn a_port_in_use_is_one_clear_line_and_exit_code_3() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("bound").to_string();
    let free = free_address();
    let peers = format!("0@{taken}");
    for (flag, raft, clients) in [
        ("--raft-listen", &taken, &free),
        ("--kv-listen", &free, &taken),
    ] {
        let command = node_command(0, &peers, raft, clients, directory.path());
        let says = format!("{flag} {taken}: the port is in use");
        Process::start(command).end().assert_says(3, &says);
    }
}

#[test]
fn the_environment_serves_for_every_flag_and_a_typing_error_in_it_is_told() {
    let cluster = Cluster::new();
    let (raft, clients) = cluster.addresses(1);
    let mut command = raftkv();
    command
        .env("RAFTKV_NODE_ID", "1")
        .env("RAFTKV_PEERS", cluster.peers())
        .env("RAFTKV_RAFT_LISTEN", raft)
        .env("RAFTKV_KV_LISTEN", clients)
        .env("RAFTKV_DATA_DIR", cluster.data_dir(1))
        .env("RAFTKV_KV_ADVERTISE", "kv.example:80")
        .env("RAFTKV_HEARTBEAT", "50");
    let mut node = Process::start(command);
    node.wait_for_log("RAFTKV_HEARTBEAT is no variable of raftkv");
    let banner = node.wait_for_log("accepts peers at");
    assert!(
        banner.contains(&format!("clients at {clients}")),
        "{banner}"
    );
    assert!(banner.contains("kv.example:80"), "{banner}");
}
