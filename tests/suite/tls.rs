//! TLS without a proxy, by an independent hand on rustls and by openssl's certificates.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::process::Command;

use rustix::process::Signal;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::fetch::get;
use crate::http::{carries_many_requests, large_file};
use crate::paused::{self, Clock};
use crate::process::binary;
use crate::secure::{Stream, certificate, secure};
use crate::settle::is_silent;
use crate::shown::shown;
use crate::support::{Answer, Client, Server, UPGRADE, WELCOME, connect, head};
use crate::talk::frame;

/// A folder with a certificate, its key, and a server that uses both.
pub struct Secured {
    pub dir: TempDir,
    pub server: Server,
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    dir
}

fn with_tls<'a>(
    command: &'a mut Command,
    dir: &TempDir,
    environment: &[(&str, &str)],
) -> &'a mut Command {
    command
        .envs(environment.iter().copied())
        .env("TLS_CERT", dir.path().join("cert.pem"))
        .env("TLS_KEY", dir.path().join("key.pem"))
}

impl Secured {
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let dir = folder();
        let server = Server::spawn(with_tls(binary().env("PORT", "0"), &dir, environment));
        Self { dir, server }
    }

    /// The same with a clock that stands still.
    fn start_paused(environment: &[(&str, &str)]) -> (Self, Clock) {
        let dir = folder();
        let mut program = paused::this_program();
        let (server, clock) = paused::spawn(with_tls(&mut program, &dir, environment));
        (Self { dir, server }, clock)
    }

    /// A connection that trusts just the certificate that lies in the folder now.
    fn connect(&self) -> Stream {
        self.connect_by(rustls::DEFAULT_VERSIONS)
    }

    fn connect_by(&self, versions: &[&'static SupportedProtocolVersion]) -> Stream {
        secure(connect(self.server.port), &self.dir.path().join("cert.pem"), versions)
    }

    /// A client that has had its welcome.
    fn client(&self) -> Client<Stream> {
        let mut client = Client::over(self.connect());
        assert_eq!(client.text(), WELCOME);
        client
    }

    /// The certificate that a new connection is shown.
    fn shown(&self) -> CertificateDer<'static> {
        shown(self.connect())
    }
}

#[test]
fn http_and_websockets_go_through_both_versions_of_tls() {
    let secured = Secured::start(&[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = secured.connect_by(&[version]);
        stream.write_all(&head(&["GET /health HTTP/1.1", "Host: localhost"])).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with(r#"{"status":"ok""#), "{answer:?}");
        let mut client = Client::over(secured.connect_by(&[version]));
        assert_eq!(client.text(), WELCOME);
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
        client.leave(1000);
    }
    let port = secured.server.port;
    secured
        .server
        .log
        .wait_for(&format!(" started: WebSocket wss://localhost:{port}/, health https://"));
    secured.server.log.wait_for("disconnected: 127.0.0.1 (client 1, close 1000 by client");
}

#[test]
fn one_connection_carries_many_requests_and_then_a_websocket() {
    let root = tempfile::tempdir().unwrap();
    let file = large_file(root.path());
    let secured = Secured::start(&[("WEB_ROOT", root.path().to_str().unwrap())]);
    carries_many_requests(secured.connect(), &file);
}

#[test]
fn what_comes_behind_the_handshake_in_one_record_is_heard() {
    let secured = Secured::start(&[]);
    let mut stream = secured.connect();
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    stream.write_all(&[head(UPGRADE), ping.repeat(3)].concat()).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    assert_eq!(client.text(), WELCOME);
    for _ in 0..3 {
        assert!(client.text().contains("pong"));
    }
}

#[test]
fn a_goodbye_of_tls_behind_a_message_is_heard() {
    let secured = Secured::start(&[]);
    let mut client = secured.client();
    let stream = &mut client.stream;
    stream.conn.writer().write_all(&frame(0x81, br#"{"type":"ping"}"#)).unwrap();
    stream.conn.send_close_notify();
    let mut both = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut both).unwrap();
    }
    // In one piece: TCP has nothing more to say after it.
    stream.sock.write_all(&both).unwrap();
    assert!(client.text().contains("pong"));
    assert!(client.ends());
}

#[test]
fn who_has_said_goodbye_still_gets_its_answer() {
    let secured = Secured::start(&[]);
    let get = ["GET /health HTTP/1.1", "Host: localhost"];
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = secured.connect_by(&[version]);
        stream.write_all(&head(&get)).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(Answer::read(&mut stream, true).status, 200);
        // And then the server's own goodbye: without one, this would be an error.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn messages_larger_than_a_record_and_many_in_one_read_arrive() {
    let secured = Secured::start(&[("RATE_LIMIT", "0")]);
    let [mut alice, mut bob] = [(); 2].map(|()| secured.client());
    let ids = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
    for (client, id) in [(&mut alice, ids[0]), (&mut bob, ids[1])] {
        let answer = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
        assert!(answer.contains("registered"), "{answer}");
    }
    let offer = |sdp: &str| {
        format!(r#"{{"type":"offer","from":"{}","to":"{}","sdp":"{sdp}"}}"#, ids[0], ids[1])
    };
    let large = offer(&"x".repeat(60_000));
    alice.say(&large);
    assert_eq!(bob.text(), large);
    // Far more than a turn of the server reads, in full records.
    let small: Vec<_> = (0..1000).map(|number| offer(&number.to_string())).collect();
    let frames: Vec<_> = small.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
    alice.stream.write_all(&frames).unwrap();
    for expected in &small {
        assert_eq!(&bob.text(), expected);
    }
}

#[test]
fn who_reads_late_gets_all_of_it_and_who_does_not_read_is_closed() {
    // It has 10 s to come to its close frame, which are never over.
    let (secured, _clock) =
        Secured::start_paused(&[("RATE_LIMIT", "0"), ("MAX_OUTBOX_BYTES", "2000000")]);
    let [mut host, mut late] = [(); 2].map(|()| secured.client());
    let ids = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
    for (client, id) in [(&mut host, ids[0]), (&mut late, ids[1])] {
        client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    }
    let sdp = "x".repeat(60_000);
    let offer =
        format!(r#"{{"type":"offer","from":"{}","to":"{}","sdp":"{sdp}"}}"#, ids[0], ids[1]);
    // More than the sockets on the way hold, less than may wait.
    for _ in 0..25 {
        host.say(&offer);
    }
    assert!(host.ask(r#"{"type":"ping"}"#).contains("pong"));
    for _ in 0..25 {
        assert_eq!(late.text(), offer);
    }
    for _ in 0..200 {
        host.say(&offer);
    }
    secured.server.log.wait_for("reads too slowly");
    assert_eq!(late.close_code(), Some(4102));
    assert!(host.text().contains("peer-not-connected"));
}

#[test]
fn a_drain_says_goodbye_through_tls() {
    let mut secured = Secured::start(&[]);
    let clients: Vec<_> = (0..20).map(|_| secured.client()).collect();
    secured.server.signal(Signal::TERM);
    for mut client in clients {
        let close = client.frame().unwrap();
        assert_eq!((close.opcode, &close.payload[..2]), (8, &1001_u16.to_be_bytes()[..]));
        client.send(0x88, &close.payload);
        // The end of TLS is said as well: nobody could have cut the connection short.
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(secured.server.wait().code(), Some(0));
}

#[test]
fn plain_http_is_told_what_to_use() {
    let secured = Secured::start(&[]);
    for path in ["/health", "/"] {
        let answer = get(secured.server.port, path);
        let expected = r#"{"error":"This port speaks TLS: use https:// or wss://"}"#;
        assert_eq!((answer.status, answer.body.as_str()), (400, expected));
        assert!(answer.has("x-content-type-options: nosniff"), "{answer:?}");
    }
    secured
        .server
        .log
        .wait_for("Turned 127.0.0.1 away: This port speaks TLS: use https:// or wss://; ");
    assert_eq!(secured.server.log.count("Turned 127.0.0.1 away"), 1);
}

#[test]
fn a_reload_takes_a_renewed_certificate_and_drops_nobody() {
    let secured = Secured::start(&[]);
    let before = secured.shown();
    let mut client = secured.client();
    certificate(secured.dir.path(), "cert.pem", "key.pem");
    secured.server.signal(Signal::HUP);
    secured.server.log.wait_for("Reloaded");
    let after = secured.shown();
    assert_ne!(before, after);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"), "who was there stays");

    // A pair that does not match changes nothing.
    certificate(secured.dir.path(), "other.pem", "key.pem");
    secured.server.signal(Signal::HUP);
    let line = secured
        .server
        .log
        .wait_for("Reload failed for the certificate, the old value stays in use: ");
    assert!(line.contains("Invalid setting TLS_KEY=") && line.contains("private key of"), "{line}");
    assert_eq!(secured.shown(), after);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn credentials_of_systemd_are_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "tls-cert", "tls-key");
    let directory = dir.path().to_str().unwrap();
    let server = Server::start(&[("CREDENTIALS_DIRECTORY", directory), ("TLS_CERT", "/nowhere")]);
    let stream =
        secure(connect(server.port), &dir.path().join("tls-cert"), rustls::DEFAULT_VERSIONS);
    assert_eq!(Client::over(stream).text(), WELCOME);
}

#[test]
fn turning_tls_on_or_off_takes_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    let settings = dir.path().join("settings");
    fs::write(&settings, "PORT=0\n").unwrap();
    let server = Server::spawn(binary().arg("--settings-file").arg(&settings));
    let path = dir.path().display();
    fs::write(&settings, format!("PORT=0\nTLS_CERT={path}/cert.pem\nTLS_KEY={path}/key.pem\n"))
        .unwrap();
    server.signal(Signal::HUP);
    server.log.wait_for("cert.pem needs a restart");
    assert_eq!(get(server.port, "/health").status, 200);
}

#[test]
fn a_failed_handshake_is_one_line_and_a_silent_one_none() {
    let secured = Secured::start(&[]);
    drop(connect(secured.server.port));
    for _ in 0..3 {
        let mut stream = connect(secured.server.port);
        // A handshake record with nonsense in it.
        stream.write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9]).unwrap();
        // Whether with an alert or without, it ends.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
    let line = secured.server.log.wait_for("TLS handshake with 127.0.0.1 failed: ");
    assert!(line.contains("[INFO]"), "{line}");
    secured.client();
    assert_eq!(secured.server.log.count("TLS handshake with"), 1);
}

#[test]
fn who_does_not_finish_the_handshake_is_cut_off() {
    let (secured, mut clock) = Secured::start_paused(&[]);
    let mut streams = [&[][..], &[22, 3, 1]].map(|begun| {
        let mut stream = connect(secured.server.port);
        stream.write_all(begun).unwrap();
        stream
    });
    clock.advance(9_999);
    assert!(streams.iter().all(is_silent));
    clock.advance(1);
    for stream in &mut streams {
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    assert_eq!(secured.server.log.count("TLS handshake with"), 0, "it is no failure");
}
