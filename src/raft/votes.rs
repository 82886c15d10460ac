//! RequestVote RPC, receiver implementation (Figure 2; §5.2, §5.4.1), with pre-vote (th. 9.6),
//! leader stickiness (th. 4.2.3) and the exception for leadership transfer (th. 3.10).

use super::{
    core::{Raft, Role, Transition},
    effect::{Effects, HardState},
    follower::Follower,
    message::VoteKind,
    note::{Note, VoteDenial},
    types::{LogPos, NodeId, Term},
};

impl Raft {
    /// RequestVote RPC, receiver implementation (Figure 2), and its pre-vote variant (th. 9.6).
    pub(super) fn vote_request(
        &mut self,
        from: NodeId,
        term: Term,
        last: LogPos,
        kind: VoteKind,
        out: &mut Effects,
    ) {
        let pre_vote = kind == VoteKind::PreVote;
        match self.vote_denial(from, term, last, kind) {
            Some(why) => {
                out.note(Note::VoteDenied { to: from, why });
                self.core
                    .vote_reply(from, self.core.hard.term, false, pre_vote, out);
                self.run_instead(why, out);
            }
            None => {
                out.note(Note::VoteGranted { to: from, pre_vote });
                if !pre_vote {
                    // Figure 2, "Followers": granting a vote puts off one's own campaign.
                    let timeout = self.core.draw_timeout();
                    match planted!("timer_runs_on_after_a_vote") {
                        true => self.transit(Some(Transition::Follow { leader: None }), out),
                        false => self.role = Role::Follower(Follower::new(None, timeout)),
                    }
                    self.core.set_hard(HardState {
                        term,
                        vote: Some(from),
                    });
                }
                self.core.vote_reply(from, term, true, pre_vote, out);
            }
        }
    }

    /// Who asks for a vote goes by a configuration in which this node has one. If it has no voice
    /// by its own log, which is the newer one, it would wait for a leader, and the other for its
    /// vote, for ever. So it campaigns itself, by its own configuration and without a vote of its
    /// own.
    fn run_instead(&mut self, why: VoteDenial, out: &mut Effects) {
        let follows = matches!(self.role, Role::Follower(_)) && self.leader_alive().is_none();
        let knows_voters = self.core.config().voters().next().is_some();
        if let VoteDenial::LogBehind { .. } = why
            && follows
            && knows_voters
            && !self.core.is_electable()
        {
            self.transit(Some(Transition::Campaign(VoteKind::PreVote)), out);
        }
    }

    fn vote_denial(
        &self,
        from: NodeId,
        term: Term,
        last: LogPos,
        kind: VoteKind,
    ) -> Option<VoteDenial> {
        let ours = self.core.log.last();
        if let Role::Leader(_) = self.role
            && term == self.core.hard.term
        {
            return (!planted!("leader_votes_in_its_own_term")).then_some(VoteDenial::IsLeader);
        }
        // One vote in a term (§5.2). A pre-vote for a later term asks about no vote of ours.
        if term == self.core.hard.term
            && let Some(vote) = self.core.hard.vote
            && vote != from
        {
            return Some(VoteDenial::VotedFor(vote));
        }
        if kind != VoteKind::Transfer
            && let Some(leader) = self.leader_alive()
        {
            return Some(VoteDenial::LeaderAlive(leader));
        }
        // §5.4.1: by term, then by length. Else a leader may lack what is committed.
        let behind = match planted!("log_length_before_term") {
            true => (last.index, last.term) < (ours.index, ours.term),
            false => last < ours && !planted!("no_up_to_date_check"),
        };
        behind.then_some(VoteDenial::LogBehind { ours, theirs: last })
    }

    /// The leader that was heard within the minimum election timeout (th. 4.2.3). One that leads
    /// hears a majority (check-quorum) or has stepped down.
    pub(super) fn leader_alive(&self) -> Option<NodeId> {
        if planted!("no_leader_stickiness") {
            return None;
        }
        match &self.role {
            Role::Follower(follower) => {
                follower.leader_alive(self.core.options.election_timeout_ticks)
            }
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.core.options.id),
        }
    }
}
