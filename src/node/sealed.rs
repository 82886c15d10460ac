//! Small text files that are whole or not there: a first line with name and format version, then
//! the body, and a last line with the CRC of all before it. They are written beside their place,
//! synced and renamed.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::error::StartError;

/// A sealed file is no larger than this: the pins of all nodes that ever were, as many as the
/// configuration of a snapshot has room for, take less.
const SEALED_MAX_BYTES: u64 = 8 << 20;

/// What a sealed file is called in its first line, and which version this build writes.
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) version: u32,
}

/// Writes `body` to `path` and returns when it would survive a power cut.
///
/// # Errors
/// Of the operating system. The old file is then still there, or the new one, never a mixture.
pub(super) fn write(path: &Path, format: &Format, body: &str) -> io::Result<()> {
    let mut text = format!("{} {}\n{body}", format.name, format.version);
    assert!(text.ends_with('\n'), "a sealed file is made of lines");
    text += &format!("crc {:08x}\n", crc32fast::hash(text.as_bytes()));
    assert!(
        text.len() as u64 <= SEALED_MAX_BYTES,
        "{} bytes",
        text.len()
    );
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Of the operating system.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads the body of the file at `path`.
///
/// # Errors
/// [`StartError::Damaged`] when it is not what was written, [`StartError::Newer`], or
/// [`StartError::Io`].
pub(super) fn read(path: &Path, format: &Format) -> Result<String, StartError> {
    let damaged = |what: &str| StartError::damaged(path, what);
    let failed = |source| StartError::io(path, source);
    if fs::metadata(path).map_err(failed)?.len() > SEALED_MAX_BYTES {
        return Err(damaged("it is larger than it can be"));
    }
    let text = String::from_utf8(fs::read(path).map_err(failed)?)
        .map_err(|_| damaged("it is not text"))?;
    let (sealed, crc) = text
        .rsplit_once("crc ")
        .ok_or_else(|| damaged("it has no CRC"))?;
    if crc != format!("{:08x}\n", crc32fast::hash(sealed.as_bytes())) {
        return Err(damaged("its CRC does not match"));
    }
    let (first, body) = sealed
        .split_once('\n')
        .ok_or_else(|| damaged("it has one line"))?;
    let found: u32 = first
        .strip_prefix(format.name)
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| damaged("it is another kind of file"))?;
    if found > format.version {
        return Err(StartError::Newer {
            file: path.to_owned(),
            found,
            known: format.version,
        });
    }
    Ok(body.to_owned())
}
