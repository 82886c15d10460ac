//! I4, one vote a term (§5.2; Figure 2, RequestVote): a node that votes twice, because a crash
//! made it forget or because it changed its mind, can make two majorities of one.

use std::collections::BTreeMap;

use raftkv::raft::{Message, NodeId, Term, VoteKind};

use super::hold;

/// Whom each node voted for, by the messages that say so.
#[derive(Debug, Default)]
pub(super) struct OneVote {
    votes: BTreeMap<(Term, NodeId), NodeId>,
}

impl OneVote {
    pub(super) fn said(&mut self, from: NodeId, to: NodeId, message: &Message) {
        let term = message.term();
        let vote = match message {
            Message::VoteReply {
                granted: true,
                pre_vote: false,
                ..
            } => to,
            Message::VoteRequest { kind, .. } if *kind != VoteKind::PreVote => from,
            _ => return,
        };
        let first = *self.votes.entry((term, from)).or_insert(vote);
        hold!(
            OneVote,
            first == vote,
            "n{from} votes for n{first} and for n{vote} in term {term}"
        );
    }

    /// Whether a node has told `candidate` that it votes for it.
    pub(super) fn is_given(&self, term: Term, from: NodeId, candidate: NodeId) -> bool {
        self.votes.get(&(term, from)) == Some(&candidate)
    }
}
