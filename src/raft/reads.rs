//! Linearizable reads without a log entry (§8, th. 6.4): note the commit index, learn from a
//! majority that no newer leader existed after that, serve once the index is applied.

use std::collections::VecDeque;

use super::types::{Index, Round, Token};

/// Reads that a leader has not confirmed yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// The newest round. Rounds are never reused within a term, not even for a retry: an answer
    /// to an earlier question must not confirm a later read (etcd-io/raft #397).
    pub(super) round: Round,
    pub(super) begun: VecDeque<(Round, Index, Vec<Token>)>,
    /// Came before this term's first commit.
    pub(super) waiting: Vec<Token>,
}

impl Reads {
    pub(super) fn round(&self) -> Round {
        self.round
    }

    pub(super) fn wait(&mut self, tokens: Vec<Token>) {
        self.waiting.extend(tokens);
    }

    pub(super) fn take_waiting(&mut self) -> Option<Vec<Token>> {
        (!self.waiting.is_empty()).then(|| std::mem::take(&mut self.waiting))
    }

    /// Begins a round for reads that arrived while `commit` was the commit index.
    pub(super) fn begin(&mut self, commit: Index, tokens: Vec<Token>) {
        let joins = planted!("read_joins_a_round_under_way") && !self.begun.is_empty();
        let repeats = planted!("read_round_reused") && self.round > Round::ZERO;
        if !joins && !repeats {
            self.round = self.round.next();
        }
        self.begun.push_back((self.round, commit, tokens));
    }

    /// Takes the reads of all rounds up to `round`, with the index that suffices for them all.
    pub(super) fn confirm(&mut self, round: Round) -> Option<(Index, Vec<Token>)> {
        let mut served: Option<(Index, Vec<Token>)> = None;
        while let Some((begun, _, _)) = self.begun.front()
            && *begun <= round
        {
            let (_, index, tokens) = self.begun.pop_front().expect("just seen");
            match &mut served {
                None => served = Some((index, tokens)),
                Some((latest, all)) => {
                    *latest = index;
                    all.extend(tokens);
                }
            }
        }
        served
    }

    pub(super) fn take_all(&mut self) -> Vec<Token> {
        let begun = std::mem::take(&mut self.begun);
        let mut tokens: Vec<Token> = begun
            .into_iter()
            .flat_map(|(_, _, tokens)| tokens)
            .collect();
        tokens.append(&mut self.waiting);
        tokens
    }
}
