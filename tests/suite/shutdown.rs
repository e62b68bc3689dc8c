//! SIGTERM and what follows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::paused;
use crate::peers::{A, peer};
use crate::rooms::B;
use crate::settle::is_silent;
use crate::support::{Answer, Client, PATIENCE, Server, UPGRADE, WELCOME, connect, head};

#[test]
fn an_idle_server_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&[]);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        let name = if signal == Signal::TERM { "SIGTERM" } else { "SIGINT" };
        server.log.wait_for(&format!("Received {name}"));
        server.log.wait_for("Draining 0 clients");
        server.log.wait_for("Stopped cleanly after ");
    }
}

#[test]
fn two_thousand_clients_get_their_close_frame() {
    crate::file_limit::raise_file_limit();
    // However long it takes all of them to answer, the grace period is not over.
    let (mut server, _clock) = paused::start(&[("MAX_CONNECTIONS_PER_IP", "0")]);
    let mut clients: Vec<_> = (0..2_000).map(|_| server.client()).collect();
    server.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.close_code(), Some(1001));
    }
    for client in clients {
        client.leave(1001);
    }
    assert_eq!(server.wait().code(), Some(0));
    server.log.wait_for("Draining 2000 clients");
}

/// A peer that has more to read than the sockets take, and reads nothing of it.
fn deaf(server: &Server) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // The least there is; the server's own buffer is 128 KiB.
    socket.set_recv_buffer_size(1).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], server.port).into();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut deaf = Client::over(stream);
    assert_eq!(deaf.text(), WELCOME);
    assert!(deaf.ask(&format!(r#"{{"type":"register","peerId":"{B}"}}"#)).contains("registered"));
    let mut talker = peer(server, A);
    let sdp = "x".repeat(60_000);
    for _ in 0..10 {
        talker.say(&format!(r#"{{"type":"offer","from":"{A}","to":"{B}","sdp":"{sdp}"}}"#));
    }
    assert!(talker.ask(r#"{"type":"ping"}"#).contains("pong"), "all of it has been passed on");
    talker.leave(1000);
    deaf
}

#[test]
fn a_client_that_has_its_close_frame_and_stays_silent_is_a_clean_end() {
    // A grace period that is shorter than a second is no reason to count it as cut off.
    for (grace, silence) in [("10000", 1_000), ("300", 150)] {
        let (mut server, mut clock) = paused::start(&[("SHUTDOWN_GRACE_MS", grace)]);
        let mut client = server.client();
        server.signal(Signal::TERM);
        assert_eq!(client.close_code(), Some(1001));
        clock.advance(silence - 1);
        assert!(server.runs() && is_silent(&client.stream));
        clock.advance_to_the_end(1);
        assert_eq!(server.wait().code(), Some(0), "{grace}");
        server.log.wait_for("Stopped cleanly");
        server.log.wait_for("close 1001 by server");
        assert!(client.ends());
    }
}

#[test]
fn who_has_everything_is_not_cut_off_whatever_it_says() {
    // One goes on talking, one has answered and leaves its end of TCP open.
    let (mut server, mut clock) = paused::start(&[("SHUTDOWN_GRACE_MS", "1000")]);
    let (mut talker, mut lazy) = (server.client(), server.client());
    server.signal(Signal::TERM);
    assert_eq!((talker.close_code(), lazy.close_code()), (Some(1001), Some(1001)));
    lazy.send(0x88, &1001_u16.to_be_bytes());
    for _ in 0..4 {
        clock.advance(100);
        talker.say(r#"{"type":"ping"}"#);
    }
    clock.advance(99);
    assert!(server.runs());
    talker.say(r#"{"type":"ping"}"#);
    clock.advance_to_the_end(600);
    assert_eq!(server.wait().code(), Some(0));
    server.log.wait_for("Stopped cleanly");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let (mut server, mut clock) = paused::start(&[("SHUTDOWN_GRACE_MS", "300")]);
    let deaf = deaf(&server);
    server.signal(Signal::TERM);
    server.log.wait_for("Draining ");
    clock.advance(299);
    assert!(server.runs());
    clock.advance_to_the_end(1);
    assert_eq!(server.wait().code(), Some(1));
    let line = server.log.wait_for("Forced to stop: the grace period is over");
    assert!(
        line.contains("[WARN]") && line.contains(" with 1 client and 0 other connections left"),
        "{line}"
    );
    drop(deaf);
}

#[test]
fn a_second_signal_ends_the_wait() {
    // The grace period never ends by itself.
    let (mut server, _clock) = paused::start(&[]);
    let _deaf = deaf(&server);
    let mut witness = server.client();
    server.signal(Signal::TERM);
    assert_eq!(witness.close_code(), Some(1001));
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(1));
    server.log.wait_for("Forced to stop: a second signal came");
}

#[test]
fn readiness_ends_before_the_connection_does() {
    let mut server = Server::start(&[("SHUTDOWN_GRACE_MS", "3600000")]);
    // As long as a client is there, whoever holds a connection is told.
    let deaf = deaf(&server);
    let mut witness = server.client();
    let mut kept = server.connect();
    let ask = head(&["GET /ready HTTP/1.1", "Host: localhost"]);
    kept.write_all(&ask).unwrap();
    assert_eq!(Answer::read(&mut kept, true).status, 200);
    server.signal(Signal::TERM);
    assert_eq!(witness.close_code(), Some(1001));
    kept.write_all(&ask).unwrap();
    let answer = Answer::read(&mut kept, true);
    assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"status":"draining"}"#));
    // Nobody new is taken: the listener closes while the clients are being told.
    let asked = Instant::now();
    while TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
        assert!(asked.elapsed() < PATIENCE);
    }
    drop(deaf);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
}

#[test]
fn handshakes_in_flight_are_finished() {
    let mut server = Server::start(&[("SHUTDOWN_GRACE_MS", "3600000")]);
    // Until it goes, the end of the handshake has time.
    let deaf = deaf(&server);
    let mut witness = server.client();
    let mut half = connect(server.port);
    let bytes = head(UPGRADE);
    let (first, rest) = bytes.split_at(30);
    half.write_all(first).unwrap();
    // The witness was accepted before and answers after: its round trip shows that the half is in.
    assert!(witness.ask(r#"{"type":"ping"}"#).contains("pong"));
    server.signal(Signal::TERM);
    assert_eq!(witness.close_code(), Some(1001));
    half.write_all(rest).unwrap();
    assert_eq!(Answer::read(&mut half, true).status, 101);
    let mut late = Client { stream: half };
    assert_eq!(late.text(), WELCOME);
    assert_eq!(late.close_code(), Some(1001));
    late.leave(1001);
    witness.leave(1001);
    drop(deaf);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn who_does_not_finish_a_request_delays_the_end_by_two_seconds() {
    let (mut server, mut clock) = paused::start(&[]);
    let mut slow = server.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x").unwrap();
    let deaf = server.connect();
    server.fill(&[&deaf], &head(&["GET /health HTTP/1.1", "Host: x"]).repeat(1_000));
    server.signal(Signal::TERM);
    server.log.wait_for("Draining 0 clients");
    // A second for who has just connected, and another for what it has begun.
    clock.advance(1_000);
    clock.advance(999);
    assert!(server.runs());
    clock.advance_to_the_end(1);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn what_a_client_says_during_the_drain_comes_too_late() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    server.signal(Signal::TERM);
    assert_eq!(client.close_code(), Some(1001));
    client.say(r#"{"type":"ping"}"#);
    client.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn nobody_hears_at_a_stop_that_the_others_leave() {
    const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
    let mut server = Server::start(&[]);
    let mut peers = [peer(&server, A), peer(&server, B)];
    for (number, client) in peers.iter_mut().enumerate() {
        client.ask(&format!(
            r#"{{"type":"create-or-join-room","roomId":"show","requestId":"{number}"}}"#
        ));
    }
    assert!(peers[0].text().contains("peer-joined"));
    server.signal(Signal::TERM);
    // A page that is told so ends its call, which needs no server to go on.
    for mut client in peers {
        let frame = client.frame().unwrap();
        assert_eq!(frame.opcode, 8, "{frame:?}");
        client.leave(1001);
    }
    assert_eq!(server.wait().code(), Some(0));
}
