//! Script lines to commands; the only place that knows how the script crate holds arguments.

use std::collections::{BTreeMap, VecDeque};

use raftkv::raft::{AppendOutcome, Index, Message, NodeId, Round, Seq, Term};

use crate::{
    cluster::Setup,
    command::{Command, Pick, Tail},
    members::{Ask, Known},
};

/// A script line's arguments. What is left over at the end is a mistake.
struct Words {
    plain: VecDeque<String>,
    keyed: BTreeMap<String, String>,
}

/// Reads one line.
///
/// # Errors
/// If there is no such command, or an argument is missing, wrong or too much.
pub fn command(line: &goldenscript::Command) -> Result<Command, String> {
    let mut words = Words {
        plain: VecDeque::new(),
        keyed: BTreeMap::new(),
    };
    for argument in &line.args {
        match argument {
            goldenscript::Argument::Positional(word) => words.plain.push_back(word.clone()),
            goldenscript::Argument::KeyValue(key, value) => {
                words.keyed.insert(key.clone(), value.clone());
            }
            _ => {
                return Err(format!(
                    "an argument of {} is of an unknown kind",
                    line.name
                ));
            }
        }
    }
    let command = words.command(&line.name)?;
    match (words.plain.pop_front(), words.keyed.pop_first()) {
        (None, None) => Ok(command),
        (Some(word), _) => Err(format!("{}: {word} is too much", line.name)),
        (None, Some((key, _))) => Err(format!("{}: {key}= is too much", line.name)),
    }
}

impl Words {
    fn command(&mut self, name: &str) -> Result<Command, String> {
        Ok(match name {
            "cluster" => self.cluster()?,
            "campaign" => Command::Campaign(self.node()?),
            "lapse" => self.lapse()?,
            "elect" => Command::Elect(self.node()?),
            "tick" => {
                let node = self.optional_node()?;
                let count = self.key("n")?.unwrap_or(1);
                Command::Tick { node, count }
            }
            "put" => {
                let node = self.node()?;
                let pairs = std::mem::take(&mut self.keyed);
                let commands = pairs
                    .iter()
                    .map(|(key, value)| format!("put {key}={value}"));
                Command::Put {
                    node,
                    commands: commands.collect(),
                }
            }
            "read" => Command::Read { node: self.node()? },
            "transfer" => Command::Transfer {
                node: self.node()?,
                to: self.optional_node()?,
            },
            "change" => self.change()?,
            "describe" => self.describe()?,
            "deliver" => Command::Deliver(self.pick()?),
            "drop" => Command::Drop(self.pick()?),
            "dup" => Command::Dup(self.pick()?),
            "hold" => Command::Hold(self.pick()?),
            "release" => Command::Release(self.pick()?),
            "partition" => self.partition()?,
            "cut" => Command::Cut {
                from: self.node()?,
                to: self.node()?,
            },
            "heal" => Command::Heal,
            "persist" => {
                let node = self.optional_node()?;
                let upto = self.key("upto")?.map(Seq);
                Command::Persist { node, upto }
            }
            "stall" => Command::Stall(self.node()?),
            "crash" => Command::Crash {
                node: self.node()?,
                tail: self.tail()?,
            },
            "restart" => Command::Restart(self.node()?),
            "snapshot" => Command::Snapshot {
                node: self.node()?,
                index: self.key("at")?.map(Index),
                keep: self.key("keep")?.unwrap_or(0),
            },
            "fetch" => Command::Fetch(self.node()?),
            "settle" => Command::Settle {
                heartbeat: self.flag("heartbeat"),
            },
            "status" => Command::Status(self.optional_node()?),
            "log" => Command::Log(self.optional_node()?),
            "disk" => Command::Disk(self.node()?),
            "members" => Command::Members(self.optional_node()?),
            "inflight" => Command::Inflight,
            "say" => self.say()?,
            _ => return Err(format!("no command is called {name}")),
        })
    }

    fn lapse(&mut self) -> Result<Command, String> {
        let nodes = std::mem::take(&mut self.plain);
        let nodes = nodes.iter().map(|word| node(word));
        Ok(Command::Lapse(nodes.collect::<Result<_, _>>()?))
    }

    fn partition(&mut self) -> Result<Command, String> {
        let groups = std::mem::take(&mut self.plain);
        let groups = groups.iter().map(|names| nodes(names));
        Ok(Command::Partition(groups.collect::<Result<_, _>>()?))
    }

    fn change(&mut self) -> Result<Command, String> {
        let node = self.node()?;
        let ask = Ask {
            add: self.nodes("add")?,
            learn: self.nodes("learn")?,
            remove: self.nodes("remove")?,
            known: self.known()?,
        };
        Ok(Command::Change { node, ask })
    }

    fn describe(&mut self) -> Result<Command, String> {
        Ok(Command::Describe {
            node: self.node()?,
            of: NodeId(self.key("node")?.ok_or("describe needs node=")?),
            known: self.known()?,
        })
    }

    fn known(&mut self) -> Result<Known, String> {
        Ok(Known {
            address: self.keyed.remove("at").unwrap_or_default(),
            incarnation: self.key("incarnation")?,
        })
    }

    fn cluster(&mut self) -> Result<Command, String> {
        let usual = Setup::default();
        let setup = Setup {
            nodes: self.key("nodes")?.unwrap_or(usual.nodes),
            joining: self.key("joining")?.unwrap_or(usual.joining),
            election_timeout_ticks: self.key("timeout")?.unwrap_or(usual.election_timeout_ticks),
            heartbeat_ticks: self.key("heartbeat")?.unwrap_or(usual.heartbeat_ticks),
            append_max_bytes: self.key("append")?.unwrap_or(usual.append_max_bytes),
            in_flight_max: self.key("inflight")?.unwrap_or(usual.in_flight_max),
            seed: self.key("seed")?.unwrap_or(usual.seed),
        };
        let leader = self.key("leader")?.map(NodeId);
        Ok(Command::Cluster { setup, leader })
    }

    fn pick(&mut self) -> Result<Pick, String> {
        Ok(Pick {
            to: self.optional_node()?,
            from: self.key("from")?.map(NodeId),
            kind: self.keyed.remove("kind"),
            place: self.key("at")?,
            count: self.key("n")?,
        })
    }

    fn tail(&mut self) -> Result<Tail, String> {
        Ok(match self.keyed.remove("tail").as_deref() {
            None | Some("lost") => Tail::Lost,
            Some("kept") => Tail::Kept,
            Some(count) => Tail::Records(number(count)?),
        })
    }

    fn say(&mut self) -> Result<Command, String> {
        let (from, to) = (self.node()?, self.node()?);
        let term = Term(self.key("term")?.ok_or("say needs term=")?);
        let kind = self
            .plain
            .pop_front()
            .ok_or("say needs a kind of message")?;
        let message = match kind.as_str() {
            "AppendReply" => {
                let index = self.key("match")?.ok_or("AppendReply needs match=")?;
                Message::AppendReply {
                    term,
                    outcome: AppendOutcome::Match(Index(index)),
                }
            }
            "HeartbeatReply" => {
                let round = self.key("round")?.ok_or("HeartbeatReply needs round=")?;
                Message::HeartbeatReply {
                    term,
                    round: Round(round),
                }
            }
            "TimeoutNow" => Message::TimeoutNow { term },
            _ => return Err(format!("say cannot make a message of kind {kind}")),
        };
        Ok(Command::Say { from, to, message })
    }

    fn node(&mut self) -> Result<NodeId, String> {
        node(&self.plain.pop_front().ok_or("a node is missing")?)
    }

    fn optional_node(&mut self) -> Result<Option<NodeId>, String> {
        self.plain.pop_front().map(|word| node(&word)).transpose()
    }

    fn flag(&mut self, name: &str) -> bool {
        let given = self.plain.front().is_some_and(|word| word == name);
        if given {
            self.plain.pop_front();
        }
        given
    }

    fn nodes(&mut self, name: &str) -> Result<Vec<NodeId>, String> {
        let names = self.keyed.remove(name);
        names.map_or(Ok(Vec::new()), |names| nodes(&names))
    }

    fn key<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        self.keyed
            .remove(name)
            .map(|value| number(&value))
            .transpose()
    }
}

fn nodes(word: &str) -> Result<Vec<NodeId>, String> {
    word.split('/').map(node).collect()
}

fn node(word: &str) -> Result<NodeId, String> {
    number(word).map(NodeId)
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}
