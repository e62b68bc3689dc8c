//! The archive of the programme: Ogg files in a directory, `<mount>-<UTC>-<n>.ogg`.
//!
//! Owns their names, the file that is written, and which files are deleted. It deliberately does not know what is in
//! them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

/// The end of a file's name, and what stands behind it until the file is complete.
const OGG: &str = ".ogg";
const PART: &str = ".part";

/// Whoever may enter the directory may read the files.
const MODE: u32 = 0o644;

/// The directory, for the files of one mount.
#[derive(Clone, Debug)]
pub struct Shelf {
    directory: PathBuf,
    /// The first part of each name.
    mount: String,
    max_bytes: u64,
}

/// A file that is written.
#[derive(Debug)]
pub struct Part {
    file: File,
    /// Where it is, and where it will be.
    path: PathBuf,
    complete: PathBuf,
    bytes: u64,
}

/// A file that is written, on its way to the process that follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CarriedPart {
    path: PathBuf,
    complete: PathBuf,
    bytes: u64,
}

/// A file that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
}

/// Whether the service may write files there.
///
/// # Errors
///
/// Why not.
pub fn check(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK)?)
}

impl Shelf {
    /// The files of `mount` in `directory`, with so many bytes at most.
    pub fn new(directory: &Path, mount: &str, max_bytes: u64) -> Self {
        let mount = mount.trim_start_matches('/');
        let stem = mount.rsplit_once('.').map_or(mount, |(stem, _)| stem);
        let mount = stem.replace('/', "-");
        Self { directory: directory.to_owned(), mount, max_bytes }
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The limit, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Begins a file. `<UTC>` is now; `<n>` is 1, and counts on where that name is taken.
    ///
    /// # Errors
    ///
    /// When it can't be made.
    pub fn begin(&self, now: SystemTime) -> io::Result<Part> {
        let utc = humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "");
        let mut number = 1_u32;
        loop {
            let name = format!("{}-{utc}-{number}{OGG}", self.mount);
            let complete = self.directory.join(&name);
            let path = self.directory.join(name + PART);
            let mut options = OpenOptions::new();
            // Where the complete one is there, its name is taken, too.
            let opened = match complete.try_exists()? {
                true => Err(io::ErrorKind::AlreadyExists.into()),
                false => options.append(true).create_new(true).mode(MODE).open(&path),
            };
            match opened {
                Ok(file) => {
                    // The unit's UMask=0077 would hide the file from other users.
                    file.set_permissions(Permissions::from_mode(MODE))?;
                    return Ok(Part { file, path, complete, bytes: 0 });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The files that have to go for one more of `next` bytes, oldest first. Only complete ones with a name as above do.
    ///
    /// # Errors
    ///
    /// When the directory can't be read.
    pub fn surplus(&self, next: u64) -> io::Result<Vec<Found>> {
        let (mut complete, mut all) = (Vec::new(), next);
        for (kind, found) in self.files()? {
            all += found.bytes;
            if let Kind::Complete { utc, number } = kind {
                complete.push((utc, number, found));
            }
        }
        complete.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let mut surplus = Vec::new();
        for (.., found) in complete {
            if all <= self.max_bytes {
                break;
            }
            all -= found.bytes;
            surplus.push(found);
        }
        Ok(surplus)
    }

    /// Files that were not completed.
    ///
    /// # Errors
    ///
    /// When the directory can't be read.
    pub fn unfinished(&self) -> io::Result<Vec<PathBuf>> {
        let files = self.files()?.into_iter();
        let mut unfinished: Vec<_> =
            files.filter(|(kind, _)| *kind == Kind::Part).map(|(_, found)| found.path).collect();
        unfinished.sort();
        Ok(unfinished)
    }

    fn files(&self) -> io::Result<Vec<(Kind, Found)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(kind) = self.kind(&name) else { continue };
            // Another process may have taken it away meanwhile. Symbolic links are not counted, and not deleted.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                files.push((kind, Found { path: entry.path(), bytes: metadata.len() }));
            }
        }
        Ok(files)
    }

    /// What a name says, if it is one of this mount.
    fn kind(&self, name: &str) -> Option<Kind> {
        let rest = name.strip_prefix(&self.mount)?.strip_prefix('-')?;
        let (rest, is_part) = match rest.strip_suffix(PART) {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (utc, number) = rest.strip_suffix(OGG)?.split_once('-')?;
        let number = number.parse().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit()))?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let is_utc = utc.len() == 16
            && digits(utc.get(..8)?)
            && utc.get(8..9)? == "T"
            && digits(utc.get(9..15)?)
            && utc.ends_with('Z');
        let complete = Kind::Complete { utc: utc.to_owned(), number };
        is_utc.then_some(if is_part { Kind::Part } else { complete })
    }
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Complete { utc: String, number: u32 },
    Part,
}

impl Part {
    /// It is closed here, and goes on elsewhere.
    pub fn carry(self) -> CarriedPart {
        CarriedPart { path: self.path, complete: self.complete, bytes: self.bytes }
    }

    /// It goes on.
    ///
    /// # Errors
    ///
    /// When it is not there any longer, or can't be written here.
    pub fn go_on(carried: CarriedPart) -> io::Result<Self> {
        let CarriedPart { path, complete, bytes } = carried;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { file, path, complete, bytes })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what comes next.
    ///
    /// # Errors
    ///
    /// When the disk does not take all of it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Completes it: it is on the disk, and has its name.
    ///
    /// # Errors
    ///
    /// When the disk does not take it. It stays there as a part.
    pub fn complete(self) -> io::Result<Found> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.complete)?;
        // Its name, too.
        if let Some(directory) = self.complete.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(Found { path: self.complete, bytes: self.bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(directory.path(), "/a/live.ogg", 1000);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_176_580);
        let mut part = shelf.begin(now).unwrap();
        part.write(b"OggS").unwrap();
        assert_eq!(names(directory.path()), ["a-live-20251126T170300Z-1.ogg.part"]);
        let other = shelf.begin(now).unwrap();
        assert!(other.path().ends_with("a-live-20251126T170300Z-2.ogg.part"));
        let found = part.complete().unwrap();
        assert_eq!(found.bytes, 4);
        let mode = fs::metadata(&found.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        drop(other);
        assert!(shelf.begin(now).unwrap().path().ends_with("a-live-20251126T170300Z-3.ogg.part"));
        assert_eq!(shelf.unfinished().unwrap().len(), 2);
    }

    #[test]
    fn only_the_oldest_complete_files_of_the_mount_go() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(directory.path(), "/live.ogg", 100);
        for (name, bytes) in [
            ("live-20251126T170300Z-10.ogg", 20),
            ("live-20251126T170300Z-9.ogg", 20),
            ("live-20251125T170300Z-1.ogg", 20),
            ("live-20251124T170300Z-1.ogg.part", 20),
            ("live-20251123T170300Z-1.mp3", 1000),
            ("live-20251123T1703Z-1.ogg", 1000),
            ("live-20251123T170300Z-+1.ogg", 1000),
            ("live-jingle.ogg", 1000),
            ("other-20251123T170300Z-1.ogg", 1000),
            ("live-ü0251123T170300Z-1.ogg", 1000),
        ] {
            fs::write(directory.path().join(name), vec![0; bytes]).unwrap();
        }
        fs::create_dir(directory.path().join("live-20251101T170300Z-1.ogg")).unwrap();
        let surplus = |next| {
            let surplus = shelf.surplus(next).unwrap();
            let names =
                surplus.iter().map(|found| found.path.file_name().unwrap().to_str().unwrap());
            names.map(|name| name.trim_start_matches("live-202511").to_owned()).collect::<Vec<_>>()
        };
        assert!(surplus(20).is_empty(), "100 bytes, with the part");
        assert_eq!(surplus(21), ["25T170300Z-1.ogg"]);
        assert_eq!(surplus(41), ["25T170300Z-1.ogg", "26T170300Z-9.ogg"]);
        assert_eq!(surplus(1000).len(), 3, "and no other ones");
    }

    #[test]
    fn a_directory_is_one_that_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check(directory.path()).is_ok());
        assert!(check(&directory.path().join("no")).is_err());
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check(&file).is_err());
    }
}
