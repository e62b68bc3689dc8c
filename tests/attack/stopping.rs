//! SIGTERM in the middle of everything at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::peers::{A, peer};
use crate::shows::Show;
use crate::support::{Client, Server, UPGRADE, connect, head};
use crate::talk::frame;
use crate::target::Target;

/// All attacks at once, until it is dropped.
struct Everything {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    streams: Vec<TcpStream>,
}

impl Everything {
    fn start(server: &Server) -> Self {
        let port = server.port;
        let mut streams = Vec::new();
        // Nothing is said, half a head, and a message that does not end.
        streams.extend((0..200).map(|_| connect(port)));
        for number in 0..200 {
            let mut stream = connect(port);
            stream.write_all(&head(UPGRADE)[..number % 100]).unwrap();
            streams.push(stream);
        }
        let part = [frame(0x01, b"{"), frame(0x00, b"").repeat(100), frame(0x00, b"x").repeat(500)];
        for _ in 0..50 {
            let mut client = server.client();
            client.stream.write_all(&part.concat()).unwrap();
            streams.push(client.stream);
        }
        // Who asks and never reads, by WebSocket and by HTTP, and who is sent what it does not read.
        let pings = frame(0x81, br#"{"type":"ping"}"#).repeat(2_000);
        let requests = head(&["GET /metrics HTTP/1.1", "Host: x"]).repeat(1_000);
        for (number, bytes) in [&pings, &requests].into_iter().cycle().take(40).enumerate() {
            let mut stream = if number % 2 == 0 { server.client().stream } else { connect(port) };
            stream.set_nonblocking(true).unwrap();
            while stream.write_all(bytes).is_ok() {}
            streams.push(stream);
        }
        let deaf = peer(server, A);
        let mut sender = peer(server, &A.replace("aa", "ab"));
        let offer = format!(
            r#"{{"type":"offer","from":"{}","to":"{A}","sdp":"{}"}}"#,
            A.replace("aa", "ab"),
            "x".repeat(60_000)
        );
        (0..10).for_each(|_| sender.say(&offer));
        streams.extend([deaf.stream, sender.stream]);
        // Who keeps on: a flood of messages that is not read, and connections that come and go.
        let stop = Arc::new(AtomicBool::new(false));
        let mut everything = Self { stop, threads: Vec::new(), streams };
        let flooder = server.client().stream;
        flooder.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut reader = flooder.try_clone().unwrap();
        reader.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (mut writer, bytes) =
            (flooder.try_clone().unwrap(), frame(0x81, b"no JSON").repeat(500));
        everything.streams.push(flooder);
        everything.keep_on(move || drop(writer.write_all(&bytes)));
        everything.keep_on(move || drop(reader.read(&mut [0; 65_536])));
        everything.keep_on(move || {
            // Once the listener is closed there is nothing to connect to.
            let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut client = Client { stream };
            let _ = client.stream.write_all(&head(UPGRADE));
            let _ = client.stream.read(&mut [0; 64]);
        });
        everything
    }

    fn keep_on(&mut self, mut act: impl FnMut() + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                act();
            }
        }));
    }

    /// Everybody has gone, without a goodbye.
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

const SETTINGS: [(&str, &str); 2] = [("RATE_LIMIT", "0"), ("MAX_CONNECTIONS_PER_IP", "0")];

/// SIGTERM in the middle of it all. The ten of the studio get their 1001 though the attackers stay, and when these go,
/// the process ends with 0: no task was left.
#[test]
fn a_stop_in_the_middle_of_it_all_is_clean_when_they_go() {
    let (mut target, _clock) = Target::start_paused(&SETTINGS);
    let mut show = Show::start(&target.server);
    let everything = Everything::start(&target.server);
    show.goes_on(5);
    target.server.signal(Signal::TERM);
    show.hears_goodbye();
    assert!(target.server.runs(), "the attackers are there");
    everything.end();
    assert_eq!(target.server.wait().code(), Some(0));
    target.server.log.wait_for("Stopped cleanly");
    target.is_sound();
}

/// The same where the attackers stay: they keep nobody from being told, and do not keep the process longer than the
/// grace period.
#[test]
fn a_stop_in_the_middle_of_it_all_is_forced_when_they_stay() {
    let (mut target, mut clock) =
        Target::start_paused(&[&SETTINGS[..], &[("SHUTDOWN_GRACE_MS", "2500")]].concat());
    let show = Show::start(&target.server);
    let everything = Everything::start(&target.server);
    target.server.signal(Signal::TERM);
    show.hears_goodbye();
    clock.advance(2_499);
    assert!(target.server.runs(), "the grace period is not over");
    clock.advance_to_the_end(1);
    assert_eq!(target.server.wait().code(), Some(1));
    target.server.log.wait_for("Forced to stop: the grace period is over");
    target.is_sound();
    everything.end();
}
