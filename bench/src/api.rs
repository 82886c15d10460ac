//! What is called, in the words of either system.

use bytes::Bytes;
use prost::{DecodeError, Message};
use raftkv::{
    grpc,
    proto::proto::{GetRequest, GetResponse, PutRequest, PutResponse},
};

/// Whose nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// This one.
    Raftkv,
    /// The one that it is compared with.
    Etcd,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Store a value, durably on a majority.
    Put,
    /// Read a value, linearizably.
    Get,
    /// Does this node lead?
    Lead,
}

/// What a node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did it.
    Done,
    /// It does not lead, and did nothing.
    NotLeader {
        /// The leader's client address; empty when it knows none.
        leader_hint: String,
    },
}

impl Method {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Method::Put => "put",
            Method::Get => "get",
            Method::Lead => "lead",
        }
    }
}

impl System {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            System::Raftkv => "raftkv",
            System::Etcd => "etcd",
        }
    }

    pub(crate) fn path(self, method: Method) -> &'static str {
        match (self, method) {
            (System::Raftkv, Method::Put) => "/raftkv.proto.KvService/Put",
            (System::Raftkv, Method::Get | Method::Lead) => "/raftkv.proto.KvService/Get",
            (System::Etcd, Method::Put) => "/etcdserverpb.KV/Put",
            (System::Etcd, Method::Get) => "/etcdserverpb.KV/Range",
            (System::Etcd, Method::Lead) => "/etcdserverpb.Maintenance/Status",
        }
    }

    pub(crate) fn request(self, method: Method, key: String, value: &str) -> Bytes {
        match (self, method) {
            (System::Raftkv, Method::Put) => {
                let value = value.to_owned();
                grpc::encode(&PutRequest { key, value })
            }
            (System::Raftkv, Method::Get | Method::Lead) => grpc::encode(&GetRequest { key }),
            (System::Etcd, Method::Put) => {
                let value = value.as_bytes().to_vec();
                let key = key.into_bytes();
                grpc::encode(&etcd::PutRequest { key, value })
            }
            (System::Etcd, Method::Get) => {
                let key = key.into_bytes();
                grpc::encode(&etcd::RangeRequest { key })
            }
            (System::Etcd, Method::Lead) => grpc::encode(&etcd::StatusRequest {}),
        }
    }

    pub(crate) fn answer(self, method: Method, response: Bytes) -> Result<Answer, DecodeError> {
        let (ok, leader_hint) = match (self, method) {
            (System::Raftkv, Method::Put) => {
                let response = PutResponse::decode(response)?;
                (response.ok, response.leader_hint)
            }
            (System::Raftkv, Method::Get | Method::Lead) => {
                let response = GetResponse::decode(response)?;
                (response.ok, response.leader_hint)
            }
            (System::Etcd, Method::Lead) => {
                let response = etcd::StatusResponse::decode(response)?;
                let own = response.header.map_or(0, |header| header.member_id);
                (own != 0 && own == response.leader, String::new())
            }
            // Any member does it: one that does not lead passes it on.
            (System::Etcd, _) => {
                etcd::Response::decode(response)?;
                (true, String::new())
            }
        };
        Ok(match ok {
            true => Answer::Done,
            false => Answer::NotLeader { leader_hint },
        })
    }
}

/// Of etcd's API version 3, the fields that are used here.
mod etcd {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PutRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RangeRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub key: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct StatusRequest {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Header {
        #[prost(uint64, tag = "2")]
        pub member_id: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct StatusResponse {
        #[prost(message, tag = "1")]
        pub header: Option<Header>,
        #[prost(uint64, tag = "4")]
        pub leader: u64,
    }

    /// Of a put or of a range.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Response {
        #[prost(message, tag = "1")]
        pub header: Option<Header>,
    }
}
