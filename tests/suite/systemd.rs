//! The protocols of systemd, against fakes: passed sockets, notification, watchdog, journal.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::fetch::get;
use crate::paused;
use crate::process::binary;
use crate::support::{Log, PATIENCE, Server, connect};

/// A notification socket, and the datagrams that came to it.
struct Notifications {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Notifications {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, directory }
    }

    fn path(&self) -> String {
        self.directory.path().join("notify").to_str().unwrap().to_owned()
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn wait_for(&self, text: &str) -> String {
        loop {
            let notification = self.next();
            if notification.contains(text) {
                return notification;
            }
        }
    }
}

/// A command that runs the binary with `listener` as descriptor 3, as systemd passes sockets.
fn passing(listener: &impl AsRawFd) -> Command {
    let mut command = Command::new("bash");
    let script =
        format!(r#"exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0""#, listener.as_raw_fd());
    command.args(["-c", &script, env!("CARGO_BIN_EXE_openstudio-signaling")]);
    command.env_clear();
    command
}

/// A listening socket that a child inherits.
fn inheritable(listener: std::net::TcpListener) -> std::net::TcpListener {
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    listener
}

#[test]
fn notifications_tell_the_story() {
    let notifications = Notifications::new();
    let (mut server, mut clock) = paused::start(&[("NOTIFY_SOCKET", &notifications.path())]);
    assert_eq!(notifications.next(), "READY=1\nSTATUS=Serving 0 clients\n");
    // READY came when the socket was bound: it answers.
    assert_eq!(get(server.port, "/ready").status, 200);
    let mut client = server.client();
    notifications.wait_for("STATUS=Serving 1 client\n");

    server.signal(Signal::HUP);
    let reloading = notifications.wait_for("RELOADING=1");
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.trim_end().parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(notifications.next(), "READY=1\nSTATUS=Serving 1 client\n");

    server.signal(Signal::TERM);
    assert_eq!(notifications.wait_for("STOPPING=1"), "STOPPING=1\nSTATUS=Draining 1 client\n");
    assert_eq!(notifications.next(), "EXTEND_TIMEOUT_USEC=5000000\nSTATUS=Draining 1 client\n");
    // Who says nothing for a second is not waited for.
    clock.advance(500);
    client.say(r#"{"type":"ping"}"#);
    clock.advance(500);
    assert_eq!(notifications.next(), "EXTEND_TIMEOUT_USEC=5000000\nSTATUS=Draining 1 client\n");
    assert_eq!(client.close_code(), Some(1001));
    client.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn status_is_told_once_a_second_at_most() {
    let notifications = Notifications::new();
    let (server, mut clock) = paused::start(&[("NOTIFY_SOCKET", &notifications.path())]);
    assert!(notifications.next().starts_with("READY=1"));
    let first = server.client();
    assert_eq!(notifications.next(), "STATUS=Serving 1 client\n");
    let others: Vec<_> = (0..19).map(|_| server.client()).collect();
    clock.advance(999);
    notifications.socket.set_nonblocking(true).unwrap();
    assert!(notifications.socket.recv(&mut [0; 100]).is_err(), "not within a second");
    notifications.socket.set_nonblocking(false).unwrap();
    clock.advance(1);
    assert_eq!(notifications.next(), "STATUS=Serving 20 clients\n");
    drop((first, others));
}

#[test]
fn the_watchdog_is_pinged() {
    let notifications = Notifications::new();
    let path = notifications.path();
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "200000")];
    let server = Server::start(&environment);
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!(notifications.wait_for("WATCHDOG"), "WATCHDOG=1\n");
    }
    // A stopped process does not ping; what was sent before is read first.
    server.signal(Signal::STOP);
    let pid = Pid::from_child(&server.child);
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
    notifications.socket.set_nonblocking(true).unwrap();
    while notifications.socket.recv(&mut [0; 100]).is_ok() {}
    server.signal(Signal::CONT);
    notifications.socket.set_nonblocking(false).unwrap();
    notifications.wait_for("WATCHDOG=1");
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn a_missing_notification_socket_is_a_warning() {
    let server = Server::start(&[("NOTIFY_SOCKET", "/nonexistent/notify")]);
    server.log.wait_for("[WARN] Cannot notify systemd: ");
    assert_eq!(get(server.port, "/health").status, 200);
}

#[test]
fn a_passed_socket_is_used() {
    let listener = inheritable(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let server = Server::spawn(&mut passing(&listener));
    assert_eq!(server.port, port);
    server.log.wait_for(&format!("Listening on 127.0.0.1:{port} (socket passed by systemd)"));
    server.log.wait_for(&format!("WebSocket ws://127.0.0.1:{port}/"));
    assert!(server.client().ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn a_port_beside_a_passed_socket_is_a_warning_with_the_fix() {
    let listener = inheritable(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let server = Server::spawn(passing(&listener).env("PORT", "8080"));
    assert_eq!(server.port, address.port());
    let line = server.log.wait_for("[WARN] PORT=8080 (environment) has no effect");
    assert!(line.contains(&address.to_string()), "{line}");
    assert!(line.contains("/etc/systemd/system/openstudio-signaling.socket.d/port.conf"), "{line}");
}

#[test]
fn sockets_of_another_process_are_not_ours() {
    let server = Server::start(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]);
    server.log.wait_for("(bound by this process)");
}

#[test]
fn a_passed_socket_of_another_kind_is_refused() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let output = passing(&socket).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("[ERROR] Cannot use the socket that systemd passed"), "{text}");
}

#[test]
fn a_passed_socket_that_does_not_listen_is_refused() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let output = passing(&socket).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("[ERROR] Cannot use the socket that systemd passed: it does not listen"),
        "{text}"
    );
}

#[test]
fn the_watchdog_is_content_during_a_drain() {
    let notifications = Notifications::new();
    let path = notifications.path();
    let mut server = Server::start(&[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "200000")]);
    let mut client = server.client();
    server.signal(Signal::TERM);
    assert_eq!(client.close_code(), Some(1001));
    notifications.wait_for("STOPPING=1");
    for _ in 0..5 {
        notifications.wait_for("WATCHDOG=1");
    }
    client.leave(1001);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn bad_settings_do_not_leave_clients_waiting_on_a_passed_socket() {
    let listener = inheritable(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let mut waiting = connect(listener.local_addr().unwrap().port());
    let output = passing(&listener).env("RATE_LIMIT", "many").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(std::io::Read::read(&mut waiting, &mut [0]).unwrap(), 0);
}

#[test]
fn a_restart_with_a_held_socket_refuses_nobody() {
    let listener = inheritable(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let mut first = Server::spawn(&mut passing(&listener));
    assert_eq!(first.stop(), Some(0));
    let mut between = connect(port);
    let second = Server::spawn(&mut passing(&listener));
    std::io::Write::write_all(&mut between, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(crate::support::Answer::read(&mut between, true).status, 200);
    drop(second);
}

#[test]
fn stderr_is_used_where_journal_stream_names_something_else() {
    let mut command = binary();
    let mut child = command
        .envs([("PORT", "abc"), ("JOURNAL_STREAM", "1:1")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Log::follow(child.stderr.take().unwrap()).wait_for("[ERROR] Invalid setting PORT");
    assert_eq!(child.wait().unwrap().code(), Some(78));
}
