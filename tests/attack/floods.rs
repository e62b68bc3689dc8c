//! One client that sends as fast as it can.

use std::io::{BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::shows::Show;
use crate::support::Server;
use crate::support::wait_until;
use crate::talk::frame;
use crate::target::Target;

const PING: &str = r#"{"type":"ping"}"#;

/// How many messages may be on their way: enough for the server never to run out of them. The kernel would take
/// hundreds of thousands, which the server would have to answer after the end.
const AHEAD: usize = 20_000;

/// How many are sent in one go.
const BATCH: usize = 500;

/// A client that sends the same again and again until it is told to stop, and reads what it is answered.
struct Flood {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    writing: JoinHandle<()>,
    reading: JoinHandle<Answers>,
}

/// What a flood was answered.
#[derive(Debug, Default)]
struct Answers {
    /// Before the first refusal.
    pongs: usize,
    refused: usize,
    pongs_after_a_refusal: usize,
    others: usize,
}

impl Flood {
    fn start(server: &Server, message: &[u8]) -> Self {
        let mut writer = server.client().stream;
        // Not a read for each frame: it must not be this side that is slow.
        let mut reader = BufReader::with_capacity(256 * 1024, writer.try_clone().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let answered = Arc::new(AtomicUsize::new(0));
        let [heard, counted] = [(); 2].map(|()| Arc::clone(&answered));
        let bytes = message.repeat(BATCH);
        let writing = std::thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                if sent - heard.load(Ordering::Relaxed) < AHEAD {
                    writer.write_all(&bytes).unwrap();
                    sent += BATCH;
                } else {
                    std::thread::yield_now();
                }
            }
            writer.write_all(&frame(0x88, &1000_u16.to_be_bytes())).unwrap();
        });
        let reading = std::thread::spawn(move || {
            let mut answers = Answers::default();
            loop {
                let mut head = [0; 2];
                reader.read_exact(&mut head).unwrap();
                let mut payload = [0; 125];
                let payload = &mut payload[..usize::from(head[1])];
                reader.read_exact(payload).unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let text = std::str::from_utf8(payload).unwrap_or_default();
                match head[0] & 0x0F {
                    8 => return answers,
                    1 if text.starts_with(r#"{"type":"pong""#) && answers.refused > 0 => {
                        answers.pongs_after_a_refusal += 1;
                    }
                    1 if text.starts_with(r#"{"type":"pong""#) => answers.pongs += 1,
                    1 if text.contains(r#""code":"rate-limit-exceeded""#) => answers.refused += 1,
                    _ => answers.others += 1,
                }
            }
        });
        Self { stop, answered, writing, reading }
    }

    /// Waits until it has had so many answers.
    fn has_had(&self, number: usize) {
        let answered = || self.answered.load(Ordering::Relaxed);
        wait_until(|| answered() > number, || format!("{} answers", answered()));
    }

    fn end(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.join().unwrap();
        self.reading.join().unwrap()
    }
}

/// How many clients talk beside the flood.
const OTHERS: usize = 200;

/// One client sends without end. As much of it is answered as `RATE_LIMIT` lets through in the ten seconds of a window,
/// which do not end here, and then all is answered by a refusal, exactly. 200 others get all of their answers.
#[test]
fn a_flood_is_refused_and_the_others_are_answered() {
    let (target, _clock) =
        Target::start_paused(&[("RATE_LIMIT", "2000"), ("MAX_CONNECTIONS_PER_IP", "0")]);
    let mut others: Vec<_> = (0..OTHERS).map(|_| target.server.client()).collect();
    let flooding = Flood::start(&target.server, &frame(0x81, PING.as_bytes()));
    for _ in 0..20 {
        others.iter_mut().for_each(|client| client.say(PING));
        others.iter_mut().for_each(|client| assert!(client.text().contains("pong")));
    }
    flooding.has_had(10_000);
    let answers = flooding.end();
    println!("{answers:?}");
    assert_eq!(answers.pongs, 2_000, "{answers:?}");
    assert!(answers.refused >= 8_000, "{answers:?}");
    assert_eq!((answers.pongs_after_a_refusal, answers.others), (0, 0), "{answers:?}");
    drop(others);
    target.survives();
}

/// Floods of what no rate limit stops, because it is no message (pings and empty fragments of WebSocket, and what is
/// no JSON), and of refusals without a limit. A studio of ten goes on, and memory does not grow.
#[test]
fn floods_below_the_rate_limit_hold_nobody_up() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let mut show = Show::start(&target.server);
    let pieces = [frame(0x02, b""), frame(0x00, b"x").repeat(50), frame(0x80, b"")].concat();
    for (what, message) in [
        ("long pings", frame(0x89, &[b'x'; 125])),
        ("empty pings", frame(0x89, b"")),
        ("empty messages", frame(0x81, b"")),
        ("refusals", frame(0x81, br#"{"type":"offer"}"#)),
        ("single bytes", pieces),
    ] {
        let before = target.memory();
        let flood = Flood::start(&target.server, &message);
        show.goes_on(5);
        flood.has_had(2_000);
        show.goes_on(5);
        let answers = flood.end();
        let grown = target.memory().saturating_sub(before);
        println!("{what}: {answers:?}; {grown} bytes");
        assert_eq!(answers.pongs + answers.refused + answers.pongs_after_a_refusal, 0);
        assert!(grown < 2 << 20, "{what}: {grown} bytes");
    }
    show.end();
    target.survives();
}
