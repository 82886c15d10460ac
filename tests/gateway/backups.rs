//! Backups on their way to clients, with a scripted node that has a file.

use std::{fs, sync::Arc};

use raftkv::{
    client::{BackupPart, Client},
    grpc::{self, Code},
    node::{Answer, Backup},
    proto::proto::{PutResponse, SaveRequest, SaveResponse, save_response::Part},
    raft::{Index, LogPos, Snapshot, Term},
    replica::Operation,
};
use raftkv_wal::{FileMedia, Media as _};

use crate::{
    kv::{PUT, put_request},
    node::{Node, Step},
    wire::{Reply, Wire},
};

const SAVE: &str = "/raftkv.proto.BackupService/Save";

/// Bytes of which no two parts of 4 KiB are the same.
fn contents(count: usize) -> Vec<u8> {
    (0..count)
        .map(|at| (at ^ at >> 8 ^ at >> 16) as u8)
        .collect()
}

/// An open file of these bytes that has no name any more.
fn backup_of(bytes: &[u8]) -> Backup {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("file"), bytes).expect("written");
    let mut media = FileMedia::open(directory.path()).expect("a directory");
    Backup {
        snapshot: Snapshot {
            pos: LogPos::new(Term(3), Index(17)),
            bytes: bytes.len() as u64,
            hash: 0x1234,
        },
        revision: 12,
        keys: 5,
        source: Arc::new(media.open_source("file").expect("a file")),
    }
}

/// A node that has this backup, and stores everything.
fn node_with(backup: Backup) -> Node {
    Node::start(move |operation| match operation {
        Operation::Backup => Step::Answer(Answer::Backup(backup.clone())),
        _ => Step::Answer(Answer::Put),
    })
}

/// The file that the messages of a reply make; its head is checked.
fn file_of(reply: &Reply) -> Vec<u8> {
    let mut parts = reply.messages::<SaveResponse>().into_iter();
    let Some(Part::Head(head)) = parts.next().expect("a message").part else {
        panic!("the head comes first");
    };
    assert_eq!((head.index, head.term), (17, 3));
    assert_eq!((head.revision, head.keys), (12, 5));
    assert_eq!(head.hash, 0x1234_u128.to_be_bytes()[..]);
    let mut file = Vec::new();
    for part in parts {
        let Some(Part::Chunk(chunk)) = part.part else {
            panic!("only one message is a head");
        };
        assert!((1..=64 << 10).contains(&chunk.len()));
        file.extend_from_slice(&chunk);
    }
    assert_eq!(file.len() as u64, head.bytes);
    file
}

#[test]
fn a_backup_comes_whole_although_its_file_has_lost_its_name() {
    for count in [1, 64 << 10, (64 << 10) + 1, 5_000_000] {
        let node = node_with(backup_of(&contents(count)));
        let mut wire = Wire::connect(node.address());
        let reply = wire.call(SAVE, &SaveRequest {});
        assert_eq!(reply.code(), Code::Ok as u8);
        assert!(file_of(&reply) == contents(count), "{count} bytes");
        // The connection serves on.
        let reply = wire.call(PUT, &put_request("a", "1"));
        assert!(reply.message::<PutResponse>().ok);
    }
}

#[test]
fn one_who_does_not_lead_says_who_does() {
    let node = Node::following("10.0.0.1:9100");
    let mut wire = Wire::connect(node.address());
    let reply = wire.call(SAVE, &SaveRequest {});
    assert_eq!(reply.code(), Code::Unavailable as u8);
    assert_eq!(
        reply.trailer("raftkv-leader").as_deref(),
        Some("10.0.0.1:9100")
    );
    assert!(reply.nothing_applied());
    assert_eq!(node.seen(), [Operation::Backup]);
}

#[test]
fn a_client_that_does_not_read_its_backup_does_not_keep_others_from_working() {
    let node = node_with(backup_of(&contents(20_000_000)));
    let mut lazy = Wire::connect(node.address());
    let stream = lazy.open(SAVE, &[]);
    lazy.send(stream, grpc::encode(&SaveRequest {}), true);
    lazy.flush();
    let mut healthy = Wire::connect(node.address());
    for _ in 0..10 {
        let reply = healthy.call(PUT, &put_request("b", "2"));
        assert!(reply.message::<PutResponse>().ok);
    }
    assert!(file_of(&lazy.reply(stream)) == contents(20_000_000));
}

#[test]
fn a_fifth_backup_at_one_time_is_refused() {
    let node = Node::start(|_| Step::Hold);
    let mut wire = Wire::connect(node.address());
    for _ in 0..4 {
        let stream = wire.open(SAVE, &[]);
        wire.send(stream, grpc::encode(&SaveRequest {}), true);
        wire.flush();
    }
    node.await_held(4);
    let reply = wire.call(SAVE, &SaveRequest {});
    assert_eq!(reply.code(), Code::ResourceExhausted as u8);
    assert!(reply.nothing_applied());
    node.answer_held(&Answer::NoSnapshot);
}

#[test]
fn the_client_follows_the_hint_and_takes_the_whole_file() {
    let leader = node_with(backup_of(&contents(300_000)));
    let follower = Node::following(leader.address());
    let mut client = Client::new([follower.address()]).expect("an endpoint");
    let (mut file, mut heads) = (Vec::new(), 0);
    let head = client.backup(|part| {
        match part {
            BackupPart::Head(_) => heads += 1,
            BackupPart::Bytes(bytes) => file.extend_from_slice(&bytes),
        }
        Ok(())
    });
    let head = head.expect("a backup");
    assert_eq!((head.index, head.keys, head.hash), (17, 5, 0x1234));
    assert_eq!(heads, 1);
    assert!(file == contents(300_000));
    assert_eq!(follower.seen(), [Operation::Backup]);
}

#[test]
fn what_the_receiver_says_ends_a_backup_and_is_told() {
    let leader = node_with(backup_of(&contents(300_000)));
    let mut client = Client::new([leader.address()]).expect("an endpoint");
    let given_up = client.backup(|part| match part {
        BackupPart::Head(_) => Ok(()),
        BackupPart::Bytes(_) => Err("the disk is full".to_owned()),
    });
    let text = given_up.expect_err("given up").to_string();
    assert!(text.contains("the disk is full"), "{text}");
    assert_eq!(leader.seen().len(), 1, "it is not tried again");
}
