//! The programme: from pieces of WebM to what a listener of a real Icecast decodes.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::icecast::{Icecast, Listener, PASSWORD};
use crate::identity::{COOKIE, open, register};
use crate::paused::{self, Clock};
use crate::peers::{A, peer, resume_of};
use crate::port::free_port;
use crate::rooms::{B, C, error};
use crate::settle::is_silent;
use crate::support::{Client, Server};

pub const STARTED: &str = r#"{"type":"stream-started","message":"Connected to Icecast server"}"#;

impl Listener {
    /// Listens until so many bytes are there.
    pub fn until(&mut self, bytes: usize) {
        self.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut buffer = [0; 4096];
        while self.heard.len() < bytes {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the stream ended after {} bytes", self.heard.len()),
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error} after {} bytes", self.heard.len()),
            }
        }
    }
}

/// A recording of so many seconds, as WebM with a Cluster a second.
pub fn recording(directory: &Path, seconds: u32) -> PathBuf {
    let file = directory.join("recording.webm");
    let source = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let encoding = ["-ac", "2", "-c:a", "libopus", "-b:a", "128k", "-f", "webm", "-live", "1"];
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-f", "lavfi", "-i", &source]).args(encoding);
    command.args(["-cluster_time_limit", "1000"]).arg(&file).stdin(Stdio::null());
    assert!(command.status().unwrap().success());
    file
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// What a file sounds like: 16 bits of each sample of both channels.
pub fn decoded(file: &Path) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-i"]).arg(file);
    let output = command.args(["-f", "s16le", "-"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What a listener heard is one valid Ogg stream. Returns what opusinfo says of it.
pub fn validated(directory: &Path, heard: &[u8]) -> (PathBuf, String) {
    let file = directory.join("heard.ogg");
    std::fs::write(&file, heard).unwrap();
    assert_eq!(run(Command::new("oggz-validate").arg(&file)), "");
    let info = run(Command::new("opusinfo").arg(&file));
    assert!(!info.to_lowercase().contains("warning"), "{info}");
    assert_eq!(info.matches("New logical stream").count(), 1, "{info}");
    (file, info)
}

/// How long a listener heard something, in seconds, by opusinfo.
fn seconds(info: &str) -> f64 {
    let length = info.split("Playback length: ").nth(1).unwrap().lines().next().unwrap();
    let (minutes, seconds) = length.split_once("m:").unwrap();
    let minutes: f64 = minutes.parse().unwrap();
    minutes * 60.0 + seconds.trim_end_matches('s').parse::<f64>().unwrap()
}

pub fn chunk(bytes: &[u8]) -> String {
    format!(r#"{{"type":"stream-chunk","chunk":"{}"}}"#, STANDARD.encode(bytes))
}

/// A server whose clock stands still, with every host on air who wants to be.
pub fn start(icecast: &[(&str, String)]) -> (Server, Clock) {
    let usual = [("ON_AIR_ACCESS", "open"), ("HEARTBEAT_MS", "3600000")];
    let all: Vec<_> = icecast.iter().map(|(name, value)| (*name, value.as_str())).collect();
    paused::start(&[&usual[..], &all].concat())
}

/// The host of room `show`.
pub fn host(server: &Server, id: &str) -> Client {
    let (mut client, _) = open(server, &[&format!("Cookie: openstudio-id={COOKIE}")]);
    resume_of(&register(&mut client, id, ""), id);
    enter(&mut client);
    client
}

fn enter(client: &mut Client) -> String {
    client.ask(r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#)
}

#[test]
fn a_listener_hears_what_the_host_records() {
    let directory = tempfile::tempdir().unwrap();
    let (icecast, file) = (Icecast::start(), recording(directory.path(), 5));
    let (server, _clock) = start(&icecast.settings());
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    let listener = icecast.listen();
    let webm = std::fs::read(&file).unwrap();
    // Pieces end anywhere.
    for piece in webm.chunks(7_001) {
        let ack = format!(r#"{{"type":"chunk-ack","size":{}}}"#, piece.len());
        assert_eq!(host.ask(&chunk(piece)), ack);
    }
    let station = crate::fetch::get(server.port, "/api/station").body;
    assert!(
        station.contains(r#""onAir":{"since":"#) && station.contains(r#""mount":"/live.ogg"}"#)
    );
    let stopped = r#"{"type":"stream-stopped","message":"Stream stopped successfully"}"#;
    assert_eq!(host.ask(r#"{"type":"stop-stream"}"#), stopped);
    let (heard, info) = validated(directory.path(), &listener.hear_out());
    assert!(info.contains("TITLE=OpenStudio Sample Station"), "{info}");
    let (said, heard) = (decoded(&file), decoded(&heard));
    assert!(said.len() >= 4 * 48_000 * 5 - 20_000, "{} bytes", said.len());
    // Behind it there is a packet of silence, which ends the stream.
    let more = heard.len().saturating_sub(said.len());
    assert!(heard.starts_with(&said) && more <= 4 * 2 * 960, "{} and {more}", said.len());
    for line in [
        format!("On air: peer {A} of room show"),
        "Icecast takes the programme: http://127.0.0.1:".into(),
        "because its host stopped it".into(),
    ] {
        server.log.wait_for(&line);
    }
    assert_eq!(server.log.count(PASSWORD), 0);
}

#[test]
fn a_host_who_is_away_is_a_silence_in_one_stream() {
    let directory = tempfile::tempdir().unwrap();
    let (icecast, file) = (Icecast::start(), recording(directory.path(), 3));
    let (server, mut clock) = start(&icecast.settings());
    let webm = std::fs::read(&file).unwrap();
    let mut first = host(&server, A);
    assert_eq!(first.ask(r#"{"type":"start-stream"}"#), STARTED);
    let mut listener = icecast.listen();
    assert!(first.ask(&chunk(&webm)).contains("chunk-ack"));
    let mut guest = peer(&server, C);
    assert!(enter(&mut guest).contains(r#""role":"guest""#));
    assert!(first.text().contains("peer-joined"));
    // The host's page is loaded again, by the same browser, twice.
    let mut last = first;
    for (id, away) in [(B, 8_000), ("f47ac10b-58cc-4372-a567-0e02b2c3d4dd", 45_000)] {
        last.send(0x88, &1001_u16.to_be_bytes());
        server.log.wait_for("Silence on air: peer ");
        for _ in 0..away / 100 {
            clock.advance(100);
        }
        let mut page = host(&server, id);
        assert_eq!(page.ask(r#"{"type":"start-stream"}"#), STARTED, "the same stream goes on");
        assert!(page.ask(&chunk(&webm)).contains("chunk-ack"));
        last = page;
    }
    // It has not waited for the audio: what is silent has the programme's own rate.
    listener.until(53 * 16_000);
    assert!(last.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    let (_, info) = validated(directory.path(), &listener.hear_out());
    let all = seconds(&info);
    assert!((55.0..60.0).contains(&all), "{all} s: {info}");
    assert_eq!(server.log.count("Icecast takes the programme"), 1);
}

#[test]
fn a_host_who_is_not_back_ends_the_programme() {
    let icecast = Icecast::start();
    let mut settings = icecast.settings().to_vec();
    settings.push(("ICECAST_HOLD_MS", "5000".into()));
    let (server, mut clock) = start(&settings);
    let mut first = host(&server, A);
    assert_eq!(first.ask(r#"{"type":"start-stream"}"#), STARTED);
    let listener = icecast.listen();
    drop(first);
    server.log.wait_for("Silence on air: peer ");
    for _ in 0..50 {
        clock.advance(100);
    }
    server.log.wait_for("because its host did not come back");
    let directory = tempfile::tempdir().unwrap();
    validated(directory.path(), &listener.hear_out());
    assert!(crate::fetch::get(server.port, "/api/station").body.contains(r#""onAir":null"#));
}

#[test]
fn an_icecast_that_comes_late_takes_the_programme_by_itself() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/live.ogg");
    let settings = [("ICECAST_URL", url), ("ICECAST_PASSWORD", PASSWORD.to_owned())];
    let (server, mut clock) = start(&settings);
    let mut host = host(&server, A);
    let failed = host.ask(r#"{"type":"start-stream"}"#);
    assert!(failed.contains(r#""type":"stream-error","message":"Failed to connect to Icecast: Icecast does not answer"#), "{failed}");
    let line = server.log.wait_for("Nobody hears the programme: Icecast does not answer");
    assert!(line.contains("systemctl enable --now openstudio-signaling-icecast.socket"), "{line}");
    assert!(host.ask(&chunk(b"")).contains("chunk-ack"), "it goes on");
    for _ in 0..99 {
        clock.advance(100);
    }
    assert!(is_silent(&host.stream));
    clock.advance(100);
    let told = host.text();
    assert!(told.contains("Listeners hear nothing") && told.contains("off-air"), "{told}");
    let icecast = Icecast::try_at(port, 0).expect("the port was free");
    for _ in 0..25 {
        clock.advance(100);
    }
    assert_eq!(host.text(), STARTED);
    let listener = icecast.listen();
    assert!(host.ask(r#"{"type":"leave-room"}"#).contains("room-left"));
    assert!(!listener.hear_out().is_empty());
    server.log.wait_for("because its host left the room");
}

#[test]
fn an_icecast_that_refuses_is_said_once() {
    let icecast = Icecast::start();
    let [(url, address), _] = icecast.settings();
    let wrong = "not the one that it has";
    let (server, mut clock) = start(&[(url, address), ("ICECAST_PASSWORD", wrong.to_owned())]);
    let mut host = host(&server, A);
    let failed = host.ask(r#"{"type":"start-stream"}"#);
    assert!(
        failed.contains("Failed to connect to Icecast: Icecast refuses the password"),
        "{failed}"
    );
    let told = host.text();
    assert!(told.contains("Nobody hears you") && told.contains(r#""code":"off-air""#), "{told}");
    let line = server.log.wait_for("Nobody hears the programme, and nothing is tried again");
    assert!(line.contains("ERROR") && line.contains("source-password in icecast.xml"), "{line}");
    host.say(&chunk(b"x"));
    for _ in 0..200 {
        clock.advance(100);
    }
    assert!(is_silent(&host.stream), "no alert for each piece");
    assert_eq!(server.log.count(wrong), 0);
    // Nothing is set up.
    let (server, _clock) = start(&[]);
    let mut host = self::host(&server, A);
    assert!(host.ask(r#"{"type":"start-stream"}"#).contains("ICECAST_URL is not set"));
    assert!(host.text().contains("this server has no Icecast"));
}

#[test]
fn who_may_go_on_air() {
    let icecast = Icecast::start();
    let (server, mut clock) = start(&icecast.settings());
    let start_stream = r#"{"type":"start-stream"}"#;
    let mut a = server.client();
    assert_eq!(
        a.ask(start_stream),
        error("Must register before starting stream", "not-registered")
    );
    let stopped = r#"{"type":"stream-stopped","message":"Stream stopped successfully"}"#;
    assert_eq!(a.ask(r#"{"type":"stop-stream"}"#), stopped, "also before");
    resume_of(&register(&mut a, A, ""), A);
    assert_eq!(a.ask(start_stream), error("Not in a room", "not-in-room"));
    enter(&mut a);
    let mut b = peer(&server, B);
    enter(&mut b);
    assert!(a.text().contains("peer-joined"));
    let off = error("You are off air: press Stop Streaming, then Stream", "off-air");
    assert_eq!(b.ask(&chunk(b"x")), off);
    b.say(&chunk(b"x"));
    assert!(b.ask(r#"{"type":"ping"}"#).contains("pong"), "it is told once");
    let guest = error("Only hosts and ops can start streaming", "forbidden");
    assert_eq!(b.ask(start_stream), guest);
    b.say(&chunk(b"x"));
    assert!(b.ask(r#"{"type":"ping"}"#).contains("pong"), "it knows why");
    assert_eq!(a.ask(start_stream), STARTED);
    // Whoever leads another room is refused at once: it would gain nothing.
    let mut c = peer(&server, C);
    c.ask(r#"{"type":"create-or-join-room","roomId":"other","role":"host"}"#);
    let busy = error(&format!(r#"Peer "{A}" is on air"#), "on-air");
    assert_eq!(c.ask(start_stream), busy);
    // Where it is the same room, who is on air is asked whether it lives.
    let invite = a.ask(r#"{"type":"request-invite","inviteRole":"ops"}"#);
    let invite = invite.split(r#""inviteToken":""#).nth(1).unwrap().split('"').next().unwrap();
    let mut ops = peer(&server, "f47ac10b-58cc-4372-a567-0e02b2c3d4ee");
    let come_in = format!(r#"{{"type":"create-or-join-room","inviteToken":"{invite}"}}"#);
    assert!(ops.ask(&come_in).contains(r#""role":"ops""#));
    assert!(a.text().contains("peer-joined"));
    ops.say(start_stream);
    assert_eq!(a.frame().unwrap().opcode, 9);
    clock.advance(1);
    a.send(0x8A, b"");
    assert_eq!(ops.text(), busy);
    // What would be an alert is none for the one on air.
    let nobody = "f47ac10b-58cc-4372-a567-0e02b2c3d4dd";
    let offer = format!(r#"{{"type":"offer","from":"{A}","to":"{nobody}","sdp":"x"}}"#);
    let notice = a.ask(&offer);
    assert!(notice.starts_with(r#"{"type":"notice","#) && notice.contains("peer-not-connected"));
    // One that is silent makes room, and the same stream goes on.
    clock.advance(1);
    ops.say(start_stream);
    assert_eq!(a.frame().unwrap().opcode, 9);
    for _ in 0..10 {
        clock.advance(1_000);
    }
    assert_eq!(ops.text(), STARTED);
    assert_eq!(a.close_code(), Some(4010));
    assert_eq!(server.log.count("Icecast takes the programme"), 1);
    // Where only invited ones go on air, this one may not.
    let (server, _clock) = paused::start(&[]);
    let mut a = peer(&server, A);
    enter(&mut a);
    let uninvited = error("Only invited hosts and ops can start streaming", "not-invited");
    assert_eq!(a.ask(start_stream), uninvited);
}

#[test]
fn pieces_have_bounds_of_their_own() {
    let icecast = Icecast::start();
    let (server, _clock) = start(&icecast.settings());
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    // What is no piece has no answer; what is large has one.
    for bad in [r#""!!""#, "7", "null"] {
        host.say(&format!(r#"{{"type":"stream-chunk","chunk":{bad}}}"#));
    }
    let large = chunk(&vec![0; 3_000_000]);
    let mut payload = vec![0x81, 0xFF];
    payload.extend((large.len() as u64).to_be_bytes());
    payload.extend([0; 4]);
    payload.extend(large.as_bytes());
    std::io::Write::write_all(&mut host.stream, &payload).unwrap();
    assert_eq!(host.text(), r#"{"type":"chunk-ack","size":3000000}"#);
    // What is too large is skipped, and costs nobody the connection. A message of 4 MiB is not.
    let most = 4 * 1024 * 1024;
    for (size, is_read) in [(most, true), (most + 1, false)] {
        payload[2..10].copy_from_slice(&(size as u64).to_be_bytes());
        let mut message = payload[..14].to_vec();
        message.resize(14 + size, b' ');
        std::io::Write::write_all(&mut host.stream, &message).unwrap();
        if is_read {
            assert_eq!(host.text(), error("Invalid JSON", "invalid-json"));
        }
        assert!(host.ask(&chunk(b"x")).contains("chunk-ack"));
    }
    for _ in 6..500 {
        assert!(host.ask(&chunk(b"x")).contains("chunk-ack"));
    }
    let limit = r#"{"type":"notice","message":"Rate limit exceeded","code":"rate-limit-exceeded"}"#;
    assert_eq!(host.ask(&chunk(b"x")), limit);
    assert_eq!(server.log.count("RATE_LIMIT"), 0, "no setting raises that limit");
    server.log.wait_for("are too many: more than 500 in 10 s");
    // Off air, it is as everybody.
    assert!(host.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    std::io::Write::write_all(&mut host.stream, &payload[..14]).unwrap();
    assert_eq!(host.close_code(), Some(1009));
}

#[test]
fn a_room_on_air_does_not_grow_too_old() {
    let icecast = Icecast::start();
    let mut settings = icecast.settings().to_vec();
    settings.push(("ROOM_TTL_MS", "5000".into()));
    let (server, mut clock) = start(&settings);
    let mut host = host(&server, A);
    let mut other = peer(&server, B);
    other.ask(r#"{"type":"create-or-join-room","roomId":"other","role":"host"}"#);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    for _ in 0..90 {
        clock.advance(100);
    }
    assert!(other.text().contains("room-expired"));
    assert!(is_silent(&host.stream), "it is on air");
    assert!(host.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    assert!(host.text().contains("room-expired"));
}

#[test]
fn a_page_that_is_back_and_sends_nothing_is_told() {
    let icecast = Icecast::start();
    let (server, mut clock) = start(&icecast.settings());
    let mut first = host(&server, A);
    assert_eq!(first.ask(r#"{"type":"start-stream"}"#), STARTED);
    drop(first);
    server.log.wait_for("Silence on air");
    let (mut back, _) = open(&server, &[&format!("Cookie: openstudio-id={COOKIE}")]);
    resume_of(&register(&mut back, A, ""), A);
    for _ in 0..30 {
        clock.advance(100);
    }
    let off = error("You are off air: press Stop Streaming, then Stream", "off-air");
    assert_eq!(back.text(), off);
    assert_eq!(back.ask(r#"{"type":"start-stream"}"#), STARTED);
}

#[test]
fn check_says_whether_icecast_would_take_a_programme() {
    let answer = |server: &Server| crate::fetch::get(server.port, "/check/icecast");
    let step = |server: &Server| {
        let (code, said) = crate::check::check(&format!("localhost:{}", server.port), &[]);
        let line = said.lines().find(|line| line.contains(" icecast ")).unwrap_or_default();
        (code, line.to_owned())
    };
    let icecast = Icecast::start();
    let (server, mut clock) = start(&icecast.settings());
    assert_eq!(answer(&server).body, r#"{"mount":"free"}"#);
    let (code, line) = step(&server);
    assert!(
        code == Some(0) && line.contains("takes the password, and has the mount free"),
        "{line}"
    );
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    assert_eq!(answer(&server).body, r#"{"mount":"on-air"}"#);
    assert!(step(&server).1.contains("takes the programme that is on air"));
    // To another server, that is another source.
    let (other, _clock) = start(&icecast.settings());
    assert!(answer(&other).body.contains(r#""problem":"another source has the mount""#));
    let (code, line) = step(&other);
    assert!(code == Some(1) && line.contains("choose another mount in ICECAST_URL"), "{line}");
    assert!(host.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    clock.advance(5_000);
    // Icecast lets go of the mount a moment later.
    crate::support::wait_until(
        || {
            clock.advance(5_000);
            answer(&server).body.contains("free")
        },
        || "the mount is not free".into(),
    );
    let [url, _] = icecast.settings();
    let (wrong, _clock) = start(&[url, ("ICECAST_PASSWORD", "not the one".into())]);
    assert!(step(&wrong).1.contains("Icecast refuses the password"));
    let away = ("ICECAST_URL", format!("http://127.0.0.1:{}/live.ogg", free_port()));
    let (away, _clock) = start(&[away]);
    let (code, line) = step(&away);
    assert!(code == Some(1) && line.contains("Icecast does not answer; start Icecast"), "{line}");
    // Without an Icecast, and without a check page, nothing is said.
    let (nothing, _clock) = start(&[]);
    let mut settings = icecast.settings().to_vec();
    settings.push(("CHECK_PAGE", "off".into()));
    let (hidden, _hidden_clock) = start(&settings);
    for server in [nothing, hidden] {
        assert_eq!(answer(&server).status, 404);
        assert_eq!(step(&server), (Some(0), String::new()));
    }
}
