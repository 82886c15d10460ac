//! raftkv-cli status, health, member and leader: what they print, what they ask, and exit codes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use raftkv::{
    node::{Answer, Follower, NodeStatus},
    raft::{
        Change, ChangeRefusal, ChangeState, Config, Description, Index, NodeId, RoleName, Term,
    },
    replica::{Operation, TransferRefusal},
};
use serde_json::Value;

use crate::{
    cli::{assert_says, run},
    node::{Node, Step},
};

/// A node that leads nodes 1 and 2, which are nowhere; the leader heard them so long ago.
fn leader(silent_ms: [u64; 2], script: impl FnMut(&Operation) -> Step + Send + 'static) -> Node {
    let node = Node::start(script);
    let follower = |(id, silent_ms)| Follower {
        node: NodeId(id),
        matched: Index(1_990),
        silent_ms,
    };
    node.say(NodeStatus {
        id: NodeId(0),
        role: RoleName::Leader,
        term: Term(3),
        leader: Some(NodeId(0)),
        commit: Index(2_000),
        applied: Index(2_000),
        last: Index(2_000),
        config: Arc::new(config(node.address())),
        followers: [(1, silent_ms[0]), (2, silent_ms[1])]
            .map(follower)
            .to_vec(),
        election_timeout_ms: 150,
        digest: Some(0xabcd << 112),
        ..NodeStatus::default()
    });
    node
}

/// Nodes 0 to 2, of which only the first has said where it serves clients.
fn config(client_address: &str) -> Config {
    Config::described((0..3).map(|id| {
        let client_address = if id == 0 { client_address } else { "" };
        let description = Description {
            peer_address: format!("10.0.0.{id}:9000"),
            client_address: client_address.to_owned(),
            incarnation: None,
        };
        (NodeId(id), description)
    }))
}

/// A node whose changes go through these states, the last of them for good.
fn changing(silent_ms: [u64; 2], states: Vec<ChangeState>) -> Node {
    let asked = AtomicUsize::new(0);
    let address = Arc::new(Mutex::new(String::new()));
    let own = Arc::clone(&address);
    let node = leader(silent_ms, move |operation| {
        Step::Answer(match operation {
            Operation::Change(_) => {
                let at = asked.fetch_add(1, Ordering::SeqCst);
                Answer::Change(states[at.min(states.len() - 1)].clone())
            }
            Operation::Members => Answer::Members {
                at: Index(7),
                is_committed: true,
                config: Arc::new(config(&own.lock().expect("no panic"))),
            },
            _ => Answer::NoSnapshot,
        })
    });
    *address.lock().expect("no panic") = node.address().to_owned();
    node
}

fn changes(node: &Node) -> Vec<Change> {
    let seen = node.seen().into_iter();
    seen.filter_map(|operation| match operation {
        Operation::Change(change) => Some(change),
        _ => None,
    })
    .collect()
}

#[test]
fn status_prints_a_row_for_each_member_and_what_is_wrong_with_which() {
    let node = leader([40, 2_100], |_| Step::Answer(Answer::Unknown));
    let output = run(node.address(), &["status"]);
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("NODE  ROLE"), "{text}");
    assert!(lines[0].ends_with("DIGEST@2000"), "{text}");
    assert!(
        lines[1].contains("leader") && lines[1].ends_with("abcd0000"),
        "{text}"
    );
    assert!(
        lines[2].contains("40ms") && lines[3].contains("2.1s"),
        "{text}"
    );
    let sentence = "degraded: 2/3 voters reachable, tolerates 0 more failures";
    assert!(lines[4].starts_with(sentence), "{text}");
    assert!(lines[4].contains("node 2 last seen 2.1s ago"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(node.seen(), []);
}

#[test]
fn status_as_json_has_the_same_values() {
    let node = leader([40, 2_100], |_| Step::Answer(Answer::Unknown));
    let output = run(node.address(), &["status", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["v"], 1);
    assert_eq!(
        (&json["healthy"], &json["tolerates"]),
        (&false.into(), &0.into())
    );
    assert_eq!(json["leader"], 0);
    assert_eq!(json["majorities"][0]["reachable"], 2);
    assert_eq!(json["digest_index"], 2_000);
    let nodes = json["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 3);
    assert_eq!(nodes[0]["role"], "leader");
    assert_eq!(nodes[0]["endpoint"], node.address());
    assert_eq!(
        (&nodes[2]["lag"], &nodes[2]["reachable"]),
        (&10.into(), &false.into())
    );
    assert_eq!(nodes[2]["role"], Value::Null);
}

#[test]
fn status_without_an_answer_is_exit_code_3_and_of_two_clusters_2() {
    assert_says(&run("127.0.0.1:1", &["status"]), 3, "", "no node answers");
    // Most clusters have a node 0.
    for ids in [[1, 2], [0, 0]] {
        let mut cluster = 0;
        let nodes = ids.map(|id| {
            cluster += 1;
            let node = Node::answering(Answer::Unknown);
            node.say(NodeStatus {
                id: NodeId(id),
                cluster_id: [cluster; 16],
                ..NodeStatus::default()
            });
            node
        });
        let endpoints = nodes.each_ref().map(Node::address).join(",");
        assert_says(&run(&endpoints, &["status"]), 2, "", "2 clusters");
    }
}

#[test]
fn health_prints_a_line_for_each_endpoint_and_is_exit_code_1_if_one_is_bad() {
    let node = leader([40, 40], |_| Step::Answer(Answer::Unknown));
    let good = format!("{}  ok   node 0 leads term 3\n", node.address());
    assert_says(&run(node.address(), &["health"]), 0, &good, "");
    let endpoints = format!("{},127.0.0.1:1", node.address());
    let output = run(&endpoints, &["health"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with(&good), "{text}");
    assert!(text.contains("127.0.0.1:1  bad  cannot connect"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_node_that_knows_no_leader_is_bad_and_so_is_one_that_stands_still() {
    let said = NodeStatus {
        config: Arc::new(Config::new([NodeId(0)])),
        leader: Some(NodeId(0)),
        ..NodeStatus::default()
    };
    let leaderless = NodeStatus {
        leader: None,
        leader_for_ms: 2_500,
        ..said.clone()
    };
    let still = NodeStatus {
        age_ms: 3_000,
        ..said.clone()
    };
    let waiting = NodeStatus {
        config: Arc::default(),
        ..said.clone()
    };
    for (status, word) in [
        (leaderless, "no leader for 2.5s"),
        (still, "stood still for 3.0s"),
        (waiting, "no member"),
    ] {
        let node = Node::answering(Answer::Unknown);
        node.say(status);
        let output = run(node.address(), &["health"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("bad") && text.contains(word), "{text}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn member_list_prints_who_they_are() {
    let node = changing([40, 40], vec![ChangeState::Done]);
    let output = run(node.address(), &["member", "list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NODE", "SUFFRAGE", "PEERS", "CLIENTS"]);
    assert_eq!(rows[1], ["0", "voter", "10.0.0.0:9000", node.address()]);
    assert_eq!(rows[3], ["2", "voter", "10.0.0.2:9000", "-"]);
    assert_eq!(output.status.code(), Some(0));
    let output = run(node.address(), &["member", "list", "-o", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["members"][1]["peer_address"], "10.0.0.1:9000");
}

#[test]
fn a_replacement_is_asked_for_until_it_is_done_and_shows_how_far_it_is() {
    let catching_up = ChangeState::CatchingUp {
        node: NodeId(3),
        matched: Index(5),
        last: Index(2_000),
    };
    let states = vec![
        ChangeState::Refused(ChangeRefusal::TermNotCommitted),
        catching_up,
        ChangeState::Joint,
        ChangeState::Committing,
        ChangeState::Done,
    ];
    let node = changing([40, 9_000], states);
    let words = ["member", "replace", "2", "3@10.0.0.3:9000", "--yes"];
    let output = run(node.address(), &words);
    let said = String::from_utf8_lossy(&output.stderr);
    for line in [
        "adds node 3 at 10.0.0.3:9000, removes node 2 for good: voters 0, 1, 3 then, which \
         tolerate 1 failure",
        "learner: node 3 takes the log",
        "joint: ",
        "committing: ",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    assert_says(&output, 0, "done: voters 0, 1, 2\n", "");
    let changes = changes(&node);
    assert_eq!(changes.len(), 5);
    assert!(changes.iter().all(|change| *change == changes[0]));
    assert!(changes[0].add[&NodeId(3)].votes);
    assert!(changes[0].remove.contains(&NodeId(2)));
}

#[test]
fn who_is_no_terminal_must_say_yes_before_members_are_removed() {
    let node = changing([40, 40], vec![ChangeState::Done]);
    for words in [&["remove", "2"][..], &["replace", "2", "3@a:1"]] {
        let output = run(node.address(), &[&["member"], words].concat());
        assert_says(&output, 2, "", "give --yes");
    }
    assert_eq!(changes(&node), []);
    let output = run(node.address(), &["member", "remove", "2", "--yes"]);
    assert_eq!(output.status.code(), Some(0));
    let output = run(node.address(), &["member", "add", "3@a:1", "--learner"]);
    assert_eq!(output.status.code(), Some(0));
    let changes = changes(&node);
    assert!(!changes[1].add[&NodeId(3)].votes);
}

#[test]
fn a_change_that_leaves_too_few_is_refused_with_its_cost_unless_that_is_meant() {
    let node = changing([40, 9_000], vec![ChangeState::Done]);
    let words = ["member", "remove", "1", "--yes"];
    let output = run(node.address(), &words);
    assert_says(
        &output,
        5,
        "",
        "of the voters 0, 2 only 1 would be reachable, and 2 are needed",
    );
    assert_eq!(changes(&node), []);
    let output = run(
        node.address(),
        &[&words[..], &["--allow-unreachable"]].concat(),
    );
    assert_says(
        &output,
        0,
        "done: voters 0, 1, 2\n",
        "until enough of nodes 2 are back",
    );
    assert_eq!(changes(&node).len(), 1);
}

#[test]
fn a_refused_change_is_exit_code_5_with_the_reason() {
    let refused = ChangeState::Refused(ChangeRefusal::Retired(NodeId(3)));
    let node = changing([40, 40], vec![refused]);
    let output = run(node.address(), &["member", "add", "3@a:1"]);
    assert_says(
        &output,
        5,
        "",
        "node id 3 was a member once and is never used again",
    );
    assert_eq!(changes(&node).len(), 1);
}

#[test]
fn only_a_member_can_be_promoted() {
    let node = changing([40, 40], vec![ChangeState::Done]);
    let output = run(node.address(), &["member", "promote", "7"]);
    assert_says(&output, 5, "", "node 7 is no member");
    assert_eq!(changes(&node), []);
    assert_says(
        &run(node.address(), &["member", "promote", "2"]),
        0,
        "done: voters 0, 1, 2\n",
        "",
    );
    assert!(changes(&node)[0].add[&NodeId(2)].votes);
}

#[test]
fn a_change_without_a_leader_is_exit_code_3_and_one_that_had_begun_4() {
    let node = Node::following("");
    let words = ["member", "add", "3@a:1", "--timeout", "300ms"];
    assert_says(&run(node.address(), &words), 3, "", "nothing was applied");
    let asked = AtomicUsize::new(0);
    let node = leader([40, 40], move |operation| match operation {
        Operation::Change(_) if asked.fetch_add(1, Ordering::SeqCst) == 0 => {
            Step::Answer(Answer::Change(ChangeState::Joint))
        }
        Operation::Members => Step::Answer(Answer::Members {
            at: Index(7),
            is_committed: true,
            config: Arc::new(config("")),
        }),
        _ => Step::Answer(Answer::NotLeader {
            leader_hint: String::new(),
        }),
    });
    assert_says(&run(node.address(), &words), 4, "", "the change has begun");
}

#[test]
fn a_wrong_member_command_is_exit_code_2() {
    for words in [
        &["member"][..],
        &["member", "add", "3"],
        &["member", "add", "x@a:1"],
        &["member", "remove"],
        &["member", "remove", "x"],
        &["member", "replace", "0"],
        &["leader", "transfer", "x"],
        &["status", "-o", "xml"],
    ] {
        assert_says(&run("127.0.0.1:1", words), 2, "", "");
    }
}

/// A node that leads and hands over as the answer says; then node 1 leads, if `yields`.
fn yielding(outcome: Result<NodeId, TransferRefusal>, yields: bool) -> Node {
    let node = leader([40, 40], move |_| Step::Answer(Answer::Transfer(outcome)));
    if yields {
        let said = NodeStatus {
            id: NodeId(1),
            role: RoleName::Leader,
            term: Term(4),
            leader: Some(NodeId(1)),
            ..NodeStatus::default()
        };
        node.say(said);
    }
    node
}

#[test]
fn a_transfer_waits_until_the_other_one_leads() {
    let node = yielding(Ok(NodeId(1)), true);
    let output = run(node.address(), &["leader", "transfer", "1"]);
    assert_says(&output, 0, "node 1 leads\n", "");
    let to = Some(NodeId(1));
    assert_eq!(node.seen(), [Operation::Transfer { to }]);
}

#[test]
fn a_transfer_that_is_given_up_is_exit_code_3_and_a_refused_one_5() {
    let node = yielding(Ok(NodeId(1)), false);
    let output = run(node.address(), &["leader", "transfer"]);
    assert_says(&output, 3, "", "node 1 did not take over");
    assert_says(&output, 3, "", "node 0 leads");
    let node = yielding(Err(TransferRefusal::NotAVoter(NodeId(7))), false);
    let output = run(node.address(), &["leader", "transfer", "7"]);
    assert_says(&output, 5, "", "node 7 is no voter of this cluster");
}
