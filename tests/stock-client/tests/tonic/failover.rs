//! Nodes die under a client; what it was told stays true.

use std::{error::Error as _, thread};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::{ConnectError, Status};

use crate::{
    client::{LeaderClient, Node, Outcome, block_on, node, put},
    support::{Cluster, turn},
};

const KEYS: usize = 1_000;

/// Outcomes after which the leader is killed: fewer than its writers have in them.
const OUTCOMES_BEFORE_KILL: usize = 500;
const PUTS_PER_WRITER: usize = 100;
const WRITERS: usize = 32;
const ROUNDS_MAX: usize = 5;

async fn assert_all_there(client: &mut LeaderClient) {
    for i in 0..KEYS {
        let value = client.get(&format!("key-{i}")).await;
        assert_eq!(value, Some(format!("value-{i}")));
    }
}

#[test]
fn a_thousand_keys_that_tonic_put_survive_the_leader_and_then_all_nodes() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    block_on(async {
        let mut client = LeaderClient::new(&cluster);
        for i in 0..KEYS {
            client.put(&format!("key-{i}"), &format!("value-{i}")).await;
        }

        let leader = cluster.leader();
        cluster.kill(leader);
        assert_all_there(&mut client).await;
        client.put("while one was down", "yes").await;

        // With another one down it is half of the majority, which takes a log that has caught up.
        cluster.start(leader);
        cluster.kill((leader + 1) % 3);
        client.put("with the one that came back", "yes").await;
        assert_all_there(&mut client).await;

        cluster.start((leader + 1) % 3);
        cluster.kill_all();
        cluster.start_all();
        assert_all_there(&mut client).await;
        for key in ["while one was down", "with the one that came back"] {
            assert_eq!(client.get(key).await.as_deref(), Some("yes"));
        }
    });
}

/// What became of the puts of a round, by key.
#[derive(Default)]
struct Tally {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    unknown: Vec<String>,
    /// How many of the unknown ones were under way when the node died.
    broken_off: usize,
}

/// Whether the call had a connection: what the node does not know of, it cannot apply.
fn was_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return false;
        }
        cause = error.source();
    }
    true
}

/// Puts one key after the other until an outcome is unknown.
async fn write(mut node: Node, prefix: String, outcomes: UnboundedSender<(String, Outcome)>) {
    for i in 0..PUTS_PER_WRITER {
        let key = format!("{prefix}/{i}");
        let outcome = put(&mut node, &key, &key).await;
        let last = matches!(outcome, Outcome::Unknown(_));
        outcomes.send((key, outcome)).expect("the test listens");
        if last {
            break;
        }
    }
}

/// Writes to all nodes at once, most to the leader, and kills it meanwhile.
async fn kill_while_writing(cluster: &mut Cluster, leader: usize, round: usize) -> Tally {
    let (sender, mut outcomes) = unbounded_channel();
    for id in 0..3 {
        let writers = if id == leader { WRITERS << round } else { 1 };
        for writer in 0..writers {
            let prefix = format!("{round}/{id}/{writer}");
            // A connection for each, so that they are not all at the same point of a call.
            tokio::spawn(write(node(cluster, id), prefix, sender.clone()));
        }
    }
    drop(sender);
    let mut tally = Tally::default();
    let mut ended = 0;
    let mut killer = None;
    while let Some((key, outcome)) = outcomes.recv().await {
        ended += 1;
        if ended == OUTCOMES_BEFORE_KILL {
            // Elsewhere, so that the writers go on meanwhile.
            let process = cluster.take(leader);
            killer = Some(thread::spawn(move || process.kill()));
        }
        match outcome {
            Outcome::Acknowledged => tally.acknowledged.push(key),
            Outcome::Refused { .. } => tally.refused.push(key),
            Outcome::Unknown(status) => {
                tally.broken_off += usize::from(was_sent(&status));
                tally.unknown.push(key);
            }
        }
    }
    let killer = killer.expect("more outcomes than the kill waits for");
    killer.join().expect("a node that was killed");
    tally
}

#[test]
fn a_leader_killed_in_mid_call_breaks_no_promise() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    block_on(async {
        let mut client = LeaderClient::new(&cluster);
        for round in 0..ROUNDS_MAX {
            let leader = cluster.leader();
            let tally = kill_while_writing(&mut cluster, leader, round).await;
            for key in &tally.acknowledged {
                let value = client.get(key).await;
                assert_eq!(value.as_ref(), Some(key), "it was acknowledged");
            }
            for key in &tally.refused {
                let value = client.get(key).await;
                assert_eq!(value, None, "{key} was refused");
            }
            let mut applied = 0;
            for key in &tally.unknown {
                let value = client.get(key).await;
                assert!(value.is_none() || value.as_ref() == Some(key));
                applied += usize::from(value.is_some());
            }
            println!(
                "{} acknowledged, {} refused, {} unknown of which {applied} were applied",
                tally.acknowledged.len(),
                tally.refused.len(),
                tally.unknown.len(),
            );
            let seen = [
                tally.acknowledged.len(),
                tally.refused.len(),
                tally.broken_off,
            ];
            if seen.iter().all(|count| *count > 0) {
                return;
            }
            cluster.start(leader);
        }
        panic!("no put was under way in any of {ROUNDS_MAX} rounds");
    });
}
