//! The routes, and the headers on every answer.

use std::io::Write;

use crate::support::{Answer, Server, get, head, request};

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
