//! Nodes die; what was acknowledged does not.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use raftkv::client::{Client, Error};
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::support::{Cluster, put, turn, wait_for};

const KEYS: usize = 1_000;

fn assert_all_there(client: &mut Client) {
    for i in 0..KEYS {
        let value = client.get(format!("key-{i}")).expect("a majority");
        assert_eq!(value, Some(format!("value-{i}")));
    }
}

#[test]
fn a_thousand_acknowledged_keys_survive_the_leader_and_then_all_nodes() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let mut client = cluster.client();
    for i in 0..KEYS {
        put(&mut client, &format!("key-{i}"), &format!("value-{i}"));
    }

    let leader = cluster.leader();
    cluster.kill(leader);
    assert_all_there(&mut cluster.client());
    put(&mut client, "while one was down", "yes");

    // With another one down it is half of the majority, which takes a log that has caught up.
    cluster.start(leader);
    let other = (leader + 1) % 3;
    cluster.kill(other);
    let mut client = cluster.client();
    put(&mut client, "with the one that came back", "yes");
    assert_all_there(&mut client);

    cluster.start(other);
    cluster.leader();
    cluster.kill_all();
    cluster.start_all();
    let mut client = cluster.client();
    assert_all_there(&mut client);
    for key in ["while one was down", "with the one that came back"] {
        assert_eq!(client.get(key).expect("a majority").as_deref(), Some("yes"));
    }
}

#[test]
fn a_leader_that_is_told_to_stop_exits_with_0_and_another_one_leads() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    put(&mut cluster.client(), "key", "value");
    for signal in [Signal::TERM, Signal::INT] {
        let leader = cluster.leader();
        let process = cluster.take(leader);
        process.signal(signal);
        let end = process.end();
        assert_eq!(end.code, Some(0), "{end:#?}");
        assert_ne!(cluster.leader(), leader);
        cluster.start(leader);
    }
    let value = cluster.client().get("key").expect("a majority");
    assert_eq!(value.as_deref(), Some("value"));
}

#[test]
fn a_failed_write_stops_the_node_with_a_clear_last_line_and_exit_code_74() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    let mut client = cluster.client();
    put(&mut client, "before", "yes");
    let leader = cluster.leader();
    // From here on the system refuses each write of this process to a file.
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    prlimit(Some(cluster.process_id(leader)), Resource::Fsize, nothing).expect("our child");
    put(&mut client, "after", "yes");
    let end = cluster.take(leader).end();
    end.assert_says(74, "File too large");
    for key in ["before", "after"] {
        let value = cluster.client().get(key).expect("a majority");
        assert_eq!(value.as_deref(), Some("yes"));
    }
    cluster.start(leader);
    cluster.kill((leader + 1) % 3);
    put(&mut cluster.client(), "with the one that came back", "yes");
}

#[test]
fn a_leader_that_is_told_to_stop_answers_what_it_has_taken_up() {
    const WRITERS: usize = 8;
    let _turn = turn();
    let mut cluster = Cluster::started();
    let (acknowledged, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    let clients: Vec<Client> = (0..WRITERS).map(|_| cluster.client()).collect();
    let values = thread::scope(|scope| {
        let (acknowledged, unknown, stop) = (&acknowledged, &unknown, &stop);
        let write = |(writer, mut client): (usize, Client)| {
            scope.spawn(move || {
                let mut last = 0;
                for i in 1.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    match client.put(format!("writer-{writer}"), i.to_string()) {
                        Ok(()) => last = i,
                        Err(Error::OutcomeUnknown(_)) => {
                            unknown.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("writer {writer}: {error}"),
                    }
                    acknowledged.fetch_add(1, Ordering::Release);
                }
                last
            })
        };
        let writers: Vec<_> = clients.into_iter().enumerate().map(write).collect();
        // On a machine with other things to do an election may come in between, and then some
        // outcomes are rightly unknown.
        for _ in 0..5 {
            let goal = acknowledged.load(Ordering::Acquire) + 500;
            wait_for("puts", || {
                (acknowledged.load(Ordering::Acquire) >= goal).then_some(())
            });
            unknown.store(0, Ordering::Relaxed);
            let leader = cluster.leader();
            let process = cluster.take(leader);
            process.signal(Signal::TERM);
            let end = process.end();
            assert_eq!(end.code, Some(0), "{end:#?}");
            cluster.start(leader);
            let goal = acknowledged.load(Ordering::Acquire) + 500;
            wait_for("puts", || {
                (acknowledged.load(Ordering::Acquire) >= goal).then_some(())
            });
            if unknown.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        stop.store(true, Ordering::Release);
        let ended = writers.into_iter();
        ended
            .map(|writer| writer.join().expect("a writer"))
            .collect::<Vec<u64>>()
    });
    assert_eq!(unknown.load(Ordering::Relaxed), 0);
    let mut client = cluster.client();
    for (writer, last) in values.into_iter().enumerate() {
        let value = client.get(format!("writer-{writer}")).expect("a majority");
        assert_eq!(value, Some(last.to_string()));
    }
}
