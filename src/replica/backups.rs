//! Backups: reads that are answered with a snapshot. Once confirmed and applied like any read, one
//! waits until a snapshot is durable that includes what it read.

use raftkv_wal::Media;

use super::{Outbox, Replica, Reply};
use crate::{
    raft::Snapshot,
    storage::{Header, SnapshotError},
};

impl<M: Media> Replica<M> {
    /// Opens the file of a snapshot that was an answer. It stays readable when another snapshot
    /// takes its place.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open_snapshot(
        &mut self,
        snapshot: Snapshot,
    ) -> Result<(Header, M::Source), SnapshotError> {
        self.storage.open_snapshot(snapshot)
    }

    /// Answers what the newest snapshot includes, and has another one taken for the rest.
    pub(super) fn answer_backups(&mut self, out: &mut Outbox) {
        if self.backups.is_empty() || self.snapshots.pending_mark().is_some() {
            return;
        }
        if let Some(snapshot) = self.storage.snapshots().last() {
            self.backups.retain(|&(index, token)| {
                let is_included = index <= snapshot.pos.index;
                if is_included {
                    out.replies.push((token, Reply::Backup { snapshot }));
                }
                !is_included
            });
        }
        self.take_snapshot_if_due(out);
    }

    /// No snapshot can be written.
    pub(super) fn refuse_backups(&mut self, out: &mut Outbox) {
        let refused = self.backups.drain(..);
        out.replies
            .extend(refused.map(|(_, token)| (token, Reply::NoSnapshot)));
    }
}
