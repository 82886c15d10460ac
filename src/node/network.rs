//! All connections between this node and the others, over one poll.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use rustix::io::Errno;

use super::{
    handle::Shared,
    hello::{self, Hello, Introduction, Known, Refusal},
    identity::DataDir,
    inbound::{Inbound, Received},
    link::{Link, LinkEvent},
    resolver::Resolver,
    roster::Roster,
    socket::{self, READ_BYTES},
};
use crate::{
    codec::Packet,
    proto::peer::refusal::Code,
    raft::{Config, Description, Incarnation, NodeId},
};

/// Tokens of connections that we opened are node ids; those of accepted ones count up from here.
const FIRST_INBOUND: usize = 1 << 32;
/// The listener's token.
const LISTENER: Token = Token(FIRST_INBOUND - 1);
/// The token of the waker.
pub(super) const WAKER: Token = Token(FIRST_INBOUND - 2);
/// The largest node id, so that no id is one of the tokens above.
pub const NODE_ID_MAX: u64 = (1 << 32) - 3;

/// Connections that have not said who they are.
const STRANGERS_MAX: usize = 16;
/// And those of nodes that are no members: each takes a descriptor for as long as it likes.
const OTHERS_MAX: usize = 16;
/// Connections accepted in one turn: strangers must not keep the loop from its members.
const ACCEPTS_PER_TURN: usize = 64;
/// The same refusal is logged once in this time.
const LOG_EVERY_MS: u64 = 60_000;

/// Why the network cannot go on.
#[derive(Debug)]
pub(super) enum NetworkError {
    /// The system refused to poll.
    Io(io::Error),
    /// A pin could not be made durable.
    Pin(io::Error),
    /// Another data directory is known under our id.
    Replaced,
}

/// Whether connections may wait to be accepted, for which no further event comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accept {
    Drained,
    More,
    /// The system had no descriptor or memory to give: try again at the next tick.
    Exhausted,
}

/// The connections of one node.
pub(super) struct Network {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    resolver: Resolver,
    me: Introduction,
    data_dir: DataDir,
    log_was_empty: bool,
    roster: Roster,
    links: BTreeMap<NodeId, Link>,
    inbound: BTreeMap<usize, Inbound>,
    next_inbound: usize,
    greeted: BTreeSet<NodeId>,
    up: BTreeSet<NodeId>,
    /// By member, and all strangers together: who invents ids must fill neither memory nor disk.
    logged_ms: BTreeMap<(Option<NodeId>, &'static str), u64>,
    accept: Accept,
    buffer: Box<[u8; READ_BYTES]>,
}

impl Network {
    /// Connections to and from the nodes of `roster`, on a bound listener. A log that was empty at
    /// the start may have been wiped.
    ///
    /// # Errors
    /// When the system does not let the listener be polled.
    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        shared: Arc<Shared>,
        me: Introduction,
        data_dir: DataDir,
        log_was_empty: bool,
        roster: Roster,
    ) -> io::Result<Network> {
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut network = Network {
            poll,
            events: Events::with_capacity(256),
            listener,
            resolver: Resolver::new(move || {
                // It fails only when the loop is gone, and with it the need.
                let _ = shared.waker.wake();
            }),
            me,
            data_dir,
            log_was_empty,
            roster,
            links: BTreeMap::new(),
            inbound: BTreeMap::new(),
            next_inbound: FIRST_INBOUND,
            greeted: BTreeSet::new(),
            up: BTreeSet::new(),
            logged_ms: BTreeMap::new(),
            accept: Accept::Drained,
            buffer: Box::new([0; READ_BYTES]),
        };
        network.follow_roster();
        Ok(network)
    }

    /// The log may say something new about who the members are.
    ///
    /// # Errors
    /// When this node has to stop.
    pub(super) fn take_configs(
        &mut self,
        effective: &Arc<Config>,
        committed: &Arc<Config>,
    ) -> Result<(), NetworkError> {
        if !self.roster.take_configs(effective, committed) {
            return Ok(());
        }
        for &node in effective.members().keys() {
            let heard = self.roster.heard(node).and_then(|said| said.incarnation);
            self.pin(node, heard)?;
        }
        let roster = &self.roster;
        self.inbound.retain(|_, inbound| {
            let from = inbound.from();
            from.is_none_or(|node| !roster.is_retired(node))
        });
        if roster.is_retired(self.me.node_id) {
            tracing::warn!("{}", hello::removed(self.me.node_id));
        }
        self.follow_roster();
        Ok(())
    }

    /// What members said of themselves since, and the log should have.
    pub(super) fn take_news(&mut self) -> Vec<(NodeId, Description)> {
        self.roster.take_news()
    }

    /// Keeps a link to each node that one is wanted to.
    fn follow_roster(&mut self) {
        let there: BTreeSet<NodeId> = self.inbound.values().filter_map(Inbound::from).collect();
        let mut wanted = self.roster.wanted(|node| there.contains(&node));
        self.links.retain(|node, _| wanted.contains_key(node));
        self.up.retain(|node| wanted.contains_key(node));
        for (node, link) in &mut self.links {
            link.set_places(wanted.remove(node).expect("just retained"));
        }
        for (node, places) in wanted {
            self.links.insert(node, Link::new(node, places));
        }
    }

    /// Binds a member's id to its data directory, durably: to the one that the log names, else to
    /// the first that was seen here.
    fn pin(&mut self, node: NodeId, seen: Option<Incarnation>) -> Result<(), NetworkError> {
        let logged = self.roster.incarnation(node);
        let pinned = self.data_dir.pins().get(&node).copied();
        match logged.or(pinned).or(seen) {
            Some(incarnation) if pinned != Some(incarnation) && self.roster.is_member(node) => self
                .data_dir
                .pin(node, incarnation)
                .map_err(NetworkError::Pin),
            _ => Ok(()),
        }
    }

    /// Waits for something to happen, no longer than `timeout`, and looks after it.
    ///
    /// # Errors
    /// When this node has to stop.
    pub(super) fn wait(
        &mut self,
        timeout: Duration,
        now_ms: impl Fn() -> u64,
    ) -> Result<(), NetworkError> {
        let more =
            self.accept == Accept::More || self.inbound.values().any(|inbound| inbound.readable);
        let timeout = if more { Duration::ZERO } else { timeout };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(NetworkError::Io(error));
            }
            _ => {}
        }
        let now_ms = now_ms();
        let events = self.events.iter();
        let ready = events.map(|e| (e.token(), e.is_read_closed() || e.is_error()));
        let ready: Vec<(Token, bool)> = ready.collect();
        for (token, ended) in ready {
            match token {
                WAKER => {}
                LISTENER => self.accept = Accept::More,
                Token(id) if id >= FIRST_INBOUND => {
                    if let Some(inbound) = self.inbound.get_mut(&id) {
                        inbound.ready(ended);
                    }
                }
                Token(id) => self.link_ready(NodeId(id as u64), ended, now_ms)?,
            }
        }
        if self.accept == Accept::More {
            self.accept = self.accept(now_ms);
        }
        self.connect_resolved(now_ms);
        Ok(())
    }

    /// Takes what members have said since.
    ///
    /// # Errors
    /// When this node has to stop.
    pub(super) fn receive(
        &mut self,
        now_ms: u64,
        mut take: impl FnMut(NodeId, Packet),
    ) -> Result<(), NetworkError> {
        let ready = self.inbound.iter().filter(|(_, inbound)| inbound.readable);
        let ready: Vec<usize> = ready.map(|(&id, _)| id).collect();
        for id in ready {
            // Taken out, so that a decision about it may touch the others.
            let Some(mut inbound) = self.inbound.remove(&id) else {
                continue;
            };
            let open = inbound.read(&mut self.buffer);
            if self.take_frames(&mut inbound, now_ms, &mut take)? && open {
                self.inbound.insert(id, inbound);
            }
        }
        Ok(())
    }

    /// Returns whether the connection goes on.
    fn take_frames(
        &mut self,
        inbound: &mut Inbound,
        now_ms: u64,
        take: &mut impl FnMut(NodeId, Packet),
    ) -> Result<bool, NetworkError> {
        loop {
            match inbound.next(now_ms) {
                Ok(None) => return Ok(true),
                Ok(Some(Received::Packet(from, packet))) => take(from, packet),
                Ok(Some(Received::OtherVersion(version))) => {
                    let refusal = hello::other_version(version);
                    self.complain(None, "version", &refusal.reason, now_ms);
                    self.reply(inbound, Some(refusal));
                    return Ok(false);
                }
                Ok(Some(Received::Hello(hello))) => {
                    if !self.welcome(inbound, &hello, now_ms)? {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    let from = inbound.from();
                    let name = from.map_or("a stranger".to_owned(), |id| format!("node {id}"));
                    let text = format!("closed a connection of {name}: {error}");
                    self.complain(from, "broken", &text, now_ms);
                    return Ok(false);
                }
            }
        }
    }

    /// Queues a frame for a member.
    pub(super) fn send(&mut self, to: NodeId, frame: Bytes) {
        if let Some(link) = self.links.get_mut(&to) {
            link.send(frame);
        }
    }

    /// Writes what the sockets take.
    pub(super) fn flush(&mut self, now_ms: u64) {
        for link in self.links.values_mut() {
            link.flush(now_ms);
        }
    }

    /// Reconnects what is due and closes what is overdue.
    pub(super) fn tick(&mut self, now_ms: u64) {
        if self.accept == Accept::Exhausted {
            self.accept = Accept::More;
        }
        let mut failed = Vec::new();
        for (&node, link) in &mut self.links {
            if let Some((name, turn)) = link.due(now_ms) {
                self.resolver.ask(node, name, turn);
            }
            failed.extend(link.take_failure().map(|why| (node, why)));
        }
        for (node, why) in failed {
            let text = format!("node {node} is not reached, still trying: {why}");
            self.complain(Some(node), "unreachable", &text, now_ms);
        }
        self.inbound
            .retain(|_, inbound| !inbound.is_overdue(now_ms));
        self.log_links();
        self.follow_roster();
    }

    fn log_links(&mut self) {
        for (&node, link) in &self.links {
            if link.is_ready() && self.up.insert(node) {
                tracing::info!("connected to node {node}");
            } else if !link.is_ready() && self.up.remove(&node) {
                tracing::warn!("lost the connection to node {node}");
            }
        }
    }

    /// Whether every other member has been met since this node started.
    pub(super) fn has_met_all(&self) -> bool {
        self.links.keys().all(|node| self.greeted.contains(node))
    }

    /// Where a member serves clients; empty while it has not said so.
    pub(super) fn client_address(&self, node: NodeId) -> String {
        self.roster.client_address(node)
    }

    fn accept(&mut self, now_ms: u64) -> Accept {
        for _ in 0..ACCEPTS_PER_TURN {
            let accepted = self.listener.accept();
            let after = accepted.as_ref().map_or_else(after_error, |_| Accept::More);
            if after == Accept::Drained {
                return after;
            }
            if let Err(error) = accepted.and_then(|(stream, _)| self.take_in(stream, now_ms)) {
                let text = format!("cannot accept a connection: {error}");
                self.complain(None, "accept", &text, now_ms);
            }
            if after == Accept::Exhausted {
                return after;
            }
        }
        Accept::More
    }

    fn take_in(&mut self, mut stream: TcpStream, now_ms: u64) -> io::Result<()> {
        socket::configure(&stream)?;
        let token = Token(self.next_inbound);
        let registry = self.poll.registry();
        registry.register(&mut stream, token, Interest::READABLE)?;
        self.make_room();
        let inbound = Inbound::new(stream, now_ms);
        self.inbound.insert(self.next_inbound, inbound);
        self.next_inbound += 1;
        Ok(())
    }

    /// The oldest stranger goes: the newest may be a member, and a member says hello at once.
    fn make_room(&mut self) {
        let strangers = self.inbound.iter();
        let mut strangers = strangers.filter(|(_, inbound)| inbound.from().is_none());
        if let Some((&oldest, _)) = strangers.next()
            && strangers.count() + 1 >= STRANGERS_MAX
        {
            self.inbound.remove(&oldest);
        }
    }

    fn connect_resolved(&mut self, now_ms: u64) {
        let found: Vec<_> = self.resolver.found().collect();
        for (node, address) in found {
            // It may have been removed since.
            let Some(link) = self.links.get_mut(&node) else {
                continue;
            };
            let connected = match address {
                Ok(address) => link.connect(address, self.poll.registry(), now_ms),
                Err(error) => Err(error),
            };
            if let Err(error) = connected {
                link.fail(now_ms, &error.to_string());
            }
        }
    }

    fn link_ready(&mut self, node: NodeId, ended: bool, now_ms: u64) -> Result<(), NetworkError> {
        let Some(link) = self.links.get_mut(&node) else {
            return Ok(());
        };
        match link.ready(now_ms, ended, &mut self.buffer) {
            LinkEvent::Nothing => {}
            LinkEvent::Connected => {
                let mut hello = Vec::new();
                let pins = self.roster.pins(self.data_dir.pins());
                hello::encode(&self.me, &pins, None, &mut hello);
                link.greet(hello, now_ms);
            }
            LinkEvent::Answered(hello) => match self.judge(&hello, Some(node), now_ms)? {
                Ok(()) => self
                    .links
                    .get_mut(&node)
                    .expect("just there")
                    .accept(now_ms),
                Err(refusal) => {
                    let link = self.links.get_mut(&node).expect("just there");
                    link.fail(now_ms, &refusal.reason);
                }
            },
        }
        Ok(())
    }

    /// Answers the hello of a connection that another node opened. Returns whether it stays.
    fn welcome(
        &mut self,
        inbound: &mut Inbound,
        hello: &Hello,
        now_ms: u64,
    ) -> Result<bool, NetworkError> {
        let verdict = self.judge(hello, None, now_ms)?;
        let accepted = verdict.is_ok();
        if !self.reply(inbound, verdict.err()) || !accepted {
            return Ok(false);
        }
        // The newest handshake wins: an older connection may be half open.
        let from = hello.node_id;
        self.inbound.retain(|_, other| other.from() != Some(from));
        inbound.accept(from);
        let of_another = |from: NodeId| !self.roster.is_expected(from);
        let others = self.inbound.iter();
        let mut others = others.filter(|(_, other)| other.from().is_some_and(of_another));
        if of_another(from)
            && let Some((&oldest, _)) = others.next()
            && others.count() + 1 >= OTHERS_MAX
        {
            self.inbound.remove(&oldest);
        }
        Ok(true)
    }

    /// Answers with our hello. Returns whether it could be said.
    fn reply(&self, inbound: &mut Inbound, refusal: Option<Refusal>) -> bool {
        let mut answer = Vec::new();
        let pins = self.roster.pins(self.data_dir.pins());
        hello::encode(&self.me, &pins, refusal, &mut answer);
        inbound.answer(&answer)
    }

    /// Decides on a hello. Who is accepted is pinned first, durably: its votes and
    /// acknowledgements count from here on. That this node was replaced is believed of members
    /// only, and only where there was no log to prove the contrary: else one forged or stale pin
    /// stops a sound node for good.
    fn judge(
        &mut self,
        hello: &Hello,
        expected: Option<NodeId>,
        now_ms: u64,
    ) -> Result<Result<(), Refusal>, NetworkError> {
        let node = hello.node_id;
        let known = Known {
            pins: self.roster.pins(self.data_dir.pins()),
            is_retired: self.roster.is_retired(node),
        };
        let mut checked = hello.check(&self.me, &known, expected);
        if node.0 > NODE_ID_MAX {
            let reason = format!("node id {node} exceeds {NODE_ID_MAX}; take a smaller --node-id");
            checked = Err(Refusal::new(Code::NotAMember, reason));
        }
        if checked.is_ok() && hello.replaces(&self.me) {
            if self.log_was_empty && self.roster.is_expected(node) {
                return Err(NetworkError::Replaced);
            }
            let reason = format!("at node {node}, {}", hello::wiped(self.me.node_id));
            checked = Err(Refusal::new(Code::Incarnation, reason));
        }
        if let Err(refusal) = checked {
            let kind = refusal.code.as_str_name();
            if refusal.code != Code::Joining {
                self.complain(Some(node), kind, &refusal.reason, now_ms);
            } else if self.is_new(Some(node), kind, now_ms) {
                tracing::info!("{}", refusal.reason);
            }
            return Ok(Err(refusal));
        }
        if let Some(reason) = &hello.refused {
            let text = format!("node {node} refuses this node: {reason}");
            self.complain(Some(node), "refuses us", &text, now_ms);
            return Ok(Err(Refusal::new(Code::Unspecified, "you refused first")));
        }
        self.pin(node, Some(hello.incarnation))?;
        let ours = (self.me.heartbeat_ms, self.me.election_timeout_ms);
        let theirs = (hello.heartbeat_ms, hello.election_timeout_ms);
        let is_first = self.links.contains_key(&node) && self.greeted.insert(node);
        if is_first && ours != theirs {
            tracing::warn!(
                "node {node} has heartbeat {} ms and election timeout {} ms, this node {} and {}; \
                 set the same on every node",
                theirs.0,
                theirs.1,
                ours.0,
                ours.1
            );
        }
        self.roster.hear(node, hello.description());
        Ok(Ok(()))
    }

    /// Logs what is wrong with a member, or with strangers, each kind of thing once in a while: a
    /// peer that retries must not fill the disk.
    pub(super) fn complain(
        &mut self,
        about: Option<NodeId>,
        kind: &'static str,
        text: &str,
        now_ms: u64,
    ) {
        if self.is_new(about, kind, now_ms) {
            tracing::warn!("{text}");
        }
    }

    /// Whether such a thing was not logged lately. Who invents ids counts with the strangers.
    fn is_new(&mut self, about: Option<NodeId>, kind: &'static str, now_ms: u64) -> bool {
        let about = about.filter(|node| self.roster.is_expected(*node));
        let last_ms = self.logged_ms.get(&(about, kind));
        let is_new = last_ms.is_none_or(|last_ms| now_ms - last_ms >= LOG_EVERY_MS);
        if is_new {
            self.logged_ms.insert((about, kind), now_ms);
        }
        is_new
    }
}

/// What to do after accepting failed. Most errors are those of one connection, which is gone with
/// them (accept(2)): the next may be a member's.
fn after_error(error: &io::Error) -> Accept {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => Accept::Drained,
        Some(errno) if exhausted.contains(&errno) => Accept::Exhausted,
        _ => Accept::More,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_waits_only_when_the_system_has_nothing_to_give() {
        for (errno, after) in [
            (Errno::AGAIN, Accept::Drained),
            (Errno::MFILE, Accept::Exhausted),
            (Errno::NFILE, Accept::Exhausted),
            (Errno::NOMEM, Accept::Exhausted),
            (Errno::NOBUFS, Accept::Exhausted),
            (Errno::CONNABORTED, Accept::More),
            (Errno::INTR, Accept::More),
            (Errno::PROTO, Accept::More),
            (Errno::PERM, Accept::More),
        ] {
            assert_eq!(after_error(&errno.into()), after, "{errno}");
        }
    }
}
