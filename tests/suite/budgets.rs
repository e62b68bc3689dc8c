//! How much a client, and an address, may ask for.

use crate::paused;
use crate::support::{Answer, Client, Server, UPGRADE, connect, head};

/// Proxies are trusted, so that clients can come from anywhere.
const PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

const LIMITED: &str =
    r#"{"type":"error","message":"Rate limit exceeded","code":"rate-limit-exceeded"}"#;

fn id(number: usize) -> String {
    format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}")
}

fn from(server: &Server, address: &str) -> Client {
    let mut stream = connect(server.port);
    let forwarded = format!("X-Forwarded-For: {address}");
    let lines: Vec<_> = UPGRADE.iter().copied().chain([forwarded.as_str()]).collect();
    std::io::Write::write_all(&mut stream, &head(&lines)).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    client.text();
    client
}

fn register(client: &mut Client, number: usize) -> String {
    client.ask(&format!(r#"{{"type":"register","peerId":"{}"}}"#, id(number)))
}

/// The answers up to that of a ping that comes last.
fn answers(client: &mut Client) -> Vec<String> {
    client.say(r#"{"type":"ping","requestId":"last"}"#);
    let mut answers = Vec::new();
    loop {
        match client.text() {
            text if text.contains("last") => return answers,
            text => answers.push(text),
        }
    }
}

#[test]
fn a_newcomer_to_a_room_of_sixteen_is_refused_nothing() {
    let (server, _clock) = paused::start(&[]);
    let enter = r#"{"type":"create-or-join-room","roomId":"show"}"#;
    let mut peers: Vec<_> = (0..16).map(|_| server.client()).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        register(peer, number);
        peer.ask(enter);
    }
    let mut newcomer = peers.pop().unwrap();
    let (me, mut sent) = (id(15), 0);
    for other in 0..15 {
        let to = id(other);
        newcomer.say(&format!(r#"{{"type":"offer","from":"{me}","to":"{to}","sdp":"x"}}"#));
        for _ in 0..40 {
            newcomer.say(&format!(
                r#"{{"type":"ice-candidate","from":"{me}","to":"{to}","candidate":{{}}}}"#
            ));
        }
        sent += 41;
    }
    assert_eq!(answers(&mut newcomer), [""; 0]);
    // 200, and 60 for each of the others.
    let one_more =
        format!(r#"{{"type":"ice-candidate","from":"{me}","to":"{}","candidate":null}}"#, id(0));
    for _ in sent..200 + 15 * 60 {
        newcomer.say(&one_more);
    }
    assert_eq!(answers(&mut newcomer), [""; 0]);
    newcomer.say(&one_more);
    assert_eq!(answers(&mut newcomer), [LIMITED]);
    server.log.wait_for(
        "more than 1100 offers, answers and candidates in 10 s; further ones are dropped",
    );
    // What RATE_LIMIT counts is not used up by it.
    assert!(newcomer.ask(r#"{"type":"request-ice"}"#).contains(r#""type":"ice""#));
}

#[test]
fn fifty_behind_one_address_are_refused_nothing() {
    let (server, _clock) = paused::start(&[PROXY]);
    let mut peers: Vec<_> = (0..50).map(|_| from(&server, "203.0.113.1")).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        register(peer, number);
        peer.say(r#"{"type":"create-or-join-room","roomId":"show"}"#);
        for _ in 0..35 {
            peer.say(r#"{"type":"ping"}"#);
        }
    }
    for peer in &mut peers {
        let answers = answers(peer);
        assert!(answers.iter().all(|text| !text.contains("error")), "{answers:?}");
    }
}

#[test]
fn a_flooder_that_connects_again_is_still_one() {
    let (server, mut clock) = paused::start(&[PROXY]);
    // Each connection as many as a client may.
    for _ in 0..20 {
        let mut client = from(&server, "203.0.113.1");
        for _ in 0..99 {
            client.say(r#"{"type":"ping"}"#);
        }
        assert_eq!(answers(&mut client).len(), 99);
        client.leave(1000);
    }
    let ping = r#"{"type":"ping"}"#;
    assert_eq!(from(&server, "203.0.113.1").ask(ping), LIMITED);
    server.log.wait_for("203.0.113.1: more than 2000 messages in 10 s from one address");
    assert!(from(&server, "203.0.113.2").ask(ping).contains("pong"), "another address");
    assert!(server.client().ask(ping).contains("pong"), "the proxy's own");
    clock.advance(10_000);
    assert!(from(&server, "203.0.113.1").ask(ping).contains("pong"));
}

#[test]
fn an_address_makes_sixty_rooms_a_minute() {
    let (server, mut clock) = paused::start(&[PROXY, ("HEARTBEAT_MS", "3600000")]);
    let mut client = from(&server, "203.0.113.1");
    register(&mut client, 1);
    let make = |client: &mut Client| {
        let answer = client.ask(r#"{"type":"create-or-join-room","role":"host"}"#);
        if answer.contains("room-created") {
            client.ask(r#"{"type":"leave-room"}"#);
        }
        answer
    };
    for number in 0..60 {
        assert!(make(&mut client).contains("room-created"), "{number}");
        // Its messages are not what is to be bounded here.
        if number % 40 == 39 {
            clock.advance(10_000);
        }
    }
    assert_eq!(make(&mut client), LIMITED);
    assert_eq!(client.ask(r#"{"type":"create-room"}"#), LIMITED);
    server
        .log
        .wait_for("more than 60 new rooms in a minute from one address; further ones are dropped");
    // A room that is there can be entered.
    let mut host = from(&server, "203.0.113.2");
    register(&mut host, 2);
    host.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#);
    let joined = client.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#);
    assert!(joined.contains("room-joined"), "{joined}");
    client.ask(r#"{"type":"leave-room"}"#);
    clock.advance(60_000);
    assert!(make(&mut client).contains("room-created"));
}

#[test]
fn an_address_registers_six_hundred_a_minute() {
    let (server, _clock) = paused::start(&[PROXY]);
    for number in 0..600 {
        let mut client = from(&server, "203.0.113.1");
        assert!(register(&mut client, number).contains("registered"), "{number}");
        client.leave(1000);
    }
    assert_eq!(register(&mut from(&server, "203.0.113.1"), 1), LIMITED);
    server.log.wait_for(
        "more than 600 registrations in a minute from one address; further ones are dropped",
    );
    assert!(register(&mut from(&server, "203.0.113.2"), 1).contains("registered"));
}

#[test]
fn without_a_rate_limit_an_address_has_none() {
    let (server, _clock) = paused::start(&[PROXY, ("RATE_LIMIT", "0")]);
    let mut client = from(&server, "203.0.113.1");
    register(&mut client, 1);
    for number in 0..70 {
        let answer = client.ask(r#"{"type":"create-room"}"#);
        assert!(answer.contains("room-created"), "{number}: {answer}");
        client.ask(r#"{"type":"leave-room"}"#);
    }
    for _ in 0..2_100 {
        client.say(r#"{"type":"ping"}"#);
    }
    assert!(answers(&mut client).iter().all(|text| text.contains("pong")));
}
