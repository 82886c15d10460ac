//! `raftkv-cli leader`: who leads.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::Subcommand;
use raftkv::proto::proto::transfer_leader_response::Outcome;

use crate::{Ended, exit, explain, member::Cluster, said, status::one_cluster, view::View};

/// Between two looks at who leads.
const POLL: Duration = Duration::from_millis(50);

#[derive(Subcommand)]
pub enum Command {
    /// Have another node lead; writes wait for a moment, none is lost
    Transfer {
        /// Its id; without, the one whose log is furthest
        node: Option<u64>,
    },
}

pub fn run(command: &Command, cluster: &Cluster) -> Ended {
    let Command::Transfer { node } = command;
    let deadline = Instant::now() + cluster.timeout;
    let view = View::gather(&cluster.endpoints, cluster.timeout).map_err(explain)?;
    one_cluster(&view)?;
    let before = view.leader().map(|node| node.status.node_id);
    let mut client = cluster.client(cluster.endpoints.clone())?;
    let response = client.transfer_leader(*node).map_err(explain)?;
    let to = match response.outcome {
        Some(Outcome::To(to)) => to,
        Some(Outcome::Refused(refusal)) => return Err((exit::REFUSED, refusal.reason)),
        None => {
            let text = "the answer has no outcome: this program is older than the cluster";
            return Err((exit::REFUSED, text.to_owned()));
        }
    };
    loop {
        let view = View::gather(&cluster.endpoints, cluster.timeout).map_err(explain)?;
        let leader = view.leader();
        let leads = leader.map(|node| node.status.node_id);
        let hands_over = leader.is_some_and(|node| node.status.transferring_to.is_some());
        if leads == Some(to) {
            return said(&format!("node {to} leads"));
        }
        let given_up = leads.is_some() && leads == before && !hands_over;
        if given_up || Instant::now() + POLL >= deadline {
            let leads = leads.map_or_else(
                || "nobody leads yet".to_owned(),
                |leader| format!("node {leader} leads"),
            );
            let text = format!(
                "node {to} did not take over within an election timeout, {leads}; see how it is \
                 (raftkv-cli status) and repeat"
            );
            return Err((exit::UNAVAILABLE, text));
        }
        thread::sleep(POLL);
    }
}
