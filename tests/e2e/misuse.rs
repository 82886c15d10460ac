//! Strangers at the ports cost a node that one connection.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use raftkv::client::node_status;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Cluster, PATIENCE, Process, put, spawn, turn, wait_for};

/// Sends bytes and reads until the node closes the connection.
fn send(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    // The node may close before it has all, which both calls then report.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let timed_out = error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!timed_out, "{address} keeps a connection after {bytes:?}");
    }
}

#[test]
fn garbage_on_either_port_costs_that_connection_only() {
    let _turn = turn();
    let cluster = Cluster::started();
    let mut client = cluster.client();
    put(&mut client, "key", "before");
    let leader = cluster.leader();
    let noise: Vec<u8> = (0..=255_u8).rev().cycle().take(4096).collect();
    let oversized_frame = [&u32::MAX.to_le_bytes()[..], &[0; 64]].concat();
    let wrong_checksum = [&8_u32.to_le_bytes()[..], &[1; 12]].concat();
    let (raft, clients) = cluster.addresses(leader);
    for garbage in [
        &noise[..],
        b"GET / HTTP/1.1\r\nhost: here\r\n\r\n",
        &oversized_frame,
        &wrong_checksum,
    ] {
        send(raft, garbage);
        send(clients, garbage);
    }
    // Bytes of the right protocol, and then garbage.
    send(
        clients,
        &[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &noise].concat(),
    );
    // The leader still is one: on the connection that was open all the time.
    let value = client.get("key").expect("a majority");
    assert_eq!(value.as_deref(), Some("before"));
    put(&mut client, "key", "after");
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn a_node_whose_log_has_no_reader_goes_on_until_it_is_told_to_stop() {
    let cluster = Cluster::new();
    let mut command = cluster.command(0);
    let mut node = spawn(command.stderr(Stdio::piped()));
    drop(node.stderr.take());
    let (_, clients) = cluster.addresses(0);
    wait_for("a node that serves", || node_status(clients, PATIENCE).ok());
    kill_process(Pid::from_child(&node), Signal::TERM).expect("our child");
    let status = wait_for("its end", || node.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0), "{status}");
}

/// The command with another limit of open files, as `ulimit` takes it.
fn with_open_files(limit: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null());
    shell
}

/// Connections to the port for clients, more than fit into 128 descriptors. They have said what
/// HTTP/2 asks for, and so may be idle for minutes.
fn idle_clients(cluster: &Cluster, id: usize) -> Vec<TcpStream> {
    let (_, clients) = cluster.addresses(id);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
    let connect = |_| {
        let mut stream = TcpStream::connect(clients).expect("it listens");
        stream.write_all(&hello).expect("it was accepted just now");
        stream
    };
    (0..150).map(connect).collect()
}

#[test]
fn idle_clients_leave_descriptors_to_the_log_and_the_peers() {
    let _turn = turn();
    let cluster = Cluster::new();
    let start = |id| Process::start(with_open_files("-n 128", &cluster.command(id)));
    let mut nodes = [0, 1, 2].map(|id| Some(start(id)));
    let mut client = cluster.client();
    put(&mut client, "key", "before");
    let mut idle: Vec<_> = (0..3).map(|id| idle_clients(&cluster, id)).collect();
    // More than a segment, on every node.
    let value = "v".repeat(1 << 20);
    for i in 0..20 {
        put(&mut client, &format!("key-{i}"), &value);
    }
    let leader = cluster.leader();
    let [again, gone] = [1, 2].map(|step| (leader + step) % 3);
    nodes[again].take().expect("it runs").kill();
    nodes[again] = Some(start(again));
    nodes[again]
        .as_mut()
        .expect("it runs")
        .wait_for_log("accepts peers");
    idle[again] = idle_clients(&cluster, again);
    nodes[gone].take().expect("it runs").kill();
    // A majority takes the one that has come back, and it is reached and reaches.
    put(&mut client, "key", "after");
    let value = client.get("key").expect("a majority");
    assert_eq!(value.as_deref(), Some("after"));
    for id in [leader, again] {
        let segment = cluster.data_dir(id).join("wal/0000000002.wal");
        assert!(segment.exists(), "{}", segment.display());
    }
}

#[test]
fn a_node_may_open_as_many_files_as_the_hard_limit_permits() {
    let cluster = Cluster::new();
    let mut node = Process::start(with_open_files("-S -n 64", &cluster.command(0)));
    node.wait_for_log("accepts peers");
    let limits = format!("/proc/{}/limits", node.id().as_raw_nonzero());
    let limits = fs::read_to_string(limits).expect("the limits of our child");
    let open_files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut open_files = open_files
        .expect("a limit of open files")
        .split_whitespace();
    let (soft, hard) = (open_files.next(), open_files.next());
    assert_eq!(soft, hard);
}
