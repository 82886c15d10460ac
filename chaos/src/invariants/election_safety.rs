//! I1, Election Safety (Figure 3, §5.2): at most one leader in a term. Without it two nodes give
//! out different entries for the same term and index, and every other property rests on sand.

use std::collections::BTreeMap;

use raftkv::raft::{NodeId, Term};

use super::{Step, hold, one_vote::OneVote};

/// Who has led which term.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<Term, NodeId>,
}

impl ElectionSafety {
    pub(super) fn elected(&mut self, step: &Step, votes: &OneVote) {
        let (id, term) = (step.after.id, step.after.hard.term);
        let first = *self.leaders.entry(term).or_insert(id);
        hold!(
            ElectionSafety,
            first == id,
            "n{first} and n{id} both lead term {term}"
        );
        // It may count on nobody's vote but those that were given, and its own is on its disk.
        let all = step.shadows.len();
        let own = usize::from(step.shadow().synced().hard.vote == Some(id));
        let given = own + votes.given(term, id);
        hold!(
            ElectionSafety,
            given > all / 2,
            "n{id} leads term {term} by {given} of {all} votes"
        );
    }
}
