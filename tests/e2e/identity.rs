//! A directory is one node's of one cluster, and a wiped one is none of them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::support::{Cluster, Process, free_address, node_command, put, turn};

/// A directory that node 0 of three has used, and is done with.
fn used_directory() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start(0);
    let mut node = cluster.take(0);
    node.wait_for_log("accepts peers at");
    node.kill();
    cluster
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let cluster = used_directory();
    let (raft, clients) = cluster.addresses(1);
    let command = node_command(1, &cluster.peers(), raft, clients, &cluster.data_dir(0));
    Process::start(command)
        .end()
        .assert_says(5, "it is node 0's, not node 1's");
}

#[test]
fn peers_that_disagree_with_the_directory_get_a_line_that_says_which_won() {
    let _turn = turn();
    let cluster = used_directory();
    let (raft, clients) = cluster.addresses(0);
    let peers = format!("0@{raft},1@127.0.0.1:1,7@127.0.0.1:2");
    let command = node_command(0, &peers, raft, clients, &cluster.data_dir(0));
    let mut process = Process::start(command);
    process.wait_for_log("--peers names nodes 0,1,7, the data directory 0,1,2: the directory wins");
}

#[test]
fn members_may_move_to_other_addresses() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    put(&mut cluster.client(), "key", "value");
    cluster.kill_all();
    cluster.move_all();
    cluster.start_all();
    let value = cluster.client().get("key").expect("a majority");
    assert_eq!(value.as_deref(), Some("value"));
}

#[test]
fn a_directory_in_use_is_refused_and_its_user_goes_on() {
    let _turn = turn();
    let cluster = Cluster::started();
    let (raft, clients) = (free_address(), free_address());
    let command = node_command(0, &cluster.peers(), &raft, &clients, &cluster.data_dir(0));
    let process = cluster.process_id(0);
    let says = format!("is locked by process {process}");
    Process::start(command).end().assert_says(3, &says);
    put(&mut cluster.client(), "key", "value");
}

#[test]
fn damage_is_told_and_not_repaired() {
    let cluster = used_directory();
    let identity = cluster.data_dir(0).join("identity");
    let mut bytes = std::fs::read(&identity).expect("an identity");
    bytes[20] ^= 1;
    std::fs::write(&identity, &bytes).expect("written");
    Process::start(cluster.command(0))
        .end()
        .assert_says(6, "identity is damaged");
    assert_eq!(std::fs::read(&identity).expect("an identity"), bytes);
}

#[test]
fn a_wiped_node_is_refused_by_its_peers_and_stops() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    put(&mut cluster.client(), "key", "value");
    let wiped = (cluster.leader() + 1) % 3;
    cluster.kill(wiped);
    cluster.wipe(wiped);
    cluster.start(wiped);
    let end = cluster.take(wiped).end();
    end.assert_says(5, "never votes again under its old id");
    let value = cluster.client().get("key").expect("a majority");
    assert_eq!(value.as_deref(), Some("value"));
}

#[test]
fn two_wiped_nodes_stop_and_nobody_serves_a_store_without_the_data() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    put(&mut cluster.client(), "key", "value");
    cluster.kill_all();
    cluster.wipe(1);
    cluster.wipe(2);
    let stopped = AtomicBool::new(false);
    let mut client = cluster.client().with_timeout(Duration::from_millis(200));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // One attempt more after both have stopped.
            loop {
                let last = stopped.load(Ordering::Acquire);
                if let Ok(value) = client.get("key") {
                    return Some(value);
                }
                if last {
                    return None;
                }
            }
        });
        cluster.start_all();
        let ends = [1, 2].map(|id| cluster.take(id).end());
        stopped.store(true, Ordering::Release);
        for end in ends {
            end.assert_says(5, "never votes again under its old id");
        }
        let answer = reader.join().expect("the reader does not panic");
        assert_eq!(
            answer, None,
            "a read was answered without a majority that has the data"
        );
    });
}
