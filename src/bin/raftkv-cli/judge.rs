//! One sentence on a cluster: that it is well, or what is wrong with it and since when.

use std::collections::BTreeMap;

use raftkv::proto::proto::{Member, member::Suffrage};

use crate::view::{Majority, STANDSTILL_MS, View, list, span};

/// What is to say of a cluster.
pub struct Judgement {
    /// Nothing is wrong.
    pub is_healthy: bool,
    /// How many more nodes can fail; negative when too many have.
    pub tolerates: i64,
    /// The sentence.
    pub sentence: String,
}

/// Judges what the nodes said; one did at least.
pub fn judge(view: &View) -> Judgement {
    let majorities = view.majorities();
    let tolerates = majorities.iter().map(Majority::tolerates).min();
    let tolerates = tolerates.unwrap_or(-1);
    let wrong = wrong(view);
    let all_there = majorities
        .iter()
        .all(|it| it.reachable == it.voters.len() && !it.voters.is_empty());
    let is_well = all_there && tolerates >= 0 && view.leader().is_some() && wrong.is_empty();
    let mut sentence = match (majorities.is_empty(), view.leader()) {
        (true, _) => "no members: it waits to be added to a cluster".to_owned(),
        (false, Some(_)) if tolerates >= 0 => led(view, &majorities, tolerates, is_well),
        _ => leaderless(view, &majorities, tolerates),
    };
    if !wrong.is_empty() {
        sentence += &format!(" ({})", wrong.join("; "));
    }
    let alarm = alarm(view);
    let is_healthy = is_well && alarm.is_none();
    if let Some(alarm) = alarm {
        sentence = format!("ALARM: {alarm}; {sentence}");
    }
    Judgement {
        is_healthy,
        tolerates,
        sentence,
    }
}

fn led(view: &View, majorities: &[Majority], tolerates: i64, is_well: bool) -> String {
    let is_joint = view.members().is_some_and(|members| members.joint);
    let head = match (is_well, is_joint) {
        (false, _) => "degraded",
        (true, true) => "changing members",
        (true, false) => "healthy",
    };
    let failures = if tolerates == 1 {
        "failure"
    } else {
        "failures"
    };
    let counted = counted(majorities);
    format!("{head}: {counted} reachable, tolerates {tolerates} more {failures}")
}

fn leaderless(view: &View, majorities: &[Majority], tolerates: i64) -> String {
    let nodes = view.nodes.values();
    let without = nodes.filter(|node| node.status.leader.is_none());
    let since = without.map(|node| node.status.leader_for_ms).max();
    let since = since.map_or_else(String::new, |ms| format!(" for {}", span(ms)));
    let others = view.nodes.values().find_map(|node| node.status.leader);
    let head = match others.filter(|_| view.leader().is_none()) {
        _ if tolerates < 0 => format!("no quorum{since}"),
        Some(leader) => format!("no answer from the leader, node {leader}"),
        None => format!("no leader{since}"),
    };
    let needed = majorities.iter().map(|it| it.voters.len() / 2 + 1);
    let needed: Vec<String> = needed.map(|count| count.to_string()).collect();
    let (counted, needed) = (counted(majorities), needed.join(" and "));
    format!("{head}: {counted} reachable, {needed} needed")
}

/// How many voters are there, of how many.
fn counted(majorities: &[Majority]) -> String {
    let count = |it: &Majority| format!("{}/{}", it.reachable, it.voters.len());
    match majorities {
        [one] => format!("{} voters", count(one)),
        [old, new, ..] => format!("{} old and {} new voters", count(old), count(new)),
        [] => String::new(),
    }
}

/// What is wrong with single nodes.
fn wrong(view: &View) -> Vec<String> {
    let members = view.members().map(|members| members.members.as_slice());
    let members = members.unwrap_or_default().iter();
    members
        .filter_map(|member| wrong_with(view, member))
        .collect()
}

fn wrong_with(view: &View, member: &Member) -> Option<String> {
    let id = member.id;
    let name = match member.suffrage() {
        Suffrage::Learner => format!("node {id}, a learner,"),
        _ => format!("node {id}"),
    };
    let silence = view.silent.get(&member.client_address);
    let heard = view.follower(id).map(|it| span(it.last_contact_ms));
    match (view.nodes.get(&id), heard, silence) {
        (Some(node), ..) if node.status.age_ms >= STANDSTILL_MS => Some(format!(
            "{name} has stood still for {}: look at its disk",
            span(node.status.age_ms)
        )),
        (Some(_), Some(heard), _) if !view.is_reachable(id) => Some(format!(
            "{name} answers here, the leader last heard it {heard} ago: look at the network \
             between them"
        )),
        (Some(_), ..) => None,
        (None, Some(heard), _) if !view.is_reachable(id) => {
            Some(format!("{name} last seen {heard} ago"))
        }
        (None, _, Some(reason)) => Some(format!("{name} does not answer: {reason}")),
        (None, ..) => Some(format!("{name} has not said where it serves clients")),
    }
}

/// The states of nodes differ, which no failure that Raft tolerates leads to.
fn alarm(view: &View) -> Option<String> {
    let (index, known) = view.difference()?;
    let mut groups: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
    for (&id, &digest) in &known {
        groups.entry(digest).or_default().push(id);
    }
    let most = groups.values().find(|ids| 2 * ids.len() > known.len());
    let odd = known.keys().copied();
    let odd = odd.filter(|id| most.is_some_and(|most| !most.contains(id)));
    let odd = list(odd);
    Some(match odd.is_empty() {
        true => format!(
            "the states of nodes {} differ at index {index}; stop writing, back up, and compare \
             them with raftkv verify",
            list(known.keys().copied())
        ),
        false => format!(
            "the state of node {odd} is not that of the others at index {index}; stop node {odd}, \
             keep its directory for a report, and replace it"
        ),
    })
}

#[cfg(test)]
mod tests {
    use raftkv::proto::proto::{
        Follower, Member, Members, StateDigest, StatusResponse, member::Suffrage,
        status_response::Role,
    };

    use super::judge;
    use crate::view::{Node, View};

    fn members(suffrages: &[Suffrage]) -> Members {
        let member = |(id, suffrage): (usize, &Suffrage)| Member {
            id: id as u64,
            suffrage: (*suffrage).into(),
            client_address: format!("n{id}:1"),
            ..Member::default()
        };
        Members {
            committed: true,
            joint: suffrages.iter().any(|it| *it >= Suffrage::Joining),
            members: suffrages.iter().enumerate().map(member).collect(),
            ..Members::default()
        }
    }

    /// The answers of these nodes, of which the first leads and hears all others that answer.
    fn view(answering: &[u64], suffrages: &[Suffrage]) -> View {
        let ids = 0..suffrages.len() as u64;
        let answers = |id: &u64| answering.contains(id);
        let node = |id: u64| {
            let followers = ids.clone().filter(|other| *other != id);
            let followers = followers.map(|other| Follower {
                node_id: other,
                last_contact_ms: if answers(&other) { 50 } else { 4_200 },
                ..Follower::default()
            });
            let is_leader = id == answering[0];
            let status = StatusResponse {
                node_id: id,
                role: if is_leader {
                    Role::Leader
                } else {
                    Role::Follower
                }
                .into(),
                leader: Some(answering[0]),
                members: Some(members(suffrages)),
                followers: followers.filter(|_| is_leader).collect(),
                election_timeout_ms: 150,
                ..StatusResponse::default()
            };
            let endpoint = format!("n{id}:1");
            (id, Node { endpoint, status })
        };
        let silent = ids.clone().filter(|id| !answers(id));
        View {
            nodes: answering.iter().copied().map(node).collect(),
            strangers: Vec::new(),
            silent: silent
                .map(|id| (format!("n{id}:1"), "refused".to_owned()))
                .collect(),
        }
    }

    /// The same without a leader.
    fn leaderless(answering: &[u64], voters: usize) -> View {
        let mut view = view(answering, &vec![Suffrage::Voter; voters]);
        for node in view.nodes.values_mut() {
            node.status.set_role(Role::Follower);
            node.status.leader = None;
            node.status.leader_for_ms = 1_200 + node.status.node_id;
        }
        view
    }

    fn said(view: &View) -> (bool, String) {
        let judgement = judge(view);
        (judgement.is_healthy, judgement.sentence)
    }

    #[test]
    fn all_is_well_when_every_voter_is_there() {
        for (voters, tolerated) in [
            (1, "0 more failures"),
            (2, "0 more failures"),
            (3, "1 more failure"),
            (4, "1 more failure"),
            (5, "2 more failures"),
        ] {
            let all: Vec<u64> = (0..voters as u64).collect();
            let sentence =
                format!("healthy: {voters}/{voters} voters reachable, tolerates {tolerated}");
            let view = view(&all, &vec![Suffrage::Voter; voters]);
            assert_eq!(said(&view), (true, sentence));
        }
    }

    #[test]
    fn who_is_missing_is_named_with_the_time_that_the_leader_last_heard_it() {
        let (is_healthy, sentence) = said(&view(&[1, 2], &[Suffrage::Voter; 3]));
        assert!(!is_healthy);
        assert_eq!(
            sentence,
            "degraded: 2/3 voters reachable, tolerates 0 more failures (node 0 last seen 4.2s ago)"
        );
        let mut suffrages = vec![Suffrage::Voter; 3];
        suffrages.push(Suffrage::Learner);
        let (is_healthy, sentence) = said(&view(&[0, 1, 2], &suffrages));
        assert!(!is_healthy);
        assert_eq!(
            sentence,
            "degraded: 3/3 voters reachable, tolerates 1 more failure (node 3, a learner, last \
             seen 4.2s ago)"
        );
    }

    #[test]
    fn a_change_counts_both_majorities_and_the_worse_one_decides() {
        use Suffrage::{Joining, Leaving, Voter};
        let (is_healthy, sentence) = said(&view(&[0, 1, 2, 3], &[Voter, Voter, Leaving, Joining]));
        assert!(is_healthy);
        assert_eq!(
            sentence,
            "changing members: 3/3 old and 3/3 new voters reachable, tolerates 1 more failure"
        );
        // The old one is gone, and with another it would be too much.
        let (is_healthy, sentence) = said(&view(&[0, 1, 3], &[Voter, Voter, Leaving, Joining]));
        assert!(!is_healthy);
        assert!(
            sentence.starts_with(
                "degraded: 2/3 old and 3/3 new voters reachable, tolerates 0 more failures"
            ),
            "{sentence}"
        );
    }

    #[test]
    fn without_a_majority_it_says_so_and_since_when() {
        let (is_healthy, sentence) = said(&leaderless(&[2], 3));
        assert!(!is_healthy);
        assert_eq!(
            sentence,
            "no quorum for 1.2s: 1/3 voters reachable, 2 needed (node 0 does not answer: refused; \
             node 1 does not answer: refused)"
        );
        let (is_healthy, sentence) = said(&leaderless(&[0, 1, 2], 3));
        assert!(!is_healthy);
        assert_eq!(
            sentence,
            "no leader for 1.2s: 3/3 voters reachable, 2 needed"
        );
    }

    #[test]
    fn a_leader_that_others_know_and_that_does_not_answer_is_named() {
        let mut view = view(&[0, 1, 2], &[Suffrage::Voter; 3]);
        view.nodes.remove(&0);
        view.silent.insert("n0:1".to_owned(), "refused".to_owned());
        let (is_healthy, sentence) = said(&view);
        assert!(!is_healthy);
        assert_eq!(
            sentence,
            "no answer from the leader, node 0: 2/3 voters reachable, 2 needed (node 0 does not \
             answer: refused)"
        );
    }

    #[test]
    fn a_cut_between_nodes_and_a_loop_that_stands_still_are_told_apart() {
        let mut view = view(&[0, 1, 2], &[Suffrage::Voter; 3]);
        let leader = view.nodes.get_mut(&0).expect("there");
        leader.status.followers[0].last_contact_ms = 7_000;
        view.nodes.get_mut(&2).expect("there").status.age_ms = 3_000;
        let (is_healthy, sentence) = said(&view);
        assert!(!is_healthy);
        assert!(
            sentence.contains("node 1 answers here, the leader last heard it 7.0s ago"),
            "{sentence}"
        );
        assert!(
            sentence.contains("node 2 has stood still for 3.0s"),
            "{sentence}"
        );
    }

    #[test]
    fn states_that_differ_at_a_common_index_are_an_alarm() {
        let mut view = view(&[0, 1, 2], &[Suffrage::Voter; 3]);
        let at = |index, digest: u8| StateDigest {
            index,
            digest: vec![digest; 16].into(),
        };
        for (id, digest, applied) in [(0, 1, 4_100), (1, 1, 3_900), (2, 2, 4_200)] {
            let status = &mut view.nodes.get_mut(&id).expect("there").status;
            status.digests = vec![at(1_000, 7), at(3_000, digest)];
            // Of different indices: nothing to compare.
            status.digest = Some(at(applied, id as u8));
        }
        let (is_healthy, sentence) = said(&view);
        assert!(!is_healthy);
        assert!(
            sentence.starts_with(
                "ALARM: the state of node 2 is not that of the others at index 3000; stop node 2"
            ),
            "{sentence}"
        );
        assert_eq!(view.common_digests().expect("some").0, 3_000);
        let status = &mut view.nodes.get_mut(&2).expect("there").status;
        status.digests[1] = at(3_000, 1);
        assert!(said(&view).0);
    }

    #[test]
    fn one_who_waits_to_be_added_knows_no_members() {
        let mut view = view(&[0], &[]);
        view.nodes
            .get_mut(&0)
            .expect("there")
            .status
            .set_role(Role::Follower);
        let (is_healthy, sentence) = said(&view);
        assert!(!is_healthy);
        assert!(sentence.starts_with("no members"), "{sentence}");
    }
}
