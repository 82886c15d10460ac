//! Nodes die; what was acknowledged does not.

use raftkv::client::Client;
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::support::{Cluster, put, turn};

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
