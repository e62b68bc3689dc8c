//! The secret that the service makes for itself, so that invites outlive a restart.
//!
//! Owns the file in the state directory. It deliberately does not know what the secret signs.

use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::config::config::Secret;
use crate::station::private_file::{MODE, write_private};

/// The file's name in the state directory.
const NAME: &str = "jwt-secret";

/// Random bytes in a secret: as many as its hash has (RFC 7518 section 3.2).
const BYTES: usize = 32;

/// What came of the wish for a secret that lasts.
#[derive(Debug)]
pub enum Kept {
    /// It was there.
    Found,
    /// It was there, others can read it, and that could not be changed.
    Exposed(PathBuf),
    /// It was made now.
    Made(PathBuf),
    /// The secret cannot be saved, for this reason, and ends with the process.
    Not(String),
}

/// The secret in the state directory `directory` (systemd.exec(5), `StateDirectory=`), which is made where
/// it is not there.
pub fn secret(directory: Option<&Path>) -> (Secret, Kept) {
    let Some(directory) = directory else {
        return (random(), Kept::Not("there is no state directory".into()));
    };
    let path = place(directory);
    match find(&path) {
        Ok(Some(secret)) if protect(&path).is_ok() => (secret, Kept::Found),
        Ok(Some(secret)) => (secret, Kept::Exposed(path)),
        Ok(None) => {
            let secret = random();
            let kept = match write_private(&path, &[secret.bytes(), b"\n"].concat()) {
                Ok(()) => Kept::Made(path),
                Err(error) => Kept::Not(format!("cannot write {}: {error}", path.display())),
            };
            (secret, kept)
        }
        // What is there stays as it is: somebody may want to look at it.
        Err(error) => (random(), Kept::Not(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Where systemd lets the service keep something; several are separated by colons (systemd.exec(5)).
pub fn state_directory() -> Option<PathBuf> {
    let directories = env::var_os("STATE_DIRECTORY")?;
    env::split_paths(&directories).next().filter(|path| path.is_absolute())
}

/// Where the service keeps its secret in a state directory.
pub fn place(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// The secret that the service keeps at `path`, where it has made one. None is made here.
///
/// # Errors
///
/// When it can't be read, or is no secret.
pub fn find(path: &Path) -> io::Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            // Somebody has looked at it in an editor that writes a byte order mark.
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim();
            if text.len() < BYTES {
                return Err(io::Error::other("it is too short to be a secret; remove it"));
            }
            Ok(Some(Secret::new(text)))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(io::Error::other("it is not UTF-8, so it is no secret; remove it"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sees to it that nobody else reads the secret: after a copy from a backup others may be able to.
fn protect(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(MODE))
}

fn random() -> Secret {
    let mut bytes = [0; BYTES];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(filled, Ok(BYTES), "getrandom(2) fills up to 256 bytes at once");
    Secret::new(bytes.map(|byte| format!("{byte:02x}")).concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        fs::write(path.with_extension("new"), "half").unwrap();
        let (first, kept) = secret(Some(directory.path()));
        assert!(matches!(kept, Kept::Made(made) if made == path));
        assert_eq!(first.bytes().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let (second, kept) = secret(Some(directory.path()));
        assert!(matches!(kept, Kept::Found) && second == first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_survives_an_editor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let (made, _) = secret(Some(directory.path()));
        let text = fs::read_to_string(&path).unwrap();
        for edited in [format!("\u{feff}{text}"), text.replace('\n', "\r\n"), format!(" {text}\n")]
        {
            fs::write(&path, edited).unwrap();
            let (found, kept) = secret(Some(directory.path()));
            assert!(matches!(kept, Kept::Found) && found == made);
        }
        fs::write(&path, [0xff; 64]).unwrap();
        let (_, kept) = secret(Some(directory.path()));
        assert!(
            matches!(kept, Kept::Not(why) if why.ends_with("it is not UTF-8, so it is no secret; remove it"))
        );
    }

    #[test]
    fn without_a_place_it_is_random() {
        let (first, kept) = secret(None);
        assert!(matches!(kept, Kept::Not(_)));
        assert!(secret(None).0 != first);
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent");
        let why = |kept| if let Kept::Not(why) = kept { why } else { panic!("{kept:?}") };
        assert!(why(secret(Some(&absent)).1).starts_with("cannot write "));
        fs::write(directory.path().join(NAME), "short").unwrap();
        let why = why(secret(Some(directory.path())).1);
        assert!(why.contains("too short"), "{why}");
        assert_eq!(fs::read_to_string(directory.path().join(NAME)).unwrap(), "short");
    }
}
