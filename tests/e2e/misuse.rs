//! Strangers at the ports cost a node that one connection.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Cluster, PATIENCE, put, turn, wait_for};

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
    let mut node = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program that runs");
    drop(node.stderr.take());
    wait_for("its log", || {
        cluster
            .data_dir(0)
            .join("wal/0000000001.wal")
            .exists()
            .then_some(())
    });
    kill_process(Pid::from_child(&node), Signal::TERM).expect("our child");
    let status = wait_for("its end", || node.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0), "{status}");
}
