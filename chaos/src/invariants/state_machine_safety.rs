//! I6, State Machine Safety (Figure 3, §5.4.3): no two nodes apply different entries at one index.
//! What is applied must be what is committed there, and be on the node's own disk, or a crash
//! would leave a state machine ahead of its log.

use raftkv::raft::{Index, NodeId};

use super::{Shadow, hold, ledger::Ledger};

/// A node applied the entry at `index`.
pub(super) fn check(node: NodeId, index: Index, shadow: &Shadow, ledger: &Ledger) {
    let applied = shadow.view().chain_at(index);
    let committed = ledger.get(index).map(|known| known.chain);
    hold!(
        StateMachineSafety,
        applied.is_some() && applied == committed,
        "n{node} applies another entry {index} than the one that is committed"
    );
    hold!(
        PersistBeforeReply,
        shadow.synced().chain_at(index) == applied,
        "n{node} applies {index}, which is not on its disk"
    );
}
