//! The station manifest: at the start, at a reload, and by HTTP.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use crate::fetch::{get, request};
use crate::paused;
use crate::peers::{A, peer};
use crate::process::binary;
use crate::support::{Answer, Log, PATIENCE, Server};

const MANIFEST: &str = r#"{
  "stationId": "radio-north", "name": "Radio North", "colour": "red",
  "signaling": {"url": "wss://studio.example.org/", "region": "eu"},
  "ice": {"turn": [{"urls": "turn:a", "username": "u", "credential": "c"}], "stun": ["stun:a"]}
}"#;

struct Manifest {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Manifest {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("station.json");
        fs::write(&path, text).unwrap();
        Self { path, _directory: directory }
    }

    fn server(&self) -> Server {
        Server::start(&[("STATION_MANIFEST", self.path.to_str().unwrap())])
    }
}

fn ice(server: &Server, room: &str) -> String {
    let mut client = peer(server, A);
    let answer =
        client.ask(&format!(r#"{{"type":"create-or-join-room","roomId":"{room}","role":"host"}}"#));
    client.leave(1000);
    server.log.wait_for(&format!("Room left: {room}"));
    answer.split(r#""ice":"#).nth(1).unwrap().strip_suffix('}').unwrap().to_owned()
}

#[test]
fn the_studio_is_told_what_this_server_does_not_do() {
    let server = Server::start(&[]);
    let answer = get(server.port, "/api/capabilities");
    assert_eq!(answer.status, 200);
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    for feature in ["transcribe", "cleanAudio", "mp3Export", "showNotes"] {
        let found = &said["features"][feature];
        assert_eq!(found["available"], false, "{feature}");
        assert!(!found["missing"].as_array().unwrap().is_empty(), "{feature}");
    }
    assert_eq!(
        (&said["streaming"]["available"], &said["llm"]["configured"]),
        (&false.into(), &false.into())
    );
    let with = Server::start(&[("ICECAST_URL", "http://127.0.0.1/live.ogg")]);
    assert!(get(with.port, "/api/capabilities").body.contains(r#""streaming":{"available":true}"#));
}

#[test]
fn pages_and_peers_get_what_the_manifest_says() {
    let manifest = Manifest::new(MANIFEST);
    let server = manifest.server();
    let path = manifest.path.display();
    let line = format!("Loaded station manifest: Radio North (radio-north) from {path}");
    server.log.wait_for(&line);
    let station = get(server.port, "/api/station");
    assert_eq!(
        (station.status, station.body.as_str()),
        (
            200,
            r#"{"stationId":"radio-north","name":"Radio North","signaling":{"url": "wss://studio.example.org/", "region": "eu"},"onAir":null}"#
        )
    );
    assert!(station.has("content-type: application/json"));
    assert_eq!(
        ice(&server, "a"),
        r#"{"turn": [{"urls": "turn:a", "username": "u", "credential": "c"}], "stun": ["stun:a"]}"#
    );
}

#[test]
fn a_reload_reads_it_again_and_a_bad_one_changes_nothing() {
    let manifest = Manifest::new(MANIFEST);
    let server = manifest.server();
    let mut client = peer(&server, crate::rooms::B);
    fs::write(&manifest.path, MANIFEST.replace("north", "south").replace("turn:a", "turn:b"))
        .unwrap();
    server.signal(Signal::HUP);
    server.log.wait_for("Reloaded: log level is info (from default), station is radio-south");
    assert!(get(server.port, "/api/station").body.contains("radio-south"));
    assert!(ice(&server, "a").contains("turn:b"));
    fs::write(&manifest.path, r#"{"name":"x","ice":{"stun":[]}}"#).unwrap();
    server.signal(Signal::HUP);
    let line =
        server.log.wait_for("Reload failed for the station manifest, the old value stays in use: ");
    let path = manifest.path.display().to_string();
    for part in [
        "[ERROR]",
        &path,
        r#"Missing or invalid "stationId" (must be non-empty string)"#,
        r#"Missing or invalid "signaling" object"#,
        r#"At least one STUN server required in "ice.stun""#,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(get(server.port, "/api/station").body.contains("radio-south"));
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"), "nobody was disconnected");
}

#[test]
fn one_that_cannot_be_stops_the_start() {
    let manifest = Manifest::new(r#"{"stationId":"a","signaling":{"url":"http://a"},"ice":{}}"#);
    let path = manifest.path.to_str().unwrap();
    let url = Manifest::new(
        &MANIFEST.replace("turn:a", "turn:a?transport=tpc").replace("stun:a", "stun://a"),
    );
    for (path, errors) in [
        (
            url.path.to_str().unwrap(),
            &[
                r#"Invalid STUN URL at ice.stun[0] "stun://a": must be stun:HOST or "#,
                r#"Invalid TURN URL at ice.turn[0] "turn:a?transport=tpc": must be turn:HOST or "#,
            ][..],
        ),
        (
            path,
            &[
                r#"Missing or invalid "name" (must be non-empty string)"#,
                r#"Invalid "signaling.url" format (must start with ws:// or wss://)"#,
                r#"Missing or invalid "ice.stun" (must be array)"#,
            ][..],
        ),
        ("/absent/station.json", &["No such file or directory (os error 2)"]),
        (manifest.path.parent().unwrap().to_str().unwrap(), &["Is a directory (os error 21)"]),
    ] {
        let mut child = binary()
            .env("PORT", "0")
            .env("STATION_MANIFEST", path)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        assert_eq!(child.wait().unwrap().code(), Some(78));
        for error in errors {
            log.wait_for(&format!("[ERROR] Failed to load station manifest: {path}: {error}"));
        }
        assert_eq!(log.count("[ERROR]"), errors.len(), "one line each");
        // So says `config`, which `systemctl reload` asks before it reloads.
        let output = binary().arg("config").env("STATION_MANIFEST", path).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.lines().count(), errors.len(), "{text}");
    }
}

#[test]
fn a_turn_server_that_browsers_refuse_is_warned_of() {
    let manifest = Manifest::new(&MANIFEST.replace(r#", "credential": "c""#, ""));
    let server = manifest.server();
    let line = server.log.wait_for("has no credential, and there is no TURN_SECRET");
    assert!(line.contains("[WARN]") && line.contains(manifest.path.to_str().unwrap()), "{line}");
    let path = manifest.path.to_str().unwrap();
    let server = Server::start(&[("STATION_MANIFEST", path), ("TURN_SECRET", "north")]);
    fs::write(&manifest.path, MANIFEST).unwrap();
    let with_its_own = manifest.server();
    for server in [server, with_its_own] {
        get(server.port, "/api/station");
        assert_eq!(server.log.count("has no credential"), 0);
    }
}

/// What `config` says on standard error where all is well enough to start.
fn warned(environment: &[(&str, &str)]) -> String {
    let output = binary().arg("config").envs(environment.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_icecast_that_a_restart_interrupts_is_warned_of() {
    let password = ("ICECAST_PASSWORD", "hackme");
    let by_tls = warned(&[("ICECAST_URL", "https://icecast.example.org/live.ogg"), password]);
    assert!(by_tls.contains("ICECAST_URL (from environment) is https://"), "{by_tls}");
    assert!(by_tls.contains("a restart interrupts the programme for a moment"), "{by_tls}");
    assert_eq!(warned(&[("ICECAST_URL", "http://icecast.example.org/live.ogg"), password]), "");
}

#[test]
fn a_key_that_is_a_letter_off_is_warned_of() {
    let manifest = Manifest::new(&MANIFEST.replace(r#""turn":"#, r#""turns":"#));
    let path = manifest.path.to_str().unwrap();
    let warning = |key: &str, known: &str| {
        format!("The key {key} in {path} is unknown: did you mean {known}? Rename it and reload")
    };
    let turns = warning("ice.turns", "ice.turn");
    let server = manifest.server();
    server.log.wait_for(&format!("[WARN] {turns}"));
    assert_eq!(warned(&[("STATION_MANIFEST", path)]), format!("{turns}\n"));
    // So it is at a reload, and other keys of one's own are no matter.
    fs::write(&manifest.path, MANIFEST.replace("username", "userName").replace("colour", "Name"))
        .unwrap();
    server.signal(Signal::HUP);
    server.log.wait_for(&warning("ice.turn[0].userName", "ice.turn[0].username"));
    server.log.wait_for(&warning("Name", "name"));
    server.log.wait_for("Reloaded");
    assert_eq!(server.log.count(" is unknown: "), 3);
    fs::write(&manifest.path, MANIFEST).unwrap();
    assert_eq!(warned(&[("STATION_MANIFEST", path)]), "");
}

#[test]
fn a_missing_key_that_is_a_letter_off_stops_the_start_and_is_named() {
    let manifest = Manifest::new(&MANIFEST.replace("name\"", "nmae\""));
    let path = manifest.path.to_str().unwrap();
    let output = binary().env("STATION_MANIFEST", path).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let log = String::from_utf8(output.stderr).unwrap();
    let line = format!(
        "Failed to load station manifest: {path}: Missing or invalid \"name\" (must be non-empty string); \"nmae\" is there: rename it to \"name\"\n"
    );
    assert!(log.ends_with(&line) && log.lines().count() == 1, "{log}");
}

#[test]
fn a_secret_without_a_server_that_it_is_for_is_warned_of() {
    let manifest = Manifest::new(MANIFEST);
    let path = manifest.path.to_str().unwrap();
    let secret = ("TURN_SECRET", "north");
    let environment = [("STATION_MANIFEST", path), secret];
    let warning = |manifest: &str| {
        format!(
            "TURN_SECRET (from environment) is not used: {manifest} has no TURN server without a credential of its own; add one to its ice.turn ({{\"urls\": \"turn:HOST\"}}), or take TURN_SECRET out"
        )
    };
    // Each has its own, or there is none at all.
    let server = Server::start(&environment);
    server.log.wait_for(&format!("[WARN] {}", warning(path)));
    assert_eq!(warned(&environment), format!("{}\n", warning(path)));
    fs::write(&manifest.path, MANIFEST.replace(r#", "credential": "c""#, "")).unwrap();
    // It makes credentials now: for everybody, or for the invited.
    let open = "ROOM_ACCESS=open (from default): everybody who reaches this server can make rooms and gets TURN credentials; set ROOM_ACCESS=invited, and make invites with `openstudio-signaling invite`\n";
    assert_eq!(warned(&environment), open);
    assert_eq!(warned(&[environment[0], environment[1], ("ROOM_ACCESS", "invited")]), "");
    server.signal(Signal::HUP);
    server.log.wait_for("Reloaded");
    assert_eq!(server.log.count("is not used"), 1, "now it is");
    fs::write(&manifest.path, MANIFEST.replace(r#""turn""#, r#""relay""#)).unwrap();
    let server = Server::start(&environment);
    server.log.wait_for(&warning(path));
    server.signal(Signal::HUP);
    server.log.wait_for("Reloaded");
    assert_eq!(server.log.count("is not used"), 2, "at the reload, too");
    // The sample has none, which is no better.
    let server = Server::start(&[secret]);
    let sample = "the sample (there is no /etc/openstudio-signaling/station-manifest.json)";
    server.log.wait_for(&warning(sample));
    let credential = tempfile::tempdir().unwrap();
    let file = credential.path().join("turn-secret");
    fs::write(&file, "north\n").unwrap();
    let directory = credential.path().to_str().unwrap();
    let server = Server::start(&[("CREDENTIALS_DIRECTORY", directory)]);
    server.log.wait_for(&format!("TURN_SECRET (from credential {}) is not used", file.display()));
    // Nobody who has set none is told of it.
    assert_eq!(warned(&[]), "");
    assert_eq!(Server::start(&[]).log.count("is not used"), 0);
}

#[test]
fn without_one_the_sample_serves() {
    let server = Server::start(&[]);
    let line = server.log.wait_for("No station manifest at /etc/openstudio-signaling/");
    assert!(line.contains("[WARN]") && line.contains("station-manifest.sample.json"), "{line}");
    let station = get(server.port, "/api/station").body;
    assert!(station.contains(r#""stationId":"openstudio-sample""#), "{station}");
}

fn ask(server: &Server, method: &str, origin: &str) -> Answer {
    let line = format!("{method} /api/station HTTP/1.1");
    request(server.port, &[line.as_str(), "Host: localhost", &format!("Origin: {origin}")])
}

#[test]
fn pages_of_other_origins_may_ask_for_the_station() {
    let server = Server::start(&[]);
    let answer = ask(&server, "GET", "https://anywhere.example");
    assert!(answer.has("access-control-allow-origin: *") && !answer.head.contains("vary:"));
    let answer = ask(&server, "OPTIONS", "https://anywhere.example");
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert!(answer.has("access-control-allow-origin: *"));
    assert!(answer.has("access-control-allow-methods: get, options"));
    assert!(answer.has("x-content-type-options: nosniff"));
    assert_eq!(ask(&server, "POST", "https://anywhere.example").status, 404);
    assert_eq!(ask(&server, "DELETE", "https://anywhere.example").status, 404);

    let allowed = "https://studio.example.org, http://localhost:8080";
    let server = Server::start(&[("ALLOWED_ORIGINS", allowed)]);
    for method in ["GET", "OPTIONS"] {
        let answer = ask(&server, method, "http://localhost:8080");
        assert!(answer.has("access-control-allow-origin: http://localhost:8080"), "{answer:?}");
        assert!(answer.has("vary: origin"), "{answer:?}");
        let answer = ask(&server, method, "https://evil.example");
        assert!(!answer.head.contains("access-control-allow-origin"), "{answer:?}");
        assert!(answer.has("vary: origin"), "{answer:?}");
    }
    // Without an origin it is no page that asks.
    let answer = get(server.port, "/api/station");
    assert_eq!(answer.status, 200);
    assert!(!answer.head.contains("access-control-allow-origin"));
}

#[test]
fn a_reload_whose_file_hangs_keeps_nobody_waiting() {
    let manifest = Manifest::new(MANIFEST);
    let path = manifest.path.to_str().unwrap();
    let (mut server, mut clock) =
        paused::start(&[("STATION_MANIFEST", path), ("HEARTBEAT_MS", "3600000")]);
    let until = |mut done: Box<dyn FnMut() -> bool + '_>| {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE);
        }
    };
    let mut client = server.client();
    // A pipe without a writer is read for as long as a disk that has gone.
    let pipe = manifest.path.with_extension("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &manifest.path).unwrap();
    for times in 1..3 {
        server.signal(Signal::HUP);
        until(Box::new(|| {
            clock.advance(10_000);
            server.log.count("Reload failed for all parts") == times
        }));
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
    // Once there is a writer, the first read ends, and the next reload reads anew.
    let writer = fs::OpenOptions::new().write(true).open(&manifest.path).unwrap();
    fs::remove_file(&manifest.path).unwrap();
    fs::write(&manifest.path, MANIFEST.replace("north", "south")).unwrap();
    drop(writer);
    until(Box::new(|| {
        server.signal(Signal::HUP);
        clock.advance(1);
        get(server.port, "/api/station").body.contains("radio-south")
    }));
    drop(client);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}
