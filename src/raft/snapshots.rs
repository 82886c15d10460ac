//! Log compaction and InstallSnapshot RPC (§7, Figure 13). The bytes of a snapshot are the driver's
//! affair: it takes, sends, fetches and loads them. What is decided here is which snapshot is
//! needed, whether it still is once it has arrived, and what becomes of the log.

use std::sync::Arc;

use super::{
    config::Config,
    configs::Configs,
    core::{Core, Raft, Role},
    effect::{Effect, Effects},
    log::Log,
    message::{AppendOutcome, Message},
    note::Note,
    types::{Index, LogPos, NodeId, Snapshot},
};

/// A snapshot of more than this is a forgery: the log would have no numbers left to go on with.
const INDEX_MAX: Index = Index(u64::MAX / 2);

impl Raft {
    /// Figure 13, receiver implementation, 5 to 8, as one step: the state is replaced as a whole.
    /// Only a follower does: nobody else has an entry to take from a leader. It asks again if it
    /// still lacks the entries when it next follows one.
    pub(super) fn snapshot_fetched(
        &mut self,
        snapshot: Snapshot,
        config: Config,
        out: &mut Effects,
    ) {
        let pos = snapshot.pos;
        let Role::Follower(follower) = &self.role else {
            return out.note(Note::SnapshotNotNeeded { pos });
        };
        if !self.core.lacks(snapshot, out) {
            return out.note(Note::SnapshotNotNeeded { pos });
        }
        self.core.install(snapshot, config, out);
        if let Some(leader) = follower.leader {
            self.core.acknowledge_snapshot(leader, snapshot, out);
        }
    }
}

impl Core {
    /// A snapshot of our own: what it includes was applied, so dropping it from the log loses
    /// nothing.
    pub(super) fn snapshot_taken(&mut self, snapshot: Snapshot, compact: Index, out: &mut Effects) {
        let (pos, applied) = (snapshot.pos, self.applied);
        assert!(
            compact <= pos.index && pos.index <= applied,
            "compacting to {compact} by a snapshot of {pos}, applied is {applied}"
        );
        // One that was installed meanwhile may be newer.
        if self.snapshot.is_some_and(|newest| newest.pos >= pos) {
            return;
        }
        self.snapshot = Some(snapshot);
        out.note(Note::SnapshotTaken { pos });
        if compact > self.log.base().index {
            self.log.compact(compact);
            self.configs.compact(compact);
            out.note(Note::Compacted { upto: compact });
        }
    }

    /// A leader's log does not reach back to what we lack, it says; this snapshot has it.
    pub(super) fn snapshot_offer(&mut self, from: NodeId, snapshot: Snapshot, out: &mut Effects) {
        let pos = snapshot.pos;
        let forks = pos.index > self.commit && pos.term < self.committed().term;
        let absurd = pos.index == Index::ZERO || pos.index > INDEX_MAX;
        if forks || absurd || pos.term > self.hard.term {
            let what = "a snapshot of what cannot be committed";
            return out.note(Note::Impossible { from, what });
        }
        if self.lacks(snapshot, out) {
            out.note(Note::SnapshotWanted { pos });
            return out.push(Effect::FetchSnapshot { from, snapshot });
        }
        out.note(Note::SnapshotNotNeeded { pos });
        self.acknowledge_snapshot(from, snapshot, out);
    }

    /// Whether the snapshot includes anything that is missing here. Where the log has its last
    /// entry, it has all before it (Log Matching), and learns that they are committed.
    fn lacks(&mut self, snapshot: Snapshot, out: &mut Effects) -> bool {
        let pos = snapshot.pos;
        if self.log.matches(pos) {
            self.commit_to(pos.index, out);
        }
        if planted!("older_snapshot_installed") {
            return true;
        }
        let committed = self.committed();
        pos.index > committed.index && pos.term >= committed.term
    }

    /// The last entry that is known to be committed.
    fn committed(&self) -> LogPos {
        let term = self.log.term(self.commit).expect("within the log");
        LogPos::new(term, self.commit)
    }

    /// All that the snapshot includes is here, and durable before this is said.
    fn acknowledge_snapshot(&self, to: NodeId, snapshot: Snapshot, out: &mut Effects) {
        let term = self.hard.term;
        let outcome = AppendOutcome::Match(snapshot.pos.index);
        let reply = Message::AppendReply { term, outcome };
        match planted!("install_acknowledged_before_sync") {
            true => self.send(to, reply, out),
            false => self.send_durable(to, reply, out),
        }
    }

    /// Figure 13, 7: the whole log goes. Its entry at the snapshot's end is missing or of another
    /// term, so nothing behind that is committed, and all before it is in the snapshot.
    fn install(&mut self, snapshot: Snapshot, config: Config, out: &mut Effects) {
        let index = snapshot.pos.index;
        assert!(
            index > self.commit || planted!("older_snapshot_installed"),
            "installing {index}, committed is {}",
            self.commit
        );
        assert!(
            !self.hard_changed && self.unwritten.is_empty(),
            "a step of its own"
        );
        self.log = Log::after(snapshot.pos);
        let config = match planted!("config_of_an_installed_snapshot_ignored") {
            true => Arc::clone(self.config()),
            false => Arc::new(config),
        };
        self.configs = Configs::new(index, config);
        self.snapshot = Some(snapshot);
        self.commit = index;
        self.applied = index;
        self.durable = index;
        for (_, last) in &mut self.unpersisted {
            *last = index;
        }
        self.last_seq = self.last_seq.next();
        self.unpersisted.push_back((self.last_seq, index));
        let seq = self.last_seq;
        out.push(Effect::Install { seq, snapshot });
        out.note(Note::SnapshotInstalled { pos: snapshot.pos });
    }
}
