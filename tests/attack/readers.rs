//! Clients that do not read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};

use crate::paused::Clock;
use crate::shows::Show;
use crate::support::{Answer, Client, PATIENCE, Server, UPGRADE, WELCOME, head};
use crate::talk::frame;
use crate::target::Target;

/// The default of `MAX_OUTBOX_BYTES`.
const OUTBOX: usize = 1_048_576;

/// A room with a host who talks and listeners who do not read.
struct Room {
    host: Client,
    number: usize,
    listeners: Vec<Client>,
}

fn id(room: usize, number: usize) -> String {
    format!("f47ac10b-58cc-4372-a567-{room:04x}02b2{number:04x}")
}

impl Room {
    fn open(server: &Server, number: usize, listeners: usize) -> Self {
        let enter =
            format!(r#"{{"type":"create-or-join-room","roomId":"room {number}","role":"host"}}"#);
        let join = |mut client: Client, seat: usize| {
            client.ask(&format!(r#"{{"type":"register","peerId":"{}"}}"#, id(number, seat)));
            assert!(client.ask(&enter).contains(r#""type":"room-"#));
            client
        };
        let mut host = join(server.client(), 0);
        let listeners = (1..=listeners).map(|seat| {
            let listener = join(deaf(server.port), seat);
            assert!(host.text().contains("peer-joined"));
            listener
        });
        let listeners = listeners.collect();
        Self { host, number, listeners }
    }

    /// The host says something, and asks for a pong behind it: when that is there, all has been said.
    fn tell(&mut self, bytes: &[u8]) {
        self.host.stream.write_all(bytes).unwrap();
        self.host.say(r#"{"type":"ping"}"#);
        while !self.host.text().contains(r#""type":"pong""#) {}
    }

    /// An offer to each listener.
    fn offers(&self, length: usize) -> Vec<u8> {
        let (from, sdp) = (id(self.number, 0), "x".repeat(length));
        let offers = (1..=self.listeners.len()).map(|seat| {
            let to = id(self.number, seat);
            let text = format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"{sdp}"}}"#);
            frame(0x81, text.as_bytes())
        });
        offers.collect::<Vec<_>>().concat()
    }

    /// When they read again, all at once, the last that they find is why they were closed. They no longer read in tiny
    /// pieces.
    fn everybody_was_told_why(self) {
        let reading = self.listeners.into_iter().map(|mut listener| {
            SockRef::from(&listener.stream).set_recv_buffer_size(1 << 20).unwrap();
            std::thread::spawn(move || {
                let mut heard = Vec::new();
                listener.stream.read_to_end(&mut heard).unwrap();
                let code = [4102_u16.to_be_bytes().as_slice(), b"Read too slowly"].concat();
                let close = [&[0x88, code.len() as u8], &code[..]].concat();
                let last = &heard[heard.len().saturating_sub(99)..];
                assert!(last.ends_with(&close), "{}", String::from_utf8_lossy(last));
            })
        });
        let reading: Vec<_> = reading.collect();
        reading.into_iter().for_each(|reading| reading.join().unwrap());
    }
}

/// A client for which this side's kernel holds little: what it does not read is the server's sooner. With less than
/// this, reading again would be news to the other side by chance only (RFC 9293 section 3.8.6.2.2).
fn deaf(port: u16) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&head(UPGRADE)).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    assert_eq!(client.text(), WELCOME);
    client
}

/// A server that waits for those who do not read for as long as a test takes: its clock is never moved.
fn start() -> (Target, Clock) {
    Target::start_paused(&[
        ("RATE_LIMIT", "0"),
        ("MAX_CONNECTIONS_PER_IP", "0"),
        ("MAX_OUTBOX_BYTES", &OUTBOX.to_string()),
        // A host and its hundred listeners.
        ("MAX_ROOM_PEERS", "101"),
    ])
}

/// How many peers there are. Who reads too slowly is none any more, long before its close frame can go out.
fn peers(target: &Target) -> f64 {
    target.metric("openstudio_signaling_peers")
}

/// 1,000 clients in ten rooms stop reading while their rooms are told something again and again. All of them are
/// closed with 4102, which they find when they read again. The server's memory is bounded by clients ×
/// `MAX_OUTBOX_BYTES`, a gigabyte here, and stays far below: a broadcast is held once for all who are to get it, and
/// each outbox has a place for it. A studio of ten next door goes on meanwhile.
#[test]
fn a_thousand_who_stop_reading_during_broadcasts_are_bounded() {
    let (target, mut clock) = start();
    let mut show = Show::start(&target.server);
    let mut rooms: Vec<_> = (0..10).map(|room| Room::open(&target.server, room, 100)).collect();
    let before = target.memory();
    let everybody = peers(&target);
    let too_slow = || everybody - peers(&target);
    // The shortest that there is, of which an outbox takes the most.
    let news = frame(0x81, br#"{"type":"recording-state","recording":true}"#).repeat(50);
    let mut told = 0;
    while too_slow() < 1_000.0 {
        rooms.iter_mut().for_each(|room| room.tell(&news));
        told += 50;
        if told % 500 == 0 {
            show.goes_on(1);
        }
        assert!(told < 50_000, "told {told} times, and {} are closed", too_slow());
    }
    let (grown, bound) = (target.peak() - before, 1_000 * OUTBOX);
    let share = grown as f64 / bound as f64;
    println!("told {told} times; grown by {grown} bytes, {share:.3} of the bound");
    assert!(share < 0.4, "{grown} bytes");
    let reading =
        rooms.into_iter().map(|room| std::thread::spawn(|| room.everybody_was_told_why()));
    let reading: Vec<_> = reading.collect();
    reading.into_iter().for_each(|reading| reading.join().unwrap());
    show.end();
    target.survives_with(&mut clock);
}

/// The same with what is not shared: large offers, and the smallest that there are, of which each costs the server more
/// than its bytes. What a session has taken out of the outbox for the socket counts as well. The allocator has 4 MiB
/// for all together.
#[test]
fn relays_to_clients_that_stop_reading_are_bounded() {
    for length in [60_000, 1] {
        let (target, mut clock) = start();
        let mut room = Room::open(&target.server, 0, 40);
        let offers = room.offers(length).repeat(if length == 1 { 25 } else { 1 });
        let before = target.memory();
        let mut told = 0;
        while peers(&target) > 1.0 {
            room.tell(&offers);
            told += 1;
            assert!(told < 5_000, "told {told} times");
        }
        let (grown, bound) = (target.peak() - before, 40 * OUTBOX + (4 << 20));
        let share = grown as f64 / bound as f64;
        println!("offers with {length}: {told} rounds; grown by {grown}, {share:.3} of the bound");
        assert!(share <= 1.0, "{grown} bytes");
        room.everybody_was_told_why();
        target.survives_with(&mut clock);
    }
}

/// 200 clients send pings of WebSocket with the longest payload, and never read an answer. As long as there is one
/// that does not go out, nothing more is read: each costs the answers to one read, 16 KiB, and no more, and the server
/// sleeps.
#[test]
fn pings_without_end_from_clients_that_never_read_are_bounded() {
    let (target, _clock) = start();
    let before = target.memory();
    let clients: Vec<_> = (0..200).map(|_| deaf(target.port())).collect();
    let streams: Vec<_> = clients.iter().map(|client| &client.stream).collect();
    target.server.fill(&streams, &frame(0x89, &[b'x'; 125]).repeat(500));
    let mut other = target.server.client();
    assert!(other.ask(r#"{"type":"ping"}"#).contains("pong"));
    let each = (target.peak() - before) / 200;
    println!("{each} bytes each");
    assert!(each < 64 * 1024, "{each} bytes each");
    drop((clients, other));
    target.survives();
}
