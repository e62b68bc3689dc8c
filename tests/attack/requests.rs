//! HTTP that asks for much and takes nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::shows::{P99, Show, median};
use crate::support::{Answer, Client, connect, frame, head};
use crate::target::Target;

/// A thread that sends as much as its connections take, and reads what comes, until it is ended.
struct Hammer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Hammer {
    fn start(mut streams: Vec<TcpStream>, bytes: Vec<u8>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut sent = vec![0; streams.len()];
            let mut read = 0;
            let mut buffer = vec![0; 256 * 1024];
            streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
            while !until.load(Ordering::Relaxed) {
                for (stream, sent) in streams.iter_mut().zip(&mut sent) {
                    // Where it left off: nothing is torn.
                    if let Ok(written) = stream.write(&bytes[*sent..]) {
                        *sent = (*sent + written) % bytes.len();
                    }
                    read += stream.read(&mut buffer).unwrap_or(0);
                }
            }
            read
        });
        Self { over, thread }
    }

    /// How many bytes came back.
    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// 200 connections that ask without end, hundreds of requests at a time, and then 20 clients that send nothing but
/// messages of a byte, thousands at a time: the studio keeps its p99. What makes it keep it is that requests, and the
/// messages of a client, are taken a few at a time; all at once they would be seconds.
#[test]
fn many_who_ask_without_end_hold_nobody_up() {
    let target = Target::start(&[("RATE_LIMIT", "0"), ("MAX_CONNECTIONS_PER_IP", "0")]);
    let mut show = Show::start(&target.server);
    let requests = head(&["GET /health HTTP/1.1", "Host: x"]).repeat(200);
    let asking: Vec<_> = (0..200).map(|_| connect(target.port())).collect();
    let saying = (0..20).map(|_| target.server.client());
    let saying: Vec<_> = saying.map(|Client { stream }| stream).collect();
    for (what, streams, bytes) in
        [("requests", asking, requests), ("messages", saying, frame(0x81, b"x").repeat(2_000))]
    {
        let hammer = Hammer::start(streams, bytes);
        let waits: Vec<_> = (0..3).map(|_| show.p99(Duration::from_millis(700))).collect();
        let answered = hammer.end();
        println!("{what}: p99 {waits:?}, {answered} bytes of answers");
        assert!(answered > 100_000, "{what}: it was no flood");
        assert!(median(waits.clone()) < P99, "{what}: {waits:?}");
    }
    show.end();
    target.survives();
}

/// What a connection whose answers nobody reads may cost, in bytes: what hyper has read of the requests, and an answer.
const PIPELINE: usize = 128 * 1024;

/// 100 connections ask for the longest answer that there is, thousands of times in one go, and read none. Each costs a
/// bounded amount of memory, and who asks properly is answered.
#[test]
fn pipelined_requests_that_nobody_reads_are_bounded() {
    let target = Target::start(&[]);
    target.metric("openstudio_signaling_clients");
    let before = target.memory();
    let requests = head(&["GET /metrics HTTP/1.1", "Host: x"]).repeat(5_000);
    let streams: Vec<_> = (0..100).map(|_| connect(target.port())).collect();
    for mut stream in &streams {
        stream.set_nonblocking(true).unwrap();
        for _ in 0..20 {
            while stream.write_all(&requests).is_ok() {}
            std::thread::yield_now();
        }
    }
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
