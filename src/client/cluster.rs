//! Calls about the cluster itself. They speak the messages of `proto/cluster.proto`.

use std::time::{Duration, Instant};

use super::{Call, Client, Error, NotLeader};
use crate::proto::proto::{
    MemberChangeRequest, MemberChangeResponse, MemberListRequest, MemberListResponse, Members,
    StatusRequest, StatusResponse, TransferLeaderRequest, TransferLeaderResponse,
};

/// What the node that serves clients at `endpoint` is and knows, within `timeout`. It is asked
/// once, whoever leads.
///
/// # Errors
/// [`Error::Endpoint`], [`Error::Unavailable`] and [`Error::Refused`].
pub fn node_status(endpoint: &str, timeout: Duration) -> Result<StatusResponse, Error> {
    let mut client = Client::new([endpoint])?.with_timeout(timeout);
    let call = Call::new(
        "/raftkv.proto.ClusterService/Status",
        false,
        &StatusRequest {},
    );
    let deadline = Instant::now() + timeout;
    client
        .attempt(&call, endpoint, deadline, &Ok::<StatusResponse, NotLeader>)
        .map_err(|failed| failed.alone(endpoint, timeout))
}

impl Client {
    /// Who the members are; a majority confirms it.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::OutcomeUnknown`].
    pub fn members(&mut self) -> Result<Members, Error> {
        let call = Call::new(
            "/raftkv.proto.ClusterService/MemberList",
            false,
            &MemberListRequest {},
        );
        let list: MemberListResponse = self.call(&call, Ok)?;
        Ok(list.members.unwrap_or_default())
    }

    /// Asks for a change of members, or how far it is. To ask again for the same is safe, and this
    /// does where it got no answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`], after which the change may go on all the same, and
    /// [`Error::Refused`].
    pub fn change_members(
        &mut self,
        request: &MemberChangeRequest,
    ) -> Result<MemberChangeResponse, Error> {
        let path = "/raftkv.proto.ClusterService/MemberChange";
        self.call(&Call::new(path, false, request), Ok)
    }

    /// Has the leader begin to hand leadership to node `to`, or to the one whose log is furthest.
    ///
    /// # Errors
    /// [`Error`]; after [`Error::OutcomeUnknown`] it may have begun.
    pub fn transfer_leader(&mut self, to: Option<u64>) -> Result<TransferLeaderResponse, Error> {
        let path = "/raftkv.proto.ClusterService/TransferLeader";
        self.call(&Call::new(path, true, &TransferLeaderRequest { to }), Ok)
    }
}
