//! HTTP that asks for much and takes nothing.

use std::io::Write;

use crate::support::{Answer, connect, head};
use crate::target::Target;

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
