//! Saving a backup: the leader's snapshot, as it comes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;

use super::{Attempt, Client, Error, connection::Request};
use crate::{
    grpc,
    proto::proto::{SaveRequest, SaveResponse, save_response::Part},
};

/// Time for the first message: a large state takes a while to be written down.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// Time without a byte after it.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a backup is, said before its bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupHead {
    /// The last log entry that it includes.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The store's revision.
    pub revision: u64,
    /// How many keys there are.
    pub keys: u64,
    /// The size of the file.
    pub bytes: u64,
    /// XXH3-128 of the file without its last 16 bytes, which are the same.
    pub hash: u128,
}

/// What comes of a backup.
#[derive(Debug)]
pub enum BackupPart {
    /// The first.
    Head(BackupHead),
    /// Bytes of the file, from start to end.
    Bytes(Bytes),
}

impl Client {
    /// Has the leader send a snapshot with every write that was acknowledged before, and hands
    /// its parts over as they come. They are not checked here. The client's timeout is for finding
    /// the leader; the leader may then take 10 minutes to write a snapshot, and its bytes as long
    /// as they keep coming.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Refused`] before the first part, and
    /// [`Error::BackupFailed`] after it, also with what `take` says.
    pub fn backup(
        &mut self,
        mut take: impl FnMut(BackupPart) -> Result<(), String>,
    ) -> Result<BackupHead, Error> {
        let deadline = Instant::now() + self.timeout;
        self.route.begin_call();
        loop {
            let endpoint = self.route.current().to_owned();
            let mut head = None;
            let failed = match self.attempt_backup(&endpoint, deadline, &mut head, &mut take) {
                Ok(()) => match head {
                    Some(head) => return Ok(head),
                    None => Attempt::Unknown {
                        reason: "it ended before it began".to_owned(),
                    },
                },
                Err(failed) => failed,
            };
            let (hint, reason) = match failed {
                Attempt::Unknown { reason } | Attempt::NotNow { reason, .. } if head.is_some() => {
                    return Err(Error::BackupFailed { endpoint, reason });
                }
                Attempt::Unknown { reason } => (String::new(), reason),
                Attempt::NotNow { hint, reason } => (hint, reason),
                Attempt::Refused { code, message } => {
                    return Err(Error::Refused {
                        endpoint,
                        code,
                        message,
                    });
                }
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

    fn attempt_backup(
        &mut self,
        endpoint: &str,
        deadline: Instant,
        head: &mut Option<BackupHead>,
        take: &mut impl FnMut(BackupPart) -> Result<(), String>,
    ) -> Result<(), Attempt> {
        let mut connection = self.connected(endpoint, deadline)?;
        let request = Request {
            path: "/raftkv.proto.BackupService/Save",
            message: grpc::encode(&SaveRequest {}),
            deadline: Instant::now() + SNAPSHOT_TIMEOUT,
        };
        let ended = connection.stream(&request, SILENCE_MAX, |message| {
            let part = read(message, head.is_some())?;
            if let BackupPart::Head(found) = &part {
                *head = Some(*found);
            }
            take(part)
        });
        ended.map_err(Attempt::from)?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// Reads a message; the head comes first, and once.
fn read(message: Bytes, has_head: bool) -> Result<BackupPart, String> {
    let response = SaveResponse::decode(message)
        .map_err(|error| format!("a message cannot be decoded: {error}"))?;
    match response.part {
        Some(Part::Head(head)) if !has_head => {
            let hash = head.hash.as_ref().try_into();
            let hash = hash.map_err(|_| format!("a hash of {} bytes", head.hash.len()))?;
            Ok(BackupPart::Head(BackupHead {
                index: head.index,
                term: head.term,
                revision: head.revision,
                keys: head.keys,
                bytes: head.bytes,
                hash: u128::from_be_bytes(hash),
            }))
        }
        Some(Part::Chunk(bytes)) if has_head => Ok(BackupPart::Bytes(bytes)),
        _ => Err("its parts come in another order than they must".to_owned()),
    }
}
