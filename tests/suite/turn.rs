//! TURN credentials, held against those who have to agree with them: openssl and a real coturn.
//!
//! Deliberately computes no HMAC of its own.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Log, PATIENCE, Server};

const A: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
const SECRET: &str = "a secret that both of them know";

/// A manifest with a TURN server on `port` that needs a credential, and one that brings its own.
fn manifest(directory: &Path, port: u16) -> String {
    let path = directory.join("station-manifest.json");
    let manifest = json!({
        "stationId": "north",
        "name": "Radio North",
        "signaling": {"url": "wss://studio.example/"},
        "ice": {"stun": ["stun:127.0.0.1:3478"], "turn": [
            {"urls": [format!("turn:127.0.0.1:{port}")], "region": "here"},
            own_entry(),
        ]},
    });
    fs::write(&path, manifest.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The TURN server that is somebody else's.
fn own_entry() -> Value {
    json!({"urls": "turns:turn.example:5349", "username": "station", "credential": "its own"})
}

/// The `ice` that a peer is given with its room.
fn ice(server: &Server, peer: &str) -> Value {
    let mut client = server.client();
    client.ask(&format!(r#"{{"type":"register","peerId":"{peer}"}}"#));
    let reply: Value =
        serde_json::from_str(&client.ask(r#"{"type":"create-or-join-room"}"#)).unwrap();
    assert_eq!(reply["type"], "room-created");
    reply["ice"].clone()
}

/// Username and credential of the first TURN server.
fn login(ice: &Value) -> (String, String) {
    let text = |key: &str| ice["turn"][0][key].as_str().unwrap().to_owned();
    (text("username"), text("credential"))
}

/// The time at which a username is no longer good, in seconds since 1970.
fn expiry(username: &str) -> u64 {
    username.split(':').next().unwrap().parse().unwrap()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// What openssl makes of the username.
fn hmac(username: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha1", "-hmac", SECRET, "-binary"]);
    let output = run(&mut command, username.as_bytes());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout.len(), 20, "a SHA-1");
    STANDARD.encode(output.stdout)
}

/// Runs a tool that says less than a pipe holds, with `input`, to its end.
fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running::start(command);
    child.0.stdin.take().unwrap().write_all(input).unwrap();
    let start = Instant::now();
    while child.0.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "{command:?} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.output()
}

/// A process that is ended and waited for, whatever the test comes to.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(
            child.unwrap_or_else(|e| panic!("{command:?}: {e}; tests/run installs what is needed")),
        )
    }

    /// What the process said, once it has ended.
    fn output(mut self) -> Output {
        let mut output =
            Output { status: self.0.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        std::io::copy(&mut stdout.unwrap(), &mut output.stdout).unwrap();
        std::io::copy(&mut stderr.unwrap(), &mut output.stderr).unwrap();
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A coturn that knows the secret.
struct Coturn {
    _process: Running,
    port: u16,
    log: Log,
}

/// The flags that packaging/compose.yaml gives coturn, with what its operator fills in.
fn composed_flags() -> Vec<String> {
    let compose = include_str!("../../packaging/compose.yaml");
    let (_, coturn) = compose.split_once("\n  coturn:\n").unwrap();
    let (_, flags) = coturn.split_once("\n    command:\n").unwrap();
    let lines = flags.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let flags = lines.filter_map(|line| line.strip_prefix("- "));
    flags
        .map(|flag| match flag.split_once("=${") {
            Some((name, rest)) if rest.starts_with("TURN_SECRET:?") => format!("{name}={SECRET}"),
            Some((name, rest)) if rest.starts_with("TURN_REALM:?") => {
                format!("{name}=studio.example")
            }
            _ => flag.to_owned(),
        })
        .collect()
}

impl Coturn {
    fn start(directory: &Path) -> Self {
        let secret = format!("--static-auth-secret={SECRET}");
        let flags =
            ["--no-tls", "--no-dtls", "--no-cli", "--use-auth-secret", "--realm=studio.example"];
        Self::start_with(directory, flags.map(String::from).into_iter().chain([secret]))
    }

    fn start_with(directory: &Path, flags: impl IntoIterator<Item = String>) -> Self {
        let port = free_port();
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("turnserver");
        command
            // No configuration file, and nothing but what a peer needs.
            .args(["-n", "--allow-loopback-peers"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .args(flags)
            .arg(format!("--listening-port={port}"))
            .arg(format!("--pidfile={}", path("coturn.pid")))
            .arg(format!("--userdb={}", path("coturn.db")))
            .args(["--log-file=stdout", "--simple-log", "--verbose"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        let log = Log::follow(process.0.stdout.take().unwrap());
        log.wait_for(&format!("UDP listener opened on: 127.0.0.1:{port}"));
        Self { _process: process, port, log }
    }

    /// Sends six messages from one peer to another through coturn, both with this login. Says whether
    /// they all came, and fails where it is neither that nor coturn's 401.
    fn lets_in(&self, (username, credential): &(String, String)) -> bool {
        let mut command = Command::new("turnutils_uclient");
        command
            // Peer to peer and without RTCP: two messages, there and back.
            .args(["-v", "-y", "-c", "-n", "3", "-m", "1"])
            .args(["-p", &self.port.to_string(), "-u", username, "-w", credential, "127.0.0.1"]);
        let output = run(&mut command, b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = said + &String::from_utf8_lossy(&output.stderr);
        let allocated = said.contains("Received relay addr: 127.0.0.1:");
        let coturn = |what: &str| format!("user <{username}>: incoming packet {what}");
        if output.status.success() {
            assert!(allocated, "{said}");
            assert!(said.contains("tot_send_msgs=6, tot_recv_msgs=6\n"), "{said}");
            assert!(said.contains("Total lost packets 0 "), "{said}");
            self.log.wait_for(&coturn("ALLOCATE processed, success"));
            return true;
        }
        assert!(!allocated && said.contains("Cannot complete Allocation"), "{said}");
        self.log.wait_for(&format!("Cannot find credentials of user <{username}>"));
        self.log.wait_for(&coturn("message processed, error 401: Unauthorized"));
        assert_eq!(self.log.count(&coturn("ALLOCATE processed, success")), 0);
        false
    }
}

/// A port of the loopback that is free for UDP and TCP. coturn can't be given a socket, and port 0 means
/// its default to it.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn each_peer_has_a_credential_that_openssl_confirms() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = manifest(directory.path(), 3478);
    let server = Server::start(&[
        ("STATION_MANIFEST", &manifest),
        ("TURN_SECRET", SECRET),
        ("TURN_TTL_MS", "90000"),
    ]);
    let mut usernames = Vec::new();
    for peer in [A, B] {
        let before = now().as_secs();
        let ice = ice(&server, peer);
        let after = now().as_secs();
        let (username, credential) = login(&ice);
        assert_eq!(username, format!("{}:{peer}", expiry(&username)));
        assert!((before + 90..=after + 90).contains(&expiry(&username)), "{username} at {after}");
        assert_eq!(credential, hmac(&username));
        let personal = json!({
            "urls": ["turn:127.0.0.1:3478"],
            "region": "here",
            "username": username,
            "credential": credential,
        });
        let stun = ["stun:127.0.0.1:3478"];
        assert_eq!(ice, json!({"stun": stun, "turn": [personal, own_entry()]}));
        usernames.push(username);
    }
    assert_ne!(usernames[0], usernames[1]);
}

#[test]
fn without_a_secret_the_manifest_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&[("STATION_MANIFEST", &manifest(directory.path(), 3478))]);
    let bare = json!({"urls": ["turn:127.0.0.1:3478"], "region": "here"});
    assert_eq!(ice(&server, A)["turn"], json!([bare, own_entry()]));
}

#[test]
fn coturn_takes_a_credential_until_it_expires() {
    let directory = tempfile::tempdir().unwrap();
    let coturn = Coturn::start(directory.path());
    let manifest = manifest(directory.path(), coturn.port);
    let settings = [("STATION_MANIFEST", manifest.as_str()), ("TURN_SECRET", SECRET)];
    let lasting = login(&ice(&Server::start(&settings), A));
    let short = [settings[0], settings[1], ("TURN_TTL_MS", "1000")];
    let brief = login(&ice(&Server::start(&short), B));
    // A wrong hash would be refused, too: this one is right, and only late.
    assert_eq!(brief.1, hmac(&brief.0));
    // coturn compares whole seconds, and the one that the username names is still good.
    let over = Duration::from_secs(expiry(&brief.0) + 1);
    while let Some(left) = over.checked_sub(now()).filter(|left| !left.is_zero()) {
        assert!(left <= Duration::from_secs(2), "more than TURN_TTL_MS is left");
        std::thread::sleep(left);
    }
    assert!(!coturn.lets_in(&brief), "a credential past its expiry");
    let (username, _) = &lasting;
    let forged = (username.clone(), hmac(&brief.0));
    assert!(!coturn.lets_in(&forged), "somebody else's hash");
    assert!(coturn.lets_in(&lasting), "a credential before its expiry");
}

#[test]
fn coturn_as_it_is_composed_takes_a_credential() {
    let directory = tempfile::tempdir().unwrap();
    let flags = composed_flags();
    assert!(flags.len() > 10 && flags.iter().all(|flag| flag.starts_with("--")), "{flags:?}");
    let coturn = Coturn::start_with(directory.path(), flags);
    let manifest = manifest(directory.path(), coturn.port);
    let settings = [("STATION_MANIFEST", manifest.as_str()), ("TURN_SECRET", SECRET)];
    let login = login(&ice(&Server::start(&settings), A));
    assert!(!coturn.lets_in(&(login.0.clone(), hmac("somebody else"))));
    assert!(coturn.lets_in(&login));
}
