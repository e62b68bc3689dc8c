//! Who is behind a client: cookies, and what else proves it.

use std::io::Write;

use crate::peers::{A, resume_of};
use crate::process::binary;
use crate::rooms::B;
use crate::secure::{certificate, secure};
use crate::support::{Answer, Client, Server, UPGRADE, connect, head};

const SECRET: &str = "correct horse battery staple, that is";

/// A value that is a cookie's, in letters that an answer's head keeps as it is shown here.
pub const COOKIE: &str = "aaaaaaaaaaaaaaaaaaaaag";
const OTHER: &str = "bbbbbbbbbbbbbbbbbbbbbg";

/// A client with these lines in its handshake, and the cookie that it is set.
pub fn open(server: &Server, lines: &[&str]) -> (Client, Option<String>) {
    let mut stream = connect(server.port);
    let host = format!("Host: localhost:{}", server.port);
    let rest = UPGRADE.iter().copied().filter(|line| !line.starts_with("Host: "));
    let lines: Vec<_> = rest.chain([host.as_str()]).chain(lines.iter().copied()).collect();
    stream.write_all(&head(&lines)).unwrap();
    let answer = Answer::read(&mut stream, true);
    let mut client = Client { stream };
    client.text();
    (client, set_cookie(&answer))
}

fn set_cookie(answer: &Answer) -> Option<String> {
    assert_eq!(answer.status, 101, "{answer:?}");
    let mut lines = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = lines.next().map(str::to_owned);
    assert_eq!(lines.next(), None);
    cookie
}

fn expected(value: &str) -> String {
    format!("openstudio-id={value}; httponly; samesite=strict; path=/; max-age=86400")
}

pub fn register(client: &mut Client, id: &str, more: &str) -> String {
    client.ask(&format!(r#"{{"type":"register","peerId":"{id}"{more}}}"#))
}

#[test]
fn a_browser_is_known_by_its_cookie() {
    let server = Server::start(&[]);
    let (_, set) = open(&server, &[]);
    let set = set.unwrap();
    let value = set.strip_prefix("openstudio-id=").unwrap().split(';').next().unwrap();
    assert_eq!((value.len(), set.clone()), (22, expected(value)));
    let (_, another) = open(&server, &[]);
    assert_ne!(another.unwrap(), set, "nobody else gets it");

    // The value in force is set anew.
    let cookie = format!("Cookie: a=b; openstudio-id={COOKIE}");
    let (mut page, set) = open(&server, &[&cookie]);
    assert_eq!(set.unwrap(), expected(COOKIE));
    resume_of(&register(&mut page, A, ""), A);
    page.ask(r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#);
    // The same browser again, which knows nothing else: it leads the room still.
    let (mut again, _) = open(&server, &[&cookie]);
    resume_of(&register(&mut again, A, ""), A);
    assert_eq!(page.close_code(), Some(4010));
    assert!(again.ask(r#"{"type":"request-invite"}"#).contains("invite-token"));
    let answer = again.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#);
    assert!(answer.contains(r#""role":"host""#), "{answer}");
    assert_eq!(server.log.count(COOKIE), 0, "it is in no log");
}

#[test]
fn a_cookie_that_may_be_planted_is_none() {
    let server = Server::start(&[]);
    for lines in [
        &[format!("Cookie: openstudio-id={COOKIE}; openstudio-id={OTHER}")][..],
        &[format!("Cookie: openstudio-id={COOKIE}"), format!("Cookie: openstudio-id={OTHER}")],
        &[format!("Cookie: openstudio-id={COOKIE}x")],
        &["Cookie: openstudio-id=".to_owned()],
        // Without TLS it has another name.
        &[format!("Cookie: __Host-openstudio-id={COOKIE}")],
    ] {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let (_, set) = open(&server, &lines);
        let set = set.unwrap();
        assert!(!set.contains(COOKIE) && !set.contains(OTHER), "{lines:?}: {set}");
    }
}

#[test]
fn a_page_of_another_origin_has_no_cookie() {
    let server = Server::start(&[]);
    let cookie = format!("Cookie: openstudio-id={COOKIE}");
    let own = format!("Origin: http://localhost:{}", server.port);
    assert_eq!(open(&server, &[&own, &cookie]).1.unwrap(), expected(COOKIE));
    let (mut holder, _) = open(&server, &[&cookie]);
    resume_of(&register(&mut holder, B, ""), B);
    for page in ["http://localhost:1", "http://other.example", "null"] {
        let (mut page, set) = open(&server, &[&format!("Origin: {page}"), &cookie]);
        assert_eq!(set, None);
        page.say(&format!(r#"{{"type":"register","peerId":"{B}"}}"#));
        // It is a stranger, so the holder is asked.
        assert_eq!(holder.frame().unwrap().opcode, 9);
        holder.send(0x8A, b"");
        assert!(page.text().contains("already registered"));
    }
    let line = server.log.wait_for("A page of http://localhost:1 at 127.0.0.1 has no cookie here");
    assert!(line.contains("ALLOWED_ORIGINS"), "{line}");
    assert_eq!(server.log.count("has no cookie here"), 1, "said once");

    let named = Server::start(&[("ALLOWED_ORIGINS", "https://studio.example.org")]);
    let page = "Origin: https://studio.example.org";
    assert_eq!(open(&named, &[page, &cookie]).1.unwrap(), expected(COOKIE));
}

#[test]
fn with_tls_the_cookie_is_the_hosts_own() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    let mut command = binary();
    command.env("PORT", "0").env("TLS_CERT", dir.path().join("cert.pem"));
    let server = Server::spawn(command.env("TLS_KEY", dir.path().join("key.pem")));
    let ask = |name: &str| {
        let tcp = connect(server.port);
        let versions = &[&rustls::version::TLS13];
        let mut stream = secure(tcp, &dir.path().join("cert.pem"), versions);
        let cookie = format!("Cookie: {name}={COOKIE}");
        let lines: Vec<_> = UPGRADE.iter().copied().chain([cookie.as_str()]).collect();
        stream.write_all(&head(&lines)).unwrap();
        set_cookie(&Answer::read(&mut stream, true)).unwrap()
    };
    let secured = format!("__host-{}; secure", expected(COOKIE));
    assert_eq!(ask("__Host-openstudio-id"), secured);
    let other = ask("openstudio-id");
    assert!(other.starts_with("__host-openstudio-id=") && !other.contains(COOKIE), "{other}");
}

#[test]
fn a_trusted_proxy_says_whether_the_client_came_by_tls() {
    let trusting = Server::start(&[("TRUSTED_PROXIES", "127.0.0.1")]);
    let secured = |server: &Server, lines: &[&str]| {
        let (_, set) = open(server, lines);
        set.unwrap().starts_with("__host-")
    };
    let https = "X-Forwarded-Proto: https";
    assert!(secured(&trusting, &[https]) && secured(&trusting, &["x-forwarded-proto: HTTPS"]));
    assert!(!secured(&trusting, &[]) && !secured(&trusting, &["X-Forwarded-Proto: http"]));
    assert!(!secured(&trusting, &[https, https]), "one of them is the client's");
    assert!(!secured(&trusting, &["X-Forwarded-Proto: https, http"]));
    let page = format!("Origin: https://localhost:{}", trusting.port);
    assert!(secured(&trusting, &[https, &page]));
    // Anybody can say so.
    assert!(!secured(&Server::start(&[]), &[https]));
}

#[test]
fn what_proves_an_identity_outlives_a_restart() {
    let settings = [("JWT_SECRET", SECRET)];
    let (mut before, _) = open(&Server::start(&settings), &[]);
    drop(before);
    let server = Server::start(&settings);
    (before, _) = open(&server, &[]);
    let resume = resume_of(&register(&mut before, A, ""), A);
    let created = before.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#);
    let token = created.split(r#""token":""#).nth(1).unwrap().split('"').next().unwrap();
    drop(server);

    // Whether both are the same identity shows in who is asked.
    for proof in [format!(r#","resume":"{resume}""#), format!(r#","token":" {token}\n""#)] {
        let server = Server::start(&settings);
        let (mut first, _) = open(&server, &[]);
        resume_of(&register(&mut first, A, &format!(r#","resume":"{resume}""#)), A);
        let (mut second, _) = open(&server, &[]);
        resume_of(&register(&mut second, A, &proof), A);
        assert_eq!(first.close_code(), Some(4010), "{proof}");
        // With another secret it proves nothing.
        let other = Server::start(&[("JWT_SECRET", "another secret of 32 bytes or more")]);
        let (mut first, _) = open(&other, &[]);
        resume_of(&register(&mut first, A, &proof), A);
        let (mut second, _) = open(&other, &[]);
        second.say(&format!(r#"{{"type":"register","peerId":"{A}"{proof}}}"#));
        assert_eq!(first.frame().unwrap().opcode, 9, "it is asked");
    }
}
