//! The pages that people read: Markdown and man pages.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod costs;
mod links;
mod man;
mod settings;
mod site;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The sources.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the man pages, written as the package gets them.
fn man_pages() -> &'static Path {
    static WRITTEN: OnceLock<()> = OnceLock::new();
    let folder = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/man-pages"));
    WRITTEN.get_or_init(|| {
        let _ = fs::remove_dir_all(folder);
        let mut docs = Command::new(env!("CARGO"));
        docs.args(["run", "--quiet", "--locked", "--example", "docs", "--"]).arg(folder);
        // What cargo tells a test about its package: ring is built anew where that changes.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                docs.env_remove(name);
            }
        }
        assert!(docs.current_dir(top()).status().unwrap().success());
    });
    folder
}
