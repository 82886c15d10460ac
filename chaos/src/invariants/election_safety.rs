//! I1, Election Safety (Figure 3, §5.2): at most one leader in a term. Without it two nodes give
//! out different entries for the same term and index, and every other property rests on sand. A
//! leader has a majority of the votes, and of the pre-votes before; of both while its configuration
//! is joint (§6).

use std::collections::{BTreeMap, BTreeSet};

use raftkv::raft::{Message, NodeId, Status, Term};

use super::{
    Shadow, Step,
    configurations::{Configurations, number_at},
    hold,
    one_vote::OneVote,
};

/// Who has led which term.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<Term, NodeId>,
    /// For which term whom who gave a pre-vote.
    pre_votes: BTreeSet<(Term, NodeId, NodeId)>,
}

impl ElectionSafety {
    pub(super) fn said(&mut self, from: NodeId, to: NodeId, message: &Message) {
        if let Message::VoteReply {
            term,
            granted: true,
            pre_vote: true,
        } = message
        {
            self.pre_votes.insert((*term, to, from));
        }
    }

    /// A pre-candidate goes on to campaign in `term` (th. 9.6).
    pub(super) fn campaigns(
        &self,
        before: &Status,
        term: Term,
        shadow: &Shadow,
        configs: &Configurations,
    ) {
        let id = before.id;
        let by = number_at(shadow.view(), before.last.index);
        let given = |voter| voter == id || self.pre_votes.contains(&(term, id, voter));
        let few = configs.lacks(by, given);
        hold!(
            ElectionSafety,
            few.is_none(),
            "n{id} campaigns in term {term} by the pre-votes of {}",
            few.unwrap_or_default()
        );
    }

    pub(super) fn elected(&mut self, step: &Step, votes: &OneVote, configs: &Configurations) {
        let (id, term) = (step.after.id, step.after.hard.term);
        let first = *self.leaders.entry(term).or_insert(id);
        hold!(
            ElectionSafety,
            first == id,
            "n{first} and n{id} both lead term {term}"
        );
        // It may count on nobody's vote but those that were given, and its own is on its disk.
        let own = step.shadow().synced().hard.vote == Some(id);
        let given = |voter| match voter == id {
            true => own,
            false => votes.is_given(term, voter, id),
        };
        let few = configs.lacks(step.decides(), given);
        hold!(
            ElectionSafety,
            few.is_none(),
            "n{id} leads term {term} by the votes of {}",
            few.unwrap_or_default()
        );
    }
}
