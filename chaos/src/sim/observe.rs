//! Everything that is checked after a step of a node, and counted.

use raftkv::{
    codec,
    raft::{NodeId, Note, RoleName, Status},
    replica::{Outbox, Replica},
    storage::snapshot_name,
};
use raftkv_wal::MemoryMedia;

use super::{engine::Sim, fault::Fault, mark::Mark, turn::Phase};
use crate::invariants::{Step, hold, index_of};

impl Sim {
    /// Everything that is checked after a step.
    pub(super) fn observe(
        &mut self,
        id: NodeId,
        phase: Phase,
        before: &Status,
        replica: &Replica<MemoryMedia>,
        out: &mut Outbox,
    ) {
        let at = index_of(id);
        let after = self.live[at].as_ref().expect("it is up");
        let disk = &self.hosts[at].disk;
        for written in out.writes.drain(..) {
            let entry = |index| replica.encoded_entry(index).to_vec();
            let shadow = &mut self.shadows[at];
            if let Some(range) = &written.entries {
                self.bounds.wrote(range.end().0 - range.start().0 + 1);
            }
            self.checks
                .wrote(before, after, &written, shadow, disk.writes(), entry);
        }
        if phase.is_sync() || !self.shadows[at].is_synced() {
            self.shadows[at].durable(disk.durable_writes());
        }
        if before != after {
            let step = Step {
                before,
                after,
                raft: replica.raft(),
                shadows: &self.shadows,
                live: &self.live,
            };
            let entry = |index| {
                let bytes = bytes::Bytes::copy_from_slice(replica.encoded_entry(index));
                codec::decode_entry(bytes).expect("an entry that this build encoded")
            };
            self.checks.stepped(&step, entry);
            if self.checks.joint_has_ended() {
                self.hits.count(Fault::JointDone);
            }
        }
        self.observe_applied(id, replica);
        self.observe_trouble(id, out);
        let mut asked = before.role == RoleName::PreCandidate;
        for note in out.notes.drain(..) {
            match Mark::of(&note) {
                Some(mark) => {
                    self.marks.count(mark);
                    self.trace.number(mark as u64);
                }
                None => hold!(Assertion, false, "n{id}: {note}"),
            }
            asked &= !matches!(note, Note::SteppedDown { .. });
            self.observe_note(id, before, asked, &note);
            self.observe_snapshot(id, &note);
            self.observe_change(id, &note);
            let now = self.queue.now();
            self.trace.line(now, Some(id), || note.to_string());
            if let Some(notes) = &mut self.notes {
                notes.push((id, note));
            }
        }
    }

    /// What a step decides of votes and reads. `asked` for a node that asked for pre-votes before.
    fn observe_note(&mut self, id: NodeId, before: &Status, asked: bool, note: &Note) {
        let shadow = &self.shadows[index_of(id)];
        match *note {
            Note::Elected => self.elections += 1,
            Note::Campaign {
                term,
                pre_vote: false,
            } if asked => self.checks.campaigns(before, term, shadow),
            Note::ReadsConfirmed { .. } => self.checks.reads_confirmed(before, shadow),
            _ => {}
        }
    }

    fn observe_applied(&mut self, id: NodeId, replica: &Replica<MemoryMedia>) {
        let at = index_of(id);
        let (before, applied) = (self.applied[at], replica.applied());
        if before == applied {
            return;
        }
        self.applied[at] = applied;
        self.trace.number(applied.0);
        let (shadow, kv) = (&self.shadows[at], replica.kv());
        let loaded = std::mem::take(&mut self.hosts[at].is_loading);
        if loaded || applied != before.next() {
            self.checks.loaded(id, applied, kv);
        } else {
            self.checks.applied(id, applied, shadow, kv);
        }
    }

    /// What a node warns of must have been done to it.
    fn observe_trouble(&mut self, id: NodeId, out: &mut Outbox) {
        if std::mem::take(&mut out.disk_full) {
            self.hits.count(Fault::FullDisk);
        }
        let host = &mut self.hosts[index_of(id)];
        let mut failures = std::mem::take(&mut host.failures).into_iter();
        for warning in out.warnings.drain(..) {
            let failure = failures.next();
            hold!(Assertion, failure.is_some(), "n{id} warns: {warning}");
            self.hits.count(Fault::of_disk(failure.expect("just seen")));
            self.note_line(Some(id), || format!("warns: {warning}"));
        }
    }

    /// What a step of a leader's means for a change of members.
    fn observe_change(&mut self, id: NodeId, note: &Note) {
        let leads = |status: &Status| status.role == RoleName::Leader;
        if !self.live[index_of(id)].as_ref().is_some_and(leads) {
            return;
        }
        match note {
            Note::ConfigAppended { config, .. } if config.is_joint() => {
                self.hits.count(Fault::Joint);
                self.joint.push(id);
            }
            Note::ChangeDone { .. } => self.hits.count(Fault::ChangeDone),
            Note::ChangeGivenUp => self.hits.count(Fault::ChangeGivenUp),
            _ => {}
        }
    }

    /// What a step leaves of the node's snapshots.
    fn observe_snapshot(&mut self, id: NodeId, note: &Note) {
        let at = index_of(id);
        let host = &mut self.hosts[at];
        match note {
            Note::SnapshotWanted { pos } => {
                let other = host.wants.replace(*pos);
                if other.is_some_and(|other| other != *pos) {
                    self.hits.count(Fault::Superseded);
                }
            }
            Note::SnapshotTaken { pos } => {
                let (_, writes) = host.marked.expect("a mark names it");
                let durable = host.disk.durable_writes();
                hold!(
                    PersistBeforeReply,
                    durable >= writes,
                    "n{id} drops what a snapshot of {pos} has before the log has its name"
                );
                self.shadows[at].named(*pos);
                let file = host.disk.contents(&snapshot_name(*pos));
                self.checks.named(id, *pos, file.as_deref());
            }
            Note::SnapshotInstalled { pos } => {
                host.wants = None;
                host.is_loading = true;
                let file = host.disk.contents(&snapshot_name(*pos));
                self.checks.named(id, *pos, file.as_deref());
            }
            _ => {}
        }
    }
}
