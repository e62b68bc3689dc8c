//! The pages that people read: their links.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod links;
mod site;

use std::path::Path;

/// The sources.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
