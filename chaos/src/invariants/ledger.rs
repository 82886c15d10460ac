//! What is committed: the one log that the cluster has agreed on so far.

use std::collections::BTreeSet;

use raftkv::{
    kv::Command,
    raft::{Index, LogPos, Term},
};

use super::{configurations::Number, place_of, shadow::Link};

/// A committed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) pos: LogPos,
    /// The configuration as of it.
    pub(crate) config: Number,
    /// A digest of it and of all before it.
    pub(crate) chain: u64,
    /// The term of the leader that committed it.
    pub(crate) by: Term,
}

/// All committed entries, and the commands among them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Committed>,
    commands: Vec<(LogPos, Command)>,
    /// Terms in which the leader has committed an entry of its own.
    own_terms: BTreeSet<Term>,
}

impl Ledger {
    pub(crate) fn get(&self, index: Index) -> Option<Committed> {
        self.entries.get(place_of(index)?).copied()
    }

    /// The entries up to `upto`.
    pub(crate) fn links(&self, upto: Index) -> Vec<Link> {
        let entries = self.entries.iter().take(upto.0 as usize);
        let link = |known: &Committed| Link {
            term: known.pos.term,
            config: known.config,
            chain: known.chain,
        };
        entries.map(link).collect()
    }

    pub(crate) fn last(&self) -> Option<Committed> {
        self.entries.last().copied()
    }

    pub(crate) fn holds(&self, pos: LogPos) -> bool {
        self.get(pos.index).is_some_and(|known| known.pos == pos)
    }

    pub(crate) fn add(&mut self, committed: Committed) {
        let Committed { pos, by, .. } = committed;
        assert!(
            pos.index.0 == self.entries.len() as u64 + 1,
            "committed out of order"
        );
        if pos.term == by {
            self.own_terms.insert(by);
        }
        self.entries.push(committed);
    }

    pub(crate) fn add_command(&mut self, pos: LogPos, command: Option<Command>) {
        if let Some(command) = command {
            self.commands.push((pos, command));
        }
    }

    pub(crate) fn commands(&self) -> &[(LogPos, Command)] {
        &self.commands
    }

    /// Whether the leader of the term has committed an entry of its own.
    pub(crate) fn has_own_commit(&self, term: Term) -> bool {
        self.own_terms.contains(&term)
    }
}
