//! Ids that many want, rooms that many enter and leave, and names that are too long.

use crate::peers::{A, peer};
use crate::talk::frame;
use crate::target::Target;

/// 500 clients ask at once for an id whose holder is there. Eight wait to hear whether it lives, all others are
/// refused at once, and the holder keeps the id for an answer or two: it is not asked more than once for each who waits.
#[test]
fn an_id_that_many_want_is_its_holders() {
    // The 3 s that the holder has are not over before it answers.
    let (target, mut clock) = Target::start_paused(&[("MAX_CONNECTIONS_PER_IP", "0")]);
    let mut holder = peer(&target.server, A);
    let mut others: Vec<_> = (0..500).map(|_| target.server.client()).collect();
    let register = format!(r#"{{"type":"register","peerId":"{A}"}}"#);
    others.iter_mut().for_each(|client| client.say(&register));
    let refusals = r#"openstudio_signaling_errors_total{code="already-registered"}"#;
    crate::support::wait_until(|| target.metric(refusals) >= 492.0, || "the refusals".into());
    assert_eq!(target.metric(refusals), 492.0, "eight wait");
    // A sign of life is later than the question.
    clock.advance(1);
    holder.send(0x8A, b"");
    let mut pings = 0;
    holder.say(r#"{"type":"create-room"}"#);
    let created = loop {
        let frame = holder.frame().unwrap();
        if frame.opcode != 9 {
            break String::from_utf8(frame.payload).unwrap();
        }
        pings += 1;
    };
    assert!(created.contains("room-created"), "{created}");
    println!("{pings} pings for the holder");
    assert!(pings <= 8, "{pings}");
    for client in &mut others {
        assert!(client.text().contains("already-registered"));
    }
    assert_eq!(target.metric(refusals), 500.0);
    drop((holder, others));
    target.survives_with(&mut clock);
}

/// Twenty clients come into a room of 100 and leave it, as often as `RATE_LIMIT` lets them. All of it is heard by those
/// who stay: 200,000 messages, for which memory grows by less than 32 MiB, a quarter of what their outboxes may hold.
#[test]
fn a_storm_of_joins_and_leaves_passes() {
    // All of it is within the ten seconds of RATE_LIMIT.
    let (target, mut clock) =
        Target::start_paused(&[("MAX_CONNECTIONS_PER_IP", "0"), ("MAX_ROOM_PEERS", "120")]);
    let id = |number: usize| format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}");
    let mut clients: Vec<_> = (0..120).map(|number| peer(&target.server, &id(number))).collect();
    let enter = br#"{"type":"create-or-join-room","roomId":"show"}"#;
    for client in &mut clients[..100] {
        client.send(0x81, enter);
        while !client.text().contains(r#""type":"room-"#) {}
    }
    let before = target.memory();
    let storm = [frame(0x81, enter), frame(0x81, br#"{"type":"leave-room"}"#)].concat();
    // Who does not read its answers is not listened to any longer.
    let readers = clients[100..].iter().map(|client| {
        let mut stream = client.stream.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()))
    });
    let readers: Vec<_> = readers.collect();
    for client in &mut clients[100..] {
        std::io::Write::write_all(&mut client.stream, &storm.repeat(100)).unwrap();
    }
    // Each has said `register` before: 99 of its messages count, of which the last one is an entry.
    let left = format!(r#"{{"type":"peer-left","peerId":"{}"}}"#, id(119));
    for client in &mut clients[..100] {
        for _ in 0..49 {
            while client.text() != left {}
        }
    }
    let grown = target.peak() - before;
    println!("20 × 99 entries and exits, heard by 100; grown by {grown} bytes");
    assert!(grown < 32 << 20, "{grown} bytes");
    for client in &clients[100..] {
        client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    readers.into_iter().for_each(|reader| drop(reader.join().unwrap()));
    drop(clients);
    target.survives_with(&mut clock);
}

/// A name of 60 KB for a room, a role, an id, a token, a type or a request is refused in a few words, and not kept.
#[test]
fn long_names_are_refused_in_short() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let mut client = peer(&target.server, A);
    let long = "n".repeat(60_000);
    let texts = [
        format!(r#"{{"type":"create-or-join-room","roomId":"{long}"}}"#),
        format!(r#"{{"type":"join-room","roomId":"{long}"}}"#),
        format!(r#"{{"type":"create-or-join-room","role":"{long}"}}"#),
        format!(r#"{{"type":"create-or-join-room","inviteToken":"{long}"}}"#),
        format!(
            r#"{{"type":"create-or-join-room","inviteToken":"{long}.{}.x"}}"#,
            "n".repeat(5_000)
        ),
        format!(r#"{{"type":"register","peerId":"{long}"}}"#),
        format!(r#"{{"type":"{long}"}}"#),
        format!(r#"{{"type":"ping","requestId":"{long}"}}"#),
        format!(r#"{{"type":"offer","from":"{long}","to":"x","sdp":"x"}}"#),
        format!(r#"{{"type":"offer","from":"{A}","to":"{long}","sdp":"x"}}"#),
        format!(r#"{{"type":"mute","peerId":"{long}","muted":true,"authority":"self"}}"#),
    ];
    let before = target.memory();
    for text in &texts {
        let answers: Vec<_> = (0..50).map(|_| client.ask(text)).collect();
        assert!(answers.iter().all(|answer| answer.contains(r#""type":"error""#)), "{answers:?}");
        let longest = answers.iter().map(String::len).max().unwrap();
        assert!(longest < 300, "{:.80}: {longest} bytes", answers[0]);
    }
    let grown = target.peak().saturating_sub(before);
    println!("grown by {grown} bytes");
    assert!(grown < 2 << 20, "{grown} bytes");
    client.leave(1000);
    target.survives();
}
