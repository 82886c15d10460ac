//! Making the data directory of a node in a new cluster that begins with a backup. All is built in
//! a directory within it and moved to its place, the identity last: before that no node starts on
//! it, and restoring again begins anew.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    error::StartError,
    identity::{
        IDENTITY_FILE, Identity, LOCK_FILE, PINS_FILE, WAL_DIRECTORY, create_directory,
        draw_incarnation, lock, write_identity, write_pins,
    },
    sealed::sync_directory,
};
use crate::raft::NodeId;

/// Where it is built. As long as it is there, what lies beside it is the debris of an attempt.
const BUILD_DIRECTORY: &str = "restore.tmp";

/// The id of a cluster that begins with a backup: of the backup's hash, the members and a token.
/// So nodes that are restored apart agree, and neither a leftover of another attempt nor an empty
/// directory with the same members is of this cluster.
#[must_use]
pub fn restored_cluster_id(
    backup_hash: u128,
    peers: &BTreeMap<NodeId, String>,
    token: &str,
) -> [u8; 16] {
    let mut hash = Xxh3::new();
    hash.update(b"raftkv restore\n");
    hash.update(&backup_hash.to_le_bytes());
    for (id, address) in peers {
        hash.update(format!("{id}@{address}\n").as_bytes());
    }
    hash.update(b"\n");
    hash.update(token.as_bytes());
    hash.digest128().to_be_bytes()
}

/// A data directory that is being made, locked as long as this lives.
#[derive(Debug)]
pub struct RestoredDir {
    path: PathBuf,
    _lock: File,
}

impl RestoredDir {
    /// Begins at `path`, which is absent or empty, or what an attempt that broke off has left.
    ///
    /// # Errors
    /// When it is locked, holds anything else, or the system refuses.
    pub fn begin(path: &Path) -> Result<RestoredDir, StartError> {
        create_directory(path).map_err(|error| StartError::io(path, error))?;
        let lock = lock(path)?;
        let restored = RestoredDir {
            path: path.to_owned(),
            _lock: lock,
        };
        restored.check_unused()?;
        let made = restored.clear().and_then(|()| {
            fs::create_dir(restored.build_path())?;
            fs::create_dir(restored.wal_path())?;
            sync_directory(path)
        });
        made.map_err(|error| StartError::io(path, error))?;
        Ok(restored)
    }

    /// Where to build: for files that are of no use afterwards.
    #[must_use]
    pub fn build_path(&self) -> PathBuf {
        self.path.join(BUILD_DIRECTORY)
    }

    /// Where to build the log.
    #[must_use]
    pub fn wal_path(&self) -> PathBuf {
        self.build_path().join(WAL_DIRECTORY)
    }

    /// The identity that the directory will have, with an incarnation of its own.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn identity(
        &self,
        cluster_id: [u8; 16],
        node_id: NodeId,
        peers: &BTreeMap<NodeId, String>,
    ) -> Result<Identity, StartError> {
        Ok(Identity {
            cluster_id,
            node_id,
            incarnation: draw_incarnation()?,
            members: peers.clone(),
        })
    }

    /// Moves the log to its place and says whose the directory is, durably.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn finish(self, identity: &Identity) -> Result<(), StartError> {
        let pins = BTreeMap::from([(identity.node_id, identity.incarnation)]);
        let done = sync_directory(&self.wal_path())
            .and_then(|()| fs::rename(self.wal_path(), self.path.join(WAL_DIRECTORY)))
            .and_then(|()| write_pins(&self.path, &pins))
            .and_then(|()| write_identity(&self.path, identity))
            .and_then(|()| fs::remove_dir_all(self.build_path()))
            .and_then(|()| sync_directory(&self.path));
        done.map_err(|error| StartError::io(&self.path, error))
    }

    fn check_unused(&self) -> Result<(), StartError> {
        let failed = |error| StartError::io(&self.path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        let is_retried = names.iter().any(|name| name == BUILD_DIRECTORY)
            && !names.iter().any(|name| name == IDENTITY_FILE);
        let debris = [WAL_DIRECTORY, PINS_FILE, "pins.tmp", "identity.tmp"];
        let foreign = names.iter().find(|name| {
            let harmless = [LOCK_FILE, BUILD_DIRECTORY, "lost+found"];
            let is_debris = is_retried && debris.iter().any(|known| *name == known);
            !is_debris && !harmless.iter().any(|known| *name == known)
        });
        let Some(name) = foreign else { return Ok(()) };
        Err(StartError::Foreign {
            directory: self.path.clone(),
            problem: format!(
                "it holds \"{}\", and a backup is restored into a new directory only; choose an \
                 absent or empty one",
                name.display()
            ),
        })
    }

    /// Removes what an attempt has left.
    fn clear(&self) -> io::Result<()> {
        if !self.build_path().exists() {
            return Ok(());
        }
        let wal_path = self.path.join(WAL_DIRECTORY);
        if wal_path.exists() {
            fs::remove_dir_all(wal_path)?;
        }
        fs::remove_dir_all(self.build_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{DataDir, parse_peers};

    fn peers(text: &str) -> BTreeMap<NodeId, String> {
        parse_peers(text).expect("a list of members")
    }

    #[test]
    fn nodes_agree_on_the_cluster_and_every_part_of_its_origin_tells_it_from_others() {
        let three = peers("0@a:1,1@b:2,2@c:3");
        let id = restored_cluster_id(7, &three, "today");
        let reordered = peers("2@c:3,0@a:1,1@b:2");
        assert_eq!(id, restored_cluster_id(7, &reordered, "today"));
        for other in [
            restored_cluster_id(8, &three, "today"),
            restored_cluster_id(7, &peers("0@a:1,1@b:2,2@c:4"), "today"),
            restored_cluster_id(7, &three, "again"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn a_directory_in_use_is_refused_and_an_attempt_that_broke_off_is_begun_anew() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("node");
        let begun = RestoredDir::begin(&path).expect("a new directory");
        fs::write(begun.wal_path().join("0000000001.wal"), "half").expect("written");
        fs::rename(begun.wal_path(), path.join(WAL_DIRECTORY)).expect("moved");
        drop(begun);
        // No node starts on the half of it.
        let three = peers("0@a:1,1@b:2,2@c:3");
        DataDir::open(&path, NodeId(0), &three, None).expect_err("no identity");

        let begun = RestoredDir::begin(&path).expect("begun anew");
        fs::write(begun.wal_path().join("0000000001.wal"), "whole").expect("written");
        let identity = begun.identity([7; 16], NodeId(0), &three).expect("made");
        begun.finish(&identity).expect("done");
        let opened = DataDir::open(&path, NodeId(0), &three, None).expect("a node's directory");
        assert_eq!(opened.identity, identity);
        assert!(!opened.is_fresh());
        drop(opened);
        let error = RestoredDir::begin(&path).expect_err("in use");
        assert_eq!(error.exit_code(), 5);
        assert!(path.join("wal/0000000001.wal").exists());
    }
}
