//! Imports go downward only.
//!
//! The order is that of the table in the crate's documentation, which is the one map of the source.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

use std::fs;
use std::path::{Path, PathBuf};

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The folders, lowest first.
fn folders() -> Vec<String> {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

/// The source files of a folder, and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_map_has_every_folder() {
    let mut there: Vec<_> = fs::read_dir(src())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut mapped = folders();
    there.sort();
    mapped.sort();
    assert_eq!(mapped, there);
}

#[test]
fn imports_go_downward() {
    let folders = folders();
    let floor = |name: &str| {
        let found = folders.iter().position(|folder| folder == name);
        found.unwrap_or_else(|| panic!("{name} is no folder"))
    };
    let mut imports = 0;
    for folder in &folders {
        for file in files(&src().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let name = file.display();
            for import in text.split("crate::").skip(1) {
                let imported: String =
                    import.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                assert!(floor(&imported) <= floor(folder), "{name} must not import {imported}");
                imports += 1;
            }
            assert!(!text.contains("super::super"), "{name} hides what it imports");
        }
    }
    // It checks servers on other machines, and knows of them what the wire tells.
    for file in files(&src().join("check")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("crate::server"), "{} knows the server", file.display());
    }
    // It signs, and asks nobody.
    for file in files(&src().join("invite")) {
        let text = fs::read_to_string(&file).unwrap();
        for module in ["server", "signaling"] {
            let import = format!("crate::{module}");
            assert!(!text.contains(&import), "{} knows the {module}", file.display());
        }
    }
    assert!(imports > 100, "{imports} imports were looked at");
}

#[test]
fn every_file_says_what_it_owns_and_what_it_does_not_know() {
    for file in files(&src()) {
        let text = fs::read_to_string(&file).unwrap();
        let docs: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let name = file.display();
        assert!(docs.contains("Owns"), "{name} does not say what it owns");
        assert!(docs.contains("deliberately"), "{name} does not say what it does not know");
    }
}

/// What a reader can keep in mind.
const MOST_LINES: usize = 450;

#[test]
fn no_file_is_long() {
    for file in files(&src()) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines, not {MOST_LINES}", file.display());
    }
}
