//! I8: what a leader commits is on the disks of a majority at that moment, of both while its
//! configuration is joint (§6), and the entry that moved the commit index is of the leader's own
//! term (§5.4.2, Figure 8). Disks are counted, not processes: a voter that has crashed since still
//! holds what it synced.

use raftkv::raft::{Index, LogPos, RoleName};

use super::{
    Step,
    configurations::{Configurations, number_at},
    hold, index_of,
    ledger::{Committed, Ledger},
    pos_in,
};

/// A node's commit index rose over `index`. Returns its position when nobody had committed it
/// before.
pub(super) fn check(
    step: &Step,
    ledger: &mut Ledger,
    configs: &Configurations,
    index: Index,
) -> Option<LogPos> {
    let (id, term) = (step.after.id, step.after.hard.term);
    let log = step.shadow().view();
    let pos = pos_in(log, index).expect("the log reaches to its commit index");
    let chain = log.chain_at(index).expect("just seen");
    if let Some(known) = ledger.get(index) {
        hold!(
            StateMachineSafety,
            known.chain == chain,
            "n{id} commits {pos}, where {} is committed",
            known.pos
        );
        return None;
    }
    hold!(
        CommittedOnQuorum,
        step.after.role == RoleName::Leader,
        "n{id} commits {pos}, and no leader did"
    );
    let newest = pos_in(log, step.after.commit).expect("the log reaches to its commit index");
    hold!(
        CommittedOnQuorum,
        newest.term == term,
        "n{id} commits {newest} by counting in term {term}"
    );
    let holds = |id| step.shadows[index_of(id)].synced().chain_at(index) == Some(chain);
    let few = configs.lacks(step.decides(), holds);
    hold!(
        CommittedOnQuorum,
        few.is_none(),
        "n{id} commits {pos}, which is on the disks of {}",
        few.unwrap_or_default()
    );
    ledger.add(Committed {
        pos,
        config: number_at(log, index),
        chain,
        by: term,
    });
    Some(pos)
}

/// Figure 2, `matchIndex`: what a leader takes for replicated is on that follower's disk, unless a
/// later term has taken it away since.
pub(super) fn matched(step: &Step) {
    let (id, term) = (step.after.id, step.after.hard.term);
    let log = step.shadow().view();
    for of in &step.after.progress {
        let (peer, index) = (of.node, of.matched);
        let disk = step.shadows[index_of(peer)].synced();
        hold!(
            CommittedOnQuorum,
            index == Index::ZERO
                || disk.hard.term > term
                || disk.chain_at(index) == log.chain_at(index),
            "n{id} leads term {term} and takes n{peer} to hold {index}, its disk ends {}",
            disk.last()
        );
    }
}
