//! The hello: the first frame on a connection between nodes, in both directions. It settles who
//! is at the other end before a byte of consensus is believed. Decisions only, no sockets.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use crate::{
    codec::{DecodeError, encode_frame},
    proto::peer::{self, refusal::Code},
    raft::{ADDRESS_MAX_BYTES, Description, EntryKind, Incarnation, NodeId},
};

/// What every hello begins with, so that other protocols are told at once.
const MAGIC: &str = "raftkv peer";
/// The wire format of this build.
const PROTOCOL_VERSION: u32 = 1;
/// A hello's frame is no larger than this: two addresses of any length, and the pins of those who
/// come and those who go.
pub(super) const HELLO_MAX_BYTES: u32 = 2048;

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    pub(super) cluster_id: [u8; 16],
    pub(super) node_id: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) peer_address: String,
    pub(super) client_address: String,
    pub(super) heartbeat_ms: u64,
    pub(super) election_timeout_ms: u64,
}

impl Introduction {
    /// The same, as the log has it.
    pub(super) fn description(&self) -> Description {
        Description {
            peer_address: self.peer_address.clone(),
            client_address: self.client_address.clone(),
            incarnation: Some(self.incarnation),
        }
    }
}

/// What a node goes by when it judges another.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Whose id is bound to which data directory.
    pub(super) pins: BTreeMap<NodeId, Incarnation>,
    /// Whether the sender was a member once.
    pub(super) is_retired: bool,
}

/// A hello that was found to be sound, though perhaps not welcome.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) node_id: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) peer_address: String,
    pub(super) client_address: String,
    pub(super) heartbeat_ms: u64,
    pub(super) election_timeout_ms: u64,
    /// Whose id is bound to which data directory, as far as the sender knows.
    pub(super) pins: BTreeMap<NodeId, Incarnation>,
    /// Why the sender refuses us, if it does.
    pub(super) refused: Option<String>,
    /// None of a node that asks which cluster it is to join.
    pub(super) cluster_id: Option<[u8; 16]>,
}

/// Why a hello is not accepted: said to the sender, who can act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) reason: String,
    /// The one pin that explains it.
    pub(super) pin: Option<(NodeId, Incarnation)>,
}

impl Refusal {
    pub(super) fn new(code: Code, reason: impl Into<String>) -> Refusal {
        Refusal {
            code,
            reason: reason.into(),
            pin: None,
        }
    }
}

/// Appends our hello, or a refusal, which is a hello with a reason. Who is refused is told no pins
/// but the one that it may have to stop for.
pub(super) fn encode(
    me: &Introduction,
    pins: &BTreeMap<NodeId, Incarnation>,
    refusal: Option<Refusal>,
    out: &mut Vec<u8>,
) {
    let pin = |node: NodeId, incarnation: &Incarnation| peer::Pin {
        node_id: node.0,
        incarnation: Bytes::copy_from_slice(incarnation),
    };
    let pins = match &refusal {
        None => pins.iter().map(|(&node, of)| pin(node, of)).collect(),
        Some(refusal) => refusal
            .pin
            .iter()
            .map(|(node, of)| pin(*node, of))
            .collect(),
    };
    let hello = peer::Hello {
        magic: MAGIC.to_owned(),
        protocol_version: PROTOCOL_VERSION,
        cluster_id: Bytes::copy_from_slice(&me.cluster_id),
        node_id: me.node_id.0,
        incarnation: Bytes::copy_from_slice(&me.incarnation),
        peer_address: me.peer_address.clone(),
        client_address: me.client_address.clone(),
        heartbeat_ms: me.heartbeat_ms,
        election_timeout_ms: me.election_timeout_ms,
        entry_kinds: EntryKind::KNOWN.iter().map(|kind| kind.0).collect(),
        pins,
        refusal: refusal.map(|refusal| peer::Refusal {
            code: refusal.code.into(),
            reason: refusal.reason,
        }),
    };
    encode_frame(out, |out| hello.encode_raw(out));
}

/// Appends the hello of a node that asks which cluster it is to join.
pub(super) fn encode_question(node_id: NodeId, out: &mut Vec<u8>) {
    let question = peer::Hello {
        magic: MAGIC.to_owned(),
        protocol_version: PROTOCOL_VERSION,
        node_id: node_id.0,
        incarnation: Bytes::from_static(&[0; 16]),
        ..Default::default()
    };
    encode_frame(out, |out| question.encode_raw(out));
}

/// Reads a hello, or of one in another version the version: its other fields may mean something
/// else.
///
/// # Errors
/// When it is none: a stranger, who gets no answer.
pub(super) fn decode(body: Bytes) -> Result<Result<Hello, u32>, DecodeError> {
    let hello = peer::Hello::decode(body)?;
    if hello.magic != MAGIC {
        return Err(DecodeError::Shape("not a hello of raftkv"));
    }
    if hello.protocol_version != PROTOCOL_VERSION {
        return Ok(Err(hello.protocol_version));
    }
    let mut pins = BTreeMap::new();
    for pin in &hello.pins {
        pins.insert(NodeId(pin.node_id), sixteen(&pin.incarnation)?);
    }
    Ok(Ok(Hello {
        node_id: NodeId(hello.node_id),
        incarnation: sixteen(&hello.incarnation)?,
        peer_address: address(&hello.peer_address)?,
        client_address: address(&hello.client_address)?,
        heartbeat_ms: hello.heartbeat_ms,
        election_timeout_ms: hello.election_timeout_ms,
        pins,
        refused: hello.refusal.map(|refusal| one_line(&refusal.reason)),
        cluster_id: match hello.cluster_id.is_empty() {
            true => None,
            false => Some(sixteen(&hello.cluster_id)?),
        },
    }))
}

/// What is longer than any address the log has no room for.
fn address(text: &str) -> Result<String, DecodeError> {
    match text.len() > ADDRESS_MAX_BYTES {
        true => Err(DecodeError::Shape("an address that is too long")),
        false => Ok(one_line(text)),
    }
}

/// What others say ends up in our log and in our answers to clients.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The answer to a hello in another version of the protocol.
pub(super) fn other_version(version: u32) -> Refusal {
    let reason = format!(
        "a peer speaks protocol version {version}, this node {PROTOCOL_VERSION}; run the same \
         program on every node"
    );
    Refusal::new(Code::ProtocolVersion, reason)
}

fn sixteen(bytes: &Bytes) -> Result<[u8; 16], DecodeError> {
    bytes[..]
        .try_into()
        .map_err(|_| DecodeError::Shape("an id that is not 16 bytes"))
}

impl Hello {
    /// Whether to talk to the sender. `expected` is whom a connection that we opened was for.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(super) fn check(
        &self,
        me: &Introduction,
        known: &Known,
        expected: Option<NodeId>,
    ) -> Result<(), Refusal> {
        let node = self.node_id;
        let refuse = |code, reason: String| Err(Refusal::new(code, reason));
        let Some(cluster_id) = self.cluster_id else {
            let reason = format!("node {node} asks which cluster this is, to join it");
            return refuse(Code::Joining, reason);
        };
        if cluster_id != me.cluster_id {
            let (theirs, ours) = (hex(cluster_id), hex(me.cluster_id));
            let reason = format!(
                "node {node} is of cluster {theirs}, not of {ours}; give it the --peers of this \
                 cluster and an empty --data-dir, in a restored cluster one that raftkv restore \
                 made, or give it another address"
            );
            return refuse(Code::Cluster, reason);
        }
        if node == me.node_id {
            let reason = format!("node id {node} is taken; give each node its own --node-id");
            return refuse(Code::OwnId, reason);
        }
        if known.is_retired {
            return refuse(Code::Retired, removed(node));
        }
        if let Some(wanted) = expected
            && wanted != node
        {
            let reason =
                format!("node {node} is not expected here, but node {wanted}; check --peers");
            return refuse(Code::NotAMember, reason);
        }
        // A directory that was wiped has forgotten its votes: under its old id it could vote twice
        // in a term, and vouch for entries that it lost.
        if let Some(pinned) = known.pins.get(&node)
            && *pinned != self.incarnation
        {
            return Err(Refusal {
                pin: Some((node, *pinned)),
                ..Refusal::new(Code::Incarnation, wiped(node))
            });
        }
        Ok(())
    }

    /// What the sender says of itself, for the log.
    pub(super) fn description(&self) -> Description {
        Description {
            peer_address: self.peer_address.clone(),
            client_address: self.client_address.clone(),
            incarnation: Some(self.incarnation),
        }
    }

    /// Whether the sender knows our own id by another data directory than ours. To be believed
    /// only of who passed [`Hello::check`].
    pub(super) fn replaces(&self, me: &Introduction) -> bool {
        self.pins
            .get(&me.node_id)
            .is_some_and(|pinned| *pinned != me.incarnation)
    }
}

/// What to tell a node that is no member any more.
pub(super) fn removed(node: NodeId) -> String {
    format!(
        "node {node} was removed from the cluster, and an id is never used twice; stop it, or let \
         it join with an empty --data-dir under a new id"
    )
}

/// What to tell a node whose data directory is not the one that its id is known by.
pub(super) fn wiped(node: NodeId) -> String {
    format!(
        "node {node} is known by another data directory; one that was wiped or exchanged never \
         votes again under its old id: restore the old directory, or replace the member: \
         raftkv-cli member replace {node} NEW@HOST:PORT"
    )
}

/// An id or an incarnation as people write it.
pub(super) fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{FRAME_MAX_BYTES, FrameDecoder};

    fn introduction(node: u64, incarnation: u8) -> Introduction {
        Introduction {
            cluster_id: [7; 16],
            node_id: NodeId(node),
            incarnation: [incarnation; 16],
            peer_address: "127.0.0.1:9000".to_owned(),
            client_address: "127.0.0.1:9100".to_owned(),
            heartbeat_ms: 50,
            election_timeout_ms: 150,
        }
    }

    fn said(me: &Introduction, pins: &BTreeMap<NodeId, Incarnation>) -> Hello {
        let mut frame = Vec::new();
        encode(me, pins, None, &mut frame);
        heard(&frame)
    }

    fn heard(frame: &[u8]) -> Hello {
        let mut decoder = FrameDecoder::new(HELLO_MAX_BYTES);
        decoder.receive(frame);
        let body = decoder.next_frame().expect("sound").expect("whole");
        decode(body).expect("a hello").expect("of this version")
    }

    fn known(pins: &BTreeMap<NodeId, Incarnation>) -> Known {
        Known {
            pins: pins.clone(),
            is_retired: false,
        }
    }

    fn refusal(hello: &Hello, pins: &BTreeMap<NodeId, Incarnation>) -> Code {
        hello
            .check(&introduction(0, 1), &known(pins), None)
            .expect_err("refused")
            .code
    }

    #[test]
    fn a_member_with_the_same_cluster_is_welcome() {
        let hello = said(&introduction(1, 2), &BTreeMap::new());
        assert_eq!(
            hello.check(&introduction(0, 1), &Known::default(), Some(NodeId(1))),
            Ok(())
        );
    }

    #[test]
    fn another_cluster_is_refused() {
        let mut other = introduction(1, 2);
        other.cluster_id = [8; 16];
        assert_eq!(
            refusal(&said(&other, &BTreeMap::new()), &BTreeMap::new()),
            Code::Cluster
        );
    }

    #[test]
    fn our_own_id_is_refused() {
        let none = BTreeMap::new();
        let hello = said(&introduction(0, 2), &none);
        assert_eq!(refusal(&hello, &none), Code::OwnId);
    }

    #[test]
    fn who_is_no_member_here_yet_is_welcome_and_who_is_none_any_more_is_not() {
        let hello = said(&introduction(9, 2), &BTreeMap::new());
        let me = introduction(0, 1);
        assert_eq!(hello.check(&me, &Known::default(), None), Ok(()));
        let known = Known {
            is_retired: true,
            ..Known::default()
        };
        let refused = hello.check(&me, &known, None).expect_err("it was removed");
        assert_eq!(refused.code, Code::Retired);
    }

    #[test]
    fn who_asks_which_cluster_to_join_is_told_and_sent_away() {
        let mut frame = Vec::new();
        encode_question(NodeId(3), &mut frame);
        assert_eq!(refusal(&heard(&frame), &BTreeMap::new()), Code::Joining);
    }

    #[test]
    fn a_member_at_the_wrong_address_is_refused() {
        let hello = said(&introduction(1, 2), &BTreeMap::new());
        let refused = hello.check(&introduction(0, 1), &Known::default(), Some(NodeId(2)));
        assert_eq!(refused.expect_err("refused").code, Code::NotAMember);
    }

    #[test]
    fn a_wiped_directory_is_refused_under_its_old_id() {
        let pins = BTreeMap::from([(NodeId(1), [2; 16])]);
        let wiped = said(&introduction(1, 3), &BTreeMap::new());
        assert_eq!(refusal(&wiped, &pins), Code::Incarnation);
        let intact = said(&introduction(1, 2), &BTreeMap::new());
        assert_eq!(
            intact.check(&introduction(0, 1), &known(&pins), None),
            Ok(())
        );
    }

    #[test]
    fn a_wiped_node_learns_of_it_from_any_hello() {
        let pins = BTreeMap::from([(NodeId(1), [2; 16])]);
        let hello = said(&introduction(0, 1), &pins);
        assert!(hello.replaces(&introduction(1, 3)));
        assert!(!hello.replaces(&introduction(1, 2)));
    }

    #[test]
    fn a_hello_of_nine_members_that_are_all_replaced_fits_its_limit() {
        let pins = (0..18).map(|id| (NodeId(id), [1; 16])).collect();
        let mut me = introduction(0, 1);
        me.peer_address = "a".repeat(253) + ":65535";
        me.client_address.clone_from(&me.peer_address);
        let refusal = Refusal {
            pin: Some((NodeId(1), [1; 16])),
            ..Refusal::new(Code::Incarnation, wiped(NodeId(1)))
        };
        for refusal in [None, Some(refusal)] {
            let mut frame = Vec::new();
            encode(&me, &pins, refusal, &mut frame);
            let bytes = frame.len();
            assert!(bytes <= HELLO_MAX_BYTES as usize, "{bytes} bytes");
        }
    }

    #[test]
    fn an_address_that_the_log_has_no_room_for_makes_no_hello() {
        for too_long in 0..3 {
            let mut me = introduction(0, 1);
            let address = "a".repeat(ADDRESS_MAX_BYTES + usize::from(too_long > 0));
            match too_long {
                2 => me.client_address = address,
                _ => me.peer_address = address,
            }
            let mut frame = Vec::new();
            encode(&me, &BTreeMap::new(), None, &mut frame);
            let mut decoder = FrameDecoder::new(HELLO_MAX_BYTES);
            decoder.receive(&frame);
            let body = decoder.next_frame().expect("sound").expect("whole");
            assert_eq!(decode(body).is_err(), too_long > 0);
        }
    }

    #[test]
    fn of_another_version_only_the_version_is_read() {
        let hello = peer::Hello {
            magic: MAGIC.to_owned(),
            protocol_version: PROTOCOL_VERSION + 1,
            ..Default::default()
        };
        let decoded = decode(hello.encode_to_vec().into()).expect("a hello");
        assert_eq!(decoded.expect_err("another version"), PROTOCOL_VERSION + 1);
    }

    #[test]
    fn a_peer_cannot_break_a_line_of_our_log() {
        let mut me = introduction(1, 2);
        me.client_address = "host\n\x1b[2J:1".to_owned();
        assert_eq!(said(&me, &BTreeMap::new()).client_address, "host[2J:1");
    }

    #[test]
    fn other_protocols_are_strangers() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let mut decoder = FrameDecoder::new(HELLO_MAX_BYTES);
            decoder.receive(bytes);
            assert!(
                decoder.next_frame().is_err(),
                "its first bytes are no length"
            );
        }
        assert!(decode(Bytes::from_static(b"\x0a\x03foo")).is_err());
        assert!(
            FrameDecoder::new(FRAME_MAX_BYTES)
                .next_frame()
                .expect("empty")
                .is_none()
        );
    }
}
