//! How connections end: by the client, by silence, by breaking off.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::fetch::get;
use crate::paused;
use crate::settle::is_silent;
use crate::support::{Client, Server};
use crate::talk::frame;

impl<S: Read + Write> Client<S> {
    /// Whether TCP ends now, without a further frame.
    pub fn ends(&mut self) -> bool {
        self.frame().is_none()
    }
}

#[test]
fn the_clients_code_is_echoed() {
    let server = Server::start(&[]);
    for code in (1000_u16..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let mut client = server.client();
        client.send(0x88, &code.to_be_bytes());
        assert_eq!(client.close_code(), Some(code));
        assert!(client.ends());
        drop(client);
        server.log.wait_for(&format!("close {code} by client"));
    }
    let mut client = server.client();
    client.send(0x88, b"");
    assert_eq!(client.close_code(), None);
    assert!(client.ends());
    drop(client);
    server.log.wait_for("close 1005 by client");
}

#[test]
fn codes_that_nobody_may_send_are_refused() {
    let server = Server::start(&[]);
    for code in [
        0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5001, 9999,
        65_535,
    ] {
        // With and without a reason, which is not even looked at.
        for reason in ["", "why"] {
            let mut client = server.client();
            client.send(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat());
            assert_eq!(client.close_code(), Some(1002), "{code} {reason}");
            assert!(client.ends());
        }
    }
    // Half a code.
    let mut client = server.client();
    client.send(0x88, &[0x03]);
    assert_eq!(client.close_code(), Some(1002));
}

#[test]
fn the_code_comes_back_without_the_reason() {
    let server = Server::start(&[]);
    for length in [1, 122, 123] {
        let mut client = server.client();
        client.send(0x88, &[&1000_u16.to_be_bytes(), &vec![b'x'; length][..]].concat());
        let close = client.frame().unwrap();
        assert_eq!((close.opcode, close.payload), (8, vec![0x03, 0xE8]));
        assert!(client.ends());
    }
}

#[test]
fn messages_before_the_close_are_answered_and_later_ones_not() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    let close = frame(0x88, &1000_u16.to_be_bytes());
    // Another close is not answered either, nor is what breaks the protocol.
    let late = [frame(0x89, b"late"), ping.clone(), close.clone(), vec![0xFF; 20]].concat();
    client.stream.write_all(&[ping, close, late].concat()).unwrap();
    assert!(client.text().contains("pong"));
    let close = client.frame().unwrap();
    assert_eq!((close.opcode, close.payload), (8, vec![0x03, 0xE8]));
    assert!(client.ends());
    drop(client);
    server.log.wait_for("close 1000 by client");
}

#[test]
fn a_message_under_way_is_no_reason_to_stay() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send(0x01, b"{");
    client.send(0x88, &3000_u16.to_be_bytes());
    // Whoever says goodbye and ends its side of TCP gets its answer all the same.
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.close_code(), Some(3000));
    assert!(client.ends());
}

#[test]
fn who_is_refused_has_a_second_to_read_why() {
    let (server, mut clock) = paused::start(&[]);
    let mut client = server.client();
    client.send(0x83, b"");
    let mut writer = client.stream.try_clone().unwrap();
    // It goes on writing until the server has gone: were that not read, TCP would be reset, and the close
    // frame could be lost.
    let writing = std::thread::spawn(move || {
        let pings = frame(0x89, b"").repeat(1000);
        while writer.write_all(&pings).is_ok() {}
    });
    assert_eq!(client.close_code(), Some(1002));
    assert!(client.ends());
    let clients = || {
        let text = get(server.port, "/metrics").body;
        let gauge =
            text.lines().find_map(|line| line.strip_prefix("openstudio_signaling_clients "));
        gauge.unwrap().to_owned()
    };
    clock.advance(999);
    assert_eq!(clients(), "1");
    clock.advance(1);
    assert_eq!(clients(), "0");
    server.log.wait_for("close 1002 by server");
    // It ends at all: the server does not read for ever.
    writing.join().unwrap();
}

#[test]
fn a_connection_that_breaks_off_is_1006() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.ends());
    let line = server.log.wait_for("close 1006 by nobody");
    assert!(line.contains("disconnected: 127.0.0.1 (client 1, "), "{line}");
}

#[test]
fn the_log_sums_the_client_up() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.ask(r#"{"type":"ping"}"#);
    client.ask(r#"{"type":"ping"}"#);
    client.send(0x88, b"");
    client.close_code();
    drop(client);
    let line = server.log.wait_for("disconnected");
    // In: two masked frames of 21 bytes and an empty one of 6. Out: a welcome of 73 bytes, two pongs of 43
    // and an empty close frame.
    let expected = "messages 2 in 3 out, bytes 48 in 161 out)";
    assert!(line.contains(expected), "{line}");
}

#[test]
fn silence_is_asked_after_and_an_answer_keeps_the_client() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "50")]);
    let mut client = server.client();
    for _ in 0..3 {
        clock.advance(49);
        assert!(is_silent(&client.stream));
        clock.advance(1);
        let ping = client.frame().unwrap();
        assert_eq!((ping.opcode, ping.payload), (9, vec![]));
        client.send(0x8A, b"");
    }
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn a_frame_that_never_ends_is_no_sign_of_life() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "300")]);
    let mut client = server.client();
    // Bytes come all the time, a frame does not.
    for byte in &frame(0x82, &[b'x'; 1000])[..30] {
        assert!(is_silent(&client.stream));
        client.stream.write_all(&[*byte]).unwrap();
        clock.advance(10);
    }
    assert_eq!(client.frame().unwrap().opcode, 9);
}

#[test]
fn a_client_that_does_not_answer_is_dead_after_ten_seconds() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "100")]);
    let mut client = server.client();
    clock.advance(100);
    assert_eq!(client.frame().unwrap().opcode, 9);
    clock.advance(9_999);
    assert!(is_silent(&client.stream));
    clock.advance(1);
    assert_eq!(client.close_code(), Some(4201));
    assert!(client.ends());
    server.log.wait_for("does not answer: silent for 10100 ms");
    drop(client);
    server.log.wait_for("close 4201 by server");
}

#[test]
fn a_late_pong_does_not_hold_the_next_ping_up() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "200")]);
    let mut client = server.client();
    clock.advance(200);
    assert_eq!(client.frame().unwrap().opcode, 9);
    // Later than the next heartbeat would have been.
    clock.advance(700);
    assert!(is_silent(&client.stream));
    client.send(0x8A, b"");
    // And not when the time for the first pong is over, at 10 s.
    clock.advance(200);
    assert_eq!(client.frame().unwrap().opcode, 9);
}
