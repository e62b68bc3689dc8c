//! Writes the licences and notices of every crate that is linked into the program, for the package and the image.
//!
//! Owns which files of a crate those are. It deliberately does not judge them: packaging/deny.toml does.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// How the files begin that a licence wants passed on.
const NAMES: [&str; 6] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE", "UNLICENSE"];

const HEAD: &str = "\
openstudio-signaling is linked with the Rust crates below, each under the licence that stands beside it. The
numbers are those of the texts that come with it; a text that several share is here once.

It is also linked with the Rust standard library (MIT OR Apache-2.0, by the Rust project's contributors), whose
texts are the same as those of the crates below.
";

fn main() -> io::Result<()> {
    let directories = directories()?;
    // Equal texts are one, known by its number.
    let mut texts: Vec<(String, Vec<String>)> = Vec::new();
    let mut out = io::stdout().lock();
    writeln!(out, "{HEAD}")?;
    for (name, license) in linked()? {
        let directory = directories.get(&name).ok_or_else(|| missing(&name, "no sources"))?;
        let mut numbers = Vec::new();
        for path in notices(directory)? {
            let text = fs::read_to_string(&path)?.replace("\r\n", "\n").trim_end().to_owned();
            let known = texts.iter().position(|(other, _)| *other == text);
            let index = known.unwrap_or(texts.len());
            if known.is_none() {
                texts.push((text, Vec::new()));
            }
            if !numbers.contains(&index) {
                numbers.push(index);
                texts[index].1.push(name.clone());
            }
        }
        if numbers.is_empty() {
            return Err(missing(&name, "no licence among its files"));
        }
        let numbers: Vec<_> = numbers.iter().map(|index| format!("[{}]", index + 1)).collect();
        writeln!(out, "{name}: {license} {}", numbers.join(" "))?;
    }
    for (index, (text, crates)) in texts.iter().enumerate() {
        writeln!(out, "\n\n[{}] {}\n\n{text}", index + 1, crates.join(", "))?;
    }
    Ok(())
}

fn missing(name: &str, what: &str) -> io::Error {
    io::Error::other(format!("{name}: {what}"))
}

fn cargo(arguments: &[&str]) -> io::Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// "name version" of each crate that is in the program (neither its tests' nor the compiler's), and its licence.
fn linked() -> io::Result<BTreeMap<String, String>> {
    let edges = ["-e", "normal,no-proc-macro"];
    let format = ["--prefix", "none", "--no-dedupe", "-f", "{p}|{l}"];
    let tree = cargo(&[&["tree", "--locked"], &edges[..], &format[..]].concat())?;
    let crates = tree.lines().filter_map(|line| line.split_once('|'));
    // Our own, which alone has a path behind its version, is what the notices are beside.
    let crates = crates.filter(|(name, _)| !name.contains('('));
    Ok(crates.map(|(name, license)| (name.replace(" v", " "), license.to_owned())).collect())
}

/// "name version" of each crate that Cargo.lock names, and where its sources are.
fn directories() -> io::Result<BTreeMap<String, PathBuf>> {
    let metadata = cargo(&["metadata", "--locked", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let directory = |package: &Value| {
        let name = format!("{} {}", package["name"].as_str()?, package["version"].as_str()?);
        Some((name, Path::new(package["manifest_path"].as_str()?).parent()?.to_owned()))
    };
    Ok(packages.filter_map(directory).collect())
}

/// The files below `directory` that a licence wants passed on, in an order that is the same everywhere.
fn notices(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if path.is_dir() {
            found.extend(notices(&path)?);
        } else if NAMES.iter().any(|start| name.starts_with(start)) && !name.ends_with(".RS") {
            found.push(path);
        }
    }
    Ok(found)
}
