//! The server behind the reverse proxies that packaging/ has configurations for, with TLS in front.
//!
//! Owns what an operator may expect of each. It deliberately does not know how a proxy is started.

mod running;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::fetch::{get, request};
use crate::identity::COOKIE;
use crate::support::{Answer, PATIENCE, Server, UPGRADE, WELCOME, head};
use running::{Kind, NAME, Proxy};

/// An address that is nobody's here (RFC 5737), and the ways in which a client may claim that it has it.
const FORGED: &str = "203.0.113.9";
const FORGERIES: &[&[&str]] = &[
    &["X-Forwarded-For: 203.0.113.9"],
    &["x-forwarded-for: 203.0.113.9", "X-Forwarded-For: 203.0.113.9, 127.0.0.1"],
    // A proxy that takes this at its word takes away what it has itself written down.
    &["X-Forwarded-For: 203.0.113.9", "Connection: X-Forwarded-For"],
];

/// The idle timeout of the shipped files, and one that a test can outlive.
const SHIPPED: &str = "60s";
const SHORT: &str = "5s";
const SHORT_TIME: Duration = Duration::from_secs(5);
const HEARTBEAT_MS: &str = "2000";

macro_rules! behind {
    ($($name:ident: $kind:expr,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn the_proxy_accepts_its_configuration() {
                accepts_its_configuration($kind);
            }

            #[test]
            fn clients_are_known_by_their_own_addresses() {
                know_clients_by_their_own_addresses($kind);
            }

            #[test]
            fn a_browser_has_its_cookie() {
                pass_the_cookie_on($kind);
            }

            #[test]
            fn an_idle_client_stays() {
                keep_an_idle_client($kind);
            }

            #[test]
            fn only_https_and_no_metrics() {
                serve_only_https_and_no_metrics($kind);
            }
        }
    )*};
}

behind! {
    nginx: Kind::Nginx,
    haproxy: Kind::Haproxy,
    caddy: Kind::Caddy,
}

/// The setting that the shipped file asks for.
fn trusted(kind: Kind) -> String {
    let shipped = kind.shipped();
    let setting = shipped.lines().find_map(|line| line.split_once("TRUSTED_PROXIES="));
    setting.expect("the file says whom the server has to trust").1.to_owned()
}

fn accepts_its_configuration(kind: Kind) {
    let (accepted, said) = kind.check();
    assert!(accepted, "{said}");
    assert!(!said.to_lowercase().contains("warn"), "{said}");
}

fn know_clients_by_their_own_addresses(kind: Kind) {
    let trusted = trusted(kind);
    let server = Server::start(&[("TRUSTED_PROXIES", &trusted), ("MAX_CONNECTIONS_PER_IP", "1")]);
    let proxy = Proxy::start(kind, server.port, SHIPPED);
    let mut first = proxy.open("127.0.0.7", &[]);
    assert_eq!(first.client.text(), WELCOME);
    assert!(first.client.ask(r#"{"type":"ping"}"#).starts_with(r#"{"type":"pong""#));
    server.log.wait_for("WebSocket client connected: 127.0.0.7");
    for claim in FORGERIES {
        let refused = proxy.open("127.0.0.7", claim).client.frame().unwrap();
        let close = [&4008_u16.to_be_bytes(), &b"Too many connections"[..]].concat();
        assert_eq!((refused.opcode, refused.payload), (8, close), "{claim:?}");
    }
    for (claim, address) in FORGERIES.iter().zip(["127.0.0.8", "127.0.0.9", "127.0.0.10"]) {
        let mut other = proxy.open(address, claim);
        assert_eq!(other.client.text(), WELCOME);
        server.log.wait_for(&format!("WebSocket client connected: {address}"));
    }
    assert_eq!(server.log.count(FORGED), 0);
    assert_eq!(server.log.count("WebSocket client connected: "), 4);
}

/// The page's own origin, its cookie, and that it came by TLS: the server sees all three.
fn pass_the_cookie_on(kind: Kind) {
    let server = Server::start(&[("TRUSTED_PROXIES", &trusted(kind))]);
    let proxy = Proxy::start(kind, server.port, SHIPPED);
    let port = proxy.https_port();
    let name = "__host-openstudio-id";
    let lines = [
        &format!("Host: {NAME}:{port}"),
        &format!("Origin: https://{NAME}:{port}"),
        &format!("Cookie: __Host-openstudio-id={COOKIE}"),
        "X-Forwarded-Proto: http",
    ];
    let rest = UPGRADE.iter().copied().filter(|line| !line.starts_with("Host: "));
    let (answer, _tunnel) = proxy.ask("127.0.0.7", &rest.chain(lines).collect::<Vec<_>>());
    let cookie = format!(
        "set-cookie: {name}={COOKIE}; httponly; samesite=strict; path=/; max-age=86400; secure"
    );
    assert!(answer.has(&cookie), "{kind:?}: {answer:?}");
}

fn keep_an_idle_client(kind: Kind) {
    let server =
        Server::start(&[("TRUSTED_PROXIES", &trusted(kind)), ("HEARTBEAT_MS", HEARTBEAT_MS)]);
    let proxy = Proxy::start(kind, server.port, SHORT);
    let mut idle = proxy.open("127.0.0.7", &[]);
    assert_eq!(idle.client.text(), WELCOME);
    // Each heartbeat is younger than the one before the last was when it arrived here.
    let mut heard = [Instant::now(); 2];
    // Together they last more than twice SHORT.
    for _ in 0..6 {
        let Some(ping) = idle.client.frame() else {
            // The machine may have been so busy that the connection was idle for as long as it may be.
            let since = heard[0].elapsed();
            assert!(since >= SHORT_TIME, "{kind:?} cuts within {since:?} of a heartbeat");
            return;
        };
        assert_eq!(ping.opcode, 9, "{ping:?}");
        heard = [heard[1], Instant::now()];
        idle.client.send(0x8A, &ping.payload);
    }
    idle.client.say(r#"{"type":"ping"}"#);
    let answer = std::iter::from_fn(|| idle.client.frame()).find(|frame| frame.opcode != 9);
    assert!(answer.unwrap().payload.starts_with(br#"{"type":"pong""#));
}

/// The two that have an idle timeout cut a client without heartbeats: the heartbeats are what keeps it. (Caddy
/// has none.)
#[test]
fn a_client_without_heartbeats_is_cut() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let server = Server::start(&[("HEARTBEAT_MS", "3600000")]);
        let proxy = Proxy::start(kind, server.port, SHORT);
        // The proxy does not begin to count before this.
        let start = Instant::now();
        let mut silent = proxy.open("127.0.0.7", &[]);
        assert_eq!(silent.client.text(), WELCOME);
        assert!(silent.client.ends());
        assert!(start.elapsed() >= SHORT_TIME, "{kind:?}: {:?}", start.elapsed());
        server.log.wait_for("WebSocket client disconnected: 127.0.0.1");
    }
}

fn serve_only_https_and_no_metrics(kind: Kind) {
    let server = Server::start(&[("TRUSTED_PROXIES", &trusted(kind))]);
    let proxy = Proxy::start(kind, server.port, SHIPPED);
    let host = format!("Host: {NAME}");

    let answer = request(proxy.http_port(), &["GET /show?live HTTP/1.1", &host]);
    assert!([301, 308].contains(&answer.status), "{answer:?}");
    let location = answer.head.lines().find_map(|line| line.strip_prefix("location: https://"));
    let (authority, target) = location.unwrap().split_once('/').unwrap();
    assert_eq!((authority.split(':').next(), target), (Some(NAME), "show?live"));

    let ask = |target: &str| {
        let line = format!("GET {target} HTTP/1.1");
        proxy.ask("127.0.0.7", &[&line, &host, "Connection: close"]).0
    };
    let health = ask("/health");
    assert!(health.status == 200 && health.body.starts_with(r#"{"status":"ok""#), "{health:?}");
    assert_eq!(get(server.port, "/metrics").status, 200, "what the proxy must not pass on");
    let absolute = format!("http://{NAME}/metrics");
    for target in ["/metrics", "/metrics?a", "/metrics#a", "/%6Detrics", "/./metrics", &absolute] {
        let answer = ask(target);
        assert!([400, 404].contains(&answer.status), "{target}: {answer:?}");
    }
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    let claim = [UPGRADE, FORGERIES[0]].concat();
    let connected = |trusted: &str, source: &str, known_as: &str| {
        let server = Server::start(&[("TRUSTED_PROXIES", trusted)]);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], server.port)).into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&head(&claim)).unwrap();
        assert_eq!(Answer::read(&mut stream, true).status, 101);
        server.log.wait_for(&format!("WebSocket client connected: {known_as}"));
    };
    connected("", "127.0.0.1", "127.0.0.1");
    connected("127.0.0.1,::1", "127.0.0.7", "127.0.0.7");
    connected("127.0.0.1,::1", "127.0.0.1", FORGED);
}
