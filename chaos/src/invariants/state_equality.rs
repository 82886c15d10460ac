//! I14: at equal index all nodes have equal states, in every byte. The digest of what each entry
//! touched is compared at every apply, whole images now and then and at the end, so that a
//! difference shows where it arose and not where a client happened to read it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raftkv::{
    kv::{Command, Kv},
    raft::{Index, NodeId},
};

use super::{hold, ledger::Ledger};
use crate::digest;

/// Whole images are compared at each index that this divides.
const IMAGE_EVERY: u64 = 16;

/// The digests after each index, by whoever applied it first.
#[derive(Debug, Default)]
pub(super) struct StateEquality {
    touched: Vec<Option<(u64, NodeId)>>,
    images: BTreeMap<Index, (u64, NodeId)>,
    /// Where the search for the command of an index goes on, for each node in turn.
    hint: usize,
    /// What the committed log leads to, by the shipped state machine.
    model: Kv,
    /// The digest of the model after each index, and of that before the first.
    wholes: Vec<Whole>,
    keys: BTreeSet<Bytes>,
}

/// The digest of a whole state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Whole {
    /// The sum over all keys, so that a change of one key costs no look at the others.
    sum: u64,
    keys: u64,
    revision: u64,
}

fn of_key(kv: &Kv, key: &Bytes) -> u64 {
    kv.get(key).map_or(0, |stored| {
        let text = digest::bytes(digest::bytes(1, key), &stored.value);
        let numbers = [stored.create_revision, stored.mod_revision, stored.version];
        numbers.into_iter().fold(text, digest::number)
    })
}

impl StateEquality {
    /// An entry is committed.
    pub(super) fn committed(&mut self, command: Option<&Command>) {
        let Whole { mut sum, .. } = self.wholes.last().copied().unwrap_or_default();
        if self.wholes.is_empty() {
            self.wholes.push(Whole::default());
        }
        if let Some(command) = command {
            let (Command::Put { key, .. } | Command::Delete { key }) = command;
            sum = sum.wrapping_sub(of_key(&self.model, key));
            self.model.apply(command.clone());
            sum = sum.wrapping_add(of_key(&self.model, key));
            self.keys.insert(key.clone());
        }
        let (keys, revision) = (self.model.len() as u64, self.model.revision());
        self.wholes.push(Whole {
            sum,
            keys,
            revision,
        });
    }

    /// Whether a state is the one that the committed log leads to at `index`.
    pub(super) fn is_whole(&self, index: Index, kv: &Kv) -> bool {
        let sums = self.keys.iter().map(|key| of_key(kv, key));
        let whole = Whole {
            sum: sums.fold(0, u64::wrapping_add),
            keys: kv.len() as u64,
            revision: kv.revision(),
        };
        let known = self.wholes.get(index.0 as usize).copied();
        known.unwrap_or_default() == whole
    }

    /// A node has a state that it did not come to entry by entry.
    pub(super) fn loaded(&self, node: NodeId, index: Index, kv: &Kv) {
        hold!(
            StateEquality,
            self.is_whole(index, kv),
            "n{node} has loaded another state at {index} than the log leads to"
        );
    }

    pub(super) fn applied(&mut self, node: NodeId, index: Index, kv: &Kv, ledger: &Ledger) {
        let command = self.command_at(index, ledger);
        let mut now = digest::number(kv.revision(), kv.len() as u64);
        if let Some(Command::Put { key, .. } | Command::Delete { key }) = command {
            now = digest::bytes(now, key);
            if let Some(stored) = kv.get(key) {
                now = digest::bytes(now, &stored.value);
                for number in [stored.create_revision, stored.mod_revision, stored.version] {
                    now = digest::number(now, number);
                }
            }
        }
        let at = index.0 as usize;
        if self.touched.len() <= at {
            self.touched.resize(at + 1, None);
        }
        let (first, by) = *self.touched[at].get_or_insert((now, node));
        hold!(
            StateEquality,
            first == now,
            "n{by} and n{node} differ after applying {index}"
        );
        if index.0.is_multiple_of(IMAGE_EVERY) {
            self.same_image(node, index, kv);
        }
    }

    /// Compares the whole state of a node with those of others that had applied as far.
    pub(super) fn same_image(&mut self, node: NodeId, index: Index, kv: &Kv) {
        let image = digest::bytes(0, &kv.image());
        let (first, by) = *self.images.entry(index).or_insert((image, node));
        hold!(
            StateEquality,
            first == image,
            "the states of n{by} and n{node} differ at {index}"
        );
    }

    /// The command at an index. Nodes apply in order, so the next one is mostly near the last.
    fn command_at<'a>(&mut self, index: Index, ledger: &'a Ledger) -> Option<&'a Command> {
        let commands = ledger.commands();
        let near = commands
            .get(self.hint)
            .filter(|(pos, _)| pos.index == index);
        let at = match near {
            Some(_) => self.hint,
            None => commands
                .binary_search_by_key(&index, |(pos, _)| pos.index)
                .ok()?,
        };
        self.hint = at + 1;
        Some(&commands[at].1)
    }
}
