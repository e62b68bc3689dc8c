//! A next process that has less room than the one before, or can't read what that has left.

use std::os::fd::OwnedFd;

use crate::alive::is_alive;
use crate::handover::{enter, fill_outbox};
use crate::icecast::Icecast;
use crate::metrics::metric;
use crate::on_air::{STARTED, host};
use crate::peers::{A, peer};
use crate::rooms::B;
use crate::store::Systemd;
use crate::support::{Answer, Client};

#[test]
fn where_there_is_less_room_the_youngest_go_and_never_who_is_on_air() {
    let icecast = Icecast::start();
    let settings = icecast.settings();
    let mut environment = vec![("ON_AIR_ACCESS", "open"), ("MAX_CONNECTIONS", "4")];
    environment.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
    let mut systemd = Systemd::new();
    let server = systemd.start(&environment);
    let (mut first, mut second) = (server.client(), server.client());
    let mut third = server.client();
    let mut on_air = host(&server, A);
    assert_eq!(on_air.ask(r#"{"type":"start-stream"}"#), STARTED);
    let server = systemd.restart(server, &environment);
    server.log.wait_for("Took over 4 clients");
    assert_eq!(server.log.count("The limit of clients is lower"), 0, "as many as there may be");
    environment[1] = ("MAX_CONNECTIONS", "2");
    let server = systemd.restart(server, &environment);
    let line = server.log.wait_for("The limit of clients is lower than before (2)");
    assert!(line.contains("asked 2 clients who came last"), "{line}");
    server.log.wait_for("(2 clients could not go on)");
    assert_eq!((second.close_code(), third.close_code()), (Some(1012), Some(1012)));
    is_alive(&mut first);
    is_alive(&mut on_air);
    assert_eq!(server.log.count("Off air"), 0);
}

/// A client that has not read all, in a process that has stopped.
fn stopped(systemd: &mut Systemd) -> (Client, usize) {
    let mut server = systemd.start(&[]);
    let mut host = peer(&server, A);
    enter(&mut host, "host");
    let mut guest = peer(&server, B);
    enter(&mut guest, "guest");
    assert!(host.text().contains("peer-joined"));
    let (_, sent) = fill_outbox(&server, &mut host, 100_000.0);
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    (guest, sent)
}

/// How many messages come, whole, before the goodbye.
fn heard(mut guest: Client) -> usize {
    let mut heard = 0;
    loop {
        let frame = guest.frame().expect("a close frame");
        match frame.opcode {
            1 => heard += 1,
            _ => {
                assert_eq!(frame.payload[..2], 1012_u16.to_be_bytes());
                return heard;
            }
        }
    }
}

#[test]
fn a_state_of_another_version_ends_connections_with_what_they_had_not_taken() {
    let mut systemd = Systemd::new();
    let (guest, sent) = stopped(&mut systemd);
    let mut messages = systemd.messages();
    messages[0].0 = b"openstudio-signaling 2\n".to_vec();
    systemd.store(messages);
    let reader = std::thread::spawn(move || heard(guest));
    let server = systemd.start(&[]);
    let line = server.log.wait_for("What the process before has left is of no use");
    assert!(line.contains("another version") && line.contains("; asked 2 clients"), "{line}");
    let heard = reader.join().unwrap();
    // What had been written for its socket; the rest was still its outbox's.
    assert!(heard > 0 && heard <= sent, "{heard} of {sent}");
}

#[test]
fn settings_that_are_invalid_end_connections_with_what_they_had_not_taken() {
    let mut systemd = Systemd::new();
    let (guest, sent) = stopped(&mut systemd);
    let reader = std::thread::spawn(move || heard(guest));
    let output = systemd.command(&[("PORT", "nonsense")]).output().unwrap();
    systemd.stored = None;
    assert_eq!(output.status.code(), Some(78));
    let heard = reader.join().unwrap();
    assert!(heard > 0 && heard <= sent, "{heard} of {sent}");
}

#[test]
fn what_can_not_be_read_at_all_ends_connections_with_a_word() {
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[]);
    let mut client = server.client();
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    let mut messages = systemd.messages();
    let nonsense = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &nonsense, b"nonsense").unwrap();
    messages[0].1 = vec![OwnedFd::from(nonsense)];
    systemd.store(messages);
    let server = systemd.start(&[]);
    assert_eq!(client.close_code(), Some(1012));
    server.log.wait_for("What the process before has left is of no use: it can't be read");
}

#[test]
fn more_sockets_than_descriptors_end_connections_with_a_word() {
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[]);
    let mut clients: Vec<_> = (0..97).map(|_| server.client()).collect();
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    // 128 descriptors leave room for 96 clients.
    systemd.before = "ulimit -n 128;";
    let server = systemd.start(&[]);
    let line = server.log.wait_for("What the process before has left is of no use");
    assert!(line.contains("97 sockets") && line.contains("room for 96"), "{line}");
    for client in &mut clients {
        assert_eq!(client.close_code(), Some(1012));
    }
}

#[test]
fn a_descriptor_that_nobody_knows_is_closed_with_a_warning() {
    let mut systemd = Systemd::new();
    systemd.name = "of-another-version";
    systemd.store(Vec::new());
    let server = systemd.start(&[]);
    let line = server.log.wait_for("systemd passed a descriptor that is unknown here");
    assert!(line.contains("[WARN]") && line.ends_with(": of-another-version"), "{line}");
    is_alive(&mut server.client());
}

#[test]
fn listeners_behind_a_proxy_go_on_as_whose_they_are() {
    let icecast = Icecast::start();
    let settings = icecast.settings();
    let mut environment = vec![
        ("ON_AIR_ACCESS", "open"),
        // One for each address.
        ("MAX_LISTENERS", "4"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ];
    environment.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
    let mut systemd = Systemd::new();
    let server = systemd.start(&environment);
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    server.log.wait_for("Icecast takes the programme");
    let listen = |number: u8| {
        let mut stream = server.connect();
        let request = format!(
            "GET /stream/live.opus HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{number}\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut stream, false).status, 200);
        stream
    };
    let _listeners: Vec<_> = (1..=3).map(listen).collect();
    let server = systemd.restart(server, &environment);
    assert_eq!(metric(&server, "listeners"), 3.0);
}
