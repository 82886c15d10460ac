//! Cluster membership changes, as their leader conducts them (§6): new voters take the log as
//! learners first (th. 4.2.1), then C_old,new is appended, and when that has committed, C_new.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    config::{Change, Config, MEMBERS_MAX},
    core::Core,
    effect::{Effect, Effects},
    leader::Leader,
    message::EntryKind,
    note::Note,
    progress::Progress,
    types::{Index, NodeId, Token},
};

/// th. 4.2.1: so many rounds a new voter has to catch up in; the last must be shorter than an
/// election timeout, or the cluster might stand still until it has what it lacks.
const ROUNDS_MAX: u32 = 10;
/// A new voter that is not heard for so many election timeouts will not be waited for.
const SILENT_TIMEOUTS_MAX: u64 = 20;

/// A change that this leader conducts.
#[derive(Clone, Debug)]
pub(super) struct Conducted {
    pub(super) change: Change,
    /// The leader's tick when it began.
    pub(super) since: u64,
    /// Of those who are to vote.
    pub(super) catch_up: BTreeMap<NodeId, CatchUp>,
}

/// A new voter on its way to the log's end (th. 4.2.1).
#[derive(Clone, Debug)]
pub(super) struct CatchUp {
    /// The log's end when the round began.
    pub(super) goal: Index,
    pub(super) since: u64,
    pub(super) round: u32,
    /// The last round was shorter than an election timeout.
    pub(super) is_close: bool,
}

/// How far a change is. Who asks again with the same change is told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeState {
    /// Nothing of it will be done, or no more of it.
    Refused(ChangeRefusal),
    /// A new voter takes the log.
    CatchingUp {
        /// The one that is furthest behind.
        node: NodeId,
        /// What it has of the log.
        matched: Index,
        /// The log's end.
        last: Index,
    },
    /// C_old,new is in force: both majorities decide.
    Joint,
    /// What the change leads to is in force, and not committed yet; or it waits for an earlier
    /// entry about members.
    Committing,
    /// The members are as asked for.
    Done,
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// Another node leads, or nobody does as far as this one knows.
    NotLeader {
        /// Who does.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed over.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// One change at a time.
    UnderWay,
    /// The leader has not committed an entry of its term yet (the single-server bug of 2015).
    TermNotCommitted,
    /// It was a member once: the next data directory takes the next id.
    Retired(NodeId),
    /// Who is to be removed is no member and never was.
    NoMember(NodeId),
    /// The same node is to be added and removed.
    AddedAndRemoved(NodeId),
    /// A voter cannot become a learner again: remove it, and add another.
    IsVoter(NodeId),
    /// It is a member with another data directory.
    OtherIncarnation(NodeId),
    /// Nobody would vote.
    NoVoter,
    /// There would be more members than [`MEMBERS_MAX`].
    TooMany(usize),
    /// A new voter is not heard.
    Silent(NodeId),
    /// A new voter does not come close to the log's end.
    Lags {
        /// Which.
        node: NodeId,
        /// What it has of the log.
        matched: Index,
        /// The log's end.
        last: Index,
    },
}

impl Leader {
    /// Begins a change, or tells how far it is.
    pub(super) fn reconfigure(
        &mut self,
        core: &mut Core,
        token: Token,
        change: Change,
        out: &mut Effects,
    ) {
        let state = match self.begin_change(core, &change, out) {
            Ok(()) => self.state_of(core, &change),
            Err(refusal) => ChangeState::Refused(refusal),
        };
        out.push(Effect::Reconfigured { token, state });
    }

    fn begin_change(
        &mut self,
        core: &mut Core,
        change: &Change,
        out: &mut Effects,
    ) -> Result<(), ChangeRefusal> {
        let config = Arc::clone(core.config());
        if let Some((_, refusal)) = self.given_up.take_if(|(given_up, _)| given_up == change) {
            return Err(refusal);
        }
        match &self.conducted {
            Some(conducted) if conducted.change == *change => return Ok(()),
            Some(_) if !planted!("change_while_one_is_under_way") => {
                return Err(ChangeRefusal::UnderWay);
            }
            _ => {}
        }
        if change.is_done_in(&config.settled()) {
            return Ok(());
        }
        if config.is_joint() && !planted!("change_while_one_is_under_way") {
            return Err(ChangeRefusal::UnderWay);
        }
        if let Some(transfer) = &self.transfer {
            return Err(ChangeRefusal::Transferring { to: transfer.to });
        }
        if core.commit < self.first.index && !planted!("change_before_own_term_commits") {
            return Err(ChangeRefusal::TermNotCommitted);
        }
        validate(change, &config)?;
        self.conducted = Some(Conducted {
            change: change.clone(),
            since: self.now,
            catch_up: BTreeMap::new(),
        });
        self.advance_change(core, out);
        Ok(())
    }

    fn state_of(&self, core: &Core, change: &Change) -> ChangeState {
        let (at, config) = core.configs.last();
        if config.is_joint() {
            return ChangeState::Joint;
        }
        if change.is_done_in(config) {
            return match at <= core.commit {
                true => ChangeState::Done,
                false => ChangeState::Committing,
            };
        }
        let behind = change.voters_to_be(config).filter_map(|node| {
            let peer = self.peers.get(&node)?;
            Some((peer.matched, node))
        });
        match behind.min() {
            Some((matched, node)) => ChangeState::CatchingUp {
                node,
                matched,
                last: core.log.last().index,
            },
            None => ChangeState::Committing,
        }
    }

    /// The next step of a change, once the one before it has committed: at most one entry about
    /// members is uncommitted, so that no more than two majorities are ever in force.
    pub(super) fn advance_change(&mut self, core: &mut Core, out: &mut Effects) {
        let (at, config) = core.configs.last();
        let config = Arc::clone(config);
        let waits = at > core.commit && !planted!("change_while_one_is_under_way");
        let is_new = core.commit < self.first.index;
        if waits || is_new && !planted!("change_before_own_term_commits") {
            return;
        }
        if config.is_joint() {
            return self.append_config(core, config.settled(), out);
        }
        let Some(conducted) = &self.conducted else {
            return self.redescribe(core, &config, out);
        };
        if conducted.change.is_done_in(&config) {
            out.note(Note::ChangeDone { at });
            self.conducted = None;
            return self.redescribe(core, &config, out);
        }
        let prepared = config.with_learners(&conducted.change);
        if prepared != *config {
            let prepared = prepared.redescribed(&core.described);
            return self.append_config(core, prepared, out);
        }
        let to_be: Vec<NodeId> = conducted.change.voters_to_be(&config).collect();
        match self.have_caught_up(core, &to_be, out) {
            Ok(false) => {}
            Ok(true) => {
                let conducted = self.conducted.as_ref().expect("just there");
                let next = config.changed_by(&conducted.change);
                // Whose acknowledgements count from here on was heard, so its directory is known.
                let next = next.redescribed(&core.described);
                self.append_config(core, next, out);
            }
            Err(refusal) => {
                out.note(Note::ChangeGivenUp);
                let conducted = self.conducted.take().expect("just there");
                self.given_up = Some((conducted.change, refusal));
            }
        }
    }

    /// Whether all of these are close enough to the log's end to vote (th. 4.2.1).
    fn have_caught_up(
        &mut self,
        core: &Core,
        nodes: &[NodeId],
        out: &mut Effects,
    ) -> Result<bool, ChangeRefusal> {
        let (now, last) = (self.now, core.log.last().index);
        let timeout = u64::from(core.options.election_timeout_ticks);
        let conducted = self.conducted.as_mut().expect("a change");
        let mut all = true;
        for &node in nodes.iter().filter(|&&node| node != core.options.id) {
            let peer = self.peers.get(&node).expect("a learner");
            let round = |round| CatchUp {
                goal: last,
                since: now,
                round,
                is_close: false,
            };
            let catch_up = conducted.catch_up.entry(node).or_insert_with(|| round(1));
            while peer.matched >= catch_up.goal && !catch_up.is_close {
                if now - catch_up.since < timeout {
                    out.note(Note::CaughtUp { peer: node });
                    catch_up.is_close = true;
                } else if catch_up.round < ROUNDS_MAX {
                    *catch_up = round(catch_up.round + 1);
                } else {
                    let matched = peer.matched;
                    return Err(ChangeRefusal::Lags {
                        node,
                        matched,
                        last,
                    });
                }
            }
            let silent = now - peer.heard_at;
            let waited = silent.min(now - conducted.since);
            if waited >= SILENT_TIMEOUTS_MAX * timeout {
                return Err(ChangeRefusal::Silent(node));
            }
            all &= catch_up.is_close && silent < timeout;
        }
        Ok(all)
    }

    /// What became known of the members goes into the log when no change is under way: so all
    /// agree where each is found, and whose data directory has which id.
    fn redescribe(&mut self, core: &mut Core, config: &Config, out: &mut Effects) {
        if std::mem::replace(&mut self.is_described, true) {
            return;
        }
        let redescribed = config.redescribed(&core.described);
        if redescribed != *config {
            self.append_config(core, redescribed, out);
        }
    }

    fn append_config(&mut self, core: &mut Core, config: Config, out: &mut Effects) {
        let config = Arc::new(config);
        let at = core.log.last().index.next();
        core.configs.push(at, Arc::clone(&config));
        // Before the entry is there: it is the first that a new member is sent.
        self.follow_config(core);
        core.append_own(EntryKind::CONFIG, config.encode());
        out.note(Note::ConfigAppended { at, config });
        self.send_appends(core, out);
    }

    /// Appends go to everyone who is a member by any configuration that may yet be in force.
    pub(super) fn follow_config(&mut self, core: &Core) {
        let id = core.options.id;
        let wanted = |node: NodeId| {
            let mut configs = core.configs.since(core.commit);
            node != id && configs.any(|config| config.contains(node))
        };
        self.peers.retain(|&node, _| wanted(node));
        let last = core.log.last().index;
        for config in core.configs.since(core.commit) {
            for &node in config.members().keys().filter(|&&node| node != id) {
                let peer = || Progress::new(last, self.now);
                self.peers.entry(node).or_insert_with(peer);
            }
        }
        if let Some(transfer) = &self.transfer
            && !self.peers.contains_key(&transfer.to)
        {
            self.transfer = None;
        }
    }

    /// The commit index rose from `before`. If the configuration in force is among what committed,
    /// the members that it leaves out go, after a last word by which they can tell.
    pub(super) fn config_committed(&mut self, core: &mut Core, before: Index, out: &mut Effects) {
        let (at, config) = core.configs.last();
        if before < at && at <= core.commit {
            out.note(Note::ConfigCommitted { at });
            if self.peers.keys().any(|&node| !config.contains(node)) {
                self.send_heartbeats(core, out);
            }
            self.follow_config(core);
        }
        self.advance_change(core, out);
        if self.is_removed(core) && self.transfer.is_none() {
            self.transfer(core, None, out);
        }
    }

    /// §6: a leader that is not in C_new leads until that has committed, and then no more. One that
    /// has no voice from the start leads until it has committed: only it could.
    pub(super) fn is_removed(&self, core: &Core) -> bool {
        let (at, config) = core.configs.last();
        at.max(self.first.index) <= core.commit && !config.votes(core.options.id)
    }
}

/// Whether a change can be asked of these members.
fn validate(change: &Change, config: &Config) -> Result<(), ChangeRefusal> {
    for (&id, addition) in &change.add {
        let member = config.members().get(&id);
        if config.retired().contains(&id) {
            return Err(ChangeRefusal::Retired(id));
        }
        if change.remove.contains(&id) {
            return Err(ChangeRefusal::AddedAndRemoved(id));
        }
        if !addition.votes && config.votes(id) {
            return Err(ChangeRefusal::IsVoter(id));
        }
        if member.is_some_and(|member| addition.is_another(member)) {
            return Err(ChangeRefusal::OtherIncarnation(id));
        }
    }
    let is_known = |id| config.contains(id) || config.retired().contains(&id);
    if let Some(&id) = change.remove.iter().find(|&&id| !is_known(id)) {
        return Err(ChangeRefusal::NoMember(id));
    }
    let result = config.changed_by(change).settled();
    if result.voters().next().is_none() {
        return Err(ChangeRefusal::NoVoter);
    }
    let count = result.members().len();
    match count > MEMBERS_MAX {
        true => Err(ChangeRefusal::TooMany(count)),
        false => Ok(()),
    }
}
