//! What a person reads on the terminal, and that the log never holds anybody up.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::pipe::PipeFlags;

use crate::fetch::request;
use crate::peers::{A, peer};
use crate::process::binary;
use crate::support::{Log, Server, UPGRADE};

#[test]
fn the_story_of_a_client() {
    let server = Server::start(&[]);
    let port = server.port;
    server.log.wait_for(&format!("[INFO] Listening on [::]:{port} (bound by this process)"));
    server.log.wait_for(&format!(
        "started: WebSocket ws://localhost:{port}/, health http://localhost:{port}/health, readiness http://localhost:{port}/ready, check page http://localhost:{port}/check"
    ));
    let mut client = server.client();
    client.ask(r#"{"type":"ping"}"#);
    client.ask(r#"{"type":"ping"}"#);
    client.ask("{\"type\":\"f\\u001bly\"}");
    client.ask(r#"{"type":"flee"}"#);
    client.leave(1000);
    server.log.wait_for("[INFO] WebSocket client connected: 127.0.0.1");
    server.log.wait_for("[INFO] Received message: ping");
    server.log.wait_for("[INFO] Rejected message: Unknown message type: fly");
    let line = server.log.wait_for("[INFO] WebSocket client disconnected: 127.0.0.1");
    let time = line.strip_prefix('[').unwrap().split(']').next().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert_eq!(server.log.count("Received message: ping"), 1, "further ones are debug");
    assert_eq!(server.log.count("Rejected message"), 1, "further ones are debug");
}

#[test]
fn debug_has_every_message_and_error_next_to_none() {
    let server = Server::start(&[("LOG_LEVEL", "debug")]);
    let mut client = server.client();
    for _ in 0..3 {
        client.ask(r#"{"type":"ping"}"#);
        client.ask("x");
    }
    client.leave(1000);
    server.log.wait_for("disconnected");
    assert_eq!(server.log.count("Received message: ping"), 3);
    assert_eq!(server.log.count("[DEBUG] Received message: ping"), 2);
    assert_eq!(server.log.count("Rejected message: Invalid JSON"), 3);
}

/// A server that does not say its port; `None` where somebody else took the port before it.
fn start_quietly(command: &mut Command) -> Option<(Child, u16)> {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let notifications = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    notifications.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
    let command = command.env("PORT", port.to_string()).env("NOTIFY_SOCKET", &path);
    let mut child = command.spawn().unwrap();
    // Not by trying to connect: as long as nobody listens, a connection can come out at its own other end,
    // and the port is taken then.
    loop {
        let mut text = [0; 256];
        match notifications.recv(&mut text) {
            Ok(length) if text[..length].starts_with(b"READY=1") => return Some((child, port)),
            _ if child.try_wait().unwrap().is_some() => return None,
            _ => {}
        }
    }
}

#[test]
fn error_has_nothing_of_the_usual_course() {
    let (child, port) = (0..20)
        .find_map(|_| start_quietly(binary().env("LOG_LEVEL", "error").stderr(Stdio::piped())))
        .unwrap();
    let mut client = crate::support::Client::open(port);
    client.text();
    client.ask("no JSON");
    client.leave(1000);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_reader_that_stops_holds_nobody_up_and_is_told_what_it_missed() {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut command = binary();
    command.envs([("LOG_LEVEL", "debug"), ("RATE_LIMIT", "0")]).stderr(Stdio::from(writer));
    let (mut child, port) = (0..20).find_map(|_| start_quietly(&mut command)).unwrap();
    drop(command);
    // Nobody reads the pipe: it takes 64 KiB, the queue 4096 events and the writer as many.
    let mut client = crate::support::Client::open(port);
    client.text();
    for _ in 0..12_000 {
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
    let log = Log::follow(File::from(reader));
    let line = log.wait_for("log events were dropped");
    assert!(line.contains("[WARN] "), "{line}");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    client.close_code();
    client.leave(1001);
    assert!(child.wait().unwrap().success());
    log.wait_for("Stopped cleanly");
}

#[test]
fn what_one_address_repeats_is_logged_once_with_the_count_of_the_rest() {
    let mut server = Server::start(&[
        ("ALLOWED_ORIGINS", "https://studio.example.org"),
        ("RATE_LIMIT", "0"),
        ("MAX_CONNECTIONS_PER_IP", "0"),
    ]);
    let elsewhere: Vec<_> = UPGRADE.iter().copied().chain(["Origin: https://elsewhere"]).collect();
    for _ in 0..50 {
        assert_eq!(request(server.port, &elsewhere).status, 403);
    }
    let mut client = peer(&server, A);
    for _ in 0..500 {
        assert!(client.ask(r#"{"type":"create-room"}"#).contains("room-created"));
        assert!(client.ask(r#"{"type":"leave-room"}"#).contains("room-left"));
    }
    client.leave(1000);
    for _ in 0..30 {
        server.client().leave(1000);
    }
    // At the end, what has not been said is said.
    assert_eq!(server.stop(), Some(0));
    server.log.wait_for("Stopped cleanly");
    for (text, logged, counted) in [
        ("Origin not allowed: ", 1, Some(49)),
        ("Room entered: ", 1, Some(499)),
        ("Room left: ", 1, Some(499)),
        ("WebSocket client connected: ", 20, Some(11)),
        ("WebSocket client disconnected: ", 20, Some(11)),
        ("Peer registered: ", 1, None),
    ] {
        let counts = counted.map(|count| {
            let start =
                format!("{count} more within 60 s by 127.0.0.1, not logged one by one: {text}");
            server.log.wait_for(&start);
        });
        let lines = logged + usize::from(counts.is_some());
        assert_eq!(server.log.count(text), lines, "{text}");
    }
}
