//! Seats in rooms: what becomes of them when a connection breaks, and when its client is back.

use std::io::Write;
use std::net::TcpStream;

use crate::identity::{COOKIE, open, register};
use crate::metrics::metric;
use crate::paused;
use crate::peers::{A, peer, resume_of};
use crate::rooms::{B, C, error};
use crate::settle::is_silent;
use crate::support::{Client, Server, wait_until};
use crate::talk::frame;

/// A client with a cookie, and its id, in room `show`.
fn browser(server: &Server, id: &str, role: &str) -> Client {
    let mut client = page(server, id);
    let enter = format!(r#"{{"type":"create-or-join-room","roomId":"show","role":"{role}"}}"#);
    assert!(client.ask(&enter).contains(r#""type":"room-"#));
    client
}

/// A registered client with a cookie.
fn page(server: &Server, id: &str) -> Client {
    let (mut client, _) = open(server, &[&format!("Cookie: openstudio-id={COOKIE}")]);
    resume_of(&register(&mut client, id, ""), id);
    client
}

/// A room of a peer A without a cookie, and of the browser B.
fn show(server: &Server) -> (Client, Client) {
    let mut a = peer(server, A);
    assert!(a.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#).contains("room-created"));
    let b = browser(server, B, "guest");
    assert!(a.text().contains("peer-joined"));
    (a, b)
}

fn offer(to: &str, sdp: &str) -> String {
    format!(r#"{{"type":"offer","from":"{A}","to":"{to}","sdp":"{sdp}"}}"#)
}

#[test]
fn a_connection_that_breaks_and_comes_back_is_noticed_by_nobody() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "3600000")]);
    let (mut a, b) = show(&server);
    drop(b);
    server.log.wait_for(&format!("Seat kept: for 8 s, of peer {B} in room show"));
    clock.advance(2_000);
    a.say(&offer(B, "while it is away"));
    a.say(&format!(r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"self"}}"#));
    assert_eq!(a.text(), error("Self authority can only be used on yourself", "forbidden"));
    a.say(r#"{"type":"recording-state","recording":true}"#);
    let recording = format!(r#"{{"type":"recording-state","recording":true,"from":"{A}"}}"#);
    assert_eq!(a.text(), recording);
    clock.advance(5_999);
    let mut b = page(&server, B);
    assert_eq!(b.text(), offer(B, "while it is away"), "it waited");
    assert_eq!(b.text(), recording);
    clock.advance(20_000);
    assert!(is_silent(&a.stream), "neither that it went nor that it is back");
    a.say(&offer(B, "and now"));
    assert_eq!(b.text(), offer(B, "and now"));
}

#[test]
fn a_connection_that_is_not_back_has_left_after_8_s() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "3600000")]);
    let (mut a, b) = show(&server);
    drop(b);
    server.log.wait_for("Seat kept");
    clock.advance(7_999);
    assert!(is_silent(&a.stream));
    assert_eq!(server.log.count("Room left"), 0);
    clock.advance(1);
    assert_eq!(a.text(), format!(r#"{{"type":"peer-left","peerId":"{B}"}}"#));
    server.log.wait_for(&format!("Room left: show by peer {B}"));
    let gone = format!(r#"Target peer "{B}" is not connected"#);
    a.say(&offer(B, "too late"));
    assert_eq!(a.text(), error(&gone, "peer-not-connected"));
    let mut b = page(&server, B);
    assert_eq!(b.ask(r#"{"type":"leave-room"}"#), error("Not in a room", "not-in-room"));
}

#[test]
fn who_says_goodbye_has_left_at_once() {
    let (server, _clock) = paused::start(&[]);
    let left = format!(r#"{{"type":"peer-left","peerId":"{B}"}}"#);
    let (mut a, b) = show(&server);
    let mut last = b;
    for goodbye in
        [&[][..], &1000_u16.to_be_bytes(), &1001_u16.to_be_bytes(), &4000_u16.to_be_bytes()]
    {
        last.send(0x88, goodbye);
        assert_eq!(a.text(), left, "{goodbye:?}");
        last = browser(&server, B, "guest");
        assert!(a.text().contains("peer-joined"));
    }
    assert_eq!(last.ask(r#"{"type":"leave-room"}"#), r#"{"type":"room-left","roomId":"show"}"#);
    assert_eq!(a.text(), left);
    assert_eq!(server.log.count("Seat kept"), 0);
}

#[test]
fn whoever_breaks_the_protocol_keeps_its_seat_as_well() {
    let (server, mut clock) = paused::start(&[]);
    let (a, mut b) = show(&server);
    b.send(0x83, b"no such opcode");
    assert_eq!(b.close_code(), Some(1002));
    drop(page(&server, B));
    let mut b = page(&server, B);
    b.send(0x81, &[0xFF]);
    assert_eq!(b.close_code(), Some(1007));
    let b = page(&server, B);
    clock.advance(9_000);
    assert!(is_silent(&a.stream));
    drop(b);
}

#[test]
fn a_stranger_gets_nothing_of_a_seat_that_is_kept() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "3600000")]);
    let (mut a, b) = show(&server);
    drop(b);
    server.log.wait_for("Seat kept");
    let mut stranger = peer(&server, B);
    a.say(&offer(B, "for B"));
    a.say(r#"{"type":"ping"}"#);
    assert!(a.text().contains("pong"));
    let enter = r#"{"type":"create-or-join-room","roomId":"show"}"#;
    let taken = error(r#"Peer is already in room "show""#, "already-in-room");
    assert_eq!(stranger.ask(enter), taken);
    let elsewhere = error("Target peer is in a different room", "different-room");
    let reply = format!(r#"{{"type":"answer","from":"{B}","to":"{A}","sdp":"v=0"}}"#);
    assert_eq!(stranger.ask(&reply), elsewhere);
    // A room of its own is no way in either.
    assert!(stranger.ask(r#"{"type":"create-room"}"#).contains("room-created"));
    let mut b = page(&server, B);
    assert_eq!(b.text(), offer(B, "for B"));
    assert_eq!(stranger.close_code(), Some(4010), "the id is B's");
    clock.advance(20_000);
    assert!(is_silent(&a.stream));
}

#[test]
fn what_the_old_connection_had_said_is_handled_before_the_new_one_speaks() {
    const MESSAGES: usize = 3_000;
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let (mut a, mut b) = show(&server);
    let message =
        |number: usize| format!(r#"{{"type":"answer","from":"{B}","to":"{A}","sdp":"{number}"}}"#);
    let said: Vec<_> = (0..MESSAGES).flat_map(|n| frame(0x81, message(n).as_bytes())).collect();
    let (mut back, _) = open(&server, &[&format!("Cookie: openstudio-id={COOKIE}")]);
    // As a page does that is loaded again: nothing waits for the end of the other.
    b.stream.write_all(&said[..said.len() - 5]).unwrap();
    back.say(&format!(r#"{{"type":"register","peerId":"{B}"}}"#));
    back.say(&message(MESSAGES));
    for number in (0..MESSAGES - 1).chain([MESSAGES]) {
        assert_eq!(a.text(), message(number), "half a message is none");
    }
    resume_of(&back.text(), B);
    assert_eq!(b.close_code(), Some(4010));
}

#[test]
fn what_the_old_connection_did_not_get_follows_on_the_new_one() {
    const MESSAGES: usize = 200;
    let server = Server::start(&[("RATE_LIMIT", "0"), ("MAX_OUTBOX_BYTES", "20000000")]);
    let (mut a, mut b) = show(&server);
    // B reads nothing: some of it is in the sockets, some waits in the server.
    for number in 0..MESSAGES {
        a.say(&offer(B, &format!("{number} {}", "x".repeat(60_000))));
    }
    assert!(a.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert!(metric(&server, "outbox_bytes") > 1e6);
    let mut back = page(&server, B);
    // The old connection gets the rest of the message that its socket had taken the beginning of, and no other.
    let mut old = Vec::new();
    let close = loop {
        let frame = b.frame().unwrap();
        if frame.opcode == 8 {
            break frame.payload;
        }
        old.push(String::from_utf8(frame.payload).unwrap());
    };
    assert_eq!(close[..2], 4010_u16.to_be_bytes());
    let new: Vec<_> = (old.len()..MESSAGES).map(|_| back.text()).collect();
    let numbers = old.iter().chain(&new).map(|text| {
        let number = text.split(r#""sdp":""#).nth(1).unwrap().split(' ').next().unwrap();
        number.parse().unwrap()
    });
    assert_eq!(numbers.collect::<Vec<usize>>(), (0..MESSAGES).collect::<Vec<_>>());
    assert!(new.len() > 20, "{}", new.len());
}

#[test]
fn the_rate_limit_goes_along() {
    for breaks in [false, true] {
        let (server, _clock) = paused::start(&[("RATE_LIMIT", "5")]);
        let (_a, mut b) = show(&server);
        for _ in 0..3 {
            assert!(b.ask(r#"{"type":"ping"}"#).contains("pong"));
        }
        if breaks {
            drop(b);
            server.log.wait_for("Seat kept");
        }
        let mut back = page(&server, B);
        let refused = error("Rate limit exceeded", "rate-limit-exceeded");
        assert_eq!(back.ask(r#"{"type":"ping"}"#), refused, "{breaks}: it has said five things");
    }
}

#[test]
fn who_only_checks_the_server_has_no_cookie_and_no_seat() {
    let server = Server::start(&[]);
    let cookie = format!("Cookie: openstudio-id={COOKIE}");
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let host = format!("Host: localhost:{}", server.port);
    let lines = ["GET /?check HTTP/1.1", &host, &cookie];
    let rest = &crate::support::UPGRADE[2..];
    let lines: Vec<_> = lines.iter().copied().chain(rest.iter().copied()).collect();
    stream.write_all(&crate::support::head(&lines)).unwrap();
    let answer = crate::support::Answer::read(&mut stream, true);
    assert_eq!((answer.status, answer.head.contains("set-cookie")), (101, false), "{answer:?}");
    let mut check = Client { stream };
    check.text();
    resume_of(&register(&mut check, C, ""), C);
    let created = check.ask(r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#);
    assert!(created.contains(r#""role":"host""#), "{created}");
    drop(check);
    server.log.wait_for("Room left: show");
    assert_eq!((metric(&server, "seats_kept"), metric(&server, "roles_reserved")), (0.0, 0.0));
    let mut a = page(&server, A);
    let created = a.ask(r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#);
    assert!(created.contains("room-created") && created.contains(r#""role":"host""#), "{created}");
}

#[test]
fn an_address_has_a_bound_on_what_is_kept_for_it() {
    let (server, mut clock) =
        paused::start(&[("MAX_CONNECTIONS_PER_IP", "0"), ("RATE_LIMIT", "0")]);
    let id = |number: usize| format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}");
    let mut a = peer(&server, A);
    a.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#);
    let mut others = Vec::new();
    for number in 0..17 {
        let mut other = peer(&server, &id(number));
        other.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#);
        assert!(a.text().contains("peer-joined"));
        others.push(other);
    }
    for (gone, other) in others.into_iter().enumerate() {
        drop(other);
        let kept = f64::from(u8::try_from(gone + 1).unwrap().min(16));
        wait_until(|| metric(&server, "seats_kept") == kept, || format!("{kept} seats"));
    }
    let left = |number: usize| format!(r#"{{"type":"peer-left","peerId":"{}"}}"#, id(number));
    assert_eq!(a.text(), left(0), "the oldest one");
    assert_eq!(metric(&server, "seats_kept"), 16.0);
    assert!(is_silent(&a.stream));
    server.log.wait_for("Too many clients have gone without a goodbye");
    clock.advance(8_000);
    for number in 1..17 {
        assert_eq!(a.text(), left(number));
    }
}
