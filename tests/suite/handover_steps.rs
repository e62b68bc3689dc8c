//! What may happen in the middle of a handover: a process that dies, a store that refuses, a client that is about to say
//! something, and what comes to nobody.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;

use rustix::process::Signal;

use crate::alive::is_alive;
use crate::fetch::get;
use crate::handover::{enter, fill_outbox, offer};
use crate::icecast::Icecast;
use crate::on_air::{STARTED, chunk, decoded, host, recording, validated};
use crate::peers::{A, peer};
use crate::rooms::{B, C};
use crate::store::Systemd;
use crate::support::{Answer, Client, Server, UPGRADE, WELCOME, head};
use crate::talk::frame;

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// Two in a room.
fn pair(server: &Server) -> (Client, Client) {
    let mut host = peer(server, A);
    assert!(enter(&mut host, "host").contains("room-created"));
    let mut guest = peer(server, B);
    assert!(enter(&mut guest, "guest").contains("room-joined"));
    assert!(host.text().contains("peer-joined"));
    (host, guest)
}

#[test]
fn connections_that_are_no_clients_yet_go_on() {
    let mut systemd = Systemd::new();
    let server = systemd.start(&[]);
    let (mut silent, mut half, mut kept) = (server.connect(), server.connect(), server.connect());
    let mut shaking = server.connect();
    half.write_all(&GET[..9]).unwrap();
    let upgrade = head(UPGRADE);
    let (first, rest) = upgrade.split_at(upgrade.len() - 3);
    shaking.write_all(first).unwrap();
    // One that has been answered, and begins to ask again.
    kept.write_all(GET).unwrap();
    assert_eq!(Answer::read(&mut kept, true).status, 200);
    kept.write_all(&GET[..9]).unwrap();
    server.settle();

    let mut server = server;
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    // Nobody accepts it, and nobody refuses it.
    let mut between = TcpStream::connect(systemd.listener.local_addr().unwrap()).unwrap();
    between.write_all(GET).unwrap();
    let server = systemd.start(&[]);
    for (stream, rest) in [(&mut silent, GET), (&mut half, &GET[9..]), (&mut kept, &GET[9..])] {
        stream.write_all(rest).unwrap();
        assert_eq!(Answer::read(stream, true).status, 200);
    }
    assert_eq!(Answer::read(&mut between, true).status, 200);
    shaking.write_all(rest).unwrap();
    assert_eq!(Answer::read(&mut shaking, true).status, 101);
    assert_eq!(Client { stream: shaking }.text(), WELCOME);
    // Once more, with one that is between two requests.
    let server = systemd.restart(server, &[]);
    half.write_all(GET).unwrap();
    assert_eq!(Answer::read(&mut half, true).status, 200);
    drop(server);
}

#[test]
fn an_answer_that_is_under_way_is_waited_for() {
    let web = tempfile::tempdir().unwrap();
    std::fs::write(web.path().join("large"), vec![b'x'; 8_000_000]).unwrap();
    let environment = [("WEB_ROOT", web.path().to_str().unwrap())];
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&environment);
    let mut client = peer(&server, A);
    let mut stream = server.connect();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut some = [0; 4096];
    stream.read_exact(&mut some).unwrap();
    systemd.stop(&mut server);
    // Clients are served meanwhile.
    is_alive(&mut client);
    let mut read = some.len();
    while read < 8_000_000 {
        let more = stream.read(&mut some).unwrap();
        assert!(more > 0, "cut after {read} bytes");
        read += more;
    }
    assert_eq!(server.wait().code(), Some(0));
    let _server = systemd.start(&environment);
    is_alive(&mut client);
}

#[test]
fn where_the_store_refuses_nothing_is_lost_before_the_goodbye() {
    let directory = tempfile::tempdir().unwrap();
    let (icecast, file) = (Icecast::start(), recording(directory.path(), 3));
    let settings = icecast.settings();
    let mut environment = vec![("ON_AIR_ACCESS", "open")];
    environment.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
    let mut systemd = Systemd::new();
    systemd.stores = false;
    let mut server = systemd.start(&environment);
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    let listener = icecast.listen();
    for piece in std::fs::read(&file).unwrap().chunks(50_000) {
        assert!(host.ask(&chunk(piece)).contains("chunk-ack"));
    }
    let mut guest = peer(&server, B);
    enter(&mut guest, "guest");
    assert!(host.text().contains("peer-joined"));
    let (text, sent) = fill_outbox(&server, &mut host, 200_000.0);
    systemd.stop(&mut server);
    assert_eq!(host.close_code(), Some(1001));
    host.leave(1001);
    for _ in 0..sent {
        assert!(guest.text() == text);
    }
    assert_eq!(guest.close_code(), Some(1001));
    guest.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
    // Listeners hear the programme to its end.
    let (heard, _) = validated(directory.path(), &listener.hear_out());
    assert!(decoded(&heard).starts_with(&decoded(&file)), "to the bit");
    server.log.wait_for("The restart ends all connections");
    server.log.wait_for("because the service stops");
}

#[test]
fn a_process_that_dies_before_it_gives_anything_leaves_an_empty_queue() {
    let mut systemd = Systemd::new();
    systemd.store(Vec::new());
    let server = systemd.start(&[]);
    let line = server.log.wait_for("What the process before has left is of no use");
    assert!(line.contains("it is empty") && line.contains("0 clients"), "{line}");
    is_alive(&mut server.client());
}

#[test]
fn a_process_that_dies_in_the_middle_loses_those_it_still_had() {
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[]);
    let (mut host, mut guest) = pair(&server);
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    let mut messages = systemd.messages();
    let (text, sockets) = messages.last_mut().unwrap();
    assert_eq!((&text[..], sockets.len()), (&b"clients 0\n"[..], 2));
    let is_guest = |socket: &OwnedFd| {
        let socket = TcpStream::from(socket.try_clone().unwrap());
        socket.peer_addr().unwrap() == guest.stream.local_addr().unwrap()
    };
    let place = sockets.iter().position(is_guest).unwrap();
    sockets.remove(place);
    // The other one has its place still.
    *text = format!("clients {}\n", 1 - place).into_bytes();
    systemd.store(messages);
    let server = systemd.start(&[]);
    let line = server.log.wait_for("Took over 1 client in 1 room,");
    assert!(line.contains("(1 client could not go on)"), "{line}");
    let mut buffer = [0];
    assert!(guest.stream.read(&mut buffer).map_or(true, |read| read == 0), "its connection broke");
    is_alive(&mut host);
    // As with any connection that breaks, its place is kept.
    let mut again = peer(&server, B);
    let answer = enter(&mut again, "guest");
    assert!(answer.contains("already-in-room"), "{answer}");
}

#[test]
fn one_that_dies_with_everything_takes_it_along_and_the_next_one_serves() {
    let mut systemd = Systemd::new();
    let server = systemd.start(&[]);
    let (mut host, _guest) = pair(&server);
    let mut server = systemd.restart(server, &[]);
    is_alive(&mut host);
    server.signal(Signal::KILL);
    server.wait();
    let server = systemd.start(&[]);
    assert!(host.frame().is_none(), "the end of TCP");
    is_alive(&mut server.client());
}

#[test]
fn who_was_about_to_say_something_says_it() {
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[("RATE_LIMIT", "0")]);
    let (mut host, mut guest) = pair(&server);
    let text = offer(A, B, &"z".repeat(64_000));
    let whole = frame(0x81, text.as_bytes());
    // In the head of a frame, in its length, in its mask, in the message, before its last byte; and with fragments.
    let halves = text.as_bytes().split_at(30_000);
    let fragments = [frame(0x01, halves.0), frame(0x89, b"?"), frame(0x80, halves.1)].concat();
    for bytes in [&whole, &fragments] {
        for cut in [1, 3, 7, 9, 30_010, bytes.len() - 1] {
            host.stream.write_all(&bytes[..cut]).unwrap();
            is_alive(&mut guest);
            server = systemd.restart(server, &[("RATE_LIMIT", "0")]);
            host.stream.write_all(&bytes[cut..]).unwrap();
            assert!(guest.text() == text, "cut at {cut}");
        }
    }
    // Six times by the second way.
    for _ in 0..6 {
        assert_eq!(host.frame().unwrap().opcode, 10);
    }
    // What is said while nobody is there is heard by the next one; so is a goodbye, and an end without.
    let mut third = peer(&server, C);
    enter(&mut third, "guest");
    assert!(host.text().contains("peer-joined") && guest.text().contains("peer-joined"));
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    host.say(&offer(A, B, "meanwhile"));
    host.send(0x88, &1000_u16.to_be_bytes());
    third.stream.shutdown(Shutdown::Both).unwrap();
    let server = systemd.start(&[("RATE_LIMIT", "0")]);
    assert_eq!(guest.text(), offer(A, B, "meanwhile"));
    assert_eq!(host.close_code(), Some(1000));
    assert!(guest.text().contains("peer-left"));
    server.log.wait_for("(client 3, close 1006");
}

#[test]
fn half_a_goodbye_is_a_whole_one_later() {
    let mut systemd = Systemd::new();
    let server = systemd.start(&[]);
    let (mut host, mut guest) = pair(&server);
    let close = frame(0x88, &1000_u16.to_be_bytes());
    host.stream.write_all(&close[..4]).unwrap();
    is_alive(&mut guest);
    let server = systemd.restart(server, &[]);
    host.stream.write_all(&close[4..]).unwrap();
    assert_eq!(host.close_code(), Some(1000));
    assert!(host.frame().is_none());
    assert!(guest.text().contains("peer-left"));
    server.log.wait_for("close 1000 by client");
}

#[test]
fn further_signals_in_the_middle_change_nothing() {
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[]);
    let (mut host, mut guest) = pair(&server);
    for signal in
        [Signal::WINCH, Signal::TERM, Signal::HUP, Signal::TERM, Signal::WINCH, Signal::INT]
    {
        server.signal(signal);
    }
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    let server = systemd.start(&[]);
    for client in [&mut host, &mut guest] {
        is_alive(client);
    }
    assert_eq!(get(server.port, "/ready").status, 200);
}

#[test]
fn who_waits_for_an_id_waits_on() {
    let mut systemd = Systemd::new();
    let server = systemd.start(&[]);
    let mut holder = peer(&server, A);
    // Somebody else wants the id: the holder is asked whether it lives, and does not answer in time.
    let mut other = server.client();
    other.say(&format!(r#"{{"type":"register","peerId":"{A}"}}"#));
    assert_eq!(holder.frame().unwrap().opcode, 9);
    let server = systemd.restart(server, &[]);
    // The next process asks again: what it has not asked is no answer.
    assert_eq!(holder.frame().unwrap().opcode, 9);
    holder.send(0x8A, b"");
    let answer = other.text();
    assert!(answer.contains("already"), "{answer}");
    is_alive(&mut holder);
    drop(server);
}

#[test]
fn without_systemd_the_mark_means_nothing() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    server.signal(Signal::WINCH);
    is_alive(&mut client);
    server.signal(Signal::TERM);
    assert_eq!(client.close_code(), Some(1001));
    client.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.log.count("The restart ends"), 0, "it is none");
}

#[test]
fn a_systemd_that_does_not_answer_is_waited_for_and_then_everybody_hears_goodbye() {
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[]);
    let mut client = server.client();
    server.signal(Signal::WINCH);
    server.signal(Signal::TERM);
    // It keeps what it was given, the pipe included.
    let _kept: Vec<_> = (0..2).map(|_| systemd.next()).collect();
    assert_eq!(client.close_code(), Some(1001));
    client.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
    server.log.wait_for("because they can't be handed over: systemd does not answer");
}

#[test]
fn a_client_that_is_dead_is_found_dead_by_the_next_process() {
    let mut systemd = Systemd::new();
    let environment = [("HEARTBEAT_MS", "500")];
    let server = systemd.start(&environment);
    let mut silent = peer(&server, A);
    let begun = std::time::Instant::now();
    assert_eq!(silent.frame().unwrap().opcode, 9, "it does not answer");
    let server = systemd.restart(server, &environment);
    server.log.wait_for("Took over 1 client ");
    // It has ten seconds, whoever asked.
    assert_eq!(silent.close_code(), Some(4201));
    assert!(begun.elapsed() < std::time::Duration::from_secs(12), "{:?}", begun.elapsed());
}
