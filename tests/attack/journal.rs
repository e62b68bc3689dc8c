//! A journal that is slow.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use crate::shows::P99;
use crate::support::{Log, Server};
use crate::target::Target;

/// A journald of our own, which can be as slow as one whose disk is.
struct Journald {
    /// Between two entries, in milliseconds.
    pause: Arc<AtomicU64>,
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
        let pause = Arc::new(AtomicU64::new(0));
        let paused = Arc::clone(&pause);
        std::thread::spawn(move || {
            let mut entry = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut entry) {
                let text = String::from_utf8_lossy(&entry[..length]).replace('\n', " ");
                // As a line on a terminal has it: what the tests look for.
                let text = text.replace("PRIORITY=2", "[CRIT]");
                if writeln!(writer, "{text}").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(paused.load(Ordering::Relaxed)));
            }
        });
        Self { pause, log: Log::follow(reader), folder }
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
            .stdin(Stdio::null())
            .stderr(stderr);
        let child = command.spawn().unwrap();
        Server::started(child, self.log.clone())
    }

    fn be_slow(&self) {
        self.pause.store(100, Ordering::Relaxed);
    }

    fn be_quick(&self) {
        self.pause.store(0, Ordering::Relaxed);
    }
}

/// How many events are on their way at most: the queue's 4,096, as many in the writer's hand, and what the socket
/// holds.
const UNDER_WAY: usize = 2 * 4_096 + 600;

/// journald takes ten entries a second, and the server has thousands. Whoever asks gets an answer as before, p99 under
/// 50 ms; what does not fit into the queue is lost and counted, in `/metrics` at once and in the log when it can be
/// written again; memory grows by the 2.5 MB that the queue may have, at most by twice that.
#[test]
fn a_slow_journal_holds_nobody_up() {
    const PINGS: usize = 20_000;
    let journald = Journald::start();
    let target = Target::of(journald.serve());
    let mut client = target.server.client();
    let before = target.memory();
    journald.be_slow();
    let mut waits: Vec<_> = (0..PINGS)
        .map(|_| {
            let asked = Instant::now();
            assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
            asked.elapsed()
        })
        .collect();
    waits.sort_unstable();
    let (p99, grown) = (waits[PINGS * 99 / 100], target.peak() - before);
    let lost = target.metric("openstudio_signaling_log_events_dropped_total") as usize;
    println!("p99 {p99:?}; {lost} of {PINGS} events lost; grown by {grown} bytes");
    assert!(p99 < P99, "{p99:?}");
    assert!((PINGS - UNDER_WAY..PINGS).contains(&lost), "{lost}");
    assert!(grown < 5 << 20, "{grown} bytes");
    journald.be_quick();
    target.server.log.wait_for("log events were dropped");
    client.leave(1000);
    // All that was under way is written: at its end the server has a second for what is left.
    target.server.log.wait_for("WebSocket client disconnected");
    target.survives();
}

/// SIGTERM while journald is slow: what cannot be written within a second is left behind, and the exit code is that
/// of a clean drain.
#[test]
fn a_slow_journal_does_not_delay_the_end() {
    let journald = Journald::start();
    let mut target = Target::of(journald.serve());
    let mut client = target.server.client();
    journald.be_slow();
    for _ in 0..200 {
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
    client.leave(1000);
    let asked = Instant::now();
    assert_eq!(target.server.stop(), Some(0));
    println!("stopped after {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    target.is_sound();
}
