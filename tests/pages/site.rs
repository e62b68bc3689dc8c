//! The Markdown pages of a folder, and what is wrong with their links.
//!
//! Owns how links, headings and names of man pages are found in a page. It deliberately asks no network: links to other
//! hosts are not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The page from which readers begin.
const START: &str = "README.md";

/// The pages of a folder and of those in it, by their paths below it.
pub struct Site {
    top: PathBuf,
    pages: BTreeMap<PathBuf, String>,
}

impl Site {
    /// Reads all pages, but for those in hidden folders and in `target`.
    pub fn read(top: &Path) -> Self {
        let mut pages = BTreeMap::new();
        let mut folders = vec![top.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() && !name.starts_with('.') && name != "target" {
                    folders.push(path);
                } else if name.ends_with(".md") && path.is_file() {
                    let below = path.strip_prefix(top).unwrap().to_owned();
                    pages.insert(below, fs::read_to_string(&path).unwrap());
                }
            }
        }
        Self { top: top.to_owned(), pages }
    }

    /// The pages by their paths.
    pub fn pages(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.pages.iter().map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// How many links lead to a page, to a part of one or to a file.
    pub fn count(&self) -> usize {
        self.pages.values().flat_map(|page| links(page)).filter(|link| !is_elsewhere(link)).count()
    }

    /// One line for each link that leads nowhere, and for each page that no link leads to.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (path, text) in &self.pages {
            for link in links(text) {
                if let Err(why) = self.follow(path, &link) {
                    faults.push(format!("{}: {link}: {why}", path.display()));
                }
            }
            let prose = without_code(text);
            if prose.contains("][")
                || prose.lines().any(|line| line.starts_with('[') && line.contains("]: "))
            {
                faults.push(format!(
                    "{}: a link by reference, which is not followed here",
                    path.display()
                ));
            }
        }
        let found = self.reachable();
        let lost = self.pages.keys().filter(|path| !found.contains(*path));
        faults.extend(
            lost.map(|path| format!("{}: no link from {START} leads here", path.display())),
        );
        faults
    }

    /// Where a link leads, if that is a file or folder here.
    fn follow(&self, from: &Path, link: &str) -> Result<Option<PathBuf>, &'static str> {
        if is_elsewhere(link) {
            return Ok(None);
        }
        let (file, anchor) =
            link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
        let target = match file {
            "" => from.to_owned(),
            _ => below(&from.parent().unwrap().join(file)).ok_or("it leads out of the sources")?,
        };
        if !self.top.join(&target).exists() {
            return Err("there is no such file");
        }
        if let Some(anchor) = anchor {
            let page = self.pages.get(&target).ok_or("only pages have anchors")?;
            if !anchors(page).contains(anchor) {
                return Err("there is no such heading");
            }
        }
        Ok(Some(target))
    }

    /// The pages to which links lead from the first one, by way of others.
    fn reachable(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut open = vec![PathBuf::from(START)];
        while let Some(path) = open.pop() {
            let Some(text) = self.pages.get(&path).filter(|_| found.insert(path.clone())) else {
                continue;
            };
            open.extend(
                links(text).iter().filter_map(|link| self.follow(&path, link).ok().flatten()),
            );
        }
        found
    }
}

/// Whether a link leads to another host.
fn is_elsewhere(link: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

/// A path without `.` and `..`; none, if it is not below the folder that it begins in.
fn below(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            _ => return None,
        }
    }
    Some(plain)
}

/// A page without its blocks of code and its code spans.
fn without_code(page: &str) -> String {
    let outside = page.split("```").step_by(2).collect::<String>();
    outside.split('`').step_by(2).collect()
}

/// Where the links and pictures of a page lead: `[text](target)`, and `href` and `src` of HTML.
fn links(page: &str) -> Vec<String> {
    let prose = without_code(page);
    // The text of a link may be a code span, of which only the brackets are left.
    let inline = prose.split("](").skip(1).map(|rest| rest.split([')', ' ', '\n']).next().unwrap());
    let attributes = ["href=\"", "src=\""].map(|name| prose.split(name).skip(1));
    let html = attributes.into_iter().flatten().map(|rest| rest.split('"').next().unwrap());
    inline.chain(html).map(str::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub makes them: lower case, hyphens for blanks, no other punctuation, and a
/// number for one that was there before.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut is_code = false;
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        let Some(heading) =
            line[level..].strip_prefix(' ').filter(|_| !is_code && (1..=6).contains(&level))
        else {
            continue;
        };
        let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
        let anchor: String = text_of(heading.trim()).to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let free = (0..).map(|number| match number {
            0 => anchor.clone(),
            _ => format!("{anchor}-{number}"),
        });
        let free = free.into_iter().find(|anchor| !anchors.contains(anchor)).unwrap();
        anchors.insert(free);
    }
    anchors
}

/// The text of a heading, without where its links lead.
fn text_of(heading: &str) -> String {
    let mut parts = heading.split("](");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        text += part.split_once(')').map_or(part, |(_, rest)| rest);
    }
    text
}

/// The names of man pages in a text, such as systemctl(1).
pub fn named_man_pages(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices('(') {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name: String = text[..at].chars().rev().take_while(|c| is_name(*c)).collect();
        let name: String = name.chars().rev().collect();
        let mut inside = text[at + 1..].chars();
        let section = inside.next().filter(|c| ('1'..='8').contains(c));
        // The head and the foot of a page have its name in capitals.
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if let (true, Some(section), Some(')')) = (begins, section, inside.next()) {
            found.insert(format!("{name}({section})"));
        }
    }
    found
}
