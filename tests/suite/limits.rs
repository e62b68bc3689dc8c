//! What happens at the limits, and after them.

use std::process::Command;

use crate::fetch::request;
use crate::support::{Client, Server, UPGRADE, connect};

#[test]
fn full_is_503_until_somebody_leaves() {
    let server = Server::start(&[("MAX_CONNECTIONS", "2")]);
    let _first = server.client();
    let mut second = server.client();
    let answer = request(server.port, UPGRADE);
    assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"error":"Too many clients"}"#));
    assert!(answer.has("retry-after: 10"));
    assert_eq!(request(server.port, UPGRADE).status, 503);
    server.log.wait_for("Connection limit reached: 2 clients (MAX_CONNECTIONS); 127.0.0.1");
    assert_eq!(server.log.count("Connection limit reached"), 1, "said once, not at each");
    second.send(0x88, b"");
    second.close_code();
    assert!(second.ends());
    server.log.wait_for("disconnected");
    server.client();
}

#[test]
fn without_descriptors_the_server_waits_and_recovers() {
    // 40 descriptors, of which the server needs some itself.
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 40; exec "$0""#])
        .arg(env!("CARGO_BIN_EXE_openstudio-signaling"));
    let server = Server::spawn(command.env_clear().env("PORT", "0"));
    let mut client = server.client();
    let hoard: Vec<_> = (0..60).map(|_| connect(server.port)).collect();
    let line = server.log.wait_for("Cannot accept connections: ");
    assert!(line.contains("the limit of open files is 40 (LimitNOFILE=)"), "{line}");
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"), "who is in is not concerned");
    drop(hoard);
    let mut late = server.client();
    assert!(late.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert_eq!(server.log.count("Cannot accept connections"), 1, "said once, not at each try");
}

#[test]
fn one_address_has_its_limit() {
    let server = Server::start(&[("MAX_CONNECTIONS_PER_IP", "2"), ("MAX_CONNECTIONS", "4")]);
    let (first, _second) = (server.client(), server.client());
    for _ in 0..3 {
        let mut third = Client::open(server.port);
        let close = third.frame().unwrap();
        assert_eq!((close.opcode, &close.payload[..2]), (8, &4008_u16.to_be_bytes()[..]));
        assert_eq!(close.payload[2..], *b"Too many connections", "without a welcome");
        third.send(0x88, &close.payload);
        assert!(third.ends());
    }
    let line = server.log.wait_for("Connection limit reached by 127.0.0.1: 2 clients");
    assert!(line.contains("[WARN]") && line.contains("MAX_CONNECTIONS_PER_IP"), "{line}");
    assert_eq!(server.log.count("Connection limit reached"), 1, "said once, not at each");
    assert_eq!(server.log.count("client connected"), 2);
    // Nobody else is concerned, and the place of one who leaves is free.
    let mut other = connect_from("127.0.0.2", server.port);
    assert!(other.text().contains("welcome"));
    first.leave(1000);
    server.log.wait_for("disconnected");
    server.client();
}

#[test]
fn who_is_too_many_for_its_address_takes_no_place_of_others() {
    let server = Server::start(&[("MAX_CONNECTIONS_PER_IP", "1"), ("MAX_CONNECTIONS", "3")]);
    let _first = server.client();
    // They stay for as long as they are let.
    let _crowd: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Client::open(server.port);
            let close = client.frame().unwrap();
            assert_eq!(close.payload[..2], 4008_u16.to_be_bytes());
            client
        })
        .collect();
    assert!(connect_from("127.0.0.2", server.port).text().contains("welcome"));
}

#[test]
fn a_hundred_clients_of_one_address_are_welcome_by_default() {
    let server = Server::start(&[]);
    let clients: Vec<_> = (0..100).map(|_| server.client()).collect();
    assert_eq!(Client::open(server.port).close_code(), Some(4008));
    drop(clients);
    let server = Server::start(&[("MAX_CONNECTIONS_PER_IP", "0")]);
    let _clients: Vec<_> = (0..101).map(|_| server.client()).collect();
}

/// A WebSocket from another address of this machine.
fn connect_from(address: &str, port: u16) -> Client {
    use std::io::Write;
    use std::net::SocketAddr;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{address}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    let target: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    socket.connect(&target.into()).unwrap();
    let mut stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    stream.write_all(&crate::support::head(UPGRADE)).unwrap();
    assert_eq!(crate::support::Answer::read(&mut stream, true).status, 101);
    Client { stream }
}
