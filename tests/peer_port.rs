//! What strangers can do to a node's peer port: cost themselves a connection, and nothing else.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use prost::Message as _;
use raftkv::{
    codec::{FRAME_HEADER_BYTES, FRAME_MAX_BYTES, FrameDecoder, encode_frame},
    node::{Config, Node},
    proto::peer::{Hello, refusal::Code},
    raft::NodeId,
};
use tempfile::TempDir;

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than a node keeps of connections without a hello.
const MANY: usize = 40;

struct Target {
    node: Node,
    address: SocketAddr,
    _dir: TempDir,
}

/// A member of three whose others are not there.
fn target() -> Target {
    let dir = tempfile::tempdir().expect("a directory");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let peers = [
        (NodeId(0), address.to_string()),
        (NodeId(1), "127.0.0.1:1".to_owned()),
        (NodeId(2), "127.0.0.1:2".to_owned()),
    ];
    let config = Config {
        node_id: NodeId(0),
        peers: BTreeMap::from(peers),
        raft_listen: address.to_string(),
        client_address: "127.0.0.1:9100".to_owned(),
        data_dir: dir.path().join("0"),
        heartbeat_ms: 50,
        election_timeout_ms: 150,
    };
    let node = Node::start(config).expect("the node starts");
    Target {
        node,
        address,
        _dir: dir,
    }
}

impl Target {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// The refusal that answers this hello.
    fn refusal_of(&self, hello: &Hello) -> Code {
        let mut stream = self.connect();
        let mut frame = Vec::new();
        encode_frame(&mut frame, |out| hello.encode_raw(out));
        stream.write_all(&frame).expect("sent");
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .expect("answered, then closed");
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        decoder.receive(&answer);
        let body = decoder.next_frame().expect("sound").expect("whole");
        let answer = Hello::decode(body).expect("a hello");
        answer.refusal.expect("a refusal").code()
    }

    fn stop(self) {
        self.node.stopper().stop();
        self.node.wait().expect("it was never harmed");
    }
}

/// Sound, and of a cluster that is not the target's.
fn foreign_hello() -> Hello {
    Hello {
        magic: "raftkv peer".to_owned(),
        protocol_version: 1,
        cluster_id: vec![9; 16].into(),
        node_id: 1,
        incarnation: vec![9; 16].into(),
        ..Default::default()
    }
}

#[test]
fn other_protocols_and_garbage_are_closed_without_an_answer() {
    let target = target();
    let mut bad_crc = Vec::new();
    encode_frame(&mut bad_crc, |out| foreign_hello().encode_raw(out));
    bad_crc[FRAME_HEADER_BYTES] ^= 1;
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 64],
        &[0xff; 64],
        &bad_crc,
    ] {
        let mut stream = target.connect();
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        // A reset is a close too: it left bytes unread.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{bytes:?} was answered with {answer:?}");
    }
    assert_eq!(target.refusal_of(&foreign_hello()), Code::Cluster);
    target.stop();
}

#[test]
fn silent_connections_do_not_keep_a_member_out() {
    let target = target();
    let silent: Vec<TcpStream> = (0..MANY).map(|_| target.connect()).collect();
    assert_eq!(target.refusal_of(&foreign_hello()), Code::Cluster);
    // The oldest made room, and was not merely forgotten.
    let mut byte = [0];
    assert_eq!((&silent[0]).read(&mut byte).expect("closed"), 0);
    target.stop();
}

#[test]
fn another_version_is_told_which_one_is_spoken_here() {
    let target = target();
    let newer = Hello {
        protocol_version: 2,
        ..foreign_hello()
    };
    assert_eq!(target.refusal_of(&newer), Code::ProtocolVersion);
    target.stop();
}
