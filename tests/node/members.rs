//! Members come, go and move (§6), over real connections.

use std::{collections::BTreeMap, fs, path::Path};

use raftkv::{
    node::{Answer, Config, NODE_ID_MAX, Node},
    raft::{Addition, Change, ChangeRefusal, ChangeState, Description, NodeId},
    replica::Operation,
};

use crate::support::{Member, config, free_addresses, get, leader_of, put, run, start, wait_for};

/// A change as an operator asks for it.
fn change(add: &[(u64, &str)], remove: &[u64]) -> Change {
    let voter = |&(id, address): &(u64, &str)| {
        let description = Description {
            peer_address: address.to_owned(),
            ..Description::default()
        };
        let addition = Addition {
            votes: true,
            description,
        };
        (NodeId(id), addition)
    };
    Change {
        add: add.iter().map(voter).collect(),
        remove: remove.iter().copied().map(NodeId).collect(),
    }
}

/// Asks whoever leads, again and again, as the client does.
fn until_done(members: &[Member], change: &Change) {
    wait_for("the change to be done", || {
        let leader = leader_of(members)?;
        let answer = members[leader].ask(Operation::Change(change.clone()));
        match answer {
            Answer::Change(ChangeState::Done) => Some(()),
            Answer::Change(ChangeState::Refused(
                refusal @ (ChangeRefusal::Retired(_) | ChangeRefusal::Silent(_)),
            )) => panic!("{refusal}"),
            _ => None,
        }
    });
}

fn joiner(id: u64, address: &str, dir: &Path, ask: &[(u64, &str)]) -> Config {
    let peers = ask.iter().map(|&(id, at)| (NodeId(id), at.to_owned()));
    Config {
        peers: peers.collect(),
        join: true,
        ..config(id, address, dir)
    }
}

fn wait_for_value(members: &[Member], key: &'static str, value: &'static str) {
    wait_for("the value", || {
        let leader = leader_of(members)?;
        let answer = members[leader].ask(get(key));
        (answer
            == Answer::Get {
                value: Some(value.into()),
            })
        .then_some(())
    });
}

fn wait_for_put(members: &[Member], key: &'static str, value: &'static str) {
    wait_for("a put", || {
        let leader = leader_of(members)?;
        (members[leader].ask(put(key, value)) == Answer::Put).then_some(())
    });
}

#[test]
fn a_dead_member_is_replaced_also_after_the_others_restarted() {
    let dir = tempfile::tempdir().expect("a directory");
    let addresses = free_addresses(4);
    let three = &addresses[..3];
    let mut members: Vec<Member> = (0..3).map(|id| start(id, three, dir.path())).collect();
    wait_for_put(&members, "a", "1");
    members.remove(2).stop();
    members.drain(..).for_each(Member::stop);

    // Nobody has heard the dead one since; it must not matter.
    members.extend((0..2).map(|id| start(id, three, dir.path())));
    members.push(run(joiner(
        3,
        &addresses[3],
        dir.path(),
        &[(1, &addresses[1])],
    )));
    let replace = change(&[(3, &addresses[3])], &[2]);
    until_done(&members, &replace);
    until_done(&members, &replace);
    wait_for_put(&members, "b", "2");

    // The new one counts: it and one of the others are a majority.
    members.remove(0).stop();
    wait_for_value(&members, "a", "1");
    wait_for_put(&members, "c", "3");

    // Restarted with the flags of the start, nodes go by what the log says.
    members.push(start(0, three, dir.path()));
    members.remove(0).stop();
    wait_for_value(&members, "c", "3");
    members.into_iter().for_each(Member::stop);
}

#[test]
fn who_was_removed_and_who_was_wiped_take_no_part_any_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let addresses = free_addresses(4);
    let three = &addresses[..3];
    let mut members: Vec<Member> = (0..3).map(|id| start(id, three, dir.path())).collect();
    wait_for_put(&members, "a", "1");
    let asked = [(0, addresses[0].as_str()), (1, addresses[1].as_str())];
    members.push(run(joiner(3, &addresses[3], dir.path(), &asked)));
    until_done(&members, &change(&[(3, &addresses[3])], &[2]));

    // An id is never used twice.
    let again = change(&[(2, &addresses[2])], &[]);
    let refused = wait_for("an answer of the leader", || {
        let leader = leader_of(&members)?;
        match members[leader].ask(Operation::Change(again.clone())) {
            // A leader of a moment ago, or for a moment only: a slow disk has it hand over.
            Answer::Change(ChangeState::Refused(
                ChangeRefusal::TermNotCommitted | ChangeRefusal::Transferring { .. },
            )) => None,
            Answer::Change(state) => Some(state),
            _ => None,
        }
    });
    let retired = ChangeState::Refused(ChangeRefusal::Retired(NodeId(2)));
    assert_eq!(refused, retired);
    // It hears nobody any more, and says so to clients and to who asks for its health.
    wait_for("the removed node to know no leader", || {
        (!members[2].handle.leader_known()).then_some(())
    });
    members.remove(2).stop();

    // The new member loses its directory: as far as the others know, it is another node.
    members.pop().expect("node 3").stop();
    fs::remove_dir_all(dir.path().join("3")).expect("wiped");
    let wiped = run(joiner(3, &addresses[3], dir.path(), &asked));
    wait_for(
        "node 3 to be known by its old directory, and to stop",
        || wiped.node.has_ended().then_some(()),
    );
    wiped.node.wait().expect_err("it stopped by itself");
    wait_for_put(&members, "b", "2");
    members.into_iter().for_each(Member::stop);
}

#[test]
fn a_cluster_whose_addresses_all_change_meets_again_and_hints_are_current() {
    let dir = tempfile::tempdir().expect("a directory");
    let addresses = free_addresses(6);
    let (before, after) = addresses.split_at(3);
    let mut members: Vec<Member> = (0..3).map(|id| start(id, before, dir.path())).collect();
    wait_for_put(&members, "a", "1");
    members.drain(..).for_each(Member::stop);
    members.extend((0..3).map(|id| start(id, after, dir.path())));
    wait_for_value(&members, "a", "1");
    let follower = wait_for("a follower", || {
        let leader = leader_of(&members)?;
        Some((leader + 1) % 3)
    });
    wait_for("a hint", || {
        let leader = leader_of(&members)?;
        let hint = members[follower].handle.status().leader_hint;
        (hint == format!("client-{leader}")).then_some(())
    });

    // One moves alone, and tells the others, whose flag is out of date.
    let moved = free_addresses(1).remove(0);
    members.remove(0).stop();
    let peers: BTreeMap<NodeId, String> = (0..).map(NodeId).zip(after.iter().cloned()).collect();
    let config = Config {
        peers,
        ..config(0, &moved, dir.path())
    };
    members.insert(0, run(config));
    wait_for_put(&members, "b", "2");
    members.remove(1).stop();
    wait_for_put(&members, "c", "3");
    members.into_iter().for_each(Member::stop);
}

#[test]
fn one_node_grows_to_three() {
    let dir = tempfile::tempdir().expect("a directory");
    let addresses = free_addresses(3);
    let first = (0, addresses[0].as_str());
    let mut members = vec![start(0, &addresses[..1], dir.path())];
    wait_for_put(&members, "a", "1");
    for id in [1, 2] {
        members.push(run(joiner(
            id,
            &addresses[id as usize],
            dir.path(),
            &[first],
        )));
    }
    let both = change(&[(1, &addresses[1]), (2, &addresses[2])], &[]);
    until_done(&members, &both);
    members.remove(0).stop();
    wait_for_value(&members, "a", "1");
    wait_for_put(&members, "b", "2");
    members.into_iter().for_each(Member::stop);
}

#[test]
fn an_id_beyond_the_limit_is_refused_also_of_one_who_joins() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = free_addresses(1).remove(0);
    let config = joiner(NODE_ID_MAX + 1, &address, dir.path(), &[(0, &address)]);
    let error = Node::start(config).err().expect("refused at once");
    assert_eq!(error.exit_code(), 2, "{error}");
}
