//! All that works on one node works across nodes, to the letter.

use crate::icecast::Icecast;
use crate::nats::{Nats, Version};
use crate::nodes::{agree, enter, hears_nothing, nodes, nodes_with};
use crate::peers::{A, peer, resume_of};
use crate::support::Client;

const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
const C: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4cc";

fn error(message: &str, code: &str) -> String {
    let message = message.replace('"', "\\\"");
    format!(r#"{{"type":"error","message":"{message}","code":"{code}"}}"#)
}

/// Answers the ping by which the server finds out whether a client lives.
fn lives(client: &mut Client) {
    assert_eq!(client.frame().unwrap().opcode, 9);
    client.send(0x8A, b"");
}

#[test]
fn rooms_span_nodes() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let (mut a, mut b, mut c) = (peer(&one, A), peer(&two, B), peer(&two, C));
    // An id is held once.
    let mut other = two.client();
    other.say(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    lives(&mut a);
    assert_eq!(
        other.text(),
        error(&format!(r#"Peer ID "{A}" is already registered"#), "already-registered")
    );
    // In no room, both can talk.
    let offer = |from: &str, to: &str| {
        format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":" ä\n"}}"#)
    };
    a.say(&offer(A, B));
    assert_eq!(b.text(), offer(A, B), "byte for byte");
    let made = enter(&mut a, "show", "host");
    assert!(made.starts_with(r#"{"type":"room-created","roomId":"show""#), "{made}");
    let nowhere = b.ask(r#"{"type":"join-room","roomId":"nowhere"}"#);
    assert_eq!(nowhere, error(r#"Room "nowhere" does not exist"#, "room-not-found"));
    let joined = b.ask(r#"{"type":"join-room","roomId":"show","requestId":"7"}"#);
    let expected = format!(
        r#"{{"type":"room-joined","roomId":"show","participants":[{{"peerId":"{A}","role":"host"}},{{"peerId":"{B}","role":"caller"}}],"requestId":"7"}}"#
    );
    assert_eq!(joined, expected);
    assert_eq!(a.text(), format!(r#"{{"type":"peer-joined","peerId":"{B}","role":"caller"}}"#));
    for (from, to, sender, receiver) in [(A, B, 0, 1), (B, A, 1, 0)] {
        let pair = [&mut a, &mut b];
        let [sender, receiver] = [sender, receiver].map(|index: usize| index);
        for number in 0..100 {
            pair[sender].say(&offer(from, to).replace("ä", &number.to_string()));
        }
        for number in 0..100 {
            assert_eq!(pair[receiver].text(), offer(from, to).replace("ä", &number.to_string()));
        }
    }
    // The errors of a relay.
    let elsewhere = a.ask(&offer(A, C));
    assert_eq!(elsewhere, error("Target peer is in a different room", "different-room"));
    let mute = format!(r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"producer"}}"#);
    let muted = format!(
        r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"producer","from":"{A}"}}"#
    );
    assert_eq!(a.ask(&mute), muted);
    assert_eq!(b.text(), muted);
    let refused = b.ask(&mute.replace(B, A));
    assert_eq!(refused, error("Only hosts and ops can mute other participants", "forbidden"));
    let recording = b.ask(r#"{"type":"recording-state","recording":true}"#);
    assert_eq!(recording, format!(r#"{{"type":"recording-state","recording":true,"from":"{B}"}}"#));
    assert_eq!(a.text(), recording);
    assert!(b.ask(r#"{"type":"request-ice"}"#).starts_with(r#"{"type":"ice","ice":{"#));
    let invite = a.ask(r#"{"type":"request-invite","inviteRole":"ops"}"#);
    let token = invite.split(r#""inviteToken":""#).nth(1).unwrap().split('"').next().unwrap();
    let entered = c.ask(&format!(r#"{{"type":"create-or-join-room","inviteToken":"{token}"}}"#));
    assert!(entered.starts_with(r#"{"type":"room-joined","roomId":"show""#), "{entered}");
    let came = format!(r#"{{"type":"peer-joined","peerId":"{C}","role":"ops"}}"#);
    assert_eq!((a.text(), b.text()), (came.clone(), came));
    assert_eq!(b.ask(r#"{"type":"leave-room"}"#), r#"{"type":"room-left","roomId":"show"}"#);
    let left = format!(r#"{{"type":"peer-left","peerId":"{B}"}}"#);
    assert_eq!((a.text(), c.text()), (left.clone(), left));
    c.leave(1000);
    assert_eq!(a.text(), format!(r#"{{"type":"peer-left","peerId":"{C}"}}"#));
    let gone = a.ask(&offer(A, C));
    assert_eq!(
        gone,
        error(&format!(r#"Target peer "{C}" is not connected"#), "peer-not-connected")
    );
    hears_nothing(&mut a);
    hears_nothing(&mut b);
    agree(&[&one, &two]);
}

#[test]
fn a_seat_is_taken_back_by_way_of_another_node() {
    let nats = Nats::single(Version::Bookworm, "");
    let [one, two] = nodes(&nats);
    let (mut host, mut guest) = (peer(&one, A), two.client());
    let registered = guest.ask(&format!(r#"{{"type":"register","peerId":"{B}"}}"#));
    let resume = resume_of(&registered, B);
    enter(&mut host, "show", "host");
    enter(&mut guest, "show", "guest");
    host.text();
    let again = format!(r#"{{"type":"register","peerId":"{B}","resume":"{resume}"}}"#);
    let offer =
        |number: u32| format!(r#"{{"type":"offer","from":"{A}","to":"{B}","sdp":"{number}"}}"#);
    // While the other connection lives: what was on its way follows.
    let mut back = one.client();
    let registered = back.ask(&again);
    assert!(registered.starts_with(r#"{"type":"registered""#), "{registered}");
    assert_eq!(guest.close_code(), Some(4010));
    host.say(&offer(1));
    assert_eq!(back.text(), offer(1));
    // When it has broken: what was said meanwhile waits.
    drop(back);
    host.say(&offer(2));
    host.say(&offer(3));
    let mut back = two.client();
    let registered = back.ask(&again);
    assert!(registered.starts_with(r#"{"type":"registered""#), "{registered}");
    assert_eq!((back.text(), back.text()), (offer(2), offer(3)));
    host.say(&offer(4));
    assert_eq!(back.text(), offer(4));
    hears_nothing(&mut host);
    // A stranger does not get an id whose holder lives on another node.
    let mut stranger = one.client();
    stranger.say(&format!(r#"{{"type":"register","peerId":"{B}"}}"#));
    lives(&mut back);
    let taken = stranger.text();
    assert!(taken.contains("already-registered"), "{taken}");
    agree(&[&one, &two]);
}

#[test]
fn an_id_whose_holder_is_silent_on_another_node_is_given_away() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let mut silent = peer(&one, A);
    // It does not answer the ping.
    let mut other = peer(&two, A);
    assert_eq!(silent.close_code(), Some(4010));
    hears_nothing(&mut other);
    agree(&[&one, &two]);
}

#[test]
fn one_node_is_on_air() {
    let nats = Nats::single(Version::Trixie, "");
    // Nobody takes the programme, which is tried again and again.
    let settings = [("ICECAST_URL", "http://127.0.0.1:1/live.ogg"), ("ON_AIR_ACCESS", "open")];
    let [one, two] = nodes_with(&nats, &settings);
    let (mut a, mut b) = (peer(&one, A), peer(&two, B));
    enter(&mut a, "show", "host");
    enter(&mut b, "other show", "host");
    a.say(r#"{"type":"start-stream"}"#);
    assert!(a.text().contains("stream-error"));
    let busy = b.ask(r#"{"type":"start-stream","requestId":"1"}"#);
    let expected = format!(
        r#"{{"type":"error","message":"Peer \"{A}\" is on air","code":"on-air","requestId":"1"}}"#
    );
    assert_eq!(busy, expected);
    // Who was refused on the same node has nothing of it on another one.
    let expected = expected.replace(r#","requestId":"1""#, "");
    let mut c = one.client();
    let registered = c.ask(&format!(r#"{{"type":"register","peerId":"{C}"}}"#));
    let resume = resume_of(&registered, C);
    enter(&mut c, "third show", "host");
    assert_eq!(c.ask(r#"{"type":"start-stream"}"#), expected);
    c.leave(1001);
    let mut c = two.client();
    c.ask(&format!(r#"{{"type":"register","peerId":"{C}","resume":"{resume}"}}"#));
    enter(&mut c, "third show", "host");
    assert_eq!(c.ask(r#"{"type":"start-stream"}"#), expected);
    // A programme that begins as soon as one has ended is one for the others, too.
    for _ in 0..20 {
        a.say(r#"{"type":"stop-stream"}"#);
        a.say(r#"{"type":"start-stream"}"#);
    }
    a.say(r#"{"type":"ping"}"#);
    while !a.text().contains("pong") {}
    for _ in 0..20 {
        assert_eq!(c.ask(r#"{"type":"start-stream"}"#), expected);
    }
    a.say(r#"{"type":"stop-stream"}"#);
    while !a.text().contains("stream-stopped") {}
    loop {
        // As soon as the other node has heard of it.
        let answer = b.ask(r#"{"type":"start-stream"}"#);
        if answer.contains("stream-error") {
            break;
        }
        assert!(answer.contains("on-air"), "{answer}");
    }
    // A node that dies is not on air.
    drop(two);
    loop {
        let answer = a.ask(r#"{"type":"start-stream"}"#);
        if answer.contains("stream-error") {
            break;
        }
        assert!(answer.contains("on-air"), "{answer}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn a_programme_goes_on_by_way_of_another_node() {
    const STARTED: &str = r#"{"type":"stream-started","message":"Connected to Icecast server"}"#;
    let (nats, icecast) = (Nats::single(Version::Trixie, ""), Icecast::start());
    let settings = icecast.settings();
    let mut settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
    settings.push(("ON_AIR_ACCESS", "open"));
    let [one, two] = nodes_with(&nats, &settings);
    let register = |host: &mut Client, resume: &str| {
        let register = format!(r#"{{"type":"register","peerId":"{A}","resume":"{resume}"}}"#);
        resume_of(&host.ask(&register), A)
    };
    let go = |host: &mut Client, resume: &str| {
        let resume = register(host, resume);
        enter(host, "show", "host");
        assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
        resume
    };
    let mut host = one.client();
    let resume = go(&mut host, "");
    let listener = icecast.listen();
    // Its page is loaded again. Silence holds the mount meanwhile, by way of the first node.
    host.leave(1001);
    let mut host = two.client();
    let resume = go(&mut host, &resume);
    one.log.find("the end of the first one", |lines| {
        let end = "because the programme goes on by way of another node";
        lines.iter().any(|line| line.contains(end)).then_some(())
    });
    listener.hear_out();
    // The other node has it now, for as long as its host wants.
    let mut other = peer(&one, B);
    enter(&mut other, "other show", "host");
    let busy = format!(r#"{{"type":"error","message":"Peer \"{A}\" is on air","code":"on-air"}}"#);
    assert_eq!(other.ask(r#"{"type":"start-stream"}"#), busy);
    // Who is in the same room and leads it goes on where its host has gone, or is asked for and silent.
    let invite = host.ask(r#"{"type":"request-invite","inviteRole":"ops"}"#);
    let token = invite.split(r#""inviteToken":""#).nth(1).unwrap().split('"').next().unwrap();
    let mut other = peer(&one, C);
    let come = r#"{"type":"create-or-join-room","inviteToken""#;
    assert!(other.ask(&format!(r#"{come}:"{token}"}}"#)).contains(r#""role":"ops""#));
    drop(host);
    other.say(r#"{"type":"start-stream"}"#);
    // That it has gone comes before or after.
    let said = [other.text(), other.text()];
    assert!(said.contains(&STARTED.to_owned()) && said.concat().contains("peer-left"), "{said:?}");
    let mut host = two.client();
    let resume = register(&mut host, &resume);
    enter(&mut host, "show", "host");
    assert!(other.text().contains("peer-joined"));
    host.say(r#"{"type":"start-stream"}"#);
    lives(&mut other);
    assert_eq!(host.text(), busy.replace(A, C));
    host.say(r#"{"type":"start-stream"}"#);
    // Nobody answers now.
    assert_eq!(host.text(), STARTED);
    // Its node dies. Nobody waits until the others have noticed.
    let listener = icecast.listen();
    drop(two);
    go(&mut one.client(), &resume);
    listener.hear_out();
    icecast.listen();
}

#[test]
fn a_role_comes_back_by_way_of_another_node() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes(&nats);
    let mut host = one.client();
    let registered = host.ask(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    let resume = resume_of(&registered, A);
    enter(&mut host, "show", "host");
    let mut guest = peer(&two, B);
    enter(&mut guest, "show", "guest");
    assert!(host.text().contains("peer-joined"));
    // A page that is loaded again says 1001.
    host.leave(1001);
    assert_eq!(guest.text(), format!(r#"{{"type":"peer-left","peerId":"{A}"}}"#));
    let mut other = peer(&one, C);
    assert!(enter(&mut other, "show", "host").contains(r#""role":"guest""#), "it is reserved");
    assert!(guest.text().contains(C));
    let mut host = two.client();
    host.ask(&format!(r#"{{"type":"register","peerId":"{A}","resume":"{resume}"}}"#));
    let back = enter(&mut host, "show", "guest");
    assert!(back.contains(r#""role":"host","token""#), "{back}");
    for client in [&mut guest, &mut other] {
        let came = format!(r#"{{"type":"peer-joined","peerId":"{A}","role":"host"}}"#);
        assert_eq!(client.text(), came);
    }
    agree(&[&one, &two]);
}

#[test]
fn a_room_has_its_limit_and_its_age_on_all_nodes() {
    let nats = Nats::single(Version::Trixie, "");
    let [one, two] = nodes_with(&nats, &[("MAX_ROOM_PEERS", "2"), ("ROOM_TTL_MS", "3000")]);
    let (mut a, mut b, mut c) = (peer(&one, A), peer(&two, B), peer(&two, C));
    enter(&mut a, "show", "host");
    enter(&mut b, "show", "guest");
    assert!(a.text().contains("peer-joined"));
    assert_eq!(enter(&mut c, "show", "guest"), error("Room is full", "room-full"));
    let expired = r#"{"type":"room-expired","roomId":"show"}"#;
    assert_eq!((a.text(), b.text()), (expired.to_owned(), expired.to_owned()));
    assert!(enter(&mut c, "show", "host").contains("room-created"), "it is another one");
    agree(&[&one, &two]);
}
