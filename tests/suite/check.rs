//! `check`, step by step: what works, what each failure is called, and two peers that meet.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use rustix::pipe::PipeFlags;
use serde_json::{Value, json};

use crate::fetch::get;
use crate::paused;
use crate::process::binary;
use crate::support::{PATIENCE, Server, WELCOME};

pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        binary().args(arguments).envs(environment.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Allows each step as much time as a test has, unless `more` says otherwise.
pub fn check(url: &str, more: &[&str]) -> (Option<i32>, String) {
    let patience = format!("--timeout={}", PATIENCE.as_secs());
    let timeout = if more.iter().any(|more| more.starts_with("--timeout")) {
        &[][..]
    } else {
        &[patience.as_str()]
    };
    let (code, stdout, stderr) = run(&[&["check", url], timeout, more].concat(), &[]);
    assert_eq!(stderr, "");
    (code, stdout)
}

#[test]
fn check_goes_through_every_step() {
    let server = Server::start(&[]);
    for url in ["ws://localhost:", "http://127.0.0.1:", "[::1]:"] {
        let (code, stdout) = check(&format!("{url}{}", server.port), &[]);
        let steps: Vec<_> = stdout.lines().map(|line| &line[..line.find("  ").unwrap()]).collect();
        assert_eq!(code, Some(0), "{stdout}");
        assert_eq!(steps[..3], ["✓ health", "✓ handshake", "✓ welcome"]);
        assert!(stdout.lines().nth(3).unwrap().starts_with("✓ ping"), "{stdout}");
        assert!(stdout.trim_end().ends_with(" ms"), "{stdout}");
    }
    let (code, stdout, _) = run(&["check"], &[("PORT", &server.port.to_string())]);
    assert_eq!((code, stdout.lines().count()), (Some(0), 4), "the default is the local server");
    let (_, json) = check(&format!("localhost:{}", server.port), &["--json"]);
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["ok"] == true && line["ms"].is_number() && line["step"].is_string());
    }
}

#[test]
fn whether_it_is_ready_is_one_request_and_no_client() {
    let mut server = Server::start(&[]);
    let url = format!("localhost:{}", server.port);
    let (code, stdout) = check(&url, &["--ready"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("✓ ready") && stdout.lines().count() == 1, "{stdout}");
    assert_eq!(server.log.count("client 1"), 0, "it is no line in the log");
    assert_eq!(server.stop(), Some(0));
    let (code, stdout) = check(&url, &["--ready"]);
    assert!(code == Some(1) && stdout.starts_with("✗ ready"), "{stdout}");
    let stranger =
        stranger("HTTP/1.1 503 x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    let (code, stdout) = check(&format!("localhost:{stranger}"), &["--ready"]);
    assert!(code == Some(1) && stdout.contains("the server is stopping"), "{stdout}");
    for other in ["--call", "--watch"] {
        assert_eq!(run(&["check", "--ready", other], &[]).0, Some(2), "{other}");
    }
}

/// Something else on a port: says `answer` to every request, or nothing at all.
fn stranger(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    if !answer.is_empty() && stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn check_says_which_step_failed_and_what_to_do() {
    // Bound, so that nobody else gets the port, and deaf.
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let down = deaf.local_addr().unwrap().as_socket().unwrap().port();
    let health = "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"status\":\"ok\",\"uptime\":12}";
    // Only who says nothing is waited for in vain.
    let patience = format!("--timeout={}", PATIENCE.as_secs());
    for (port, failed, words, fix) in [
        (
            down,
            "✗ health",
            "nothing listens on",
            "Not running? `systemctl start openstudio-signaling`",
        ),
        (stranger(""), "✗ health", "no answer within 0.3 s", "systemctl status"),
        (stranger("SSH-2.0-OpenSSH_9.2\r\n"), "✗ health", "is not HTTP", "ss -ltnp"),
        (
            stranger("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            "✗ health",
            "HTTP 404 Not Found at /health",
            "ss -ltnp",
        ),
        (stranger(health), "✗ handshake", "HTTP 200 OK instead of 101", "Upgrade"),
    ] {
        let url = format!("ws://127.0.0.1:{port}/");
        let timeout = if words.contains("0.3 s") { "--timeout=0.3" } else { &patience };
        let (code, stdout) = check(&url, &[timeout]);
        assert_eq!(code, Some(1), "{stdout}");
        let last = stdout.lines().last().unwrap();
        assert!(last.starts_with(failed), "{stdout}");
        assert!(last.contains(words) && last.contains(fix), "{stdout}");
        let (_, json) = check(&url, &[timeout, "--json"]);
        let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert!(last["ok"] == false && last["fix"].as_str().unwrap().contains(fix), "{json}");
    }
}

#[test]
fn check_names_a_full_server() {
    let server = Server::start(&[("MAX_CONNECTIONS", "1")]);
    let _client = server.client();
    let (code, stdout) = check(&format!("localhost:{}", server.port), &[]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("✗ handshake") && stdout.contains("raise MAX_CONNECTIONS"), "{stdout}");
}

#[test]
fn check_keeps_its_exit_code_when_nobody_reads() {
    let server = Server::start(&[]);
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    drop(reader);
    let mut check = binary();
    check.args(["check", &format!("localhost:{}", server.port)]).stdout(writer);
    assert_eq!(check.status().unwrap().code(), Some(0));
}

#[test]
fn check_refuses_arguments_that_cannot_be() {
    for arguments in [
        &["check", "--timeout=0"][..],
        &["check", "ftp://a"],
        &["check", "--watch", "--interval=0.1"],
        &["check", "--watch", "--count=0"],
    ] {
        let (code, _, stderr) = run(arguments, &[]);
        assert_eq!(code, Some(2));
        assert!(stderr.starts_with("Invalid "), "{stderr}");
    }
    let (code, _, stderr) = run(&["check", "--count=3"], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--watch"), "{stderr}");
}

/// The steps of a check that worked throughout, in order.
fn worked(stdout: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    for line in stdout.lines() {
        let line = line.strip_prefix("✓ ").unwrap_or_else(|| panic!("{stdout}"));
        steps.extend(line.split(' ').next());
    }
    steps
}

const CALL: [&str; 13] = [
    "health",
    "handshake",
    "welcome",
    "ping",
    "second",
    "register",
    "room",
    "join",
    "offer",
    "answer",
    "candidate",
    "leave",
    "close",
];

#[test]
fn a_call_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let url = format!("localhost:{}", server.port);
    let (code, stdout) = check(&url, &["--call"]);
    assert_eq!((code, worked(&stdout)), (Some(0), CALL.to_vec()));
    assert!(stdout.lines().all(|line| line.ends_with(" ms")), "{stdout}");
    let (code, json) = check(&url, &["--call", "--json"]);
    let steps: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!((code, names), (Some(0), CALL.to_vec()));
    assert!(steps.iter().all(|step| step["ok"] == true && step["ms"].is_number()));
    let metrics = get(server.port, "/metrics").body;
    for gone in ["rooms 0", "relays_total{outcome=\"delivered\"} 8"] {
        assert!(metrics.contains(&format!("openstudio_signaling_{gone}\n")), "{metrics}");
    }
    // Two calls, and each client left with a close frame.
    server.log.wait_for("client 4");
    for client in 1..=4 {
        let line = server.log.wait_for(&format!("disconnected: 127.0.0.1 (client {client},"));
        assert!(line.contains("close 1000 by client"), "{line}");
    }
}

#[test]
fn a_call_counts_ice_servers_and_shows_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manifest.json");
    let room = |turn: Value, environment: &[(&str, &str)]| {
        let manifest = json!({
            "stationId": "a", "name": "a", "signaling": {"url": "wss://a.example.org"},
            "ice": {"stun": ["stun:a.example.org", "stun:b.example.org"], "turn": turn},
        });
        std::fs::write(&path, manifest.to_string()).unwrap();
        let manifest = ("STATION_MANIFEST", path.to_str().unwrap());
        let server = Server::start(&[environment, &[manifest]].concat());
        let (code, stdout) = check(&format!("localhost:{}", server.port), &["--call"]);
        assert_eq!(code, Some(0), "{stdout}");
        // The first is how a token begins.
        for secret in ["eyJ", "turn:", "somebody", "a-password"] {
            assert!(!stdout.contains(secret), "{stdout}");
        }
        stdout.lines().find(|line| line.contains(" room  ")).unwrap().to_owned()
    };
    let a = json!({"urls": "turn:a.example.org"});
    let b =
        json!({"urls": "turn:b.example.org", "username": "somebody", "credential": "a-password"});
    let secret = ("TURN_SECRET", "a secret of thirty-two bytes or so");
    let line = room(json!([a, b]), &[secret]);
    let expected =
        "✓ room       made; ICE servers: 2 STUN, 2 TURN, 2 of them with a credential, in ";
    assert!(line.starts_with(expected) && line.ends_with(" ms"), "{line}");
    let line = room(json!([a, b]), &[]);
    let expected =
        "! room       made; ICE servers: 2 STUN, 2 TURN, 1 of them with a credential, in ";
    assert!(line.starts_with(expected), "{line}");
    assert!(line.contains("; browsers cannot use a TURN server without a credential: "), "{line}");
    let line = room(json!([]), &[]);
    assert!(
        line.starts_with("✓ room       made; ICE servers: 2 STUN, 0 TURN (peers behind"),
        "{line}"
    );
}

#[test]
fn a_call_that_is_refused_says_why() {
    for (setting, failed, words, fix) in [
        ("RATE_LIMIT", "✗ register", "the server refuses: Rate limit exceeded", "RATE_LIMIT"),
        (
            "MAX_CONNECTIONS_PER_IP",
            "✗ second",
            "the server closed with code 4008, \"Too many connections\"",
            "TRUSTED_PROXIES",
        ),
    ] {
        // The ten seconds of RATE_LIMIT are not over meanwhile.
        let (server, _clock) = paused::start(&[(setting, "1")]);
        let (code, stdout) = check(&format!("localhost:{}", server.port), &["--call"]);
        let last = stdout.lines().last().unwrap();
        assert_eq!(code, Some(1), "{stdout}");
        assert!(last.starts_with(failed) && last.contains(words) && last.contains(fix), "{stdout}");
    }
}

#[test]
fn a_call_brings_an_invite() {
    let settings =
        [("JWT_SECRET", "a secret of thirty-two bytes or more"), ("ROOM_ACCESS", "invited")];
    let server = Server::start(&settings);
    let url = format!("localhost:{}", server.port);
    let invite = |room: &str, settings: &[(&str, &str)]| {
        let arguments = ["invite", "--json", "--room", room, "--url=https://a.example.org"];
        let (code, stdout, stderr) = run(&arguments, settings);
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str::<Value>(&stdout).unwrap()
    };
    let made = invite("Käse", &settings);
    for key in ["token", "studio", "check"] {
        let invite = made[key].as_str().unwrap();
        let (code, stdout) = check(&url, &["--call", "--invite", invite]);
        assert_eq!(code, Some(0), "{stdout}");
        assert!(stdout.lines().any(|line| line.starts_with("✓ leave ")), "{stdout}");
        assert!(!stdout.contains("eyJ"), "{stdout}");
    }
    let refused = |more: &[&str], words: &str, fix: &str| {
        let (code, stdout) = check(&url, &[&["--call"], more].concat());
        let last = stdout.lines().last().unwrap();
        assert_eq!(code, Some(1), "{stdout}");
        assert!(
            last.starts_with("✗ room ") && last.contains(words) && last.contains(fix),
            "{last}"
        );
        assert!(!stdout.contains("eyJ"), "{stdout}");
    };
    refused(&[], "Invite required", "this station lets only the invited in: make an invite");
    let open = invite("Käse", &settings[..1]);
    let open = open["token"].as_str().unwrap();
    refused(&["--invite", open], "Invite required", "while ROOM_ACCESS was open");
    refused(&["--invite", "x"], "Invalid invite token", "invite --show");
    // Whoever is on air is left alone.
    let mut host = crate::peers::peer(&server, crate::peers::A);
    let token = made["token"].as_str().unwrap();
    let entered = host.ask(&format!(r#"{{"type":"create-or-join-room","inviteToken":"{token}"}}"#));
    assert!(entered.contains("room-created"), "{entered}");
    refused(&["--invite", token], "somebody is in the room of the invite", "--room check");
    assert_eq!(server.log.count(token), 0);
    assert_eq!(run(&["check", "--invite", token], &[]).0, Some(2), "it is for --call");
}

/// What a bad server does with a message that it should relay.
#[derive(Clone, Copy)]
enum Relay {
    Nowhere,
    Rewritten,
    Refused,
}

/// A frame as a server sends it.
fn unmasked(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut frame = match u8::try_from(length) {
        Ok(short) if short < 126 => vec![0x81, short],
        _ => [&[0x81, 126][..], &length.to_be_bytes()].concat(),
    };
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A server that does all as it should up to the first relay. Its clients are told apart by their ids.
fn bad_server(relay: Relay) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peers: Arc<Mutex<HashMap<String, TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let peers = Arc::clone(&peers);
            std::thread::spawn(move || serve_badly(stream.unwrap(), relay, &peers));
        }
    });
    port
}

fn serve_badly(mut stream: TcpStream, relay: Relay, peers: &Mutex<HashMap<String, TcpStream>>) {
    let mut start = [0; 11];
    while stream.peek(&mut start).unwrap() < start.len() {}
    if &start == b"GET /health" {
        let _ = stream.read(&mut [0; 1024]).unwrap();
        let body = r#"{"status":"ok","uptime":12}"#;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        return stream.write_all((head + body).as_bytes()).unwrap();
    }
    let mut raw = stream.try_clone().unwrap();
    let mut socket = tungstenite::accept(stream).unwrap();
    let say = |stream: &mut TcpStream, text: &str| stream.write_all(&unmasked(text)).unwrap();
    say(&mut raw, WELCOME);
    let mut own = String::new();
    while let Ok(tungstenite::Message::Text(text)) = socket.read() {
        let message: Value = serde_json::from_str(&text).unwrap();
        let reply = match message["type"].as_str().unwrap() {
            "ping" => json!({"type": "pong", "timestamp": 1}),
            "register" => {
                own = message["peerId"].as_str().unwrap().to_owned();
                peers.lock().unwrap().insert(own.clone(), raw.try_clone().unwrap());
                json!({"type": "registered", "peerId": own})
            }
            "create-or-join-room" if message["role"] == "host" => json!({"type": "room-created"}),
            "create-or-join-room" => {
                say(&mut raw, &json!({"type": "room-joined"}).to_string());
                let mut peers = peers.lock().unwrap();
                let (_, first) = peers.iter_mut().find(|(id, _)| **id != own).unwrap();
                say(first, &json!({"type": "peer-joined", "peerId": own}).to_string());
                continue;
            }
            _ => match relay {
                Relay::Nowhere => continue,
                Relay::Refused => json!({"type": "error", "message": "Not to\u{1b} them"}),
                Relay::Rewritten => {
                    let mut peers = peers.lock().unwrap();
                    let other = peers.get_mut(message["to"].as_str().unwrap()).unwrap();
                    say(other, &message.to_string());
                    continue;
                }
            },
        };
        say(&mut raw, &reply.to_string());
    }
}

#[test]
fn a_call_says_how_a_relay_fails() {
    for (relay, words) in [
        (Relay::Rewritten, "the other peer got 2"),
        (Relay::Refused, "the server refuses: Not to them; "),
    ] {
        let url = format!("localhost:{}", bad_server(relay));
        let (code, stdout) = check(&url, &["--call"]);
        assert_eq!(code, Some(1), "{stdout}");
        let last = stdout.lines().last().unwrap();
        assert!(last.starts_with(&format!("✗ offer      {words}")), "{stdout}");
    }
}

#[test]
fn a_call_does_not_wait_for_ever_for_an_offer() {
    // On a busy machine a step before the offer may need longer than that, and fail in the same words.
    let failed = |seconds: f64| {
        let url = format!("localhost:{}", bad_server(Relay::Nowhere));
        let (code, stdout) = check(&url, &["--call", &format!("--timeout={seconds}")]);
        assert_eq!(code, Some(1), "{stdout}");
        let last = stdout.lines().last().unwrap().to_owned();
        assert!(last.contains(&format!(" within {seconds} s; ")), "{stdout}");
        last
    };
    let last = ever_longer(failed, |last| last.starts_with("✗ offer "));
    assert!(last.starts_with("✗ offer      no offer at the second peer within "), "{last}");
}

/// Tries with 0.5 s, and with twice that each time, until it is long enough for what comes before on this machine.
pub fn ever_longer<T>(mut attempt: impl FnMut(f64) -> T, is_enough: impl Fn(&T) -> bool) -> T {
    let mut seconds = 0.5;
    loop {
        let result = attempt(seconds);
        if is_enough(&result) || seconds > PATIENCE.as_secs_f64() {
            return result;
        }
        seconds *= 2.0;
    }
}

#[test]
fn a_proxy_that_leads_elsewhere_or_reaches_nobody_is_named() {
    for (answer, words, fix) in [
        (
            "HTTP/1.1 301 Moved Permanently\r\nLocation: https://a.example.org/health\r\nContent-Length: 0\r\n\r\n",
            "HTTP 301 Moved Permanently: it leads to https://a.example.org/health",
            "`openstudio-signaling check wss://a.example.org/show?a`",
        ),
        (
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            "HTTP 307 Temporary Redirect: it leads to /elsewhere",
            "use the address of the server itself",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            "HTTP 502 Bad Gateway: a proxy answers, and does not reach the server",
            "the port in the proxy's configuration",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
            "HTTP 503 Service Unavailable: a proxy answers, and does not reach the server",
            "the port in the proxy's configuration",
        ),
    ] {
        let (code, stdout) = check(&format!("localhost:{}/show?a", stranger(answer)), &[]);
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.starts_with("✗ health     "), "{stdout}");
        assert!(stdout.contains(words) && stdout.contains(fix), "{stdout}");
    }
}

#[test]
fn a_host_that_is_there_says_more_than_an_address_that_is_not() {
    // A network in which IPv6 is off: connecting to ::1 fails in another way than connecting to a closed port.
    let off = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && exec \"$0\" check localhost:9";
    let Output { status, stdout, stderr } = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-ec", off])
        .arg(env!("CARGO_BIN_EXE_openstudio-signaling"))
        .output()
        .unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(1), "{stdout} {stderr:?}");
    assert!(stdout.contains("nothing listens on localhost:9"), "{stdout} {stderr:?}");
}
