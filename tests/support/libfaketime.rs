//! Another time of day for a program.

use std::path::PathBuf;

/// Where Debian's libfaketime is: between a program and the C library, where the time of day is asked for.
pub fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists()).expect("apt install faketime")
}
