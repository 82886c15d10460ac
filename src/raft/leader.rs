//! The leader (Figure 2, "Leaders"; §5.3, §5.4, §8).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    config::{Change, Config},
    core::{Core, Transition},
    effect::{Effect, Effects, RefusalReason},
    membership::{ChangeRefusal, Conducted},
    message::{AppendOutcome, EntryKind, Message},
    note::{Note, StepDown},
    options::PeerStatus,
    progress::{Flow, Progress},
    reads::Reads,
    types::{Index, LogPos, NodeId, Round, Token},
};

/// An append carries no more entries than this, however small they are.
pub const APPEND_MAX_ENTRIES: u64 = 4096;

/// What exists only in a leader.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    pub(super) peers: BTreeMap<NodeId, Progress>,
    /// The no-op of this term: until it commits, what is committed is not known (§8).
    pub(super) first: LogPos,
    pub(super) reads: Reads,
    pub(super) transfer: Option<Transfer>,
    pub(super) conducted: Option<Conducted>,
    /// The last change that was given up, until it is asked for once more: others may be asked for
    /// in between, and be given up as well.
    pub(super) given_up: Option<(Change, ChangeRefusal)>,
    /// The configuration in force has what is known of its members.
    pub(super) is_described: bool,
    /// Ticks of this leadership.
    pub(super) now: u64,
}

/// A hand-over under way (th. 3.10).
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) to: NodeId,
    pub(super) since: u64,
    pub(super) told: bool,
}

impl Leader {
    /// Takes office: a no-op first, since entries of earlier terms commit only below one of this
    /// term (§5.4.2), and reads wait for that too (§8).
    pub(super) fn elected(core: &mut Core, out: &mut Effects) -> Leader {
        let mut leader = Leader {
            peers: BTreeMap::new(),
            first: LogPos::ZERO,
            reads: Reads::default(),
            transfer: None,
            conducted: None,
            given_up: None,
            is_described: false,
            now: 0,
        };
        leader.follow_config(core);
        leader.first = core.append_own(EntryKind::NO_OP, Bytes::new());
        leader.send_appends(core, out);
        leader
    }

    pub(super) fn progress(&self) -> Vec<PeerStatus> {
        let status = |(&node, peer): (&NodeId, &Progress)| PeerStatus {
            node,
            matched: peer.matched,
            next: peer.next,
            silent_ticks: self.now - peer.heard_at,
        };
        self.peers.iter().map(status).collect()
    }

    pub(super) fn transferring(&self) -> Option<NodeId> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }

    pub(super) fn take_reads(&mut self) -> Vec<Token> {
        self.reads.take_all()
    }

    pub(super) fn tick(&mut self, core: &mut Core, out: &mut Effects) -> Option<Transition> {
        self.now += 1;
        let timeout = u64::from(core.options.election_timeout_ticks);
        // Check-quorum (th. 6.2): whom no majority hears, another may have replaced. Its clients
        // must learn that, and a half-open network must not keep it in office.
        let heard = self.quorum_min(core, self.now, |peer| peer.heard_at);
        if self.now - heard >= timeout && !planted!("no_check_quorum") {
            out.note(Note::SteppedDown {
                why: StepDown::NoQuorum,
            });
            return Some(Transition::Follow { leader: None });
        }
        if let Some(Transfer { to, since, .. }) = self.transfer
            && self.now - since >= timeout
            && !planted!("transfer_never_given_up")
        {
            out.note(Note::TransferGivenUp { to });
            self.transfer = None;
        }
        if self.is_removed(core) && self.transfer.is_none() {
            out.note(Note::SteppedDown {
                why: StepDown::Removed,
            });
            return Some(Transition::Follow { leader: None });
        }
        let heartbeat = u64::from(core.options.heartbeat_ticks);
        if self.now.is_multiple_of(heartbeat) {
            self.send_heartbeats(core, out);
            // Whose answers were missing may have no voice any more, and nobody else be left.
            self.serve_reads(core, out);
            let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
            for node in nodes {
                self.ask_again(core, node, out);
            }
        }
        if self.conducted.is_some() {
            self.advance_change(core, out);
        }
        None
    }

    /// Appends or their answers may be lost. A follower that is alive and yet owes an answer is
    /// asked again whether its log reaches `next`; if not, its refusal starts a probe. The very
    /// first probe is no exception (CCF #2803).
    fn ask_again(&mut self, core: &Core, node: NodeId, out: &mut Effects) {
        let peer = self.peers.get_mut(&node).expect("another member");
        let alive = self.now - peer.heard_at <= u64::from(core.options.heartbeat_ticks);
        let owes = match &peer.flow {
            Flow::Probe { waiting } => *waiting && !planted!("lost_probe_never_repeated"),
            Flow::Stream { in_flight } => !in_flight.is_empty(),
            Flow::Snapshot { .. } => true,
        };
        if !alive || !owes {
            return;
        }
        match is_compacted(core, peer) {
            true => offer_snapshot(core, node, peer, out),
            false => send_append(core, node, peer, peer.next.before(), out),
        }
    }

    pub(super) fn propose(
        &mut self,
        core: &mut Core,
        commands: Vec<(Token, Bytes)>,
        out: &mut Effects,
    ) {
        if let Some(Transfer { to, .. }) = self.transfer {
            return out.refuse(commands, RefusalReason::Transferring { to });
        }
        let last = core.log.last().index;
        if core.log.bytes(core.commit, last) > core.options.uncommitted_max_bytes {
            return out.refuse(commands, RefusalReason::Busy);
        }
        core.accept(commands, out);
        self.send_appends(core, out);
    }

    pub(super) fn read(&mut self, core: &mut Core, tokens: Vec<Token>, out: &mut Effects) {
        // §8: a new leader knows what is committed only once an entry of its term is.
        if core.commit < self.first.index && !planted!("read_before_own_term_commits") {
            out.note(Note::ReadsAwaitOwnTerm);
            return self.reads.wait(tokens);
        }
        self.reads.begin(core.commit, tokens);
        self.send_heartbeats(core, out);
        self.serve_reads(core, out);
    }

    pub(super) fn heartbeat_reply(
        &mut self,
        core: &mut Core,
        from: NodeId,
        round: Round,
        out: &mut Effects,
    ) {
        if round > self.reads.round() && !planted!("read_confirmed_without_term_check") {
            let what = "confirms a read round that was never begun";
            return out.note(Note::Impossible { from, what });
        }
        let Some(peer) = self.hear(from) else {
            return out.note(Note::StaleReply { from });
        };
        peer.round = peer.round.max(round);
        self.serve_reads(core, out);
    }

    /// §8: reads are served once a majority has confirmed, after they arrived, that this node
    /// still leads. Rounds are numbered, so an old answer cannot confirm a new read.
    fn serve_reads(&mut self, core: &Core, out: &mut Effects) {
        let own = self.reads.round().0;
        let mut confirmed = Round(self.quorum_min(core, own, |peer| peer.round.0));
        if planted!("read_confirmed_by_one_too_few") {
            let mut rounds: Vec<Round> = self.peers.values().map(|peer| peer.round).collect();
            rounds.push(Round(own));
            rounds.sort_unstable();
            confirmed = rounds[rounds.len().div_ceil(2).min(rounds.len() - 1)];
        }
        if planted!("read_confirmed_by_a_learner") {
            let all = Config::new(core.config().members().keys().copied());
            let round = |node| self.peers.get(&node).map_or(own, |peer| peer.round.0);
            confirmed = Round(all.quorum_min(round));
        }
        if let Some((index, tokens)) = self.reads.confirm(confirmed) {
            out.note(Note::ReadsConfirmed { round: confirmed });
            out.push(Effect::Serve { index, tokens });
        }
    }

    pub(super) fn append_reply(
        &mut self,
        core: &mut Core,
        from: NodeId,
        outcome: AppendOutcome,
        out: &mut Effects,
    ) {
        let (base, last) = (core.log.base().index, core.log.last().index);
        let Some(peer) = self.hear(from) else {
            if let AppendOutcome::Match(index) = outcome {
                // The entry by which it is no member may have arrived there only now: it learns
                // that this has committed, and campaigns no more.
                self.send_heartbeat(core, from, index, out);
            }
            return out.note(Note::StaleReply { from });
        };
        match outcome {
            AppendOutcome::Match(index) if index > last => {
                let what = "acknowledges entries that were never sent";
                return out.note(Note::Impossible { from, what });
            }
            AppendOutcome::Match(index) => {
                let probing = matches!(peer.flow, Flow::Probe { .. });
                if !peer.matched(index) {
                    out.note(Note::StaleReply { from });
                } else if peer.rejoined(base) || probing && matches!(peer.flow, Flow::Stream { .. })
                {
                    out.note(Note::Stream {
                        peer: from,
                        next: peer.next,
                    });
                }
                self.advance_commit(core, out);
                self.hand_over(core, out);
                if self.conducted.is_some() {
                    self.advance_change(core, out);
                }
            }
            AppendOutcome::Conflict { rejected, .. } if !peer.refusal_is_current(rejected) => {
                out.note(Note::StaleReply { from });
            }
            AppendOutcome::Conflict { rejected, hint } => {
                // Below the base the terms are not known, and nothing can be sent from there.
                let ours = match hint.index < base {
                    true => hint.index,
                    false => core.log.last_not_after(hint).index,
                };
                let next = ours.next().min(rejected);
                peer.go_back(next);
                out.note(Note::GoBack {
                    peer: from,
                    next: peer.next,
                });
            }
            // About an append of an earlier term of ours, by one that has since joined this one.
            AppendOutcome::StaleTerm => out.note(Note::StaleReply { from }),
        }
        // It may have been told to go.
        if let Some(peer) = self.peers.get_mut(&from) {
            send_appends_to(core, from, peer, out);
        }
    }

    pub(super) fn persisted(&mut self, core: &mut Core, out: &mut Effects) {
        self.advance_commit(core, out);
        self.hand_over(core, out);
    }

    /// Figure 2, "Leaders", last rule; our own copy counts when it is durable.
    fn advance_commit(&mut self, core: &mut Core, out: &mut Effects) {
        let own = match planted!("leader_counts_itself_before_its_sync") {
            true => core.log.last().index,
            false => core.durable,
        };
        let mut index = Index(self.quorum_min(core, own.0, |peer| peer.matched.0));
        let matched = |node| self.peers.get(&node).map_or(own.0, |peer| peer.matched.0);
        if planted!("joint_commit_by_the_new_majority_alone") {
            index = Index(core.config().new_quorum_min(matched));
        }
        if planted!("joint_commit_by_the_old_majority_alone") {
            index = Index(core.config().old_quorum_min(matched));
        }
        if planted!("quorum_index_of_an_unsorted_list") {
            let peers = self.peers.values().map(|peer| peer.matched);
            let all: Vec<Index> = std::iter::once(own).chain(peers).collect();
            index = all[all.len() / 2];
        }
        if index <= core.commit {
            return;
        }
        let pos = LogPos::new(core.log.term(index).expect("a majority holds it"), index);
        if pos.term != core.hard.term && !planted!("commit_by_counting_old_terms") {
            // §5.4.2, Figure 8: a majority may hold an old term's entry and a later leader still
            // replace it. One of our own term on top of it settles that.
            return out.note(Note::OldTermNotCounted { pos });
        }
        let before = core.commit;
        core.commit_to(index, out);
        if let Some(tokens) = self.reads.take_waiting() {
            self.read(core, tokens, out);
        }
        self.config_committed(core, before, out);
    }

    /// Begins a hand-over (th. 3.10): no new commands, and as soon as the target has the whole
    /// log it is told to campaign.
    pub(super) fn transfer(&mut self, core: &mut Core, to: Option<NodeId>, out: &mut Effects) {
        let timeout = u64::from(core.options.election_timeout_ticks);
        let config = core.config();
        let alive = |peer: &Progress| self.now - peer.heard_at < timeout;
        let furthest = || {
            let peers = self.peers.iter();
            let peers = peers.filter(|(node, peer)| alive(peer) && config.votes_in_new(**node));
            peers
                .max_by_key(|(_, peer)| peer.matched)
                .map(|(&node, _)| node)
        };
        let Some(to) = to
            .or_else(furthest)
            .filter(|to| self.peers.contains_key(to) && config.votes_in_new(*to))
        else {
            return out.note(Note::TransferRefused);
        };
        out.note(Note::TransferBegun { to });
        self.transfer = Some(Transfer {
            to,
            since: self.now,
            told: false,
        });
        self.hand_over(core, out);
    }

    /// The target has the whole log, and all of it is committed: whoever waits for a command has
    /// its answer from here.
    fn hand_over(&mut self, core: &Core, out: &mut Effects) {
        let last = core.log.last().index;
        if let Some(transfer) = &mut self.transfer
            && !transfer.told
            && self.peers[&transfer.to].matched == last
            && core.commit == last
        {
            transfer.told = true;
            core.send(
                transfer.to,
                Message::TimeoutNow {
                    term: core.hard.term,
                },
                out,
            );
        }
    }

    /// What is known of the sender of an answer, if it is a member still.
    fn hear(&mut self, from: NodeId) -> Option<&mut Progress> {
        let peer = self.peers.get_mut(&from)?;
        peer.heard_at = self.now;
        Some(peer)
    }

    fn quorum_min(&self, core: &Core, own: u64, value: impl Fn(&Progress) -> u64) -> u64 {
        let id = core.options.id;
        let value = |node| match node == id {
            true => own,
            // A voter that the leader does not know has reached nothing.
            false => self.peers.get(&node).map_or(0, &value),
        };
        if planted!("removed_leader_counts_itself") && !core.config().votes(id) {
            let voters = core.config().voters();
            return Config::new(voters.chain([id])).quorum_min(value);
        }
        core.config().quorum_min(value)
    }

    pub(super) fn send_heartbeats(&self, core: &Core, out: &mut Effects) {
        for (&to, peer) in &self.peers {
            self.send_heartbeat(core, to, peer.matched, out);
        }
    }

    /// What the follower is not known to hold it must not commit: a heartbeat vouches for no entry.
    fn send_heartbeat(&self, core: &Core, to: NodeId, matched: Index, out: &mut Effects) {
        let heartbeat = Message::Heartbeat {
            term: core.hard.term,
            commit: core.commit.min(matched),
            round: self.reads.round(),
        };
        core.send(to, heartbeat, out);
    }

    pub(super) fn send_appends(&mut self, core: &Core, out: &mut Effects) {
        for (&node, peer) in &mut self.peers {
            send_appends_to(core, node, peer, out);
        }
    }
}

/// Sends what the follower lacks and its flow allows.
fn send_appends_to(core: &Core, node: NodeId, peer: &mut Progress, out: &mut Effects) {
    let end = core.log.last().index;
    while peer.next <= end {
        if is_compacted(core, peer) {
            return match peer.flow {
                Flow::Snapshot { .. } => {}
                _ => offer_snapshot(core, node, peer, out),
            };
        }
        let max_bytes = core.options.append_max_bytes;
        let last = core.log.batch_end(peer.next, max_bytes, APPEND_MAX_ENTRIES);
        match &mut peer.flow {
            Flow::Snapshot { .. } | Flow::Probe { waiting: true } => return,
            Flow::Probe { waiting } => {
                *waiting = true;
                return send_append(core, node, peer, last, out);
            }
            Flow::Stream { in_flight } => {
                let bytes = core.log.bytes(peer.matched, peer.next.before());
                let full = in_flight.len() >= core.options.in_flight_max
                    || bytes >= core.options.in_flight_max_bytes;
                if full && !in_flight.is_empty() {
                    return;
                }
                in_flight.push_back(last);
                send_append(core, node, peer, last, out);
                peer.next = last.next();
            }
        }
    }
}

/// Whether what comes before `peer.next` is no more in the log.
fn is_compacted(core: &Core, peer: &Progress) -> bool {
    peer.next.before() < core.log.base().index
}

/// Names the snapshot that has what the follower lacks: the one that it was offered before, as
/// long as the log goes on from there, or it would begin anew with each snapshot that we take.
fn offer_snapshot(core: &Core, to: NodeId, peer: &mut Progress, out: &mut Effects) {
    let newest = core.snapshot.expect("what was compacted is in a snapshot");
    let snapshot = match peer.flow {
        Flow::Snapshot { offered } if offered.pos.index >= core.log.base().index => offered,
        _ => {
            let pos = newest.pos;
            out.note(Note::SnapshotOffered { peer: to, pos });
            newest
        }
    };
    peer.flow = Flow::Snapshot { offered: snapshot };
    let term = core.hard.term;
    core.send(to, Message::SnapshotOffer { term, snapshot }, out);
}

/// Sends the entries from `peer.next` to `last`, or, with none, asks for what precedes them.
fn send_append(core: &Core, to: NodeId, peer: &Progress, last: Index, out: &mut Effects) {
    let before = peer.next.before();
    let prev = LogPos::new(core.log.term(before).expect("within the log"), before);
    out.push(Effect::SendAppend {
        to,
        term: core.hard.term,
        prev,
        last,
        commit: core.commit,
    });
}
