//! A message on its way.

use std::fmt::{self, Display, Formatter};

use raftkv::raft::{AppendOutcome, Message, NodeId, VoteKind};

use super::key::{self, Encode, Names};

#[derive(Clone, Debug)]
pub struct Letter {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

impl Letter {
    /// What a script calls this kind of message.
    pub fn kind(&self) -> String {
        let text = self.message.to_string();
        text.split(' ').next().unwrap_or_default().to_owned()
    }
}

impl Display for Letter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Letter { from, to, message } = self;
        write!(f, "n{from}@{} -> n{to} {message}", message.term())
    }
}

impl Encode for Letter {
    const TAG: u8 = b'l';

    fn encode(&self, names: &Names, out: &mut Vec<u8>) {
        key::node(self.from, names, out);
        key::node(self.to, names, out);
        key::number(self.message.term().0, out);
        match &self.message {
            Message::Append(append) => {
                out.push(0);
                key::position(append.prev, out);
                key::number(append.commit.0, out);
                key::entries(&append.entries, names, out);
            }
            Message::AppendReply { outcome, .. } => {
                out.push(1);
                outcome_text(outcome, out);
            }
            Message::Heartbeat { commit, round, .. } => {
                out.push(2);
                key::number(commit.0, out);
                key::number(round.0, out);
            }
            Message::HeartbeatReply { round, .. } => {
                out.push(3);
                key::number(round.0, out);
            }
            Message::VoteRequest { last, kind, .. } => {
                out.push(4);
                key::position(*last, out);
                out.push(match kind {
                    VoteKind::PreVote => 0,
                    VoteKind::Election => 1,
                    VoteKind::Transfer => 2,
                });
            }
            Message::VoteReply {
                granted, pre_vote, ..
            } => {
                out.push(5);
                out.push(u8::from(*granted));
                out.push(u8::from(*pre_vote));
            }
            Message::TimeoutNow { .. } => out.push(6),
            Message::SnapshotOffer { snapshot, .. } => {
                out.push(7);
                key::position(snapshot.pos, out);
            }
        }
    }
}

fn outcome_text(outcome: &AppendOutcome, out: &mut Vec<u8>) {
    match outcome {
        AppendOutcome::Match(index) => {
            out.push(0);
            key::number(index.0, out);
        }
        AppendOutcome::Conflict { rejected, hint } => {
            out.push(1);
            key::number(rejected.0, out);
            key::position(*hint, out);
        }
        AppendOutcome::StaleTerm => out.push(2),
    }
}
