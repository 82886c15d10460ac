//! What a call that is refused, or never ends, tells a client.

use std::time::Duration;

use tonic::{Code, Request, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    client::{
        LeaderClient, Node, block_on, channel, node, nothing_applied, proto::PutRequest, put,
    },
    support::{Cluster, turn},
};

/// Below the time after which a leader without a majority gives up its office.
const DEADLINE: Duration = Duration::from_millis(50);
const ROUNDS_MAX: usize = 20;

async fn refusal(node: &mut Node, key: String, value: String) -> Status {
    let refused = node.put(PutRequest { key, value }).await;
    refused.expect_err("a request beyond a limit")
}

#[test]
fn a_request_beyond_a_limit_is_refused_with_both_numbers_and_nothing_is_applied() {
    let _turn = turn();
    let cluster = Cluster::started();
    block_on(async {
        let mut node = node(&cluster, cluster.leader());
        for (key_bytes, value_bytes, code, numbers) in [
            (0, 1, Code::InvalidArgument, ["0", "4096"]),
            (4097, 1, Code::InvalidArgument, ["4097", "4096"]),
            (1, 1_048_577, Code::InvalidArgument, ["1048577", "1048576"]),
            // The fields' tags and lengths count too.
            (
                1,
                5_000_000,
                Code::ResourceExhausted,
                ["5000008", "4194304"],
            ),
        ] {
            let status = refusal(&mut node, "k".repeat(key_bytes), "v".repeat(value_bytes)).await;
            assert_eq!(status.code(), code, "{status:?}");
            let words: Vec<&str> = status
                .message()
                .split(|c: char| !c.is_ascii_digit())
                .collect();
            assert!(numbers.iter().all(|n| words.contains(n)), "{status:?}");
            assert!(nothing_applied(status.metadata()), "{status:?}");
        }
    });
}

#[test]
fn a_message_over_4_mib_costs_its_call_but_not_the_connection() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    block_on(async {
        let leader = cluster.leader();
        let channel = channel(cluster.addresses(leader).1);
        let request = HealthCheckRequest::default();
        let watch = HealthClient::new(channel.clone()).watch(request).await;
        let mut watch = watch.expect("a watch").into_inner();
        let first = watch.message().await.expect("open").expect("a state");
        assert_eq!(first.status(), ServingStatus::Serving);

        let mut node = Node::new(channel);
        let status = refusal(&mut node, "k".to_owned(), "v".repeat(5 << 20)).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        LeaderClient::new(&cluster).put("another", "1").await;
        let after = node.put(PutRequest {
            key: "the same channel".to_owned(),
            value: "1".to_owned(),
        });
        after.await.expect("an answer");

        // tonic connects again silently; the watch would not survive that.
        cluster.kill((leader + 1) % 3);
        cluster.kill((leader + 2) % 3);
        loop {
            let state = watch.message().await.expect("open").expect("a state");
            if state.status() == ServingStatus::NotServing {
                break;
            }
        }
    });
}

#[test]
fn a_deadline_that_passes_without_a_majority_promises_nothing() {
    let _turn = turn();
    let mut cluster = Cluster::started();
    block_on(async {
        for _ in 0..ROUNDS_MAX {
            let leader = cluster.leader();
            let mut node = node(&cluster, leader);
            put(&mut node, "connected", "1").await;
            let others = [(leader + 1) % 3, (leader + 2) % 3];
            others.iter().for_each(|id| cluster.kill(*id));
            let mut request = Request::new(PutRequest {
                key: "late".to_owned(),
                value: "1".to_owned(),
            });
            request.set_timeout(DEADLINE);
            let end = node.put(request).await;
            others.iter().for_each(|id| cluster.start(*id));
            // A node that no longer leads refuses at once.
            let Err(status) = end else { continue };
            // tonic watches the deadline too, and calls it CANCELLED when it is first.
            let codes = [Code::DeadlineExceeded, Code::Cancelled];
            assert!(codes.contains(&status.code()), "{status:?}");
            assert!(!nothing_applied(status.metadata()), "{status:?}");
            LeaderClient::new(&cluster).put("after", "1").await;
            return;
        }
        panic!("the leader gave up before the put in {ROUNDS_MAX} rounds");
    });
}
