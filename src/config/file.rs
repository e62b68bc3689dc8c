//! Settings that stand in files: the settings file, and systemd's credentials.
//!
//! Owns how these files are read. It deliberately does not know which of two values goes first.

use std::io;
use std::path::Path;

use crate::config::origin::{Invalid, Origin};
use crate::config::table::{Credential, Setting};
use crate::wire::text::quoted;

/// What a setting gets from the directory of credentials, if there is one.
pub fn credential(
    setting: &Setting,
    directory: Option<&Path>,
) -> Result<(Option<String>, Origin), Vec<Invalid>> {
    let (Some(directory), Some(credential)) = (directory, setting.credential) else {
        return Ok((None, Origin::Default));
    };
    let (Credential::Secret(name) | Credential::File(name)) = credential;
    let path = directory.join(name);
    let value = match credential {
        Credential::Secret(_) => read_credential(&path)?,
        Credential::File(_) => path.exists().then(|| path.to_string_lossy().into_owned()),
    };
    Ok((value, Origin::Credential(path)))
}

/// Reads what systemd passes under this path; it need not pass anything.
fn read_credential(path: &Path) -> Result<Option<String>, Vec<Invalid>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            // Some editors begin a file with a byte order mark.
            Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let path = path.display();
            let fix = "LoadCredential= must name a file of its own, not a directory";
            Err(vec![Invalid(format!("Cannot read the credential {path}: {error}; {fix}"))])
        }
    }
}

/// A line of the settings file.
pub struct Line {
    /// The setting's name, or one that no setting has.
    pub name: String,
    /// Its text.
    pub value: String,
    /// The line's place.
    pub origin: Origin,
}

/// Reads the settings file; one whose path starts with `-` may be absent, as in systemd.exec(5).
pub fn read_lines(path: &Path) -> Result<Vec<Line>, Vec<Invalid>> {
    let optional = path.to_str().and_then(|path| path.strip_prefix('-')).map(Path::new);
    match optional {
        Some(path) if !path.exists() => Ok(Vec::new()),
        Some(path) => read_file(path),
        None => read_file(path),
    }
}

/// Reads `NAME=value` lines as systemd.exec(5) has them for `EnvironmentFile=`, but without continuation
/// lines: blank lines and those that start with `#` or `;` are skipped, one pair of quotes is taken off.
fn read_file(path: &Path) -> Result<Vec<Line>, Vec<Invalid>> {
    let bytes = std::fs::read(path).map_err(|error| {
        let path = path.display();
        let fix = "the user that the service runs as must be able to read it: chmod 644";
        vec![Invalid(format!("Cannot read the settings file {path}: {error}; {fix} {path}"))]
    })?;
    // What is no UTF-8 does not matter in a comment, and is refused in a value.
    let text = String::from_utf8_lossy(&bytes);
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = Vec::new();
    let mut errors = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let origin = Origin::File(path.to_owned(), index + 1);
        match text.split_once('=') {
            Some((name, value)) if is_name(name.trim()) => lines.push(Line {
                name: name.trim().to_owned(),
                value: unquoted(value.trim()).to_owned(),
                origin,
            }),
            _ => errors.push(Invalid(format!(
                "Invalid line {:?} in the settings file ({origin}): must be NAME=value, without export",
                quoted(text)
            ))),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(word)
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}
