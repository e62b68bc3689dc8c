//! TLS by hands that have nothing to do with rustls: openssl's s_client and curl.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::http::{carries_many_requests, large_file};
use crate::running::Running;
use crate::secure::certificate;
use crate::support::{Client, WELCOME, connect, head};
use crate::tls::Secured;

/// How s_client is told a version, and what it calls it.
const VERSIONS: [(&str, &str); 2] = [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")];

const HEALTH: &[&str] = &["GET /health HTTP/1.1", "Host: localhost", "Connection: close"];

/// A client that accepts the certificate in a folder and no other.
fn s_client(port: u16, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-verify_return_error"])
        .args(["-servername", "localhost", "-verify_hostname", "localhost", "-CAfile"])
        .arg(folder.join("cert.pem"))
        .args(arguments);
    command
}

/// Runs it with something to say, until the server's end: what it has heard, and its own words.
fn ask(command: &mut Command, what: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it is installed by tests/run");
    child.stdin.take().unwrap().write_all(what).unwrap();
    child.wait_with_output().unwrap()
}

/// A client whose stream is what s_client reads and writes, and what s_client says beside that.
struct Tunnel {
    client: Client,
    openssl: Running,
}

impl Tunnel {
    fn open(secured: &Secured, arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(listener.local_addr().unwrap().port());
        let far = OwnedFd::from(listener.accept().unwrap().0);
        let mut command = s_client(secured.server.port, secured.dir.path(), arguments);
        command.arg("-brief").stdin(far.try_clone().unwrap()).stdout(far).stderr(Stdio::piped());
        Self { client: Client { stream }, openssl: Running::start(&mut command) }
    }

    /// The same as a WebSocket client that has had its welcome.
    fn welcomed(secured: &Secured, arguments: &[&str]) -> Self {
        let tunnel = Self::open(secured, arguments);
        let mut client = Client::over(tunnel.client.stream);
        assert_eq!(client.text(), WELCOME);
        Self { client, openssl: tunnel.openssl }
    }

    fn is_there(&mut self) {
        assert!(self.client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
}

#[test]
fn openssl_carries_many_requests_and_then_a_websocket() {
    let root = tempfile::tempdir().unwrap();
    let file = large_file(root.path());
    let secured = Secured::start(&[("WEB_ROOT", root.path().to_str().unwrap())]);
    for (version, _) in VERSIONS {
        carries_many_requests(Tunnel::open(&secured, &[version]).client.stream, &file);
        Tunnel::welcomed(&secured, &[version]).client.leave(1000);
    }
    secured.server.log.wait_for("(client 4, close 1000 by client");
}

#[test]
fn openssl_changes_its_keys_and_is_answered() {
    let secured = Secured::start(&[]);
    let arguments = ["-tls1_3", "-msg", "-msgfile", "/dev/stderr"];
    let mut tunnel = Tunnel::welcomed(&secured, &arguments);
    let mut said = BufReader::new(tunnel.openssl.0.stderr.take().unwrap()).lines();
    let mut wait_for = |direction: &str| {
        let is_it = |line: &String| line.starts_with(direction) && line.contains("KeyUpdate");
        assert!(said.by_ref().map(Result::unwrap).any(|line| is_it(&line)), "{direction}");
    };
    for _ in 0..3 {
        // Its command for new keys at both ends.
        tunnel.client.stream.write_all(b"K\n").unwrap();
        wait_for(">>>");
        tunnel.is_there();
        wait_for("<<<");
        // And for new keys at its own.
        tunnel.client.stream.write_all(b"k\n").unwrap();
        wait_for(">>>");
        tunnel.is_there();
    }
}

#[test]
fn openssl_comes_back_with_its_session() {
    let secured = Secured::start(&[]);
    for (version, name) in VERSIONS {
        let session = secured.dir.path().join(name);
        let session = session.to_str().unwrap();
        for (way, expected) in
            [("-sess_out", "New"), ("-sess_in", "Reused"), ("-sess_in", "Reused")]
        {
            let arguments = [version, "-ign_eof", way, session];
            let mut command = s_client(secured.server.port, secured.dir.path(), &arguments);
            let output = ask(&mut command, &head(HEALTH));
            let heard = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{output:?}");
            assert!(heard.contains(&format!("\n{expected}, {name}, ")), "{heard}");
            assert!(heard.contains("HTTP/1.1 200 OK") && heard.contains(r#""status":"ok""#));
            assert!(version == "-tls1_2" || heard.contains("Early data was not sent"), "{heard}");
        }
    }
}

#[test]
fn openssl_is_told_by_an_alert_that_a_version_is_too_old() {
    let secured = Secured::start(&[]);
    let arguments = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let output = ask(&mut s_client(secured.server.port, secured.dir.path(), &arguments), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("SSL alert number"), "{said}");
    secured.server.log.wait_for("TLS handshake with 127.0.0.1 failed: ");
}

#[test]
fn openssl_sees_the_renewed_certificate_and_stays_with_the_one_it_has() {
    let secured = Secured::start(&[]);
    let cert = secured.dir.path().join("cert.pem");
    for (version, _) in VERSIONS {
        let mut before = Tunnel::welcomed(&secured, &[version]);
        let old = tempfile::tempdir().unwrap();
        fs::copy(&cert, old.path().join("cert.pem")).unwrap();
        certificate(secured.dir.path(), "cert.pem", "key.pem");
        secured.server.signal(Signal::HUP);
        // It says so once for each.
        secured.server.log.wait_for("Reloaded");
        before.is_there();
        Tunnel::welcomed(&secured, &[version]).is_there();
        let output = ask(&mut s_client(secured.server.port, old.path(), &[version]), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("verify"), "{said}");
        before.is_there();
    }
}

#[test]
fn curl_has_its_files_through_one_connection() {
    let root = tempfile::tempdir().unwrap();
    let file = large_file(root.path());
    let secured = Secured::start(&[("WEB_ROOT", root.path().to_str().unwrap())]);
    let port = secured.server.port;
    for version in ["1.2", "1.3"] {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--noproxy", "*", "--resolve", &format!("localhost:{port}:127.0.0.1")])
            .args(["--tls-max", version, &format!("--tlsv{version}"), "--cacert"])
            .arg(secured.dir.path().join("cert.pem"))
            .args(["-w", " %{http_code} %{num_connects}\n"])
            .args(
                ["large", "health", "large"].map(|path| format!("https://localhost:{port}/{path}")),
            );
        let output = command.output().expect("it is installed by tests/run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let heard = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = heard.lines().collect();
        assert!(lines[0] == format!("{file} 200 1") && lines[2] == format!("{file} 200 0"));
        assert!(lines[1].starts_with(r#"{"status":"ok""#) && lines[1].ends_with(" 200 0"));
    }
}
