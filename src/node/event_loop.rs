//! The loop's turn: hear everything first, then let time pass, send what needs no disk, sync once
//! for all of it, send what waited for that, answer. Whatever arrived in a turn shares one sync,
//! and the followers' disks work while ours does. A long sync goes on beside the turns
//! ([`syncer`](super::syncer)).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use raftkv_wal::FileMedia;
use tracing::Level;

use super::{
    HAND_OVER_MAX,
    error::Fatal,
    handle::{Answer, Asked, Backup, Shared},
    jobs::Jobs,
    log_line,
    network::{Network, NetworkError},
    numbered::Numbered,
    stages::{Batches, Stage},
    syncer::Syncer,
};
use crate::{
    codec::Packet,
    raft::{
        AppendOutcome, ChangeRefusal, ChangeState, Index, Input, Message, Note, RefusalReason,
        RoleName, Snapshot, Token,
    },
    replica::{self, Outbox, Replica, Reply},
};

/// One tick of the FSM.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// An empty node that cannot meet every member waits this long before it takes part in elections:
/// if its directory was wiped, a member that remembers must have the time to say so.
const MEET_ALL_MAX_MS: u64 = 3_000;
/// The same warning comes once in this time.
const WARN_EVERY_MS: u64 = 60_000;

pub(super) struct EventLoop {
    pub(super) network: Network,
    pub(super) replica: Replica<FileMedia>,
    pub(super) jobs: Jobs,
    pub(super) requests: Receiver<Asked>,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) election: ElectionGate,
    pub(super) clock: Clock,
    /// Late ticks beyond this are forgotten: after a pause, time must not jump past a leader who
    /// is alive.
    pub(super) late_ticks_max: u32,
    /// The least time after which followers campaign.
    pub(super) patience: Duration,
    /// Whose each open request is, and by which token they know it.
    pub(super) open: Numbered<(u64, Token)>,
    pub(super) out: Outbox,
    /// What was warned of in the last minute, and when.
    pub(super) recent_warnings: Vec<(String, u64)>,
    pub(super) leads: bool,
    pub(super) batches: Batches,
    pub(super) syncer: Syncer,
}

/// The loop's time, in milliseconds since it began.
pub(super) struct Clock {
    start: Instant,
    next_tick: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        let start = Instant::now();
        Clock {
            start,
            next_tick: start + TICK,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn until_tick(&self) -> Duration {
        self.next_tick.saturating_duration_since(Instant::now())
    }

    /// How many ticks are due.
    fn take_ticks(&mut self) -> u32 {
        let late = Instant::now().saturating_duration_since(self.next_tick);
        if late.is_zero() {
            return 0;
        }
        let ticks = 1 + (late.as_nanos() / TICK.as_nanos()) as u32;
        self.next_tick += TICK * ticks;
        ticks
    }
}

/// Whether this node may take part in elections yet.
pub(super) enum ElectionGate {
    Open,
    /// Until every member was met, or until then.
    MeetAll {
        until_ms: u64,
    },
}

impl ElectionGate {
    pub(super) fn new(log_is_empty: bool) -> ElectionGate {
        match log_is_empty {
            true => ElectionGate::MeetAll {
                until_ms: MEET_ALL_MAX_MS,
            },
            false => ElectionGate::Open,
        }
    }

    fn look(&mut self, met_all: bool, now_ms: u64) {
        if let ElectionGate::MeetAll { until_ms } = *self
            && (met_all || now_ms >= until_ms)
        {
            *self = ElectionGate::Open;
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, ElectionGate::Open)
    }

    fn lets_in(&self, packet: &Packet) -> bool {
        let election = matches!(
            packet,
            Packet::Message(Message::VoteRequest { .. } | Message::TimeoutNow { .. })
        );
        self.is_open() || !election
    }
}

impl EventLoop {
    /// Runs until asked to stop.
    ///
    /// # Errors
    /// When the node cannot go on.
    pub(super) fn run(mut self) -> Result<(), Fatal> {
        let mut stop_at_ms: Option<u64> = None;
        let ended = loop {
            if let Err(fatal) = self.turn() {
                break Err(fatal);
            }
            if !self.stop.load(Ordering::Relaxed) {
                continue;
            }
            let now_ms = self.clock.now_ms();
            if stop_at_ms.is_none() {
                stop_at_ms = Some(now_ms + HAND_OVER_MAX.as_millis() as u64);
                if let Err(error) = self.hand_over() {
                    break Err(Fatal::Replica(error));
                }
            }
            let is_over = self.replica.status().transferring.is_none();
            if is_over || stop_at_ms.is_some_and(|at| at <= now_ms) {
                break Ok(());
            }
        };
        self.leave();
        ended
    }

    /// Has another one lead, if this one does and is not alone.
    pub(super) fn hand_over(&mut self) -> Result<(), replica::Error> {
        let leads = self.replica.status().role == RoleName::Leader;
        match leads && !self.is_alone() {
            true => self
                .replica
                .step(Input::Transfer { to: None }, &mut self.out),
            false => Ok(()),
        }
    }

    fn turn(&mut self) -> Result<(), Fatal> {
        let timeout = match self.replica.has_more_to_apply() {
            true => Duration::ZERO,
            false => self.clock.until_tick(),
        };
        let clock = &self.clock;
        self.network
            .wait(timeout, || clock.now_ms())
            .map_err(|e| self.fatal(e))?;
        let began = Instant::now();
        let now_ms = self.clock.now_ms();
        self.end_sync(now_ms).map_err(Fatal::Replica)?;
        self.hear(now_ms)?;
        self.take_requests().map_err(Fatal::Replica)?;
        if self.shared.wants_snapshot.swap(false, Ordering::Relaxed) {
            self.replica.request_snapshot();
        }
        let hands_over = self.shared.wants_hand_over.load(Ordering::Relaxed);
        if hands_over {
            self.hand_over().map_err(Fatal::Replica)?;
        }
        while let Some(job) = self.jobs.take_done() {
            self.replica
                .job_done(job, &mut self.out)
                .map_err(Fatal::Replica)?;
        }
        self.tick(now_ms).map_err(Fatal::Replica)?;
        self.follow_members()?;
        if self.replica.has_more_to_apply() {
            self.replica
                .apply_some(&mut self.out)
                .map_err(Fatal::Replica)?;
        }
        self.flush(now_ms);
        let waited = self.sync(now_ms).map_err(Fatal::Replica)?;
        if let Some(job) = self.replica.take_job() {
            self.jobs.run(job);
        }
        self.report(now_ms);
        if hands_over {
            // What became of it is in the status now.
            self.shared.wants_hand_over.store(false, Ordering::Release);
        }
        self.answer();
        self.shared.timings.lock().turn(began.elapsed() - waited);
        Ok(())
    }

    fn hear(&mut self, now_ms: u64) -> Result<(), Fatal> {
        let EventLoop {
            network,
            replica,
            election,
            out,
            shared,
            batches,
            ..
        } = self;
        let mut failed = None;
        let received = network.receive(now_ms, |from, packet| {
            if failed.is_none() && election.lets_in(&packet) {
                if let Some(index) = matched(&packet) {
                    batches.acknowledged(index, &mut shared.stages.lock());
                }
                let received = timing_commits(replica, shared, batches, |replica| {
                    replica.receive(from, packet, out)
                });
                failed = received.err();
            }
        });
        if let Some(error) = failed {
            return Err(Fatal::Replica(error));
        }
        received.map_err(|error| self.fatal(error))?;
        self.election.look(self.network.has_met_all(), now_ms);
        Ok(())
    }

    /// The network learns from the log who the members are, and the log from the network where they
    /// are.
    fn follow_members(&mut self) -> Result<(), Fatal> {
        let raft = self.replica.raft();
        let followed = self
            .network
            .take_configs(raft.config(), raft.committed_config());
        followed.map_err(|error| self.fatal(error))?;
        for (node, description) in self.network.take_news() {
            let input = Input::Described { node, description };
            self.replica
                .step(input, &mut self.out)
                .map_err(Fatal::Replica)?;
        }
        Ok(())
    }

    /// Whether there is nobody to hand leadership to.
    pub(super) fn is_alone(&self) -> bool {
        self.replica.raft().config().voters().nth(1).is_none()
    }

    fn take_requests(&mut self) -> Result<(), replica::Error> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let mut stages = shared.stages.lock();
        let mut operations = Vec::new();
        let began = Instant::now();
        while let Ok(asked) = self.requests.try_recv() {
            let waited = began.saturating_duration_since(asked.at);
            stages.record(Stage::Queue, waited);
            let number = self.open.add((asked.asker, asked.request.token));
            operations.push((Token(number), asked.request.operation));
        }
        let last = self.replica.raft().log().last().index;
        self.replica.submit(operations, &mut self.out)?;
        let now_last = self.replica.raft().log().last().index;
        if now_last > last {
            stages.record(Stage::Encode, began.elapsed());
            self.batches.written(now_last);
        }
        Ok(())
    }

    /// Time passes only after everything that waited was heard: a node that was paused must not
    /// campaign against a leader whose heartbeats lie in its sockets.
    fn tick(&mut self, now_ms: u64) -> Result<(), replica::Error> {
        let ticks = self.clock.take_ticks();
        if ticks == 0 {
            return Ok(());
        }
        self.network.tick(now_ms);
        if self.election.is_open() {
            for _ in 0..ticks.min(self.late_ticks_max) {
                self.replica.step(Input::Tick, &mut self.out)?;
            }
        }
        self.replica.upkeep(&mut self.out)
    }

    pub(super) fn flush(&mut self, now_ms: u64) {
        self.out.writes.clear();
        for (to, frame) in self.out.frames.drain(..) {
            self.network.send(to, frame);
        }
        self.network.flush(now_ms);
    }

    /// Says what changed: to the log, and to whoever looks at the status.
    fn report(&mut self, now_ms: u64) {
        for note in self.out.notes.drain(..) {
            if let Note::Impossible { from, what } = note {
                let text = log_line::impossible(from, what);
                self.network
                    .complain(Some(from), "impossible", &text, now_ms);
                continue;
            }
            match log_line::level(&note) {
                Level::INFO => tracing::info!("{note}"),
                Level::DEBUG => tracing::debug!("{note}"),
                _ => tracing::trace!("{note}"),
            }
        }
        if std::mem::take(&mut self.out.disk_full) {
            let text = "the disk is full: free some space; until then nothing is written here";
            self.network.complain(None, "disk", text, now_ms);
        }
        let recent = &mut self.recent_warnings;
        recent.retain(|(_, at_ms)| now_ms - at_ms < WARN_EVERY_MS);
        for warning in self.out.warnings.drain(..) {
            // What a peer asks for again and again may fail each time.
            if recent.iter().all(|(other, _)| *other != warning) {
                tracing::warn!("{warning}");
                recent.push((warning, now_ms));
            }
        }
        if let Some(change) = self.out.role.take() {
            tracing::info!("{}", log_line::role(&change));
        }
        let raft = self.replica.status();
        self.leads = raft.role == RoleName::Leader;
        if !self.leads {
            self.batches.clear();
        }
        let hint = raft.leader.map(|node| self.network.client_address(node));
        let mut published = self.shared.status.lock();
        published.update(raft, &self.replica, hint.unwrap_or_default());
    }

    /// Hands all answers of the turn out, and wakes each asker once.
    fn answer(&mut self) {
        if self.out.replies.is_empty() {
            return;
        }
        let askers = self.shared.askers.lock();
        let mut woken = std::collections::BTreeSet::new();
        for (token, reply) in self.out.replies.drain(..) {
            let (asker, token) = self
                .open
                .remove(token.0)
                .expect("each request has one reply");
            let answer = match reply {
                Reply::Backup { snapshot } => backup(snapshot, &mut self.replica),
                reply => answer(reply, &self.network),
            };
            // An asker that is gone wants no answer.
            if let Some(found) = askers.get(&asker)
                && found.answers.send((token, answer)).is_ok()
            {
                woken.insert(asker);
            }
        }
        for asker in woken {
            (askers[&asker].wake)();
        }
        self.batches.answered(&mut self.shared.stages.lock());
    }

    /// What is still open ends unknown: it may have been sent to a majority. What was not taken up
    /// was not.
    fn leave(&mut self) {
        let open: Vec<u64> = self.open.numbers().collect();
        self.out.replies.clear();
        self.out.replies.extend(
            open.into_iter()
                .map(|number| (Token(number), Reply::Unknown)),
        );
        self.answer();
        let mut askers = self.shared.askers.lock();
        for Asked { asker, request, .. } in self.requests.try_iter() {
            if let Some(found) = askers.get(&asker) {
                let answer = Answer::Busy {
                    why: "the node is stopping",
                };
                // An asker that is gone wants no answer.
                let _ = found.answers.send((request.token, answer));
                (found.wake)();
            }
        }
        // A request that slips in now is never answered: its asker sees the channel close.
        askers.clear();
    }

    fn fatal(&self, error: NetworkError) -> Fatal {
        match error {
            NetworkError::Io(error) => Fatal::Poll(error),
            NetworkError::Pin(error) => Fatal::Pin(error),
            NetworkError::Replaced => Fatal::Replaced(self.replica.status().id),
        }
    }
}

/// What an acknowledgement says is durable at its sender.
fn matched(packet: &Packet) -> Option<Index> {
    match packet {
        Packet::Message(Message::AppendReply {
            outcome: AppendOutcome::Match(index),
            ..
        }) => Some(*index),
        _ => None,
    }
}

/// Does a step, and notes how long it took where it led to a commit.
pub(super) fn timing_commits(
    replica: &mut Replica<FileMedia>,
    shared: &Shared,
    batches: &mut Batches,
    step: impl FnOnce(&mut Replica<FileMedia>) -> Result<(), replica::Error>,
) -> Result<(), replica::Error> {
    let applied = replica.applied();
    let began = Instant::now();
    step(replica)?;
    if replica.applied() > applied {
        let mut stages = shared.stages.lock();
        stages.record(Stage::Apply, began.elapsed());
        batches.applied(replica.applied(), Instant::now(), &mut stages);
    }
    Ok(())
}

fn backup(snapshot: Snapshot, replica: &mut Replica<FileMedia>) -> Answer {
    match replica.open_snapshot(snapshot) {
        Ok((header, source)) => Answer::Backup(Backup {
            snapshot,
            revision: header.revision,
            keys: header.keys,
            source: Arc::new(source),
        }),
        Err(error) => {
            tracing::warn!("no backup: {error}");
            Answer::NoSnapshot
        }
    }
}

fn answer(reply: Reply, network: &Network) -> Answer {
    match reply {
        Reply::Put { .. } => Answer::Put,
        Reply::Get { value, .. } => Answer::Get { value },
        Reply::Delete { found, .. } => Answer::Delete { found },
        // A snapshot is opened before; here it could not be written.
        Reply::Backup { .. } | Reply::NoSnapshot => Answer::NoSnapshot,
        Reply::Refused(RefusalReason::NotLeader { leader })
        | Reply::Change(ChangeState::Refused(ChangeRefusal::NotLeader { leader })) => {
            let hint = leader.map(|node| network.client_address(node));
            Answer::NotLeader {
                leader_hint: hint.unwrap_or_default(),
            }
        }
        Reply::Members {
            at,
            is_committed,
            config,
        } => Answer::Members {
            at,
            is_committed,
            config,
        },
        Reply::Change(state) => Answer::Change(state),
        Reply::Transfer(outcome) => Answer::Transfer(outcome),
        Reply::Refused(RefusalReason::Transferring { .. }) => Answer::Busy {
            why: "leadership is being handed over",
        },
        Reply::Refused(RefusalReason::Busy) => Answer::Busy {
            why: "too much waits to be committed",
        },
        Reply::Refused(RefusalReason::DiskFull) => Answer::DiskFull,
        Reply::Unknown => Answer::Unknown,
    }
}
