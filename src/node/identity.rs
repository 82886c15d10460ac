//! Whose data directory this is. A node that lost its directory has forgotten its votes, so a
//! directory is told from its successor by an **incarnation**, and each node pins, for good, the
//! first incarnation that it sees of a node id.
//!
//! ```text
//! raftkv.pid   id of the process that uses the directory; locked while it lives
//! pins         first incarnation seen of each node
//! wal/         the log
//! identity     cluster id, node id, incarnation, configuration 0; made last, so that without it
//!              the rest is the debris of a start that did not finish
//! ```

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    error::StartError,
    hello::hex,
    sealed::{self, Format, sync_directory},
};
use crate::raft::{Config, Description, Incarnation, NodeId};

pub(super) const LOCK_FILE: &str = "raftkv.pid";
pub(super) const PINS_FILE: &str = "pins";
pub(super) const WAL_DIRECTORY: &str = "wal";
pub(super) const IDENTITY_FILE: &str = "identity";

const IDENTITY_FORMAT: Format = Format {
    name: "raftkv identity",
    version: 1,
};
const PINS_FORMAT: Format = Format {
    name: "raftkv pins",
    version: 1,
};

/// What a directory may hold and still count as new: our own debris, and what `mkfs` leaves in a
/// file system that is mounted for us.
const NOT_YET_USED: &[&str] = &[
    LOCK_FILE,
    PINS_FILE,
    "pins.tmp",
    WAL_DIRECTORY,
    "identity.tmp",
    "lost+found",
];

/// Whose data directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: [u8; 16],
    /// The node.
    pub node_id: NodeId,
    /// This directory among all that the node ever had.
    pub incarnation: Incarnation,
    /// Configuration 0: the members, with their addresses at that time.
    pub members: BTreeMap<NodeId, String>,
}

impl Identity {
    /// The owner of the log: cluster id, node id in little endian, incarnation.
    #[must_use]
    pub fn owner(&self) -> [u8; 40] {
        let mut owner = [0; 40];
        owner[..16].copy_from_slice(&self.cluster_id);
        owner[16..24].copy_from_slice(&self.node_id.0.to_le_bytes());
        owner[24..].copy_from_slice(&self.incarnation);
        owner
    }
}

/// Configuration 0 of a cluster: the members, with where they are found.
#[must_use]
pub fn first_config(members: &BTreeMap<NodeId, String>) -> Config {
    let described = |(&id, address): (&NodeId, &String)| {
        let description = Description {
            peer_address: address.clone(),
            ..Description::default()
        };
        (id, description)
    };
    Config::described(members.iter().map(described))
}

/// A data directory, locked as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    /// Whose it is.
    pub identity: Identity,
    path: PathBuf,
    pins: BTreeMap<NodeId, Incarnation>,
    is_fresh: bool,
    _lock: File,
}

impl DataDir {
    /// Locks the directory at `path` and reads whose it is. An absent or empty one is made node
    /// `node_id`'s, as a founder of a cluster of `peers`, or in the cluster `joins`, where it waits
    /// to be added; whatever step a crash interrupts, the next start finds either nothing that
    /// counts or all of it.
    ///
    /// # Errors
    /// When the directory is locked, foreign, newer or damaged, or the system refuses.
    pub fn open(
        path: &Path,
        node_id: NodeId,
        peers: &BTreeMap<NodeId, String>,
        joins: Option<[u8; 16]>,
    ) -> Result<DataDir, StartError> {
        create_directory(path).map_err(|error| StartError::io(path, error))?;
        let lock = lock(path)?;
        let identity_path = path.join(IDENTITY_FILE);
        let known = match identity_path.try_exists() {
            Ok(true) => Some(read_identity(&identity_path)?),
            Ok(false) => None,
            Err(error) => return Err(StartError::io(&identity_path, error)),
        };
        if let Some(identity) = &known {
            check_owner(path, identity, node_id)?;
        }
        let is_fresh = log_is_absent(path)?;
        let (identity, pins) = match known {
            Some(identity) if !is_fresh => {
                let pins = read_pins(&path.join(PINS_FILE), &identity)?;
                (identity, pins)
            }
            None if !is_fresh => {
                let problem = "it is missing, but there is a log";
                return Err(StartError::damaged(&identity_path, problem));
            }
            // No log, no memory of votes: whoever knew this directory must not take it for what it
            // was. The cluster stays the one that it was made for.
            Some(known) => create(path, known)?,
            None => {
                check_unused(path)?;
                let first = Identity {
                    cluster_id: joins.unwrap_or_else(|| first_cluster_id(peers)),
                    node_id,
                    incarnation: Incarnation::default(),
                    members: joins.map_or_else(|| peers.clone(), |_| BTreeMap::new()),
                };
                create(path, first)?
            }
        };
        Ok(DataDir {
            identity,
            path: path.to_owned(),
            pins,
            is_fresh,
            _lock: lock,
        })
    }

    /// Whether the directory at `path` knows its cluster.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn has_identity(path: &Path) -> Result<bool, StartError> {
        let path = path.join(IDENTITY_FILE);
        path.try_exists()
            .map_err(|error| StartError::io(&path, error))
    }

    /// Whether no process uses the directory at `path`, which may be absent.
    ///
    /// # Errors
    /// [`StartError::Locked`], or when the system refuses.
    pub fn check_unlocked(path: &Path) -> Result<(), StartError> {
        if path.is_dir() {
            lock(path)?;
        }
        Ok(())
    }

    /// The owner of the log: cluster id, node id in little endian, incarnation.
    #[must_use]
    pub fn owner(&self) -> [u8; 40] {
        self.identity.owner()
    }

    /// Where the log lies.
    #[must_use]
    pub fn wal_path(&self) -> PathBuf {
        self.path.join(WAL_DIRECTORY)
    }

    /// Whether this start made the directory: it holds no log, and its incarnation is new.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// The first incarnation seen of each node, this one among them.
    #[must_use]
    pub fn pins(&self) -> &BTreeMap<NodeId, Incarnation> {
        &self.pins
    }

    /// Binds `node` to `incarnation`, durably before this returns.
    ///
    /// # Errors
    /// Of the operating system; the process must stop, since nobody knows what the disk holds.
    pub fn pin(&mut self, node: NodeId, incarnation: Incarnation) -> io::Result<()> {
        match self.pins.insert(node, incarnation) {
            Some(pinned) if pinned == incarnation => Ok(()),
            _ => write_pins(&self.path, &self.pins),
        }
    }
}

/// Makes the directory and its parents as far as they are absent. Those that were made here are
/// durable on return.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

pub(super) fn lock(path: &Path) -> Result<File, StartError> {
    let lock_path = path.join(LOCK_FILE);
    let failed = |error: io::Error| StartError::io(&lock_path, error);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&lock_path).map_err(failed)?;
    hold(&mut file, path, FlockOperation::NonBlockingLockExclusive)?;
    let id = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(id.as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

/// Takes the lock of the directory at `path`, which `file` is.
pub(super) fn hold(file: &mut File, path: &Path, how: FlockOperation) -> Result<(), StartError> {
    match flock(&mut *file, how) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // The id is a courtesy; without it the lock is still held.
            let process = file.read_to_string(&mut text).ok();
            Err(StartError::Locked {
                directory: path.to_owned(),
                process: process.and_then(|_| text.trim().parse().ok()),
            })
        }
        Err(errno) => Err(StartError::io(&path.join(LOCK_FILE), errno.into())),
    }
}

pub(super) fn log_is_absent(path: &Path) -> Result<bool, StartError> {
    let wal_path = path.join(WAL_DIRECTORY);
    match fs::read_dir(&wal_path) {
        // A segment that was never published is the debris of a start that did not finish.
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|error| StartError::io(&wal_path, error))?;
                if entry.path().extension().is_some_and(|e| e == "wal") {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(StartError::io(&wal_path, error)),
    }
}

/// Fills a directory that holds no log, with an incarnation of its own. The identity comes last,
/// and all else is durable by then.
fn create(
    path: &Path,
    mut identity: Identity,
) -> Result<(Identity, BTreeMap<NodeId, Incarnation>), StartError> {
    identity.incarnation = draw_incarnation()?;
    let pins = BTreeMap::from([(identity.node_id, identity.incarnation)]);
    let made = create_directory(&path.join(WAL_DIRECTORY))
        .and_then(|()| write_pins(path, &pins))
        .and_then(|()| write_identity(path, &identity));
    made.map_err(|error| StartError::io(path, error))?;
    Ok((identity, pins))
}

pub(super) fn draw_incarnation() -> Result<Incarnation, StartError> {
    let mut incarnation = [0; 16];
    getrandom::fill(&mut incarnation).map_err(|error| StartError::System {
        doing: "drawing an incarnation",
        error: io::Error::other(error),
    })?;
    Ok(incarnation)
}

pub(super) fn write_identity(directory: &Path, identity: &Identity) -> io::Result<()> {
    let body = encode_identity(identity);
    sealed::write(&directory.join(IDENTITY_FILE), &IDENTITY_FORMAT, &body)
}

fn check_unused(path: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::io(path, error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !NOT_YET_USED.iter().any(|known| name == *known) {
            let problem = format!(
                "it holds \"{}\" and is no data directory of raftkv; choose an empty one",
                name.display()
            );
            return Err(StartError::Foreign {
                directory: path.to_owned(),
                problem,
            });
        }
    }
    Ok(())
}

fn check_owner(path: &Path, identity: &Identity, node_id: NodeId) -> Result<(), StartError> {
    let owner = identity.node_id;
    if owner == node_id {
        return Ok(());
    }
    Err(StartError::Foreign {
        directory: path.to_owned(),
        problem: format!(
            "it is node {owner}'s, not node {node_id}'s; start it with --node-id {owner} or give \
             node {node_id} its own directory"
        ),
    })
}

/// FNV-1a of 128 bits (draft-eastlake-fnv §5) over `--peers`, sorted by id: nodes that were given
/// the same list are one cluster, whichever starts first.
fn first_cluster_id(peers: &BTreeMap<NodeId, String>) -> [u8; 16] {
    let text: String = peers
        .iter()
        .map(|(id, address)| format!("{id}@{address},"))
        .collect();
    fnv1a_128(text.as_bytes()).to_be_bytes()
}

fn fnv1a_128(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = (1 << 88) + 0x13b;
    bytes.iter().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

fn encode_identity(identity: &Identity) -> String {
    let mut body = format!(
        "cluster {}\nnode {}\nincarnation {}\n",
        hex(identity.cluster_id),
        identity.node_id,
        hex(identity.incarnation)
    );
    for (id, address) in &identity.members {
        let _ = writeln!(body, "member {id} {address}");
    }
    body
}

pub(super) fn read_identity(path: &Path) -> Result<Identity, StartError> {
    let body = sealed::read(path, &IDENTITY_FORMAT)?;
    decode_identity(&body).ok_or_else(|| StartError::damaged(path, "a line makes no sense"))
}

fn decode_identity(body: &str) -> Option<Identity> {
    let mut lines = body.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    Some(Identity {
        cluster_id: unhex(field("cluster")?)?,
        node_id: NodeId(field("node")?.parse().ok()?),
        incarnation: unhex(field("incarnation")?)?,
        members: lines
            .map(|line| {
                let (id, address) = line.strip_prefix("member ")?.split_once(' ')?;
                Some((NodeId(id.parse().ok()?), address.to_owned()))
            })
            .collect::<Option<_>>()?,
    })
}

pub(super) fn write_pins(directory: &Path, pins: &BTreeMap<NodeId, Incarnation>) -> io::Result<()> {
    let body: String = pins
        .iter()
        .map(|(node, incarnation)| format!("pin {node} {}\n", hex(*incarnation)))
        .collect();
    sealed::write(&directory.join(PINS_FILE), &PINS_FORMAT, &body)
}

pub(super) fn read_pins(
    path: &Path,
    identity: &Identity,
) -> Result<BTreeMap<NodeId, Incarnation>, StartError> {
    // Without its pins a node would count the votes of any directory again.
    if let Ok(false) = path.try_exists() {
        return Err(StartError::damaged(path, "it is missing"));
    }
    let body = sealed::read(path, &PINS_FORMAT)?;
    let pins: BTreeMap<NodeId, Incarnation> = body
        .lines()
        .map(|line| {
            let (node, incarnation) = line.strip_prefix("pin ")?.split_once(' ')?;
            Some((NodeId(node.parse().ok()?), unhex(incarnation)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| StartError::damaged(path, "a line makes no sense"))?;
    if pins.get(&identity.node_id) != Some(&identity.incarnation) {
        let problem = "it is of another data directory";
        return Err(StartError::damaged(path, problem));
    }
    Ok(pins)
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let sound = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
    sound
        .then(|| u128::from_str_radix(text, 16).ok())?
        .map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(text: &str) -> BTreeMap<NodeId, String> {
        crate::node::parse_peers(text).expect("a list of members")
    }

    fn three() -> BTreeMap<NodeId, String> {
        peers("0@a:1,1@b:2,2@c:3")
    }

    fn open(path: &Path) -> Result<DataDir, StartError> {
        DataDir::open(path, NodeId(0), &three(), None)
    }

    /// Opens a new directory below `root`, with the log that a node makes at once.
    fn used(root: &Path) -> PathBuf {
        let path = root.join("node");
        let directory = open(&path).expect("a new directory");
        fs::write(directory.wal_path().join("0000000001.wal"), "a log").expect("written");
        path
    }

    fn refused(path: &Path) -> (u8, String) {
        let error = open(path).expect_err("refused");
        let text = error.to_string();
        assert!(!text.contains('\n'), "one line: {text}");
        (error.exit_code(), text)
    }

    #[test]
    fn a_new_directory_is_made_with_its_parents_and_found_again() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("deep/er");
        let made = DataDir::open(&path, NodeId(1), &three(), None).expect("made");
        assert!(made.is_fresh());
        assert_eq!(made.pins()[&NodeId(1)], made.identity.incarnation);
        fs::write(made.wal_path().join("0000000001.wal"), "a log").expect("written");
        let (identity, owner) = (made.identity.clone(), made.owner());
        drop(made);
        let found = DataDir::open(&path, NodeId(1), &three(), None).expect("found");
        assert!(!found.is_fresh());
        assert_eq!((&found.identity, found.owner()), (&identity, owner));
        assert_eq!(owner[..16], identity.cluster_id);
        assert_eq!(owner[16..24], 1_u64.to_le_bytes());
        assert_eq!(owner[24..], identity.incarnation);
    }

    #[test]
    fn nodes_with_the_same_peers_agree_on_the_cluster_and_not_on_the_incarnation() {
        let root = tempfile::tempdir().expect("temporary directory");
        let reordered = peers("2@c:3,0@a:1,1@b:2");
        let zero = open(&root.path().join("0")).expect("made").identity;
        let one = DataDir::open(&root.path().join("1"), NodeId(1), &reordered, None).expect("made");
        assert_eq!(zero.cluster_id, one.identity.cluster_id);
        assert_ne!(zero.incarnation, one.identity.incarnation);
        let other = first_cluster_id(&peers("0@a:1,1@b:2,2@c:4"));
        assert_ne!(zero.cluster_id, other);
    }

    #[test]
    fn the_hash_is_fnv_1a_of_128_bits() {
        assert_eq!(fnv1a_128(b""), 0x6c62272e07bb014262b821756295c58d);
        assert_eq!(fnv1a_128(b"a"), 0xd228cb696f1a8caf78912b704e4a8964);
        assert_eq!(fnv1a_128(b"foobar"), 0x343e1662793c64bf6f0d3597ba446f18);
    }

    #[test]
    fn a_directory_in_use_is_locked() {
        let root = tempfile::tempdir().expect("temporary directory");
        let held = open(&root.path().join("node")).expect("made");
        let (code, text) = refused(&root.path().join("node"));
        assert_eq!(code, 3);
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
        drop(held);
        open(&root.path().join("node")).expect("free again");
    }

    #[test]
    fn a_directory_of_another_node_is_foreign() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        let error = DataDir::open(&path, NodeId(1), &three(), None).expect_err("another node");
        assert_eq!(error.exit_code(), 5);
        assert!(
            error.to_string().contains("it is node 0's, not node 1's"),
            "{error}"
        );
    }

    #[test]
    fn a_node_that_joins_has_the_cluster_it_was_told_and_no_members() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("node");
        assert!(!DataDir::has_identity(&path).expect("looked"));
        let joins = |id| DataDir::open(&path, NodeId(7), &three(), id).expect("made");
        let made = joins(Some([5; 16]));
        assert_eq!(made.identity.cluster_id, [5; 16]);
        assert!(made.identity.members.is_empty());
        drop(made);
        assert!(DataDir::has_identity(&path).expect("looked"));
        // Without a log it is made anew, as what it was.
        let again = joins(None);
        assert!(again.identity.members.is_empty());
        assert_eq!(again.identity.cluster_id, [5; 16]);
    }

    #[test]
    fn addresses_may_change_and_the_stored_cluster_stays() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        let before = open(&path).expect("found").identity;
        let moved =
            DataDir::open(&path, NodeId(0), &peers("0@x:1,1@y:1,2@z:1"), None).expect("found");
        assert_eq!(moved.identity, before);
        drop(moved);
        let more = peers("0@a:1,1@b:2,3@c:3");
        let other = DataDir::open(&path, NodeId(0), &more, None).expect("found");
        assert_eq!(
            other.identity, before,
            "who the members are is not a flag's affair any more"
        );
    }

    #[test]
    fn files_of_others_are_foreign_and_stay_untouched() {
        let root = tempfile::tempdir().expect("temporary directory");
        fs::write(root.path().join("thesis.tex"), "years").expect("written");
        let (code, text) = refused(root.path());
        assert_eq!(code, 5);
        assert!(text.contains("thesis.tex"), "{text}");
        assert!(!root.path().join(IDENTITY_FILE).exists());
    }

    #[test]
    fn the_debris_of_an_unfinished_start_is_made_over() {
        let root = tempfile::tempdir().expect("temporary directory");
        for debris in NOT_YET_USED.iter().filter(|name| **name != WAL_DIRECTORY) {
            fs::write(root.path().join(debris), "half").expect("written");
        }
        fs::create_dir(root.path().join(WAL_DIRECTORY)).expect("made");
        fs::write(root.path().join("wal/prepared.tmp"), "half").expect("written");
        assert!(open(root.path()).expect("made over").is_fresh());
    }

    #[test]
    fn a_directory_without_its_log_gets_a_new_incarnation_in_the_same_cluster() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        let before = open(&path).expect("found").identity;
        fs::remove_dir_all(path.join(WAL_DIRECTORY)).expect("removed");
        let after =
            DataDir::open(&path, NodeId(0), &peers("0@x:1,1@y:1,2@z:1"), None).expect("made");
        assert!(after.is_fresh());
        assert_eq!(after.identity.cluster_id, before.cluster_id);
        assert_ne!(after.identity.incarnation, before.incarnation);
    }

    #[test]
    fn a_pin_survives_a_restart() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        let mut directory = open(&path).expect("found");
        directory.pin(NodeId(1), [1; 16]).expect("durable");
        drop(directory);
        let directory = open(&path).expect("found");
        assert_eq!(directory.pins()[&NodeId(1)], [1; 16]);
    }

    #[test]
    fn damage_is_found_at_every_byte() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        for name in [IDENTITY_FILE, PINS_FILE] {
            let file = path.join(name);
            let sound = fs::read(&file).expect("readable");
            for at in 0..sound.len() {
                let mut bytes = sound.clone();
                bytes[at] ^= 1;
                fs::write(&file, &bytes).expect("written");
                assert_eq!(refused(&path).0, 6, "{name}, byte {at} flipped");
                bytes[at] = 0;
                fs::write(&file, &bytes).expect("written");
                assert_eq!(refused(&path).0, 6, "{name}, byte {at} zeroed");
                bytes[at..].fill(0);
                fs::write(&file, &bytes).expect("written");
                assert_eq!(refused(&path).0, 6, "{name}, zeroed from {at} on");
                fs::write(&file, &sound[..at]).expect("written");
                assert_eq!(refused(&path).0, 6, "{name}, cut at {at}");
            }
            fs::remove_file(&file).expect("removed");
            assert_eq!(refused(&path).0, 6, "{name} missing");
            fs::write(&file, &sound).expect("written");
            open(&path).expect("sound again");
        }
    }

    #[test]
    fn a_cluster_may_outlive_thousands_of_its_nodes() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        let mut pins = open(&path).expect("its own").pins().clone();
        pins.extend((1..5_000).map(|id| (NodeId(id), [9; 16])));
        write_pins(&path, &pins).expect("written");
        assert_eq!(open(&path).expect("sound").pins(), &pins);
    }

    #[test]
    fn pins_of_another_directory_are_refused() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        write_pins(&path, &BTreeMap::from([(NodeId(0), [9; 16])])).expect("written");
        assert_eq!(refused(&path).0, 6);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = used(root.path());
        let newer = Format {
            version: 2,
            ..IDENTITY_FORMAT
        };
        sealed::write(&path.join(IDENTITY_FILE), &newer, "whatever\n").expect("written");
        let (code, text) = refused(&path);
        assert_eq!(code, 5);
        assert!(text.contains("format version 2, newer than 1"), "{text}");
    }
}
