//! How every bench ends: with its results in a file, and with a word on stderr if it failed.

use std::{error::Error, fs, io, path::Path, process::ExitCode};

use serde_json::Value;

/// Says why `program` failed, if it did.
#[must_use]
pub fn exit_code(program: &str, ended: Result<(), Box<dyn Error>>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes results to a file, whose directory is made.
///
/// # Errors
/// Of the operating system.
pub fn write_json(path: &Path, results: &Value) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, format!("{results:#}\n"))
}
