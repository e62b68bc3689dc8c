//! One client that sends as fast as it can.

use std::io::{BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::shows::{P99, Show, median};
use crate::support::{Server, frame};
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
    writing: JoinHandle<()>,
    reading: JoinHandle<Answers>,
}

/// What a flood was answered.
#[derive(Debug, Default)]
struct Answers {
    pongs: usize,
    refused: usize,
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
        let counted = Arc::clone(&answered);
        let bytes = message.repeat(BATCH);
        let writing = std::thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                if sent - answered.load(Ordering::Relaxed) < AHEAD {
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
                    1 if text.starts_with(r#"{"type":"pong""#) => answers.pongs += 1,
                    1 if text.contains(r#""code":"rate-limit-exceeded""#) => answers.refused += 1,
                    _ => answers.others += 1,
                }
            }
        });
        Self { stop, writing, reading }
    }

    fn end(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.join().unwrap();
        self.reading.join().unwrap()
    }
}

/// What the server did in a stretch of time.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    cpu: f64,
    flood: f64,
    others: f64,
}

/// Measures what the server does while `work` says so many things.
fn stretch(target: &Target, work: impl FnOnce() -> usize) -> Stretch {
    let received = || {
        let series = r#"openstudio_signaling_messages_total{direction="received",type="ping"}"#;
        (target.metric(series), target.cpu().as_secs_f64())
    };
    let before = received();
    let others = work() as f64;
    let after = received();
    Stretch { cpu: after.1 - before.1, flood: after.0 - before.0 - others, others }
}

/// How many clients talk beside the flood: enough for their part of the processor's time to be measurable beside a
/// client that takes all it can get.
const OTHERS: usize = 200;

/// One client sends without end; all above `RATE_LIMIT` is answered by a refusal, exactly. What a message of 200
/// others costs the server's processor stays within 2 times what it costs without the flood, and the flood has no
/// more than a few reads, of 16 KiB each, before all 200 others have had theirs.
///
/// What a message of the others costs under the flood is not visible from outside. It is the time of the whole
/// process, less the flood's messages at the price that these have when the flood is alone. Three times over, quiet,
/// flood and both in turn; the median counts.
#[test]
fn a_flood_costs_the_others_nothing() {
    let target = Target::start(&[("RATE_LIMIT", "2000"), ("MAX_CONNECTIONS_PER_IP", "0")]);
    let mut others: Vec<_> = (0..OTHERS).map(|_| target.server.client()).collect();
    let flood = frame(0x81, PING.as_bytes());
    let mut talk = |rounds: usize| {
        for _ in 0..rounds {
            others.iter_mut().for_each(|client| client.say(PING));
            others.iter_mut().for_each(|client| assert!(client.text().contains("pong")));
        }
        rounds * OTHERS
    };
    const ROUNDS: usize = 40;
    talk(ROUNDS);
    let mut measured = Vec::new();
    for _ in 0..3 {
        let quiet = stretch(&target, || talk(ROUNDS));
        let begun = Instant::now();
        let flooding = Flood::start(&target.server, &flood);
        let alone = stretch(&target, || {
            std::thread::sleep(Duration::from_millis(400));
            0
        });
        let both = stretch(&target, || talk(ROUNDS));
        let answers = flooding.end();
        // All that fits into each window of ten seconds, and everything else refused.
        let windows = 1 + begun.elapsed().as_secs() as usize / 10;
        assert!((2_000..=2_000 * windows).contains(&answers.pongs), "{answers:?}");
        assert!(answers.refused > 2_000 && answers.others == 0, "{answers:?}");
        let usual = quiet.cpu / quiet.others;
        let flooded = (both.cpu - both.flood * alone.cpu / alone.flood) / both.others;
        let turns = both.flood * flood.len() as f64 / 16_384.0 / ROUNDS as f64;
        println!("{usual:.7} s a message, under the flood {flooded:.7} s, {turns:.2} turns of it");
        measured.push((flooded / usual, turns));
    }
    let (ratios, turns): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
    assert!(median(ratios.clone()) <= 2.0, "{ratios:?}");
    assert!(median(turns.clone()) <= MOST_TURNS, "{turns:?}");
    drop(others);
    target.survives();
}

/// How many turns a flood may have while 200 others get their answers. It has one each time that the server looks
/// for what has come in; the others' messages come in while it works.
const MOST_TURNS: f64 = 4.0;

/// Floods of what no rate limit stops, because it is no message (pings and empty fragments of WebSocket, and what is
/// no JSON), and of refusals without a limit. A turn of the flood is a few messages, so the p99 of a studio of ten stays
/// under 50 ms; and memory does not grow.
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
        let (begun, cpu) = (Instant::now(), target.cpu());
        let waits: Vec<_> = (0..3).map(|_| show.p99(Duration::from_millis(400))).collect();
        let answers = flood.end();
        let (took, cpu) = (begun.elapsed(), target.cpu() - cpu);
        let grown = target.memory().saturating_sub(before);
        println!("{what}: p99 {waits:?}, {cpu:?} of {took:?}; {grown} bytes");
        assert!(median(waits.clone()) < P99, "{what}: {waits:?}");
        assert!(answers.others > 100 && answers.pongs + answers.refused == 0, "{answers:?}");
        assert!(grown < 2 << 20, "{what}: {grown} bytes");
    }
    show.end();
    target.survives();
}
