//! I5, Leader Completeness (Figure 3, §5.4): an entry that is committed in a term is in the logs
//! of the leaders of all later terms. A leader without it would overwrite it on the others.

use raftkv::raft::{LogPos, RoleName};

use super::{Shadow, Step, hold, index_of, ledger::Ledger};

/// A node leads: it has all that earlier terms committed.
pub(super) fn elected(step: &Step, ledger: &Ledger) {
    let (id, term) = (step.after.id, step.after.hard.term);
    let Some(last) = ledger.last() else {
        return;
    };
    let log = step.shadow().view();
    let has = |index| ledger.get(index).map(|known| known.chain) == log.chain_at(index);
    hold!(
        LeaderCompleteness,
        last.by >= term || has(last.pos.index),
        "n{id} leads term {term} without {}, committed in term {}",
        last.pos,
        last.by
    );
}

/// A node replaces its log, as `log` has it still, by a snapshot that ends with `pos`: nothing that
/// is committed goes with that.
pub(super) fn installed(log: &Shadow, pos: LogPos, ledger: &Ledger) {
    let id = log.id;
    hold!(
        StateMachineSafety,
        ledger.holds(pos),
        "n{id} installs a snapshot of {pos}, which is not committed"
    );
    let next = pos.index.next();
    let lost = ledger.get(next).map(|known| known.chain);
    hold!(
        LeaderCompleteness,
        lost.is_none() || log.view().chain_at(next) != lost,
        "n{id} installs a snapshot of {pos} and drops {next}, which is committed"
    );
}

/// An entry is committed: leaders of later terms that are in office already have it.
pub(super) fn committed(step: &Step, pos: LogPos) {
    let term = step.after.hard.term;
    for other in step.live.iter().flatten() {
        let later = other.role == RoleName::Leader && other.hard.term > term;
        let (id, later_term) = (other.id, other.hard.term);
        hold!(
            LeaderCompleteness,
            !later || step.shadows[index_of(id)].view().holds(pos),
            "n{id} leads term {later_term} without {pos}, committed in term {term}"
        );
    }
}
