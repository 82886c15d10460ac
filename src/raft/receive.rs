//! What every role does with a message (Figure 2, "All Servers"), and which handler gets it.

use super::{
    core::{Core, Raft, Role, Transition},
    effect::{Effects, HardState},
    follower,
    message::{AppendOutcome, Message, VoteKind},
    note::{Note, StepDown, VoteDenial},
    types::{NodeId, Round},
};

/// A term further ahead than this is a forgery or damage: adopted, it would use up the numbers
/// that all later elections need, on every member.
const TERM_JUMP_MAX: u64 = 1 << 32;

impl Raft {
    /// Figure 2, "All Servers": a higher term is adopted, a lower one is answered with ours.
    pub(super) fn receive(&mut self, from: NodeId, message: Message, out: &mut Effects) {
        // From anyone: a node may lack the configuration by which the sender is a member (th. 4.1).
        // Whose votes and acknowledgements count is for those to decide who ask for them.
        if from == self.core.options.id {
            let what = "not another member";
            return out.note(Note::Impossible { from, what });
        }
        if planted!("timer_reset_by_any_message")
            && let Role::Follower(follower) = &mut self.role
        {
            follower.put_off();
        }
        let (term, ours) = (message.term(), self.core.hard.term);
        if term < ours && !counts_in_any_term(&message) {
            return self.core.answer_stale(from, &message, out);
        }
        if term > ours {
            if term.0 - ours.0 > TERM_JUMP_MAX {
                return out.note(Note::Impossible {
                    from,
                    what: "term jump",
                });
            }
            match &message {
                // A pre-vote names the term that would be: nobody is in it yet (th. 9.6).
                Message::VoteRequest {
                    kind: VoteKind::PreVote,
                    ..
                }
                | Message::VoteReply {
                    pre_vote: true,
                    granted: true,
                    ..
                } => {}
                // th. 4.2.3: while a leader is heard, an election cannot depose it. Else a member
                // that was cut off, or removed, disturbs the cluster with each of its timeouts.
                Message::VoteRequest {
                    kind: VoteKind::Election,
                    ..
                } => {
                    if let Some(leader) = self.leader_alive() {
                        let why = VoteDenial::LeaderAlive(leader);
                        return out.note(Note::VoteDenied { to: from, why });
                    }
                    self.adopt(term, out);
                }
                _ => self.adopt(term, out),
            }
        }
        self.dispatch(from, message, out);
    }

    fn dispatch(&mut self, from: NodeId, message: Message, out: &mut Effects) {
        match message {
            Message::Append(append) => {
                if self.follow(from, out) {
                    follower::append(&mut self.core, from, append, out);
                }
            }
            Message::SnapshotOffer { snapshot, .. } => {
                if self.follow(from, out) {
                    self.core.snapshot_offer(from, snapshot, out);
                }
            }
            Message::Heartbeat { commit, round, .. } => {
                if self.follow(from, out) {
                    follower::heartbeat(&mut self.core, from, commit, round, out);
                }
            }
            Message::TimeoutNow { .. } => {
                if self.follow(from, out) {
                    match self.core.is_electable() {
                        true => self.transit(Some(Transition::Campaign(VoteKind::Transfer)), out),
                        false => out.note(Note::NotAVoter),
                    }
                }
            }
            Message::VoteRequest { term, last, kind } => {
                self.vote_request(from, term, last, kind, out);
            }
            Message::VoteReply {
                term,
                granted,
                pre_vote,
            } => {
                let next = match &mut self.role {
                    Role::Candidate(candidate) => {
                        candidate.reply(&self.core, from, term, granted, pre_vote, out)
                    }
                    _ => {
                        out.note(Note::StaleReply { from });
                        None
                    }
                };
                self.transit(next, out);
            }
            Message::AppendReply { outcome, .. } => match &mut self.role {
                Role::Leader(leader) => leader.append_reply(&mut self.core, from, outcome, out),
                _ => out.note(Note::StaleReply { from }),
            },
            Message::HeartbeatReply { round, .. } => match &mut self.role {
                Role::Leader(leader) => leader.heartbeat_reply(&mut self.core, from, round, out),
                _ => out.note(Note::StaleReply { from }),
            },
        }
    }

    /// The sender leads our term: follow it (§5.2). A candidate steps down; for a leader it
    /// cannot be, since a term has one (Election Safety). Returns whether it is followed.
    fn follow(&mut self, leader: NodeId, out: &mut Effects) -> bool {
        let known = match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.core.options.id),
        };
        if known.is_some_and(|known| known != leader) {
            out.note(Note::Impossible {
                from: leader,
                what: "a second leader in one term",
            });
            return false;
        }
        if let Role::Candidate(_) = self.role {
            out.note(Note::SteppedDown {
                why: StepDown::LeaderExists(leader),
            });
            if planted!("vote_cleared_by_stepping_down") {
                let term = self.core.hard.term;
                self.core.set_hard(HardState { term, vote: None });
            }
            self.transit(
                Some(Transition::Follow {
                    leader: Some(leader),
                }),
                out,
            );
        }
        let Role::Follower(follower) = &mut self.role else {
            unreachable!("a leader returned and a candidate stepped down")
        };
        follower.hear(leader);
        true
    }
}

/// Nothing does (§5.1), unless planted.
fn counts_in_any_term(message: &Message) -> bool {
    match message {
        Message::VoteReply {
            granted: true,
            pre_vote: false,
            ..
        } => planted!("vote_of_an_earlier_term_counted"),
        Message::HeartbeatReply { .. } => planted!("read_confirmed_without_term_check"),
        _ => false,
    }
}

impl Core {
    /// Tells a sender of an older term that its term is over (§5.1).
    fn answer_stale(&self, from: NodeId, message: &Message, out: &mut Effects) {
        let term = self.hard.term;
        match message {
            Message::Append(_) | Message::SnapshotOffer { .. } => {
                out.note(Note::StaleLeader { from });
                let outcome = AppendOutcome::StaleTerm;
                self.send_durable(from, Message::AppendReply { term, outcome }, out);
            }
            // Confirms no round: by the time it arrives, the sender may lead our term, and have
            // begun a round of the same number for reads that this answer knows nothing of.
            Message::Heartbeat { round, .. } => {
                out.note(Note::StaleLeader { from });
                let round = match planted!("stale_heartbeat_confirms_its_round") {
                    true => *round,
                    false => Round::ZERO,
                };
                self.send(from, Message::HeartbeatReply { term, round }, out);
            }
            Message::VoteRequest { kind, .. }
                if *kind != VoteKind::PreVote
                    || !planted!("pre_vote_of_a_lagging_term_ignored") =>
            {
                out.note(Note::VoteDenied {
                    to: from,
                    why: VoteDenial::StaleTerm,
                });
                self.vote_reply(from, term, false, *kind == VoteKind::PreVote, out);
            }
            _ => out.note(Note::StaleReply { from }),
        }
    }
}
