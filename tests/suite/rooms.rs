//! Rooms of registered clients, to the letter: who comes, who goes, and who hears of it.

use std::io::Write;

use crate::metrics::metric;
use crate::paused;
use crate::peers::{A, peer};
use crate::settle::is_silent;
use crate::support::{Client, Server};
use crate::talk::frame;

pub const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
pub const C: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4cc";

pub fn error(message: &str, code: &str) -> String {
    let message = message.replace('"', "\\\"");
    format!(r#"{{"type":"error","message":"{message}","code":"{code}"}}"#)
}

/// A room of `host` with `guests` in it; all have heard who came.
pub fn room(host: (&mut Client, &str), guests: &mut [(&mut Client, &str)]) -> String {
    let created = host.0.ask(r#"{"type":"create-room"}"#);
    let room = created.split('"').nth(7).unwrap().to_owned();
    let expected = format!(r#"{{"type":"room-created","roomId":"{room}","hostId":"{}"}}"#, host.1);
    assert_eq!(created, expected);
    for index in 0..guests.len() {
        let id = guests[index].1;
        let joined = guests[index].0.ask(&format!(r#"{{"type":"join-room","roomId":"{room}"}}"#));
        let start = format!(
            r#"{{"type":"room-joined","roomId":"{room}","participants":[{{"peerId":"{}","role":"host"}},"#,
            host.1
        );
        let end = format!(r#"{{"peerId":"{id}","role":"caller"}}]}}"#);
        assert!(joined.starts_with(&start) && joined.ends_with(&end), "{joined}");
        let came = format!(r#"{{"type":"peer-joined","peerId":"{id}","role":"caller"}}"#);
        assert_eq!(host.0.text(), came);
        for (earlier, _) in &mut guests[..index] {
            assert_eq!(earlier.text(), came);
        }
    }
    room
}

#[test]
fn rooms_fill_and_empty() {
    let server = Server::start(&[]);
    let mut nobody = server.client();
    for (kind, message) in [
        ("create-room", "Must register before creating a room"),
        ("join-room", "Must register before joining a room"),
        ("mute", "Must register before sending mute messages"),
        ("recording-state", "Must register before sending recording state"),
    ] {
        let text = format!(r#"{{"type":"{kind}"}}"#);
        assert_eq!(nobody.ask(&text), error(message, "not-registered"));
    }
    let not_in = error("Not in a room", "not-in-room");
    assert_eq!(nobody.ask(r#"{"type":"leave-room"}"#), not_in);

    let (mut a, mut b, mut c) = (peer(&server, A), peer(&server, B), peer(&server, C));
    let missing = error("Missing roomId field", "invalid-message");
    assert_eq!(a.ask(r#"{"type":"join-room"}"#), missing);
    for nothing in ["null", "false", "0", r#""""#] {
        assert_eq!(a.ask(&format!(r#"{{"type":"join-room","roomId":{nothing}}}"#)), missing);
    }
    let no_room = error(r#"Room "7" does not exist"#, "room-not-found");
    assert_eq!(a.ask(r#"{"type":"join-room","roomId":7}"#), no_room);
    let no_room = error(r#"Room "x" does not exist"#, "room-not-found");
    assert_eq!(a.ask(r#"{"type":"join-room","roomId":"x"}"#), no_room);
    for text in [r#"{"type":"leave-room"}"#, r#"{"type":"mute"}"#, r#"{"type":"recording-state"}"#]
    {
        assert_eq!(a.ask(text), not_in);
    }
    let room = room((&mut a, A), &mut [(&mut b, B), (&mut c, C)]);
    let already = error(&format!(r#"Peer is already in room "{room}""#), "already-in-room");
    assert_eq!(b.ask(r#"{"type":"create-room"}"#), already);
    assert_eq!(b.ask(&format!(r#"{{"type":"join-room","roomId":"{room}"}}"#)), already);
    server
        .log
        .wait_for(&format!("Room entered: {room} by peer {C} as caller (client 4, 127.0.0.1)"));

    let left = b.ask(r#"{"type":"leave-room","requestId":"r"}"#);
    assert_eq!(left, format!(r#"{{"type":"room-left","roomId":"{room}","requestId":"r"}}"#));
    let gone = |id: &str| format!(r#"{{"type":"peer-left","peerId":"{id}"}}"#);
    assert_eq!((a.text(), c.text()), (gone(B), gone(B)));
    // The host leaves by its connection, before its goodbye is over; the room goes on.
    a.send(0x88, b"");
    assert_eq!(c.text(), gone(A));
    let joined = b.ask(&format!(r#"{{"type":"join-room","roomId":"{room}"}}"#));
    let participants = format!(
        r#""participants":[{{"peerId":"{C}","role":"caller"}},{{"peerId":"{B}","role":"caller"}}]}}"#
    );
    assert!(joined.ends_with(&participants), "{joined}");
    assert_eq!(c.text(), format!(r#"{{"type":"peer-joined","peerId":"{B}","role":"caller"}}"#));
    // The last one out ends it.
    b.leave(1000);
    assert_eq!(c.text(), gone(B));
    c.leave(1000);
    server.log.wait_for(&format!("Room left: {room} by peer {C}"));
    let no_room = error(&format!(r#"Room "{room}" does not exist"#), "room-not-found");
    let mut late = peer(&server, A);
    assert_eq!(late.ask(&format!(r#"{{"type":"join-room","roomId":"{room}"}}"#)), no_room);
}

#[test]
fn a_room_has_a_limit() {
    let server = Server::start(&[("MAX_ROOM_PEERS", "2")]);
    let (mut a, mut b, mut c) = (peer(&server, A), peer(&server, B), peer(&server, C));
    let full = error("Room is full", "room-full");
    let room = room((&mut a, A), &mut [(&mut b, B)]);
    assert_eq!(c.ask(&format!(r#"{{"type":"join-room","roomId":"{room}"}}"#)), full);
    let join = format!(r#"{{"type":"create-or-join-room","roomId":"{room}"}}"#);
    assert_eq!(c.ask(&join), full);
    assert!(b.ask(r#"{"type":"leave-room"}"#).contains("room-left"));
    assert!(c.ask(&join).contains("room-joined"));
}

#[test]
fn names_that_look_alike_are_one_room() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    let made = a.ask(r#"{"type":"create-or-join-room","roomId":" Cafe\u0301 1 ","role":"host"}"#);
    assert!(made.starts_with(r#"{"type":"room-created","roomId":"Café 1","#), "{made}");
    let enter = |kind: &str, name: &str| format!(r#"{{"type":"{kind}","roomId":"{name}"}}"#);
    for name in ["Café 1", "Cafe\u{301} 1", "\u{a0}Café\u{a0}1\u{2003}", "Caf%C3%A9%201"] {
        for kind in ["join-room", "create-or-join-room"] {
            let joined = b.ask(&enter(kind, name));
            assert!(joined.starts_with(r#"{"type":"room-joined","roomId":"Café 1","#), "{joined}");
            assert!(b.ask(r#"{"type":"leave-room"}"#).contains("room-left"));
        }
    }
    let other = error(r#"Room "café 1" does not exist"#, "room-not-found");
    assert_eq!(b.ask(&enter("join-room", "café 1")), other, "case is no matter of looks");
}

#[test]
fn only_one_room_hears_a_relay() {
    let server = Server::start(&[]);
    let (mut a, mut b, mut c) = (peer(&server, A), peer(&server, B), peer(&server, C));
    let offer = |from: &str, to: &str| {
        format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"v=0"}}"#)
    };
    room((&mut a, A), &mut [(&mut b, B)]);
    a.say(&offer(A, B));
    assert_eq!(b.text(), offer(A, B));
    let different = error("Target peer is in a different room", "different-room");
    assert_eq!(a.ask(&offer(A, C)), different, "just one of both is in a room");
    assert_eq!(c.ask(&offer(C, A)), different);
    room((&mut c, C), &mut []);
    assert_eq!(c.ask(&offer(C, A)), different, "two rooms");
}

#[test]
fn a_joiner_hears_where_it_is_before_the_others_hear_of_it() {
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    let room = room((&mut a, A), &mut []);
    let join = frame(0x81, format!(r#"{{"type":"join-room","roomId":"{room}"}}"#).as_bytes());
    let offer = format!(r#"{{"type":"offer","from":"{B}","to":"{A}","sdp":"v=0"}}"#);
    let both = [join, frame(0x81, offer.as_bytes())].concat();
    for _ in 0..200 {
        b.stream.write_all(&both).unwrap();
        assert!(a.text().contains("peer-joined"));
        // What the server has sent over loopback is there at once.
        b.stream.set_nonblocking(true).unwrap();
        let there = b.stream.peek(&mut [0; 64]);
        b.stream.set_nonblocking(false).unwrap();
        assert!(there.is_ok_and(|bytes| bytes > 2), "the joiner has no answer yet");
        assert!(b.text().contains("room-joined"));
        assert_eq!(a.text(), offer, "what it says comes behind the news of it");
        assert!(b.ask(r#"{"type":"leave-room"}"#).contains("room-left"));
        assert!(a.text().contains("peer-left"));
    }
}

#[test]
fn a_room_that_is_too_old_ends() {
    let (server, mut clock) = paused::start(&[("ROOM_TTL_MS", "700")]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    let old = room((&mut a, A), &mut [(&mut b, B)]);
    let expired = format!(r#"{{"type":"room-expired","roomId":"{old}"}}"#);
    clock.advance(699);
    assert!(is_silent(&a.stream) && is_silent(&b.stream), "not before its time");
    clock.advance(1);
    assert_eq!((a.text(), b.text()), (expired.clone(), expired));
    server.log.wait_for(&format!("Room expired: {old} is 700 ms old (ROOM_TTL_MS)"));
    // They are still who they were, in no room.
    assert!(a.ask(r#"{"type":"leave-room"}"#).contains("Not in a room"));
    let gone = error(&format!(r#"Room "{old}" does not exist"#), "room-not-found");
    assert_eq!(b.ask(&format!(r#"{{"type":"join-room","roomId":"{old}"}}"#)), gone);
    room((&mut a, A), &mut [(&mut b, B)]);
}

#[test]
fn a_room_that_was_left_is_not_heard_again() {
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    let enter = r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#;
    let leave = r#"{"type":"leave-room"}"#;
    for _ in 0..300 {
        a.say(enter);
        while !a.text().contains(r#""type":"room-"#) {}
        b.say(enter);
        while !b.text().contains(r#""type":"room-"#) {}
        // Both at once: the news that the other has left may be under way when one's own answer is.
        a.say(leave);
        b.say(leave);
        for client in [&mut a, &mut b] {
            while !client.text().contains("room-left") {}
            let next = client.ask(r#"{"type":"ping"}"#);
            assert!(next.contains("pong"), "{next}");
        }
    }
}

#[test]
fn in_a_room_of_fifty_one_who_stops_reading_concerns_nobody() {
    let server = Server::start(&[("RATE_LIMIT", "0"), ("MAX_OUTBOX_BYTES", "200000")]);
    let id = |number: usize| format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}");
    let enter = r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#;
    let mut clients: Vec<_> = (0..50).map(|number| peer(&server, &id(number))).collect();
    for client in &mut clients {
        client.say(enter);
        while !client.text().contains(r#""type":"room-"#) {}
    }
    // The one who came last never reads, and is sent offers until neither the sockets nor the outbox take more.
    let deaf = clients.pop().unwrap();
    let sdp = "x".repeat(60_000);
    let mut rounds = 0;
    loop {
        let says = rounds % 49;
        let (from, to) = (id(says), id(49));
        clients[says]
            .say(&format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"{sdp}"}}"#));
        clients[says]
            .say(&format!(r#"{{"type":"recording-state","recording":{}}}"#, rounds % 2 == 0));
        rounds += 1;
        let from = format!(r#""from":"{}""#, id(says));
        for client in &mut clients {
            // What came before it is of the joining.
            loop {
                let text = client.text();
                assert!(!text.contains("peer-left"), "the seat is kept: {text}");
                if text.contains("recording-state") {
                    assert!(text.contains(&from), "each hears each, in order: {text}");
                    break;
                }
            }
        }
        if metric(&server, "seats_kept") > 0.0 {
            break;
        }
        assert!(rounds < 2_000, "120 MB wait for somebody who does not read");
    }
    drop(deaf);
}

#[test]
fn a_room_that_ends_is_not_heard_of_in_the_next_one() {
    let server = Server::start(&[("ROOM_TTL_MS", "20"), ("RATE_LIMIT", "0")]);
    let mut a = peer(&server, A);
    let enter = r#"{"type":"create-or-join-room","roomId":"show"}"#;
    let (mut is_in, mut ended) = (false, 0);
    while ended < 20 {
        match a.ask(enter) {
            text if text.contains("room-created") => is_in = true,
            text if text.contains("room-joined") => {}
            text => {
                assert!(text.contains("room-expired") && is_in, "{text}");
                is_in = false;
                ended += 1;
                // The answer to what was asked comes behind it.
                let text = a.text();
                is_in |= text.contains("room-created");
                assert!(is_in || text.contains("room-joined"), "{text}");
            }
        }
    }
}
