//! HTTP that asks for much and takes nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::peers::peer;
use crate::secure::{certificate, secure};
use crate::shows::Show;
use crate::support::wait_until;
use crate::support::{Answer, Client, connect, head};
use crate::talk::frame;
use crate::target::Target;

/// A thread that sends as much as its connections take, and reads what comes, until it is ended.
struct Hammer {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Hammer {
    fn start(mut streams: Vec<TcpStream>, bytes: Vec<u8>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let (until, count) = (Arc::clone(&over), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let mut sent = vec![0; streams.len()];
            let mut buffer = vec![0; 256 * 1024];
            streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
            while !until.load(Ordering::Relaxed) {
                for (stream, sent) in streams.iter_mut().zip(&mut sent) {
                    // Where it left off: nothing is torn.
                    if let Ok(written) = stream.write(&bytes[*sent..]) {
                        *sent = (*sent + written) % bytes.len();
                    }
                    count.fetch_add(stream.read(&mut buffer).unwrap_or(0), Ordering::Relaxed);
                }
            }
        });
        Self { over, answered, thread }
    }

    /// How many bytes came back so far.
    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// What makes the connections of an attack.
type Crowd<'a> = &'a dyn Fn() -> Vec<TcpStream>;

/// 200 connections that ask without end, hundreds of requests at a time. Then clients that do nothing but send: 20 of
/// them messages of a byte, thousands at a time; 100 of them messages of thousands of keys; and 100 in a room who tell
/// each other something, so that each message is a hundred. The studio goes on while they are answered.
#[test]
fn many_who_ask_without_end_hold_nobody_up() {
    let target = Target::start(&[("RATE_LIMIT", "0"), ("MAX_CONNECTIONS_PER_IP", "0")]);
    let mut show = Show::start(&target.server);
    let clients = |number: usize| (0..number).map(|_| target.server.client().stream).collect();
    let keys = [r#"{"type":"ping""#, &r#","\n":0"#.repeat(4_000), "}"].concat();
    let asking = || (0..200).map(|_| connect(target.port())).collect();
    let requests = head(&["GET /health HTTP/1.1", "Host: x"]).repeat(200);
    let news = frame(0x81, br#"{"type":"recording-state","recording":true}"#).repeat(97);
    // Each with the bytes of answers that make a flood of it.
    let attacks: [(&str, Crowd<'_>, Vec<u8>, usize); 4] = [
        ("requests", &asking, requests, 1_000_000),
        ("short messages", &|| clients(20), frame(0x81, b"x").repeat(2_000), 1_000_000),
        ("messages of many keys", &|| clients(100), frame(0x81, keys.as_bytes()), 10_000),
        ("broadcasts", &|| in_one_room(&target, 100), news, 1_000_000),
    ];
    for (what, streams, bytes, flood) in attacks {
        let hammer = Hammer::start(streams(), bytes);
        show.goes_on(5);
        wait_until(|| hammer.answered() > flood, || format!("{what}: {}", hammer.answered()));
        show.goes_on(5);
        println!("{what}: {} bytes of answers", hammer.answered());
        hammer.end();
    }
    show.end();
    target.survives();
}

/// Clients who are in a room together.
fn in_one_room(target: &Target, number: usize) -> Vec<TcpStream> {
    let id = |number: usize| format!("f47ac10b-58cc-4372-b567-0e02b2c3{number:04x}");
    let mut clients: Vec<_> = (0..number).map(|number| peer(&target.server, &id(number))).collect();
    for client in &mut clients {
        client.say(r#"{"type":"create-or-join-room","roomId":"loud"}"#);
        while !client.text().contains(r#""type":"room-"#) {}
    }
    clients.into_iter().map(|client| client.stream).collect()
}

/// 300 who want TLS send the first byte of their hello, and then the rest of it all at once, again and again: none of
/// them has taken its turn in advance. All get their answer, and so does who is there and asks meanwhile.
#[test]
fn handshakes_of_tls_that_come_in_pieces_hold_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let plain = Target::start(&[]);
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let (target, _clock) = Target::start_paused(&[
        ("TLS_CERT", cert.as_str()),
        ("TLS_KEY", key.as_str()),
        ("RATE_LIMIT", "0"),
    ]);
    let (port, trusted) = (target.port(), dir.path().join("cert.pem"));
    let mut client = Client::over(secure(connect(port), &trusted, rustls::DEFAULT_VERSIONS));
    client.text();
    let mut hello = Vec::new();
    secure(connect(plain.port()), &trusted, rustls::DEFAULT_VERSIONS)
        .conn
        .write_tls(&mut hello)
        .unwrap();
    for _ in 0..3 {
        let mut streams: Vec<_> = (0..300).map(|_| connect(port)).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(&hello[..1]).unwrap());
        target.server.settle();
        streams.iter_mut().for_each(|stream| stream.write_all(&hello[1..]).unwrap());
        for _ in 0..20 {
            assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
        }
        // The answer, of which the first byte is enough.
        streams.iter_mut().for_each(|stream| stream.read_exact(&mut [0]).unwrap());
    }
    drop(client);
    plain.survives();
    target.is_sound();
}

/// What a connection whose answers nobody reads may cost, in bytes: what hyper has read of the requests, and an answer.
const PIPELINE: usize = 128 * 1024;

/// 100 connections ask for the longest answer that there is, thousands of times in one go, and read none. Each costs a
/// bounded amount of memory, and who asks properly is answered.
#[test]
fn pipelined_requests_that_nobody_reads_are_bounded() {
    let (target, _clock) = Target::start_paused(&[]);
    target.metric("openstudio_signaling_clients");
    let before = target.memory();
    let requests = head(&["GET /metrics HTTP/1.1", "Host: x"]).repeat(5_000);
    let streams: Vec<_> = (0..100).map(|_| connect(target.port())).collect();
    target.server.fill(&streams.iter().collect::<Vec<_>>(), &requests);
    assert_eq!(target.metric("openstudio_signaling_clients"), 0.0);
    let each = (target.peak() - before) / 100;
    println!("{each} bytes for each");
    assert!(each < PIPELINE, "{each} bytes each");
    drop(streams);
    target.survives();
}

/// Upgrades with a body behind them, or with frames in the same packet: the first are refused and their bodies are not
/// kept, the second are heard.
#[test]
fn bodies_behind_upgrades_are_not_kept() {
    let target = Target::start(&[]);
    let before = target.memory();
    for (length, sent) in [("1000000000", 100_000), ("5", 5)] {
        let mut lines = crate::support::UPGRADE.to_vec();
        let header = format!("Content-Length: {length}");
        lines.push(&header);
        let bytes = [head(&lines), vec![b'x'; sent]].concat();
        let streams: Vec<_> = (0..50)
            .map(|_| {
                let mut stream = connect(target.port());
                // The server need not read to the end.
                let _ = stream.write_all(&bytes);
                assert_eq!(Answer::read(&mut stream, true).status, 400);
                stream
            })
            .collect();
        let each = (target.peak() - before) / 50;
        println!("{each} bytes for each of {length} announced");
        assert!(each < 256 * 1024, "{each} bytes each");
        drop(streams);
    }
    target.survives();
}

/// 200 connections ask for a file of 8 MB and read none of it. Each costs a bounded amount of memory, whatever the size
/// of the file.
#[test]
fn files_that_nobody_reads_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("large"), vec![b'x'; 8 << 20]).unwrap();
    let target = Target::start(&[("WEB_ROOT", dir.path().to_str().unwrap())]);
    let (before, request) = (target.memory(), head(&["GET /large HTTP/1.1", "Host: x"]));
    let streams: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = connect(target.port());
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    for stream in &streams {
        stream.peek(&mut [0]).unwrap();
    }
    // Who asks for something else is served meanwhile, and then all of it has been read that will be.
    assert_eq!(target.metric("openstudio_signaling_clients"), 0.0);
    target.server.settle();
    let each = (target.peak() - before) / streams.len();
    println!("{each} bytes for each");
    assert!(each < PIPELINE, "{each} bytes each");
    drop(streams);
    target.survives();
}
