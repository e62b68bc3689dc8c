//! TLS without a proxy, by an independent hand on rustls and by openssl's certificates.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::http::{carries_many_requests, large_file};
use crate::paused::{self, Clock};
use crate::secure::{Stream, certificate, secure, shown};
use crate::support::{
    Answer, Client, Server, UPGRADE, WELCOME, binary, connect, frame, get, head, is_silent,
};

/// A folder with a certificate, its key, and a server that uses both.
struct Secured {
    dir: TempDir,
    server: Server,
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    dir
}

fn with_tls<'a>(
    command: &'a mut Command,
    dir: &TempDir,
    environment: &[(&str, &str)],
) -> &'a mut Command {
    command
        .envs(environment.iter().copied())
        .env("TLS_CERT", dir.path().join("cert.pem"))
        .env("TLS_KEY", dir.path().join("key.pem"))
}

impl Secured {
    fn start(environment: &[(&str, &str)]) -> Self {
        let dir = folder();
        let server = Server::spawn(with_tls(binary().env("PORT", "0"), &dir, environment));
        Self { dir, server }
    }

    /// The same with a clock that stands still.
    fn start_paused(environment: &[(&str, &str)]) -> (Self, Clock) {
        let dir = folder();
        let mut program = paused::this_program();
        let (server, clock) = paused::spawn(with_tls(&mut program, &dir, environment));
        (Self { dir, server }, clock)
    }

    /// A connection that trusts just the certificate that lies in the folder now.
    fn connect(&self) -> Stream {
        self.connect_by(rustls::DEFAULT_VERSIONS)
    }

    fn connect_by(&self, versions: &[&'static SupportedProtocolVersion]) -> Stream {
        secure(connect(self.server.port), &self.dir.path().join("cert.pem"), versions)
    }

    /// A client that has had its welcome.
    fn client(&self) -> Client<Stream> {
        let mut client = Client::over(self.connect());
        assert_eq!(client.text(), WELCOME);
        client
    }

    /// The certificate that a new connection is shown.
    fn shown(&self) -> CertificateDer<'static> {
        shown(self.connect())
    }
}

#[test]
fn http_and_websockets_go_through_both_versions_of_tls() {
    let secured = Secured::start(&[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = secured.connect_by(&[version]);
        stream.write_all(&head(&["GET /health HTTP/1.1", "Host: localhost"])).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with(r#"{"status":"ok""#), "{answer:?}");
        let mut client = Client::over(secured.connect_by(&[version]));
        assert_eq!(client.text(), WELCOME);
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
        client.leave(1000);
    }
    let port = secured.server.port;
    secured
        .server
        .log
        .wait_for(&format!(" started: WebSocket wss://localhost:{port}/, health https://"));
    secured.server.log.wait_for("disconnected: 127.0.0.1 (client 1, close 1000 by client");
}

#[test]
fn one_connection_carries_many_requests_and_then_a_websocket() {
    let root = tempfile::tempdir().unwrap();
    let file = large_file(root.path());
    let secured = Secured::start(&[("WEB_ROOT", root.path().to_str().unwrap())]);
    carries_many_requests(secured.connect(), &file);
}

#[test]
fn what_comes_behind_the_handshake_in_one_record_is_heard() {
    let secured = Secured::start(&[]);
    let mut stream = secured.connect();
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    stream.write_all(&[head(UPGRADE), ping.repeat(3)].concat()).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 101);
    let mut client = Client { stream };
    assert_eq!(client.text(), WELCOME);
    for _ in 0..3 {
        assert!(client.text().contains("pong"));
    }
}

#[test]
fn a_goodbye_of_tls_behind_a_message_is_heard() {
    let secured = Secured::start(&[]);
    let mut client = secured.client();
    let stream = &mut client.stream;
    stream.conn.writer().write_all(&frame(0x81, br#"{"type":"ping"}"#)).unwrap();
    stream.conn.send_close_notify();
    let mut both = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut both).unwrap();
    }
    // In one piece: TCP has nothing more to say after it.
    stream.sock.write_all(&both).unwrap();
    assert!(client.text().contains("pong"));
    assert!(client.ends());
}

#[test]
fn messages_larger_than_a_record_and_many_in_one_read_arrive() {
    let secured = Secured::start(&[("RATE_LIMIT", "0")]);
    let [mut alice, mut bob] = [(); 2].map(|()| secured.client());
    let ids = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
    for (client, id) in [(&mut alice, ids[0]), (&mut bob, ids[1])] {
        let answer = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
        assert!(answer.contains("registered"), "{answer}");
    }
    let offer = |sdp: &str| {
        format!(r#"{{"type":"offer","from":"{}","to":"{}","sdp":"{sdp}"}}"#, ids[0], ids[1])
    };
    let large = offer(&"x".repeat(60_000));
    alice.say(&large);
    assert_eq!(bob.text(), large);
    // Far more than a turn of the server reads, in full records.
    let small: Vec<_> = (0..1000).map(|number| offer(&number.to_string())).collect();
    let frames: Vec<_> = small.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
    alice.stream.write_all(&frames).unwrap();
    for expected in &small {
        assert_eq!(&bob.text(), expected);
    }
}

#[test]
fn who_reads_late_gets_all_of_it_and_who_does_not_read_is_closed() {
    // It has 10 s to come to its close frame, which are never over.
    let (secured, _clock) =
        Secured::start_paused(&[("RATE_LIMIT", "0"), ("MAX_OUTBOX_BYTES", "2000000")]);
    let [mut host, mut late] = [(); 2].map(|()| secured.client());
    let ids = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
    for (client, id) in [(&mut host, ids[0]), (&mut late, ids[1])] {
        client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    }
    let sdp = "x".repeat(60_000);
    let offer =
        format!(r#"{{"type":"offer","from":"{}","to":"{}","sdp":"{sdp}"}}"#, ids[0], ids[1]);
    // More than the sockets on the way hold, less than may wait.
    for _ in 0..25 {
        host.say(&offer);
    }
    assert!(host.ask(r#"{"type":"ping"}"#).contains("pong"));
    for _ in 0..25 {
        assert_eq!(late.text(), offer);
    }
    for _ in 0..200 {
        host.say(&offer);
    }
    secured.server.log.wait_for("reads too slowly");
    assert_eq!(late.close_code(), Some(4102));
    assert!(host.text().contains("peer-not-connected"));
}

#[test]
fn a_drain_says_goodbye_through_tls() {
    let mut secured = Secured::start(&[]);
    let clients: Vec<_> = (0..20).map(|_| secured.client()).collect();
    secured.server.signal(Signal::TERM);
    for mut client in clients {
        let close = client.frame().unwrap();
        assert_eq!((close.opcode, &close.payload[..2]), (8, &1001_u16.to_be_bytes()[..]));
        client.send(0x88, &close.payload);
        // The end of TLS is said as well: nobody could have cut the connection short.
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(secured.server.wait().code(), Some(0));
}

#[test]
fn plain_http_is_told_what_to_use() {
    let secured = Secured::start(&[]);
    for path in ["/health", "/"] {
        let answer = get(secured.server.port, path);
        let expected = r#"{"error":"This port speaks TLS: use https:// or wss://"}"#;
        assert_eq!((answer.status, answer.body.as_str()), (400, expected));
        assert!(answer.has("x-content-type-options: nosniff"), "{answer:?}");
    }
    secured
        .server
        .log
        .wait_for("Turned 127.0.0.1 away: This port speaks TLS: use https:// or wss://; ");
    assert_eq!(secured.server.log.count("Turned 127.0.0.1 away"), 1);
}

#[test]
fn a_reload_takes_a_renewed_certificate_and_drops_nobody() {
    let secured = Secured::start(&[]);
    let before = secured.shown();
    let mut client = secured.client();
    certificate(secured.dir.path(), "cert.pem", "key.pem");
    secured.server.signal(Signal::HUP);
    secured.server.log.wait_for("Reloaded");
    let after = secured.shown();
    assert_ne!(before, after);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"), "who was there stays");

    // A pair that does not match changes nothing.
    certificate(secured.dir.path(), "other.pem", "key.pem");
    secured.server.signal(Signal::HUP);
    let line =
        secured.server.log.wait_for("Reload failed for the certificate, what was in force stays: ");
    assert!(line.contains("Invalid setting TLS_KEY=") && line.contains("private key of"), "{line}");
    assert_eq!(secured.shown(), after);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
}

#[test]
fn a_pair_that_cannot_be_keeps_the_service_down() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    certificate(dir.path(), "other.pem", "other-key.pem");
    let path = |file: &str| dir.path().join(file);
    fs::write(path("empty.pem"), "").unwrap();
    for whole in ["cert.pem", "key.pem"] {
        let text = fs::read(path(whole)).unwrap();
        fs::write(path(&format!("half-{whole}")), &text[..text.len() / 2]).unwrap();
    }
    for (command, options) in [("pkcs8", &["-topk8"][..]), ("ec", &["-aes128"])] {
        let files =
            ["-in", "key.pem", "-out", &format!("{command}.pem"), "-passout", "pass:secret"];
        let mut openssl = Command::new("openssl");
        openssl.arg(command).args(options).args(files).current_dir(dir.path());
        assert!(openssl.output().unwrap().status.success(), "{command}");
    }
    let protected = "is protected by a passphrase, which nobody can type at a start; openssl pkey -in OLD -out NEW takes it off";
    let half = "ends in the middle of a section, so a part of it is missing; must be a PEM";
    let none = "no such section in it; must be a PEM";
    let other = format!(
        "belongs to another certificate; must be the private key of the first certificate in {}",
        path("cert.pem").display()
    );
    for (cert, key, setting, why) in [
        ("cert.pem", "other-key.pem", "TLS_KEY", other.as_str()),
        ("cert.pem", "nowhere.pem", "TLS_KEY", "No such file"),
        ("nowhere.pem", "key.pem", "TLS_CERT", "No such file"),
        ("empty.pem", "key.pem", "TLS_CERT", none),
        (
            "key.pem",
            "key.pem",
            "TLS_CERT",
            "no such section in it, only PRIVATE KEY; must be a PEM",
        ),
        (
            "cert.pem",
            "cert.pem",
            "TLS_KEY",
            "no such section in it, only CERTIFICATE; must be a PEM",
        ),
        ("half-cert.pem", "key.pem", "TLS_CERT", half),
        ("cert.pem", "half-key.pem", "TLS_KEY", half),
        ("cert.pem", "pkcs8.pem", "TLS_KEY", protected),
        ("cert.pem", "ec.pem", "TLS_KEY", protected),
    ] {
        refused(dir.path(), cert, key, setting, why);
    }
}

/// Sees that a server does not start with these files, and says so of one of them.
fn refused(dir: &Path, cert: &str, key: &str, setting: &str, why: &str) {
    let output = binary()
        .env("PORT", "0")
        .env("TLS_CERT", dir.join(cert))
        .env("TLS_KEY", dir.join(key))
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    let path = dir.join(if setting == "TLS_CERT" { cert } else { key });
    let why = format!("Invalid setting {setting}={:?} (from environment): {why}", path.display());
    assert!(log.contains(&why), "{why:?} is not in {log}");
}

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_key_that_cannot_be_used_is_called_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "cert.pem", "key.pem");
    for (curve, name) in [("secp521r1", "p521"), ("secp256k1", "k1"), ("brainpoolP256r1", "bp")] {
        openssl(dir, &format!("ecparam -name {curve} -genkey -noout -out {name}-sec1.pem"));
        openssl(dir, &format!("pkcs8 -topk8 -nocrypt -in {name}-sec1.pem -out {name}-pkcs8.pem"));
    }
    openssl(dir, "ec -in key.pem -no_public -out half-key.pem");
    openssl(dir, "genrsa -out rsa1024-pkcs8.pem 1024");
    openssl(dir, "rsa -traditional -in rsa1024-pkcs8.pem -out rsa1024-pkcs1.pem");
    let rsa = "genpkey -algorithm RSA -pkeyopt";
    openssl(dir, &format!("{rsa} rsa_keygen_bits:4352 -out large.pem"));
    openssl(
        dir,
        &format!("{rsa} rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out three.pem"),
    );
    openssl(dir, "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.pem");
    openssl(dir, "genpkey -algorithm ed448 -out ed448.pem");
    openssl(dir, "genpkey -algorithm x25519 -out x25519.pem");
    openssl(dir, "dsaparam -out parameters.pem 1024");
    openssl(dir, "gendsa -out dsa-pkcs8.pem parameters.pem");
    openssl(dir, "dsa -in dsa-pkcs8.pem -out dsa.pem");
    for (key, kind) in [
        ("p521-sec1.pem", "a P-521 key"),
        ("p521-pkcs8.pem", "a P-521 key"),
        ("k1-sec1.pem", "a secp256k1 key"),
        ("k1-pkcs8.pem", "a secp256k1 key"),
        ("bp-sec1.pem", "an elliptic-curve key of an unknown curve"),
        ("bp-pkcs8.pem", "an elliptic-curve key of an unknown curve"),
        ("rsa1024-pkcs1.pem", "an RSA key with 1024 bits"),
        ("rsa1024-pkcs8.pem", "an RSA key with 1024 bits"),
        ("large.pem", "an RSA key with 4352 bits"),
        ("three.pem", "an RSA key with 2048 bits and the public exponent 3"),
        ("pss.pem", "an RSA-PSS key"),
        ("ed448.pem", "an Ed448 key"),
        ("x25519.pem", "an X25519 key"),
        ("dsa-pkcs8.pem", "a DSA key"),
        ("dsa.pem", "a DSA key"),
    ] {
        let why = format!(
            "is {kind}, which this server can't use; make a new key with P-256, P-384, or RSA with 2048, 3072 or 4096 bits, and a certificate for it"
        );
        refused(dir, "cert.pem", key, "TLS_KEY", &why);
    }
    let damaged = "is a P-256 key, but damaged or incomplete; make a new key with P-256, ";
    refused(dir, "cert.pem", "half-key.pem", "TLS_KEY", damaged);
}

#[test]
fn a_key_that_can_be_used_is_taken_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "other.pem", "other-key.pem");
    openssl(dir, "genrsa -out rsa-pkcs8.pem 2048");
    openssl(dir, "rsa -traditional -in rsa-pkcs8.pem -out rsa-pkcs1.pem");
    openssl(dir, "ecparam -name secp384r1 -genkey -out p384-sec1.pem");
    openssl(dir, "pkcs8 -topk8 -nocrypt -in p384-sec1.pem -out p384-pkcs8.pem");
    openssl(dir, "genpkey -algorithm ed25519 -out ed25519-pkcs8.pem");
    for (kind, name, forms) in [
        ("an RSA key with 2048 bits", "rsa", &["pkcs8", "pkcs1"][..]),
        ("a P-384 key", "p384", &["pkcs8", "sec1"]),
        ("an Ed25519 key", "ed25519", &["pkcs8"]),
    ] {
        openssl(dir, &format!("req -x509 -key {name}-pkcs8.pem -subj /CN=a -out {name}.pem"));
        let cert = format!("{name}.pem");
        for form in forms {
            let key = format!("{name}-{form}.pem");
            let paths = [dir.join(&cert), dir.join(&key)];
            let [cert_path, key_path] = paths.each_ref().map(|path| path.to_str().unwrap());
            Server::start(&[("TLS_CERT", cert_path), ("TLS_KEY", key_path)]);
            // One that is good, but of another certificate.
            let must = format!(
                "must be the private key of the first certificate in {}",
                dir.join("other.pem").display()
            );
            let why = format!("is {kind}, and the certificate has a P-256 key; {must}");
            refused(dir, "other.pem", &key, "TLS_KEY", &why);
        }
        let must = format!(
            "must be the private key of the first certificate in {cert_path}",
            cert_path = dir.join(&cert).display()
        );
        let why = format!("is a P-256 key, and the certificate has {kind}; {must}");
        refused(dir, &cert, "other-key.pem", "TLS_KEY", &why);
    }
    // The order of what browsers are sent matters, too.
    let chain = [fs::read(dir.join("rsa.pem")).unwrap(), fs::read(dir.join("other.pem")).unwrap()];
    fs::write(dir.join("chain.pem"), chain.concat()).unwrap();
    let must = format!(
        "must be the private key of the first certificate in {0}: put certificate 2 first",
        dir.join("chain.pem").display()
    );
    let why = format!("belongs to certificate 2 there; {must}");
    refused(dir, "chain.pem", "other-key.pem", "TLS_KEY", &why);
}

#[test]
fn a_certificate_that_cannot_be_read_is_not_the_key_to_blame() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "cert.pem", "key.pem");
    // Of version 1, as openssl before 3.2 makes them where it is given no extensions. Newer ones do not.
    let mut first = CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap().to_vec();
    let version_3 = [0xa0, 3, 2, 1, 2];
    let version = first.windows(5).position(|bytes| bytes == version_3).unwrap();
    first[version + 4] = 0;
    let first = STANDARD.encode(first);
    let first = format!("-----BEGIN CERTIFICATE-----\n{first}\n-----END CERTIFICATE-----\n");
    fs::write(dir.join("first.pem"), first).unwrap();
    let version = "the first certificate is of X.509 version 1, which browsers refuse: it has no subjectAltName; ";
    refused(dir, "first.pem", "key.pem", "TLS_CERT", version);
    let nonsense = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    fs::write(dir.join("nonsense.pem"), nonsense).unwrap();
    let why = "the first certificate can't be read (";
    refused(dir, "nonsense.pem", "key.pem", "TLS_CERT", why);
}

#[test]
fn byte_order_marks_and_line_ends_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "cert.pem", "key.pem");
    certificate(dir, "issuer.pem", "issuer-key.pem");
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    let [cert, key, issuer] = ["cert.pem", "key.pem", "issuer.pem"].map(text);
    let forms: [fn(&str) -> String; 4] = [
        |text| format!("\u{feff}{text}"),
        |text| text.replace('\n', "\r\n"),
        |text| format!("\u{feff}{}", text.replace('\n', " \r\n")),
        |text| format!("\u{feff}a comment\n\n{}\n\n", text.trim_end()),
    ];
    for form in forms {
        // Each part of a chain can have its own.
        fs::write(dir.join("chain.pem"), form(&cert) + &form(&issuer)).unwrap();
        fs::write(dir.join("used-key.pem"), form(&key)).unwrap();
        let paths = ["chain.pem", "used-key.pem"].map(|file| dir.join(file));
        let [chain, key] = paths.each_ref().map(|path| path.to_str().unwrap());
        let server = Server::start(&[("TLS_CERT", chain), ("TLS_KEY", key)]);
        let mut stream =
            secure(connect(server.port), &dir.join("cert.pem"), rustls::DEFAULT_VERSIONS);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        assert_eq!(stream.conn.peer_certificates().unwrap().len(), 2, "{chain}");
    }
    let wide: Vec<_> =
        format!("\u{feff}{cert}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(dir.join("wide.pem"), wide).unwrap();
    let why = "is in UTF-16, which has to be saved as UTF-8; must be a PEM";
    refused(dir, "wide.pem", "key.pem", "TLS_CERT", why);
}

#[test]
fn credentials_of_systemd_are_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "tls-cert", "tls-key");
    let directory = dir.path().to_str().unwrap();
    let server = Server::start(&[("CREDENTIALS_DIRECTORY", directory), ("TLS_CERT", "/nowhere")]);
    let stream =
        secure(connect(server.port), &dir.path().join("tls-cert"), rustls::DEFAULT_VERSIONS);
    assert_eq!(Client::over(stream).text(), WELCOME);
}

#[test]
fn turning_tls_on_or_off_takes_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "cert.pem", "key.pem");
    let settings = dir.path().join("settings");
    fs::write(&settings, "PORT=0\n").unwrap();
    let server = Server::spawn(binary().arg("--settings-file").arg(&settings));
    let path = dir.path().display();
    fs::write(&settings, format!("PORT=0\nTLS_CERT={path}/cert.pem\nTLS_KEY={path}/key.pem\n"))
        .unwrap();
    server.signal(Signal::HUP);
    server.log.wait_for("cert.pem needs a restart");
    assert_eq!(get(server.port, "/health").status, 200);
}

#[test]
fn a_failed_handshake_is_one_line_and_a_silent_one_none() {
    let secured = Secured::start(&[]);
    drop(connect(secured.server.port));
    for _ in 0..3 {
        let mut stream = connect(secured.server.port);
        // A handshake record with nonsense in it.
        stream.write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9]).unwrap();
        // Whether with an alert or without, it ends.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
    let line = secured.server.log.wait_for("TLS handshake with 127.0.0.1 failed: ");
    assert!(line.contains("[INFO]"), "{line}");
    secured.client();
    assert_eq!(secured.server.log.count("TLS handshake with"), 1);
}

#[test]
fn who_does_not_finish_the_handshake_is_cut_off() {
    let (secured, mut clock) = Secured::start_paused(&[]);
    let mut streams = [&[][..], &[22, 3, 1]].map(|begun| {
        let mut stream = connect(secured.server.port);
        stream.write_all(begun).unwrap();
        stream
    });
    clock.advance(9_999);
    assert!(streams.iter().all(is_silent));
    clock.advance(1);
    for stream in &mut streams {
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    assert_eq!(secured.server.log.count("TLS handshake with"), 0, "it is no failure");
}
