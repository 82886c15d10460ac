//! What entries of kind "command" carry: `proto/command.proto`.

use bytes::{BufMut, Bytes};

use super::{
    DecodeError,
    fields::{Fields, MISTYPED, Value, bytes_len, put_length},
};
use crate::kv::Command;

/// `Command.put` and `Command.delete`, and the fields of both.
const PUT_FIELD: u32 = 1;
const DELETE_FIELD: u32 = 2;
const KEY_FIELD: u32 = 1;
const VALUE_FIELD: u32 = 2;

/// Appends the bytes of a command.
pub fn encode_command<B: AsRef<[u8]>>(command: &Command<B>, out: &mut impl BufMut) {
    let (field, key, value) = match command {
        Command::Put { key, value } => (PUT_FIELD, key.as_ref(), value.as_ref()),
        Command::Delete { key } => (DELETE_FIELD, key.as_ref(), &[][..]),
    };
    let parts = [(KEY_FIELD, key), (VALUE_FIELD, value)];
    // An empty one is left out, as everywhere in protobuf.
    let parts = || parts.iter().filter(|(_, bytes)| !bytes.is_empty());
    let length = parts().map(|(field, bytes)| bytes_len(*field, bytes.len()));
    put_length(field, length.sum(), out);
    for (field, bytes) in parts() {
        put_length(*field, bytes.len(), out);
        out.put_slice(bytes);
    }
}

/// Reads a command where it lies.
///
/// # Errors
/// When the bytes are no command that this build knows, or its sizes are beyond the limits: no
/// node may apply what another refuses.
pub fn read_command(bytes: &[u8]) -> Result<Command<&[u8]>, DecodeError> {
    let mut command = None;
    for field in Fields::of(bytes) {
        let (field, value) = field?;
        let operation = match value {
            _ if field != PUT_FIELD && field != DELETE_FIELD => continue,
            Value::Bytes(operation) => operation,
            _ => return Err(MISTYPED),
        };
        // The last one counts; of the same one twice, what each says.
        let (before, value) = match command {
            Some(Command::Put { key, value }) if field == PUT_FIELD => (key, value),
            Some(Command::Delete { key }) if field == DELETE_FIELD => (key, &[][..]),
            _ => (&[][..], &[][..]),
        };
        command = Some(match field {
            PUT_FIELD => {
                let [key, value] = read_parts(operation, [before, value])?;
                Command::Put { key, value }
            }
            _ => {
                let [key] = read_parts(operation, [before])?;
                Command::Delete { key }
            }
        });
    }
    let command = command.ok_or(DecodeError::Shape("a command without a known operation"))?;
    match command.is_within_limits() {
        true => Ok(command),
        false => Err(DecodeError::Shape("a key or a value beyond the limits")),
    }
}

/// The fields from 1 on, in the place of what was known before.
fn read_parts<'a, const N: usize>(
    operation: &'a [u8],
    mut parts: [&'a [u8]; N],
) -> Result<[&'a [u8]; N], DecodeError> {
    for field in Fields::of(operation) {
        let (field, value) = field?;
        if let Some(part) = parts.get_mut((field - 1) as usize) {
            let Value::Bytes(bytes) = value else {
                return Err(MISTYPED);
            };
            *part = bytes;
        }
    }
    Ok(parts)
}

/// Reads a command whose parts share the bytes given.
///
/// # Errors
/// As [`read_command`].
pub fn decode_command(bytes: Bytes) -> Result<Command, DecodeError> {
    Ok(match read_command(&bytes)? {
        Command::Put { key, value } => Command::Put {
            key: bytes.slice_ref(key),
            value: bytes.slice_ref(value),
        },
        Command::Delete { key } => Command::Delete {
            key: bytes.slice_ref(key),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::command::{self as proto, command::Operation};

    /// What prost reads, in the words of the state machine.
    fn by_prost(bytes: &[u8]) -> Option<Command> {
        let command = match proto::Command::decode(bytes).ok()?.operation? {
            Operation::Put(proto::Put { key, value }) => Command::Put { key, value },
            Operation::Delete(proto::Delete { key }) => Command::Delete { key },
        };
        command.is_within_limits().then_some(command)
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..6).prop_map(Bytes::from);
        (any::<bool>(), bytes(), bytes()).prop_map(|(put, key, value)| match put {
            true => Command::Put { key, value },
            false => Command::Delete { key },
        })
    }

    proptest! {
        /// Also where one command follows another, or a byte is damaged.
        #[test]
        fn a_command_is_read_as_prost_reads_it(
            commands in prop::collection::vec(any_command(), 1..3),
            at in any::<prop::sample::Index>(),
            damage in prop::option::of(any::<u8>()),
        ) {
            let mut bytes = Vec::new();
            for command in &commands {
                encode_command(command, &mut bytes);
            }
            if let Some(damage) = damage {
                let at = at.index(bytes.len());
                bytes[at] = damage;
            }
            prop_assert_eq!(decode_command(bytes.clone().into()).ok(), by_prost(&bytes));
        }
    }
}
