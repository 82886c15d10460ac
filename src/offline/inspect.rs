//! `raftkv inspect`: what a data directory holds, as a table or as JSON.

use std::{io::Write, path::Path};

use raftkv_wal::Media;
use serde_json::{Value, json};

use super::{Failure, Sound, hex};
use crate::{
    codec,
    kv::{self, Command},
    node::StartError,
    raft::{Entry, EntryKind, Snapshot},
    storage::{Header, Reader, snapshot_name},
};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people; its form may change.
    Table,
    /// One object, whose `v` counts its versions.
    Json,
}

/// Prints identity, members, term and vote, and what log and snapshots go through.
///
/// # Errors
/// As [`verify`](super::verify).
pub fn inspect_meta(path: &Path, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let sound = Sound::open(path)?;
    let pins = sound.directory.pins(&sound.identity)?;
    let (identity, log) = (&sound.identity, &sound.log);
    let vote = log.hard.vote;
    if output == Output::Json {
        let members = identity.members.iter();
        let members = members.map(|(id, address)| json!({"id": id.0, "address": address}));
        let pins = pins
            .iter()
            .map(|(id, of)| json!({"id": id.0, "incarnation": hex(of)}));
        let snapshots = sound.snapshots.iter();
        let meta = json!({
            "v": 1,
            "cluster_id": hex(&identity.cluster_id),
            "node_id": identity.node_id.0,
            "incarnation": hex(&identity.incarnation),
            "members": members.collect::<Vec<_>>(),
            "pins": pins.collect::<Vec<_>>(),
            "term": log.hard.term.0,
            "vote": vote.map(|node| node.0),
            "first_index": log.base.index.next().0,
            "last_index": log.last.index.0,
            "last_term": log.last.term.0,
            "snapshots": snapshots.map(snapshot_json).collect::<Vec<_>>(),
        });
        return line(out, &meta);
    }
    let mut lines = vec![
        ("cluster", hex(&identity.cluster_id)),
        ("node", identity.node_id.to_string()),
        ("incarnation", hex(&identity.incarnation)),
    ];
    let members = identity.members.iter();
    lines.extend(members.map(|(id, address)| ("member", format!("{id}@{address}"))));
    lines.extend(
        pins.iter()
            .map(|(id, of)| ("pin", format!("{id} {}", hex(of)))),
    );
    lines.push(("term", log.hard.term.to_string()));
    lines.push(("vote", vote.map_or("-".to_owned(), |node| node.to_string())));
    lines.push(("first index", log.base.index.next().to_string()));
    let last = format!("{} of term {}", log.last.index, log.last.term);
    lines.push(("last index", last));
    for (header, snapshot) in &sound.snapshots {
        let text = format!(
            "{} of term {}, {} bytes",
            header.pos.index, header.pos.term, snapshot.bytes
        );
        lines.push(("snapshot", text));
    }
    for (name, text) in lines {
        line(out, format_args!("{name:<12} {text}"))?;
    }
    Ok(())
}

/// Prints every entry of the log.
///
/// # Errors
/// As [`verify`](super::verify).
pub fn inspect_log(path: &Path, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let sound = Sound::open(path)?;
    let mut media = sound.directory.media()?;
    let mut printed = match output {
        Output::Table => writeln!(
            out,
            "{:>10} {:>6} {:<7} {:>8} KEY",
            "INDEX", "TERM", "KIND", "BYTES"
        ),
        Output::Json => write!(out, "{{\"v\":1,\"entries\":["),
    };
    let mut separator = "\n";
    let shown = sound
        .log
        .entries(&mut media, &sound.identity.owner(), |entry, bytes| {
            if printed.is_ok() {
                printed = match output {
                    Output::Table => entry_row(out, &entry, bytes),
                    Output::Json => write!(out, "{separator}{}", entry_json(&entry, bytes)),
                };
                separator = ",\n";
            }
            Ok(())
        });
    shown.map_err(|error| Failure::storage(path, error))?;
    printed.map_err(Failure::output)?;
    match output {
        Output::Table => Ok(()),
        Output::Json => line(out, "]}"),
    }
}

/// Prints the snapshots that count, and with `keys` their keys.
///
/// # Errors
/// As [`verify`](super::verify).
pub fn inspect_snapshots(
    path: &Path,
    keys: bool,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let sound = Sound::open(path)?;
    let mut media = sound.directory.media()?;
    if output == Output::Json {
        let mut all = Vec::new();
        for found in &sound.snapshots {
            let mut snapshot = snapshot_json(found);
            if keys {
                let mut names = Vec::new();
                each_key(&mut media, path, found.1, |key| {
                    names.push(key_json(key));
                    Ok(())
                })?;
                snapshot["key_names"] = names.into();
            }
            all.push(snapshot);
        }
        return line(out, json!({"v": 1, "snapshots": all}));
    }
    for found in &sound.snapshots {
        let (header, snapshot) = found;
        line(out, format_args!("{:<12} {}", "index", header.pos.index))?;
        line(out, format_args!("{:<12} {}", "term", header.pos.term))?;
        line(
            out,
            format_args!("{:<12} {}", "cluster", hex(&header.cluster_id)),
        )?;
        line(out, format_args!("{:<12} {}", "members", header.config))?;
        line(out, format_args!("{:<12} {}", "revision", header.revision))?;
        line(out, format_args!("{:<12} {}", "keys", header.keys))?;
        line(out, format_args!("{:<12} {}", "bytes", snapshot.bytes))?;
        line(out, format_args!("{:<12} {:032x}", "hash", snapshot.hash))?;
        if keys {
            each_key(&mut media, path, *snapshot, |key| line(out, shown_key(key)))?;
        }
    }
    Ok(())
}

fn each_key<M: Media>(
    media: &mut M,
    path: &Path,
    snapshot: Snapshot,
    mut visit: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let name = snapshot_name(snapshot.pos);
    let file = media.describe(&name);
    let failed = |error| StartError::io(Path::new(&file), error);
    let source = media.open_source(&name).map_err(failed)?;
    let wrong = |error| Failure::storage(path, crate::storage::Error::Snapshot(error));
    let mut reader = Reader::new(source, file.clone()).map_err(wrong)?;
    while let Some(chunk) = reader.next_chunk().map_err(wrong)? {
        for key in kv::keys(chunk) {
            visit(key.expect("the snapshot was loaded once"))?;
        }
    }
    Ok(())
}

fn snapshot_json((header, snapshot): &(Header, Snapshot)) -> Value {
    let voters: Vec<u64> = header.config.voters().map(|voter| voter.0).collect();
    json!({
        "index": header.pos.index.0,
        "term": header.pos.term.0,
        "cluster_id": hex(&header.cluster_id),
        "voters": voters,
        "revision": header.revision,
        "keys": header.keys,
        "bytes": snapshot.bytes,
        "hash": format!("{:032x}", snapshot.hash),
    })
}

/// What an entry does, and to which key.
fn meaning(entry: &Entry) -> (String, Option<Vec<u8>>) {
    match entry.kind {
        EntryKind::NO_OP => ("no-op".to_owned(), None),
        EntryKind::COMMAND => match codec::decode_command(entry.data.clone()) {
            Ok(Command::Put { key, .. }) => ("put".to_owned(), Some(key.to_vec())),
            Ok(Command::Delete { key }) => ("delete".to_owned(), Some(key.to_vec())),
            Err(_) => ("unknown".to_owned(), None),
        },
        EntryKind::CONFIG => ("config".to_owned(), None),
        EntryKind(kind) => (format!("kind-{kind}"), None),
    }
}

fn entry_row(out: &mut impl Write, entry: &Entry, bytes: usize) -> std::io::Result<()> {
    let (kind, key) = meaning(entry);
    let (index, term) = (entry.pos.index.0, entry.pos.term.0);
    let key = key.as_deref().map_or_else(String::new, shown_key);
    let row = format!("{index:>10} {term:>6} {kind:<7} {bytes:>8} {key}");
    writeln!(out, "{}", row.trim_end())
}

fn entry_json(entry: &Entry, bytes: usize) -> Value {
    let (kind, key) = meaning(entry);
    let mut value = json!({
        "index": entry.pos.index.0,
        "term": entry.pos.term.0,
        "kind": kind,
        "bytes": bytes,
    });
    if let Some(key) = key {
        value["key"] = key_json(&key);
    }
    value
}

/// Text as it is; bytes that are none in an object, so that the two cannot be confused.
fn key_json(key: &[u8]) -> Value {
    match std::str::from_utf8(key) {
        Ok(text) => text.into(),
        Err(_) => json!({"hex": hex(key)}),
    }
}

/// In one line, whatever it holds.
fn shown_key(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => key.escape_ascii().to_string(),
    }
}

fn line(out: &mut impl Write, text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(out, "{text}").map_err(Failure::output)
}
