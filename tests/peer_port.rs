//! What strangers can do to a node's peer port: cost themselves a connection, and nothing else.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Mutex, Once},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message as _;
use raftkv::{
    codec::{FRAME_HEADER_BYTES, FRAME_MAX_BYTES, FrameDecoder, encode_frame, encode_message},
    node::{Config, Fatal, NODE_ID_MAX, Node},
    proto::peer::{Hello, Pin, refusal::Code},
    raft::{Index, Message, NodeId, Round, Term},
};
use tempfile::TempDir;

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than a node keeps of connections without a hello.
const MANY: usize = 40;

struct Target {
    node: Node,
    address: SocketAddr,
    dir: TempDir,
}

/// A member of three whose others are not there.
fn target() -> Target {
    let dir = tempfile::tempdir().expect("a directory");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    target_in(dir, address)
}

fn target_in(dir: TempDir, address: SocketAddr) -> Target {
    let peers = [
        (NodeId(0), address.to_string()),
        (NodeId(1), "127.0.0.1:1".to_owned()),
        (NodeId(2), "127.0.0.1:2".to_owned()),
    ];
    let config = Config {
        node_id: NodeId(0),
        peers: BTreeMap::from(peers),
        raft_listen: address.to_string(),
        peer_address: address.to_string(),
        join: false,
        client_address: "127.0.0.1:9100".to_owned(),
        data_dir: dir.path().join("0"),
        heartbeat_ms: 50,
        election_timeout_ms: 150,
        snapshot_log_bytes: 256 << 20,
        snapshot_log_entries: 250_000,
    };
    let node = Node::start(config).expect("the node starts");
    Target { node, address, dir }
}

impl Target {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Says hello.
    fn greet(&self, hello: &Hello) -> TcpStream {
        let mut stream = self.connect();
        let mut frame = Vec::new();
        encode_frame(&mut frame, |out| hello.encode_raw(out));
        stream.write_all(&frame).expect("sent");
        stream
    }

    /// The answer to this hello, which is refused.
    fn refused(&self, hello: &Hello) -> Hello {
        let mut answer = Vec::new();
        self.greet(hello)
            .read_to_end(&mut answer)
            .expect("answered, then closed");
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        decoder.receive(&answer);
        let body = decoder.next_frame().expect("sound").expect("whole");
        Hello::decode(body).expect("a hello")
    }

    fn refusal_of(&self, hello: &Hello) -> Code {
        self.refused(hello).refusal.expect("a refusal").code()
    }

    /// A hello of node 1 that is welcome.
    fn member_hello(&self) -> Hello {
        Hello {
            cluster_id: self.refused(&foreign_hello()).cluster_id,
            ..foreign_hello()
        }
    }

    fn wait_for_term(&self, term: u64) {
        let (sender, _answers) = crossbeam_channel::unbounded();
        let handle = self.node.handle(sender, || {});
        let until = Instant::now() + PATIENCE;
        while handle.status().term != Term(term) {
            assert!(Instant::now() < until, "not within {PATIENCE:?}");
            std::thread::yield_now();
        }
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

/// Tells that the target's data directory is another than the one it has.
fn replacing(hello: Hello) -> Hello {
    let pin = Pin {
        node_id: 0,
        incarnation: vec![8; 16].into(),
    };
    Hello {
        pins: vec![pin],
        ..hello
    }
}

/// Of a leader in this term.
fn heartbeat(term: u64) -> Vec<u8> {
    let heartbeat = Message::Heartbeat {
        term: Term(term),
        commit: Index::ZERO,
        round: Round::ZERO,
    };
    let mut frame = Vec::new();
    encode_message(&heartbeat, &mut frame);
    frame
}

/// Collects the log of all nodes of this process.
struct Log;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log from here on.
fn start_log() {
    static START: Once = Once::new();
    START.call_once(|| tracing_subscriber::fmt().with_writer(|| Log).init());
}

fn lines_with(part: &str) -> usize {
    let log = String::from_utf8(LOG.lock().expect("not poisoned").clone()).expect("UTF-8");
    log.lines().filter(|line| line.contains(part)).count()
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
fn nodes_that_are_no_members_do_not_take_all_descriptors() {
    let target = target();
    let member = target.member_hello();
    let others = (5_000..).take(MANY).map(|node_id| {
        let hello = Hello {
            node_id,
            ..member.clone()
        };
        let mut connection = target.greet(&hello);
        connection.read_exact(&mut [0]).expect("it is welcome");
        connection
    });
    let mut others: Vec<TcpStream> = others.collect();
    // The first one made room.
    others[0].read_to_end(&mut Vec::new()).expect("closed");
    // The newest is heard.
    let newest = others.last_mut().expect("there are many");
    newest.write_all(&heartbeat(5)).expect("sent");
    target.wait_for_term(5);
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

#[test]
fn nobody_but_a_known_member_can_tell_a_node_that_it_was_replaced() {
    let target = target();
    let member = target.member_hello();
    let connection = target.greet(&member);
    (&connection)
        .read_exact(&mut [0])
        .expect("the member is welcome");
    let other_id = |node_id| Hello {
        node_id,
        ..member.clone()
    };
    let duplicate = Hello {
        incarnation: vec![3; 16].into(),
        ..member.clone()
    };
    for (hello, code) in [
        (foreign_hello(), Code::Cluster),
        (other_id(7), Code::Incarnation),
        (other_id(0), Code::OwnId),
        (other_id(NODE_ID_MAX + 1), Code::NotAMember),
        (duplicate, Code::Incarnation),
    ] {
        assert_eq!(target.refusal_of(&replacing(hello)), code);
    }
    target.stop();
}

#[test]
fn a_new_node_that_a_member_knows_by_another_directory_stops() {
    let target = target();
    let hello = replacing(target.member_hello());
    let _connection = target.greet(&hello);
    let fatal = target.node.wait().expect_err("it stops");
    assert!(matches!(fatal, Fatal::Replaced(NodeId(0))), "{fatal}");
}

#[test]
fn a_node_with_a_log_refuses_the_member_that_knows_it_by_another_directory() {
    let first = target();
    let hello = first.member_hello();
    let mut connection = first.greet(&hello);
    connection.write_all(&heartbeat(5)).expect("sent");
    first.wait_for_term(5);
    let Target { node, address, dir } = first;
    node.stopper().stop();
    node.wait().expect("a clean stop");

    let again = target_in(dir, address);
    assert_eq!(again.refusal_of(&replacing(hello)), Code::Incarnation);
    again.stop();
}

#[test]
fn a_refusal_tells_no_pin_but_the_one_it_is_for() {
    let target = target();
    assert_eq!(target.refused(&foreign_hello()).pins, []);
    let member = target.member_hello();
    let pinned = Pin {
        node_id: 1,
        incarnation: member.incarnation.clone(),
    };
    target
        .greet(&member)
        .read_exact(&mut [0])
        .expect("the member is welcome");
    let wiped = Hello {
        incarnation: vec![3; 16].into(),
        ..member
    };
    assert_eq!(target.refused(&wiped).pins, [pinned]);
    target.stop();
}

#[test]
fn a_member_that_closes_is_heard_to_the_end_and_closed() {
    let target = target();
    let mut connection = target.greet(&target.member_hello());
    connection.write_all(&heartbeat(5)).expect("sent");
    connection.shutdown(Shutdown::Write).expect("closed");
    target.wait_for_term(5);
    connection
        .read_to_end(&mut Vec::new())
        .expect("answered, then closed");
    target.stop();
}

#[test]
fn impossible_messages_of_a_member_are_one_line_of_the_log() {
    start_log();
    let target = target();
    let mut connection = target.greet(&target.member_hello());
    let mut frames = heartbeat(1 << 40).repeat(100);
    frames.extend(heartbeat(5));
    connection.write_all(&frames).expect("sent");
    target.wait_for_term(5);
    assert_eq!(lines_with("term jump"), 1);
    target.stop();
}

#[test]
fn who_invents_ids_does_not_fill_the_log() {
    start_log();
    let target = target();
    let member = target.member_hello();
    for node_id in 5_000..5_040 {
        let hello = Hello {
            node_id,
            ..member.clone()
        };
        let mut connection = target.greet(&hello);
        connection.read_exact(&mut [0]).expect("it is welcome");
        connection.write_all(&[0; 64]).expect("sent");
        // A reset is a close too: it left bytes unread.
        let _ = connection.read_to_end(&mut Vec::new());
    }
    assert_eq!(lines_with("closed a connection of node 50"), 1);
    let question = |node_id| Hello {
        node_id,
        cluster_id: Bytes::new(),
        ..member.clone()
    };
    for node_id in 6_000..6_040 {
        assert_eq!(target.refusal_of(&question(node_id)), Code::Joining);
    }
    assert_eq!(lines_with("asks which cluster this is"), 1);
    target.stop();
}
