//! The one text form of what goes in and comes out: golden scripts and the node's log read the
//! same. ASCII, one fact per line; the reader of a line knows whose it is, `n1@2` for node 1 in
//! term 2, so that a message names its term only where it is not its sender's.

use std::fmt::{self, Display, Formatter};

use super::{
    config::{Change, Config, Suffrage},
    effect::{Effect, HardState, RefusalReason, RoleName},
    input::Input,
    membership::{ChangeRefusal, ChangeState},
    message::{AppendOutcome, Entry, EntryKind, Message, VoteKind},
    options::{PeerStatus, Status},
    types::{Index, NodeId, Seq, Token},
};

/// Commands longer than this, or not printable, are shown by their size.
const DATA_MAX_SHOWN_BYTES: usize = 40;

/// Items with a space between them.
struct Spaced<'a, T>(&'a [T]);

impl<T: Display> Display for Spaced<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

fn tokens(list: &[Token]) -> String {
    let names: Vec<String> = list.iter().map(|token| format!("t{token}")).collect();
    Spaced(&names).to_string()
}

fn node(id: Option<NodeId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| format!("n{id}"))
}

impl Display for Config {
    /// `[n0 n1 -n2 +n3 n4?]`: two voters, one that votes in C_old only, one in C_new only, and a
    /// learner.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = |(id, suffrage): (&NodeId, Suffrage)| match suffrage {
            Suffrage::Voter => format!("n{id}"),
            Suffrage::Learner => format!("n{id}?"),
            Suffrage::Joining => format!("+n{id}"),
            Suffrage::Leaving => format!("-n{id}"),
        };
        let members = self.members().iter();
        let members: Vec<String> = members.map(|(id, m)| shown((id, m.suffrage))).collect();
        write!(f, "[{}]", Spaced(&members))
    }
}

impl Display for Change {
    /// `+n3 +n4? -n0`: a voter and a learner to add, a member to remove.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mark = |votes| if votes { "" } else { "?" };
        let added = self.add.iter();
        let added = added.map(|(id, addition)| format!("+n{id}{}", mark(addition.votes)));
        let removed = self.remove.iter().map(|id| format!("-n{id}"));
        let all: Vec<String> = added.chain(removed).collect();
        Spaced(&all).fmt(f)
    }
}

impl Display for ChangeState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ChangeState::Refused(refusal) => write!(f, "refused ({refusal})"),
            ChangeState::CatchingUp {
                node,
                matched,
                last,
            } => write!(f, "catching up: n{node} has {matched} of {last}"),
            ChangeState::Joint => write!(f, "joint"),
            ChangeState::Committing => write!(f, "committing"),
            ChangeState::Done => write!(f, "done"),
        }
    }
}

impl Display for ChangeRefusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ChangeRefusal::NotLeader { leader } => {
                write!(f, "not leader; leader={}", node(*leader))
            }
            ChangeRefusal::Transferring { to } => write!(f, "handing over to n{to}"),
            ChangeRefusal::UnderWay => write!(f, "another change is under way"),
            ChangeRefusal::TermNotCommitted => write!(f, "the leader's term has no commit yet"),
            ChangeRefusal::Retired(id) => write!(f, "n{id} was a member once"),
            ChangeRefusal::NoMember(id) => write!(f, "n{id} is no member"),
            ChangeRefusal::AddedAndRemoved(id) => write!(f, "n{id} is added and removed"),
            ChangeRefusal::IsVoter(id) => write!(f, "n{id} is a voter"),
            ChangeRefusal::OtherIncarnation(id) => {
                write!(f, "n{id} is a member with another data directory")
            }
            ChangeRefusal::NoVoter => write!(f, "nobody would vote"),
            ChangeRefusal::TooMany(count) => write!(f, "there would be {count} members"),
            ChangeRefusal::Silent(id) => write!(f, "n{id} is not heard"),
            ChangeRefusal::Lags {
                node,
                matched,
                last,
            } => write!(f, "n{node} does not catch up: it has {matched} of {last}"),
        }
    }
}

impl Display for Entry {
    /// `3@1 put a=1`, `3@1 no-op`, `3@1 config [n0 n1]`; what cannot be shown by its size.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.pos)?;
        match self.kind {
            EntryKind::NO_OP => return write!(f, "no-op"),
            EntryKind::COMMAND => {}
            EntryKind::CONFIG => {
                if let Some(config) = Config::decode(&self.data) {
                    return write!(f, "config {config}");
                }
            }
            EntryKind(kind) => write!(f, "kind={kind} ")?,
        }
        let printable = |b: &u8| b.is_ascii_graphic() || *b == b' ';
        match std::str::from_utf8(&self.data) {
            Ok(text) if text.len() <= DATA_MAX_SHOWN_BYTES && self.data.iter().all(printable) => {
                write!(f, "{text}")
            }
            _ => write!(f, "<{} bytes>", self.data.len()),
        }
    }
}

impl Display for HardState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "term={} vote={}", self.term, node(self.vote))
    }
}

impl Display for AppendOutcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AppendOutcome::Match(index) => write!(f, "match={index}"),
            AppendOutcome::Conflict { rejected, hint } => {
                write!(f, "conflict rejected={rejected} hint={hint}")
            }
            AppendOutcome::StaleTerm => write!(f, "stale-term"),
        }
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Message::Append(append) => {
                let places: Vec<_> = append.entries.iter().map(|entry| entry.pos).collect();
                let (prev, commit) = (append.prev, append.commit);
                write!(
                    f,
                    "Append prev={prev} [{}] commit={commit}",
                    Spaced(&places)
                )
            }
            Message::AppendReply { outcome, .. } => write!(f, "AppendReply {outcome}"),
            Message::Heartbeat { commit, round, .. } => {
                write!(f, "Heartbeat commit={commit} round={round}")
            }
            Message::HeartbeatReply { round, .. } => write!(f, "HeartbeatReply round={round}"),
            Message::VoteRequest { term, last, kind } => match kind {
                VoteKind::PreVote => write!(f, "VoteRequest pre-vote term={term} last={last}"),
                VoteKind::Election => write!(f, "VoteRequest last={last}"),
                VoteKind::Transfer => write!(f, "VoteRequest transfer last={last}"),
            },
            Message::VoteReply {
                term,
                granted,
                pre_vote,
            } => match (pre_vote, granted) {
                (true, true) => write!(f, "VoteReply pre-vote granted term={term}"),
                (true, false) => write!(f, "VoteReply pre-vote denied"),
                (false, true) => write!(f, "VoteReply granted"),
                (false, false) => write!(f, "VoteReply denied"),
            },
            Message::SnapshotOffer { snapshot, .. } => {
                write!(f, "SnapshotOffer {}", snapshot.pos)
            }
            Message::TimeoutNow { .. } => write!(f, "TimeoutNow"),
        }
    }
}

impl Display for RefusalReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            RefusalReason::NotLeader { leader } => {
                write!(f, "not leader; leader={}", node(*leader))
            }
            RefusalReason::Transferring { to } => write!(f, "handing over to n{to}"),
            RefusalReason::Busy => write!(f, "too many bytes wait to be committed"),
            RefusalReason::DiskFull => write!(f, "the disk is full"),
        }
    }
}

impl Display for RoleName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Display for Effect {
    /// `->` is a message that leaves at once, `=>` one that waits for a write.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Write { seq, hard, entries } => {
                write!(f, "write #{seq}")?;
                if let Some(hard) = hard {
                    write!(f, " {hard}")?;
                }
                for entry in entries {
                    write!(f, " [{entry}]")?;
                }
                Ok(())
            }
            Effect::Send { to, message, after } => match *after {
                Seq::NONE => write!(f, "-> n{to} {message}"),
                after => write!(f, "=> n{to} {message} (held for #{after})"),
            },
            Effect::SendAppend {
                to,
                prev,
                last,
                commit,
                ..
            } => {
                let first = prev.index.next();
                write!(
                    f,
                    "-> n{to} Append prev={prev} [{first}..={last}] commit={commit}"
                )
            }
            Effect::FetchSnapshot { from, snapshot } => {
                write!(f, "fetch snapshot {} from n{from}", snapshot.pos)
            }
            Effect::Install { seq, snapshot } => {
                write!(f, "install #{seq} snapshot {}", snapshot.pos)
            }
            Effect::Apply { range } => write!(f, "apply {}..={}", range.start(), range.end()),
            Effect::Accepted {
                first,
                tokens: list,
            } => {
                write!(f, "accepted {} from {first}", tokens(list))
            }
            Effect::Serve {
                index,
                tokens: list,
            } => write!(f, "serve {} at {index}", tokens(list)),
            Effect::Refused {
                tokens: list,
                reason,
            } => {
                write!(f, "refused {} ({reason})", tokens(list))
            }
            Effect::Reconfigured { token, state } => write!(f, "change t{token} {state}"),
            Effect::Role(change) => {
                write!(f, "role {} leader={}", change.role, node(change.leader))
            }
            Effect::Note(note) => write!(f, "note {note}"),
        }
    }
}

impl Display for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Input::Tick => write!(f, "tick"),
            Input::Receive { from, message } => {
                write!(f, "receive n{from}@{} {message}", message.term())
            }
            Input::Propose { commands } => {
                let list: Vec<Token> = commands.iter().map(|(token, _)| *token).collect();
                write!(f, "propose {}", tokens(&list))
            }
            Input::Read { tokens: list } => write!(f, "read {}", tokens(list)),
            Input::Transfer { to } => write!(f, "transfer to {}", node(*to)),
            Input::Reconfigure { token, change } => write!(f, "reconfigure t{token} {change}"),
            Input::Described { node, description } => {
                write!(f, "n{node} is at {}", description.peer_address)
            }
            Input::Persisted { upto } => write!(f, "persisted #{upto}"),
            Input::SnapshotTaken { snapshot, compact } => {
                write!(f, "snapshot {} taken, compact to {compact}", snapshot.pos)
            }
            Input::SnapshotFetched { snapshot, .. } => {
                write!(f, "snapshot {} fetched", snapshot.pos)
            }
        }
    }
}

impl Display for Status {
    /// `n0@1 Leader leader=n0 vote=n0 last=2@1 durable=2 commit=2 applied=2 n1=2/3 n2=0/3`, where
    /// `n1=2/3` is a follower's `matchIndex` and `nextIndex`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let HardState { term, vote } = self.hard;
        write!(
            f,
            "n{}@{term} {} leader={}",
            self.id,
            self.role,
            node(self.leader)
        )?;
        write!(
            f,
            " vote={} last={} durable={}",
            node(vote),
            self.last,
            self.durable
        )?;
        write!(f, " commit={} applied={}", self.commit, self.applied)?;
        if self.snapshot > Index::ZERO {
            write!(f, " snapshot={} base={}", self.snapshot, self.base)?;
        }
        if self.config_at > self.snapshot {
            write!(f, " config={}{}", self.config_at, self.config)?;
        }
        for peer in &self.progress {
            let PeerStatus {
                node,
                matched,
                next,
                ..
            } = peer;
            write!(f, " n{node}={matched}/{next}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{LogPos, Term};
    use bytes::Bytes;

    fn shown(kind: u32, data: &[u8]) -> String {
        let entry = Entry {
            pos: LogPos::new(Term(2), Index(7)),
            kind: EntryKind(kind),
            data: Bytes::copy_from_slice(data),
        };
        entry.to_string()
    }

    #[test]
    fn an_entry_shows_what_is_printable_and_short_and_else_its_size() {
        assert_eq!(shown(0, b""), "7@2 no-op");
        assert_eq!(shown(1, b"put a=1"), "7@2 put a=1");
        assert_eq!(shown(1, b"put a=\n"), "7@2 <7 bytes>");
        assert_eq!(shown(1, &[b'x'; 41]), "7@2 <41 bytes>");
        assert_eq!(shown(9, &[0xff]), "7@2 kind=9 <1 bytes>");
    }

    #[test]
    fn an_input_reads_as_one_line() {
        let commands = vec![(Token(3), Bytes::new()), (Token(4), Bytes::new())];
        assert_eq!(Input::Propose { commands }.to_string(), "propose t3 t4");
        let message = Message::TimeoutNow { term: Term(2) };
        let from = NodeId(1);
        let receive = Input::Receive { from, message };
        assert_eq!(receive.to_string(), "receive n1@2 TimeoutNow");
        assert_eq!(
            Input::Persisted { upto: Seq(5) }.to_string(),
            "persisted #5"
        );
        assert_eq!(Input::Transfer { to: None }.to_string(), "transfer to none");
    }
}
