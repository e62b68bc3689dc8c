//! Registration, relay and what a room is told, to the letter.

use std::io::Write;

use crate::paused;
use crate::peers::{A, peer, resume_of};
use crate::rooms::{B, C, error, room};
use crate::settle::is_silent;
use crate::support::Server;
use crate::talk::frame;

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
    let registered = client.ask(text);
    resume_of(&registered, A);
    assert!(registered.ends_with(r#"","requestId":"1"}"#), "{registered}");
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
        assert_eq!(c.text().len(), offer(C).len(), "the others hear as before");
        if server.log.count("reads too slowly") > 0 {
            break;
        }
        assert!(sent < 2_000, "120 MB wait for somebody who does not read");
    }
    let line = server.log.wait_for("reads too slowly");
    assert!(line.contains("more than 200000 bytes wait for it (MAX_OUTBOX_BYTES)"), "{line}");
    // Its seat is kept for 8 s. It has 10 s to read why it is closed, and another one to end TCP.
    clock.advance(8_000);
    assert_eq!(c.text(), gone);
    clock.advance(2_000);
    clock.advance(1_000);
    server.log.wait_for("close 4102 by server");
}

#[test]
fn a_peer_that_proves_itself_takes_its_place_back_at_once() {
    // Nobody has to wait for anything.
    let (server, _clock) = paused::start(&[]);
    let mut a = peer(&server, A);
    let mut b = server.client();
    let resume = resume_of(&b.ask(&format!(r#"{{"type":"register","peerId":"{B}"}}"#)), B);
    room((&mut a, A), &mut [(&mut b, B)]);
    // B's network is gone: no FIN, no answer. It comes back on another connection, and says more than one
    // thing at once.
    let offer = format!(r#"{{"type":"offer","from":"{A}","to":"{B}","sdp":"v=0"}}"#);
    let mut back = server.client();
    let register =
        format!(r#"{{"type":"register","peerId":"{B}","resume":"{resume}","requestId":"r"}}"#);
    back.say(&register);
    back.say(&format!(r#"{{"type":"offer","from":"{B}","to":"{A}","sdp":"again"}}"#));
    back.say(r#"{"type":"ping"}"#);
    let registered = back.text();
    let again = resume_of(&registered, B);
    assert!(registered.ends_with(r#","requestId":"r"}"#), "{registered}");
    assert!(back.text().contains("pong"), "what came behind it was handled behind it");
    // The others saw nothing but what it said.
    assert!(a.text().contains(r#""sdp":"again""#));
    a.say(&offer);
    assert_eq!(back.text(), offer);
    assert_eq!(b.close_code(), Some(4010));
    server.log.wait_for(&format!(
        "Peer {B} is back as client 3, 127.0.0.1: it takes the place of client 2, its earlier connection"
    ));
    // The end of the old connection does not evict the new one.
    b.leave(4010);
    server.log.wait_for("close 4010 by server");
    a.say(&offer);
    assert_eq!(back.text(), offer);
    // A room's token proves it as well, and the new resume.
    let joined = back.ask(r#"{"type":"create-or-join-room","roomId":"other"}"#);
    assert!(joined.contains("already-in-room"), "{joined}");
    let mut third = server.client();
    let register = format!(r#"{{"type":"register","peerId":"{B}","resume":"{again}"}}"#);
    resume_of(&third.ask(&register), B);
    assert_eq!(back.close_code(), Some(4010));
    assert_eq!(server.log.count("Room left"), 0);
}

#[test]
fn two_tabs_that_take_an_id_from_each_other_come_to_an_end() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "3600000")]);
    let mut holder = server.client();
    let register = |more: &str| format!(r#"{{"type":"register","peerId":"{A}"{more}}}"#);
    let resume = resume_of(&holder.ask(&register("")), A);
    let again = register(&format!(r#","resume":"{resume}""#));
    for _ in 0..3 {
        let mut next = server.client();
        resume_of(&next.ask(&again), A);
        assert_eq!(holder.close_code(), Some(4010));
        holder = next;
    }
    let taken = error(&format!(r#"Peer ID "{A}" is already registered"#), "already-registered");
    let mut late = server.client();
    assert_eq!(late.ask(&again), taken);
    clock.advance(60_000);
    resume_of(&late.ask(&again), A);
    assert_eq!(holder.close_code(), Some(4010));
}

#[test]
fn a_stranger_gets_an_id_that_nobody_answers_for_and_nothing_else() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "3600000")]);
    let mut a = peer(&server, A);
    let mut b = server.client();
    let resume = resume_of(&b.ask(&format!(r#"{{"type":"register","peerId":"{B}"}}"#)), B);
    // B leads the room, and is silent.
    let room = room((&mut b, B), &mut [(&mut a, A)]);
    let other =
        resume_of(&server.client().ask(&format!(r#"{{"type":"register","peerId":"{C}"}}"#)), C);
    let mut stranger = server.client();
    // Proofs of others, and none at all, are as none.
    stranger
        .say(&format!(r#"{{"type":"register","peerId":"{B}","resume":"{other}","token":"x"}}"#));
    assert_eq!(b.frame().unwrap().opcode, 9);
    clock.advance(9_999);
    assert!(is_silent(&stranger.stream), "the holder has 10 s in a room");
    clock.advance(1);
    resume_of(&stranger.text(), B);
    assert_eq!(b.close_code(), Some(4010));
    // Neither the place in the room nor the rights: the seat is kept for B.
    let not_in = error("Not in a room", "not-in-room");
    assert_eq!(stranger.ask(r#"{"type":"request-invite"}"#), not_in);
    let mute = format!(r#"{{"type":"mute","peerId":"{A}","muted":true,"authority":"producer"}}"#);
    assert_eq!(stranger.ask(&mute), not_in);
    let enter = format!(r#"{{"type":"join-room","roomId":"{room}"}}"#);
    let kept = error(&format!(r#"Peer is already in room "{room}""#), "already-in-room");
    assert_eq!(stranger.ask(&enter), kept, "under this id somebody may come back");
    server.log.wait_for(&format!("Peer {B} is back as client "));
    clock.advance(7_999);
    assert!(is_silent(&a.stream));
    clock.advance(1);
    assert_eq!(a.text(), format!(r#"{{"type":"peer-left","peerId":"{B}"}}"#));
    // One who answers keeps its id, and is not asked again and again.
    let taken = error(&format!(r#"Peer ID "{A}" is already registered"#), "already-registered");
    let register = format!(r#"{{"type":"register","peerId":"{A}","resume":"{resume}"}}"#);
    let mut another = server.client();
    another.say(&register);
    assert_eq!(a.frame().unwrap().opcode, 9);
    clock.advance(1);
    a.send(0x8A, b"");
    assert_eq!(another.text(), taken);
    clock.advance(11_000);
    assert_eq!(another.ask(&register), taken, "at once");
    assert!(a.ask(r#"{"type":"ping"}"#).contains("pong"), "and without another question");
}

#[test]
fn a_proof_is_a_string() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (field, value) in [("resume", "7"), ("token", "{}")] {
        let text = format!(r#"{{"type":"register","peerId":"{A}","{field}":{value}}}"#);
        let message = format!(r#"Invalid message: Field "{field}" must be a string"#);
        assert_eq!(client.ask(&text), error(&message, "invalid-message"));
    }
    let text = format!(r#"{{"type":"register","peerId":"{A}","resume":null,"token":null}}"#);
    resume_of(&client.ask(&text), A);
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
    let taken = error(&format!(r#"Peer ID "{A}" is already registered"#), "already-registered");
    let mut answers = [next.text(), late.text()];
    answers.sort();
    assert_eq!(answers[0], taken);
    resume_of(&answers[1], A);
    server.log.wait_for(&format!("Peer registered: {A} (client "));
    assert_eq!(server.log.count("did not answer"), 0, "it said goodbye");
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
    clock.advance(10_000);
    resume_of(&second.text(), B);
    server.log.wait_for(&format!("Peer {B} is back as client 4"));
    // It has proved nothing, so it has the id only.
    clock.advance(8_000);
    assert_eq!(a.text(), format!(r#"{{"type":"peer-left","peerId":"{B}"}}"#));
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
