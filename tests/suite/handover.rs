//! A restart that clients do not notice, with a stand-in for systemd's descriptor store.

use std::io::Write;

use rustix::process::Signal;

use crate::alive::is_alive;
use crate::fetch::get;
use crate::icecast::Icecast;
use crate::identity::COOKIE;
use crate::metrics::metric;
use crate::on_air::{STARTED, chunk, decoded, host, recording, validated};
use crate::peers::{A, peer};
use crate::rooms::{B, C};
use crate::secure;
use crate::store::Systemd;
use crate::support::{Answer, Client, Server, UPGRADE, head};

type Socket = tungstenite::WebSocket<secure::Stream>;

pub fn offer(from: &str, to: &str, sdp: &str) -> String {
    format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"{sdp}"}}"#)
}

pub fn enter(client: &mut Client, role: &str) -> String {
    client.ask(&format!(r#"{{"type":"create-or-join-room","roomId":"show","role":"{role}"}}"#))
}

/// A says something to B, who does not read, until more than the sockets hold waits for it: so many bytes at least. What it
/// says, and how often.
pub fn fill_outbox(server: &Server, from: &mut Client, bytes: f64) -> (String, usize) {
    let text = offer(A, B, &"y".repeat(60_000));
    let mut sent = 0;
    while metric(server, "outbox_bytes") < bytes {
        from.say(&text);
        is_alive(from);
        sent += 1;
    }
    (text, sent)
}

#[test]
fn clients_notice_nothing_of_a_restart() {
    let mut systemd = Systemd::new();
    let server = systemd.start(&[]);
    let mut host = peer(&server, A);
    assert!(enter(&mut host, "host").contains("room-created"));
    let mut guest = peer(&server, B);
    assert!(enter(&mut guest, "guest").contains("room-joined"));
    assert!(host.text().contains("peer-joined"));
    host.say(&format!(r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"producer"}}"#));
    assert!(host.text().contains("mute") && guest.text().contains("mute"));
    // A client that has not registered, and half a frame of one that has.
    let mut stranger = server.client();
    let text = offer(A, B, &"x".repeat(200));
    let mut frame = vec![0x81, 0xFE];
    frame.extend((text.len() as u16).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    host.stream.write_all(&frame[..100]).unwrap();
    assert!(guest.ask(r#"{"type":"ping"}"#).contains("pong"), "the half has come before that");
    let uptime = get(server.port, "/health").body;

    let server = systemd.restart(server, &[]);
    let line = server.log.wait_for("Took over 3 clients in 1 room,");
    assert!(line.contains("(0 clients could not go on)"), "{line}");
    host.stream.write_all(&frame[100..]).unwrap();
    assert_eq!(guest.text(), text, "byte for byte");
    // It is muted still: nothing changes, and nobody hears of it.
    host.say(&format!(r#"{{"type":"mute","peerId":"{B}","muted":true,"authority":"producer"}}"#));
    is_alive(&mut host);
    is_alive(&mut guest);
    // Who is where, in its order, with its role.
    let present = enter(&mut host, "guest");
    assert!(present.contains(r#""role":"host""#), "{present}");
    let (first, second) = (present.find(A).unwrap(), present.rfind(B).unwrap());
    assert!(first < second, "{present}");
    assert!(
        stranger.ask(&format!(r#"{{"type":"register","peerId":"{C}"}}"#)).contains("registered")
    );
    // The counters and the uptime go on, and so do the numbers of clients.
    assert!(metric(&server, r#"messages_total{direction="received",type="register"}"#) >= 3.0);
    assert_eq!(metric(&server, "clients"), 3.0);
    assert_eq!(metric(&server, "clients_handed_over_total"), 3.0);
    assert_eq!(metric(&server, "clients_taken_over_total"), 3.0);
    let newcomer = server.client();
    server.log.wait_for("(client 4)");
    drop(newcomer);
    assert!(uptime.contains(r#""uptime":"#));

    // Once more, and then they leave as ever.
    let server = systemd.restart(server, &[]);
    assert!(host.ask(r#"{"type":"leave-room"}"#).contains("room-left"));
    assert!(guest.text().contains("peer-left"));
    host.leave(1000);
    server.log.wait_for("WebSocket client disconnected: 127.0.0.1 (client 1, close 1000 by client");
}

#[test]
fn what_waits_for_a_client_waits_still() {
    let mut systemd = Systemd::new();
    let server = systemd.start(&[]);
    let mut host = peer(&server, A);
    enter(&mut host, "host");
    let mut guest = peer(&server, B);
    enter(&mut guest, "guest");
    assert!(host.text().contains("peer-joined"));
    let (text, sent) = fill_outbox(&server, &mut host, 200_000.0);
    let server = systemd.restart(server, &[]);
    is_alive(&mut host);
    host.say(&offer(A, B, "last"));
    for number in 0..sent {
        assert!(guest.text() == text, "message {number} of {sent}");
    }
    assert_eq!(guest.text(), offer(A, B, "last"));
    drop(server);
}

#[test]
fn whoever_has_tls_is_asked_to_reconnect_and_has_its_place_still() {
    let directory = tempfile::tempdir().unwrap();
    secure::certificate(directory.path(), "cert", "key");
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert"), path("key"));
    let environment = [("TLS_CERT", cert.as_str()), ("TLS_KEY", key.as_str())];
    let mut systemd = Systemd::new();
    let server = systemd.start(&environment);
    let connect = |server: &Server| {
        let trusted = directory.path().join("cert");
        let mut stream = secure::secure(server.connect(), &trusted, rustls::ALL_VERSIONS);
        let cookie = format!("Cookie: openstudio-id={COOKIE}; __Host-openstudio-id={COOKIE}");
        stream.write_all(&head(&[UPGRADE, &[cookie.as_str()]].concat())).unwrap();
        assert_eq!(Answer::read(&mut stream, false).status, 101);
        Socket::from_raw_socket(stream, tungstenite::protocol::Role::Client, None)
    };
    let mut host = connect(&server);
    let ask = |socket: &mut Socket, text: &str| {
        socket.send(text.into()).unwrap();
        socket.read().unwrap().into_text().unwrap().to_string()
    };
    assert!(host.read().unwrap().to_string().contains("welcome"));
    assert!(
        ask(&mut host, &format!(r#"{{"type":"register","peerId":"{A}"}}"#)).contains("registered")
    );
    let enter = r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#;
    assert!(ask(&mut host, enter).contains("room-created"));
    let server = systemd.restart(server, &environment);
    let Ok(tungstenite::Message::Close(Some(close))) = host.read() else { panic!("no close") };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1012, "Server restarts: reconnect")
    );
    let mut again = connect(&server);
    assert!(again.read().unwrap().to_string().contains("welcome"));
    assert!(
        ask(&mut again, &format!(r#"{{"type":"register","peerId":"{A}"}}"#)).contains("registered")
    );
    let present = ask(&mut again, r#"{"type":"create-or-join-room","roomId":"show"}"#);
    assert!(present.contains("room-joined") && present.contains(r#""role":"host""#), "{present}");
}

#[test]
fn where_the_next_process_would_not_start_everybody_hears_goodbye() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("manifest.json");
    let text = r#"{"stationId":"north","name":"N","signaling":{"url":"ws://localhost/"},"ice":{"stun":["stun:localhost"]}}"#;
    std::fs::write(&manifest, text).unwrap();
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[("STATION_MANIFEST", manifest.to_str().unwrap())]);
    let mut client = peer(&server, A);
    std::fs::write(&manifest, "{").unwrap();
    server.signal(Signal::WINCH);
    server.signal(Signal::TERM);
    assert_eq!(client.close_code(), Some(1001));
    client.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
    let line = server.log.wait_for("The restart ends all connections");
    assert!(line.contains("manifest.json"), "{line}");
}

#[test]
fn without_a_store_everybody_hears_goodbye() {
    let mut systemd = Systemd::new();
    systemd.stores = false;
    let mut server = systemd.start(&[]);
    let mut client = peer(&server, A);
    systemd.stop(&mut server);
    assert_eq!(client.close_code(), Some(1001));
    server.wait();
    let line = server.log.wait_for("The restart ends all connections");
    assert!(line.contains("FileDescriptorStoreMax="), "{line}");
}

#[test]
fn settings_that_are_invalid_end_all_connections_with_a_word() {
    let mut systemd = Systemd::new();
    let mut server = systemd.start(&[]);
    let mut client = peer(&server, A);
    systemd.stop(&mut server);
    assert_eq!(server.wait().code(), Some(0));
    let output = systemd.command(&[("PORT", "nonsense")]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(client.close_code(), Some(1012));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("asked 1 client to reconnect"), "{said}");
}

#[test]
fn a_programme_its_listeners_and_its_archive_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    let (icecast, file) = (Icecast::start(), recording(directory.path(), 6));
    let settings = icecast.settings();
    let mut environment = vec![
        ("ON_AIR_ACCESS", "open"),
        ("ARCHIVE_DIR", archive.to_str().unwrap()),
        ("LOG_LEVEL", "info"),
    ];
    environment.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
    let mut systemd = Systemd::new();
    let server = systemd.start(&environment);
    let mut host = host(&server, A);
    assert_eq!(host.ask(r#"{"type":"start-stream"}"#), STARTED);
    let at_icecast = icecast.listen();
    let mut by_the_server = server.connect();
    by_the_server.write_all(b"GET /stream/live.opus HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut by_the_server, false).status, 200);
    let webm = std::fs::read(&file).unwrap();
    let mut pieces = webm.chunks(7_001);
    let mut send = |host: &mut Client, count: usize| {
        for piece in pieces.by_ref().take(count) {
            assert!(host.ask(&chunk(piece)).contains("chunk-ack"));
        }
    };
    send(&mut host, 4);
    server.log.wait_for("Archive: the programme is written to ");
    let mut server = systemd.restart(server, &environment);
    send(&mut host, 4);
    assert!(get(server.port, "/api/station").body.contains(r#""onAir":{"since":"#));
    assert_eq!(metric(&server, "listeners"), 1.0);
    server = systemd.restart(server, &environment);
    send(&mut host, usize::MAX);
    assert!(host.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    server.log.wait_for("because its host stopped it");
    for line in ["On air: ", "Icecast takes the programme", "was not completed"] {
        assert_eq!(server.log.count(line), 0, "{line}");
    }
    // Each of them has one stream, without a gap.
    let said = decoded(&file);
    let mut heard = Vec::new();
    std::io::Read::read_to_end(&mut by_the_server, &mut heard).unwrap();
    let (heard, _) = validated(directory.path(), &heard);
    assert!(decoded(&heard).len() >= said.len());
    let (heard, _) = validated(directory.path(), &at_icecast.hear_out());
    assert!(decoded(&heard).starts_with(&said), "to the bit");
    server.log.wait_for(" is complete (");
    let names: Vec<_> = std::fs::read_dir(&archive).unwrap().collect();
    assert_eq!(names.len(), 1);
    let kept = std::fs::read(names[0].as_ref().unwrap().path()).unwrap();
    let (kept, _) = validated(directory.path(), &kept);
    assert!(decoded(&kept).starts_with(&said), "to the bit");
}
