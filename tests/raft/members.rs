//! Changes of members as scripts and generators ask for them, and members as scripts show them.

use std::fmt::{self, Display, Formatter};

use raftkv::raft::{Addition, Change, Config, Description, Incarnation, Index, NodeId, Status};

use crate::{checker::is_quorum, cluster::Cluster};

/// What the members are asked to become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Who is to vote.
    pub add: Vec<NodeId>,
    /// Who is to be a learner.
    pub learn: Vec<NodeId>,
    pub remove: Vec<NodeId>,
    /// Of all that are added.
    pub known: Known,
}

/// How a node is found, and which data directory it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub address: String,
    pub incarnation: Option<u8>,
}

impl Ask {
    pub fn change(&self) -> Change {
        let as_voters = self.add.iter().map(|&id| (id, true));
        let as_learners = self.learn.iter().map(|&id| (id, false));
        let addition = |(id, votes)| {
            let description = self.known.description();
            (id, Addition { votes, description })
        };
        Change {
            add: as_voters.chain(as_learners).map(addition).collect(),
            remove: self.remove.iter().copied().collect(),
        }
    }
}

impl Known {
    pub fn description(&self) -> Description {
        Description {
            peer_address: self.address.clone(),
            client_address: String::new(),
            incarnation: self
                .incarnation
                .map(|byte| [byte; size_of::<Incarnation>()]),
        }
    }
}

impl Display for Ask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let lists = [
            ("add", &self.add),
            ("learn", &self.learn),
            ("remove", &self.remove),
        ];
        for (name, list) in lists {
            if !list.is_empty() {
                let ids: Vec<String> = list.iter().map(NodeId::to_string).collect();
                write!(f, " {name}={}", ids.join("/"))?;
            }
        }
        self.known.fmt(f)
    }
}

impl Display for Known {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.address.is_empty() {
            write!(f, " at={}", self.address)?;
        }
        let incarnation = self.incarnation;
        incarnation.map_or(Ok(()), |byte| write!(f, " incarnation={byte}"))
    }
}

impl Cluster {
    /// `n0 in force [n0 n1 +n3] at 5, committed [n0 n1 n3?]`, and what is known of its members.
    pub fn members(&self, id: NodeId) -> String {
        let Some(raft) = &self.node(id).raft else {
            return format!("n{id} down");
        };
        let status = raft.status();
        let (at, config, committed) = (status.config_at, &status.config, raft.committed_config());
        let rest = rest(config);
        format!("n{id} in force {config} at {at}, committed {committed}{rest}")
    }

    /// Whether all members that are up have applied the entry at `goal`, and no change is half
    /// done.
    pub fn has_settled_at(&self, leader: NodeId, goal: Index) -> bool {
        let Some(Status {
            config,
            config_at,
            commit,
            ..
        }) = self.status(leader)
        else {
            return false;
        };
        let statuses = self.statuses();
        let mut members = statuses.iter().filter(|status| config.contains(status.id));
        let done = !config.is_joint() && config_at <= commit;
        done && members.all(|status| status.applied >= goal)
    }

    /// Whether these nodes are a minority of those who decide, whichever of the configurations on
    /// the disks is in force, and whichever of the changes that were asked for comes next.
    pub fn can_do_without(&self, lost: &[NodeId]) -> bool {
        let images = self.nodes.iter().map(|node| &node.disk);
        let images = images.flat_map(|disk| [&disk.view, &disk.durable]);
        let configs: Vec<Config> = images.flat_map(|image| image.configs()).collect();
        let enough = |config: &Config| {
            let nobody = config.members().is_empty();
            nobody || is_quorum(config, |node| !lost.contains(&node))
        };
        configs.iter().all(|config| {
            let changed = self
                .checker
                .changes()
                .map(|change| config.changed_by(change));
            enough(config) && changed.map(|config| config.settled()).all(|c| enough(&c))
        })
    }
}

/// What else a configuration says.
fn rest(config: &Config) -> String {
    let retired: Vec<String> = config.retired().iter().map(|id| format!("n{id}")).collect();
    let retired = match retired.is_empty() {
        true => String::new(),
        false => format!(", retired {}", retired.join(" ")),
    };
    let described = config.members().iter().filter_map(|(id, member)| {
        let Description {
            peer_address,
            incarnation,
            ..
        } = &member.description;
        let incarnation = incarnation.map(|bytes| format!(" directory {}", bytes[0]));
        let known = !peer_address.is_empty() || incarnation.is_some();
        known.then(|| {
            let directory = incarnation.unwrap_or_default();
            format!(", n{id} at {peer_address}{directory}")
        })
    });
    retired + &described.collect::<String>()
}
