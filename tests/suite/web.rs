//! The web studio's files, and which pages may connect.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::fetch::{get, request};
use crate::process::binary;
use crate::support::{Answer, Server, UPGRADE, head};

/// A web studio with things around it that nobody may see.
fn studio() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("web");
    for path in ["web/js", "web/.git", "web/empty", "web/outside.d"] {
        fs::create_dir_all(directory.path().join(path)).unwrap();
    }
    for (path, text) in [
        ("web/index.html", "<!doctype html>the studio"),
        ("web/js/main.js", "export const x = 1;"),
        ("web/js/index.html", "a page below"),
        ("web/with space ü.txt", "a name"),
        ("web/.env", "secret"),
        ("web/.git/config", "secret"),
        ("web2.txt", "secret"),
        ("secret.txt", "secret"),
    ] {
        fs::write(directory.path().join(path), text).unwrap();
    }
    let link = |from: &str, to: &str| symlink(from, root.join(to)).unwrap();
    link("../secret.txt", "link.txt");
    link("/etc", "etc");
    link("../../secret.txt", "outside.d/index.html");
    link(".env", "env.txt");
    link("js/main.js", "inside.js");
    directory
}

fn serve(directory: &Path) -> Server {
    Server::start(&[("WEB_ROOT", directory.join("web").to_str().unwrap())])
}

#[test]
fn the_studio_is_served_beside_the_websocket() {
    let directory = studio();
    let server = serve(directory.path());
    for (path, kind, body) in [
        ("/", "text/html", "<!doctype html>the studio"),
        ("/index.html", "text/html", "<!doctype html>the studio"),
        ("/?room=a", "text/html", "<!doctype html>the studio"),
        ("/js/main.js", "text/javascript", "export const x = 1;"),
        ("/js/", "text/html", "a page below"),
        ("/with%20space%20%C3%BC.txt", "text/plain", "a name"),
        ("/inside.js", "text/javascript", "export const x = 1;"),
    ] {
        let answer = get(server.port, path);
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{path} {answer:?}");
        assert!(
            answer.has("x-content-type-options: nosniff") && answer.has("cache-control: no-cache")
        );
    }
    let mut stream = server.connect();
    stream.write_all(&head(&["HEAD / HTTP/1.1", "Host: localhost"])).unwrap();
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.status, 200);
    assert!(answer.has("content-length: 25"), "{answer:?}");
    // The same path, and a WebSocket.
    server.client();
    // The routes come before files of their names.
    fs::write(directory.path().join("web/health"), "a file").unwrap();
    assert!(get(server.port, "/health").body.contains("ok"));
}

#[test]
fn what_is_hidden_or_elsewhere_is_not_found() {
    let directory = studio();
    let server = serve(directory.path());
    for path in [
        "/../secret.txt",
        "/js/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E%2Fsecret.txt",
        "/..%2fsecret.txt",
        "/js/..%5c..%5csecret.txt",
        "/..\\secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/link.txt",
        "/etc/passwd",
        "/outside.d/",
        "/outside.d/index.html",
        "/.env",
        "/%2eenv",
        "/env.txt",
        "/.git/config",
        "/js/./main.js",
        "/empty",
        "/empty/",
        "/absent",
        "/index.html/",
        "/index.html%00",
        "/%ff",
        "/%",
    ] {
        let answer = get(server.port, path);
        let expected = (404, r#"{"error":"Not found"}"#);
        assert_eq!((answer.status, answer.body.as_str()), expected, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let line = format!("{method} /index.html HTTP/1.1");
        let answer = request(server.port, &[line.as_str(), "Host: localhost"]);
        assert_eq!(answer.status, 404, "{method}");
    }
    let server = Server::start(&[]);
    assert_eq!(get(server.port, "/").status, 404, "without WEB_ROOT there is none of it");
}

#[test]
fn a_link_to_the_release_is_followed_at_each_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for release in ["1", "2"] {
        fs::create_dir_all(path(release)).unwrap();
        fs::write(path(release).join("index.html"), format!("release {release}")).unwrap();
        fs::write(path(release).join(format!("only-{release}.js")), "1").unwrap();
    }
    fs::write(path("secret.txt"), "secret").unwrap();
    symlink("../secret.txt", path("2/secret.txt")).unwrap();
    symlink("1", path("current")).unwrap();
    let server = Server::start(&[("WEB_ROOT", path("current").to_str().unwrap())]);
    assert_eq!(get(server.port, "/").body, "release 1");
    // As a deployment does it: the new link takes the place of the old one in one step.
    symlink("2", path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    fs::remove_dir_all(path("1")).unwrap();
    assert_eq!(get(server.port, "/").body, "release 2");
    assert_eq!(get(server.port, "/only-2.js").status, 200);
    assert_eq!(get(server.port, "/only-1.js").status, 404);
    assert_eq!(get(server.port, "/secret.txt").status, 404, "no link leads out of this release");
    assert_eq!(server.log.count("WEB_ROOT"), 0);
    // Between the end of the old one and the new one there is none, and the log says so once.
    fs::remove_file(path("current")).unwrap();
    for _ in 0..3 {
        assert_eq!(get(server.port, "/").status, 404);
    }
    let line = server.log.wait_for("[WARN] WEB_ROOT has no ");
    assert!(line.contains("current/index.html"), "{line}");
    assert_eq!(server.log.count("WEB_ROOT"), 1);
    symlink("2", path("current")).unwrap();
    assert_eq!(get(server.port, "/").body, "release 2");
}

#[test]
fn what_is_well_known_is_seen_and_nothing_else_that_is_hidden() {
    let directory = studio();
    let root = directory.path().join("web");
    for path in [".well-known/acme", "js/.well-known", ".well-known/.git", ".well-known2"] {
        fs::create_dir_all(root.join(path)).unwrap();
        fs::write(root.join(path).join("a.txt"), path).unwrap();
    }
    symlink("../../secret.txt", root.join(".well-known/secret.txt")).unwrap();
    let server = serve(directory.path());
    assert_eq!(get(server.port, "/.well-known/acme/a.txt").body, ".well-known/acme");
    for path in [
        "/js/.well-known/a.txt",
        "/.well-known/.git/a.txt",
        "/.well-known2/a.txt",
        "/.well-known/secret.txt",
        "/.well-known/../.env",
        "/.well-known",
        "/.WELL-KNOWN/acme/a.txt",
    ] {
        assert_eq!(get(server.port, path).status, 404, "{path}");
    }
}

#[test]
fn a_refused_upgrade_gets_its_reason_and_no_page() {
    let directory = studio();
    let root = directory.path().join("web");
    let server = Server::start(&[
        ("WEB_ROOT", root.to_str().unwrap()),
        ("ALLOWED_ORIGINS", "https://studio.example.org"),
        ("MAX_CONNECTIONS", "1"),
    ]);
    let ask = |change: &str, to: &str| {
        let lines: Vec<_> = UPGRADE
            .iter()
            .map(|line| line.replace(change, to))
            .filter(|line| !line.is_empty())
            .collect();
        request(server.port, &lines).status
    };
    assert_eq!(ask("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", ""), 400);
    assert_eq!(ask("Version: 13", "Version: 8"), 426);
    assert_eq!(ask("Host: localhost", "Host: localhost\r\nOrigin: https://evil.example"), 403);
    assert_eq!(ask("GET /", "POST /"), 405);
    assert_eq!(ask("Connection: Upgrade", ""), 400);
    let _full = server.client();
    assert_eq!(ask("", ""), 503);
    assert_eq!(get(server.port, "/").status, 200);
}

#[test]
fn a_range_that_no_file_has_harms_nobody() {
    let directory = studio();
    let server = serve(directory.path());
    let ask = |range: &str| {
        let range = format!("Range: bytes={range}");
        request(server.port, &["GET /index.html HTTP/1.1", "Host: localhost", &range])
    };
    let answer = ask("2-8");
    assert_eq!((answer.status, answer.body.as_str()), (206, "doctype"));
    for range in
        ["0-18446744073709551615", "18446744073709551615-", "-18446744073709551615", "99-98"]
    {
        let answer = ask(range);
        assert!([200, 206, 400, 404, 416].contains(&answer.status), "{range} {answer:?}");
    }
    assert_eq!(get(server.port, "/health").status, 200, "it is still there");
}

#[test]
fn a_root_without_a_page_to_begin_with_is_warned_of() {
    let directory = studio();
    for (root, is_empty) in [("web", false), ("web/empty", true), ("web/outside.d", true)] {
        let root = directory.path().join(root);
        let server = Server::start(&[("WEB_ROOT", root.to_str().unwrap())]);
        let status = get(server.port, "/").status;
        assert_eq!(status, if is_empty { 404 } else { 200 }, "{}", root.display());
        let index = root.canonicalize().unwrap().join("index.html");
        let line =
            format!("[WARN] WEB_ROOT has no {} that the service can read: ", index.display());
        assert_eq!(server.log.count(&line), usize::from(is_empty), "{line}");
    }
}

#[test]
fn a_root_that_cannot_be_served_stops_the_start() {
    let directory = studio();
    for root in ["absent", "secret.txt"] {
        let root = directory.path().join(root);
        let output = binary().env("PORT", "0").env("WEB_ROOT", &root).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let text = String::from_utf8_lossy(&output.stderr);
        let start =
            format!(r#"Invalid setting WEB_ROOT="{}" (from environment): "#, root.display());
        assert!(text.contains(&start) && text.contains("can read, or off"), "{text}");
    }
    // What the unit hides is there for everybody but the service.
    for (root, is_hidden) in [("/home/absent", true), ("/tmp/absent/a", true), ("/absent", false)] {
        let output = binary().env("PORT", "0").env("WEB_ROOT", root).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let says = text.contains("; under systemd the service sees no /home, no /root and a /tmp");
        assert_eq!((output.status.code(), says), (Some(78), is_hidden), "{text}");
    }
}

#[test]
fn only_pages_of_allowed_origins_connect() {
    let upgrade = |server: &Server, origin: &str| {
        let origin = format!("Origin: {origin}");
        let lines: Vec<_> = UPGRADE.iter().copied().chain([origin.as_str()]).collect();
        request(server.port, &lines)
    };
    let server = Server::start(&[]);
    assert_eq!(upgrade(&server, "https://anywhere.example").status, 101);
    let allowed = " https://Studio.example.org:443 ,http://localhost:8080/,https://[2001:DB8::0:1]";
    let server = Server::start(&[("ALLOWED_ORIGINS", allowed)]);
    for origin in [
        "https://studio.example.org",
        "http://localhost:8080",
        "HTTPS://Studio.example.org",
        "https://[2001:db8::1]",
    ] {
        assert_eq!(upgrade(&server, origin).status, 101, "{origin}");
    }
    for origin in [
        "https://evil.example",
        "http://studio.example.org",
        "https://studio.example.org:8443",
        "https://studio.example.org.evil.example",
        "null",
        "",
    ] {
        let answer = upgrade(&server, origin);
        let expected = (403, r#"{"error":"Origin not allowed"}"#);
        assert_eq!((answer.status, answer.body.as_str()), expected, "{origin}");
    }
    server.log.wait_for("Origin not allowed: https://evil.example from 127.0.0.1");
    // A program that is no page has no origin.
    server.client();
}
