//! Who is in the cluster, where each is found, and whose data directory has which id. The log rules
//! who is a member; for where they are, what a node says itself comes first, then the log, then
//! `--peers`: so a cluster whose addresses all change at once still meets. Decisions only.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::raft::{Config, Description, Incarnation, NodeId};

/// Nodes that are no members and yet were heard. They wait to be added, or the configuration here
/// is behind; there are few, and whoever invents ids must not fill the memory.
const OTHERS_MAX: usize = 16;

/// What is known of the nodes of a cluster.
#[derive(Debug)]
pub(super) struct Roster {
    me: NodeId,
    /// `--peers`.
    given: BTreeMap<NodeId, String>,
    /// The members by the configuration in force, and by the newest that is committed.
    effective: Arc<Config>,
    committed: Arc<Config>,
    /// What each node said of itself when it was last met.
    heard: BTreeMap<NodeId, Description>,
    /// Of whom there is something new for the log.
    news: BTreeSet<NodeId>,
}

impl Roster {
    /// What a node starts with; `own` is what it says of itself.
    pub(super) fn new(
        me: NodeId,
        given: BTreeMap<NodeId, String>,
        config: Arc<Config>,
        own: Description,
    ) -> Roster {
        Roster {
            me,
            given,
            committed: Arc::clone(&config),
            effective: config,
            heard: BTreeMap::from([(me, own)]),
            news: BTreeSet::from([me]),
        }
    }

    /// Takes the configurations of the log. Returns whether either is another than before.
    pub(super) fn take_configs(
        &mut self,
        effective: &Arc<Config>,
        committed: &Arc<Config>,
    ) -> bool {
        let same =
            Arc::ptr_eq(effective, &self.effective) && Arc::ptr_eq(committed, &self.committed);
        if same {
            return false;
        }
        self.effective = Arc::clone(effective);
        self.committed = Arc::clone(committed);
        let members = self.heard.keys().filter(|node| effective.contains(**node));
        self.news.extend(members);
        true
    }

    /// Whether the node was a member once, and is none any more.
    pub(super) fn is_retired(&self, node: NodeId) -> bool {
        self.committed.retired().contains(&node)
    }

    /// Whether the node is a member by any configuration that may yet be in force.
    pub(super) fn is_member(&self, node: NodeId) -> bool {
        self.effective.contains(node) || self.committed.contains(node)
    }

    /// Whether the node is to be believed as a member: while none is known, those of `--peers` are.
    pub(super) fn is_expected(&self, node: NodeId) -> bool {
        let is_given = self.effective.members().is_empty() && self.given.contains_key(&node);
        is_given || self.is_member(node)
    }

    /// The data directory that the log binds the node to.
    pub(super) fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        let of = |config: &Config| config.members().get(&node)?.description.incarnation;
        of(&self.committed).or_else(|| of(&self.effective))
    }

    /// Who is bound to which data directory: by the log, and where it is silent, by what this node
    /// saw first.
    pub(super) fn pins(
        &self,
        seen: &BTreeMap<NodeId, Incarnation>,
    ) -> BTreeMap<NodeId, Incarnation> {
        let ids = self.effective.members().keys();
        let ids: BTreeSet<NodeId> = ids
            .chain(self.committed.members().keys())
            .copied()
            .collect();
        let pin = |node: &NodeId| self.incarnation(*node).or(seen.get(node).copied());
        ids.iter()
            .filter_map(|node| Some((*node, pin(node)?)))
            .collect()
    }

    /// A node was met, and said this of itself.
    pub(super) fn hear(&mut self, node: NodeId, said: Description) {
        if !self.is_member(node) {
            let others = self.heard.keys().filter(|&&node| !self.is_member(node));
            let others: Vec<NodeId> = others.copied().collect();
            if others.len() >= OTHERS_MAX && !others.contains(&node) {
                self.heard.remove(&others[0]);
            }
        }
        if self.heard.get(&node) != Some(&said) {
            self.news.insert(node);
            self.heard.insert(node, said);
        }
    }

    /// What members said of themselves and the log may not have yet.
    pub(super) fn take_news(&mut self) -> Vec<(NodeId, Description)> {
        let members = std::mem::take(&mut self.news);
        let members = members
            .into_iter()
            .filter(|node| self.effective.contains(*node));
        members
            .filter_map(|node| Some((node, self.heard.get(&node)?.clone())))
            .collect()
    }

    /// What the node said of itself when it was last met.
    pub(super) fn heard(&self, node: NodeId) -> Option<&Description> {
        self.heard.get(&node)
    }

    /// Where the node serves clients; empty while nobody has said.
    pub(super) fn client_address(&self, node: NodeId) -> String {
        let said = self.heard.get(&node).map(|said| &said.client_address);
        let logged = self.effective.members().get(&node);
        let logged = logged.map(|member| &member.description.client_address);
        let known = said.filter(|said| !said.is_empty()).or(logged);
        known.cloned().unwrap_or_default()
    }

    /// The nodes to keep a connection to, each with the places to try in turn. Beside the members
    /// these are the nodes that `is_there`: one may lead, or ask for a vote, by a configuration
    /// that has not come here. Who was removed keeps none.
    pub(super) fn wanted(
        &self,
        is_there: impl Fn(NodeId) -> bool,
    ) -> BTreeMap<NodeId, Vec<String>> {
        if self.is_retired(self.me) {
            return BTreeMap::new();
        }
        let members = self.effective.members().keys();
        let mut ids: BTreeSet<NodeId> = members
            .chain(self.committed.members().keys())
            .copied()
            .collect();
        if ids.is_empty() {
            ids.extend(self.given.keys());
        }
        ids.extend(self.heard.keys().filter(|node| is_there(**node)));
        let ids = ids.into_iter();
        ids.filter(|&node| node != self.me && !self.is_retired(node))
            .map(|node| (node, self.places(node)))
            .filter(|(_, places)| !places.is_empty())
            .collect()
    }

    fn places(&self, node: NodeId) -> Vec<String> {
        let said = self.heard.get(&node).map(|said| &said.peer_address);
        let logged = self.effective.members().get(&node);
        let logged = logged.map(|member| &member.description.peer_address);
        let mut places: Vec<String> = Vec::new();
        for place in [said, logged, self.given.get(&node)].into_iter().flatten() {
            if !place.is_empty() && !places.contains(place) {
                places.push(place.clone());
            }
        }
        places
    }

    /// The ids by which `--peers` and the members differ, if they do.
    pub(super) fn disagreement(&self) -> Option<String> {
        let members = self.effective.members();
        let (given, members): (Vec<NodeId>, Vec<NodeId>) = (
            self.given.keys().copied().collect(),
            members.keys().copied().collect(),
        );
        let differ = given != members && !members.is_empty();
        differ.then(|| {
            format!(
                "--peers names nodes {}, the data directory {}: the directory wins, since members \
                 change by raftkv-cli member; --peers only tells where to look for them",
                list(&given),
                list(&members)
            )
        })
    }
}

fn list(ids: &[NodeId]) -> String {
    let ids: Vec<String> = ids.iter().map(NodeId::to_string).collect();
    ids.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Addition, Change};

    const ME: NodeId = NodeId(0);

    fn at(address: &str) -> Description {
        Description {
            peer_address: address.to_owned(),
            client_address: format!("{address}0"),
            incarnation: None,
        }
    }

    fn given() -> BTreeMap<NodeId, String> {
        let peers = [(0, "given0:1"), (1, "given1:1"), (2, "given2:1")];
        peers.map(|(id, at)| (NodeId(id), at.to_owned())).into()
    }

    fn logged() -> Arc<Config> {
        let members = (0..3).map(|id| (NodeId(id), at(&format!("logged{id}:1"))));
        Arc::new(Config::described(members))
    }

    fn roster(config: Arc<Config>) -> Roster {
        Roster::new(ME, given(), config, at("own:1"))
    }

    fn replaced(config: &Config) -> Arc<Config> {
        let addition = Addition {
            votes: true,
            description: at("logged3:1"),
        };
        let change = Change {
            add: [(NodeId(3), addition)].into(),
            remove: [NodeId(2)].into(),
        };
        Arc::new(config.changed_by(&change))
    }

    #[test]
    fn what_a_node_says_comes_before_the_log_and_that_before_the_flag() {
        let mut roster = roster(logged());
        roster.hear(NodeId(1), at("said1:1"));
        let wanted = roster.wanted(|_| false);
        assert_eq!(
            wanted[&NodeId(1)],
            ["said1:1", "logged1:1", "given1:1"],
            "all three are tried: any may be out of date"
        );
        assert_eq!(wanted[&NodeId(2)], ["logged2:1", "given2:1"]);
        assert_eq!(roster.client_address(NodeId(1)), "said1:10");
        assert_eq!(roster.client_address(NodeId(2)), "logged2:10");
    }

    #[test]
    fn who_waits_to_be_added_asks_the_given_nodes_and_answers_whom_it_hears() {
        let mut roster = roster(Arc::new(Config::default()));
        assert_eq!(roster.wanted(|_| false).len(), 2, "not itself");
        roster.hear(NodeId(7), at("said7:1"));
        assert!(roster.wanted(|_| true).contains_key(&NodeId(7)));
        assert!(!roster.wanted(|_| false).contains_key(&NodeId(7)));
    }

    #[test]
    fn both_the_old_and_the_new_members_are_wanted_until_the_change_is_committed() {
        let old = logged();
        let joint = replaced(&old);
        let new = Arc::new(joint.settled());
        let mut roster = roster(Arc::clone(&old));
        assert!(roster.take_configs(&joint, &old));
        assert_eq!(roster.wanted(|_| false).len(), 3);
        assert!(roster.take_configs(&new, &joint));
        assert!(roster.wanted(|_| false).contains_key(&NodeId(2)));
        assert!(!roster.is_retired(NodeId(2)), "the change may be undone");
        assert!(roster.take_configs(&new, &new));
        assert!(!roster.wanted(|_| true).contains_key(&NodeId(2)));
        assert!(roster.is_retired(NodeId(2)));
        assert!(!roster.take_configs(&new, &new));
    }

    #[test]
    fn who_was_removed_talks_to_nobody() {
        let config = logged();
        let change = Change {
            remove: [ME].into(),
            ..Change::default()
        };
        let new = Arc::new(config.changed_by(&change).settled());
        let mut roster = roster(config);
        roster.take_configs(&new, &new);
        assert!(roster.wanted(|_| true).is_empty());
    }

    #[test]
    fn the_log_binds_an_id_to_a_data_directory_whatever_was_seen_first() {
        let mut members: BTreeMap<NodeId, Description> =
            (0..2).map(|id| (NodeId(id), at("a:1"))).collect();
        members.get_mut(&NodeId(1)).expect("there").incarnation = Some([1; 16]);
        let roster = roster(Arc::new(Config::described(members)));
        let seen = [
            (NodeId(0), [8; 16]),
            (NodeId(1), [9; 16]),
            (NodeId(5), [5; 16]),
        ];
        let pins = roster.pins(&seen.into());
        assert_eq!(
            pins,
            BTreeMap::from([(NodeId(0), [8; 16]), (NodeId(1), [1; 16])])
        );
    }

    #[test]
    fn news_of_a_node_is_told_when_it_is_a_member_and_once() {
        let config = logged();
        let mut roster = roster(Arc::clone(&config));
        assert_eq!(roster.take_news(), [(ME, at("own:1"))]);
        roster.hear(NodeId(3), at("said3:1"));
        assert!(roster.take_news().is_empty(), "no member yet");
        let joint = replaced(&config);
        roster.take_configs(&joint, &config);
        let told: Vec<NodeId> = roster
            .take_news()
            .into_iter()
            .map(|(node, _)| node)
            .collect();
        assert_eq!(told, [ME, NodeId(3)]);
        roster.hear(NodeId(3), at("said3:1"));
        assert!(roster.take_news().is_empty(), "nothing new");
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut roster = roster(logged());
        (10..999).for_each(|id| roster.hear(NodeId(id), at("x:1")));
        assert!(roster.heard.len() <= OTHERS_MAX + 3);
    }

    #[test]
    fn a_flag_that_disagrees_with_the_log_is_named() {
        let config = logged();
        assert_eq!(roster(Arc::clone(&config)).disagreement(), None);
        let text = roster(Arc::new(replaced(&config).settled())).disagreement();
        let text = text.expect("they differ");
        assert!(
            text.contains("names nodes 0,1,2, the data directory 0,1,3"),
            "{text}"
        );
    }
}
