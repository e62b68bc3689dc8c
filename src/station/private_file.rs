//! A file in the state directory that only the service reads.
//!
//! Owns that a crash leaves all of it or nothing. It deliberately does not know what is in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Only the service reads it.
pub const MODE: u32 = 0o600;

/// Writes a file beside its place and moves it there.
///
/// # Errors
///
/// When the file system does not take it.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // What a crash has left.
    if let Err(error) = fs::remove_file(&new) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
