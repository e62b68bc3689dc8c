//! A clock that jumps. What is for people to read follows it; what measures a time that has passed does not.

use std::fs;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::fetch::get;
use crate::libfaketime::libfaketime;
use crate::paused;
use crate::peers::A;
use crate::settle::is_silent;
use crate::support::{Client, Server};
use crate::target::Target;

const DAY: i128 = 24 * 60 * 60 * 1_000;

/// The server's time of day, a whole number of days beside the real one.
struct TimeOfDay {
    folder: tempfile::TempDir,
}

impl TimeOfDay {
    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// In one step: whoever looks finds the old time or the new one.
    fn set(&self, days: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{days}\n")).unwrap();
        fs::rename(new, self.file()).unwrap();
    }
}

fn uptime(server: &Server) -> u64 {
    let body = get(server.port, "/health").body;
    body.split(':').next_back().unwrap().trim_end_matches('}').parse().unwrap()
}

fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i128
}

/// The server's time of day is ours, but for so many days.
fn is_off_by(client: &mut Client, days: i128) {
    let before = now();
    let pong = client.ask(PING);
    let time = pong.split(':').next_back().unwrap().trim_end_matches('}').parse::<i128>().unwrap();
    let ours = time - days * DAY;
    assert!((before..=now()).contains(&ours), "{} ms", ours - before);
}

const PING: &str = r#"{"type":"ping"}"#;

/// The time of day jumps forth and back while a client is there. What measures a time that has passed does not notice:
/// heartbeats come at the pace of `HEARTBEAT_MS`, its room ends at its age, `RATE_LIMIT` has its ten seconds, and
/// `/health` counts on. The timestamp of a pong is the time of day.
#[test]
fn a_clock_that_jumps_changes_timestamps_only() {
    let day = TimeOfDay { folder: tempfile::tempdir().unwrap() };
    day.set("+0d");
    let mut program = paused::this_program();
    program.envs([
        ("RATE_LIMIT", "20"),
        ("HEARTBEAT_MS", "1000"),
        ("ROOM_TTL_MS", "8500"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_NO_CACHE", "1"),
    ]);
    program.env("LD_PRELOAD", libfaketime()).env("FAKETIME_TIMESTAMP_FILE", day.file());
    let (server, mut clock) = paused::spawn(&mut program);
    let target = Target::of(server);
    let begun = Instant::now();
    let (started, certainly) = (uptime(&target.server), Instant::now());
    let mut jumps = ["+1d", "-1d"].iter().cycle();
    let mut jump = || day.set(jumps.next().unwrap());

    let mut client = target.server.client();
    client.ask(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    assert!(client.ask(r#"{"type":"create-room"}"#).contains("room-created"));
    for (days, number) in [("+0d", 0), ("+1d", 1), ("-1d", -1), ("+0d", 0)] {
        day.set(days);
        is_off_by(&mut client, number);
    }
    // Six messages so far.
    for _ in 0..14 {
        jump();
        assert!(client.ask(PING).contains("pong"));
    }
    for _ in 0..3 {
        jump();
        assert!(client.ask(PING).contains("rate-limit-exceeded"));
    }
    for _ in 0..8 {
        jump();
        clock.advance(999);
        assert!(is_silent(&client.stream), "no heartbeat before its time");
        jump();
        clock.advance(1);
        assert_eq!(client.frame().unwrap().opcode, 9);
        client.send(0x8A, b"");
    }
    jump();
    clock.advance(499);
    assert!(is_silent(&client.stream), "the room is not old enough");
    jump();
    clock.advance(1);
    assert!(client.text().contains("room-expired"));
    // The window of RATE_LIMIT is over ten seconds after it began, and no sooner.
    for (milliseconds, answer) in
        [(0, "rate-limit"), (999, "rate-limit"), (500, "rate-limit"), (1, "pong")]
    {
        jump();
        clock.advance(milliseconds);
        assert!(client.ask(PING).contains(answer));
    }
    let (surely, counted) = (certainly.elapsed().as_secs_f64(), uptime(&target.server) - started);
    let at_most = begun.elapsed().as_secs_f64();
    // Both of its readings are whole seconds.
    assert!((surely - 1.0..at_most + 1.0).contains(&(counted as f64)), "{counted} s in {surely} s");
    assert_eq!(target.server.log.count("is dead"), 0);
    client.leave(1000);
    target.survives();
}
