//! What entries of kind "command" carry.

use bytes::Bytes;
use prost::Message as _;

use super::DecodeError;
use crate::{
    kv,
    proto::command::{Command, Delete, Put, command::Operation},
};

/// The bytes of a command.
#[must_use]
pub fn encode_command(command: &kv::Command) -> Bytes {
    let operation = match command.clone() {
        kv::Command::Put { key, value } => Operation::Put(Put { key, value }),
        kv::Command::Delete { key } => Operation::Delete(Delete { key }),
    };
    Command {
        operation: Some(operation),
    }
    .encode_to_vec()
    .into()
}

/// Reads a command.
///
/// # Errors
/// When the bytes are no command that this build knows, or its sizes are beyond the limits: no
/// node may apply what another refuses.
pub fn decode_command(bytes: Bytes) -> Result<kv::Command, DecodeError> {
    let command = match Command::decode(bytes)?.operation {
        Some(Operation::Put(Put { key, value })) => kv::Command::Put { key, value },
        Some(Operation::Delete(Delete { key })) => kv::Command::Delete { key },
        None => return Err(DecodeError::Shape("a command without a known operation")),
    };
    match command.is_within_limits() {
        true => Ok(command),
        false => Err(DecodeError::Shape("a key or a value beyond the limits")),
    }
}
