//! TURN credentials, held against those who have to agree with them: openssl and a real coturn.
//!
//! Deliberately computes no HMAC of its own.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::coturn::Coturn;
use crate::libfaketime::libfaketime;
use crate::peers::peer;
use crate::process::binary;
use crate::running::Running;
use crate::support::{Server, wait_until};

const A: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
const SECRET: &str = "a secret that both of them know";

/// A manifest with a TURN server on `port` that needs a credential, and one that brings its own.
fn manifest(directory: &Path, port: u16) -> String {
    let path = directory.join("station-manifest.json");
    let manifest = json!({
        "stationId": "north",
        "name": "Radio North",
        "signaling": {"url": "wss://studio.example/"},
        "ice": {"stun": ["stun:127.0.0.1:3478"], "turn": [
            {"urls": [format!("turn:127.0.0.1:{port}")], "region": "here"},
            own_entry(),
        ]},
    });
    fs::write(&path, manifest.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The TURN server that is somebody else's.
fn own_entry() -> Value {
    json!({"urls": "turns:turn.example:5349", "username": "station", "credential": "its own"})
}

/// The `ice` that a peer is given with its room.
fn ice(server: &Server, peer: &str) -> Value {
    let mut client = server.client();
    client.ask(&format!(r#"{{"type":"register","peerId":"{peer}"}}"#));
    let reply: Value =
        serde_json::from_str(&client.ask(r#"{"type":"create-or-join-room"}"#)).unwrap();
    assert_eq!(reply["type"], "room-created");
    reply["ice"].clone()
}

/// Username and credential of the first TURN server.
fn login(ice: &Value) -> (String, String) {
    let text = |key: &str| ice["turn"][0][key].as_str().unwrap().to_owned();
    (text("username"), text("credential"))
}

/// The time at which a username is no longer good, in seconds since 1970.
fn expiry(username: &str) -> u64 {
    username.split(':').next().unwrap().parse().unwrap()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// What openssl makes of the username.
fn hmac(username: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha1", "-hmac", SECRET, "-binary"]);
    let output = run(&mut command, username.as_bytes());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout.len(), 20, "a SHA-1");
    STANDARD.encode(output.stdout)
}

/// Runs a tool that says less than a pipe holds, with `input`, to its end.
fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running::start(command);
    child.0.stdin.take().unwrap().write_all(input).unwrap();
    wait_until(|| child.0.try_wait().unwrap().is_some(), || format!("{command:?} does not end"));
    output(child)
}

/// What a process said that has ended.
fn output(mut process: Running) -> Output {
    let status = process.0.wait().unwrap();
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    let (stdout, stderr) = (process.0.stdout.take(), process.0.stderr.take());
    std::io::copy(&mut stdout.unwrap(), &mut output.stdout).unwrap();
    std::io::copy(&mut stderr.unwrap(), &mut output.stderr).unwrap();
    output
}

/// The flags that packaging/compose.yaml gives coturn, with what its operator fills in.
fn composed_flags() -> Vec<String> {
    let compose = include_str!("../../packaging/compose.yaml");
    let (_, coturn) = compose.split_once("\n  coturn:\n").unwrap();
    let (_, flags) = coturn.split_once("\n    command:\n").unwrap();
    let lines = flags.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let flags = lines.filter_map(|line| line.strip_prefix("- "));
    flags
        .map(|flag| match flag.split_once("=${") {
            Some((name, rest)) if rest.starts_with("TURN_SECRET:?") => format!("{name}={SECRET}"),
            Some((name, rest)) if rest.starts_with("TURN_REALM:?") => {
                format!("{name}=studio.example")
            }
            _ => flag.to_owned(),
        })
        .collect()
}

/// Sends six messages from one peer to another through coturn, both with this login. Says whether
/// they all came, and fails where it is neither that nor coturn's 401.
fn lets_in(coturn: &Coturn, (username, credential): &(String, String)) -> bool {
    let mut command = Command::new("turnutils_uclient");
    command
        // Peer to peer and without RTCP: two messages, there and back.
        .args(["-v", "-y", "-c", "-n", "3", "-m", "1"])
        .args(["-p", &coturn.port.to_string(), "-u", username, "-w", credential, "127.0.0.1"]);
    let output = run(&mut command, b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&output.stderr);
    let allocated = said.contains("Received relay addr: 127.0.0.1:");
    let packet = |what: &str| format!("user <{username}>: incoming packet {what}");
    if output.status.success() {
        assert!(allocated, "{said}");
        assert!(said.contains("tot_send_msgs=6, tot_recv_msgs=6\n"), "{said}");
        assert!(said.contains("Total lost packets 0 "), "{said}");
        coturn.log.wait_for(&packet("ALLOCATE processed, success"));
        return true;
    }
    assert!(!allocated && said.contains("Cannot complete Allocation"), "{said}");
    coturn.log.wait_for(&format!("Cannot find credentials of user <{username}>"));
    coturn.log.wait_for(&packet("message processed, error 401: Unauthorized"));
    assert_eq!(coturn.log.count(&packet("ALLOCATE processed, success")), 0);
    false
}

#[test]
fn each_peer_has_a_credential_that_openssl_confirms() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = manifest(directory.path(), 3478);
    let server = Server::start(&[
        ("STATION_MANIFEST", &manifest),
        ("TURN_SECRET", SECRET),
        ("TURN_TTL_MS", "90000"),
    ]);
    let mut usernames = Vec::new();
    for peer in [A, B] {
        let before = now().as_secs();
        let ice = ice(&server, peer);
        let after = now().as_secs();
        let (username, credential) = login(&ice);
        assert_eq!(username, format!("{}:{peer}", expiry(&username)));
        assert!((before + 90..=after + 90).contains(&expiry(&username)), "{username} at {after}");
        assert_eq!(credential, hmac(&username));
        let personal = json!({
            "urls": ["turn:127.0.0.1:3478"],
            "region": "here",
            "username": username,
            "credential": credential,
        });
        let stun = ["stun:127.0.0.1:3478"];
        assert_eq!(ice, json!({"stun": stun, "turn": [personal, own_entry()]}));
        usernames.push(username);
    }
    assert_ne!(usernames[0], usernames[1]);
}

#[test]
fn a_credential_that_an_editor_has_saved_is_the_same_secret() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = manifest(directory.path(), 3478);
    fs::write(directory.path().join("turn-secret"), format!("\u{feff}{SECRET} \r\n")).unwrap();
    let credentials = directory.path().to_str().unwrap();
    let settings =
        [("STATION_MANIFEST", manifest.as_str()), ("CREDENTIALS_DIRECTORY", credentials)];
    let (username, credential) = login(&ice(&Server::start(&settings), A));
    assert_eq!(credential, hmac(&username));
}

#[test]
fn without_a_secret_the_manifest_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&[("STATION_MANIFEST", &manifest(directory.path(), 3478))]);
    let bare = json!({"urls": ["turn:127.0.0.1:3478"], "region": "here"});
    assert_eq!(ice(&server, A)["turn"], json!([bare, own_entry()]));
}

#[test]
fn coturn_takes_a_credential_until_it_expires() {
    let directory = tempfile::tempdir().unwrap();
    let coturn = Coturn::start(directory.path(), SECRET);
    let manifest = manifest(directory.path(), coturn.port);
    let settings = [("STATION_MANIFEST", manifest.as_str()), ("TURN_SECRET", SECRET)];
    let lasting = login(&ice(&Server::start(&settings), A));
    // A server whose time of day is a minute late, in whose credentials none is left.
    let mut late = binary();
    late.envs(settings).envs([("PORT", "0"), ("TURN_TTL_MS", "30000"), ("FAKETIME", "-60s")]);
    late.env("LD_PRELOAD", libfaketime()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let old = login(&ice(&Server::spawn(&mut late), B));
    // A wrong hash would be refused, too: this one is right, and only late.
    assert_eq!(old.1, hmac(&old.0));
    assert!(expiry(&old.0) < now().as_secs(), "{} is over", old.0);
    assert!(!lets_in(&coturn, &old), "a credential past its expiry");
    let (username, _) = &lasting;
    let forged = (username.clone(), hmac(&old.0));
    assert!(!lets_in(&coturn, &forged), "somebody else's hash");
    assert!(lets_in(&coturn, &lasting), "a credential before its expiry");
}

#[test]
fn a_credential_is_renewed_in_the_room() {
    let directory = tempfile::tempdir().unwrap();
    let coturn = Coturn::start(directory.path(), SECRET);
    let manifest = manifest(directory.path(), coturn.port);
    // A server whose time of day is a minute late at first, and right afterwards.
    let clock = directory.path().join("clock");
    fs::write(&clock, "-60s").unwrap();
    let mut late = binary();
    late.envs([("STATION_MANIFEST", manifest.as_str()), ("TURN_SECRET", SECRET)]);
    late.envs([("PORT", "0"), ("TURN_TTL_MS", "30000"), ("FAKETIME_NO_CACHE", "1")]);
    late.env("FAKETIME_TIMESTAMP_FILE", &clock);
    late.env("LD_PRELOAD", libfaketime()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let server = Server::spawn(&mut late);
    let mut client = peer(&server, A);
    let ice = |answer: String| login(&serde_json::from_str::<Value>(&answer).unwrap()["ice"]);
    let old = ice(client.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#));
    assert!(!lets_in(&coturn, &old), "it has expired");
    fs::write(&clock, "+0").unwrap();
    let new = ice(client.ask(r#"{"type":"request-ice"}"#));
    assert!(expiry(&new.0) > now().as_secs() && lets_in(&coturn, &new));
    let again = ice(client.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#));
    assert!(lets_in(&coturn, &again));
}

#[test]
fn coturn_as_it_is_composed_takes_a_credential() {
    let directory = tempfile::tempdir().unwrap();
    let flags = composed_flags();
    assert!(flags.len() > 10 && flags.iter().all(|flag| flag.starts_with("--")), "{flags:?}");
    let coturn = Coturn::start_with(directory.path(), flags);
    let manifest = manifest(directory.path(), coturn.port);
    let settings = [("STATION_MANIFEST", manifest.as_str()), ("TURN_SECRET", SECRET)];
    let login = login(&ice(&Server::start(&settings), A));
    assert!(!lets_in(&coturn, &(login.0.clone(), hmac("somebody else"))));
    assert!(lets_in(&coturn, &login));
}
