//! `raftkv restore`: the directory of one node in a new cluster, made of a backup or of what a
//! survivor of a lost majority has.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use raftkv_wal::{FileMedia, Media as _, Options};

use super::{Failure, Sound, hex};
use crate::{
    kv::{Frozen, Kv},
    node::{RestoredDir, StartError, first_config, restored_cluster_id},
    raft::{HardState, NodeId, Snapshot},
    storage::{
        self, Header, Job, JobError, Loading, Origin, Reader, SnapshotError, Storage, Writer,
    },
};

/// How much larger the revision becomes. A backup is older than what it replaces: clients may have
/// seen revisions that it does not know, and none of them may come again for another change.
pub const REVISION_STEP: u64 = 1_000_000;

/// A survivor's state, written down like a backup.
const SURVIVOR_NAME: &str = "survivor.snapshot";

/// What the new cluster begins with.
#[derive(Clone, Debug)]
pub enum Origins {
    /// A file that `raftkv-cli backup save` made.
    File(PathBuf),
    /// The directory of a stopped node, with its log to the end.
    Survivor(PathBuf),
}

/// One node of a new cluster.
#[derive(Clone, Debug)]
pub struct Restore {
    /// What it begins with, the same on every node.
    pub origin: Origins,
    /// Its members, the same on every node.
    pub peers: BTreeMap<NodeId, String>,
    /// Tells this restoration from others of the same origin; the same on every node.
    pub token: String,
    /// This node.
    pub node_id: NodeId,
    /// Where to make its directory.
    pub data_dir: PathBuf,
}

/// Makes the directory. `confirm` is asked, with what may be lost, before a survivor's state is
/// taken for the cluster's.
///
/// # Errors
/// Code 2 when it was not confirmed or there is nothing to restore, 3 while a node runs in either
/// directory, 5 when the new one is in use or the origin is of a newer program, 6 when the origin
/// is damaged, 74 when the disk fails.
pub fn restore(
    restore: &Restore,
    confirm: impl FnOnce(&str) -> Result<bool, Failure>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let made = match &restore.origin {
        Origins::File(file) => {
            // Before the directory is begun: a wrong file leaves nothing behind.
            let (_, Snapshot { hash, .. }) = check_backup(file)?;
            let (media, name) = open_directory_of(file)?;
            let directory = RestoredDir::begin(&restore.data_dir)?;
            build(restore, directory, (media, &name), hash)?
        }
        Origins::Survivor(path) => {
            let survivor = Sound::open(path)?;
            if !confirm(&at_risk(path, &survivor))? {
                return Err(Failure {
                    code: 2,
                    text: "not confirmed: nothing was made; say --yes".to_owned(),
                });
            }
            let directory = RestoredDir::begin(&restore.data_dir)?;
            let build_path = directory.build_path();
            let media = FileMedia::open(&build_path);
            let mut media = media.map_err(|error| StartError::io(&build_path, error))?;
            let hash = write_down(path, &survivor, &mut media)?.hash;
            build(restore, directory, (media, SURVIVOR_NAME), hash)?
        }
    };
    // What was written is read once more, as a start will.
    Sound::open(&restore.data_dir)?;
    report(restore, &made, out).map_err(Failure::output)
}

/// What a survivor has, and what it may lack.
fn at_risk(path: &Path, survivor: &Sound) -> String {
    let (last, hard) = (survivor.log.last, survivor.log.hard);
    format!(
        "{}: node {} of cluster {}, in term {}. Its log ends with index {} of term {}.\n\
         Lost is what other members have and this one has not: writes that were acknowledged \
         after that index.\nIn exchange all of its log counts from now on, entries too that were \
         never committed: of some, clients were told \"unknown\".\nOf several survivors take the \
         one whose last term is highest, and of those the one with the highest index (raftkv \
         inspect meta DIR). No node of the old cluster may be started again.",
        path.display(),
        survivor.identity.node_id,
        hex(&survivor.identity.cluster_id),
        hard.term,
        last.index,
        last.term
    )
}

/// Writes a survivor's state down as it would be in a backup.
fn write_down(path: &Path, survivor: &Sound, media: &mut FileMedia) -> Result<Snapshot, Failure> {
    let Sound {
        directory,
        identity,
        log,
        ..
    } = survivor;
    if log.last.index.0 == 0 {
        return Err(Failure {
            code: 2,
            text: format!(
                "{} has no entry: there is nothing to restore",
                path.display()
            ),
        });
    }
    let state = log.state_at_end(&mut directory.media()?, &identity.owner());
    let state: Kv = state.map_err(|error| Failure::storage(path, error))?;
    let mut frozen: Frozen = state.freeze();
    let header = Header {
        cluster_id: identity.cluster_id,
        pos: log.last,
        revision: frozen.revision(),
        keys: frozen.len() as u64,
        config: survivor.config(),
    };
    let file = media.describe(SURVIVOR_NAME);
    let failed = |error| Failure::from(StartError::io(Path::new(&file), error));
    let sink = media.create(SURVIVOR_NAME).map_err(failed)?;
    let mut writer = Writer::new(sink, &header).map_err(failed)?;
    let mut chunk = Vec::new();
    while frozen.encode_some(&mut chunk, storage::CHUNK_BYTES) {
        writer.chunk(&chunk).map_err(failed)?;
        chunk.clear();
    }
    Ok(writer.finish().map_err(failed)?.0)
}

/// The directory of a file, and its name there.
///
/// # Errors
/// Code 2 when it is no name of a file, 74 when its directory cannot be opened.
pub fn open_directory_of(file: &Path) -> Result<(FileMedia, String), Failure> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        let text = format!("{} is no name of a file; give one in UTF-8", file.display());
        return Err(StartError::Flag(text).into());
    };
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let media = FileMedia::open(directory).map_err(|error| StartError::io(directory, error))?;
    Ok((media, name.to_owned()))
}

/// Reads all of a backup, and each entry in it.
///
/// # Errors
/// Code 2 when it is no name of a file, 5 when it is of a newer program, 6 when it is damaged, 74
/// when it cannot be read.
pub fn check_backup(file: &Path) -> Result<(Header, Snapshot), Failure> {
    let (mut media, name) = open_directory_of(file)?;
    let source = media.open_source(&name);
    let source = source.map_err(|error| StartError::io(file, error))?;
    let mut loading = Loading::new(source, file.display().to_string()).map_err(wrong)?;
    while loading.step().map_err(wrong)?.is_none() {}
    let header = loading.header().clone();
    Ok((header, loading.finish().0))
}

fn wrong(error: SnapshotError) -> Failure {
    let code = match error {
        SnapshotError::Damaged { .. } | SnapshotError::Missing { .. } => 6,
        SnapshotError::Newer { .. } | SnapshotError::Foreign { .. } => 5,
        SnapshotError::Io { .. } => 74,
    };
    Failure {
        code,
        text: error.to_string(),
    }
}

/// What was made.
struct Made {
    cluster_id: [u8; 16],
    snapshot: Snapshot,
    header: Header,
}

/// Builds log and snapshot of the new node, and moves them to their place.
fn build(
    restore: &Restore,
    directory: RestoredDir,
    (mut media, name): (FileMedia, &str),
    hash: u128,
) -> Result<Made, Failure> {
    let cluster_id = restored_cluster_id(hash, &restore.peers, &restore.token);
    let identity = directory.identity(cluster_id, restore.node_id, &restore.peers)?;
    let file = media.describe(name);
    let source = media.open_source(name);
    let source = source.map_err(|error| StartError::io(Path::new(&file), error))?;
    let mut reader = Reader::new(source, file).map_err(wrong)?;
    let header = Header {
        cluster_id,
        revision: reader.header().revision + REVISION_STEP,
        config: first_config(&restore.peers),
        ..reader.header().clone()
    };
    let wal_path = directory.wal_path();
    let failed = |error| Failure::from(StartError::io(&wal_path, error));
    let log_failed = |error| Failure::storage(&restore.data_dir, error);
    let wal = FileMedia::open(&wal_path).map_err(failed)?;
    let opened = Storage::open(wal, Options::new(identity.owner())).map_err(log_failed)?;
    let mut storage = opened.storage;
    let sink = storage.begin_snapshot(Origin::Fetched).map_err(failed)?;
    let mut writer = Writer::new(sink, &header).map_err(failed)?;
    // The entries are copied as they are: a key keeps its revisions, only the next ones are new.
    while let Some(chunk) = reader.next_chunk().map_err(wrong)? {
        writer.chunk(chunk).map_err(failed)?;
    }
    let (snapshot, sink) = writer.finish().map_err(failed)?;
    let (source, file) = storage.read_back(Origin::Fetched).map_err(failed)?;
    let mut publish = Job::<FileMedia>::verify(source, file, sink, snapshot).map_err(job_failed)?;
    while publish.step() {}
    publish.finish().map_err(job_failed)?;
    let hard = HardState {
        term: snapshot.pos.term,
        vote: None,
    };
    storage
        .add_snapshot(snapshot, Origin::Fetched, 1)
        .and_then(|()| storage.write(Some(hard), &[]))
        .and_then(|()| storage.sync())
        .and_then(|()| storage.mark())
        .map_err(log_failed)?;
    drop(storage);
    // The segment that was prepared ahead; the node makes its own.
    match fs::remove_file(wal_path.join("next.tmp")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => directory.finish(&identity)?,
    }
    Ok(Made {
        cluster_id,
        snapshot,
        header,
    })
}

fn job_failed(error: JobError) -> Failure {
    match error {
        JobError::Snapshot(error) => wrong(error),
        error => Failure {
            code: 74,
            text: error.to_string(),
        },
    }
}

fn report(restore: &Restore, made: &Made, out: &mut impl Write) -> io::Result<()> {
    let Header {
        pos,
        revision,
        keys,
        ..
    } = &made.header;
    let peers: Vec<String> = restore
        .peers
        .iter()
        .map(|(id, address)| format!("{id}@{address}"))
        .collect();
    let peers = peers.join(",");
    writeln!(
        out,
        "restored {} as node {} of cluster {}: {keys} keys, index {} of term {}, revision \
         {revision}, snapshot {:032x}",
        restore.data_dir.display(),
        restore.node_id,
        hex(&made.cluster_id),
        pos.index,
        pos.term,
        made.snapshot.hash
    )?;
    writeln!(
        out,
        "Restore every node with the same origin, --peers and --token before the first one \
         starts; then start each with --peers {peers}"
    )
}
