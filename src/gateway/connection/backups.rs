//! Backups on their way out: as fast as the client takes them, and never far ahead of it.

use bytes::Bytes;
use raftkv_wal::Source as _;

use super::{Call, Connection, State};
use crate::{
    gateway::service,
    grpc::{self, Code, Status},
    h2::StreamId,
    node::{Answer, Backup},
};

/// One message has so many bytes of the file, save the last.
const CHUNK_BYTES: u64 = 64 << 10;

/// Read ahead of the client on one stream, beside what the connection has encoded already.
const QUEUE_BYTES: usize = 64 << 10;

/// Sent in one turn at most, so that the others get theirs.
const TURN_SEND_BYTES: usize = 1 << 20;

impl Connection {
    /// How many backups are asked for or under way here.
    pub fn backups(&self) -> usize {
        let is_backup =
            |call: &&Call| matches!(call.state, State::AskedBackup | State::Saving { .. });
        self.calls.values().filter(is_backup).count()
    }

    pub(super) fn begin_backup(&mut self, stream: StreamId, answer: Answer) {
        let backup = match answer {
            Answer::Backup(backup) => backup,
            answer => return self.respond(stream, &service::no_backup(answer)),
        };
        let head = grpc::encode(&service::backup_head(&backup));
        let sent = self
            .h2
            .send_headers(stream, grpc::response_headers(), false)
            .and_then(|()| self.h2.send_data(stream, head, false));
        if let Some(call) = self.calls.get_mut(&stream) {
            call.state = State::Saving { backup, sent: 0 };
        }
        self.keep_if(stream, sent);
    }

    /// Sends of every backup as much as its client takes.
    pub(super) fn send_backups(&mut self, now_ms: u64) {
        self.backup_due = false;
        let mut turn_bytes = 0;
        while !self.lost {
            let streams: Vec<StreamId> = self
                .calls
                .iter()
                .filter(|(_, call)| matches!(call.state, State::Saving { .. }))
                .map(|(stream, _)| *stream)
                .filter(|stream| self.h2.queued_bytes(*stream) < QUEUE_BYTES)
                .collect();
            if streams.is_empty() {
                return;
            }
            if turn_bytes >= TURN_SEND_BYTES {
                self.backup_due = true;
                return;
            }
            for stream in streams {
                turn_bytes += self.send_chunk(stream);
            }
            self.flush(now_ms);
        }
    }

    /// Sends the next bytes of a backup, or its end. Returns how many.
    fn send_chunk(&mut self, stream: StreamId) -> usize {
        let Some(Call {
            state: State::Saving { backup, sent },
            ..
        }) = self.calls.get_mut(&stream)
        else {
            return 0;
        };
        let bytes = match next_chunk(backup, *sent) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!("a backup breaks off: its snapshot cannot be read: {error}");
                let text = format!("the snapshot cannot be read: {error}");
                self.end_stream(stream, &Status::new(Code::Internal, text));
                return 0;
            }
        };
        if bytes.is_empty() {
            self.end_stream(stream, &Status::ok());
            return 0;
        }
        let count = bytes.len();
        *sent += count as u64;
        let message = grpc::encode(&service::backup_chunk(bytes));
        let sent = self.h2.send_data(stream, message, false);
        self.keep_if(stream, sent);
        count
    }
}

fn next_chunk(backup: &Backup, sent: u64) -> std::io::Result<Bytes> {
    let left = backup.snapshot.bytes.saturating_sub(sent);
    let mut bytes = vec![0; left.min(CHUNK_BYTES) as usize];
    backup.source.read_at(sent, &mut bytes)?;
    Ok(bytes.into())
}
