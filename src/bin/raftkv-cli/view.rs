//! What the nodes of a cluster say of themselves, put together, and what that means for an
//! operator. Any of them may be silent.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    thread,
    time::Duration,
};

use raftkv::{
    client::{self, Error},
    proto::proto::{Follower, Member, Members, StatusResponse, member::Suffrage, status_response},
};

/// A node that answers at all does so sooner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// A node that has not said anything new for so long waits for its disk.
pub const STANDSTILL_MS: u64 = 1_000;

/// A node that answered.
pub struct Node {
    /// Where it was asked.
    pub endpoint: String,
    /// What it said.
    pub status: StatusResponse,
}

/// The cluster, as far as its nodes answered.
pub struct View {
    /// Who answered, by id.
    pub nodes: BTreeMap<u64, Node>,
    /// Who answered with an id of these, and is of another cluster.
    pub strangers: Vec<Node>,
    /// Who did not, and why.
    pub silent: BTreeMap<String, String>,
}

/// The voters of one majority.
pub struct Majority {
    /// Who they are.
    pub voters: Vec<u64>,
    /// How many of them are reachable.
    pub reachable: usize,
}

impl Majority {
    /// How many more can fail; negative when too many have.
    pub fn tolerates(&self) -> i64 {
        let needed = self.voters.len() / 2 + 1;
        self.reachable as i64 - needed as i64
    }
}

impl Node {
    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        self.status.role() == status_response::Role::Leader
    }
}

impl View {
    /// Asks all endpoints, and all other nodes that those name, each once.
    ///
    /// # Errors
    /// When an endpoint is none.
    pub fn gather(endpoints: &[String], timeout: Duration) -> Result<View, Error> {
        let timeout = timeout.min(ANSWER_TIMEOUT);
        let mut view = View {
            nodes: BTreeMap::new(),
            strangers: Vec::new(),
            silent: BTreeMap::new(),
        };
        let mut asked = BTreeSet::new();
        let mut due: BTreeSet<String> = endpoints.iter().cloned().collect();
        while !due.is_empty() {
            for (endpoint, answer) in ask_all(&due, timeout) {
                match answer {
                    Ok(status) => view.take(endpoint, status),
                    Err(Error::Endpoint { endpoint }) => return Err(Error::Endpoint { endpoint }),
                    Err(error) => view.fail(endpoint, reason(error)),
                }
            }
            asked.append(&mut due);
            due = view.addresses().filter(|it| !asked.contains(it)).collect();
        }
        Ok(view)
    }

    fn take(&mut self, endpoint: String, status: StatusResponse) {
        let node = Node { endpoint, status };
        match self.nodes.entry(node.status.node_id) {
            Entry::Vacant(place) => {
                place.insert(node);
            }
            Entry::Occupied(known) if known.get().status.cluster_id != node.status.cluster_id => {
                self.strangers.push(node);
            }
            // The same one, by another address.
            Entry::Occupied(_) => {}
        }
    }

    fn fail(&mut self, endpoint: String, reason: String) {
        self.silent.insert(endpoint, reason);
    }

    /// Where the members that anybody names serve clients.
    pub fn addresses(&self) -> impl Iterator<Item = String> + '_ {
        let members = self.nodes.values().flat_map(Node::members);
        let addresses = members.map(|member| member.client_address.clone());
        addresses.filter(|address| !address.is_empty())
    }

    /// The clusters that the nodes belong to: one, if the endpoints are well chosen.
    pub fn clusters(&self) -> BTreeMap<&[u8], Vec<&Node>> {
        let mut clusters: BTreeMap<&[u8], Vec<&Node>> = BTreeMap::new();
        for node in self.nodes.values().chain(&self.strangers) {
            clusters
                .entry(&node.status.cluster_id)
                .or_default()
                .push(node);
        }
        clusters
    }

    /// Who leads: of two that say so, the one of the later term.
    pub fn leader(&self) -> Option<&Node> {
        let leaders = self.nodes.values().filter(|node| node.leads());
        leaders.max_by_key(|node| node.status.term)
    }

    /// The configuration in force, as the leader has it, or else the one who knows the latest.
    pub fn members(&self) -> Option<&Members> {
        let latest = |node: &&Node| {
            let members = node.status.members.as_ref();
            members.map(|members| members.index)
        };
        let node = self
            .leader()
            .or_else(|| self.nodes.values().max_by_key(latest))?;
        node.status.members.as_ref()
    }

    /// What the leader knows of a member.
    pub fn follower(&self, id: u64) -> Option<&Follower> {
        let mut followers = self.leader()?.status.followers.iter();
        followers.find(|follower| follower.node_id == id)
    }

    /// Whether a member is there: as the leader sees it, or without one, as we do.
    pub fn is_reachable(&self, id: u64) -> bool {
        let Some(leader) = self.leader() else {
            return self.nodes.contains_key(&id);
        };
        let recent_ms = 2 * leader.status.election_timeout_ms;
        let follower = self.follower(id);
        leader.status.node_id == id
            || follower.is_some_and(|follower| follower.last_contact_ms < recent_ms)
    }

    /// The majorities that decide: one, or both of a change under way.
    pub fn majorities(&self) -> Vec<Majority> {
        let Some(members) = self.members() else {
            return Vec::new();
        };
        let voters_beside = |suffrage: Suffrage| -> Vec<u64> {
            let members = members.members.iter();
            let voters = members.filter(|member| {
                member.suffrage() == Suffrage::Voter || member.suffrage() == suffrage
            });
            voters.map(|member| member.id).collect()
        };
        let mut sets = vec![voters_beside(Suffrage::Leaving)];
        if members.joint {
            sets.push(voters_beside(Suffrage::Joining));
        }
        let sets = sets.into_iter().filter(|voters| !voters.is_empty());
        sets.map(|voters| self.majority(voters)).collect()
    }

    /// How these voters are.
    pub fn majority(&self, voters: Vec<u64>) -> Majority {
        let reachable = voters.iter().filter(|id| self.is_reachable(**id)).count();
        Majority { voters, reachable }
    }

    /// The digests that each node knows, by index.
    fn digests(&self) -> BTreeMap<u64, BTreeMap<u64, &[u8]>> {
        let mut digests: BTreeMap<u64, BTreeMap<u64, &[u8]>> = BTreeMap::new();
        for (&id, node) in &self.nodes {
            for at in node.status.digests.iter().chain(&node.status.digest) {
                digests.entry(at.index).or_default().insert(id, &at.digest);
            }
        }
        digests
    }

    /// The latest index at which the most nodes know their state's digest, and those.
    pub fn common_digests(&self) -> Option<(u64, BTreeMap<u64, &[u8]>)> {
        let digests = self.digests().into_iter();
        digests.max_by_key(|(index, known)| (known.len(), *index))
    }

    /// The first index at which nodes are known to differ, and what each has.
    pub fn difference(&self) -> Option<(u64, BTreeMap<u64, &[u8]>)> {
        let differ = |known: &BTreeMap<u64, &[u8]>| {
            let mut digests = known.values();
            let first = digests.next();
            digests.any(|digest| Some(digest) != first)
        };
        let digests = self.digests().into_iter();
        digests.into_iter().find(|(_, known)| differ(known))
    }
}

impl Node {
    fn members(&self) -> impl Iterator<Item = &Member> {
        let members = self.status.members.iter();
        members.flat_map(|members| &members.members)
    }
}

fn ask_all(
    endpoints: &BTreeSet<String>,
    timeout: Duration,
) -> Vec<(String, Result<StatusResponse, Error>)> {
    thread::scope(|scope| {
        let asking: Vec<_> = endpoints
            .iter()
            .map(|endpoint| {
                let ask = scope.spawn(move || client::node_status(endpoint, timeout));
                (endpoint.clone(), ask)
            })
            .collect();
        let answers = asking.into_iter();
        answers
            .map(|(endpoint, ask)| (endpoint, ask.join().expect("asking does not panic")))
            .collect()
    })
}

/// What a node that did not answer is told to be.
pub fn reason(error: Error) -> String {
    match error {
        Error::Unavailable { reason, .. } => reason,
        error => error.to_string(),
    }
}

/// A span of time as people say it.
pub fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{}s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{}h{}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Ids as people list them.
pub fn list(ids: impl IntoIterator<Item = u64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    ids.join(", ")
}
