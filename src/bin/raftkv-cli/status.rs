//! `raftkv-cli status` and `raftkv-cli health`: how the nodes are.

use std::{collections::BTreeMap, thread, time::Duration};

use raftkv::{
    client,
    proto::proto::{Member, StatusResponse, member::Suffrage, status_response::Role},
};
use serde_json::{Value, json};

use crate::{
    Ended, Output, exit, explain,
    judge::{Judgement, judge},
    print,
    table::table,
    view::{STANDSTILL_MS, View, reason, span},
};

/// Digits of a digest that a table shows.
const DIGEST_DIGITS: usize = 8;

/// Prints a table of the nodes, and one sentence.
pub fn status(endpoints: &[String], timeout: Duration, output: Output) -> Ended {
    let view = View::gather(endpoints, timeout).map_err(explain)?;
    if view.nodes.is_empty() {
        let silent = view.silent.iter();
        let silent: Vec<String> = silent
            .map(|(endpoint, reason)| format!("{endpoint}: {reason}"))
            .collect();
        let text = format!(
            "no node answers ({}); check that they run, and --endpoints",
            silent.join("; ")
        );
        return Err((exit::UNAVAILABLE, text));
    }
    one_cluster(&view)?;
    let judgement = judge(&view);
    let text = match output {
        Output::Table => format!("{}\n{}", table(&rows(&view)), judgement.sentence),
        Output::Json => json_of(&view, &judgement).to_string(),
    };
    print(&text)?;
    Ok(match judgement.is_healthy {
        true => exit::DONE,
        false => exit::NEGATIVE,
    })
}

/// # Errors
/// When the endpoints are of several clusters.
pub fn one_cluster(view: &View) -> Result<(), (u8, String)> {
    let clusters = view.clusters();
    if clusters.len() <= 1 {
        return Ok(());
    }
    let named = clusters.iter().map(|(id, nodes)| {
        let endpoints: Vec<&str> = nodes.iter().map(|node| node.endpoint.as_str()).collect();
        format!("{} at {}", hex(id), endpoints.join(", "))
    });
    let named: Vec<String> = named.collect();
    let text = format!(
        "--endpoints names nodes of {} clusters ({}); name those of one",
        clusters.len(),
        named.join("; ")
    );
    Err((exit::USAGE, text))
}

/// Members first, by id, then who answered and is none.
fn ids(view: &View) -> Vec<u64> {
    let members = view.members().map(|members| members.members.as_slice());
    let mut ids: Vec<u64> = members.unwrap_or_default().iter().map(|it| it.id).collect();
    let others = view.nodes.keys().filter(|id| !ids.contains(id));
    let others: Vec<u64> = others.copied().collect();
    ids.extend(others);
    ids
}

fn member(view: &View, id: u64) -> Option<&Member> {
    let mut members = view.members()?.members.iter();
    members.find(|member| member.id == id)
}

fn rows(view: &View) -> Vec<Vec<String>> {
    let common = view.common_digests();
    let digests = common.as_ref().map(|(_, digests)| digests);
    let digest_head = common.as_ref().map_or_else(
        || "DIGEST".to_owned(),
        |(index, _)| format!("DIGEST@{index}"),
    );
    let heads = [
        "NODE", "ROLE", "TERM", "COMMIT", "APPLIED", "LAG", "CONTACT", "SYNC-P99", "CLIENTS",
    ];
    let mut head: Vec<String> = heads.map(str::to_owned).to_vec();
    head.push(digest_head);
    let mut rows = vec![head];
    rows.extend(ids(view).into_iter().map(|id| row(view, id, digests)));
    rows
}

fn row(view: &View, id: u64, digests: Option<&BTreeMap<u64, &[u8]>>) -> Vec<String> {
    let none = || "-".to_owned();
    let status = view.nodes.get(&id).map(|node| &node.status);
    let number =
        |of: fn(&StatusResponse) -> u64| status.map_or_else(none, |status| of(status).to_string());
    let follower = view.follower(id);
    let address = match (member(view, id), status) {
        (Some(member), _) if !member.client_address.is_empty() => member.client_address.clone(),
        (_, Some(status)) => status.client_address.clone(),
        _ => none(),
    };
    let digest = digests.and_then(|digests| digests.get(&id));
    vec![
        id.to_string(),
        role(view, id),
        number(|status| status.term),
        number(|status| status.commit),
        number(|status| status.applied),
        follower.map_or_else(none, |follower| follower.lag.to_string()),
        follower.map_or_else(none, |follower| span(follower.last_contact_ms)),
        status
            .and_then(|status| status.sync_p99_us)
            .map_or_else(none, |us| format!("{}.{}ms", us / 1_000, us % 1_000 / 100)),
        address,
        digest.map_or_else(none, |digest| hex(digest)[..DIGEST_DIGITS].to_owned()),
    ]
}

/// What a node is, and with what voice.
fn role(view: &View, id: u64) -> String {
    let role = view.nodes.get(&id).map(|node| node.status.role());
    let role = match role {
        None => "?",
        Some(Role::Leader) => "leader",
        Some(Role::Follower) => "follower",
        Some(Role::PreCandidate | Role::Candidate) => "candidate",
    };
    match (member(view, id).map(Member::suffrage), role) {
        (None, _) => "no member".to_owned(),
        (Some(Suffrage::Learner), "?") => "? learner".to_owned(),
        (Some(Suffrage::Learner), _) => "learner".to_owned(),
        (Some(Suffrage::Joining), _) => format!("{role}, joining"),
        (Some(Suffrage::Leaving), _) => format!("{role}, leaving"),
        (Some(Suffrage::Voter), _) => role.to_owned(),
    }
}

fn json_of(view: &View, judgement: &Judgement) -> Value {
    let common = view.common_digests();
    let (index, digests) = common.unzip();
    let nodes = ids(view).into_iter();
    let nodes: Vec<Value> = nodes
        .map(|id| {
            let digest = digests.as_ref().and_then(|digests| digests.get(&id));
            node_json(view, id, digest.copied())
        })
        .collect();
    let majorities = view.majorities();
    let majorities: Vec<Value> = majorities
        .iter()
        .map(|it| json!({ "voters": it.voters, "reachable": it.reachable }))
        .collect();
    let cluster = view.clusters().keys().next().map(|id| hex(id));
    json!({
        "v": 1,
        "cluster_id": cluster,
        "healthy": judgement.is_healthy,
        "tolerates": judgement.tolerates,
        "sentence": judgement.sentence,
        "leader": view.leader().map(|node| node.status.node_id),
        "config_index": view.members().map(|members| members.index),
        "joint": view.members().is_some_and(|members| members.joint),
        "majorities": majorities,
        "digest_index": index,
        "states_differ_at": view.difference().map(|(index, _)| index),
        "nodes": nodes,
    })
}

fn node_json(view: &View, id: u64, digest: Option<&[u8]>) -> Value {
    let node = view.nodes.get(&id);
    let status = node.map(|node| &node.status);
    let member = member(view, id);
    let follower = view.follower(id);
    let address = |of: fn(&Member) -> &String| member.map(of).filter(|it| !it.is_empty());
    json!({
        "id": id,
        "suffrage": member.map(|member| suffrage(member.suffrage())),
        "role": status.map(|status| status.role().as_str_name().to_lowercase()),
        "endpoint": node.map(|node| &node.endpoint),
        "peer_address": address(|member| &member.peer_address),
        "client_address": address(|member| &member.client_address),
        "version": status.map(|status| &status.version),
        "uptime_ms": status.map(|status| status.uptime_ms),
        "age_ms": status.map(|status| status.age_ms),
        "term": status.map(|status| status.term),
        "commit": status.map(|status| status.commit),
        "applied": status.map(|status| status.applied),
        "last": status.map(|status| status.last),
        "snapshot": status.map(|status| status.snapshot),
        "lag": follower.map(|follower| follower.lag),
        "last_contact_ms": follower.map(|follower| follower.last_contact_ms),
        "reachable": member.map(|_| view.is_reachable(id)),
        "sync_p99_us": status.and_then(|status| status.sync_p99_us),
        "stages": status.map(stages_json),
        "digest": digest.map(hex),
    })
}

/// Where the time of commits goes at a node, by the names of the stages.
fn stages_json(status: &StatusResponse) -> Value {
    let stages = status.stages.iter().map(|stage| {
        let numbers = json!({
            "count": stage.count,
            "p50_us": stage.p50_us,
            "p99_us": stage.p99_us,
            "max_us": stage.max_us,
        });
        (stage.name.clone(), numbers)
    });
    Value::Object(stages.collect())
}

/// The word for a member's voice.
pub fn suffrage(suffrage: Suffrage) -> &'static str {
    match suffrage {
        Suffrage::Voter => "voter",
        Suffrage::Learner => "learner",
        Suffrage::Joining => "joining",
        Suffrage::Leaving => "leaving",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Prints a line for each endpoint: whether its node serves.
pub fn health(endpoints: &[String], timeout: Duration) -> Ended {
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = endpoints
            .iter()
            .map(|endpoint| scope.spawn(move || client::node_status(endpoint, timeout)))
            .collect();
        let answers = asking.into_iter();
        answers
            .map(|asking| asking.join().expect("asking does not panic"))
            .collect()
    });
    let mut all_good = true;
    let mut lines = Vec::new();
    for (endpoint, answer) in endpoints.iter().zip(answers) {
        let found = match answer {
            Ok(status) => serves(&status),
            Err(error @ client::Error::Endpoint { .. }) => return Err(explain(error)),
            Err(error) => Err(reason(error)),
        };
        all_good &= found.is_ok();
        let (word, text) = match found {
            Ok(text) => ("ok", text),
            Err(text) => ("bad", text),
        };
        lines.push(format!("{endpoint}  {word:<3}  {text}"));
    }
    print(&lines.join("\n"))?;
    Ok(match all_good {
        true => exit::DONE,
        false => exit::NEGATIVE,
    })
}

fn serves(status: &StatusResponse) -> Result<String, String> {
    let id = status.node_id;
    let members = status.members.iter().flat_map(|members| &members.members);
    let is_member = members.map(|member| member.id).any(|member| member == id);
    if status.age_ms >= STANDSTILL_MS {
        let age = span(status.age_ms);
        return Err(format!(
            "node {id} has stood still for {age}: look at its disk"
        ));
    }
    if !is_member {
        return Err(format!("node {id} is no member"));
    }
    match status.leader {
        None => Err(format!(
            "node {id} has known no leader for {}",
            span(status.leader_for_ms)
        )),
        Some(leader) if leader == id => Ok(format!("node {id} leads term {}", status.term)),
        Some(leader) => Ok(format!(
            "node {id} follows node {leader} in term {}",
            status.term
        )),
    }
}
