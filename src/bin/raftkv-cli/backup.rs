//! `raftkv-cli backup`: a file with all keys, saved from the leader and checked.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use raftkv::{
    client::{BackupHead, BackupPart, Client},
    offline::{Failure, check_backup, open_directory_of},
    raft::Snapshot,
    storage::Header,
};
use raftkv_wal::{FileMedia, FileSink, Media as _, Sink as _};

use crate::{Ended, exit, explain, progress::Progress, said};

#[derive(Subcommand)]
pub enum Command {
    /// Save all keys, with every write acknowledged before, to a file; the cluster goes on
    Save {
        /// Made when the whole of it was read back and is right
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Check a saved file and print what it holds; needs no cluster
    Inspect {
        /// What `save` made
        file: PathBuf,
    },
}

pub fn run(command: &Command, client: &mut Client) -> Ended {
    match command {
        Command::Save { file, force } => save(file, *force, client),
        Command::Inspect { file } => inspect(file),
    }
}

/// A file that is being saved, under a temporary name beside its own.
struct Target {
    file: PathBuf,
    name: String,
    temporary: String,
    media: FileMedia,
    sink: FileSink,
}

impl Target {
    fn create(file: &Path, force: bool) -> Result<Target, (u8, String)> {
        if !force && file.symlink_metadata().is_ok() {
            let text = format!(
                "{} exists; give another name, or --force to replace it",
                file.display()
            );
            return Err((exit::USAGE, text));
        }
        let (mut media, name) = open_directory_of(file).map_err(explained)?;
        let temporary = format!("{name}.tmp");
        let sink = media.create(&temporary);
        Ok(Target {
            sink: sink.map_err(|error| disk(file, &error))?,
            file: file.to_owned(),
            name,
            temporary,
            media,
        })
    }

    /// Checks all that was written and gives it its name.
    fn publish(&mut self, head: &BackupHead) -> Result<(), (u8, String)> {
        self.sink.sync().map_err(|error| disk(&self.file, &error))?;
        let (_, found) = check(&self.file.with_file_name(&self.temporary))?;
        if found.hash != head.hash || found.bytes != head.bytes {
            let text = format!(
                "{}: what came is not what was announced; save it again",
                self.file.display()
            );
            return Err((exit::DAMAGED, text));
        }
        let published = self.sink.publish(&self.name);
        published
            .and_then(|()| self.sink.sync_directory())
            .map_err(|error| disk(&self.file, &error))
    }
}

fn save(file: &Path, force: bool, client: &mut Client) -> Ended {
    let mut target = Target::create(file, force)?;
    let mut progress = Progress::new();
    let (mut done_bytes, mut total_bytes) = (0, 0);
    let sink = &mut target.sink;
    let saved = client.backup(|part| match part {
        BackupPart::Head(head) => {
            total_bytes = head.bytes;
            Ok(())
        }
        BackupPart::Bytes(bytes) => {
            done_bytes += bytes.len() as u64;
            progress.show(done_bytes, total_bytes, || {
                format!("{} of {} MiB", done_bytes >> 20, total_bytes >> 20)
            });
            sink.append(&bytes)
                .map_err(|error| format!("cannot write {}: {error}", file.display()))
        }
    });
    progress.end();
    let ended = saved.map_err(explain).and_then(|head| {
        target.publish(&head)?;
        Ok(head)
    });
    let head = ended.inspect_err(|_| {
        // What is left of it is replaced by the next attempt.
        let _ = target.media.remove(&target.temporary);
    })?;
    let text = format!(
        "saved {}  index {}  term {}  revision {}  keys {}  {} bytes  hash {:032x}",
        file.display(),
        head.index,
        head.term,
        head.revision,
        head.keys,
        head.bytes,
        head.hash
    );
    said(&text)
}

fn inspect(file: &Path) -> Ended {
    let (header, snapshot) = check(file)?;
    let cluster = u128::from_be_bytes(header.cluster_id);
    let lines = [
        ("index", header.pos.index.to_string()),
        ("term", header.pos.term.to_string()),
        ("revision", header.revision.to_string()),
        ("keys", header.keys.to_string()),
        ("bytes", snapshot.bytes.to_string()),
        ("cluster", format!("{cluster:032x}")),
        ("members", header.config.to_string()),
        (
            "hash",
            format!("{:032x}, all of it was read and is right", snapshot.hash),
        ),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<10} {value}"));
    said(&lines.join("\n"))
}

fn check(file: &Path) -> Result<(Header, Snapshot), (u8, String)> {
    check_backup(file).map_err(explained)
}

fn explained(failure: Failure) -> (u8, String) {
    match failure.code {
        // No disk of the cluster's.
        74 => (exit::UNAVAILABLE, failure.text),
        code => (code, failure.text),
    }
}

fn disk(file: &Path, error: &io::Error) -> (u8, String) {
    let text = format!(
        "cannot use {}: {error}; check its directory, permissions and the space of the disk",
        file.display()
    );
    (exit::UNAVAILABLE, text)
}
