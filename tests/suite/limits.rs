//! What happens at the limits, and after them.

use std::process::Command;

use crate::support::{Server, UPGRADE, connect, request};

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
    assert!(line.contains("the file limit is 40 (LimitNOFILE=)"), "{line}");
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"), "who is in is not concerned");
    drop(hoard);
    let mut late = server.client();
    assert!(late.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert_eq!(server.log.count("Cannot accept connections"), 1, "said once, not at each try");
}
