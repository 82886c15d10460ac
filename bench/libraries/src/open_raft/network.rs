//! From member to member by a call.

use super::{Member, Types, storage::lock};
use openraft::{
    OptionalSend,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
    type_config::alias::{SnapshotOf, VoteOf},
};
use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex},
};

/// The members.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<BTreeMap<u64, Member>>>);

impl Network {
    pub fn join(&self, id: u64, member: Member) {
        lock(&self.0).insert(id, member);
    }

    pub fn member(&self, id: u64) -> Member {
        lock(&self.0)[&id].clone()
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, (): &()) -> Link {
        Link(self.member(target))
    }
}

/// To one member.
pub struct Link(Member);

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.0.append_entries(request).await.map_err(unreachable)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.0.vote(request).await.map_err(unreachable)
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        panic!("a member fell behind what the leader's log keeps");
    }
}

fn unreachable(error: impl Error + 'static) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}
