//! What is shipped beside the binary fits the binary.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use openstudio_signaling::config::table::SETTINGS;
use openstudio_signaling::telemetry::events::Event;
use openstudio_signaling::telemetry::refused::Refused;
use openstudio_signaling::wire::codes::{CloseCode, ErrorCode};
use openstudio_signaling::wire::reply::ServerMessage;
use openstudio_signaling::wire::request::MessageType;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The catalog's entries: message id to head and text.
fn catalog() -> HashMap<String, (String, String)> {
    let text = read("systemd/openstudio-signaling.catalog");
    let mut entries = HashMap::new();
    for entry in text.split("\n-- ").skip(1) {
        let (id, rest) = entry.split_once('\n').unwrap();
        let (head, text) = rest.split_once("\n\n").unwrap();
        let entry = (head.to_owned(), text.trim_end().to_owned());
        assert!(entries.insert(id.to_owned(), entry).is_none(), "{id} twice");
    }
    entries
}

#[test]
fn every_event_is_explained_and_nothing_else() {
    let mut entries = catalog();
    for kind in Event::KINDS {
        let (head, text) =
            entries.remove(kind.message_id).unwrap_or_else(|| panic!("no entry for {}", kind.name));
        assert!(head.starts_with("Subject: ") && head.contains("\nDefined-By: "), "{}", kind.name);
        assert!(!text.is_empty());
        // A placeholder that the event does not fill would be shown as it is.
        let placeholders = text.split('@').skip(1).step_by(2);
        for name in placeholders {
            // The journal itself knows the process.
            let known =
                name == "_PID" || kind.fields.iter().any(|field| field.to_uppercase() == name);
            assert!(known, "{} has no field {name}", kind.name);
        }
    }
    assert!(entries.is_empty(), "explained, but never logged: {:?}", entries.keys());
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("debian/changelog");
    assert!(changelog.starts_with(&format!("openstudio-signaling ({version}-1) ")));
    assert!(read("CHANGELOG.md").contains(&format!("\n## {version}\n")));
}

#[test]
fn the_protocols_page_lists_every_message_and_every_error_and_close_code() {
    let page = read("docs/protocol.md");
    for kind in MessageType::ALL {
        assert!(page.contains(&format!(r#"{{"type":"{}""#, kind.name())), "{}", kind.name());
    }
    for name in ServerMessage::NAMES {
        assert!(page.contains(&format!(r#"{{"type":"{name}""#)), "{name}");
    }
    for code in ErrorCode::ALL {
        assert!(page.contains(&format!("| `{code}` | ")), "{code}");
    }
    for code in [1001, 1002, 1007, 1009, 1011, 4008, 4010, 4102, 4201].map(CloseCode) {
        let row = format!("| {code} | `{}` | ", code.reason());
        assert!(page.contains(&row), "{row}");
    }
    // What a request for a WebSocket can get as its answer.
    for refused in [
        Refused::NoUpgrade,
        Refused::NoConnectionUpgrade,
        Refused::HttpVersion,
        Refused::Body,
        Refused::NoKey,
        Refused::MalformedKey,
        Refused::MalformedProtocol,
        Refused::Origin,
        Refused::Method,
        Refused::WebSocketVersion,
        Refused::Full,
    ] {
        let row = format!("| {} | `{}` | ", refused.status().as_u16(), refused.reason());
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn the_socket_unit_has_the_default_port() {
    let port = SETTINGS.iter().find(|setting| setting.name == "PORT").unwrap().default;
    assert!(
        read("systemd/openstudio-signaling.socket").contains(&format!("\nListenStream={port}\n"))
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let mut in_dependencies = false;
    let mut previous = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains(" = ") {
            assert!(previous.starts_with("# "), "no reason for {line}");
        }
        previous = line;
    }
}

#[test]
fn the_shipped_settings_file_is_read_by_the_real_binary() {
    let directory = tempfile::tempdir().unwrap();
    let mut docs = std::process::Command::new(env!("CARGO"));
    docs.args(["run", "--quiet", "--locked", "--example", "docs", "--"]).arg(directory.path());
    // What cargo tells a test about its package: ring is built anew where that changes.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            docs.env_remove(name);
        }
    }
    assert!(docs.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    let shipped =
        fs::read_to_string(directory.path().join("openstudio-signaling.default")).unwrap();
    assert!(shipped.lines().all(|line| line.is_empty() || line.starts_with('#')));
    // With every line in force, nothing but where the values come from changes.
    let in_force: String = shipped
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let path = directory.path().join("in-force");
    fs::write(&path, in_force).unwrap();
    let config = |file: &Path| {
        let output = crate::process::binary()
            .args(["config", "--settings-file"])
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect::<String>()
    };
    let values = |text: String| {
        let values = text.lines().map(|line| line.split(" #").next().unwrap().trim().to_owned());
        values.collect::<Vec<_>>()
    };
    let shipped = config(&directory.path().join("openstudio-signaling.default"));
    assert!(shipped.lines().all(|line| line.ends_with("# default")), "{shipped}");
    let in_force = config(&path);
    let set = in_force.lines().filter(|line| line.contains("in-force line ")).count();
    let with_value = SETTINGS.iter().filter(|setting| !setting.default.contains(' ')).count();
    assert_eq!(set, with_value);
    assert_eq!(values(in_force), values(shipped));
}

/// What is mounted is here, or made from what is here by a line at the head of the file.
#[test]
fn compose_mounts_what_is_there() {
    let compose = read("packaging/compose.yaml");
    let (head, services) = compose.split_once("\nservices:\n").unwrap();
    let mounts = services.lines().filter_map(|line| line.trim().strip_prefix("- ./"));
    let files: Vec<_> = mounts.map(|mount| mount.split(':').next().unwrap()).collect();
    assert_eq!(files, ["station-manifest.json", "Caddyfile"]);
    for file in files {
        let made = head.lines().find_map(|line| line.strip_prefix("#   cp ")?.strip_suffix(file));
        read(&format!("packaging/{}", made.map_or(file, str::trim)));
    }
    // What has to be set is set by the head, too.
    for variable in services.split("${").skip(1).map(|rest| rest.split(":?").next().unwrap()) {
        assert!(head.contains(&format!("echo \"{variable}=")), "{variable}");
    }
    // Everything that is set is a setting.
    let (_, signaling) = services.split_once("    environment:\n").unwrap();
    let settings = signaling.lines().take_while(|line| line.starts_with("      "));
    for line in settings.filter(|line| !line.trim().starts_with('#')) {
        let name = line.trim().split(':').next().unwrap();
        assert!(SETTINGS.iter().any(|setting| setting.name == name), "{name}");
    }
}

/// Whoever reaches the studio gets a password for TURN: neither of the configurations that we give out for coturn may
/// be a door past a firewall.
#[test]
fn coturn_relays_into_no_private_network_in_either_configuration() {
    let text = read("packaging/compose.yaml");
    let compose: BTreeSet<_> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- --")).collect();
    let text = read("packaging/turnserver.conf");
    let file: BTreeSet<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let is_closed = |option: &&&str| option.starts_with("denied-") || option.starts_with("no-");
    let composed: BTreeSet<_> = compose.iter().filter(is_closed).copied().collect();
    let in_file: BTreeSet<_> = file.iter().filter(is_closed).copied().collect();
    // A composition has no certificate for coturn.
    assert_eq!(composed, &in_file | &BTreeSet::from(["no-dtls", "no-tls"]));
    for closed in ["no-tcp-relay", "denied-peer-ip=192.168.0.0-192.168.255.255"] {
        assert!(file.contains(closed), "{closed}");
    }
}
