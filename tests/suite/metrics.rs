//! What Prometheus is told: a form that its own tool accepts, and numbers that are what happened.
//!
//! Deliberately knows no dashboard.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use openstudio_signaling::telemetry::metrics::CONTENT_TYPE;

use crate::fetch::{get, request};
use crate::paused;
use crate::support::{Client, PATIENCE, Server, UPGRADE};

const A: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
const C: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4cc";
const PREFIX: &str = "openstudio_signaling_";

fn scrape(server: &Server) -> String {
    let answer = get(server.port, "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.has(&format!("content-type: {CONTENT_TYPE}")), "{}", answer.head);
    answer.body
}

/// Every series of a scrape, without the prefix that all have.
fn series(text: &str) -> BTreeMap<&str, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut all = BTreeMap::new();
    for line in samples {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.strip_prefix(PREFIX).unwrap_or_else(|| panic!("{line}"));
        assert!(all.insert(name, value.parse().unwrap()).is_none(), "{name} twice");
    }
    all
}

/// The value of a series now.
pub fn metric(server: &Server, name: &str) -> f64 {
    series(&scrape(server))[name]
}

/// Asks until a gauge has a value: a client that left has its place a moment longer than its goodbye.
fn scrape_with(server: &Server, gauge: &str, value: f64) -> String {
    let start = Instant::now();
    loop {
        let text = scrape(server);
        if series(&text)[gauge] == value {
            return text;
        }
        assert!(start.elapsed() < PATIENCE, "no {gauge} {value} in {text}");
    }
}

/// Runs promtool to success, and gives what it said.
pub fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}; tests/run installs what is needed"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said.into_owned()
}

fn register(client: &mut Client, id: &str) {
    let registered = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    assert!(registered.contains(r#""type":"registered""#), "{registered}");
}

fn offer(from: &str, to: &str) -> String {
    format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"v=0"}}"#)
}

#[test]
fn the_numbers_are_what_happened() {
    let unix = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let before = unix();
    let start = Instant::now();
    let server = Server::start(&[]);
    let (mut a, mut b, mut guest) = (server.client(), server.client(), server.client());
    register(&mut a, A);
    register(&mut b, B);
    a.say(&offer(A, B));
    assert_eq!(b.text(), offer(A, B));
    assert!(a.ask(&offer(A, C)).contains("peer-not-connected"));
    assert!(b.ask(r#"{"type":"create-room"}"#).contains("room-created"));
    assert!(a.ask(&offer(A, B)).contains("different-room"));
    assert!(a.ask("not JSON").contains("invalid-json"));
    assert!(a.ask(r#"{"type":"answer"}"#).contains("invalid-message"));
    assert!(guest.ask(r#"{"type":"ice-candidate"}"#).contains("not-registered"));
    guest.leave(1000);
    server.log.wait_for("close 1000 by client");
    // What was said before this has been counted.
    assert!(a.ask(r#"{"type":"ping"}"#).contains("pong"));
    let text = scrape_with(&server, "clients", 2.0);
    assert_eq!(promtool(&["check", "metrics"], &text), "", "it is silent where nothing is wrong");

    let all = series(&text);
    let counted = all.iter().filter(|(name, value)| name.contains("_total") && **value != 0.0);
    let counted: BTreeMap<_, _> = counted.map(|(name, value)| (*name, *value)).collect();
    let expected = [
        (r#"messages_total{direction="received",type="register"}"#, 2.0),
        (r#"messages_total{direction="received",type="offer"}"#, 3.0),
        (r#"messages_total{direction="received",type="answer"}"#, 1.0),
        (r#"messages_total{direction="received",type="ice-candidate"}"#, 1.0),
        (r#"messages_total{direction="received",type="create-room"}"#, 1.0),
        (r#"messages_total{direction="received",type="ping"}"#, 1.0),
        (r#"messages_total{direction="received",type="other"}"#, 1.0),
        (r#"messages_total{direction="sent",type="welcome"}"#, 3.0),
        (r#"messages_total{direction="sent",type="registered"}"#, 2.0),
        (r#"messages_total{direction="sent",type="offer"}"#, 1.0),
        (r#"messages_total{direction="sent",type="room-created"}"#, 1.0),
        (r#"messages_total{direction="sent",type="pong"}"#, 1.0),
        (r#"messages_total{direction="sent",type="error"}"#, 5.0),
        (r#"relays_total{outcome="delivered"}"#, 1.0),
        (r#"relays_total{outcome="not-connected"}"#, 1.0),
        (r#"relays_total{outcome="different-room"}"#, 1.0),
        (r#"relays_total{outcome="refused"}"#, 2.0),
        (r#"errors_total{code="peer-not-connected"}"#, 1.0),
        (r#"errors_total{code="different-room"}"#, 1.0),
        (r#"errors_total{code="invalid-json"}"#, 1.0),
        (r#"errors_total{code="invalid-message"}"#, 1.0),
        (r#"errors_total{code="not-registered"}"#, 1.0),
        (r#"closes_total{code="1000"}"#, 1.0),
    ];
    assert_eq!(counted, BTreeMap::from(expected), "every other counter is 0");
    assert_eq!((all["peers"], all["rooms"], all["outbox_bytes"]), (2.0, 1.0, 0.0));
    assert_eq!(all["registration_seconds_count"], 2.0);
    let registration = all["registration_seconds_sum"];
    assert!(registration > 0.0 && registration < 2.0 * start.elapsed().as_secs_f64());
    assert_eq!(all["heartbeat_round_trip_seconds_count"], 0.0);
    assert_eq!(all[concat!(r#"build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#)], 1.0);
    let started = all["start_time_seconds"];
    assert!(before <= started && started <= unix(), "{started}");

    drop(b);
    a.leave(1000);
    let text = scrape_with(&server, "clients", 0.0);
    let all = series(&text);
    assert_eq!((all["peers"], all["rooms"], all["seats_kept"]), (0.0, 1.0, 1.0));
    assert_eq!(all["roles_reserved"], 1.0, "B made the room");
    assert_eq!(all[r#"closes_total{code="1000"}"#], 2.0);
    assert_eq!(all[r#"closes_total{code="1006"}"#], 1.0, "B broke off");
}

#[test]
fn metrics_are_for_those_whom_the_setting_names() {
    let ask = |server: &Server, method: &str, more: &[&str]| {
        let line = format!("{method} /metrics HTTP/1.1");
        request(server.port, &[&[line.as_str(), "Host: localhost"], more].concat())
    };
    let not_found = (404, r#"{"error":"Not found"}"#);
    // This machine may see them; who comes through a proxy that nobody named may not.
    let server = Server::start(&[]);
    assert!(ask(&server, "GET", &[]).body.contains("openstudio_signaling_clients 0"));
    assert_eq!(ask(&server, "HEAD", &[]).status, 200);
    assert_eq!(ask(&server, "POST", &[]).status, 404);
    for header in [
        "X-Forwarded-For: 192.0.2.7",
        "Forwarded: for=127.0.0.1",
        "X-Real-IP: 192.0.2.7",
        "Via: 1.1 a",
    ] {
        let answer = ask(&server, "GET", &[header]);
        assert_eq!((answer.status, answer.body.as_str()), not_found, "{header}");
    }
    let line = server.log.wait_for("127.0.0.1 requested /metrics without permission: HTTP 404");
    assert!(
        line.contains("[WARN]")
            && line.contains("name the proxy in front of it in TRUSTED_PROXIES"),
        "{line}"
    );
    assert_eq!(server.log.count("requested /metrics"), 1, "an address is told of once");
    assert!(get(server.port, "/metrics").body.contains(r#"refused_total{reason="metrics"} 4"#));

    // A trusted proxy itself may see them, those behind it may not.
    let server = Server::start(&[("TRUSTED_PROXIES", "127.0.0.1")]);
    assert_eq!(ask(&server, "GET", &[]).status, 200);
    for method in ["GET", "HEAD"] {
        assert_eq!(ask(&server, method, &["X-Forwarded-For: 192.0.2.7"]).status, 404);
    }
    // One that does not say for whom it asks, in words that count, is not itself.
    for header in ["X-Forwarded-For: unknown", "X-Forwarded-For: unix:", "Forwarded: for=192.0.2.7"]
    {
        assert_eq!(ask(&server, "GET", &[header]).status, 404, "{header}");
    }
    assert_eq!(ask(&server, "GET", &["X-Forwarded-For: ::ffff:192.0.2.7"]).status, 404);
    let line = server.log.wait_for("192.0.2.7 requested /metrics without permission");
    assert!(line.contains("name its network in METRICS"), "{line}");

    let server = Server::start(&[("TRUSTED_PROXIES", "127.0.0.1"), ("METRICS", "192.0.2.0/24")]);
    assert_eq!(ask(&server, "GET", &[]).status, 404);
    assert_eq!(ask(&server, "GET", &["X-Forwarded-For: 192.0.2.7"]).status, 200);
    assert_eq!(ask(&server, "GET", &["X-Forwarded-For: 192.0.3.7"]).status, 404);

    let server = Server::start(&[("METRICS", "on")]);
    assert_eq!(ask(&server, "GET", &["X-Forwarded-For: 192.0.2.7"]).status, 200);

    let server = Server::start(&[("METRICS", "off")]);
    assert_eq!(ask(&server, "GET", &[]).status, 404);
    server.log.wait_for("set METRICS to its network, instead of off");
    let upgrade = [&["GET /metrics HTTP/1.1"], &UPGRADE[1..]].concat();
    assert_eq!(request(server.port, &upgrade).status, 404, "a route is a route");
}

#[test]
fn each_answered_heartbeat_is_measured() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "1000")]);
    let mut client = server.client();
    for milliseconds in [5, 30, 250] {
        clock.advance(1_000);
        assert_eq!(client.frame().unwrap().opcode, 9);
        clock.advance(milliseconds);
        client.send(0x8A, b"");
    }
    // The next one comes when the last answer has been counted, and has no answer.
    clock.advance(1_000);
    assert_eq!(client.frame().unwrap().opcode, 9);
    let text = scrape(&server);
    let all = series(&text);
    assert_eq!(all["heartbeat_round_trip_seconds_count"], 3.0);
    assert_eq!(all[r#"heartbeat_round_trip_seconds_bucket{le="+Inf"}"#], 3.0);
    assert!((all["heartbeat_round_trip_seconds_sum"] - 0.285).abs() < 1e-9, "{text}");
}

#[test]
fn clients_make_no_new_series() {
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let names = |text: &str| series(text).into_keys().map(str::to_owned).collect::<Vec<_>>();
    let before = names(&scrape(&server));
    let mut client = server.client();
    for number in 0..1_000 {
        let error = client.ask(&format!(r#"{{"type":"kind-{number}"}}"#));
        assert!(error.contains("unknown-type"), "{error}");
    }
    for code in 3_000..4_000_u16 {
        server.client().leave(code);
    }
    let text = scrape_with(&server, "clients", 1.0);
    let all = series(&text);
    assert_eq!(all[r#"messages_total{direction="received",type="other"}"#], 1_000.0);
    assert_eq!(all[r#"errors_total{code="unknown-type"}"#], 1_000.0);
    assert_eq!(all[r#"closes_total{code="other"}"#], 1_000.0);
    assert_eq!(names(&text), before);
}

#[test]
fn every_error_that_is_sent_is_counted_by_its_code() {
    let server = Server::start(&[]);
    let (mut holder, mut other) = (server.client(), server.client());
    register(&mut holder, A);
    // Who has the id is asked for a sign of life, and gives it; the error comes after that.
    other.say(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    assert_eq!(holder.frame().unwrap().opcode, 9);
    holder.send(0x8A, b"");
    assert!(other.text().contains("already-registered"));
    assert!(other.ask(r#"{"type":"ping"}"#).contains("pong"));
    let text = scrape(&server);
    let all = series(&text);
    assert_eq!(all[r#"messages_total{direction="sent",type="error"}"#], 1.0);
    assert_eq!(all[r#"errors_total{code="already-registered"}"#], 1.0);
}
