//! The roles that are reserved, as they are kept for the time after a restart.
//!
//! Owns the file in the state directory and its form. It deliberately does not know who gets a role back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::station::private_file::write_private;
use crate::wire::ids::{Identity, PeerId, RoomId};
use crate::wire::role::Role;

/// The file's name in the state directory.
const NAME: &str = "reserved-roles.json";

/// What the form is called that this version writes and reads.
const VERSION: u32 = 1;

/// The largest file that is read, in bytes: four times what 4,096 roles take at most.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A role that somebody gets back. Times are in ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRole {
    /// Whose it is. What proves that is not saved, and can't be made of it.
    pub identity: Identity,
    /// The peer id that it had.
    pub peer: PeerId,
    /// Whether that is its own.
    pub owns_id: bool,
    /// Where.
    pub room: RoomId,
    /// As what.
    pub role: Role,
    /// Where the role came from an invite: until when room tokens hold that derive from it, in seconds since 1970.
    pub invite_end: Option<u64>,
    /// When its room was made.
    pub room_since: u64,
    /// Until when it is reserved; `None` for somebody who was present.
    pub end: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    roles: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    identity: String,
    peer_id: String,
    owns_id: bool,
    room_id: String,
    role: String,
    invite_end: Option<u64>,
    room_since: u64,
    end: Option<u64>,
}

impl Line {
    fn of(saved: &SavedRole) -> Self {
        Self {
            identity: URL_SAFE_NO_PAD.encode(saved.identity.bytes()),
            peer_id: saved.peer.to_string(),
            owns_id: saved.owns_id,
            room_id: saved.room.to_string(),
            role: saved.role.to_string(),
            invite_end: saved.invite_end,
            room_since: saved.room_since,
            end: saved.end,
        }
    }

    fn saved(self) -> Option<SavedRole> {
        let identity = URL_SAFE_NO_PAD.decode(self.identity).ok()?.try_into().ok()?;
        Some(SavedRole {
            identity: Identity::from_bytes(identity),
            peer: PeerId::parse(&self.peer_id)?,
            owns_id: self.owns_id,
            room: RoomId::parse(&self.room_id)?,
            role: Role::from_name(&self.role)?,
            invite_end: self.invite_end,
            room_since: self.room_since,
            end: self.end,
        })
    }
}

/// Where the roles are kept in a state directory.
pub fn place(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// The roles that are kept at `path`; `None` where there is no file.
///
/// # Errors
///
/// When it can't be read, or another version wrote it.
pub fn read(path: &Path) -> io::Result<Option<Vec<SavedRole>>> {
    let text = match fs::metadata(path) {
        Ok(file) if file.len() > MOST_BYTES => return Err(io::Error::other("it is too large")),
        Ok(_) => fs::read_to_string(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Contents { version, roles } = serde_json::from_str(&text)?;
    if version != VERSION {
        return Err(io::Error::other(format!("its version is {version}, not {VERSION}")));
    }
    let saved: Option<_> = roles.into_iter().map(Line::saved).collect();
    saved.map(Some).ok_or_else(|| io::Error::other("it has an invalid id or role"))
}

/// Writes the roles to `path`. A crash leaves the old ones or the new ones.
///
/// # Errors
///
/// When the file system does not take them.
pub fn write(path: &Path, roles: &[SavedRole]) -> io::Result<()> {
    let contents = Contents { version: VERSION, roles: roles.iter().map(Line::of).collect() };
    write_private(path, &serde_json::to_vec(&contents)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::station::private_file::MODE;

    fn saved(end: Option<u64>) -> SavedRole {
        SavedRole {
            identity: Identity::random(),
            peer: PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap(),
            owns_id: end.is_none(),
            room: RoomId::parse("Käse & Brot \"7\"").unwrap(),
            role: Role::Ops,
            invite_end: end,
            room_since: 1_760_804_444_000,
            end,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = place(directory.path());
        assert_eq!(read(&path).unwrap(), None);
        let roles = [saved(None), saved(Some(1_760_804_445_000))];
        fs::write(path.with_extension("new"), "half of one that a crash has left, and long")
            .unwrap();
        write(&path, &roles).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some(&roles[..]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        write(&path, &[]).unwrap();
        assert_eq!(read(&path).unwrap(), Some(vec![]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_invalid_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = place(directory.path());
        write(&path, &[saved(None)]).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            "",
            "{",
            &good[..good.len() / 2],
            &good.replace("\"version\":1", "\"version\":2"),
            &good.replace("\"ops\"", "\"king\""),
            &good.replace("f47ac10b", "x47ac10b"),
            &good.replace("K\u{e4}se", "K\\u0000se"),
        ] {
            assert_ne!(bad, good);
            fs::write(&path, bad).unwrap();
            assert!(read(&path).is_err(), "{bad}");
        }
        let file = File::create(&path).unwrap();
        file.set_len(MOST_BYTES + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("too large"));
        file.set_len(MOST_BYTES).unwrap();
        assert!(!read(&path).unwrap_err().to_string().contains("too large"));
    }
}
