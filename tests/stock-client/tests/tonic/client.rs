//! A client as users of tonic write it: a channel for each node, and the hint is followed.

use std::{future::Future, time::Duration};

use tonic::{
    Response, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

use self::proto::{GetRequest, PutRequest, kv_service_client::KvServiceClient};
use crate::support::{Cluster, PATIENCE};

pub mod proto {
    tonic::include_proto!("raftkv.proto");
}

/// The service of one node.
pub type Node = KvServiceClient<Channel>;

/// What a client may conclude from the way in which a put ended.
#[derive(Debug)]
pub enum Outcome {
    Acknowledged,
    /// Nothing was applied; the leader is at the hint, if one is known.
    Refused {
        leader_hint: String,
    },
    /// It may have been applied.
    Unknown(Status),
}

/// Runs what a test does, on this thread.
pub fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let end = runtime.block_on(async { tokio::time::timeout(PATIENCE * 3, test).await });
    end.expect("an end of the test");
}

/// A channel to an address; it connects when it is needed.
pub fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint.expect("an address").connect_lazy()
}

/// The service of a node of the cluster.
pub fn node(cluster: &Cluster, id: usize) -> Node {
    Node::new(channel(cluster.addresses(id).1))
}

/// Whether the trailers say that nothing was applied.
pub fn nothing_applied(trailers: &MetadataMap) -> bool {
    trailers
        .get("raftkv-applied")
        .is_some_and(|value| value == "no")
}

/// One put to one node.
pub async fn put(node: &mut Node, key: &str, value: &str) -> Outcome {
    let request = PutRequest {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    match node.put(request).await {
        Ok(response) => {
            // tonic merges the trailers into the metadata.
            let nothing_applied = nothing_applied(response.metadata());
            let response = response.into_inner();
            assert_ne!(response.ok, nothing_applied, "{key}: {response:?}");
            match response.ok {
                true => Outcome::Acknowledged,
                false => Outcome::Refused {
                    leader_hint: response.leader_hint,
                },
            }
        }
        Err(status) if nothing_applied(status.metadata()) => Outcome::Refused {
            leader_hint: String::new(),
        },
        Err(status) => Outcome::Unknown(status),
    }
}

/// A client of all nodes, which looks for the leader.
pub struct LeaderClient {
    nodes: Vec<(String, Node)>,
    leader: usize,
}

impl LeaderClient {
    pub fn new(cluster: &Cluster) -> LeaderClient {
        let address = |id| cluster.addresses(id).1.to_owned();
        LeaderClient {
            nodes: (0..3).map(|id| (address(id), node(cluster, id))).collect(),
            leader: 0,
        }
    }

    /// Puts until it is acknowledged. The same value again does no harm.
    pub async fn put(&mut self, key: &str, value: &str) {
        let attempt = async |node: &mut Node| match put(node, key, value).await {
            Outcome::Acknowledged => Ok(()),
            Outcome::Refused { leader_hint } => Err(leader_hint),
            Outcome::Unknown(_) => Err(String::new()),
        };
        self.repeat(attempt).await;
    }

    /// Gets until a leader answers.
    pub async fn get(&mut self, key: &str) -> Option<String> {
        let attempt = async |node: &mut Node| {
            let request = GetRequest {
                key: key.to_owned(),
            };
            match node.get(request).await.map(Response::into_inner) {
                Ok(response) if response.ok => Ok(response.found.then_some(response.value)),
                Ok(response) => Err(response.leader_hint),
                Err(_) => Err(String::new()),
            }
        };
        self.repeat(attempt).await
    }

    /// Repeats an attempt, at the hint that it failed with or at the next node.
    async fn repeat<T>(&mut self, attempt: impl AsyncFn(&mut Node) -> Result<T, String>) -> T {
        loop {
            let leader_hint = match attempt(&mut self.nodes[self.leader].1).await {
                Ok(done) => return done,
                Err(leader_hint) => leader_hint,
            };
            let hinted = |(address, _): &(String, Node)| *address == leader_hint;
            if let Some(leader) = self.nodes.iter().position(hinted) {
                self.leader = leader;
            } else {
                self.leader = (self.leader + 1) % self.nodes.len();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
