//! I15, the read rule (§8, th. 6.4): a read shows everything that was acknowledged to any client
//! before it arrived; its leader had committed an entry of its own term; and a majority, of each
//! configuration in force (§6), has answered, in that term, a question that was asked after the
//! read arrived. Without the last one a leader that was replaced meanwhile serves what is no longer
//! true.

use std::collections::BTreeMap;

use raftkv::raft::{Index, NodeId, Status, Term, Token};

use super::{
    configurations::{Configurations, Number},
    hold,
    ledger::Ledger,
};

/// When a question left, and in which term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The term of the question.
    pub(crate) term: Term,
    /// The step of the simulation in which it was sent.
    pub(crate) step: u64,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    node: NodeId,
    term: Term,
    due: Index,
    step: u64,
    /// A majority has answered.
    is_confirmed: bool,
}

/// Reads that wait, and who has confirmed which leader since when.
#[derive(Debug, Default)]
pub(super) struct ReadRule {
    acknowledged: Index,
    reads: BTreeMap<Token, Read>,
    /// When the newest question of a leader in a term was sent that a follower has answered.
    answered: BTreeMap<(NodeId, Term, NodeId), u64>,
}

impl ReadRule {
    pub(super) fn acknowledged(&mut self, index: Index) {
        self.acknowledged = self.acknowledged.max(index);
    }

    pub(super) fn arrived(&mut self, token: Token, node: &Status, step: u64) {
        let read = Read {
            node: node.id,
            term: node.hard.term,
            due: self.acknowledged,
            step,
            is_confirmed: false,
        };
        self.reads.insert(token, read);
    }

    /// `leader` received the answer of `from` to a question of its present term.
    pub(super) fn answered(&mut self, leader: &Status, from: NodeId, asked: Asked) {
        if asked.term != leader.hard.term {
            return;
        }
        let key = (leader.id, asked.term, from);
        let newest = self.answered.entry(key).or_default();
        *newest = asked.step.max(*newest);
    }

    /// `leader` takes reads for confirmed, by this configuration.
    pub(super) fn confirmed(&mut self, leader: &Status, by: Number, configs: &Configurations) {
        let (node, term) = (leader.id, leader.hard.term);
        let its = |read: &&mut Read| read.node == node && read.term == term;
        for read in self.reads.values_mut().filter(its) {
            let since = |other| {
                let asked = self.answered.get(&(node, term, other));
                other == node || asked.is_some_and(|&asked| asked >= read.step)
            };
            read.is_confirmed |= configs.lacks(by, since).is_none();
        }
    }

    pub(super) fn served(&mut self, token: Token, at: Index, ledger: &Ledger) {
        let Read {
            node,
            term,
            due,
            is_confirmed,
            ..
        } = self.reads.remove(&token).expect("a read is answered once");
        hold!(
            ReadRule,
            at >= due,
            "n{node} serves t{token} at {at}, and {due} was acknowledged before it arrived"
        );
        hold!(
            ReadRule,
            ledger.has_own_commit(term),
            "n{node} serves t{token} before it has committed in its term {term}"
        );
        hold!(
            ReadRule,
            is_confirmed,
            "n{node} serves t{token}, which no majority has confirmed in term {term}"
        );
    }

    /// A read was refused, or its node is gone.
    pub(super) fn ended(&mut self, token: Token) {
        self.reads.remove(&token);
    }
}
