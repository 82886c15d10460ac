//! Nodes in one process, on real sockets and disks, driven through their handles.

mod members;
mod support;

use crossbeam_channel::unbounded;
use raftkv::{
    node::{Answer, Request},
    raft::Token,
    replica::Operation,
};

use support::{Member, PATIENCE, free_addresses, get, leader_of, put, start, wait_for};

#[test]
fn three_nodes_replicate_hand_over_and_remember() {
    let dir = tempfile::tempdir().expect("a directory");
    let addresses = free_addresses(3);
    let mut members: Vec<Member> = (0..3).map(|id| start(id, &addresses, dir.path())).collect();
    let leader = wait_for("a leader", || leader_of(&members));
    assert_eq!(members[leader].ask(put("a", "1")), Answer::Put);
    assert_eq!(
        members[leader].ask(get("a")),
        Answer::Get {
            value: Some("1".into())
        }
    );

    let follower = (leader + 1) % 3;
    let hint = format!("client-{leader}");
    wait_for("the follower to know", || {
        (members[follower].handle.status().leader_hint == hint).then_some(())
    });
    let refused = Answer::NotLeader { leader_hint: hint };
    assert_eq!(members[follower].ask(put("a", "2")), refused);

    members.remove(leader).stop();
    let leader = wait_for("another leader", || leader_of(&members));
    let value = wait_for("the new leader to serve", || {
        match members[leader].ask(get("a")) {
            Answer::Get { value } => Some(value),
            _ => None,
        }
    });
    assert_eq!(
        value,
        Some("1".into()),
        "what the first leader acknowledged"
    );
    members.into_iter().for_each(Member::stop);

    let members: Vec<Member> = (0..3).map(|id| start(id, &addresses, dir.path())).collect();
    let leader = wait_for("a leader again", || leader_of(&members));
    assert_eq!(
        members[leader].ask(get("a")),
        Answer::Get {
            value: Some("1".into())
        }
    );
    members.into_iter().for_each(Member::stop);
}

#[test]
fn an_answer_never_reaches_the_next_asker() {
    let dir = tempfile::tempdir().expect("a directory");
    let addresses = free_addresses(1);
    let mut member = start(0, &addresses, dir.path());
    wait_for("a leader", || leader_of(std::slice::from_ref(&member)));
    for _ in 0..50 {
        let delete = Operation::Delete { key: "a".into() };
        let request = Request {
            token: Token(1),
            operation: delete,
        };
        member.handle.submit(request).expect("queued");
        member.handle.wake();
        let (sender, answers) = unbounded();
        drop(member.handle);
        member.handle = member.node.handle(sender, || {});
        member.answers = answers;
        assert_eq!(
            member.ask(put("a", "1")),
            Answer::Put,
            "not the answer to the delete"
        );
    }
    member.stop();
}

#[test]
fn strangers_on_the_peer_port_cost_only_their_connection() {
    use std::io::{Read, Write};

    let dir = tempfile::tempdir().expect("a directory");
    let addresses = free_addresses(1);
    let member = start(0, &addresses, dir.path());
    wait_for("a leader", || leader_of(std::slice::from_ref(&member)));
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0; 64],
        b"\x16\x03\x01",
    ];
    for bytes in garbage {
        let mut stranger = std::net::TcpStream::connect(&addresses[0]).expect("accepted");
        stranger
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        stranger.write_all(bytes).expect("written");
        let mut answer = Vec::new();
        // Closed with bytes unread, the connection ends in a reset; either end is an end.
        let _ = stranger.read_to_end(&mut answer);
        assert!(answer.is_empty(), "a stranger gets no answer");
    }
    assert_eq!(member.ask(put("a", "1")), Answer::Put);
    member.stop();
}
