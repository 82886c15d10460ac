//! What is asked of a replica about its cluster: who the members are, who leads, and whether its
//! state is that of the others.

use std::{collections::VecDeque, sync::Arc};

use raftkv_wal::Media;

use super::{Error, Outbox, Replica, Reply};
use crate::{
    kv::{DIGEST_EVERY, Kv},
    raft::{Index, Input, NodeId, RefusalReason, RoleName, Token},
};

/// So many digests are remembered.
const DIGESTS_MAX: usize = 256;

/// Digests of the state as of some indices, in their order.
pub type Digests = VecDeque<(Index, u128)>;

/// Why no hand-over of leadership was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferRefusal {
    /// It is no voter of this cluster.
    NotAVoter(NodeId),
    /// No other voter is heard.
    NobodyElse,
}

impl<M: Media> Replica<M> {
    /// The state's digest; none while a snapshot takes the state's place.
    #[must_use]
    pub fn digest(&self) -> Option<u128> {
        (!self.snapshots.is_loading()).then(|| self.kv.digest())
    }

    /// The state's digest at the newest multiples of [`DIGEST_EVERY`], oldest first.
    #[must_use]
    pub fn digests(&self) -> &Arc<Digests> {
        &self.digests
    }

    /// Begins to hand leadership over, and says to whom (th. 3.10). Whether it comes to that shows
    /// in the status.
    pub(super) fn transfer(
        &mut self,
        token: Token,
        to: Option<NodeId>,
        out: &mut Outbox,
    ) -> Result<(), Error> {
        let status = self.status();
        let reply = if status.role != RoleName::Leader {
            let leader = status.leader;
            Reply::Refused(RefusalReason::NotLeader { leader })
        } else if to == Some(status.id) {
            Reply::Transfer(Ok(status.id))
        } else {
            self.step(Input::Transfer { to }, out)?;
            Reply::Transfer(match (self.status().transferring, to) {
                (Some(to), _) => Ok(to),
                (None, Some(to)) => Err(TransferRefusal::NotAVoter(to)),
                (None, None) => Err(TransferRefusal::NobodyElse),
            })
        };
        out.replies.push((token, reply));
        Ok(())
    }

    /// The members as of now, for one whose leadership was just confirmed.
    pub(super) fn members(&self) -> Reply {
        let status = self.status();
        Reply::Members {
            at: status.config_at,
            is_committed: status.config_at <= status.commit,
            config: status.config,
        }
    }
}

/// The entry at `index` is applied.
pub(super) fn remember_digest(digests: &mut Arc<Digests>, index: Index, kv: &Kv) {
    if index.0.is_multiple_of(DIGEST_EVERY) {
        let digests = Arc::make_mut(digests);
        if digests.len() == DIGESTS_MAX {
            digests.pop_front();
        }
        digests.push_back((index, kv.digest()));
    }
}
