//! Imports go downward only.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

use std::fs;
use std::path::Path;

/// The modules, layer by layer, lowest first.
const LAYERS: &[&[&str]] = &[
    &[
        "protocol",
        "message",
        "frame",
        "events",
        "settings",
        "config",
        "command",
        "shutdown",
        "address",
        "report",
        "target",
        "roundtrip",
        "quiet",
        "refused",
        "progress",
    ],
    &[
        "journal",
        "systemd",
        "metrics",
        "station",
        "invite",
        "keyfile",
        "ice",
        "seats",
        "newcomers",
        "turns",
        "room",
        "outbox",
        "tls",
        "socket",
        "trust",
        "websocket",
    ],
    &["hub"],
    &["state"],
    &["member", "peer", "conversation", "signaling", "session"],
    &["upgrade", "web", "page", "routes", "client"],
    &["server", "connection", "call", "watch", "check"],
    &["lib", "main"],
];

/// Imports within a layer, each with its reason.
const WITHIN: &[(&str, &str)] = &[
    // A message has ids in it, and is refused in the protocol's words.
    ("message", "protocol"),
    // Once it is registered, a peer is a member.
    ("peer", "member"),
    // The signaling brings the peer what its client says.
    ("signaling", "peer"),
    // It is a conversation,
    ("signaling", "conversation"),
    // and the session has one inside, whichever.
    ("session", "conversation"),
    // What tests have inside.
    ("session", "signaling"),
    // How much of an event is logged.
    ("events", "quiet"),
    // A violation of the framing is a close code.
    ("frame", "protocol"),
    // Events name clients and codes.
    ("events", "protocol"),
    // A bad line is quoted as clients' texts are.
    ("settings", "protocol"),
    // Texts become values.
    ("config", "settings"),
    // Each setting is a flag.
    ("command", "settings"),
    // LOG_LEVEL is a level.
    ("config", "events"),
    // What cannot be notified is logged.
    ("systemd", "journal"),
    // What is accepted is served.
    ("server", "connection"),
    // The graph has the upgrade, the files and the check page in it.
    ("routes", "upgrade"),
    ("routes", "web"),
    ("routes", "page"),
    // Both ends of a handshake compute the same answer to its key.
    ("client", "upgrade"),
    // Once through the steps, `check` does these.
    ("check", "call"),
    ("check", "watch"),
];

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is in no layer"))
}

#[test]
fn imports_go_downward() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = 0;
    let mut used = Vec::new();
    for file in fs::read_dir(src).unwrap() {
        let path = file.unwrap().path();
        // The check page lies beside the module that has it in it.
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        modules += 1;
        for import in text.split("crate::").skip(1) {
            let name: String =
                import.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if name.is_empty() || layer(&name) < layer(&module) {
                continue;
            }
            let pair = WITHIN.iter().find(|pair| **pair == (module.as_str(), name.as_str()));
            used.push(*pair.unwrap_or_else(|| panic!("{module} must not import {name}")));
        }
        assert!(text.starts_with("//! "), "{module} does not say what it owns");
        assert!(text.contains("deliberately"), "{module} does not say what it does not know");
    }
    assert_eq!(modules, LAYERS.iter().map(|layer| layer.len()).sum::<usize>());
    assert!(WITHIN.iter().all(|pair| used.contains(pair)), "an exception that nobody needs");
}

#[test]
fn the_map_has_every_module_in_its_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for (number, modules) in LAYERS.iter().enumerate().take(LAYERS.len() - 1) {
        let start = format!("//! | {number} | ");
        let row = lib.lines().find(|line| line.starts_with(&start)).unwrap();
        for module in *modules {
            assert!(row.contains(&format!("[`{module}`]")), "{module} in {row}");
        }
    }
}
