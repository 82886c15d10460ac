//! What a node's log says of consensus, in words for its operator.

use tracing::Level;

use crate::raft::{NodeId, Note, RoleChange, RoleName};

/// How important a note is. A probe for votes comes with each timeout for as long as a majority is
/// away, and changes nothing.
pub(super) fn level(note: &Note) -> Level {
    match note {
        Note::Campaign { pre_vote: true, .. } => Level::DEBUG,
        Note::Campaign { .. }
        | Note::Elected
        | Note::SteppedDown { .. }
        | Note::Truncated { .. }
        | Note::SnapshotTaken { .. }
        | Note::SnapshotOffered { .. }
        | Note::SnapshotInstalled { .. }
        | Note::ConfigAppended { .. }
        | Note::ConfigUndone
        | Note::ConfigCommitted { .. }
        | Note::CaughtUp { .. }
        | Note::ChangeDone { .. }
        | Note::ChangeGivenUp
        | Note::TransferBegun { .. }
        | Note::TransferGivenUp { .. } => Level::INFO,
        _ => Level::TRACE,
    }
}

/// A member sent what a correct one never sends.
pub(super) fn impossible(from: NodeId, what: &str) -> String {
    format!(
        "dropped a message of node {from} that no correct member sends ({what}); run the same \
         program on every node"
    )
}

/// A node's new role.
pub(super) fn role(change: &RoleChange) -> String {
    let RoleChange { role, term, leader } = change;
    match (role, leader) {
        (RoleName::Leader, _) => format!("leader of term {term}"),
        (RoleName::Follower, Some(leader)) => {
            format!("follower of term {term}, leader is node {leader}")
        }
        (RoleName::Candidate, _) => format!("candidate of term {term}"),
        (RoleName::Follower | RoleName::PreCandidate, _) => {
            format!("no leader known in term {term}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Term;

    #[test]
    fn a_campaign_is_told_and_a_probe_for_votes_is_not() {
        let campaign = |pre_vote| Note::Campaign {
            term: Term(3),
            pre_vote,
        };
        assert_eq!(level(&campaign(false)), Level::INFO);
        assert_eq!(level(&campaign(true)), Level::DEBUG);
    }

    #[test]
    fn a_role_is_told_with_its_term_and_the_leader() {
        let said = |name, leader: Option<u64>| {
            role(&RoleChange {
                role: name,
                term: Term(3),
                leader: leader.map(NodeId),
            })
        };
        assert_eq!(said(RoleName::Leader, Some(0)), "leader of term 3");
        assert_eq!(
            said(RoleName::Follower, Some(1)),
            "follower of term 3, leader is node 1"
        );
        assert_eq!(said(RoleName::Candidate, None), "candidate of term 3");
        for name in [RoleName::Follower, RoleName::PreCandidate] {
            assert_eq!(said(name, None), "no leader known in term 3");
        }
    }
}
