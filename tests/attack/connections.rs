//! Connections that are begun and not ended, many that come and go, and more of them than there are descriptors.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::shows::{P99, Show, median};
use crate::support::{Answer, Client, Server, UPGRADE, connect, head};
use crate::target::{Target, wait_until};

/// Of each kind.
const ATTACKERS: usize = 2_000;

/// What a connection that has not said what it wants may cost, in bytes of resident memory: hyper's first read
/// buffer is 8 KiB, and its state some more.
const HALF_OPEN: usize = 24 * 1024;

/// What one may cost that has said nothing: a task, and no buffer.
const SILENT: usize = 4 * 1024;

/// 2,000 connections on which nothing is said, or half a head; 2,000 on which a head comes a byte at a time. A
/// studio of ten has a p99 under 50 ms while they come, while they wait, and while the server cuts them off: none of
/// them has more than the 10 s for a head, however busy it looks.
#[test]
fn half_open_handshakes_and_slow_heads_hold_nobody_up() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let mut show = Show::start(&target.server);
    let people = target.taken();
    let quiet = show.p99(Duration::from_secs(1));
    let (port, before, begun) = (target.port(), target.memory(), Instant::now());
    let attack = std::thread::spawn(move || {
        let bytes = head(UPGRADE);
        let mut half_open: Vec<_> = (0..ATTACKERS).map(|_| connect(port)).collect();
        for stream in half_open.iter_mut().step_by(2) {
            stream.write_all(&bytes[..60]).unwrap();
        }
        let mut slow: Vec<_> = (0..ATTACKERS).map(|_| connect(port)).collect();
        // A byte each at least three times a second, until the server has enough of it.
        let mut cut = 0;
        for byte in bytes.iter().take(bytes.len() - 1) {
            let round = Instant::now();
            cut = slow.iter_mut().filter_map(|stream| stream.write_all(&[*byte]).err()).count();
            if cut == ATTACKERS {
                break;
            }
            std::thread::sleep(Duration::from_millis(300).saturating_sub(round.elapsed()));
        }
        assert_eq!(cut, ATTACKERS, "each slow head was cut off");
        for stream in &mut half_open {
            assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)), "cut off without a word");
        }
    });
    let waits: Vec<_> = (0..5).map(|_| show.p99(Duration::from_millis(2_500))).collect();
    let took = (target.peak() - before) / (2 * ATTACKERS);
    attack.join().unwrap();
    let ended = begun.elapsed();
    println!("p99 {quiet:?}, under attack {waits:?}; {took} bytes each; over after {ended:?}");
    assert!(median(waits.clone()) < P99, "{waits:?}");
    assert!(took < HALF_OPEN, "{took} bytes each");
    assert!(ended < Duration::from_secs(20), "{ended:?}");
    target.wait_for_taken(people);
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
    let (before, begun, cpu) = (target.memory(), Instant::now(), target.cpu());
    churn(16_000);
    let grown = target.memory().saturating_sub(before);
    let cpu = (target.cpu() - cpu) / 16_000;
    println!("16,000 in {:?}, {cpu:?} of CPU each; grown by {grown} bytes", begun.elapsed());
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

/// More connections that say nothing than there may be, all from one machine. The server holds so many and no more,
/// whatever their number, and whoever comes behind them is served though all of them stay.
#[test]
fn those_who_ask_for_nothing_make_room() {
    // What is in src/newcomers.rs.
    const MOST: usize = 16_384;
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let mut show = Show::start(&target.server);
    let (people, before) = (target.taken(), target.memory());
    let mut held = 0;
    let hoard: Vec<_> = (0..MOST + 2_000)
        .map(|number| {
            if number % 1_024 == 0 {
                held = held.max(target.taken() - people);
            }
            connect(target.port())
        })
        .collect();
    let begun = Instant::now();
    let mut late = target.server.client();
    let (waited, each) = (begun.elapsed(), (target.peak() - before) / held);
    assert!(late.ask(r#"{"type":"ping"}"#).contains("pong"));
    println!("{held} held at once, {each} bytes each; who comes behind them waits {waited:?}");
    assert!((MOST / 4..=MOST).contains(&held), "{held} held at once");
    assert!(each < SILENT, "{each} bytes each");
    let waits: Vec<_> = (0..3).map(|_| show.p99(Duration::from_millis(200))).collect();
    assert!(median(waits.clone()) < P99, "{waits:?}");
    late.leave(1000);
    drop(hoard);
    target.wait_for_taken(people);
    show.end();
    target.survives();
}

/// More connections than descriptors, three times over. Whoever is in does not notice, the wait for descriptors costs
/// less than 5 % of a core, and whoever comes behind them is served: those who ask for nothing have to go.
#[test]
fn without_descriptors_it_waits_idly_and_recovers_each_time() {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 100; exec "$0""#])
        .arg(env!("CARGO_BIN_EXE_openstudio-signaling"));
    let server = Server::spawn(command.env_clear().envs([("PORT", "0"), ("RATE_LIMIT", "0")]));
    let target = Target::of(server);
    let mut show = Show::start(&target.server);
    let people = target.taken();
    for round in 0..3 {
        let hoard: Vec<_> = (0..200).map(|_| connect(target.port())).collect();
        target.server.log.wait_for("Cannot accept connections: ");
        wait_until(|| target.taken() > 80, || format!("{} taken", target.taken()));
        let (cpu, begun) = (target.cpu(), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        let share = (target.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
        println!("round {round}: {:.2} % of a core while it waits", share * 100.0);
        assert!(share < 0.05, "{share}");
        let waits: Vec<_> = (0..3).map(|_| show.p99(Duration::from_millis(200))).collect();
        assert!(median(waits.clone()) < P99, "{waits:?}");
        let mut late = target.server.client();
        assert!(late.ask(r#"{"type":"ping"}"#).contains("pong"));
        late.leave(1000);
        drop(hoard);
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
    let target = Target::start(&[]);
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
