//! I14: at equal index all nodes have equal states, in every byte. The digest of what each entry
//! touched is compared at every apply, whole images now and then and at the end, so that a
//! difference shows where it arose and not where a client happened to read it.

use raftkv::{
    kv::{Command, Kv},
    raft::{Index, NodeId},
};

use super::{hold, ledger::Ledger, place_of};
use crate::digest;

/// Whole images are compared at each index that this divides.
const IMAGE_EVERY: u64 = 16;

/// The digests after each index, by whoever applied it first.
#[derive(Debug, Default)]
pub(super) struct StateEquality {
    touched: Vec<(u64, NodeId)>,
    images: std::collections::BTreeMap<Index, (u64, NodeId)>,
    /// Where the search for the command of an index goes on, for each node in turn.
    hint: usize,
}

impl StateEquality {
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
        let at = place_of(index).expect("entries begin at 1");
        if at == self.touched.len() {
            self.touched.push((now, node));
        }
        let (first, by) = self.touched[at];
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
