//! The routes, and the headers on every answer.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;

use crate::fetch::{get, request};
use crate::support::{Answer, Client, Server, UPGRADE, WELCOME, head};

impl Answer {
    /// Whether it has this line in its head.
    pub fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

fn has_security_headers(answer: &Answer) -> bool {
    answer.has("x-content-type-options: nosniff")
        && answer.has("x-frame-options: deny")
        && answer.has("referrer-policy: strict-origin-when-cross-origin")
}

#[test]
fn health_and_readiness() {
    let server = Server::start(&[]);
    let health = get(server.port, "/health");
    assert_eq!(health.status, 200);
    assert!(health.has("content-type: application/json") && has_security_headers(&health));
    assert!(health.head.contains("process-began: 1"), "in ms since 1970: {health:?}");
    let uptime = health.body.strip_prefix(r#"{"status":"ok","uptime":"#).unwrap();
    let uptime: u64 = uptime.strip_suffix('}').unwrap().parse().unwrap();
    assert!(uptime < 60);
    let ready = get(server.port, "/ready");
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"status":"ready"}"#));
    assert!(has_security_headers(&ready));
}

#[test]
fn head_has_the_head_only() {
    let server = Server::start(&[]);
    for path in ["/health", "/ready"] {
        let mut stream = server.connect();
        let line = format!("HEAD {path} HTTP/1.1");
        stream.write_all(&head(&[line.as_str(), "Host: localhost"])).unwrap();
        let answer = Answer::read(&mut stream, false);
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-length: ") && has_security_headers(&answer));
        // The connection goes on, so no body came behind the head.
        stream.write_all(&head(&["GET /ready HTTP/1.1", "Host: localhost"])).unwrap();
        assert_eq!(Answer::read(&mut stream, true).body, r#"{"status":"ready"}"#);
    }
}

#[test]
fn one_connection_carries_many_requests_and_then_a_websocket() {
    let root = tempfile::tempdir().unwrap();
    let file = large_file(root.path());
    let server = Server::start(&[("WEB_ROOT", root.path().to_str().unwrap())]);
    carries_many_requests(server.connect(), &file);
}

/// Writes `large` in a folder, more than the sockets on the way hold: its text.
pub fn large_file(root: &Path) -> String {
    let text = "x".repeat(3_000_000);
    std::fs::write(root.join("large"), &text).unwrap();
    text
}

/// Asks for one thing after another on a connection, and then for a WebSocket.
pub fn carries_many_requests(mut stream: impl Read + Write, file: &str) {
    for path in ["/health", "/large", "/absent", "/large", "/ready"] {
        let line = format!("GET {path} HTTP/1.1");
        stream.write_all(&head(&[line.as_str(), "Host: localhost"])).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, if path == "/absent" { 404 } else { 200 });
        assert!(path != "/large" || answer.body == file, "{} bytes", answer.body.len());
    }
    assert_eq!(Client::over(stream).text(), WELCOME);
}

#[test]
fn who_says_nothing_more_still_gets_its_answer() {
    let server = Server::start(&[]);
    let get = ["GET /health HTTP/1.1", "Host: localhost"];
    for (lines, status) in [(&get[..], 200), (UPGRADE, 101)] {
        for _ in 0..10 {
            let mut stream = server.connect();
            stream.write_all(&head(lines)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(Answer::read(&mut stream, false).status, status);
            assert!(stream.read_to_end(&mut Vec::new()).is_ok(), "and then the end");
        }
    }
}

#[test]
fn every_request_names_one_host() {
    let server = Server::start(&[]);
    for path in ["/health", "/metrics", "/absent"] {
        let line = format!("GET {path} HTTP/1.1");
        for (hosts, error) in [
            (&[][..], "Missing Host header"),
            (&["Host: a", "Host: b"], "Malformed Host header"),
            (&["Host: a b"], "Malformed Host header"),
        ] {
            let answer = request(server.port, &[&[line.as_str()], hosts].concat());
            assert_eq!(answer.status, 400, "{line} {hosts:?}");
            assert_eq!(answer.body, format!(r#"{{"error":"{error}"}}"#));
            assert!(has_security_headers(&answer));
        }
    }
    // HTTP/1.0 knows no Host.
    assert_eq!(request(server.port, &["GET /health HTTP/1.0"]).status, 200);
}

#[test]
fn a_request_for_a_proxy_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    for root in ["", directory.path().to_str().unwrap()] {
        let server = Server::start(&[("WEB_ROOT", root)]);
        for line in [
            "CONNECT example.org:443 HTTP/1.1",
            "CONNECT example.org:443 HTTP/1.0",
            "GET foo HTTP/1.1",
            "GET example.org:80 HTTP/1.1",
            "HEAD [::1] HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GET http://example.org HTTP/1.1",
            "GET http://example.org/absent HTTP/1.1",
            "GET ?x HTTP/1.1",
        ] {
            let answer = request(server.port, &[line, "Host: localhost"]);
            assert!(matches!(answer.status, 400 | 404), "{line} {answer:?}");
            assert!(answer.status == 400 || has_security_headers(&answer), "{line}");
        }
        let upgrade = ["GET foo HTTP/1.1"].iter().chain(&crate::support::UPGRADE[1..]).copied();
        let upgrade: Vec<_> = upgrade.collect();
        assert_eq!(request(server.port, &upgrade).status, 404);
        assert_eq!(get(server.port, "/health").status, 200, "it is still there");
    }
}

#[test]
fn anything_else_is_not_found() {
    let server = Server::start(&[]);
    for line in [
        "GET / HTTP/1.1",
        "GET /nothing HTTP/1.1",
        "GET /health/more HTTP/1.1",
        "GET /health/ HTTP/1.1",
        "GET //ready HTTP/1.1",
        "GET /healthy?x HTTP/1.1",
        "POST /health HTTP/1.1",
        "DELETE /ready HTTP/1.1",
        "OPTIONS / HTTP/1.1",
    ] {
        let answer = request(server.port, &[line, "Host: localhost", "Content-Length: 0"]);
        let expected = (404, r#"{"error":"Not found"}"#);
        assert_eq!((answer.status, answer.body.as_str()), expected, "{line}");
        assert!(answer.has("content-type: application/json") && has_security_headers(&answer));
    }
}

#[test]
fn the_routes_are_not_open_to_upgrades() {
    let server = Server::start(&[]);
    let mut lines = crate::support::UPGRADE.to_vec();
    lines[0] = "GET /health HTTP/1.1";
    let answer = request(server.port, &lines);
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(r#"{"status":"ok""#));
    lines[0] = "POST /ready HTTP/1.1";
    assert_eq!(request(server.port, &lines).status, 404);
}

#[test]
fn the_check_page_may_do_what_it_needs_and_no_more() {
    let server = Server::start(&[]);
    let host = format!("Host: studio.example.org:{}", server.port);
    let page = request(server.port, &["GET /check HTTP/1.1", &host]);
    assert_eq!(page.status, 200);
    assert!(page.has("content-type: text/html; charset=utf-8") && has_security_headers(&page));
    assert!(page.has("cache-control: no-cache"), "{}", page.head);
    assert!(page.body.starts_with("<!doctype html>"));
    // The head is read in lower case, hashes and all.
    let policy = page.head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
    let directives: Vec<_> = policy.unwrap().split("; ").collect();
    let has = |directive: &str| directives.contains(&directive);
    for directive in
        ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    {
        assert!(has(directive), "{directive} in {directives:?}");
    }
    let host = host.strip_prefix("Host: ").unwrap();
    assert!(has(&format!("connect-src 'self' ws://{host} wss://{host}")), "{directives:?}");
    for inline in ["script-src 'sha256-", "style-src 'sha256-"] {
        assert!(directives.iter().any(|directive| directive.starts_with(inline)), "{directives:?}");
    }
    assert!(!policy.unwrap().contains("unsafe"), "{directives:?}");
    assert!(page.head.contains("\r\npermissions-policy: camera=(), "), "{}", page.head);

    // Nobody gets a directive of his own in by the name of the host.
    let forged = request(server.port, &["GET /check HTTP/1.1", "Host: a;script-src *"]);
    assert!(!forged.head.contains("script-src *"), "{}", forged.head);
    assert_eq!(request(server.port, &["GET /check HTTP/1.0"]).status, 200, "HTTP/1.0 has no Host");
    assert_eq!(request(server.port, &["HEAD /check HTTP/1.1", "Host: localhost"]).status, 200);
    assert_eq!(request(server.port, &["POST /check HTTP/1.1", "Host: localhost"]).status, 404);
    assert_eq!(get(server.port, "/check/").status, 404);
    // It is a route, so no WebSocket.
    let mut upgrade = crate::support::UPGRADE.to_vec();
    upgrade[0] = "GET /check HTTP/1.1";
    assert_eq!(request(server.port, &upgrade).status, 200);
}

#[test]
fn without_the_check_page_its_path_is_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    std::fs::write(directory.path().join("check"), "the studio's own").unwrap();
    let server = Server::start(&[("WEB_ROOT", root)]);
    assert!(get(server.port, "/check").body.starts_with("<!doctype html>"), "it goes first");
    let server = Server::start(&[("WEB_ROOT", root), ("CHECK_PAGE", "off")]);
    assert_eq!(get(server.port, "/check").body, "the studio's own");
    let server = Server::start(&[("CHECK_PAGE", "off")]);
    server.log.wait_for(", check page off");
    let answer = get(server.port, "/check");
    assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"error":"Not found"}"#));
    let mut upgrade = crate::support::UPGRADE.to_vec();
    upgrade[0] = "GET /check HTTP/1.1";
    assert_eq!(request(server.port, &upgrade).status, 101);
}

#[test]
fn what_is_true_now_only_is_not_kept_by_a_cache() {
    let server = Server::start(&[]);
    for path in ["/health", "/ready", "/metrics", "/api/station", "/absent"] {
        for method in ["GET", "HEAD"] {
            let mut stream = server.connect();
            stream.write_all(&head(&[&format!("{method} {path} HTTP/1.1"), "Host: a"])).unwrap();
            let answer = Answer::read(&mut stream, method == "GET");
            assert!(answer.has("cache-control: no-store"), "{method} {path} {answer:?}");
        }
    }
    let refused = request(server.port, &["GET / HTTP/1.1", "Host: a", "Upgrade: websocket"]);
    assert!(refused.has("cache-control: no-store"), "{refused:?}");
}

#[test]
fn a_query_does_not_matter() {
    let server = Server::start(&[]);
    assert_eq!(get(server.port, "/health?from=monitor").status, 200);
}

#[test]
fn both_families_reach_the_default_address() {
    let server = Server::start(&[]);
    std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    std::net::TcpStream::connect(("::1", server.port)).unwrap();
}
