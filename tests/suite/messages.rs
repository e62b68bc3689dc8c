//! What a client says and what it hears, to the letter.

use crate::paused;
use crate::support::Server;

fn error(message: &str, code: &str) -> String {
    let message = message.replace('"', "\\\"");
    format!(r#"{{"type":"error","message":"{message}","code":"{code}"}}"#)
}

#[test]
fn ping_is_answered_with_the_time() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let before = now();
    let pong = client.ask(r#"{"type":"ping"}"#);
    let timestamp = pong.strip_prefix(r#"{"type":"pong","timestamp":"#).unwrap();
    let timestamp: u128 = timestamp.strip_suffix('}').unwrap().parse().unwrap();
    assert!((before..=now()).contains(&timestamp), "{pong}");
}

#[test]
fn errors_leave_the_socket_open() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let not_object = "Invalid message: Message must be a valid JSON object";
    let no_type = r#"Invalid message: Missing or invalid "type" field (must be non-empty string)"#;
    for (text, message, code) in [
        ("hello", "Invalid JSON", "invalid-json"),
        ("", "Invalid JSON", "invalid-json"),
        ("\u{feff}{}", "Invalid JSON", "invalid-json"),
        ("{} x", "Invalid JSON", "invalid-json"),
        ("null", not_object, "invalid-message"),
        ("[1]", not_object, "invalid-message"),
        ("7", not_object, "invalid-message"),
        ("{}", no_type, "invalid-message"),
        (r#"{"type":""}"#, no_type, "invalid-message"),
        (r#"{"type":7}"#, no_type, "invalid-message"),
        (r#"{"type":"fly"}"#, "Unknown message type: fly", "unknown-type"),
        (
            r#"{"type":"ping","type":"ping"}"#,
            r#"Invalid message: Duplicate "type" field"#,
            "invalid-message",
        ),
    ] {
        assert_eq!(client.ask(text), error(message, code), "{text:?}");
    }
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn replies_carry_the_request_id() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let pong = client.ask(r#"{"type":"ping","requestId":"a-7"}"#);
    assert!(pong.ends_with(r#","requestId":"a-7"}"#), "{pong}");
    assert_eq!(
        client.ask(r#"{"requestId":"ü","type":"fly"}"#),
        r#"{"type":"error","message":"Unknown message type: fly","code":"unknown-type","requestId":"ü"}"#
    );
    let long = format!(r#"{{"type":"ping","requestId":"{}"}}"#, "x".repeat(65));
    let why = r#"Invalid message: Field "requestId" must be a string of at most 64 characters"#;
    assert_eq!(client.ask(&long), error(why, "invalid-message"));
}

#[test]
fn binary_frames_hold_json_as_well() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send(0x82, br#"{"type":"ping"}"#);
    assert!(client.text().contains("pong"));
    client.send(0x82, b"{\"type\":\"ping\",\"x\":\"\xFF\"}");
    assert_eq!(client.text(), error("Invalid JSON", "invalid-json"));
    client.send(0x82, b"");
    assert_eq!(client.text(), error("Invalid JSON", "invalid-json"));
}

#[test]
fn a_hundred_messages_in_ten_seconds() {
    let (server, mut clock) = paused::start(&[]);
    let mut client = server.client();
    for _ in 0..100 {
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
    let limit = error("Rate limit exceeded", "rate-limit-exceeded");
    assert_eq!(client.ask(r#"{"type":"ping"}"#), limit);
    // The order of the checks: what is no JSON is said first, what is no object later.
    assert_eq!(client.ask("x"), error("Invalid JSON", "invalid-json"));
    assert_eq!(client.ask("null"), limit);
    // Somebody else is not concerned.
    assert!(server.client().ask(r#"{"type":"ping"}"#).contains("pong"));
    server.log.wait_for("Rate limit hit by client 1, 127.0.0.1: more than 100 messages in 10 s");
    clock.advance(9_999);
    assert_eq!(client.ask(r#"{"type":"ping"}"#), limit);
    clock.advance(1);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn no_rate_limit_where_it_is_0() {
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let mut client = server.client();
    for _ in 0..300 {
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
}

#[test]
fn an_independent_client_agrees() {
    let server = Server::start(&[]);
    let url = format!("ws://127.0.0.1:{}/any?where", server.port);
    let (mut socket, answer) = tungstenite::client(url, server.connect()).unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(socket.read().unwrap().into_text().unwrap(), crate::support::WELCOME);
    socket.send(r#"{"type":"ping"}"#.into()).unwrap();
    assert!(socket.read().unwrap().into_text().unwrap().contains("pong"));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    server.log.wait_for("by client");
}
