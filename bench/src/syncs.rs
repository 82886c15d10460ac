//! Counts the calls of `fdatasync` that processes make and the bytes that they write, from outside:
//! what a node says of itself proves nothing about what it asks of its disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What a process has asked of its disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCalls {
    /// Calls of `fdatasync` that returned well.
    pub syncs: u64,
    /// Bytes that `pwrite` took. The system's own count of what a process wrote is no use: it has
    /// the whole folio, up to 1 MiB, for each write into one that was clean.
    pub written_bytes: u64,
}

const SOURCE: &str = include_str!("count_syncs.c");

/// A library that counts, and where each process keeps its count.
#[derive(Debug)]
pub struct SyncCounter {
    library: PathBuf,
    directory: PathBuf,
}

impl SyncCounter {
    /// Has the C compiler make the library.
    ///
    /// # Errors
    /// Without a compiler, or what it said.
    pub fn new(directory: &Path) -> io::Result<SyncCounter> {
        // Found by the processes too, wherever they run.
        let directory = directory.canonicalize()?;
        let source = directory.join("count_syncs.c");
        let library = directory.join("count_syncs.so");
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]);
        let made = compiler.arg(&library).arg(&source).arg("-ldl").output()?;
        match made.status.success() {
            true => Ok(SyncCounter { library, directory }),
            false => Err(io::Error::other(String::from_utf8_lossy(&made.stderr))),
        }
    }

    /// Has a process that is about to start keep count under this name, on from what it had.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn watch(&self, name: &str, command: &mut Command) -> io::Result<()> {
        let path = self.path(name);
        if !path.exists() {
            fs::write(&path, [0; 16])?;
        }
        command.env("LD_PRELOAD", &self.library);
        command.env("COUNT_SYNCS", path);
        Ok(())
    }

    /// What was asked for so far.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn count(&self, name: &str) -> io::Result<DiskCalls> {
        let bytes = fs::read(self.path(name))?;
        let bytes = <[u8; 16]>::try_from(&bytes[..]).map_err(io::Error::other)?;
        let [syncs, written_bytes] = [0, 8].map(|at| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(number)
        });
        Ok(DiskCalls {
            syncs,
            written_bytes,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.syncs"))
    }
}
