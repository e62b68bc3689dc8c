//! Registration, relay and rooms, to the letter.

use std::io::Write;

use crate::paused;
use crate::peers::{A, B, C, error, peer, room};
use crate::support::{Server, frame, is_silent};

#[test]
fn register_is_checked_in_order() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let missing =
        r#"Invalid message: Missing or invalid "peerId" field (must be non-empty string)"#;
    let blank = r#"Invalid message: Field "peerId" cannot be empty or whitespace"#;
    let no_uuid = r#"Invalid message: Field "peerId" must be a valid UUID v4"#;
    for (fields, message) in [
        ("", missing),
        (r#","peerId":"""#, missing),
        (r#","peerId":7"#, missing),
        (r#","peerId":"  ""#, blank),
        (r#","peerId":"me""#, no_uuid),
        (r#","peerId":"f47ac10b-58cc-1372-a567-0e02b2c3d4aa""#, no_uuid),
    ] {
        let text = format!(r#"{{"type":"register"{fields}}}"#);
        assert_eq!(client.ask(&text), error(message, "invalid-message"), "{text}");
    }
    // Any case is taken, and lower case is given; an escape is a letter like another.
    let text = r#"{"type":"register","peerId":"F47AC10B-58CC-4372-A567-0E02B2C3D4\u0041a","requestId":"1"}"#;
    let expected = format!(r#"{{"type":"registered","peerId":"{A}","requestId":"1"}}"#);
    assert_eq!(client.ask(text), expected);
    server.log.wait_for(&format!("Peer registered: {A} (client 1, 127.0.0.1)"));
    for id in [A, B] {
        let again = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
        let message = format!(r#"Peer ID "{id}" is already registered"#);
        assert_eq!(again, error(&message, "already-registered"));
    }
    let mut other = server.client();
    // Who has the id is asked for a sign of life, and gives it.
    other.say(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    assert_eq!(client.frame().unwrap().opcode, 9);
    client.send(0x8A, b"");
    let taken = other.text();
    let message = format!(r#"Peer ID "{A}" is already registered"#);
    assert_eq!(taken, error(&message, "already-registered"));
    // An id is free again when its client has gone.
    client.leave(1000);
    peer(&server, A);
}

#[test]
fn a_relay_is_checked_in_order() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let offers = "Invalid message: Peer must register before sending offer/answer messages";
    let candidates = "Invalid message: Peer must register before sending ICE candidate messages";
    assert_eq!(client.ask(r#"{"type":"offer"}"#), error(offers, "not-registered"));
    assert_eq!(client.ask(r#"{"type":"answer"}"#), error(offers, "not-registered"));
    assert_eq!(client.ask(r#"{"type":"ice-candidate"}"#), error(candidates, "not-registered"));

    let mut client = peer(&server, A);
    let missing = |name| format!(r#"Missing or invalid "{name}" field (must be non-empty string)"#);
    let all = [missing("from"), missing("to"), missing("sdp")].join(", ");
    let all = format!("Invalid message: {all}");
    assert_eq!(client.ask(r#"{"type":"offer"}"#), error(&all, "invalid-message"));
    let forged = format!(
        r#"Invalid message: Field "from" must match registered peer ID (expected: {A}, got: {B}), Missing "candidate" field"#
    );
    let text = format!(r#"{{"type":"ice-candidate","from":"{B}","to":"{C}"}}"#);
    assert_eq!(client.ask(&text), error(&forged, "invalid-message"));
    let no_object =
        error(r#"Invalid message: Field "candidate" must be an object"#, "invalid-message");
    for value in ["false", "0", r#""""#, r#""x""#, "[]"] {
        let text =
            format!(r#"{{"type":"ice-candidate","from":"{A}","to":"{C}","candidate":{value}}}"#);
        assert_eq!(client.ask(&text), no_object, "{value}");
    }
    let text = format!(r#"{{"type":"ice-candidate","from":"{A}","to":"{C}"}}"#);
    let no_candidate = error(r#"Invalid message: Missing "candidate" field"#, "invalid-message");
    assert_eq!(client.ask(&text), no_candidate);
    let text = format!(r#"{{"type":"answer","from":"{A}","to":"{B}","sdp":"v=0"}}"#);
    let nobody = format!(r#"Target peer "{B}" is not connected"#);
    assert_eq!(client.ask(&text), error(&nobody, "peer-not-connected"));
    let twice = format!(r#"{{"type":"answer","from":"{A}","to":"{B}","sdp":"v=0","from":"{B}"}}"#);
    let duplicate = r#"Invalid message: Duplicate "from" field"#;
    assert_eq!(client.ask(&twice), error(duplicate, "invalid-message"));
}

#[test]
fn a_relayed_text_arrives_as_it_was_sent() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    for text in [
        format!(
            r#"{{"type":"offer","from":"{A}","to":"{B}","sdp":"v=0\r\n","extra":[1,{{"a":null}}]}}"#
        ),
        format!(
            "\t{{ \"to\" : \"{B}\", \"sdp\":\"gr\u{fc}\u{df}e \\u00fc\",\n\"from\":\"{A}\",\"type\":\"answer\" }} "
        ),
        format!(
            r#"{{"type":"ice-candidate","from":"{A}","to":"{B}","candidate":{{"candidate":"c"}}}}"#
        ),
        // The end of candidates, as older browsers say it.
        format!(r#"{{"type":"ice-candidate","from":"{A}","to":"{B}","candidate":null}}"#),
    ] {
        a.say(&text);
        assert_eq!(b.text(), text);
    }
    // Only ids that are spelled otherwise than they are registered are not: others know the sender by that one.
    let (upper, escaped) = (A.to_uppercase(), format!("\\u0066{}", &A[1..]));
    for (from, to) in [(upper.as_str(), B), (A, &B.to_uppercase()), (&escaped, &B.to_uppercase())] {
        for (first, second) in
            [(("from", from, A), ("to", to, B)), (("to", to, B), ("from", from, A))]
        {
            let text = |a: &str, b: &str| {
                let (first, second) = (first.0, second.0);
                format!(r#"{{"{first}" : "{a}","type":"offer", "{second}":"{b}" ,"sdp":"{A} 1 "}}"#)
            };
            a.say(&text(first.1, second.1));
            assert_eq!(b.text(), text(first.2, second.2));
        }
    }
    // No acknowledgement: what comes next is the answer to what is asked next.
    assert!(a.ask(r#"{"type":"ping"}"#).contains("pong"));
    // First in, first out.
    for number in 0..50 {
        a.say(&format!(r#"{{"type":"offer","from":"{A}","to":"{B}","sdp":"{number}"}}"#));
    }
    for number in 0..50 {
        assert!(b.text().contains(&format!(r#""sdp":"{number}""#)));
    }
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
fn mutes_and_recording_reach_everyone_once() {
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let (mut a, mut b, mut c) = (peer(&server, A), peer(&server, B), peer(&server, C));
    room((&mut a, A), &mut [(&mut b, B)]);
    let mute = |id: &str, muted: &str, authority: &str| {
        format!(r#"{{"type":"mute","peerId":"{id}","muted":{muted},"authority":"{authority}"}}"#)
    };
    let invalid = |why: &str| error(&format!("Invalid message: {why}"), "invalid-message");
    let authority = invalid(r#"Field "authority" must be "producer" or "self""#);
    assert_eq!(a.ask(&mute(B, "true", "king")), authority);
    assert_eq!(a.ask(&mute(B, "1", "producer")), invalid(r#"Field "muted" must be a boolean"#));
    let absent = invalid(r#"Field "peerId" must be a participant of the room"#);
    assert_eq!(a.ask(&mute(C, "true", "producer")), absent);
    assert_eq!(a.ask(&mute("x", "true", "producer")), absent);
    let forbidden = |why| error(why, "forbidden");
    let leaders = forbidden("Only hosts and ops can mute other participants");
    assert_eq!(b.ask(&mute(A, "true", "producer")), leaders);
    let oneself = forbidden("Self authority can only be used on yourself");
    assert_eq!(a.ask(&mute(B, "true", "self")), oneself);

    let heard = |id: &str, muted: bool, authority: &str, from: &str| {
        format!(
            r#"{{"type":"mute","peerId":"{id}","muted":{muted},"authority":"{authority}","from":"{from}"}}"#
        )
    };
    // The web studio sends what it hears again: four people, and one click would go round for ever.
    let text = mute(B, "true", "producer");
    a.say(&text.replace('}', r#","from":"somebody else"}"#));
    let expected = heard(B, true, "producer", A);
    assert_eq!((a.text(), b.text()), (expected.clone(), expected));
    for _ in 0..100 {
        a.say(&text);
        b.say(&mute(B, "true", "self"));
    }
    assert!(a.ask(r#"{"type":"ping"}"#).contains("pong"), "nothing came round");
    assert!(b.ask(r#"{"type":"ping"}"#).contains("pong"), "nothing came round");
    // A guest sends what it hears again as well, without the right to: nobody is told an error for that.
    b.say(&mute(B, "true", "producer"));
    a.say(&mute(B, "true", "self"));
    assert!(a.ask(r#"{"type":"ping"}"#).contains("pong"), "no error came");
    b.say(&mute(B, "false", "self"));
    let expected = heard(B, false, "self", B);
    assert_eq!((a.text(), b.text()), (expected.clone(), expected));

    let recording = invalid(r#"Field "recording" must be a boolean"#);
    assert_eq!(b.ask(r#"{"type":"recording-state","recording":"yes"}"#), recording);
    b.say(r#"{"type":"recording-state","recording":true,"from":"x"}"#);
    let expected = format!(r#"{{"type":"recording-state","recording":true,"from":"{B}"}}"#);
    assert_eq!((a.text(), b.text()), (expected.clone(), expected));
    assert!(c.ask(r#"{"type":"ping"}"#).contains("pong"), "who is not in the room hears nothing");
}

#[test]
fn streaming_is_another_services_work() {
    // The ten seconds of the limit are not over before all is said.
    let (server, _clock) = paused::start(&[]);
    let mut client = server.client();
    assert_eq!(
        client.ask(r#"{"type":"start-stream"}"#),
        r#"{"type":"stream-error","message":"Streaming is not available on this server"}"#
    );
    // Pieces are ignored, and have a limit of their own.
    for _ in 0..500 {
        client.say(r#"{"type":"stream-chunk","data":"x"}"#);
    }
    let limit = error("Rate limit exceeded", "rate-limit-exceeded");
    assert_eq!(client.ask(r#"{"type":"stream-chunk"}"#), limit);
    server.log.wait_for("Stream chunks of client 1, 127.0.0.1 are too many: more than 500 in 10 s");
    assert_eq!(server.log.count("RATE_LIMIT"), 0, "no setting raises that limit");
    assert_eq!(
        client.ask(r#"{"type":"stop-stream"}"#),
        r#"{"type":"stream-stopped","message":"Stream stopped successfully"}"#
    );
}

#[test]
fn who_stops_reading_is_closed_and_nobody_waits() {
    let (server, mut clock) = paused::start(&[("RATE_LIMIT", "0"), ("MAX_OUTBOX_BYTES", "200000")]);
    let (mut a, mut b, mut c) = (peer(&server, A), peer(&server, B), peer(&server, C));
    room((&mut a, A), &mut [(&mut b, B), (&mut c, C)]);
    let offer = |to: &str| {
        format!(r#"{{"type":"offer","from":"{A}","to":"{to}","sdp":"{}"}}"#, "x".repeat(60_000))
    };
    // B never reads. What the sockets and the outbox take is finite.
    let to_b = frame(0x81, offer(B).as_bytes());
    let gone = format!(r#"{{"type":"peer-left","peerId":"{B}"}}"#);
    for sent in 0.. {
        a.stream.write_all(&to_b).unwrap();
        a.say(&offer(C));
        let heard = c.text();
        if heard == gone {
            break;
        }
        assert_eq!(heard.len(), offer(C).len(), "the others hear as before");
        assert!(sent < 2_000, "120 MB wait for somebody who does not read");
    }
    let line = server.log.wait_for("reads too slowly");
    assert!(line.contains("more than 200000 bytes wait for it (MAX_OUTBOX_BYTES)"), "{line}");
    // It has 10 s to read that, and another one to end TCP.
    clock.advance(10_000);
    clock.advance(1_000);
    server.log.wait_for("close 4102 by server");
}

#[test]
fn a_peer_that_comes_back_takes_its_seat() {
    let (server, mut clock) = paused::start(&[]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    room((&mut a, A), &mut [(&mut b, B)]);
    // B's network is gone: no FIN, no answer. It comes back on another connection, and says more than one
    // thing at once.
    let mut back = server.client();
    back.say(&format!(r#"{{"type":"register","peerId":"{B}","requestId":"r"}}"#));
    back.say(&format!(r#"{{"type":"offer","from":"{B}","to":"{A}","sdp":"again"}}"#));
    back.say(r#"{"type":"ping"}"#);
    clock.advance(2_999);
    assert!(is_silent(&back.stream), "the holder has 3 s");
    clock.advance(1);
    assert_eq!(back.text(), format!(r#"{{"type":"registered","peerId":"{B}","requestId":"r"}}"#));
    assert!(back.text().contains("pong"), "what came behind it was handled behind it");
    // The others saw nothing but what it said.
    assert!(a.text().contains(r#""sdp":"again""#));
    let offer = format!(r#"{{"type":"offer","from":"{A}","to":"{B}","sdp":"v=0"}}"#);
    a.say(&offer);
    assert_eq!(back.text(), offer);
    assert_eq!(b.frame().unwrap().opcode, 9);
    assert_eq!(b.close_code(), Some(4010));
    server
        .log
        .wait_for(&format!("Peer {B} is back as client 3, 127.0.0.1: client 2 showed no sign"));
    // The end of the old connection does not evict the new one.
    b.leave(4010);
    server.log.wait_for("close 4010 by server");
    a.say(&offer);
    assert_eq!(back.text(), offer);
}

#[test]
fn an_id_whose_holder_leaves_meanwhile_is_free() {
    // The holder's 3 s are never over.
    let (server, _clock) = paused::start(&[]);
    let mut holder = peer(&server, A);
    let (mut next, mut late) = (server.client(), server.client());
    let register = format!(r#"{{"type":"register","peerId":"{A}"}}"#);
    next.say(&register);
    assert_eq!(holder.frame().unwrap().opcode, 9);
    late.say(&register);
    assert_eq!(holder.frame().unwrap().opcode, 9);
    holder.send(0x88, &1000_u16.to_be_bytes());
    // One of both gets it, and lives: the other does not.
    let registered = format!(r#"{{"type":"registered","peerId":"{A}"}}"#);
    let taken = error(&format!(r#"Peer ID "{A}" is already registered"#), "already-registered");
    let mut answers = [next.text(), late.text()];
    answers.sort();
    assert_eq!(answers, [taken, registered]);
    server.log.wait_for(&format!("Peer registered: {A} (client "));
    assert_eq!(server.log.count("showed no sign of life"), 0, "it said goodbye");
}

#[test]
fn who_waits_for_an_id_and_goes_does_not_take_it() {
    let (server, mut clock) = paused::start(&[]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    room((&mut a, A), &mut [(&mut b, B)]);
    // B is silent. Its page tries to come back, is loaded again before it had an answer, and tries once more.
    let register = format!(r#"{{"type":"register","peerId":"{B}"}}"#);
    let mut first = server.client();
    first.say(&register);
    assert_eq!(b.frame().unwrap().opcode, 9);
    drop(first);
    let mut second = server.client();
    second.say(&register);
    clock.advance(3_000);
    assert_eq!(second.text(), format!(r#"{{"type":"registered","peerId":"{B}"}}"#));
    server.log.wait_for(&format!("Peer {B} is back as client 4"));
    // With the seat, and the others saw nothing.
    let offer = format!(r#"{{"type":"offer","from":"{A}","to":"{B}","sdp":"v=0"}}"#);
    a.say(&offer);
    assert_eq!(second.text(), offer);
    assert!(a.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn what_was_said_before_comes_before_the_answer() {
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    let room = room((&mut a, A), &mut [(&mut b, B)]);
    let both = [
        frame(0x81, br#"{"type":"recording-state","recording":true}"#),
        frame(0x81, br#"{"type":"leave-room"}"#),
    ];
    a.stream.write_all(&both.concat()).unwrap();
    let echo = format!(r#"{{"type":"recording-state","recording":true,"from":"{A}"}}"#);
    assert_eq!((a.text(), b.text()), (echo.clone(), echo), "the sender too");
    assert_eq!(a.text(), format!(r#"{{"type":"room-left","roomId":"{room}"}}"#));
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
    let gone = format!(r#"{{"type":"peer-left","peerId":"{}"}}"#, id(49));
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
        let mut left = 0;
        for client in &mut clients {
            // What came before it is of the joining, or the news of the deaf one.
            loop {
                let text = client.text();
                left += usize::from(text == gone);
                if text.contains("recording-state") {
                    assert!(text.contains(&from), "each hears each, in order: {text}");
                    break;
                }
            }
        }
        if left > 0 {
            break;
        }
        assert!(rounds < 2_000, "120 MB wait for somebody who does not read");
    }
    server.log.wait_for("reads too slowly: more than 200000 bytes wait for it");
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
            text if text.contains("already in room") => {}
            text => {
                assert!(text.contains("room-expired") && is_in, "{text}");
                is_in = false;
                ended += 1;
                // The answer to what was asked comes behind it.
                let text = a.text();
                is_in |= text.contains("room-created");
                assert!(is_in || text.contains("already in room"), "{text}");
            }
        }
    }
}
