//! The man pages: each command has one, man(1) has nothing to say about them, and the pages that they and others name
//! are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use openstudio_signaling::config::cli::command;

use crate::site::{Site, named_man_pages};
use crate::{man_pages, top};

/// Pages of Debian that ours name, with their packages.
const OTHERS: &[(&str, &str)] = &[
    ("journalctl(1)", "systemd"),
    ("man(1)", "man-db"),
    ("needrestart(1)", "needrestart"),
    ("ping(8)", "iputils-ping"),
    ("systemctl(1)", "systemd"),
    ("systemd-socket-proxyd(8)", "systemd"),
    ("systemd.exec(5)", "systemd"),
    ("systemd.resource-control(5)", "systemd"),
    ("systemd.socket(5)", "systemd"),
    ("systemd.unit(5)", "systemd"),
];

/// The man pages in a folder, such as `openstudio-signaling.8`.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    let mut names: Vec<_> =
        names.filter(|name| name.ends_with(".5") || name.ends_with(".8")).collect();
    names.sort();
    names
}

/// A page as man(1) shows it, which has to be silent.
pub fn shown(page: &Path, width: &str) -> String {
    let output = Command::new("man")
        .args(["--warnings", "-E", "UTF-8", "-l"])
        .arg(page)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", width)
        .env("MAN_KEEP_FORMATTING", "")
        .output()
        .unwrap();
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn man_and_groff_are_silent() {
    let folder = man_pages();
    for name in names(folder) {
        let page = folder.join(&name);
        let text = shown(&page, "80");
        assert!(text.contains("SEE ALSO"), "{name}");
        // Nothing is cut from the first and the last line.
        let (stem, number) = name.rsplit_once('.').unwrap();
        let title = format!("{}({number})", stem.to_uppercase());
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (head, foot) = (text.lines().next().unwrap(), text.lines().last().unwrap());
        assert_eq!(words(head), [&title, "OpenStudio", &title], "{name}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(words(foot), ["openstudio-signaling", version, &title], "{name}");
        let groff = Command::new("groff")
            .args(["-ww", "-man", "-Kutf8", "-Tutf8", "-z"])
            .arg(&page)
            .output();
        let said = String::from_utf8(groff.unwrap().stderr).unwrap();
        assert_eq!(said, "", "{name}");
    }
}

#[test]
fn each_command_has_a_page_with_all_that_its_help_has() {
    let folder = man_pages();
    let mut expected =
        vec!["openstudio-signaling.5".to_owned(), "openstudio-signaling.8".to_owned()];
    let mut command = command();
    command.build();
    for subcommand in command.get_subcommands() {
        let name = format!("openstudio-signaling-{}.8", subcommand.get_name());
        let text = shown(&folder.join(&name), "1000");
        for title in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]
        {
            assert!(text.contains(&format!("\n{title}\n")), "{name} has no {title}");
        }
        let has_settings = subcommand.get_arguments().any(|argument| argument.get_id() == "PORT");
        assert_eq!(
            has_settings,
            text.contains("Each setting of openstudio-signaling(5) is also a flag")
        );
        for argument in subcommand.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let is_setting = argument.get_help_heading() == Some("Settings")
                && argument.get_id() != "settings-file";
            if has_settings && is_setting {
                continue;
            }
            let help = argument.get_help().unwrap().to_string();
            assert!(text.contains(&help), "{name} does not say: {help}");
            let long = argument.get_long().map_or(String::new(), |long| format!("--{long}"));
            assert!(text.contains(&long), "{name} has no {long}");
        }
        expected.push(name);
    }
    expected.sort();
    assert_eq!(names(folder), expected);
    // All of them are installed.
    let installed = fs::read_to_string(top().join("debian/openstudio-signaling.manpages")).unwrap();
    assert_eq!(installed, "debian/docs/*.5\ndebian/docs/*.8\n");
}

#[test]
fn man_pages_that_are_named_are_there() {
    let folder = man_pages();
    let ours: BTreeSet<_> = names(folder)
        .iter()
        .map(|name| {
            name.rsplit_once('.').map(|(name, section)| format!("{name}({section})")).unwrap()
        })
        .collect();
    let mut texts: Vec<(String, String)> =
        names(folder).into_iter().map(|name| (shown(&folder.join(&name), "1000"), name)).collect();
    let site = Site::read(top());
    texts.extend(site.pages().map(|(path, text)| (text.to_owned(), path.display().to_string())));
    for entry in fs::read_dir(top().join("systemd")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            texts.push((fs::read_to_string(&entry).unwrap(), entry.display().to_string()));
        }
    }
    let mut named = BTreeSet::new();
    for (text, place) in texts {
        for page in named_man_pages(&text) {
            let known = ours.contains(&page) || OTHERS.iter().any(|(other, _)| *other == page);
            assert!(known, "{place} names {page}");
            named.insert(page);
        }
    }
    for page in &ours {
        assert!(named.contains(page), "nothing names {page}");
    }
    for (page, _) in OTHERS {
        assert!(named.contains(*page), "nothing names {page}");
    }
    let unit = fs::read_to_string(top().join("systemd/openstudio-signaling.service")).unwrap();
    let pages = "\nDocumentation=man:openstudio-signaling(8) man:openstudio-signaling(5)\n";
    assert!(unit.contains(pages), "{unit}");
}

#[test]
fn names_of_man_pages_are_found() {
    let text = "See systemctl(1), `openstudio-signaling-check(8)` and man:systemd.exec(5). f(1x), hear(), (8), 3(1)";
    let found: Vec<_> = named_man_pages(text).into_iter().collect();
    assert_eq!(found, ["openstudio-signaling-check(8)", "systemctl(1)", "systemd.exec(5)"]);
}
