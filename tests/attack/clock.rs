//! A clock that jumps. What is for people to read follows it; what measures a time that has passed does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::peers::A;
use crate::support::{Client, Server, binary, get};
use crate::target::Target;

const DAY: i128 = 24 * 60 * 60 * 1_000;

/// Where Debian's libfaketime is: between the program and the C library, where the time of day is asked for.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists()).expect("apt install faketime")
}

/// A clock beside the real one, in whole days.
struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
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

fn start(clock: &Clock, library: &Path) -> Server {
    let mut command = binary();
    command.envs([
        ("PORT", "0"),
        ("RATE_LIMIT", "20"),
        ("HEARTBEAT_MS", "300"),
        ("ROOM_TTL_MS", "9000"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_NO_CACHE", "1"),
    ]);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock.file());
    Server::spawn(&mut command)
}

fn uptime(server: &Server) -> u64 {
    let body = get(server.port, "/health").body;
    body.split(':').next_back().unwrap().trim_end_matches('}').parse().unwrap()
}

/// The next text; pings that come before it are answered, and counted.
fn hear(client: &mut Client, pings: &mut u32) -> String {
    loop {
        let frame = client.frame().expect("nobody is disconnected");
        match frame.opcode {
            1 => return String::from_utf8(frame.payload).unwrap(),
            9 => {
                *pings += 1;
                client.send(0x8A, &frame.payload);
            }
            opcode => panic!("{opcode} {:?}", frame.payload),
        }
    }
}

/// By how much the server's time of day differs from ours, in milliseconds.
fn offset(client: &mut Client, pings: &mut u32) -> i128 {
    client.say(r#"{"type":"ping"}"#);
    let pong = hear(client, pings);
    let time = pong.split(':').next_back().unwrap().trim_end_matches('}');
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    time.parse::<i128>().unwrap() - ours as i128
}

/// The time of day jumps a day forward, two days back, and home again, and back and forth a hundred times, while a
/// client is there. It is not disconnected and goes on being pinged at the pace of `HEARTBEAT_MS`; its room ends at its
/// age by a stopwatch; `RATE_LIMIT` has the same ten seconds; `/health` counts on. The timestamp of a pong is the time of
/// day.
#[test]
fn a_clock_that_jumps_changes_timestamps_only() {
    let clock = Clock { folder: tempfile::tempdir().unwrap() };
    clock.set("+0d");
    let target = Target::of(start(&clock, &library()));
    let mut pings = 0;
    let begun = Instant::now();
    let (started, mut client) = (uptime(&target.server), target.server.client());
    let mut offsets = vec![offset(&mut client, &mut pings)];
    client.ask(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    assert!(client.ask(r#"{"type":"create-room"}"#).contains("room-created"));
    let room = Instant::now();
    for days in ["+1d", "-1d", "+0d"] {
        clock.set(days);
        offsets.push(offset(&mut client, &mut pings));
    }
    println!("offsets in ms: {offsets:?}");
    for (offset, expected) in offsets.iter().zip([0, DAY, -DAY, 0]) {
        assert!((offset - expected).abs() < 30_000, "{offset} ms, not {expected}");
    }
    // Six messages so far; the window of RATE_LIMIT neither ends nor grows with a jump.
    for days in ["+1d", "-1d"].iter().cycle().take(14) {
        clock.set(days);
        client.say(r#"{"type":"ping"}"#);
        assert!(hear(&mut client, &mut pings).contains("pong"));
    }
    for days in ["+1d", "-1d", "+0d"] {
        clock.set(days);
        client.say(r#"{"type":"ping"}"#);
        assert!(hear(&mut client, &mut pings).contains("rate-limit-exceeded"));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "the window is not over: {:?}",
        begun.elapsed()
    );
    // The clock jumps on while nothing is heard but heartbeats, up to the end of the room.
    let jumping = std::thread::spawn(move || {
        for days in ["+1d", "-1d"].iter().cycle().take(100) {
            clock.set(days);
            std::thread::sleep(Duration::from_millis(60));
        }
        clock
    });
    let expired = hear(&mut client, &mut pings);
    let age = room.elapsed();
    assert!(expired.contains("room-expired"), "{expired}");
    assert!((8_900..12_000).contains(&age.as_millis()), "{age:?}");
    let clock = jumping.join().unwrap();
    // 300 ms apart and nobody else said anything: some 25 pings. A jump that ended the wait would have made it hundreds.
    println!("{pings} pings, the room was {age:?} old");
    assert!((10..45).contains(&pings), "{pings}");
    // A new window, ten seconds after the first began.
    std::thread::sleep(Duration::from_millis(10_300).saturating_sub(begun.elapsed()));
    clock.set("-1d");
    client.say(r#"{"type":"ping"}"#);
    assert!(hear(&mut client, &mut pings).contains("pong"));
    let (counted, passed) = (uptime(&target.server) - started, begun.elapsed().as_secs());
    assert!(counted.abs_diff(passed) <= 1, "{counted} s counted, {passed} s passed");
    assert_eq!(target.server.log.count("is dead"), 0);
    clock.set("+1d");
    client.leave(1000);
    target.survives();
}
