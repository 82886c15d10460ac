//! `raftkv-cli backup`: a file with all keys, saved from the leader and checked.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use raftkv::{
    client::{BackupHead, BackupPart, Client},
    storage::{Header, Loading, SnapshotError},
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
        let (mut media, name) = place(file)?;
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
        let (_, found) = check(&mut self.media, &self.temporary)?;
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
    let (mut media, name) = place(file)?;
    let (header, snapshot) = check(&mut media, &name)?;
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

/// The directory of a file, and its name there.
fn place(file: &Path) -> Result<(FileMedia, String), (u8, String)> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        let text = format!("{} is no name of a file; give one in UTF-8", file.display());
        return Err((exit::USAGE, text));
    };
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let media = FileMedia::open(directory).map_err(|error| disk(directory, &error))?;
    Ok((media, name.to_owned()))
}

/// Reads a whole backup, and each entry in it.
fn check(
    media: &mut FileMedia,
    name: &str,
) -> Result<(Header, raftkv::raft::Snapshot), (u8, String)> {
    let file = media.describe(name);
    let source = media.open_source(name);
    let source = source.map_err(|error| disk(Path::new(&file), &error))?;
    let mut loading = Loading::new(source, file).map_err(wrong)?;
    while loading.step().map_err(wrong)?.is_none() {}
    let header = loading.header().clone();
    Ok((header, loading.finish().0))
}

fn wrong(error: SnapshotError) -> (u8, String) {
    let code = match error {
        SnapshotError::Damaged { .. } | SnapshotError::Missing { .. } => exit::DAMAGED,
        SnapshotError::Newer { .. } | SnapshotError::Foreign { .. } => exit::REFUSED,
        SnapshotError::Io { .. } => exit::UNAVAILABLE,
    };
    (code, error.to_string())
}

fn disk(file: &Path, error: &io::Error) -> (u8, String) {
    let text = format!(
        "cannot use {}: {error}; check its directory, permissions and the space of the disk",
        file.display()
    );
    (exit::UNAVAILABLE, text)
}
