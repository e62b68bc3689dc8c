//! Connections that are begun and not ended, many that come and go, and more of them than there are descriptors.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::paused;
use crate::paused::Clock;
use crate::settle::is_silent;
use crate::shows::Show;
use crate::support::wait_until;
use crate::support::{Answer, Client, UPGRADE, WELCOME, connect, head};
use crate::target::Target;

/// Of each kind.
const ATTACKERS: usize = 2_000;

/// What a connection that has not said what it wants may cost, in bytes of resident memory: hyper's first read
/// buffer is 8 KiB, and its state some more.
const HALF_OPEN: usize = 24 * 1024;

/// What one may cost that has said nothing: a task, and no buffer.
const SILENT: usize = 4 * 1024;

/// 2,000 connections on which nothing is said, or half a head; 2,000 on which a head comes a byte at a time. A
/// studio of ten goes on while they come, while they wait, and while the server cuts them off: none of them has more
/// than the 10 s for a head, however busy it looks, and none has less.
#[test]
fn half_open_handshakes_and_slow_heads_hold_nobody_up() {
    let (target, mut clock) = Target::start_paused(&[("RATE_LIMIT", "0")]);
    let mut show = Show::start(&target.server);
    let (people, before) = (target.taken(), target.memory());
    let bytes = head(UPGRADE);
    let mut half_open: Vec<_> = (0..ATTACKERS).map(|_| connect(target.port())).collect();
    for stream in half_open.iter_mut().step_by(2) {
        stream.write_all(&bytes[..60]).unwrap();
    }
    let mut slow: Vec<_> = (0..ATTACKERS).map(|_| connect(target.port())).collect();
    let mut say = |byte: u8| {
        slow.iter_mut().for_each(|stream| stream.write_all(&[byte]).unwrap());
        target.server.settle();
        show.goes_on(1);
    };
    say(bytes[0]);
    target.wait_for_taken(people + 2 * ATTACKERS);
    for byte in &bytes[1..10] {
        clock.advance(1_000);
        say(*byte);
    }
    clock.advance(999);
    target.server.settle();
    assert_eq!(target.taken(), people + 2 * ATTACKERS, "each has its 10 s");
    let took = (target.peak() - before) / (2 * ATTACKERS);
    println!("{took} bytes each");
    assert!(took < HALF_OPEN, "{took} bytes each");
    clock.advance(1);
    show.goes_on(1);
    target.wait_for_taken(people);
    for stream in half_open.iter_mut().chain(&mut slow) {
        assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)), "cut off without a word");
    }
    show.end();
    target.survives();
}

/// 20,000 connections that come and go, in five ways, most of them rude: memory after the last is what it was after
/// the first 4,000, give or take what an allocator keeps.
#[test]
fn churn_leaves_nothing_behind() {
    let target = Target::start(&[("MAX_CONNECTIONS_PER_IP", "0")]);
    let port = target.port();
    let churn = |number: usize| {
        let threads = [0, 1].map(|half| {
            std::thread::spawn(move || {
                (0..number / 2).for_each(|n| come_and_go(port, 2 * n + half))
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        target.wait_for_taken(0);
    };
    churn(4_000);
    let before = target.memory();
    churn(16_000);
    let grown = target.memory().saturating_sub(before);
    println!("grown by {grown} bytes");
    assert!(grown < 2 << 20, "{grown} bytes for 16,000 connections");
    target.survives();
}

fn come_and_go(port: u16, number: usize) {
    let bytes = head(UPGRADE);
    match number % 5 {
        // Says nothing.
        0 => drop(connect(port)),
        // Breaks off in the middle of the handshake.
        1 => {
            let mut stream = connect(port);
            stream.write_all(&bytes[..60]).unwrap();
            reset(stream);
        }
        // Has gone when the answer comes.
        2 => {
            let mut stream = connect(port);
            stream.write_all(&bytes).unwrap();
            reset(stream);
        }
        // Is in a room, and gone.
        3 => reset(in_a_room(port, number).stream),
        // Says goodbye.
        _ => in_a_room(port, number).leave(1000),
    }
}

fn in_a_room(port: u16, number: usize) -> Client {
    let mut client = Client::open(port);
    client.text();
    let id = format!("f47ac10b-58cc-4372-a567-0e02{number:08x}");
    client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    assert!(client.ask(r#"{"type":"create-room"}"#).contains("room-created"));
    client
}

/// Ends TCP without a goodbye: what is under way is lost.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A handshake for which there is no room yet: it is served once the clock was moved so many times, by 100 ms each, as
/// the server makes room as often.
fn served_after(target: &Target, clock: &mut Clock) -> (Client, usize) {
    let mut stream = connect(target.port());
    stream.write_all(&head(UPGRADE)).unwrap();
    let mut moves = 0;
    while is_silent(&stream) && moves < 1_000 {
        clock.advance(100);
        target.server.settle();
        moves += 1;
    }
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    assert_eq!(client.text(), WELCOME);
    (client, moves)
}

/// More connections that say nothing than there may be, all from one machine. The server holds so many and no more,
/// whatever their number, and whoever comes behind them is served though all of them stay: after the second that those
/// have who came last before them, and then by a thousand each time.
#[test]
fn those_who_ask_for_nothing_make_room() {
    // What is in src/server/limits/pending.rs.
    const MOST: usize = 16_384;
    let (target, mut clock) = Target::start_paused(&[("RATE_LIMIT", "0")]);
    let mut show = Show::start(&target.server);
    let (people, before) = (target.taken(), target.memory());
    let hoard: Vec<_> = (0..MOST + 2_000).map(|_| connect(target.port())).collect();
    target.wait_for_taken(people + MOST);
    target.server.settle();
    assert_eq!(target.taken(), people + MOST, "no more than that");
    let each = (target.peak() - before) / MOST;
    let (mut late, moves) = served_after(&target, &mut clock);
    println!("{each} bytes each; who comes behind them is served after {moves} moves");
    assert!((10..100).contains(&moves), "{moves}");
    assert!(late.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert!(each < SILENT, "{each} bytes each");
    show.goes_on(5);
    late.leave(1000);
    drop(hoard);
    target.wait_for_taken(people);
    show.end();
    target.survives();
}

/// More connections than descriptors, three times over. Whoever is in does not notice, the server sleeps while it waits
/// for descriptors, and whoever comes behind them is served: those who ask for nothing have to go.
#[test]
fn without_descriptors_it_waits_idly_and_recovers_each_time() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 100; exec "$0" "$@""#]).arg(std::env::current_exe().unwrap());
    let (server, mut clock) = paused::spawn(command.env_clear().env("RATE_LIMIT", "0"));
    let target = Target::of(server);
    let mut show = Show::start(&target.server);
    let people = target.taken();
    for round in 0..3 {
        let hoard: Vec<_> = (0..200).map(|_| connect(target.port())).collect();
        wait_until(|| target.taken() > 80, || format!("{} taken", target.taken()));
        target.server.log.wait_for("Cannot accept connections: ");
        target.server.settle();
        let (mut late, moves) = served_after(&target, &mut clock);
        println!("round {round}: served after {moves} moves");
        show.goes_on(5);
        assert!(late.ask(r#"{"type":"ping"}"#).contains("pong"));
        late.leave(1000);
        drop(hoard);
        // The next try is due a moment later.
        clock.advance(100);
        target.wait_for_taken(people);
    }
    target.server.log.wait_for("and made no progress for a second");
    show.end();
    target.survives();
}

/// Heads as large as they may be, and unfinished, on 500 connections: each costs no more than the limit of 16 KiB
/// and what an unfinished head costs anyway. A byte more, or more headers than hyper counts, is 431.
#[test]
fn heads_are_bounded() {
    // None of them is cut off, however long it takes until all are there.
    let (target, _clock) = Target::start_paused(&[]);
    let before = target.memory();
    let start = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
    let large = format!("{start}{}", "x".repeat(16 * 1024 - start.len() - 1));
    let streams: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = connect(target.port());
            stream.write_all(large.as_bytes()).unwrap();
            stream
        })
        .collect();
    target.wait_for_taken(500);
    target.metric("openstudio_signaling_clients");
    let each = (target.peak() - before) / 500;
    println!("{each} bytes for each unfinished head");
    assert!(each < 16 * 1024 + HALF_OPEN, "{each} bytes each");
    drop(streams);
    let many = "X: y\r\n".repeat(200);
    for bomb in [format!("{large}xx\r\n\r\n"), format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")] {
        let mut stream = connect(target.port());
        stream.write_all(bomb.as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut stream, false).status, 431);
    }
    target.survives();
}
