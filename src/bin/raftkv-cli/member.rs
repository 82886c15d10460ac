//! `raftkv-cli member`: who the members are, and changes of them.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use raftkv::{
    client::Client,
    node::parse_peers,
    proto::proto::{Addition, Member, MemberChangeRequest, Members},
    raft::NodeId,
};
use serde_json::{Value, json};

use crate::{
    Ended, Output, change::change, exit, explain, print, status::suffrage, table::table, view::list,
};

#[derive(Subcommand)]
pub enum Command {
    /// Print the members
    List {
        /// How to print them
        #[arg(short, long, env = "RAFTKV_OUTPUT", default_value = "table")]
        output: Output,
    },
    /// Add nodes, started with --join: they take the log first, and vote when they have it
    Add {
        /// Ids that were never used, with where the nodes accept the others
        #[arg(value_name = "NEW@HOST:PORT,…", value_parser = parse_peers)]
        new: BTreeMap<NodeId, String>,
        /// They are to take the log and not to vote
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Have a learner vote
    Promote {
        /// Its id
        node: u64,
        #[command(flatten)]
        consent: Consent,
    },
    /// Remove nodes, for good: their ids are never used again
    Remove {
        /// Their ids
        #[arg(
            value_name = "OLD,…",
            value_delimiter = ',',
            num_args = 1,
            required = true
        )]
        old: Vec<u64>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Put new nodes, started with --join, in the place of old ones, which may be dead
    Replace {
        /// The ids to be removed, for good
        #[arg(
            value_name = "OLD,…",
            value_delimiter = ',',
            num_args = 1,
            required = true
        )]
        old: Vec<u64>,
        /// Ids that were never used, with where the nodes accept the others
        #[arg(value_name = "NEW@HOST:PORT,…", value_parser = parse_peers)]
        new: BTreeMap<NodeId, String>,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What an operator agrees to beforehand.
#[derive(Args, Clone, Copy)]
pub struct Consent {
    /// Do not ask before members are removed
    #[arg(long)]
    pub yes: bool,
    /// Change the members even if too few of those that will vote are reachable now
    #[arg(long)]
    pub allow_unreachable: bool,
}

/// The cluster that a command is about.
pub struct Cluster {
    pub endpoints: Vec<String>,
    pub timeout: Duration,
}

impl Cluster {
    /// A client of these endpoints.
    pub fn client(&self, endpoints: Vec<String>) -> Result<Client, (u8, String)> {
        let client = Client::new(endpoints).map_err(explain)?;
        Ok(client.with_timeout(self.timeout))
    }

    fn members(&self) -> Result<Members, (u8, String)> {
        let mut client = self.client(self.endpoints.clone())?;
        client.members().map_err(explain)
    }
}

pub fn run(command: &Command, cluster: &Cluster) -> Ended {
    let added = |new: &BTreeMap<NodeId, String>, learner: bool| {
        let addition = |(id, address): (&NodeId, &String)| Addition {
            id: id.0,
            peer_address: address.clone(),
            client_address: String::new(),
            learner,
        };
        new.iter().map(addition).collect()
    };
    let (consent, request) = match command {
        Command::List { output } => return list_members(*output, cluster),
        Command::Add {
            new,
            learner,
            consent,
        } => (consent, of(added(new, *learner), &[])),
        Command::Promote { node, consent } => (consent, promotion(*node, cluster)?),
        Command::Remove { old, consent } => (consent, of(Vec::new(), old)),
        Command::Replace { old, new, consent } => (consent, of(added(new, false), old)),
    };
    change(&request, *consent, cluster)
}

fn of(add: Vec<Addition>, remove: &[u64]) -> MemberChangeRequest {
    MemberChangeRequest {
        add,
        remove: remove.to_vec(),
    }
}

/// Only who is a member already can be promoted: nobody knows where another one is.
fn promotion(node: u64, cluster: &Cluster) -> Result<MemberChangeRequest, (u8, String)> {
    let members = cluster.members()?;
    if !members.members.iter().any(|member| member.id == node) {
        let text = format!(
            "node {node} is no member (members are {}); add it: raftkv-cli member add \
             {node}@HOST:PORT",
            list(members.members.iter().map(|member| member.id))
        );
        return Err((exit::REFUSED, text));
    }
    let addition = Addition {
        id: node,
        ..Addition::default()
    };
    Ok(of(vec![addition], &[]))
}

fn list_members(output: Output, cluster: &Cluster) -> Ended {
    let members = cluster.members()?;
    print(&match output {
        Output::Table => table_of(&members),
        Output::Json => json_of(&members).to_string(),
    })
}

fn table_of(members: &Members) -> String {
    let or_none = |address: &str| match address.is_empty() {
        true => "-".to_owned(),
        false => address.to_owned(),
    };
    let row = |member: &Member| {
        vec![
            member.id.to_string(),
            suffrage(member.suffrage()).to_owned(),
            or_none(&member.peer_address),
            or_none(&member.client_address),
        ]
    };
    let heads = ["NODE", "SUFFRAGE", "PEERS", "CLIENTS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(members.members.iter().map(row));
    let mut text = table(&rows);
    if members.joint || !members.committed {
        text += "\na change of members is under way";
    }
    text
}

fn json_of(members: &Members) -> Value {
    let member = |member: &Member| {
        json!({
            "id": member.id,
            "suffrage": suffrage(member.suffrage()),
            "peer_address": member.peer_address,
            "client_address": member.client_address,
        })
    };
    json!({
        "v": 1,
        "config_index": members.index,
        "committed": members.committed,
        "joint": members.joint,
        "members": members.members.iter().map(member).collect::<Vec<_>>(),
        "retired": members.retired,
    })
}
