//! The pages for operators as the package has them.
//!
//! Owns where their links lead there: to each other, to the examples, and to other hosts. A link to what is only in the
//! sources becomes its text. It deliberately does not know what the pages say.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The pages in the package, as they lie to each other there and in the sources.
const PAGES: [&str; 8] = [
    "README.md",
    "SECURITY.md",
    "docs/cluster.md",
    "docs/costs.md",
    "docs/on-air.md",
    "docs/operate.md",
    "docs/protocol.md",
    "docs/security.md",
];

/// What the package has as examples, one pattern a line.
const EXAMPLES: &str = include_str!("../../debian/openstudio-signaling.examples");

/// Writes the pages into a directory.
pub fn write(directory: &Path) -> io::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in PAGES {
        let path = directory.join(page);
        fs::create_dir_all(path.parent().expect("a page is in a directory"))?;
        fs::write(path, installed(page, &fs::read_to_string(sources.join(page))?))?;
    }
    Ok(())
}

/// A page with links that lead somewhere in the package. Code is left as it is.
fn installed(page: &str, text: &str) -> String {
    let blocks = text.split("```").enumerate().map(|(index, block)| match index % 2 {
        0 => prose(page, block),
        _ => block.to_owned(),
    });
    blocks.collect::<Vec<_>>().join("```")
}

fn prose(page: &str, mut rest: &str) -> String {
    let mut text = String::new();
    while let Some((before, (label, link, after))) = next_link(rest) {
        let (lead, is_picture) = before.strip_suffix('!').map_or((before, false), |it| (it, true));
        text += lead;
        match (place(page, link), is_picture) {
            (Some(place), false) => text += &format!("[{label}]({place})"),
            (Some(place), true) => text += &format!("![{label}]({place})"),
            (None, false) => text += label,
            (None, true) => text += &format!("(A picture, in the sources: {label})"),
        }
        rest = after;
    }
    text + rest
}

/// The first `[label](link)` of a text: what is before it, its parts, and what is behind it. No label has brackets.
fn next_link(text: &str) -> Option<(&str, (&str, &str, &str))> {
    let (head, tail) = text.split_once("](")?;
    let (before, label) = head.rsplit_once('[')?;
    let (link, after) = tail.split_once(')')?;
    Some((before, (label, link, after)))
}

/// Where a link leads in the package.
fn place(page: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with('#') {
        return Some(link.to_owned());
    }
    let file = link.split('#').next().unwrap_or_default();
    let directory = Path::new(page).parent().unwrap_or(Path::new(""));
    let target = plain(&directory.join(file));
    if PAGES.iter().any(|page| target == Path::new(page)) {
        return Some(link.to_owned());
    }
    let name = target.file_name()?.to_str()?;
    let is_example = EXAMPLES.lines().any(|example| match example.strip_suffix('*') {
        Some(folder) => target.parent() == Some(Path::new(folder)),
        None => target == Path::new(example),
    });
    let up = "../".repeat(directory.components().count());
    is_example.then(|| format!("{up}examples/{name}"))
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}
