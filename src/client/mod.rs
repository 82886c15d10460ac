//! A blocking client without a runtime.
//!
//! ```no_run
//! use raftkv::client::{Client, Error};
//!
//! let mut client = Client::new(["127.0.0.1:9100", "127.0.0.1:9110", "127.0.0.1:9120"])?;
//! client.put("fruit", "apple")?;
//! assert_eq!(client.get("fruit")?.as_deref(), Some("apple"));
//! match client.delete("fruit") {
//!     Ok(found) => println!("{}", if found { "deleted" } else { "there was none" }),
//!     // It may be deleted or not, now or in a moment: read before you decide.
//!     Err(Error::OutcomeUnknown(unknown)) => eprintln!("{unknown}"),
//!     Err(error) => return Err(error),
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! A call goes to the endpoint that led last, follows `leader_hint`, and tries the others in turn,
//! backing off with jitter, until it has an answer or its time is over. **A write is repeated only
//! while it is certain that nothing was applied**: the answer said `ok: false`, its status carried
//! the trailer `raftkv-applied: no`, the server said that it never looked at the stream
//! (RFC 9113 §8.7), or no byte of the request was sent. After anything else it ends with
//! [`OutcomeUnknown`] and is not repeated, because a refusal of the repeat would say nothing about
//! the first attempt. Reads change nothing, so they are repeated after any failure.

mod backup;
mod cluster;
mod connection;
mod error;
mod route;

use std::time::{Duration, Instant};

use prost::Message;

pub use self::backup::{BackupHead, BackupPart};
pub use self::cluster::node_status;
pub use self::error::{Error, OutcomeUnknown};
use self::{
    connection::{Connection, Failure, Request},
    route::Route,
};
use crate::{
    grpc::{self, Code},
    proto::proto::{
        DeleteRequest, DeleteResponse, GetRequest, GetResponse, PutRequest, PutResponse,
    },
};

/// Time for one call, all its attempts together.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for one attempt to connect: an address that does not answer must not use up the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A client of one cluster. One call at a time; threads take one client each.
pub struct Client {
    route: Route,
    timeout: Duration,
    connection: Option<Connection>,
}

/// One kind of call.
struct Call {
    path: &'static str,
    /// Whether repeating it could change the store.
    writes: bool,
    message: bytes::Bytes,
}

/// What a response says of the leader.
struct NotLeader {
    hint: String,
    error: String,
}

/// Why an attempt gave no result.
enum Attempt {
    /// Nothing was applied; another attempt may succeed, perhaps at the hint.
    NotNow { hint: String, reason: String },
    /// Nothing was applied, and nothing ever will.
    Refused { code: Code, message: String },
    /// The request may have been applied.
    Unknown { reason: String },
}

impl Client {
    /// A client of the cluster whose nodes serve clients at `endpoints`, each `host:port`. One
    /// that works is enough. It connects with the first call.
    ///
    /// # Errors
    /// [`Error::Endpoint`] when there is none, or one is not `host:port`.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Result<Client, Error> {
        Ok(Client {
            route: Route::new(endpoints.into_iter().map(Into::into).collect())?,
            timeout: DEFAULT_TIMEOUT,
            connection: None,
        })
    }

    /// Sets the time for each call, all its attempts together; [`DEFAULT_TIMEOUT`] otherwise.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// Where the next call goes first; after a call that succeeded, the node that led then.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.route.current()
    }

    /// Stores the value under the key. `Ok` means that a majority has synced it.
    ///
    /// # Errors
    /// [`Error`]; only [`Error::OutcomeUnknown`] leaves open whether it was stored.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<String>) -> Result<(), Error> {
        let request = PutRequest {
            key: key.into(),
            value: value.into(),
        };
        let call = Call::new("/raftkv.proto.KvService/Put", true, &request);
        self.call(&call, |response: PutResponse| {
            NotLeader::unless(response.ok, response.leader_hint, response.error)
        })
    }

    /// Reads the newest value, if the key exists: every write acknowledged before is seen.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::OutcomeUnknown`].
    pub fn get(&mut self, key: impl Into<String>) -> Result<Option<String>, Error> {
        let call = Call::new(
            "/raftkv.proto.KvService/Get",
            false,
            &GetRequest { key: key.into() },
        );
        self.call(&call, |response: GetResponse| {
            NotLeader::unless(response.ok, response.leader_hint, response.error)?;
            Ok(response.found.then_some(response.value))
        })
    }

    /// Removes the key and says whether it existed. `Ok` means that a majority has synced it.
    ///
    /// # Errors
    /// [`Error`]; only [`Error::OutcomeUnknown`] leaves open whether it was removed.
    pub fn delete(&mut self, key: impl Into<String>) -> Result<bool, Error> {
        let call = Call::new(
            "/raftkv.proto.KvService/Delete",
            true,
            &DeleteRequest { key: key.into() },
        );
        self.call(&call, |response: DeleteResponse| {
            NotLeader::unless(response.ok, response.leader_hint, response.error)?;
            Ok(response.found)
        })
    }

    fn call<R: Message + Default, T>(
        &mut self,
        call: &Call,
        read: impl Fn(R) -> Result<T, NotLeader>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.timeout;
        self.route.begin_call();
        loop {
            let endpoint = self.route.current().to_owned();
            let until = call.attempt_deadline(deadline);
            let failed = match self.attempt(call, &endpoint, until, &read) {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            let (hint, reason) = match failed {
                Attempt::NotNow { hint, reason } => (hint, reason),
                Attempt::Refused { code, message } => {
                    return Err(Error::Refused {
                        endpoint,
                        code,
                        message,
                    });
                }
                Attempt::Unknown { reason } if call.writes => {
                    return Err(Error::OutcomeUnknown(OutcomeUnknown { endpoint, reason }));
                }
                Attempt::Unknown { reason } => (String::new(), reason),
            };
            let pause = self.route.advance(&hint);
            if Instant::now() + pause >= deadline {
                return Err(Error::Unavailable {
                    endpoint,
                    reason,
                    timeout: self.timeout,
                });
            }
            std::thread::sleep(pause);
        }
    }

    fn attempt<R: Message + Default, T>(
        &mut self,
        call: &Call,
        endpoint: &str,
        deadline: Instant,
        read: &impl Fn(R) -> Result<T, NotLeader>,
    ) -> Result<T, Attempt> {
        let mut connection = self.connected(endpoint, deadline)?;
        let request = Request {
            path: call.path,
            message: call.message.clone(),
            deadline,
        };
        let response = connection.call(&request).map_err(Attempt::from)?;
        // Kept only after a whole answer: what fails in any other way may be out of step.
        self.connection = Some(connection);
        let response = R::decode(response).map_err(|error| Attempt::Unknown {
            reason: format!("the answer cannot be decoded: {error}"),
        })?;
        read(response).map_err(|not_leader| Attempt::NotNow {
            hint: not_leader.hint,
            reason: not_leader.error,
        })
    }

    /// The open connection, if it leads to the endpoint and is alive, else a new one.
    fn connected(&mut self, endpoint: &str, deadline: Instant) -> Result<Connection, Attempt> {
        if let Some(mut open) = self.connection.take()
            && open.endpoint() == endpoint
            && open.is_usable()
        {
            return Ok(open);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(CONNECT_TIMEOUT);
        Connection::open(endpoint, timeout).map_err(|error| Attempt::NotNow {
            hint: String::new(),
            reason: format!("cannot connect: {error}"),
        })
    }
}

impl Call {
    fn new(path: &'static str, writes: bool, request: &impl Message) -> Call {
        Call {
            path,
            writes,
            message: grpc::encode(request),
        }
    }

    /// How long one attempt may take. A write that was sent has no second attempt, so it gets all
    /// that is left; a read leaves half for another endpoint.
    fn attempt_deadline(&self, deadline: Instant) -> Instant {
        if self.writes {
            return deadline;
        }
        let now = Instant::now();
        now + deadline.saturating_duration_since(now) / 2
    }
}

impl Attempt {
    /// The error of a call that has no other attempt.
    fn alone(self, endpoint: &str, timeout: Duration) -> Error {
        let endpoint = endpoint.to_owned();
        match self {
            Attempt::Refused { code, message } => Error::Refused {
                endpoint,
                code,
                message,
            },
            Attempt::NotNow { reason, .. } | Attempt::Unknown { reason } => Error::Unavailable {
                endpoint,
                reason,
                timeout,
            },
        }
    }
}

impl NotLeader {
    fn unless(ok: bool, hint: String, error: String) -> Result<(), NotLeader> {
        if ok {
            return Ok(());
        }
        Err(NotLeader { hint, error })
    }
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Attempt {
        let (status, nothing_applied, hint) = match failure {
            Failure::NotSent { reason } => {
                let hint = String::new();
                return Attempt::NotNow { hint, reason };
            }
            Failure::Broken { reason } | Failure::GivenUp { reason } => {
                return Attempt::Unknown { reason };
            }
            Failure::Status {
                status,
                nothing_applied,
                leader_hint,
            } => (status, nothing_applied, leader_hint),
        };
        if !nothing_applied {
            return Attempt::Unknown {
                reason: status.to_string(),
            };
        }
        match status.code {
            // These pass: the node is busy, stopping, or the deadline was too near.
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => {
                Attempt::NotNow {
                    hint,
                    reason: status.to_string(),
                }
            }
            code => Attempt::Refused {
                code,
                message: status.message,
            },
        }
    }
}
