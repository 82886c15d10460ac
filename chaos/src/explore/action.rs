//! One thing that can happen to a world.

use std::fmt::{self, Display, Formatter};

use raftkv::raft::{Addition, Change, NodeId};

use super::{
    node::{ELECTION_TIMEOUT_TICKS, HEARTBEAT_TICKS},
    world::World,
};

/// Nodes and messages are named by their places in the world that it happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The election timer fires.
    Campaign(u8),
    /// A pre-candidate wins, where pre-votes are assumed.
    PreWin(u8),
    /// A node that asked for pre-votes is told of this later term, where they are assumed.
    PreDenied(u8, u8),
    /// The leader is not heard for the minimum election timeout, and no timer fires yet.
    Lapse(u8),
    /// The heartbeat timer fires.
    Heartbeat(u8),
    /// A leader hears no majority for an election timeout; what it says meanwhile is lost.
    StepDown(u8),
    Propose(u8),
    Read(u8),
    /// A snapshot of its state as of the first index, durable, and named by its log, which then
    /// begins behind the second.
    Snapshot(u8, u8, u8),
    /// The snapshot that it wants is there, whole and durable.
    Fetch(u8),
    /// From the first, its leader, to the second.
    Transfer(u8, u8),
    /// The leader is asked to change the members (§6).
    Change(u8, Ask),
    /// So many writes become durable, and the FSM is told.
    Persist(u8, u8),
    /// So many records of what is pending survive; the node starts again at once. It being down
    /// for longer is its messages being late.
    Crash(u8, u8),
    Deliver(u8),
    /// A first copy arrives, and a second is still under way.
    Duplicate(u8),
    Drop(u8),
}

/// Who is to be a voter, and who none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub add: Option<u8>,
    pub remove: Option<u8>,
}

impl Ask {
    pub fn change(self) -> Change {
        let voter = Addition {
            votes: true,
            ..Addition::default()
        };
        Change {
            add: self.add.map(|node| (id(node), voter)).into_iter().collect(),
            remove: self.remove.map(id).into_iter().collect(),
        }
    }
}

impl Display for Ask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (word, node) in [("add", self.add), ("remove", self.remove)] {
            if let Some(node) = node {
                write!(f, " {word}={node}")?;
            }
        }
        Ok(())
    }
}

impl Action {
    /// As a golden script says it, with the message that it is about.
    pub fn script(self, world: &World) -> String {
        let letter = |verb: &str, place: u8| {
            let letter = &world.letters[usize::from(place)];
            let (to, from, kind) = (letter.to, letter.from, letter.kind());
            let text = letter.to_string();
            format!("{verb} {to} from={from} kind={kind} n=1    # {text}")
        };
        match self {
            Action::Campaign(node) => format!("campaign {node}"),
            Action::PreWin(node) => format!("# n{node} wins its pre-vote"),
            Action::PreDenied(node, term) => format!("# n{node} is told of term {term}"),
            Action::Lapse(node) => format!("lapse {node}"),
            Action::Heartbeat(node) => format!("tick {node} {HEARTBEAT_TICKS}"),
            Action::StepDown(node) => {
                format!("tick {node} {ELECTION_TIMEOUT_TICKS}    # unheard, it steps down")
            }
            Action::Propose(node) => {
                let number = world.past.used.proposals + 1;
                format!("put {node} p={number}")
            }
            Action::Read(node) => format!("read {node}"),
            Action::Transfer(node, to) => format!("transfer {node} {to}"),
            Action::Change(node, ask) => format!("change {node}{ask}"),
            Action::Snapshot(node, index, compact) => {
                format!("snapshot {node} at={index} keep={}", index - compact)
            }
            Action::Fetch(node) => format!("fetch {node}"),
            Action::Persist(node, writes) => format!("persist {node}    # {writes} writes"),
            Action::Crash(node, kept) => format!("crash {node} tail={kept}; restart {node}"),
            Action::Deliver(place) => letter("deliver", place),
            Action::Duplicate(place) => letter("dup and deliver", place),
            Action::Drop(place) => letter("drop", place),
        }
    }
}

/// The node of this place.
pub fn id(node: u8) -> NodeId {
    NodeId(u64::from(node))
}
