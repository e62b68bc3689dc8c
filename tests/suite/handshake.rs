//! From HTTP to WebSocket, by requests good and bad.

use std::io::{Read, Write};

use crate::fetch::{get, request};
use crate::paused;
use crate::settle::is_silent;
use crate::support::{Answer, Client, Server, UPGRADE, WELCOME, head};
use crate::talk::frame;

/// The good handshake with the line of one header replaced, or taken out for an empty line.
fn with<'a>(name: &str, line: &'a str) -> Vec<&'a str> {
    let changed = |old: &&'a str| if old.starts_with(name) { line } else { *old };
    let lines = UPGRADE.iter().map(changed);
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_good_handshake_on_any_path() {
    let server = Server::start(&[]);
    for line in [
        "GET / HTTP/1.1",
        "GET /ws/some%20where?a=b&c HTTP/1.1",
        "GET //x HTTP/1.1",
        "GET /health/ HTTP/1.1",
    ] {
        let mut stream = server.connect();
        stream.write_all(&head(&with("GET", line))).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, 101);
        assert!(answer.has("upgrade: websocket") && answer.has("connection: upgrade"));
        // The accept value of RFC 6455 section 1.3, in the lower case that this client reads.
        assert!(answer.has("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
        assert!(answer.has("x-content-type-options: nosniff"));
        assert!(!answer.head.contains("sec-websocket-protocol"));
        assert!(!answer.head.contains("sec-websocket-extensions"));
        assert_eq!(Client { stream }.text(), WELCOME);
    }
}

#[test]
fn header_case_and_lists_do_not_matter() {
    let server = Server::start(&[]);
    for lines in [
        with("Connection", "connection: keep-alive, UPGRADE"),
        with("Connection", "CONNECTION:\tx ,\tuPgRaDe\t, y"),
        [with("Connection", "Connection: keep-alive"), vec!["Connection: Upgrade"]].concat(),
        with("Upgrade", "UPGRADE: h2c, WebSocket"),
        [with("Upgrade:", "Upgrade: h2c"), vec!["upgrade: websocket"]].concat(),
        with("Host", "hOST: my_host:3000"),
        with("Host", "Host: [::1]:3000"),
        with("Host", "Host:"),
        with("Sec-WebSocket-Version", "sec-websocket-version:   13  "),
        with("Sec-WebSocket-Key", "SEC-WEBSOCKET-KEY:   dGhlIHNhbXBsZSBub25jZQ==  "),
        with("GET", "GET http://elsewhere.example/path HTTP/1.1"),
        [UPGRADE, &["Content-Length: 0"]].concat(),
        // Extensions are offers, and none has to be taken.
        [UPGRADE, &["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]]
            .concat(),
    ] {
        let answer = request(server.port, &lines);
        assert_eq!(answer.status, 101, "{lines:?}");
        assert!(!answer.head.contains("sec-websocket-extensions"));
    }
}

#[test]
fn the_first_subprotocol_is_selected() {
    let server = Server::start(&[]);
    for offered in [
        &["Sec-WebSocket-Protocol: studio.v1 , other"][..],
        &["Sec-WebSocket-Protocol: , studio.v1"],
        &["sec-websocket-protocol: studio.v1", "sec-websocket-protocol: other"],
        &["Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: studio.v1"],
    ] {
        let answer = request(server.port, &[UPGRADE, offered].concat());
        assert_eq!(answer.status, 101);
        assert!(answer.has("sec-websocket-protocol: studio.v1"), "{answer:?}");
    }
    let none = request(server.port, &[UPGRADE, &["Sec-WebSocket-Protocol:"]].concat());
    assert_eq!(none.status, 101);
    assert!(!none.head.contains("sec-websocket-protocol"), "{none:?}");
}

#[test]
fn bad_handshakes_are_told_why() {
    let server = Server::start(&[]);
    let and = |line| [UPGRADE, &[line]].concat();
    let version = "Unsupported Sec-WebSocket-Version (must be 13)";
    let key = "Malformed Sec-WebSocket-Key header";
    let host = "Malformed Host header";
    let body = "A WebSocket upgrade must not have a body";
    let protocol = "Malformed Sec-WebSocket-Protocol header";
    let method = "A WebSocket upgrade must be a GET request";
    let upgrade = r#"Missing \"Upgrade: websocket\" header"#;
    for (lines, status, why) in [
        (with("Sec-WebSocket-Key", ""), 400, "Missing Sec-WebSocket-Key header"),
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="), 400, key),
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key:"), 400, key),
        // Fifteen bytes and seventeen, no padding, the alphabet of base64url, a space in the middle.
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"), 400, key),
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="), 400, key),
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400, key),
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key: -_hlIHNhbXBsZSBub25jZQ=="), 400, key),
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhb BsZSBub25jZQ=="), 400, key),
        (and("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, key),
        (with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), 426, version),
        (with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8"), 426, version),
        (with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 013"), 426, version),
        (with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 14"), 426, version),
        (with("Sec-WebSocket-Version", "Sec-WebSocket-Version:"), 426, version),
        (with("Sec-WebSocket-Version", ""), 426, version),
        (and("Sec-WebSocket-Version: 8"), 426, version),
        (with("GET", "POST / HTTP/1.1"), 405, method),
        (with("GET", "get / HTTP/1.1"), 405, method),
        (with("GET", "GET / HTTP/1.0"), 400, "A WebSocket upgrade needs HTTP/1.1"),
        (
            with("Connection", "Connection: keep-alive"),
            400,
            r#"Missing \"Connection: Upgrade\" header"#,
        ),
        (with("Upgrade:", ""), 400, upgrade),
        (with("Upgrade:", "Upgrade: h2c"), 400, upgrade),
        // As nginx asks where nobody told it otherwise.
        (
            vec![
                "GET / HTTP/1.0",
                "Host: localhost",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ],
            400,
            upgrade,
        ),
        (with("Host", ""), 400, "Missing Host header"),
        (with("Host", "Host: a b"), 400, host),
        (with("Host", "Host: somebody@localhost"), 400, host),
        (and("Host: elsewhere"), 400, host),
        (and("Content-Length: 5"), 400, body),
        (and("Transfer-Encoding: chunked"), 400, body),
        (and("Sec-WebSocket-Protocol: studio v1"), 400, protocol),
        (and("Sec-WebSocket-Protocol: studio, v{1}"), 400, protocol),
    ] {
        let answer = request(server.port, &lines);
        let body = format!(r#"{{"error":"{why}"}}"#);
        assert_eq!((answer.status, answer.body), (status, body), "{lines:?}");
        assert_eq!(answer.head.contains("sec-websocket-version: 13"), status == 426);
        assert_eq!(answer.head.contains("upgrade: websocket"), status == 426);
        assert_eq!(answer.head.contains("allow: get"), status == 405);
    }
}

#[test]
fn who_is_turned_away_leaves_a_trace() {
    let server = Server::start(&[("MAX_CONNECTIONS", "1"), ("ALLOWED_ORIGINS", "https://a")]);
    let and = |line| [UPGRADE, &[line]].concat();
    let proxy = "usually a proxy in front that drops Upgrade";
    for (reason, lines, said) in [
        ("http-version", with("GET", "GET / HTTP/1.0"), proxy),
        ("no-upgrade", with("Upgrade:", ""), proxy),
        ("no-connection-upgrade", with("Connection", "Connection: close"), proxy),
        ("no-host", with("Host", ""), "does not name one host"),
        ("websocket-version", with("Sec-WebSocket-Version", ""), "mistake of the client's program"),
        ("origin", and("Origin: https://b"), "Origin not allowed: https://b from 127.0.0.1"),
    ] {
        for _ in 0..2 {
            request(server.port, &lines);
        }
        server.log.wait_for(said);
        let counted = format!(r#"openstudio_signaling_refused_total{{reason="{reason}"}} 2"#);
        let metrics = get(server.port, "/metrics").body;
        assert!(metrics.lines().any(|line| line == counted), "{counted} in {metrics}");
    }
    let line = server.log.wait_for("Turned 127.0.0.1 away: A WebSocket upgrade needs HTTP/1.1; ");
    assert!(line.contains("[INFO]"), "{line}");
    assert_eq!(server.log.count("Turned 127.0.0.1 away: "), 5, "each reason once");
    // What is no HTTP at all: for a person, hyper's 400 says nothing.
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    for (reason, bytes, said) in [
        (
            "proxy-protocol",
            &b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 3000\r\nGET / HTTP/1.1\r\n\r\n"[..],
            "send-proxy",
        ),
        ("tls-on-plain", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "https:// or wss://"),
        ("not-http", b"HELO there\r\n\r\n", "a scanner"),
        ("head-too-large", large.as_bytes(), "cookies"),
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        let line = server.log.wait_for(said);
        assert!(line.contains("Turned 127.0.0.1 away: "), "{line}");
        let counted = format!(r#"openstudio_signaling_refused_total{{reason="{reason}"}} 1"#);
        let metrics = get(server.port, "/metrics").body;
        assert!(metrics.lines().any(|line| line == counted), "{counted} in {metrics}");
    }
    let _client = server.client();
    assert_eq!(request(server.port, UPGRADE).status, 503);
    let metrics = get(server.port, "/metrics").body;
    assert!(metrics.contains(r#"refused_total{reason="full"} 1"#), "{metrics}");
}

#[test]
fn one_byte_at_a_time() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    for byte in head(UPGRADE) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    assert_eq!(client.text(), WELCOME);
    for byte in frame(0x81, br#"{"type":"ping"}"#) {
        client.stream.write_all(&[byte]).unwrap();
    }
    assert!(client.text().starts_with(r#"{"type":"pong","timestamp":"#));
}

#[test]
fn bytes_behind_the_handshake_are_not_lost() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let mut bytes = head(UPGRADE);
    bytes.extend(frame(0x81, br#"{"type":"ping"}"#));
    bytes.extend(frame(0x88, &1000_u16.to_be_bytes()));
    stream.write_all(&bytes).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    assert_eq!(client.text(), WELCOME);
    assert!(client.text().contains("pong"));
    assert_eq!(client.close_code(), Some(1000));
    assert!(client.ends());
}

#[test]
fn a_frame_may_begin_behind_the_handshake_and_end_later() {
    let server = Server::start(&[]);
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    for cut in 1..ping.len() {
        let mut stream = server.connect();
        stream.write_all(&[&head(UPGRADE), &ping[..cut]].concat()).unwrap();
        assert_eq!(Answer::read(&mut stream, true).status, 101);
        let mut client = Client { stream };
        assert_eq!(client.text(), WELCOME);
        client.stream.write_all(&ping[cut..]).unwrap();
        assert!(client.text().contains("pong"), "cut at byte {cut}");
    }
    let mut stream = server.connect();
    stream.write_all(&[head(UPGRADE), frame(0x83, b"")].concat()).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    assert_eq!(client.text(), WELCOME);
    assert_eq!(client.close_code(), Some(1002));
}

#[test]
fn who_is_refused_may_try_again_on_the_same_connection() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let version = with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8");
    stream.write_all(&head(&version)).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 426);
    // A body is read as one, and not as frames or the next request.
    let body = [UPGRADE, &["Content-Length: 5"]].concat();
    stream.write_all(&[&head(&body)[..], b"hello"].concat()).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 400);
    stream.write_all(&head(UPGRADE)).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    assert_eq!(Client { stream }.text(), WELCOME);
}

#[test]
fn a_slow_head_is_given_ten_seconds() {
    let (server, mut clock) = paused::start(&[]);
    let mut slow = server.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    let mut silent = server.connect();
    clock.advance(9_999);
    assert!(is_silent(&slow) && is_silent(&silent), "not earlier: that is the contract");
    clock.advance(1);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    silent.read_to_end(&mut rest).unwrap();
    assert!(server.log.count("connected") == 0);
}

#[test]
fn a_head_has_16_kib_at_most() {
    let server = Server::start(&[]);
    let padded = |length: usize| {
        let without = head(&["GET /health HTTP/1.1", "Host: localhost", "X-Padding: "]).len();
        let padding = format!("X-Padding: {}", "x".repeat(length - without));
        let lines = ["GET /health HTTP/1.1", "Host: localhost", &padding];
        assert_eq!(head(&lines).len(), length);
        request(server.port, &lines).status
    };
    assert_eq!(padded(16 * 1024), 200);
    assert_eq!(padded(16 * 1024 + 1), 431);
}
