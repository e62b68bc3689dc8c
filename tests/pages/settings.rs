//! The pages on settings have each of them, no other, and what the program has.

use std::fs;
use std::process::Command;

use openstudio_signaling::config::table::{Allowed, Credential, SETTINGS};

use crate::man::shown;
use crate::{man_pages, top};

/// The settings as the program itself lists them, with their defaults.
fn listed() -> Vec<(String, String)> {
    let output = config("/dev/null");
    output
        .lines()
        .filter_map(|line| line.strip_suffix(" # default"))
        .map(|line| match line.trim_end().strip_prefix("# ") {
            Some(words) => words.split_once(" is ").unwrap(),
            None => line.trim_end().split_once('=').unwrap(),
        })
        .map(|(name, default)| (name.to_owned(), default.to_owned()))
        .collect()
}

/// What `config` prints for a settings file.
fn config(file: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_openstudio-signaling"))
        .args(["config", "--settings-file", file])
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The entries of openstudio-signaling(5): a name, and the lines below it.
fn entries() -> Vec<(String, Vec<String>)> {
    let page = shown(&man_pages().join("openstudio-signaling.5"), "1000");
    let (_, settings) = page.split_once("\nSETTINGS\n").unwrap();
    let (settings, _) = settings.split_once("\nCREDENTIALS\n").unwrap();
    let mut entries: Vec<(String, Vec<String>)> = Vec::new();
    for line in settings.lines().filter(|line| !line.is_empty()) {
        let text = line.trim();
        if !line.starts_with("        ") {
            let (name, first) = text.split_once(' ').unwrap_or((text, ""));
            let first = Some(first.trim().to_owned()).filter(|first| !first.is_empty());
            entries.push((name.to_owned(), first.into_iter().collect()));
        } else {
            entries.last_mut().unwrap().1.push(text.to_owned());
        }
    }
    entries
}

#[test]
fn the_man_page_has_what_the_program_has() {
    let entries = entries();
    let listed = listed();
    let names: Vec<_> = entries.iter().map(|(name, _)| name).collect();
    assert_eq!(names, listed.iter().map(|(name, _)| name).collect::<Vec<_>>());
    let mut examples = String::new();
    for ((name, lines), (setting, (_, default))) in entries.iter().zip(SETTINGS.iter().zip(&listed))
    {
        let value = |key: &str| {
            let found: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(key)).collect();
            assert!(found.len() < 2, "{name}: {lines:#?}");
            found.first().copied()
        };
        assert_eq!(lines[0].trim_end_matches('.'), setting.help, "{name}");
        assert_eq!(value("Flag: --"), Some(setting.flag().as_str()));
        let shown = value("Default: ").unwrap();
        assert_eq!(shown.split(" (").next(), default.split(" (").next(), "{name}");
        let allowed = value("Value: ").unwrap();
        assert!(allowed.starts_with(&setting.allowed.to_string()), "{name}: {allowed}");
        let unit = match name {
            _ if name.ends_with("_MS") => "(milliseconds)",
            _ if name.ends_with("_BYTES") => "(bytes)",
            _ if setting.allowed.bounds().is_some() => ")",
            _ => "",
        };
        assert!(allowed.ends_with(unit), "{name}: {allowed}");
        assert_eq!(value("Credential: ").is_some(), setting.credential.is_some(), "{name}");
        let Some(example) = value("Example: ") else {
            assert!(setting.credential.is_some(), "{name} has no example");
            continue;
        };
        let (named, example) = example.split_once('=').unwrap();
        assert_eq!(named, name);
        assert_ne!(example, default, "{name} has its default for an example");
        // These files and folders are not on this machine.
        if !example.starts_with('/') {
            examples += &format!("{name}={example}\n");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("examples");
    fs::write(&path, &examples).unwrap();
    let output = config(path.to_str().unwrap());
    let in_force = output.lines().filter(|line| line.contains("examples line ")).count();
    assert_eq!(in_force, examples.lines().count(), "{output}");
    assert!(in_force > 25, "{in_force}");
}

#[test]
fn the_operators_page_has_what_the_program_has() {
    let page = fs::read_to_string(top().join("docs/operate.md")).unwrap();
    let (_, table) =
        page.split_once("| setting | default | what it does |\n|---|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.trim_matches('|').splitn(3, " | ").map(str::trim);
            let mut cell = || cells.next().unwrap().to_owned();
            (cell().trim_matches('`').to_owned(), cell(), cell())
        })
        .collect();
    let mut listed = listed();
    rows.sort();
    listed.sort();
    let named: Vec<_> =
        rows.iter().map(|(name, default, _)| (name.clone(), default.clone())).collect();
    assert_eq!(named, listed);
    for (name, _, text) in rows {
        let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
        let unit = match &name {
            _ if name.ends_with("_MS") => "ms",
            _ if name.ends_with("_BYTES") => "bytes",
            _ => "",
        };
        assert!(text.contains(unit), "{name} does not say its unit: {text}");
        if let Allowed::OneOf(words) = setting.allowed {
            // One of the two may go without saying.
            let said = words.iter().filter(|word| text.contains(&format!("`{word}`"))).count();
            assert!(said + 1 >= words.len(), "{name}: {text}");
        }
    }
}

#[test]
fn the_operators_page_has_every_credential() {
    let page = fs::read_to_string(top().join("docs/operate.md")).unwrap();
    let (_, table) =
        page.split_once("| credential | in place of | what it is |\n|---|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let spans =
        |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut found = Vec::new();
    for row in rows {
        let mut cells = row.trim_matches('|').split(" | ");
        let (credentials, settings) = (spans(cells.next().unwrap()), spans(cells.next().unwrap()));
        assert_eq!(credentials.len(), settings.len(), "{row}");
        found.extend(settings.into_iter().zip(credentials));
    }
    let credentials = SETTINGS.iter().filter_map(|setting| {
        let (Credential::Secret(name) | Credential::File(name)) = setting.credential?;
        Some((setting.name.to_owned(), name.to_owned()))
    });
    let mut credentials: Vec<_> = credentials.collect();
    found.sort();
    credentials.sort();
    assert_eq!(found, credentials);
}
