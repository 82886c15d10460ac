//! What a call asks for and how it is answered: the services, without streams or sockets.

use bytes::Bytes;
use prost::Message;

use super::cluster::ClusterMethod;
use crate::{
    grpc::{self, Code, Status},
    h2::Header,
    kv::{KEY_MAX_BYTES, VALUE_MAX_BYTES},
    node::{Answer, Backup, SubmitError},
    proto::{
        self,
        grpc::health::v1::{
            HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
        },
        proto::{
            BackupHead, DeleteRequest, DeleteResponse, GetRequest, GetResponse, PutRequest,
            PutResponse, SaveRequest, SaveResponse, save_response::Part,
        },
    },
    raft::Snapshot,
    replica::Operation,
};

/// The services of which Health tells; the empty name stands for the whole server.
const HEALTH_SERVICES: [&str; 4] = [
    "",
    "raftkv.proto.KvService",
    "raftkv.proto.BackupService",
    "raftkv.proto.ClusterService",
];

/// Quoted at most of a path that leads nowhere: an answer is not to cost more than the question.
const PATH_QUOTED_BYTES: usize = 200;

/// What this port can be called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// An operation of KvService.
    Kv(KvMethod),
    /// A call of ClusterService.
    Cluster(ClusterMethod),
    /// `raftkv.proto.BackupService/Save`.
    Save,
    /// `grpc.health.v1.Health/Check`.
    Check,
    /// `grpc.health.v1.Health/Watch`.
    Watch,
    /// `ServerReflectionInfo`, of either version.
    Reflect,
}

/// The methods of KvService.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvMethod {
    /// Store a value.
    Put,
    /// Read a value.
    Get,
    /// Remove a key.
    Delete,
}

impl Method {
    /// The method of a path.
    ///
    /// # Errors
    /// UNIMPLEMENTED, with the path or how it begins.
    pub fn of_path(path: &[u8]) -> Result<Method, Status> {
        let cluster = path.strip_prefix(b"/raftkv.proto.ClusterService/");
        if let Some(method) = cluster.and_then(ClusterMethod::of_name) {
            return Ok(Method::Cluster(method));
        }
        Ok(match path {
            b"/raftkv.proto.KvService/Put" => Method::Kv(KvMethod::Put),
            b"/raftkv.proto.KvService/Get" => Method::Kv(KvMethod::Get),
            b"/raftkv.proto.KvService/Delete" => Method::Kv(KvMethod::Delete),
            b"/raftkv.proto.BackupService/Save" => Method::Save,
            b"/grpc.health.v1.Health/Check" => Method::Check,
            b"/grpc.health.v1.Health/Watch" => Method::Watch,
            b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Method::Reflect,
            _ => {
                let path = String::from_utf8_lossy(&path[..path.len().min(PATH_QUOTED_BYTES)]);
                let text = format!("no method {path:?} here; ask server reflection for what is");
                return Err(Status::new(Code::Unimplemented, text));
            }
        })
    }
}

/// The answer to a call with one response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The framed message, if there is one.
    pub message: Option<Bytes>,
    /// How the call ended.
    pub status: Status,
    /// Whether the trailers promise that nothing was applied: repeating the call is safe.
    pub nothing_applied: bool,
    /// The leader's client address, where a status is all that can carry it; else empty.
    pub leader_hint: String,
}

impl Response {
    /// The call did what it was asked for.
    pub fn done(message: &impl Message) -> Response {
        Response {
            message: Some(grpc::encode(message)),
            status: Status::ok(),
            nothing_applied: false,
            leader_hint: String::new(),
        }
    }

    /// The call was refused before anything was applied.
    pub fn refused(status: Status) -> Response {
        Response {
            message: None,
            status,
            nothing_applied: true,
            leader_hint: String::new(),
        }
    }

    /// The call ended without an outcome: what it asked for may happen, now or later.
    pub fn unknown(status: Status) -> Response {
        Response {
            message: None,
            status,
            nothing_applied: false,
            leader_hint: String::new(),
        }
    }

    /// What the trailers carry beside the status.
    pub fn metadata(&self) -> Vec<Header> {
        let mut fields = Vec::new();
        if self.nothing_applied {
            let (name, no) = (proto::APPLIED_TRAILER, proto::APPLIED_NO);
            fields.push(Header::from_static(name, no));
        }
        if !self.leader_hint.is_empty() {
            let hint = self.leader_hint.clone();
            fields.push(Header::new(proto::LEADER_TRAILER, hint));
        }
        fields
    }
}

/// Reads the request of a KvService method.
///
/// # Errors
/// INVALID_ARGUMENT for a message that cannot be decoded (a string that is not UTF-8 included), and
/// for a key or value beyond its limit.
pub fn kv_operation(method: KvMethod, message: Bytes) -> Result<Operation, Status> {
    match method {
        KvMethod::Put => {
            let PutRequest { key, value } = decode(message)?;
            let key = checked_key(key)?;
            if value.len() > VALUE_MAX_BYTES {
                let text = format!(
                    "the value has {} bytes; at most {VALUE_MAX_BYTES} are allowed, so split it",
                    value.len()
                );
                return Err(Status::new(Code::InvalidArgument, text));
            }
            let value = Bytes::from(value);
            Ok(Operation::Put { key, value })
        }
        KvMethod::Get => {
            let GetRequest { key } = decode(message)?;
            let key = checked_key(key)?;
            Ok(Operation::Get { key })
        }
        KvMethod::Delete => {
            let DeleteRequest { key } = decode(message)?;
            let key = checked_key(key)?;
            Ok(Operation::Delete { key })
        }
    }
}

/// Reads a message.
///
/// # Errors
/// INVALID_ARGUMENT for one that cannot be decoded.
pub fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| {
        let text = format!("the message cannot be decoded: {error}");
        Status::new(Code::InvalidArgument, text)
    })
}

fn checked_key(key: String) -> Result<Bytes, Status> {
    if (1..=KEY_MAX_BYTES).contains(&key.len()) {
        return Ok(Bytes::from(key));
    }
    let text = format!(
        "the key has {} bytes; 1 to {KEY_MAX_BYTES} are allowed",
        key.len()
    );
    Err(Status::new(Code::InvalidArgument, text))
}

/// Turns what the node answered into the response of a KvService method.
pub fn kv_response(method: KvMethod, answer: Answer) -> Response {
    match answer {
        Answer::Put => Response::done(&PutResponse {
            ok: true,
            ..PutResponse::default()
        }),
        Answer::Get { value } => found(value),
        Answer::Delete { found } => Response::done(&DeleteResponse {
            ok: true,
            found,
            ..DeleteResponse::default()
        }),
        Answer::NotLeader { leader_hint } => not_leader(method, leader_hint),
        answer => no_answer(answer),
    }
}

/// The response to a call of any service whose node could not do what was asked.
pub fn no_answer(answer: Answer) -> Response {
    match answer {
        Answer::Busy { why } => {
            let text = format!("{why}; repeat in a moment");
            Response::refused(Status::new(Code::Unavailable, text))
        }
        Answer::DiskFull => Response::refused(Status::new(
            Code::ResourceExhausted,
            "the leader's disk is full: free some space there; reads go on",
        )),
        Answer::Unknown => Response::unknown(Status::new(
            Code::Unknown,
            "leadership was lost before the outcome was known; the request may take effect or not",
        )),
        _ => {
            let text = "the node answered another question";
            Response::unknown(Status::new(Code::Internal, text))
        }
    }
}

/// The first message of a backup.
pub fn backup_head(backup: &Backup) -> SaveResponse {
    let Snapshot { pos, bytes, hash } = backup.snapshot;
    let head = BackupHead {
        index: pos.index.0,
        term: pos.term.0,
        revision: backup.revision,
        keys: backup.keys,
        bytes,
        hash: Bytes::copy_from_slice(&hash.to_be_bytes()),
    };
    SaveResponse {
        part: Some(Part::Head(head)),
    }
}

/// A message with some of a backup's bytes.
pub fn backup_chunk(bytes: Bytes) -> SaveResponse {
    SaveResponse {
        part: Some(Part::Chunk(bytes)),
    }
}

/// How a call for a backup ends that gets none.
pub fn no_backup(answer: Answer) -> Response {
    let refused = |code, text: &str| Response::refused(Status::new(code, text));
    match answer {
        Answer::NotLeader { leader_hint } => Response {
            leader_hint,
            ..refused(Code::Unavailable, "not leader; the leader saves backups")
        },
        Answer::Busy { why } => refused(Code::Unavailable, why),
        Answer::NoSnapshot | Answer::DiskFull => refused(
            Code::ResourceExhausted,
            "this node could not write a snapshot: free some space of its disk, its log says more",
        ),
        _ => refused(Code::Unavailable, "this node is stopping; try another"),
    }
}

/// Checks the request of a backup.
///
/// # Errors
/// INVALID_ARGUMENT for a message that cannot be decoded.
pub fn backup_request(message: Bytes) -> Result<(), Status> {
    decode::<SaveRequest>(message).map(drop)
}

/// The status of a request that the node did not take.
pub fn not_queued(error: SubmitError) -> Status {
    match error {
        SubmitError::Full => busy(),
        SubmitError::Stopped => {
            Status::new(Code::Unavailable, "this node is stopping; try another")
        }
        SubmitError::Size => Status::new(Code::InvalidArgument, "key or value beyond its limit"),
    }
}

/// The refusal of one who has enough to do.
pub fn busy() -> Status {
    Status::new(
        Code::ResourceExhausted,
        "too many requests wait here; repeat in a moment",
    )
}

fn found(value: Option<Bytes>) -> Response {
    let found = value.is_some();
    match String::from_utf8(value.unwrap_or_default().into()) {
        Ok(value) => Response::done(&GetResponse {
            ok: true,
            found,
            value,
            ..GetResponse::default()
        }),
        // A string field must be UTF-8: a client would fail on the whole message.
        Err(_) => Response::refused(Status::new(
            Code::FailedPrecondition,
            "the value is not UTF-8, so this call cannot carry it",
        )),
    }
}

/// An answer with status OK: clients look at `ok` first, and at the hint next.
fn not_leader(method: KvMethod, leader_hint: String) -> Response {
    let error = "not leader".to_owned();
    let response = match method {
        KvMethod::Put => Response::done(&PutResponse {
            ok: false,
            leader_hint,
            error,
        }),
        KvMethod::Get => Response::done(&GetResponse {
            leader_hint,
            error,
            ..GetResponse::default()
        }),
        KvMethod::Delete => Response::done(&DeleteResponse {
            leader_hint,
            error,
            ..DeleteResponse::default()
        }),
    };
    Response {
        nothing_applied: true,
        ..response
    }
}

/// The name of the service that a health request asks about.
///
/// # Errors
/// INVALID_ARGUMENT for a message that cannot be decoded.
pub fn health_service(message: Bytes) -> Result<String, Status> {
    decode::<HealthCheckRequest>(message).map(|request| request.service)
}

/// The state of a service. A node that knows no leader can serve nothing.
pub fn health(service: &str, leader_known: bool) -> ServingStatus {
    match (HEALTH_SERVICES.contains(&service), leader_known) {
        (false, _) => ServingStatus::ServiceUnknown,
        (true, true) => ServingStatus::Serving,
        (true, false) => ServingStatus::NotServing,
    }
}

/// The answer to Check.
pub fn health_check(service: &str, leader_known: bool) -> Response {
    match health(service, leader_known) {
        ServingStatus::ServiceUnknown => {
            let text = format!("no service {service:?} here; {HEALTH_SERVICES:?} are");
            Response::refused(Status::new(Code::NotFound, text))
        }
        status => Response::done(&health_message(status)),
    }
}

/// A state as a message.
pub fn health_message(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
