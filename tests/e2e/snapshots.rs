//! A log that does not grow for ever, and a node that was away for too long to be told of it.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use raftkv::client::Client;

use crate::support::{Cluster, Process, put, turn, wait_for};

const KEYS: usize = 200_000;
/// Calls that are under way at the same time.
const CLIENTS: usize = 24;
const SNAPSHOT_LOG_BYTES: &str = "8388608";

fn key(i: usize) -> String {
    format!("key-{i:08}")
}

fn value(i: usize) -> String {
    format!("value-{i}-").repeat(20)
}

/// Does this for each number, many at the same time, each thread with a client of its own.
fn each(cluster: &Cluster, numbers: std::ops::Range<usize>, work: fn(&mut Client, usize)) {
    let next = AtomicUsize::new(numbers.start);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = cluster.client();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= numbers.end {
                        return;
                    }
                    work(&mut client, i);
                }
            });
        }
    });
}

fn load(cluster: &Cluster, numbers: std::ops::Range<usize>) {
    each(cluster, numbers, |client, i| {
        put(client, &key(i), &value(i));
    });
}

fn check(cluster: &Cluster, numbers: std::ops::Range<usize>) {
    each(cluster, numbers, |client, i| {
        let found = client.get(key(i)).expect("a majority");
        assert_eq!(found, Some(value(i)), "{}", key(i));
    });
}

fn start(cluster: &Cluster, id: usize) -> Process {
    let mut command = cluster.command(id);
    command.args(["--snapshot-log-bytes", SNAPSHOT_LOG_BYTES]);
    Process::start(command)
}

/// The numbers of the segments in a node's log.
fn segments(data_dir: &Path) -> Vec<u32> {
    let names = fs::read_dir(data_dir.join("wal")).expect("a log");
    let names = names.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut numbers: Vec<u32> = names
        .filter_map(|name| name.expect("UTF-8").strip_suffix(".wal")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_follower_that_was_away_for_long_catches_up_by_a_snapshot_and_then_serves_everything() {
    let _turn = turn();
    let cluster = Cluster::new();
    let mut nodes: Vec<Option<Process>> = (0..3).map(|id| Some(start(&cluster, id))).collect();
    let mut client = cluster.client();
    put(&mut client, "first", "1");
    let away = (cluster.leader() + 1) % 3;
    load(&cluster, 0..KEYS / 4);
    nodes[away].take().expect("it runs").kill();

    // Until nobody's log reaches back to where it was.
    let last = *segments(&cluster.data_dir(away)).last().expect("a segment");
    load(&cluster, KEYS / 4..KEYS);
    for id in (0..3).filter(|&id| id != away) {
        wait_for("a purged log", || {
            (segments(&cluster.data_dir(id))[0] > last).then_some(())
        });
    }

    // It catches up while puts go on.
    let is_over = AtomicBool::new(false);
    let mut back = start(&cluster, away);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = cluster.client();
            let mut i = 0;
            while !is_over.load(Ordering::Relaxed) {
                put(&mut client, "meanwhile", &i.to_string());
                i += 1;
            }
        });
        back.wait_for_log("SnapshotInstalled");
        is_over.store(true, Ordering::Relaxed);
    });

    // The others go in turn: what is read then is what it has.
    for other in (0..3).filter(|&id| id != away) {
        nodes[other].take().expect("it runs").kill();
        while cluster.leader() != away {
            let leader = cluster.leader();
            nodes[leader].take().expect("it runs").kill();
            nodes[leader] = Some(start(&cluster, leader));
        }
        check(&cluster, 0..KEYS);
        nodes[other] = Some(start(&cluster, other));
    }
    drop(back);
}

#[test]
fn a_restart_reads_the_snapshot_and_what_is_behind_it() {
    let _turn = turn();
    let cluster = Cluster::new();
    let mut nodes: Vec<Process> = (0..3).map(|id| start(&cluster, id)).collect();
    load(&cluster, 0..KEYS / 2);
    for node in &mut nodes {
        node.wait_for_log("SnapshotTaken");
    }
    nodes.into_iter().for_each(Process::kill);
    let nodes: Vec<Process> = (0..3).map(|id| start(&cluster, id)).collect();
    check(&cluster, 0..KEYS / 2);
    drop(nodes);
}
