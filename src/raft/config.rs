//! Who the members are, which of them vote, and when enough of them have (§6).

use std::collections::{BTreeMap, BTreeSet};

use arrayvec::ArrayVec;
use bytes::Bytes;

use super::types::NodeId;

/// A cluster has no more members than this. Each costs the leader a copy of every write.
pub const MEMBERS_MAX: usize = 9;
/// Those that come and those that go, while both are there.
const MEMBERS_MAX_JOINT: usize = 2 * MEMBERS_MAX;
/// An address is no longer than this: a host name of 253 bytes, a colon and a port.
pub const ADDRESS_MAX_BYTES: usize = 259;

/// 16 random bytes, drawn for each new data directory: what tells it from its successors.
pub type Incarnation = [u8; 16];

/// In which elections and commits a member has a voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suffrage {
    /// In all of them; while a change is under way, in both majorities.
    Voter,
    /// In none: it takes the log, and may become a voter (th. 4.2.1).
    Learner,
    /// Only in C_new's, while the configuration is C_old,new.
    Joining,
    /// Only in C_old's, while the configuration is C_old,new.
    Leaving,
}

/// What is known of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it has a voice.
    pub suffrage: Suffrage,
    /// How it is found, and told from another with its id.
    pub description: Description,
}

/// How a member is found, and told from another with its id. Consensus passes it on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Where it accepts other members; empty when nobody has said.
    pub peer_address: String,
    /// Where it serves clients; empty when nobody has said.
    pub client_address: String,
    /// Its data directory, once that has been seen.
    pub incarnation: Option<Incarnation>,
}

/// The members, as an entry of the log has them (§6). It is C_old,new as long as anyone is joining
/// or leaving, and needs both majorities for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    members: BTreeMap<NodeId, Member>,
    /// Members of the past. An id is never used twice: who had it may have voted in a term of
    /// today, and its successor does not know.
    retired: BTreeSet<NodeId>,
    /// Who votes in C_old and in C_new; the same when there is but one. From `members`.
    old: Vec<NodeId>,
    new: Vec<NodeId>,
}

impl Config {
    /// A configuration of these voters, of which nothing else is known. With none, nothing can be
    /// decided: that of a node which waits to be added.
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Config {
        Config::described(voters.into_iter().map(|id| (id, Description::default())))
    }

    /// A configuration of these voters.
    pub fn described(voters: impl IntoIterator<Item = (NodeId, Description)>) -> Config {
        let voter = |(id, description)| {
            let suffrage = Suffrage::Voter;
            let member = Member {
                suffrage,
                description,
            };
            (id, member)
        };
        Config::of(voters.into_iter().map(voter).collect(), BTreeSet::new())
    }

    fn of(members: BTreeMap<NodeId, Member>, retired: BTreeSet<NodeId>) -> Config {
        let with = |a, b| {
            let has = move |member: &Member| member.suffrage == a || member.suffrage == b;
            let ids = members.iter().filter(move |(_, member)| has(member));
            ids.map(|(&id, _)| id).collect()
        };
        let old = with(Suffrage::Voter, Suffrage::Leaving);
        let new = with(Suffrage::Voter, Suffrage::Joining);
        Config {
            members,
            retired,
            old,
            new,
        }
    }

    /// The members, by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Members of the past, whose ids are never used again.
    #[must_use]
    pub fn retired(&self) -> &BTreeSet<NodeId> {
        &self.retired
    }

    /// Whether the node is a member.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// Whether the node votes, in either majority.
    #[must_use]
    pub fn votes(&self, node: NodeId) -> bool {
        self.old.contains(&node) || self.new.contains(&node)
    }

    /// Whether the node will vote when what is under way is done.
    #[must_use]
    pub fn votes_in_new(&self, node: NodeId) -> bool {
        self.new.contains(&node)
    }

    /// Who votes, in either majority, by id.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let ids = self.members.keys().copied();
        ids.filter(|&node| self.votes(node))
    }

    /// The majorities that decide: one, or C_old's and C_new's.
    pub fn majorities(&self) -> impl Iterator<Item = &[NodeId]> {
        let new = self.is_joint().then_some(self.new.as_slice());
        std::iter::once(self.old.as_slice()).chain(new)
    }

    /// Whether this is C_old,new (§6).
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.old != self.new
    }

    /// The largest number that a majority of the voters has reached, and while the configuration
    /// is joint, a majority of each half (§6); 0 where nobody votes. Commits count log indices with
    /// it, reads count rounds, check-quorum counts ticks, elections count votes: one rule, so that
    /// there is one place to get it right.
    pub fn quorum_min(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        if planted!("majority_of_the_union") {
            let union: Vec<NodeId> = self.voters().collect();
            return majority_min(&union, value);
        }
        if planted!("learner_counts_in_the_quorum") && !self.is_joint() {
            let all: Vec<NodeId> = self.members.keys().copied().collect();
            return majority_min(&all, value);
        }
        let old = majority_min(&self.old, &value);
        match self.is_joint() {
            true => old.min(majority_min(&self.new, value)),
            false => old,
        }
    }

    /// As [`Config::quorum_min`] would be without the old majority.
    pub(super) fn new_quorum_min(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        majority_min(&self.new, value)
    }

    /// As [`Config::quorum_min`] would be without the new majority.
    pub(super) fn old_quorum_min(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        majority_min(&self.old, value)
    }

    /// Whether a log may have this next after `before`: from C_old one gets to C_new through
    /// C_old,new only (§6). Anything may follow where nobody votes: that is the configuration 0 of
    /// a node which waits to be added, and of snapshots that it took before it knew better.
    pub(super) fn follows(&self, before: &Config) -> bool {
        let same = before.old == self.old && before.new == self.new;
        let begins = !before.is_joint() && self.old == before.old;
        let ends = before.is_joint() && !self.is_joint() && self.new == before.new;
        let knows_none = before.old.is_empty() && before.new.is_empty();
        same || begins || ends || knows_none
    }

    /// The configuration that a change begins with: who is to vote takes the log first.
    #[must_use]
    pub fn with_learners(&self, change: &Change) -> Config {
        let mut members = self.members.clone();
        for (&id, addition) in &change.add {
            let learner = Member {
                suffrage: Suffrage::Learner,
                description: addition.description.clone(),
            };
            members.entry(id).or_insert(learner);
        }
        Config::of(members, self.retired.clone())
    }

    /// C_old,new of a change; where no voter comes or goes, what it leads to.
    #[must_use]
    pub fn changed_by(&self, change: &Change) -> Config {
        let Config {
            mut members,
            mut retired,
            ..
        } = self.with_learners(change);
        for (id, addition) in &change.add {
            let member = members.get_mut(id).expect("a member by now");
            if addition.votes && member.suffrage == Suffrage::Learner {
                member.suffrage = Suffrage::Joining;
            }
        }
        for id in &change.remove {
            match members.get_mut(id) {
                Some(member) if member.suffrage == Suffrage::Voter => {
                    member.suffrage = Suffrage::Leaving;
                }
                Some(_) => {
                    members.remove(id);
                    retired.insert(*id);
                }
                None => {}
            }
        }
        Config::of(members, retired)
    }

    /// C_new of C_old,new.
    #[must_use]
    pub fn settled(&self) -> Config {
        let mut retired = self.retired.clone();
        let mut members = BTreeMap::new();
        for (&id, member) in &self.members {
            let mut member = member.clone();
            match member.suffrage {
                Suffrage::Leaving => {
                    retired.insert(id);
                    continue;
                }
                Suffrage::Joining => member.suffrage = Suffrage::Voter,
                Suffrage::Voter | Suffrage::Learner => {}
            }
            members.insert(id, member);
        }
        Config::of(members, retired)
    }

    /// With what is known by now of its members. An incarnation, once there, stays.
    #[must_use]
    pub fn redescribed(&self, known: &BTreeMap<NodeId, Description>) -> Config {
        let mut members = self.members.clone();
        for (id, member) in &mut members {
            if let Some(said) = known.get(id) {
                let incarnation = member.description.incarnation.or(said.incarnation);
                member.description = Description {
                    incarnation,
                    ..said.clone()
                };
            }
        }
        Config::of(members, self.retired.clone())
    }

    /// As an entry of the log carries it, in a form that only equal configurations share:
    ///
    /// ```text
    /// number of members 2 │ number of retired ids 4
    /// member   id 8 │ suffrage 1 │ incarnation is known 1 │ incarnation 16
    ///          peer address: length 2, bytes │ client address: length 2, bytes
    /// retired  id 8
    /// ```
    ///
    /// Numbers are little-endian, ids rise.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.extend_from_slice(&(self.members.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.retired.len() as u32).to_le_bytes());
        for (id, member) in &self.members {
            let description = &member.description;
            out.extend_from_slice(&id.0.to_le_bytes());
            out.push(member.suffrage as u8);
            out.push(u8::from(description.incarnation.is_some()));
            out.extend_from_slice(&description.incarnation.unwrap_or_default());
            for address in [&description.peer_address, &description.client_address] {
                let bytes = address.len();
                assert!(bytes <= ADDRESS_MAX_BYTES, "an address of {bytes} bytes");
                out.extend_from_slice(&(address.len() as u16).to_le_bytes());
                out.extend_from_slice(address.as_bytes());
            }
        }
        for id in &self.retired {
            out.extend_from_slice(&id.0.to_le_bytes());
        }
        out.into()
    }

    /// Reads what [`Config::encode`] made; `None` of anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Config> {
        let mut rest = Cursor(bytes);
        let members = usize::from(u16::from_le_bytes(rest.take()?));
        let retired = u32::from_le_bytes(rest.take()?) as usize;
        if members > MEMBERS_MAX_JOINT || retired > bytes.len() / 8 {
            return None;
        }
        let members = (0..members).map(|_| rest.member());
        let members: BTreeMap<NodeId, Member> = members.collect::<Option<_>>()?;
        let retired = (0..retired).map(|_| rest.id());
        let retired: BTreeSet<NodeId> = retired.collect::<Option<_>>()?;
        let config = Config::of(members, retired);
        // Ids that do not rise, or occur twice, were not written by us.
        (config.encode() == bytes).then_some(config)
    }
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn id(&mut self) -> Option<NodeId> {
        Some(NodeId(u64::from_le_bytes(self.take()?)))
    }

    fn member(&mut self) -> Option<(NodeId, Member)> {
        let id = self.id()?;
        let [suffrage, is_known] = self.take()?;
        let suffrages = [
            Suffrage::Voter,
            Suffrage::Learner,
            Suffrage::Joining,
            Suffrage::Leaving,
        ];
        let incarnation = self.take()?;
        let description = Description {
            incarnation: (is_known == 1).then_some(incarnation),
            peer_address: self.address()?,
            client_address: self.address()?,
        };
        let suffrage = *suffrages.get(usize::from(suffrage))?;
        let member = Member {
            suffrage,
            description,
        };
        Some((id, member))
    }

    fn address(&mut self) -> Option<String> {
        let bytes = usize::from(u16::from_le_bytes(self.take()?));
        if bytes > ADDRESS_MAX_BYTES {
            return None;
        }
        let (address, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        String::from_utf8(address.to_vec()).ok()
    }
}

fn majority_min(voters: &[NodeId], value: impl Fn(NodeId) -> u64) -> u64 {
    let mut values: ArrayVec<u64, MEMBERS_MAX_JOINT> = ArrayVec::new();
    values.extend(voters.iter().map(|&node| value(node)));
    values.sort_unstable();
    let majority = voters.len() / 2 + 1;
    let at = values.len().checked_sub(majority);
    at.map_or(0, |at| values[at])
}

/// What the members are asked to become: any set of additions and removals at once (§6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Who is to be a member.
    pub add: BTreeMap<NodeId, Addition>,
    /// Who is to be none.
    pub remove: BTreeSet<NodeId>,
}

/// A member to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addition {
    /// Whether as a voter, once it has the log, or as a learner.
    pub votes: bool,
    /// How it is found. Of who is a member already, it is not looked at.
    pub description: Description,
}

impl Addition {
    /// Whether it is known to be another data directory than that of the member with its id.
    pub(super) fn is_another(&self, member: &Member) -> bool {
        let (known, seen) = (member.description.incarnation, self.description.incarnation);
        known.is_some() && seen.is_some() && known != seen
    }

    fn suffrage(&self) -> Suffrage {
        match self.votes {
            true => Suffrage::Voter,
            false => Suffrage::Learner,
        }
    }
}

impl Change {
    /// Whether this is what the members are in `config`.
    #[must_use]
    pub fn is_done_in(&self, config: &Config) -> bool {
        let added = self.add.iter().all(|(id, addition)| {
            let member = config.members.get(id);
            member.is_some_and(|member| {
                member.suffrage == addition.suffrage() && !addition.is_another(member)
            })
        });
        added && self.remove.is_subset(&config.retired)
    }

    /// Who is to vote and does not yet.
    pub fn voters_to_be<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = NodeId> + 'a {
        let voters = self.add.iter().filter(|(_, addition)| addition.votes);
        voters
            .map(|(&id, _)| id)
            .filter(|&id| !config.votes_in_new(id))
    }
}

#[cfg(test)]
mod tests;
