//! `check --listen`: a listener of a real Icecast, and of servers that do what none should.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use openstudio_signaling::programme::ogg::Stream;
use openstudio_signaling::programme::opus::silence;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::check::{check, ever_longer, run};
use crate::icecast::Icecast;
use crate::on_air::{STARTED, chunk, host, recording, start};
use crate::peers::A;
use crate::process::binary;
use crate::secure::certificate;
use crate::support::{Log, PATIENCE, Server, wait_until};

/// A listener under way, and what it says.
struct Listening {
    child: Child,
    said: Log,
}

impl Listening {
    fn start(url: &str, seconds: u32) -> Self {
        let mut command = binary();
        command.args(["check", url, "--listen", &format!("--seconds={seconds}")]);
        command.arg(format!("--timeout={}", PATIENCE.as_secs()));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = Log::follow(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Waits for the end, and for this as the last thing that is said.
    fn end(mut self, last: &str) -> Option<i32> {
        self.said.wait_for(last);
        wait_until(|| self.child.try_wait().unwrap().is_some(), || "it does not end".into());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_listener_hears_the_programme_and_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (icecast, file) = (Icecast::start(), recording(directory.path(), 6));
    let webm = std::fs::read(&file).unwrap();
    let (server, mut clock) = start(&icecast.settings());
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    drop(icecast.listen());
    let url = format!("http://127.0.0.1:{}/live.ogg", icecast.port);
    let brief = Listening::start(&url, 2);
    brief.said.wait_for("✓ stream     HTTP 200, audio/ogg, in ");
    assert!(host.ask(&chunk(&webm)).contains("chunk-ack"));
    brief.said.wait_for("✓ audio      Opus in Ogg, stereo, in ");
    brief.said.wait_for(" s: a player begins with audio that old, and never catches up");
    brief.said.wait_for("✓ gaps       none in 2.0 s");
    assert_eq!(brief.end("✓ silence    none in "), Some(0));

    // The same at the server itself.
    let long = Listening::start(&format!("localhost:{}", server.port), 3600);
    long.said.wait_for("✓ stream ");
    for _ in 0..6_000 / 100 {
        clock.advance(100);
    }
    assert!(host.ask(&chunk(&webm)).contains("chunk-ack"));
    long.said.wait_for("✓ audio ");
    assert!(host.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    let gaps = long.said.wait_for("the stream ended, after ");
    assert!(gaps.starts_with("✗ gaps ") && gaps.contains("the host stopped"), "{gaps}");
    assert_eq!(long.end(" silence "), Some(1));
}

#[test]
fn a_host_who_sends_nothing_is_dead_air() {
    let icecast = Icecast::start();
    let (server, mut clock) = start(&icecast.settings());
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    drop(icecast.listen());
    let listening = Listening::start(&format!("http://127.0.0.1:{}/live.ogg", icecast.port), 2);
    listening.said.wait_for("✓ stream ");
    for _ in 0..6_000 / 100 {
        clock.advance(100);
    }
    let line = listening.said.wait_for("✗ silence    dead air: all ");
    assert!(line.contains("look at the host's microphone"), "{line}");
    assert_eq!(listening.end("dead air"), Some(1));
}

/// A server that gives everybody this answer, and says no more until they go; or ends the connection.
fn fake(answer: impl Into<Vec<u8>>, stays: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.into();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if !stream.read(&mut byte).is_ok_and(|read| read > 0) {
                        return;
                    }
                    head.extend(byte);
                }
                let _ = stream.write_all(&answer);
                while stays && stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
            });
        }
    });
    port
}

/// An answer with a stream in it.
fn streaming(body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.0 200 OK\r\nContent-Type: application/ogg\r\n\r\n", body].concat()
}

/// A programme in pages of a second, headers in front, to the last packet.
fn pages(serial: u32, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut page = Vec::new();
    let mut stream = Stream::begin(serial, &[], &mut page);
    let mut pages = vec![std::mem::take(&mut page)];
    for second in packets.chunks(50) {
        for packet in second {
            stream.put(packet, 960, &mut page);
        }
        stream.flush(&mut page);
        pages.push(std::mem::take(&mut page));
    }
    pages
}

/// 20 ms of a programme of 64 kbps.
fn loud() -> Vec<u8> {
    [&[0xFC], &[7; 159][..]].concat()
}

#[test]
fn why_nobody_is_heard_is_said() {
    let icecast = Icecast::start();
    let (code, stdout) =
        check(&format!("http://127.0.0.1:{}/live.ogg", icecast.port), &["--listen"]);
    assert_eq!(code, Some(1));
    let line =
        "✗ stream     HTTP 404 Not Found at /live.ogg: nobody is on air; let a host press Stream; ";
    assert!(stdout.starts_with(line) && stdout.lines().count() == 1, "{stdout}");
    let (server, _clock) = start(&icecast.settings());
    let (code, stdout) = check(&format!("localhost:{}", server.port), &["--listen"]);
    let line = "✗ stream     HTTP 404 Not Found at /stream/live.opus: nobody is on air; let a host press Stream\n";
    assert_eq!((code, stdout.as_str()), (Some(1), line));
    // This server has no Icecast.
    let server = Server::start(&[]);
    let (code, stdout) = check(&format!("localhost:{}", server.port), &["--listen"]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("this server has no stream at /stream/live.opus; set ICECAST_URL"));
    assert_eq!(server.log.count("TLS"), 0, "it has answered, and is not asked for TLS");
    let json = |status: &str, error: &str| {
        let body = format!(r#"{{"error":"{error}"}}"#);
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let html = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\n<p>");
    for (answer, words, fix) in [
        (
            json("404 Not Found", "Nobody is on air"),
            "nobody is on air",
            "let a host press Stream\n",
        ),
        (json("502 Bad Gateway", "x"), "the server can't reach Icecast", "start icecast2"),
        (json("503 Service Unavailable", "x"), "too many listeners", "raise MAX_LISTENERS"),
        (html("502 Bad Gateway"), "a proxy answers", "the proxy's configuration"),
        (html("503 Service Unavailable"), "a proxy answers", "the proxy's configuration"),
        (html("403 Forbidden"), "this listener is refused", "<max-listeners>"),
        (html("418 x"), "at /stream/live.opus, and not a stream", "the path of ICECAST_URL"),
        ("ICY 200 OK\r\n\r\n".into(), "the answer is not HTTP", "ss -ltnp"),
    ] {
        let (code, stdout) = check(&format!("localhost:{}", fake(answer, false)), &["--listen"]);
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.starts_with("✗ stream ") && stdout.contains(words), "{stdout}");
        assert!(stdout.contains(fix) && stdout.lines().count() == 1, "{stdout}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, stdout) = check(&format!("http://127.0.0.1:{closed}/live.ogg"), &["--listen"]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("nothing listens on") && stdout.contains("start icecast2"), "{stdout}");
}

#[test]
fn one_redirect_is_followed() {
    let programme = pages(7, &vec![loud(); 500]).concat();
    let icecast = fake(streaming(&programme), true);
    let leading = |status: &str, place: &str| {
        fake(format!("HTTP/1.1 {status}\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"), false)
    };
    let listen = |port: u16| check(&format!("localhost:{port}"), &["--listen", "--seconds=2"]);
    let place = format!("http://127.0.0.1:{icecast}/live.ogg");
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 x"] {
        let once = leading(status, &place);
        let (code, stdout) = listen(once);
        assert_eq!(code, Some(0), "{stdout}");
        let status = &status[..3];
        assert!(stdout.starts_with(&format!("✓ redirect   HTTP {status} ")), "{stdout}");
        assert!(stdout.contains(&format!(": it leads to {place}, in ")), "{stdout}");
        assert!(stdout.contains("\n✓ stream     HTTP 200, application/ogg"), "{stdout}");
        assert!(stdout.contains("\n✓ silence    none in 10.0 s of audio"), "{stdout}");
        let (code, stdout) = listen(leading("302 Found", &format!("http://127.0.0.1:{once}/x")));
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.contains("\n✗ stream     HTTP ") && stdout.contains("it leads on to"));
    }
    let (code, stdout) = listen(leading("302 Found", "gopher://a/"));
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("and that is no URL; correct the address: ICECAST_PUBLIC_URL"));
    // A path of the same server, which leads there again.
    let (_, stdout) = listen(leading("302 Found", "/elsewhere"));
    assert!(stdout.starts_with("✓ redirect   HTTP 302 Found: it leads to /elsewhere"), "{stdout}");
    assert!(
        stdout.contains("\n✗ stream     HTTP 302 Found: it leads on to /elsewhere"),
        "{stdout}"
    );
}

#[test]
fn what_is_no_programme_is_named() {
    let programme = pages(7, &vec![loud(); 50]);
    let vorbis = programme.concat();
    let middle = programme[1].clone();
    for (body, words) in [
        (&b"<!DOCTYPE html><p>Hello"[..], "this is a page (HTML or XML), and not Opus in Ogg"),
        (b"\xFF\xFB\x90\x64\0\0\0\0", "this is MP3"),
        (b"what is this", "this is something else than Ogg"),
        (b"Ogg", "the stream ended"),
        (&middle, "begins in the middle, without OpusHead"),
        (&vorbis[..40], "the stream ended"),
    ] {
        let (code, stdout) =
            check(&format!("localhost:{}", fake(streaming(body), false)), &["--listen"]);
        assert_eq!(code, Some(1), "{stdout}");
        let last = stdout.lines().last().unwrap();
        assert!(last.starts_with("✗ audio ") && last.contains(words), "{stdout}");
    }
    // What says that it is something else, and is none.
    let answer = [b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n", &vorbis[..]].concat();
    let (_, stdout) = check(&format!("localhost:{}", fake(answer, false)), &["--listen"]);
    assert!(stdout.starts_with("! stream     HTTP 200, audio/mpeg, in "), "{stdout}");
    assert!(stdout.contains("\n✓ audio      Opus in Ogg, stereo"), "{stdout}");
}

#[test]
fn what_is_wrong_with_a_stream_is_counted() {
    let mut programme = pages(7, &vec![loud(); 500]);
    programme.remove(4);
    programme[6][200] ^= 1;
    programme.extend(pages(8, &vec![silence(160); 50]));
    let port = fake(streaming(&programme.concat()), false);
    let (code, stdout) = check(&format!("localhost:{port}"), &["--listen", "--json"]);
    assert_eq!(code, Some(1), "{stdout}");
    let lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["stream", "audio", "behind", "gaps", "silence", "summary"]);
    let gaps = "2 pages missing; 1 stretch damaged; 1 stream behind the first one; the stream ended, after ";
    assert!(lines[3]["ok"] == false && lines[3]["detail"].as_str().unwrap().starts_with(gaps));
    assert_eq!(lines[4]["detail"], "1.0 s in 9.0 s of audio");
    for (key, value) in
        [("lost_pages", 2), ("damaged", 1), ("more_streams", 1), ("jumps", 0), ("gaps", 0)]
    {
        assert_eq!(lines[5][key], value, "{stdout}");
    }
    assert!(lines[5]["ok"] == false && lines[5]["silence_seconds"] == 1.0, "{stdout}");
}

#[test]
fn a_stream_that_stalls_is_not_waited_for() {
    let port = fake(streaming(&pages(7, &vec![loud(); 10]).concat()), true);
    // On a busy machine what comes before may need longer.
    let stalled = |seconds: f64| {
        let more = ["--listen", "--seconds=3600", &format!("--timeout={seconds}")];
        let (code, stdout) = check(&format!("localhost:{port}"), &more);
        assert_eq!(code, Some(1), "{stdout}");
        stdout
    };
    let stdout = ever_longer(stalled, |stdout| stdout.contains("✓ audio "));
    let gaps = stdout.lines().find(|line| line.starts_with("✗ gaps ")).unwrap();
    assert!(gaps.contains("nothing to play 1 time, for ") && gaps.contains("; nothing more for "));
    let (silent, deaf) = (fake("", true), fake(streaming(b""), true));
    for (port, step) in [(silent, "✗ stream     no answer within"), (deaf, "✗ audio      no audio")]
    {
        let stalled = |seconds: f64| {
            let more = ["--listen", &format!("--timeout={seconds}")];
            check(&format!("localhost:{port}"), &more).1
        };
        let stdout = ever_longer(stalled, |stdout| stdout.contains(step));
        assert!(stdout.contains(step), "{stdout}");
    }
}

#[test]
fn ctrl_c_ends_the_listening_with_its_findings() {
    let port = fake(streaming(&pages(7, &vec![silence(160); 500]).concat()), true);
    let listening = Listening::start(&format!("localhost:{port}"), 3600);
    listening.said.wait_for("✓ audio ");
    kill_process(Pid::from_raw(listening.child.id() as i32).unwrap(), Signal::INT).unwrap();
    listening.said.wait_for("✓ behind ");
    assert_eq!(listening.end("✗ silence    dead air"), Some(1));
}

#[test]
fn a_port_for_tls_is_named_and_arguments_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), "cert.pem", "key.pem");
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let server = Server::start(&[("TLS_CERT", &cert), ("TLS_KEY", &key)]);
    let (code, stdout) = check(&format!("http://localhost:{}", server.port), &["--listen"]);
    assert_eq!(code, Some(1));
    let fix = format!(
        "✗ stream     this port speaks TLS; `openstudio-signaling check --listen wss://localhost:{}/stream/live.opus`\n",
        server.port
    );
    assert_eq!(stdout, fix);
    let url = format!("https://localhost:{}", server.port);
    let arguments = ["check", "--listen", url.as_str()];
    let (code, stdout, _) = run(&arguments, &[("SSL_CERT_FILE", &cert)]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("! tls ") && stdout.contains("\n✗ stream     HTTP 404"), "{stdout}");
    for other in ["--ready", "--call", "--watch"] {
        assert_eq!(run(&["check", "--listen", other], &[]).0, Some(2), "{other}");
    }
    assert_eq!(run(&["check", "--seconds=3"], &[]).0, Some(2), "it is for --listen");
    let (code, _, stderr) = run(&["check", "--listen", "--seconds=1"], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("Invalid --seconds \"1\""), "{stderr}");
}
