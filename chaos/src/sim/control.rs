//! What is done to nodes: by a test, or by whoever draws the faults of a run.

use raftkv::{
    raft::{Config, Description, Index, Input, LogPos, NodeId, RoleName, Status},
    storage::snapshot_name,
};
use raftkv_wal::Operation;

use super::{
    engine::{Event, Sim},
    fault::{CrashPoint, Fault},
    host::{Armed, Host, Incoming, Started},
    queue::Micros,
    turn::Phase,
};
use crate::{
    invariants::{Property, index_of},
    rng::Rng,
};

/// A node that starts has moved to another address so many times in a thousand.
const MOVES: u64 = 100;

impl Sim {
    /// Something went wrong outside of the cluster.
    pub(crate) fn count(&mut self, fault: Fault) {
        self.hits.count(fault);
    }

    /// Whether the node is up.
    #[must_use]
    pub fn is_up(&self, id: NodeId) -> bool {
        self.hosts[index_of(id)].replica.is_some()
    }

    /// Whether the node will never come back.
    #[must_use]
    pub fn is_lost(&self, id: NodeId) -> bool {
        self.hosts[index_of(id)].is_lost
    }

    /// Kills the process: memory is lost, what was written is not.
    pub fn kill(&mut self, id: NodeId) {
        self.note_line(Some(id), || "is killed".to_owned());
        self.hits.count(Fault::Kill);
        self.go_down(id, false, None);
    }

    /// Cuts the power: of what was not synced, an arbitrary part is lost too.
    pub fn cut_power(&mut self, id: NodeId) {
        self.note_line(Some(id), || "loses power".to_owned());
        self.hits.count(Fault::PowerCut);
        self.go_down(id, true, None);
    }

    /// Lets a node that is down come up again after so long.
    pub(crate) fn restart_after(&mut self, id: NodeId, down: Micros) {
        let at = self.now() + down;
        self.schedule(id, at, |node, epoch| Event::Restart { node, epoch });
    }

    /// The node never comes back.
    pub(crate) fn lose(&mut self, id: NodeId) {
        if self.is_up(id) {
            self.go_down(id, false, None);
        }
        self.note_line(Some(id), || "is gone for good".to_owned());
        self.host(id).is_lost = true;
    }

    pub(super) fn go_down(&mut self, id: NodeId, power: bool, restart: Option<Micros>) {
        let at = index_of(id);
        if self.is_up(id) && self.hosts[at].is_fetching() {
            self.hits.count(Fault::FetchCut);
        }
        if self.hosts[at].is_loading {
            self.hits.count(Fault::LoadCut);
        }
        let ends_joint =
            |status: &Status| status.role == RoleName::Leader && status.config.is_joint();
        if self.live[at].as_ref().is_some_and(ends_joint) {
            self.hits.count(Fault::JointLeaderEnds);
        }
        if self.live[at].take().is_some() {
            self.shadows[at].ends(self.hosts[at].disk.durable_writes());
        }
        self.hosts[at].end();
        self.applied[at] = raftkv::raft::Index::ZERO;
        if power {
            if !self.shadows[at].is_synced() {
                self.hits.count(Fault::LostWrite);
            }
            self.rng.aim(self.queue.now(), id.0);
            let mut rng = Rng::new(self.rng.draw());
            let Host { disk, versions, .. } = &mut self.hosts[at];
            disk.crash(&mut || rng.draw());
            versions.keep(disk);
        }
        if let Some(down) = restart {
            self.restart_after(id, down);
        }
    }

    /// Starts a node from what its disk holds.
    pub fn start(&mut self, id: NodeId) {
        self.rng.aim(self.queue.now(), id.0);
        let seed = self.rng.draw();
        let at = index_of(id);
        let options = self.settings.options(id, seed);
        let recovery = self.stop_in_recovery(id);
        let policy = self.settings.snapshots;
        let (shadow, hits) = (&mut self.shadows[at], &mut self.hits);
        let started = self.hosts[at].start(options, policy, shadow, &mut self.checks, hits);
        match started {
            Started::Up => {
                let replica = self.hosts[at].replica.as_ref().expect("just started");
                let status = replica.status();
                let included = replica.raft().log().term(status.snapshot);
                self.applied[at] = replica.applied();
                let now = self.queue.now();
                self.trace.line(now, Some(id), || {
                    format!("starts with {} and {}", status.hard, status.last)
                });
                self.trace.number(status.last.index.0);
                if let Some(term) = included.filter(|_| status.snapshot > Index::ZERO) {
                    // A crash may have come between its mark and what the node would have said.
                    let pos = LogPos::new(term, status.snapshot);
                    let file = self.hosts[at].disk.contents(&snapshot_name(pos));
                    self.checks.named(id, pos, file.as_deref());
                }
                self.live[at] = Some(status);
                self.checks.recovered(&self.shadows[at], replica.raft());
                self.schedule_tick(id);
                self.introduce(id);
            }
            Started::Crashed => {
                let armed = recovery.expect("a disk stops at a point");
                self.hits.reach(armed.point);
                self.hits.count(Fault::RecoveryCrash);
                self.note_line(Some(id), || format!("crashes at {}", armed.point.name()));
                self.go_down(id, true, Some(armed.down));
                if armed.again > 0 {
                    let again = armed.again - 1;
                    self.arm(id, Armed { again, ..armed });
                }
            }
            Started::Refused => {
                self.note_line(Some(id), || "cannot read its disk".to_owned());
                self.go_down(id, false, Some(100_000));
            }
            Started::Lost => {
                self.note_line(Some(id), || "finds damage and stays down".to_owned());
            }
        }
    }

    /// A node that has started and all others learn where they are found. Now and then it has
    /// moved.
    fn introduce(&mut self, id: NodeId) {
        if !self.settings.describes {
            return;
        }
        self.rng.aim(self.queue.now(), id.0);
        let moves = self.rng.chance(MOVES);
        self.host(id).moves += u64::from(moves);
        let own = self.host(id).description();
        let mut others = self.ids();
        others.retain(|&other| self.is_up(other));
        for other in others {
            let description = self.found_at(other);
            self.incoming(id, Incoming::Hello(other, description));
            if other != id {
                self.incoming(other, Incoming::Hello(id, own.clone()));
            }
        }
    }

    /// How many spare nodes are left.
    pub(crate) fn spares(&self) -> u64 {
        self.settings.hosts() - self.taken
    }

    /// The ids of the next spare nodes.
    pub(crate) fn next_spares(&self, count: u64) -> Vec<NodeId> {
        (self.taken..self.taken + count).map(NodeId).collect()
    }

    /// Where a node is found.
    pub(crate) fn found_at(&self, id: NodeId) -> Description {
        let host = self.hosts.get(index_of(id));
        host.map(Host::description).unwrap_or_default()
    }

    /// The id of a spare node: it is spare no more.
    pub(crate) fn take_spare(&mut self) -> NodeId {
        assert!(self.spares() > 0, "no node is left");
        self.taken += 1;
        NodeId(self.taken - 1)
    }

    /// Sets a node up: it begins without a configuration, and waits to be added.
    pub(crate) fn set_up(&mut self, id: NodeId) {
        self.note_line(Some(id), || "is set up".to_owned());
        self.in_use.push(id);
        self.start(id);
    }

    /// A node is taken away for good, and asked no more.
    pub(crate) fn take_away(&mut self, id: NodeId) {
        self.lose(id);
        self.in_use.retain(|&other| other != id);
    }

    /// Whether the node has a disk that may turn out to be damaged.
    pub(crate) fn is_doubtful(&self, id: NodeId) -> bool {
        self.hosts[index_of(id)].damage.is_some()
    }

    /// Whom one asks who does not know the leader: the members, and now and then one of old.
    pub(crate) fn endpoints(&self) -> Vec<NodeId> {
        let mut ids = self.ids();
        if self.settings.spares > 0
            && let Some(config) = self.committed_configs().next()
        {
            let members = || config.members().keys().copied();
            ids.extend(
                members()
                    .chain(members())
                    .filter(|id| self.in_use.contains(id)),
            );
        }
        ids
    }

    /// Configurations that were committed, the newest first.
    pub(crate) fn committed_configs(&self) -> impl Iterator<Item = &Config> {
        let last = self.checks.ledger.last();
        let committed = last.map(|last| last.config).unwrap_or_default();
        self.checks.configs.back_from(committed)
    }

    /// Configurations that may yet be in force.
    pub(crate) fn configs_at_stake(&self) -> Vec<&Config> {
        let last = self.checks.ledger.last();
        let committed = last.map(|last| last.config).unwrap_or_default();
        let there = self.in_use.iter().filter(|&&id| !self.is_lost(id));
        let logs = there.map(|&id| self.shadows[index_of(id)].view());
        self.checks.configs.at_stake(committed, logs)
    }

    /// Makes the disk stop within recovery, when the node is told to crash there.
    fn stop_in_recovery(&mut self, id: NodeId) -> Option<Armed> {
        let host = self.host(id);
        let armed = host.armed?;
        let operation = match armed.point {
            CrashPoint::RecoverOpen => Operation::Open,
            CrashPoint::RecoverWrite => Operation::Write,
            CrashPoint::RecoverSync => Operation::Sync,
            CrashPoint::RecoverRead => Operation::Read,
            CrashPoint::RecoverRemove => Operation::Remove,
            CrashPoint::RecoverCreate => Operation::Create,
            CrashPoint::RecoverPublish => Operation::Publish,
            CrashPoint::RecoverSyncDirectory => Operation::SyncDirectory,
            _ => return None,
        };
        match armed.skip {
            0 => host.armed = None,
            _ => host.armed.as_mut().expect("just seen").skip -= 1,
        }
        host.disk.stop_at(operation);
        Some(armed)
    }

    /// Lets a node crash at a point of its work.
    pub(crate) fn arm(&mut self, id: NodeId, armed: Armed) {
        self.host(id).armed = Some(armed);
    }

    /// Forgets where a node was to crash.
    pub(crate) fn disarm(&mut self, id: NodeId) {
        self.host(id).armed = None;
    }

    /// Pauses a node, as SIGSTOP does.
    pub fn pause(&mut self, id: NodeId, span: Micros) {
        if !self.is_up(id) {
            return;
        }
        self.note_line(Some(id), || format!("is paused for {} ms", span / 1000));
        self.freeze(id, self.now() + span);
    }

    /// The node does nothing until then.
    pub(super) fn freeze(&mut self, id: NodeId, until: Micros) {
        let host = self.host(id);
        let until = host.frozen_until.map_or(until, |other| other.max(until));
        host.frozen_until = Some(until);
        self.schedule(id, until, |node, epoch| Event::Thaw { node, epoch });
    }

    /// A node that is paused or blocked goes on at once.
    pub(crate) fn wake(&mut self, id: NodeId) {
        let now = self.now();
        let host = self.host(id);
        if host.frozen_until.is_some() {
            host.frozen_until = Some(now);
            self.schedule(id, now, |node, epoch| Event::Thaw { node, epoch });
        }
    }

    /// Gives a node many ticks at once.
    pub(crate) fn burst(&mut self, id: NodeId, ticks: u32) {
        if self.is_up(id) && self.host(id).frozen_until.is_none() {
            self.hits.count(Fault::TickBurst);
            self.note_line(Some(id), || format!("gets {ticks} ticks at once"));
            self.bounds.disturbed();
            self.ticks(id, ticks);
        }
    }

    /// Hands leadership over.
    pub fn transfer(&mut self, from: NodeId, to: Option<NodeId>) {
        if self.is_up(from) && self.host(from).frozen_until.is_none() {
            self.hits.count(Fault::Transfer);
            self.note_line(Some(from), || format!("is asked to hand over to {to:?}"));
            self.with(from, Phase::Step, |replica, out| {
                replica.step(Input::Transfer { to }, out)
            });
        }
    }

    /// Lets a node fail at the next operation of this kind; if that is the reading of its files,
    /// at its next start.
    pub(crate) fn fail_disk(&mut self, id: NodeId, operation: Operation) {
        self.host(id).disk.fail(operation, 0);
    }

    /// What a disk was told to fail at and did not meet, it does not fail at any more.
    pub(crate) fn spare_disk(&mut self, id: NodeId) {
        self.host(id).disk.forget_faults();
    }

    /// Syncs of a node take so much longer.
    pub(crate) fn slow_disk(&mut self, id: NodeId, longer: Micros) {
        self.host(id).slow_sync = longer;
    }

    /// Steps of work on a node's snapshots take so much longer.
    pub(crate) fn slow_jobs(&mut self, id: NodeId, longer: Micros) {
        self.host(id).slow_jobs = longer;
    }

    /// From now on, or no longer, nothing more fits on the disk of a node.
    pub(crate) fn fill_disk(&mut self, id: NodeId, full: bool) {
        let host = self.host(id);
        host.is_full = full;
        host.disk.set_full(full);
    }

    /// How long until all nodes that are up try again to take or fetch what they could not.
    pub(crate) fn snapshots_rest_for(&self) -> Micros {
        let hosts = self.hosts.iter().zip(&self.settings.tick);
        let rests = hosts.filter_map(|(host, tick)| {
            let ticks = host.replica.as_ref()?.snapshot_retry_ticks();
            Some(u64::from(ticks) * tick)
        });
        rests.max().unwrap_or(0)
    }

    /// Damages the disk of a node that is down. Returns whether there was anything to damage.
    pub(crate) fn damage(&mut self, id: NodeId, rng: &mut Rng) -> bool {
        let what = self.host(id).damage(rng);
        if let Some(what) = &what {
            self.note_line(Some(id), || format!("has {what}"));
        }
        what.is_some()
    }

    /// A node's clock runs at another pace from now on.
    pub(crate) fn skew(&mut self, id: NodeId, tick: Micros) {
        self.settings.tick[index_of(id)] = tick;
    }

    /// Frames of the past come once more.
    pub(crate) fn replay(&mut self, from: NodeId, to: NodeId, count: usize) {
        let now = self.now();
        for flight in self.network.past(now, (from, to), count) {
            self.hits.count(Fault::Replay);
            self.launch(now, flight);
        }
    }

    /// What was held back on a link comes at once.
    pub(crate) fn unclog(&mut self, from: NodeId, to: NodeId) {
        let now = self.now();
        for flight in self.network.unclog(from, to) {
            self.launch(now, flight);
        }
    }

    fn launch(&mut self, now: Micros, flight: super::network::Flight) {
        self.bounds.disturbed();
        self.rng.aim(now, flight.to.0);
        let mut rng = Rng::new(self.rng.draw());
        if let Some((at, slot)) = self.network.launch(now, flight, &mut rng) {
            self.queue.schedule(at, Event::Arrive { slot });
        }
    }

    /// Compares the states of all nodes that are up, whole.
    pub(crate) fn compare_states(&mut self) {
        for host in &self.hosts {
            if let Some(replica) = &host.replica {
                self.checks
                    .same_state(host.id, replica.applied(), replica.kv());
            }
        }
    }

    /// How far anything is committed.
    pub(crate) fn committed_index(&self) -> raftkv::raft::Index {
        let last = self.checks.ledger.last();
        last.map_or(raftkv::raft::Index::ZERO, |last| last.pos.index)
    }

    /// The committed commands, in the order of the log.
    pub(crate) fn committed(&self) -> &[(raftkv::raft::LogPos, raftkv::kv::Command)] {
        self.checks.ledger.commands()
    }
}

/// Fails a run.
pub(crate) fn fail(property: Property, what: &str) -> ! {
    panic!("{}: {what}", property.name())
}
