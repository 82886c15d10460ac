//! I10: what a message vouches for is on its sender's disk before it leaves (Figure 2, "updated on
//! stable storage before responding to RPCs"; th. 3.8). A vote that a crash takes back can be given
//! twice, and an acknowledgement that a crash takes back was counted for nothing.

use raftkv::raft::{AppendOutcome, Message, NodeId, VoteKind};

use super::{Shadow, hold};

/// A message leaves `from`, whose disk is `disk`. It may have waited for a sync while later terms
/// were written as well, so what counts is what the disk held at any time in the message's term.
pub(super) fn check(from: NodeId, to: NodeId, message: &Message, disk: &Shadow) {
    let term = message.term();
    let held = match message {
        Message::Heartbeat { .. } | Message::HeartbeatReply { .. } => true,
        Message::VoteRequest {
            kind: VoteKind::PreVote,
            ..
        }
        | Message::VoteReply { pre_vote: true, .. } => true,
        // Candidates and leaders have voted for themselves.
        Message::Append(_) | Message::SnapshotOffer { .. } | Message::TimeoutNow { .. } => {
            disk.once_held(term, |past| past.vote == Some(from))
        }
        // It claims the end of a log as well (§5.4.1).
        Message::VoteRequest { last, .. } => {
            disk.once_held(term, |past| past.vote == Some(from) && past.last == *last)
        }
        Message::VoteReply { granted: true, .. } => {
            disk.once_held(term, |past| past.vote == Some(to))
        }
        Message::AppendReply {
            outcome: AppendOutcome::Match(index),
            ..
        } => disk.once_held(term, |past| past.last.index >= *index),
        Message::VoteReply { .. } | Message::AppendReply { .. } => disk.once_held(term, |_| true),
    };
    let now = disk.synced();
    hold!(
        PersistBeforeReply,
        held,
        "n{from} says {message} of term {term} to n{to}, its disk has {} and ends {}",
        now.hard,
        now.last()
    );
}
