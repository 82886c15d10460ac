//! What has happened so far, as no single node knows it, and the rules that need it (Figure 3).
//! It is part of a world and of its key: two worlds with other pasts are not the same.

use raftkv::raft::{Config, Entry, Index, LogPos, NodeId, RoleName, Status, Term, Token};

use crate::invariants::majorities;

use super::{
    bound::Budget,
    disk::{Image, configs_back},
    key::{self, Encode, NODES, Names},
};

#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Who led each term, from term 1.
    leaders: Vec<Option<NodeId>>,
    /// What is committed, with the term of the leader that committed it.
    pub committed: Vec<(Entry, Term)>,
    /// Reads that wait for an answer: whose, and what was committed when it arrived.
    reads: Vec<(NodeId, Token, Index)>,
    pub used: Budget,
    /// Where pre-votes are assumed: who ever asked for them, and the newest term that an answer
    /// can name. Crashes take back neither.
    asked: [bool; NODES],
    newest: Term,
}

/// A node's state and disk, as the rules look at them.
pub struct View<'a> {
    pub status: &'a Status,
    /// Its log, all that it has written.
    pub log: &'a Image,
    pub durable: &'a Image,
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(fault()),
    }
}

/// Whether those of whom this holds are a majority, of both halves where there are two (§6).
fn is_quorum(config: &Config, holds: impl Fn(NodeId) -> bool) -> bool {
    let count = |of: &[NodeId]| of.iter().filter(|&&node| holds(node)).count();
    majorities(config).iter().all(|of| count(of) > of.len() / 2)
}

impl Past {
    /// A node took office by this configuration: Election Safety (§5.2) and Leader Completeness
    /// (§5.4).
    pub fn elected(&mut self, leader: &View, all: &[View], config: &Config) -> Result<(), String> {
        let (id, term) = (leader.status.id, leader.status.hard.term);
        let place = usize::try_from(term.0 - 1).expect("a small term");
        if self.leaders.len() <= place {
            self.leaders.resize(place + 1, None);
        }
        let first = *self.leaders[place].get_or_insert(id);
        ensure(first == id, || {
            format!("Election Safety: n{first} and n{id} both lead term {term}")
        })?;
        // Who has gone on to a later term may have voted in this one.
        let voted = |voter: NodeId| {
            let hard = all[key::index_of(voter)].durable.hard;
            hard.term > term || hard.term == term && hard.vote == Some(id)
        };
        ensure(is_quorum(config, voted), || {
            format!("Election Safety: n{id} leads term {term} without a majority of {config}")
        })?;
        self.complete(leader)
    }

    /// What a node newly commits: an entry of the leader's own term, on a majority of disks
    /// (§5.4.2), of both halves while the configuration is joint (§6), and at each index what
    /// every other node commits (State Machine Safety).
    pub fn commits(
        &mut self,
        before: Index,
        node: &View,
        all: &[View],
        config: &Config,
    ) -> Result<(), String> {
        let (id, term) = (node.status.id, node.status.hard.term);
        for index in (before.0 + 1..=node.status.commit.0).map(Index) {
            let entry = node.log.get(index).ok_or("committed beyond the log")?;
            let known = self.committed.get(key::index_of(NodeId(index.0 - 1)));
            if let Some((first, _)) = known {
                ensure(first == entry, || {
                    format!("State Machine Safety: n{id} commits [{entry}], not [{first}]")
                })?;
                continue;
            }
            ensure(node.status.role == RoleName::Leader, || {
                format!("n{id} commits [{entry}], but no leader did")
            })?;
            let newest = node.log.get(node.status.commit).ok_or("beyond the log")?;
            ensure(newest.pos.term == term, || {
                format!("§5.4.2: [{newest}] is committed by counting in term {term}")
            })?;
            let holds = |node| all[key::index_of(node)].durable.holds(entry.pos);
            ensure(is_quorum(config, holds), || {
                format!("committed on a majority: [{entry}] is not on one of {config}")
            })?;
            self.committed.push((entry.clone(), term));
        }
        Ok(())
    }

    /// A leader puts a configuration into its log only when the one before it has committed, and
    /// an entry of its own term (§6; the single-server bug of 2015).
    pub fn reconfigures(&self, leader: &View, before: Index) -> Result<(), String> {
        let (id, term) = (leader.status.id, leader.status.hard.term);
        let commit = leader.status.commit;
        ensure(before <= commit, || {
            format!("Configuration: n{id} appends one, that at {before} is not committed")
        })?;
        let newest = leader.log.get(commit).map(|entry| entry.pos.term);
        ensure(newest == Some(term), || {
            format!("Configuration: n{id} appends one before it has committed in term {term}")
        })
    }

    /// State Machine Safety: what a node applies is what is committed there, and on its disk.
    pub fn applies(&self, index: Index, node: &View) -> Result<(), String> {
        let id = node.status.id;
        let entry = node.log.get(index).ok_or("applied beyond the log")?;
        let committed = self.committed.get(key::index_of(NodeId(index.0 - 1)));
        ensure(committed.is_some_and(|(first, _)| first == entry), || {
            format!("State Machine Safety: n{id} applies [{entry}], which is not committed")
        })?;
        ensure(node.durable.holds(entry.pos), || {
            format!("not durable: n{id} applies [{entry}]")
        })
    }

    /// What a snapshot has that ends there (§7): all of it is committed, wherever it came from.
    pub fn included(&self, pos: LogPos) -> Result<Vec<Entry>, String> {
        let upto = key::index_of(NodeId(pos.index.0));
        let entries = self.committed.iter().take(upto);
        let entries: Vec<Entry> = entries.map(|(entry, _)| entry.clone()).collect();
        ensure(entries.last().is_some_and(|last| last.pos == pos), || {
            format!("a snapshot of {pos}, which is not committed")
        })?;
        Ok(entries)
    }

    /// Who the members are as of the entry at `upto`, if they were these `first`.
    pub fn config(&self, first: &Config, upto: Index) -> Config {
        let upto = key::index_of(NodeId(upto.0));
        let entries = self.committed[..upto].iter().map(|(entry, _)| entry);
        let newest = configs_back(entries).next();
        newest.map_or_else(|| first.clone(), |(_, config)| config)
    }

    /// Leader Completeness (§5.4): what is committed in a term is in the log of a leader of any
    /// later one.
    pub fn complete(&self, leader: &View) -> Result<(), String> {
        let (id, term) = (leader.status.id, leader.status.hard.term);
        let earlier = self.committed.iter().filter(|(_, within)| *within < term);
        for (entry, within) in earlier {
            ensure(leader.log.get(entry.pos.index) == Some(entry), || {
                format!("Leader Completeness: n{id} leads {term} without [{entry}] of {within}")
            })?;
        }
        Ok(())
    }

    pub fn read_arrived(&mut self, node: NodeId, token: Token) {
        let due = Index(self.committed.len() as u64);
        self.reads.push((node, token, due));
    }

    /// §8: a read shows all that was committed anywhere when it arrived. A node that could have
    /// committed more than its server knows leads a later term, and the majority that elected it
    /// confirms no earlier one.
    pub fn read_served(&mut self, token: Token, index: Index) -> Result<(), String> {
        let place = self.reads.iter().position(|(_, known, _)| *known == token);
        let (node, _, due) = self.reads.remove(place.ok_or("a read is answered twice")?);
        ensure(index >= due, || {
            format!("stale read: n{node} serves it at {index}, committed was {due}")
        })
    }

    /// A read was refused.
    pub fn read_refused(&mut self, token: Token) {
        self.reads.retain(|(_, known, _)| *known != token);
    }

    /// A node forgot its reads in a crash.
    pub fn reads_forgotten(&mut self, node: NodeId) {
        self.reads.retain(|(whose, _, _)| *whose != node);
    }

    /// From here on the bound counts. No answer to a pre-vote is under way.
    pub fn begin(&mut self) {
        self.used = Budget::default();
        self.asked = [false; NODES];
    }

    /// A node asks for pre-votes that are assumed.
    pub fn asks(&mut self, node: NodeId) {
        self.asked[key::index_of(node)] = true;
    }

    /// A node is in this term.
    pub fn enters(&mut self, term: Term) {
        self.newest = self.newest.max(term);
    }

    pub fn newest(&self) -> Term {
        self.newest
    }

    pub fn has_asked(&self, node: NodeId) -> bool {
        self.asked[key::index_of(node)]
    }

    pub fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }
}

impl Encode for Past {
    const TAG: u8 = b'p';

    fn encode(&self, names: &Names, out: &mut Vec<u8>) {
        key::number(self.leaders.len() as u64, out);
        for leader in &self.leaders {
            key::optional_node(*leader, names, out);
        }
        key::number(self.committed.len() as u64, out);
        for (entry, term) in &self.committed {
            key::entry(entry, names, out);
            key::number(term.0, out);
        }
        // One node's reads in the order of their arrival; those of different nodes in no order.
        let mut reads: Vec<[u64; 3]> = Vec::new();
        for (node, token, due) in &self.reads {
            reads.push([names[key::index_of(*node)].0, token.0, due.0]);
        }
        reads.sort_unstable();
        key::number(reads.len() as u64, out);
        let parts = reads.iter().flatten();
        parts.for_each(|&part| key::number(part, out));
        out.extend(self.used.counts());
        let mut asked = [0; NODES];
        for (name, &asks) in names.iter().zip(&self.asked) {
            asked[key::index_of(*name)] = u8::from(asks);
        }
        out.extend(asked);
        key::number(self.newest.0, out);
    }
}
