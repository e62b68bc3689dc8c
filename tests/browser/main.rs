//! The check page in a real Chromium, with a real coturn beside the server.
//!
//! `tests/run` runs these tests as root, in a network that has nothing but its loopback.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

#[allow(dead_code, reason = "the other test crate uses the rest")]
#[path = "../suite/coturn.rs"]
mod coturn;
mod network;
#[allow(dead_code, reason = "the other test crates use the rest")]
#[path = "../suite/support.rs"]
mod support;
mod visit;
#[allow(dead_code, reason = "the other test crate uses the rest")]
#[path = "../machine/webdriver.rs"]
mod webdriver;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use fantoccini::key::Key;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;

use coturn::Coturn;
use network::{Upgrade, proxy, translation};
use support::Server;
use visit::Visit;
use webdriver::Driver;

const SECRET: &str = "a secret that both of them know";

/// Runs a test with a browser at hand.
fn with_browser(test: impl AsyncFnOnce(&Driver)) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let driver = Driver::start();
    runtime.block_on(test(&driver));
}

/// A manifest with this STUN and TURN, for a server that will be at `url`.
fn manifest(directory: &Path, url: &str, stun: u16, turn: &[u16]) -> String {
    let path = directory.join("station-manifest.json");
    let turn: Vec<Value> =
        turn.iter().map(|port| json!({ "urls": [format!("turn:127.0.0.1:{port}")] })).collect();
    let manifest = json!({
        "stationId": "north",
        "name": "Radio North",
        "signaling": { "url": url },
        "ice": { "stun": [format!("stun:127.0.0.1:{stun}")], "turn": turn },
    });
    fs::write(&path, manifest.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server with a manifest that names its own port, and with whatever else it is given.
fn serve(directory: &Path, stun: u16, turn: &[u16], settings: &[(&str, &str)]) -> Server {
    let path = manifest(directory, "ws://localhost:1/", stun, turn);
    let server = Server::start(&[&[("STATION_MANIFEST", path.as_str())], settings].concat());
    manifest(directory, &format!("ws://localhost:{}/", server.port), stun, turn);
    server.signal(Signal::HUP);
    server.log.wait_for("Reloaded: ");
    server
}

fn check_page(port: u16) -> String {
    format!("http://localhost:{port}/check")
}

/// Everything that a working station has: a server, a coturn, and an address translation before its STUN.
async fn station(secret: &str) -> (TempDir, Coturn, Server) {
    let directory = tempfile::tempdir().unwrap();
    let coturn = Coturn::start(directory.path(), SECRET);
    let stun = translation(coturn.port).await;
    let server = serve(directory.path(), stun, &[coturn.port], &[("TURN_SECRET", secret)]);
    (directory, coturn, server)
}

#[test]
#[ignore = "drives Chromium"]
fn everything_works() {
    with_browser(async |driver| {
        let (_directory, coturn, server) = station(SECRET).await;
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("Everything works."), "{verdict}");
        assert_eq!(visit.text("station").await, "Radio North");
        assert!(visit.text("link-state").await.starts_with("connected since "));
        let servers = visit.text("servers").await;
        assert!(servers.contains("server-reflexive candidate found"), "{servers}");
        assert!(servers.contains("relay candidate found"), "{servers}");
        coturn.log.wait_for("ALLOCATE processed, success");

        // Each step of the call with its time, and each the beginning of the next at the latest.
        let steps = visit.text("steps").await;
        for step in ["WebSocket", "Register", "Join a room", "Offer", "Answer"] {
            assert!(steps.contains(step), "{steps}");
        }
        for step in ["First candidate", "Connected", "Word and echo"] {
            assert!(steps.contains(step), "{steps}");
        }
        assert_eq!(steps.matches(" ms").count(), 2 + 8, "the scale and the steps: {steps}");
        let bars = "return document.querySelectorAll('#steps rect').length";
        assert_eq!(visit.0.run(bars, Vec::new()).await, 8);
        for kind in ["register", "create-or-join-room", "offer", "answer", "ice-candidate"] {
            server.log.wait_for(&format!("Received message: {kind} "));
        }
        server.log.wait_for("close 1000 by client");

        // The sparkline goes on, and for a picture longer.
        let pings = if visit::pictures().is_some() { 45 } else { 3 };
        let script = "const line = document.querySelector('#spark path').getAttribute('d');
            return (line.match(/L/g) ?? []).length";
        while visit.0.run(script, Vec::new()).await.as_u64().unwrap() < pings {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        let report = visit.report().await;
        assert!(report.contains("[good] Everything works."), "{report}");
        assert!(report.contains("Radio North") && report.contains("took "), "{report}");
        let mut secrets = visit.secrets().await;
        // Of the two peers of the call, and of one of them again for the gathering.
        assert!(secrets.len() >= 6, "{secrets:?}");
        secrets.extend(["eyJ", "candidate:", "v=0", "ice-ufrag", SECRET].map(str::to_owned));
        for secret in secrets {
            assert!(!report.contains(&secret), "{secret} in {report}");
        }

        assert_eq!(visit.blocked().await, json!([]));
        assert_eq!(visit.0.console(), Vec::<String>::new());
        let loaded = "return performance.getEntries().map(({ name }) => name).filter((name) =>
            name.includes(':') && !name.startsWith(location.origin + '/'))";
        assert_eq!(visit.0.run(loaded, Vec::new()).await, json!([]));

        visit.0.run("document.activeElement.blur()", Vec::new()).await;
        visit.picture("check-page.png", 1280, "light").await;
        visit.picture("check-page-dark.png", 1280, "dark").await;
        visit.picture("check-page-phone.png", 360, "light").await;
        assert_eq!(visit.overflow().await, 0);
        visit.picture("check-page-phone-dark.png", 360, "dark").await;
        assert_eq!(visit.accessibility().await, Vec::<String>::new());

        // What the page never does would be blocked, and noticed.
        let script = "
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            return fetch('http://127.0.0.1:9/').catch(() => new WebSocket('ws://127.0.0.1:9/')).then(
                () => window.ran, () => window.ran)";
        assert_eq!(visit.0.run(script, Vec::new()).await, Value::Null);
        let blocked = visit.blocked().await.to_string();
        for directive in
            ["script-src-elem inline", "connect-src http://127", "connect-src ws://127"]
        {
            assert!(blocked.contains(directive), "{directive} in {blocked}");
        }
        assert!(!visit.0.console().is_empty());
    });
}

#[test]
#[ignore = "drives Chromium"]
fn everything_can_be_done_by_keyboard() {
    with_browser(async |driver| {
        let (_directory, _coturn, server) = station(SECRET).await;
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        visit.verdict().await;
        assert_eq!(visit.tab().await, "mic");
        visit.0.press(Key::Enter).await;
        visit.wait_for("mic-state", "It hears you.").await;
        let level = "return +document.getElementById('meter').getAttribute('aria-valuenow')";
        while visit.0.run(level, Vec::new()).await.as_u64().unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(visit.tab().await, "copy");
        assert_eq!(visit.tab().await, "rerun");
        // With the microphone the call has its track, too.
        visit.0.press(Key::Enter).await;
        visit.wait_for("headline", "Trying").await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("Everything works."), "{verdict}");
        assert_eq!(visit.tab().await, "summary");
        visit.0.press(Key::Enter).await;
        visit.wait_for("report", "Everything works.").await;
        assert_eq!(visit.tab().await, "report");
        visit.0.run("document.getElementById('mic').focus()", Vec::new()).await;
        visit.0.press(Key::Enter).await;
        visit.wait_for("mic-state", "Off.").await;
    });
}

#[test]
#[ignore = "drives Chromium"]
fn a_wrong_turn_secret_is_named() {
    with_browser(async |driver| {
        let (_directory, coturn, server) = station("another secret").await;
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("TURN refuses the credential."), "{verdict}");
        assert!(verdict.contains("static-auth-secret"), "{verdict}");
        assert!(visit.text("servers").await.contains("refuses the credential (401 "));
        coturn.log.wait_for("error 401: Unauthorized");
        assert!(visit.text("call-state").await.starts_with("connected"), "the call needs no TURN");
        assert!(visit.report().await.contains("refuses the credential (401 "));
        visit.picture("turn-wrong.png", 1280, "light").await;
        visit.picture("turn-wrong-phone.png", 360, "dark").await;
        assert_eq!(visit.accessibility().await, Vec::<String>::new());
    });
}

#[test]
#[ignore = "drives Chromium"]
fn blocked_udp_is_named() {
    with_browser(async |driver| {
        // Something that takes datagrams, and never answers.
        let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = mute.local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let server = serve(directory.path(), port, &[port], &[("TURN_SECRET", SECRET)]);
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        let verdict = visit.verdict().await;
        let headline = "Nothing comes back from STUN or TURN: UDP may be blocked.";
        assert!(verdict.starts_with(headline), "{verdict}");
        assert_eq!(visit.text("servers").await.matches("does not answer").count(), 2);
    });
}

#[test]
#[ignore = "drives Chromium"]
fn a_server_that_goes_is_missed_and_found_again() {
    with_browser(async |driver| {
        let (directory, _coturn, mut server) = station(SECRET).await;
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        visit.verdict().await;
        assert_eq!(server.stop(), Some(0));
        let verdict = visit.wait_for("verdict", "The server does not answer.").await;
        assert!(
            verdict.contains("Away since ") && verdict.contains("systemctl status"),
            "{verdict}"
        );
        assert!(visit.text("link-state").await.starts_with("not connected since "));
        visit.wait_for("next", "Next try in ").await;
        visit.picture("server-gone.png", 1280, "light").await;
        visit.picture("server-gone-phone.png", 360, "light").await;
        assert_eq!(visit.accessibility().await, Vec::<String>::new());
        assert!(visit.report().await.contains("(gone, close code "));

        let port = server.port.to_string();
        let manifest = directory.path().join("station-manifest.json");
        let manifest = manifest.to_str().unwrap();
        let settings = [("STATION_MANIFEST", manifest), ("TURN_SECRET", SECRET), ("PORT", &port)];
        let _again = Server::spawn(support::binary().envs(settings));
        let verdict = visit.wait_for("verdict", "Everything works.").await;
        assert!(verdict.starts_with("Everything works."), "{verdict}");
        assert!(visit.text("link-state").await.starts_with("connected since "));
        assert_eq!(visit.blocked().await, json!([]));
    });
}

#[test]
#[ignore = "drives Chromium"]
fn a_proxy_that_strips_the_upgrade_is_named() {
    with_browser(async |driver| {
        let server = Server::start(&[]);
        let visit =
            Visit::to(driver, &check_page(proxy(server.port, Upgrade::Stripped).await), &[]).await;
        let headline = "WebSockets do not get through, though the server answers.";
        let verdict = visit.wait_for("verdict", headline).await;
        assert!(verdict.starts_with(headline), "{verdict}");
        assert!(verdict.contains("proxy_set_header Upgrade $http_upgrade"), "{verdict}");
        assert!(verdict.contains("alpn http/1.1"), "{verdict}");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn a_server_that_hangs_is_missed_and_one_behind_a_proxy() {
    with_browser(async |driver| {
        let mut server = Server::start(&[]);
        let port = proxy(server.port, Upgrade::Passes).await;
        let visit = Visit::to(driver, &check_page(port), &[]).await;
        visit.wait_for("link-state", "connected since ").await;
        // Nothing closes a connection to a process that stands still.
        server.signal(Signal::STOP);
        visit.wait_for("verdict", "The server does not answer.").await;
        server.signal(Signal::CONT);
        visit.wait_for("verdict", "Trying everything").await;
        visit.wait_for("call-state", "connected").await;

        assert_eq!(server.stop(), Some(0));
        let headline = "The proxy answers, but the server behind it does not.";
        visit.wait_for("verdict", headline).await;
    });
}

#[test]
#[ignore = "drives Chromium"]
fn a_microphone_that_may_not_be_used_is_named() {
    with_browser(async |driver| {
        let (_directory, _coturn, server) = station(SECRET).await;
        let deny = "--use-fake-ui-for-media-stream=deny";
        let visit = Visit::to(driver, &check_page(server.port), &[deny]).await;
        visit.verdict().await;
        assert_eq!(visit.tab().await, "mic");
        visit.0.press(Key::Enter).await;
        let verdict = visit.wait_for("verdict", "The microphone does not work.").await;
        assert!(verdict.contains("allow it beside the address"), "{verdict}");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn who_turns_the_page_away_is_named() {
    with_browser(async |driver| {
        let server = Server::start(&[("ALLOWED_ORIGINS", "https://studio.example.org")]);
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        let verdict = visit.wait_for("verdict", "The server turns this page away.").await;
        assert!(verdict.contains("ALLOWED_ORIGINS does not have http://localhost:"), "{verdict}");

        let server = Server::start(&[("MAX_CONNECTIONS_PER_IP", "1")]);
        let _only = server.client();
        visit.0.goto(&check_page(server.port)).await;
        let headline = "The server has too many connections from this address.";
        let verdict = visit.wait_for("verdict", headline).await;
        assert!(verdict.contains("TRUSTED_PROXIES"), "{verdict}");

        let server = Server::start(&[("RATE_LIMIT", "2")]);
        visit.0.goto(&check_page(server.port)).await;
        visit.wait_for("verdict", "The server's rate limit stopped the call.").await;
    });
}

#[test]
#[ignore = "drives Chromium"]
fn what_is_missing_in_the_settings_is_named() {
    with_browser(async |driver| {
        let directory = tempfile::tempdir().unwrap();
        let coturn = Coturn::start(directory.path(), SECRET);
        // No address translation lies between, so there is no address but the device's own.
        let server = serve(directory.path(), coturn.port, &[], &[]);
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("No TURN server: "), "{verdict}");
        let servers = visit.text("servers").await;
        assert!(servers.contains("answers: this device's own address is seen"), "{servers}");

        let server = serve(directory.path(), coturn.port, &[coturn.port], &[]);
        visit.0.goto(&check_page(server.port)).await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("TURN has no credential."), "{verdict}");

        // The page comes from where the manifest does not say.
        let path = manifest(directory.path(), "wss://other.example/", coturn.port, &[coturn.port]);
        let server = Server::start(&[("STATION_MANIFEST", &path), ("TURN_SECRET", SECRET)]);
        visit.0.goto(&check_page(server.port)).await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("The station manifest names another address."), "{verdict}");
        assert!(verdict.contains("wss://other.example/"), "{verdict}");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn http_on_a_public_name_is_named() {
    with_browser(async |driver| {
        let (_directory, _coturn, server) = station(SECRET).await;
        let public = "--host-resolver-rules=MAP studio.example.org 127.0.0.1";
        let url = format!("http://studio.example.org:{}/check", server.port);
        let visit = Visit::to(driver, &url, &[public]).await;
        let verdict = visit.verdict().await;
        let headline = "This page came by http://, where browsers give no microphone.";
        assert!(verdict.starts_with(headline), "{verdict}");
        assert!(verdict.contains("https://studio.example.org/check"), "{verdict}");
        assert!(visit.text("call-state").await.starts_with("connected"), "the call needs none");
        visit.0.run("document.getElementById('mic').click()", Vec::new()).await;
        visit.wait_for("mic-state", "on https:// only").await;

        // There is no clipboard either, and the report is copied all the same.
        let script = "document.addEventListener('copy', () => { window.copied = getSelection().toString(); });
            document.getElementById('copy').focus();";
        visit.0.run(script, Vec::new()).await;
        visit.0.press(Key::Enter).await;
        visit.wait_for("copied", "Copied.").await;
        let copied = visit.0.run("return window.copied", Vec::new()).await;
        assert!(copied.as_str().unwrap().contains("(not secure: no microphone)"), "{copied}");
        assert_eq!(visit.blocked().await, json!([]));
    });
}
