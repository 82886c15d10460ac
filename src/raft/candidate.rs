//! The candidate (§5.2; Figure 2, "Candidates"), with its pre-vote stage (th. 9.6).

use std::collections::BTreeMap;

use super::{
    config::Config,
    core::{Core, Transition},
    effect::{Effects, HardState},
    message::{Message, VoteKind},
    note::Note,
    types::{NodeId, Seq, Term},
};

/// What exists only in a candidate.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) stage: Stage,
    /// The first answer of each voter: a repeated one counts once.
    pub(super) votes: BTreeMap<NodeId, bool>,
    pub(super) elapsed_ticks: u32,
    pub(super) timeout_ticks: u32,
}

/// How far a campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Asking who would vote for us in the next term.
    PreVote,
    /// Asking for votes. Our own counts once this write is durable: forgotten in a crash, it
    /// could be given a second time.
    Vote { own_after: Seq },
}

impl Candidate {
    pub(super) fn campaign(
        core: &mut Core,
        kind: VoteKind,
        timeout_ticks: u32,
        out: &mut Effects,
    ) -> Candidate {
        let id = core.options.id;
        let term = core.hard.term.next();
        let pre_vote = kind == VoteKind::PreVote;
        out.note(Note::Campaign { term, pre_vote });
        let mut votes = BTreeMap::new();
        let stage = if pre_vote {
            votes.insert(id, true);
            Stage::PreVote
        } else {
            core.set_hard(HardState {
                term,
                vote: Some(id),
            });
            Stage::Vote {
                own_after: core.this_seq(),
            }
        };
        let last = core.log.last();
        let voters = core.config().voters().filter(|&node| node != id);
        for to in voters {
            let request = Message::VoteRequest { term, last, kind };
            match pre_vote {
                true => core.send(to, request, out),
                // It claims a term and the end of a log: both must be there after a crash, or a
                // second campaign of this term could win votes for a shorter log.
                false => core.send_durable(to, request, out),
            }
        }
        Candidate {
            stage,
            votes,
            elapsed_ticks: 0,
            timeout_ticks,
        }
    }

    pub(super) fn tick(&mut self) -> Option<Transition> {
        self.elapsed_ticks += 1;
        let over = self.elapsed_ticks >= self.timeout_ticks;
        over.then_some(Transition::Campaign(VoteKind::PreVote))
    }

    pub(super) fn persisted(&mut self, core: &Core, upto: Seq) -> Option<Transition> {
        match self.stage {
            Stage::Vote { own_after } if own_after <= upto => {
                self.votes.entry(core.options.id).or_insert(true);
                self.won(core.config()).then_some(Transition::Lead)
            }
            _ => None,
        }
    }

    pub(super) fn reply(
        &mut self,
        core: &Core,
        mut from: NodeId,
        term: Term,
        granted: bool,
        pre_vote: bool,
        out: &mut Effects,
    ) -> Option<Transition> {
        // A granted pre-vote names the term that it was asked for: one of an earlier campaign
        // says nothing about this one.
        let asked = match self.stage {
            Stage::PreVote => pre_vote && (!granted || term == core.hard.term.next()),
            Stage::Vote { .. } => !pre_vote || planted!("pre_vote_counted_as_vote"),
        };
        if planted!("repeated_vote_counted_again") && self.votes.contains_key(&from) {
            let silent = |node: &NodeId| !self.votes.contains_key(node);
            from = core.config().voters().find(silent).unwrap_or(from);
        }
        if !asked || self.votes.contains_key(&from) {
            out.note(Note::StaleReply { from });
            return None;
        }
        self.votes.insert(from, granted);
        self.tally(core.config(), out)
    }

    /// What the votes so far decide.
    pub(super) fn tally(&self, config: &Config, out: &mut Effects) -> Option<Transition> {
        if self.won(config) {
            return Some(match self.stage {
                Stage::PreVote => Transition::Campaign(VoteKind::Election),
                Stage::Vote { .. } => Transition::Lead,
            });
        }
        let refused = |node| self.votes.get(&node) == Some(&false);
        if config.quorum_min(|node| u64::from(!refused(node))) == 0 {
            out.note(Note::ElectionLost);
            return Some(Transition::Follow { leader: None });
        }
        None
    }

    fn won(&self, config: &Config) -> bool {
        let voted = |node| u64::from(self.votes.get(&node) == Some(&true));
        if planted!("elected_by_the_new_majority_alone") {
            return config.new_quorum_min(voted) == 1;
        }
        config.quorum_min(voted) == 1
    }
}
