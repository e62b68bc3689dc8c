//! Those who hear the programme by way of the server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use crate::fetch::request;
use crate::icecast::Icecast;
use crate::metrics::metric;
use crate::on_air::{STARTED, chunk, host, recording, start, validated};
use crate::peers::A;
use crate::port::free_port;
use crate::secure;
use crate::support::{Answer, Server, head, wait_until};

const STUDIO: &str = "/stream/live.opus";

fn ask(server: &Server, method: &str, path: &str) -> Answer {
    request(server.port, &[&format!("{method} {path} HTTP/1.1"), "Host: localhost"])
}

/// One who listens, with the head of its answer.
fn listen(server: &Server, path: &str) -> (TcpStream, Answer) {
    let mut stream = server.connect();
    let line = format!("GET {path} HTTP/1.1");
    stream.write_all(&head(&[line.as_str(), "Host: localhost", "Range: bytes=0-"])).unwrap();
    let answer = Answer::read(&mut stream, false);
    (stream, answer)
}

/// Asks for the programme as the studio links to it.
fn send_request(stream: &mut impl Write) {
    stream.write_all(&head(&[&format!("GET {STUDIO} HTTP/1.1"), "Host: localhost"])).unwrap();
}

/// One who listens, and its connection to the Icecast of a test.
fn listener(server: &Server, icecast: &Fake) -> (TcpStream, TcpStream) {
    let mut stream = server.connect();
    send_request(&mut stream);
    let playing = icecast.play(OK);
    assert_eq!(Answer::read(&mut stream, false).status, 200);
    (stream, playing)
}

fn hear_out(stream: &mut impl Read) -> Vec<u8> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    heard
}

fn with(icecast: &Icecast, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    icecast.settings().into_iter().chain(more).collect()
}

#[test]
fn listeners_hear_the_programme_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (icecast, file) = (Icecast::start(), recording(directory.path(), 3));
    let (server, _clock) = start(&with(&icecast, &[("MAX_LISTENERS", "8")]));
    let nobody = ask(&server, "GET", STUDIO);
    assert_eq!((nobody.status, nobody.body.as_str()), (404, r#"{"error":"Nobody is on air"}"#));
    assert!(nobody.has("access-control-allow-origin: *"));
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    // The mount is there a moment after the source has its answer.
    wait_until(|| ask(&server, "HEAD", STUDIO).status == 200, || "nothing to hear".into());
    let (mut first, answer) = listen(&server, STUDIO);
    for line in [
        "content-type: audio/ogg",
        "connection: close",
        "cache-control: no-store",
        "access-control-allow-origin: *",
        "x-content-type-options: nosniff",
        "icy-name: openstudio sample station",
    ] {
        assert!(answer.has(line), "{line}: {answer:?}");
    }
    assert!(answer.head.starts_with("http/1.1 200 ok\r\n") && answer.head.contains("\r\ndate: "));
    assert!(!answer.head.contains("transfer-encoding") && !answer.head.contains("content-length"));
    let (mut second, _) = listen(&server, "/stream/live.ogg");
    assert_eq!(metric(&server, "listeners"), 2.0);
    // One address has a quarter of all places, and there is no way to anything else of Icecast's.
    let third = ask(&server, "GET", STUDIO);
    assert_eq!((third.status, third.body.as_str()), (503, r#"{"error":"Too many listeners"}"#));
    assert!(third.has("retry-after: 10"));
    let line = server.log.wait_for("Listener limit reached by 127.0.0.1: 2 listeners");
    assert!(line.contains("TRUSTED_PROXIES"), "{line}");
    for path in ["/stream", "/stream/", "/stream/status.xsl", "/stream/live.ogg/", "/live.ogg"] {
        assert_eq!(ask(&server, "GET", path).status, 404, "{path}");
    }
    assert_eq!(ask(&server, "POST", STUDIO).status, 404);
    assert_eq!(ask(&server, "OPTIONS", STUDIO).status, 204);
    let webm = std::fs::read(&file).unwrap();
    assert!(host.ask(&chunk(&webm)).contains("chunk-ack"));
    assert!(host.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    let heard = hear_out(&mut first);
    validated(directory.path(), &heard);
    assert!(heard.len() > 3 * 14_000, "{} bytes", heard.len());
    // The other one has all of that, and what Icecast had for it before.
    assert!(hear_out(&mut second).ends_with(&heard[heard.len() - 10_000..]));
    wait_until(|| metric(&server, "listeners") == 0.0, || "their places are not given back".into());
    assert_eq!(ask(&server, "GET", STUDIO).status, 404);
}

/// Something in the place of Icecast, so that each byte is known.
struct Fake(TcpListener);

impl Fake {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn url(&self) -> (&'static str, String) {
        ("ICECAST_URL", format!("http://{}/live.ogg", self.0.local_addr().unwrap()))
    }

    /// Plays to the next one who asks.
    fn play(&self, head: &[u8]) -> TcpStream {
        let (mut stream, asked) = self.hear();
        assert!(asked.starts_with("GET /live.ogg HTTP/1.0\r\n"), "no chunks: {asked}");
        stream.write_all(head).unwrap();
        stream
    }

    /// What the next one asks.
    fn hear(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.0.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            asked.extend(byte);
        }
        (stream, String::from_utf8(asked).unwrap())
    }
}

const OK: &[u8] =
    b"HTTP/1.0 200 OK\r\nContent-Type: audio/ogg\r\nicy-name: Radio Z\xC3\xBCrich\r\n\r\nfirst";

#[test]
fn a_listener_holds_no_stop() {
    let icecast = Fake::new();
    let (mut server, _clock) = start(&[icecast.url()]);
    // On a connection that was used before.
    let mut stream = server.connect();
    stream.write_all(&head(&["GET /ready HTTP/1.1", "Host: localhost"])).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 200);
    send_request(&mut stream);
    // Icecast would go on.
    let _playing = icecast.play(OK);
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.status, 200);
    assert!(answer.has("icy-name: radio zürich"), "{answer:?}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(hear_out(&mut stream), b"first");
    server.log.wait_for("Stopped cleanly");
}

#[test]
fn an_icecast_that_falls_silent_lets_listeners_go() {
    let icecast = Fake::new();
    let (server, mut clock) = start(&[icecast.url()]);
    let (mut stream, mut playing) = listener(&server, &icecast);
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).unwrap();
    clock.advance(29_999);
    playing.write_all(b", then").unwrap();
    let mut heard = [0; 6];
    stream.read_exact(&mut heard).unwrap();
    clock.advance(29_999);
    assert_eq!(metric(&server, "listeners"), 1.0);
    clock.advance(1);
    assert_eq!(hear_out(&mut stream), b"");
    wait_until(|| metric(&server, "listeners") == 0.0, || "the place is not given back".into());
}

#[test]
fn a_listener_who_takes_nothing_goes() {
    let icecast = Fake::new();
    let (server, mut clock) = start(&[icecast.url()]);
    let (_stream, mut playing) = listener(&server, &icecast);
    // More than lies between the two, until nothing more goes in.
    playing.set_nonblocking(true).unwrap();
    let mut all = 0;
    let mut full = 0;
    while full < 100 {
        match playing.write(&[0; 65_536]) {
            Ok(wrote) => (all, full) = (all + wrote, 0),
            Err(_) => {
                clock.advance(0);
                full += 1;
            }
        }
    }
    assert!(all > 500_000, "{all} bytes");
    clock.advance(29_999);
    assert_eq!(metric(&server, "listeners"), 1.0);
    clock.advance(2);
    wait_until(|| metric(&server, "listeners") == 0.0, || "it does not go".into());
}

#[test]
fn all_places_are_for_different_addresses() {
    let icecast = Fake::new();
    let settings =
        [icecast.url(), ("MAX_LISTENERS", "2".into()), ("TRUSTED_PROXIES", "127.0.0.1".into())];
    let (server, _clock) = start(&settings);
    let listen = |address: &str| {
        let mut stream = server.connect();
        let (line, by) = (format!("GET {STUDIO} HTTP/1.1"), format!("X-Forwarded-For: {address}"));
        stream.write_all(&head(&[line.as_str(), "Host: localhost", &by])).unwrap();
        stream
    };
    let mut all: Vec<_> = ["192.0.2.1", "192.0.2.2"]
        .into_iter()
        .map(|address| {
            let mut stream = listen(address);
            let playing = icecast.play(OK);
            assert_eq!(Answer::read(&mut stream, false).status, 200);
            (stream, playing)
        })
        .collect();
    assert_eq!(Answer::read(&mut listen("192.0.2.3"), true).status, 503);
    let line = server.log.wait_for("Listener limit reached: 2 listeners (MAX_LISTENERS)");
    assert!(line.contains("192.0.2.3") && line.contains("ICECAST_PUBLIC_URL"), "{line}");
    drop(all.pop());
    wait_until(|| metric(&server, "listeners") == 1.0, || "its place is not given back".into());
    let mut fourth = listen("192.0.2.3");
    let _playing = icecast.play(OK);
    assert_eq!(Answer::read(&mut fourth, false).status, 200);
}

#[test]
fn an_icecast_that_is_full_is_named() {
    let icecast = Fake::new();
    let (server, _clock) = start(&[icecast.url()]);
    let mut stream = server.connect();
    send_request(&mut stream);
    let full = b"HTTP/1.0 403 Forbidden\r\n\r\nIcecast connection limit reached";
    let _playing = icecast.play(full);
    assert_eq!(Answer::read(&mut stream, true).status, 503);
    let line = server.log.wait_for("Icecast has as many clients as it may");
    assert!(line.contains("raise <clients> in icecast.xml"), "{line}");
    // With no place for listeners, there is no such route.
    let (server, _clock) = start(&[icecast.url(), ("MAX_LISTENERS", "0".into())]);
    assert_eq!(ask(&server, "GET", STUDIO).body, r#"{"error":"Not found"}"#);
}

#[test]
fn a_listener_hears_through_tls() {
    let directory = tempfile::tempdir().unwrap();
    secure::certificate(directory.path(), "cert", "key");
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let icecast = Fake::new();
    let (server, _clock) =
        start(&[icecast.url(), ("TLS_CERT", path("cert")), ("TLS_KEY", path("key"))]);
    let trusted = directory.path().join("cert");
    let mut listener = secure::secure(server.connect(), &trusted, rustls::ALL_VERSIONS);
    send_request(&mut listener);
    let mut playing = icecast.play(OK);
    assert_eq!(Answer::read(&mut listener, false).status, 200);
    playing.write_all(b", then").unwrap();
    let mut heard = [0; 11];
    listener.read_exact(&mut heard).unwrap();
    assert_eq!(heard, *b"first, then");
    drop(playing);
    assert!(hear_out(&mut listener).is_empty(), "and a goodbye of TLS");
}

#[test]
fn where_icecast_does_not_play_a_listener_is_told() {
    let url = format!("http://127.0.0.1:{}/live.ogg", free_port());
    let (server, _clock) = start(&[("ICECAST_URL", url)]);
    for method in ["GET", "HEAD"] {
        let answer = ask(&server, method, STUDIO);
        assert_eq!(answer.status, 502);
        assert!(method == "HEAD" || answer.body == r#"{"error":"Stream unavailable"}"#);
        assert!(answer.has("access-control-allow-origin: *"));
    }
    let line = server.log.wait_for("hears nothing, and gets HTTP 502: Icecast does not answer");
    assert!(line.contains("systemctl start icecast2"), "{line}");
    // Without an Icecast there is no such route.
    let server = Server::start(&[]);
    assert_eq!(ask(&server, "GET", STUDIO).body, r#"{"error":"Not found"}"#);
}

#[test]
fn listeners_are_led_to_icecast() {
    let public = "https://radio.example.org/live.ogg";
    let url = "http://127.0.0.1:1/live.ogg".to_owned();
    let settings = [
        ("ICECAST_URL", url),
        ("ICECAST_PUBLIC_URL", public.to_owned()),
        ("ALLOWED_ORIGINS", "https://a.example".to_owned()),
    ];
    let (server, _clock) = start(&settings);
    for path in [STUDIO, "/stream/live.ogg"] {
        let line = format!("GET {path} HTTP/1.1");
        let page = |origin: &str| request(server.port, &[line.as_str(), "Host: localhost", origin]);
        let answer = page("Origin: https://a.example");
        assert_eq!(answer.status, 307);
        assert!(answer.has(&format!("location: {public}")), "{answer:?}");
        assert!(answer.has("access-control-allow-origin: https://a.example"));
        assert!(!page("Origin: https://b.example").head.contains("allow-origin"));
    }
}

#[test]
fn icecast_is_not_asked_by_each_visitor_of_the_check_page() {
    let icecast = Fake::new();
    let (server, mut clock) = start(&[icecast.url()]);
    let ask = || {
        let mut stream = server.connect();
        stream.write_all(&head(&["GET /check/icecast HTTP/1.1", "Host: localhost"])).unwrap();
        stream
    };
    let free = b"HTTP/1.0 400 Bad Request\r\n\r\nSource does not exist";
    let answer = |mut asking: TcpStream| Answer::read(&mut asking, true).body;
    let first = ask();
    let (mut asked, request) = icecast.hear();
    assert!(request.starts_with("GET /admin/metadata?mount=/live.ogg&mode=check HTTP/1.0\r\n"));
    asked.write_all(free).unwrap();
    drop(asked);
    assert_eq!(answer(first), r#"{"mount":"free"}"#);
    clock.advance(4_999);
    assert_eq!(answer(ask()), r#"{"mount":"free"}"#);
    clock.advance(1);
    let again = ask();
    // This time it says nothing.
    let (_asked, _) = icecast.hear();
    clock.advance(2_999);
    clock.advance(1);
    let said = answer(again);
    assert!(said.contains(r#""problem":"Icecast does not answer""#), "{said}");
}
