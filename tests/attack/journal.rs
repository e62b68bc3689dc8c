//! A journal that stands still, as one does whose disk is gone.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::geteuid;

use crate::support::{Log, Server};
use crate::target::Target;

/// A journald of our own, which can be told to take no entries.
struct Journald {
    stands_still: Arc<(Mutex<bool>, Condvar)>,
    /// The entries, one a line.
    log: Log,
    folder: tempfile::TempDir,
}

impl Journald {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("systemd/journal")).unwrap();
        let socket = UnixDatagram::bind(folder.path().join("systemd/journal/socket")).unwrap();
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let stands_still = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&stands_still);
        std::thread::spawn(move || {
            let mut entry = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut entry) {
                let text = String::from_utf8_lossy(&entry[..length]).replace('\n', " ");
                // As a line on a terminal has it: what the tests look for.
                let text = text.replace("PRIORITY=2", "[CRIT]");
                if writeln!(writer, "{text}").is_err() {
                    return;
                }
                let still = gate.0.lock().unwrap();
                drop(gate.1.wait_while(still, |still| *still).unwrap());
            }
        });
        Self { stands_still, log: Log::follow(reader), folder }
    }

    /// A server in a namespace of mounts of its own, where this is what listens at journald's place.
    fn serve(&self) -> Server {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let stderr = tempfile::tempfile().unwrap();
        let file = stderr.metadata().unwrap();
        command
            .args(["sh", "-c", r#"/bin/mount --bind "$1" /run && exec "$0""#])
            .arg(env!("CARGO_BIN_EXE_openstudio-signaling"))
            .arg(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()))
            .envs([("PORT", "0"), ("RATE_LIMIT", "0"), ("LOG_LEVEL", "debug")])
            .env("HEARTBEAT_MS", "3600000")
            .stdin(Stdio::null())
            .stderr(stderr);
        let child = command.spawn().unwrap();
        Server::started(child, self.log.clone())
    }

    fn stand_still(&self) {
        *self.stands_still.0.lock().unwrap() = true;
    }

    fn go_on(&self) {
        *self.stands_still.0.lock().unwrap() = false;
        self.stands_still.1.notify_all();
    }
}

/// How many events are on their way at most: the queue's 4,096, as many in the writer's hand, and what the socket
/// holds.
const UNDER_WAY: usize = 2 * 4_096 + 600;

/// journald takes no entries, and the server has thousands. Whoever asks gets an answer as before; what does not fit
/// into the queue is lost and counted, in `/metrics` at once and in the log when it can be written again; memory grows
/// by the 2.5 MB that the queue may have, at most by twice that.
#[test]
fn a_journal_that_stands_still_holds_nobody_up() {
    const PINGS: usize = 20_000;
    let journald = Journald::start();
    let target = Target::of(journald.serve());
    let mut client = target.server.client();
    let before = target.memory();
    journald.stand_still();
    for _ in 0..PINGS {
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
    let grown = target.peak() - before;
    let lost = target.metric("openstudio_signaling_log_events_dropped_total") as usize;
    println!("{lost} of {PINGS} events lost; grown by {grown} bytes");
    assert!((PINGS - UNDER_WAY..PINGS).contains(&lost), "{lost}");
    assert!(grown < 5 << 20, "{grown} bytes");
    journald.go_on();
    target.server.log.wait_for("log events were dropped");
    client.leave(1000);
    // All that was under way is written: at its end the server has a second for what is left.
    target.server.log.wait_for("WebSocket client disconnected");
    target.survives();
}

/// SIGTERM while journald takes no entries: what cannot be written is left behind, and the exit code is that of a clean
/// drain.
#[test]
fn a_journal_that_stands_still_does_not_keep_the_process() {
    let journald = Journald::start();
    let mut target = Target::of(journald.serve());
    let mut client = target.server.client();
    journald.stand_still();
    // More than the socket holds.
    for _ in 0..2_000 {
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
    client.leave(1000);
    assert_eq!(target.server.stop(), Some(0));
    assert_eq!(target.server.log.count("Stopped cleanly"), 0, "it was not written");
    target.is_sound();
}
