//! packaging/asyncapi.yaml has the messages and codes that the server has, no more and no fewer.
//!
//! Deliberately knows no YAML but the plain layout of that one file; whether it is a valid document is
//! asked by tests/asyncapi.mjs.

use std::collections::BTreeSet;

use openstudio_signaling::wire::codes::ErrorCode;
use openstudio_signaling::wire::reply::ServerMessage;
use openstudio_signaling::wire::request::MessageType;

use crate::support::Server;

const DOCUMENT: &str = include_str!("../../packaging/asyncapi.yaml");

/// The lines below a key, which is named with those above it; comments and empty lines are left out.
fn below(path: &[&str]) -> Vec<&'static str> {
    let mut lines: Vec<_> = DOCUMENT
        .lines()
        .filter(|line| !matches!(line.trim_start().bytes().next(), None | Some(b'#')))
        .collect();
    for (depth, key) in path.iter().enumerate() {
        let indent = "  ".repeat(depth);
        let head = format!("{indent}{key}:");
        let mut starts = (0..lines.len()).filter(|&i| lines[i] == head);
        let start = starts.next().unwrap_or_else(|| panic!("no {key} of {path:?}"));
        assert_eq!(starts.next(), None, "{key} of {path:?} occurs twice");
        let deeper = format!("{indent}  ");
        lines = lines.split_off(start + 1);
        let end = lines.iter().position(|line| !line.starts_with(&deeper));
        lines.truncate(end.unwrap_or(lines.len()));
    }
    assert!(!lines.is_empty(), "nothing in {path:?}");
    lines
}

/// What stands between `start` and `end` in a line that has nothing else.
fn between<'a>(line: &'a str, start: &str, end: &str) -> &'a str {
    let inner = line.trim_start().strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    inner.unwrap_or_else(|| panic!("{line:?} is not {start}…{end}"))
}

/// Each once, as a set.
fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut set = BTreeSet::new();
    for name in names {
        assert!(set.insert(name), "{name} twice");
    }
    set
}

/// The keys of the messages in an operation, which are not always their types.
fn keys(operation: &str) -> Vec<&'static str> {
    let lines = below(&["operations", operation, "messages"]);
    let start = "- $ref: '#/channels/signaling/messages/";
    lines.into_iter().map(|line| between(line, start, "'")).collect()
}

/// The type that a message has on the wire.
fn wire_type(key: &str) -> &'static str {
    let message = below(&["components", "messages", key]);
    let only = |start: &str| {
        let mut found = message.iter().filter(|line| line.trim_start().starts_with(start));
        let line = found.next().unwrap_or_else(|| panic!("{key} has no {start}"));
        (*line, found.next())
    };
    // The name is the message's own; properties that are called so stand deeper.
    let (name, _) = only("name: ");
    let name = between(name, "name: ", "");
    let (constant, another) = only("type: { type: string, const: ");
    assert_eq!(between(constant, "type: { type: string, const: ", " }"), name, "{key}");
    assert_eq!(another, None, "{key} has two types");
    name
}

fn types(operation: &str) -> BTreeSet<&'static str> {
    set(keys(operation).into_iter().map(wire_type))
}

#[test]
fn clients_may_send_what_the_server_knows() {
    assert_eq!(types("receiveFromClient"), set(MessageType::ALL.map(MessageType::name)));
}

#[test]
fn clients_may_get_what_the_server_makes_or_passes_on() {
    let passed = [MessageType::Offer, MessageType::Answer, MessageType::IceCandidate];
    let sent = ServerMessage::NAMES.into_iter().chain(passed.map(MessageType::name));
    assert_eq!(types("sendToClient"), set(sent));
}

#[test]
fn every_message_is_in_the_channel_and_in_an_operation() {
    let used: BTreeSet<_> =
        keys("receiveFromClient").into_iter().chain(keys("sendToClient")).collect();
    let offered = below(&["channels", "signaling", "messages"]).into_iter().map(|line| {
        let (key, reference) = line.trim_start().split_once(": ").unwrap();
        assert_eq!(between(reference, "{ $ref: '#/components/messages/", "' }"), key);
        key
    });
    assert_eq!(set(offered), used);
    let described = below(&["components", "messages"]);
    let described = described.into_iter().filter(|line| !line.starts_with("     "));
    assert_eq!(set(described.map(|line| between(line, "", ":"))), used);
}

#[test]
fn errors_have_the_codes_that_the_server_has() {
    let codes = set(ErrorCode::ALL.map(ErrorCode::name));
    let listed = below(&["components", "schemas", "errorCode", "enum"]);
    assert_eq!(set(listed.into_iter().map(|line| between(line, "- ", ""))), codes);
    let code = below(&["components", "messages", "error", "payload", "properties"]);
    assert!(code.contains(&"          code: { $ref: '#/components/schemas/errorCode' }"));
    // The table explains each of them.
    let description = below(&["components", "schemas", "errorCode"]);
    let rows = description.iter().filter_map(|line| line.trim_start().strip_prefix("| `"));
    assert_eq!(set(rows.map(|row| row.split('`').next().unwrap())), codes);
}

#[test]
fn the_document_has_the_servers_version() {
    let version = format!("  version: {}", env!("CARGO_PKG_VERSION"));
    assert!(below(&["info"]).contains(&version.as_str()), "no {version:?}");
}

#[test]
fn null_is_the_same_as_nothing() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let id = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    let registered =
        client.ask(&format!(r#"{{"type":"register","peerId":"{id}","resume":null,"token":null}}"#));
    assert!(registered.contains(r#""type":"registered""#), "{registered}");
    let enter = r#"{"type":"create-or-join-room","roomId":null,"role":null,"inviteToken":null}"#;
    let created = client.ask(enter);
    assert!(created.contains(r#""type":"room-created""#), "{created}");
    assert!(created.contains(r#""role":"guest""#), "{created}");
    client.ask(r#"{"type":"leave-room"}"#);
    client.ask(r#"{"type":"create-or-join-room","role":"host"}"#);
    let invite = client.ask(r#"{"type":"request-invite","inviteRole":null}"#);
    assert!(invite.contains(r#""type":"invite-token""#), "{invite}");
    assert!(invite.contains(r#""role":"guest""#), "{invite}");
    // The document allows it in the places that were just tried, and in no other.
    let nulls = DOCUMENT.lines().filter(|line| line.contains("- type: 'null'")).count();
    assert_eq!(nulls, 6);
}
