//! What can be in the way, and what the page has to say about it. It deliberately does not look at the rest of
//! the page.

use std::fs;
use std::net::UdpSocket;

use fantoccini::key::Key;
use rustix::process::Signal;
use serde_json::json;

use crate::coturn::Coturn;
use crate::icecast::Icecast;
use crate::network::{Upgrade, proxy};
use crate::process;
use crate::support::Server;
use crate::visit::Visit;
use crate::{SECRET, check_page, manifest, serve, station, with_browser};

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
        assert!(verdict.contains("give the address that others reach"), "{verdict}");

        // Where STUN answers, UDP is not blocked.
        let coturn = Coturn::start(directory.path(), SECRET);
        let server = serve(directory.path(), coturn.port, &[port], &[("TURN_SECRET", SECRET)]);
        visit.0.goto(&check_page(server.port)).await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("TURN does not answer."), "{verdict}");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn silence_is_not_taken_for_an_answer() {
    with_browser(async |driver| {
        let directory = tempfile::tempdir().unwrap();
        let coturn = Coturn::start(directory.path(), SECRET);
        let path = directory.path().join("station-manifest.json");
        let manifest = json!({
            "stationId": "north",
            "name": "Radio North",
            "signaling": { "url": "ws://localhost:1/" },
            // The network of these tests has no address from which this one could be asked.
            "ice": { "stun": ["stun:[2001:db8::1]:3478"], "turn": [
                { "urls": [format!("turn:127.0.0.1:{}", coturn.port)] },
            ] },
        });
        fs::write(&path, manifest.to_string()).unwrap();
        let settings =
            [("STATION_MANIFEST", path.to_str().unwrap()), ("TURN_SECRET", "another secret")];
        let server = Server::start(&settings);
        let visit = Visit::to(driver, "about:blank", &[]).await;
        // As in Firefox before 150, which does not say why there are no candidates.
        let untold =
            "delete Object.getPrototypeOf(RTCPeerConnection.prototype).onicecandidateerror";
        visit.0.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": untold }));
        visit.0.goto(&check_page(server.port)).await;
        let verdict = visit.verdict().await;
        assert!(verdict.contains("Or TURN refuses the credential: this browser does not say"));
        let servers = visit.text("servers").await;
        assert_eq!(servers.matches("does not answer").count(), 2, "{servers}");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn a_server_that_goes_is_missed_and_found_again() {
    with_browser(async |driver| {
        let (directory, _coturn, mut server) = station(SECRET).await;
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        visit.verdict().await;
        let count = "window.sockets = 0;
            window.WebSocket = class extends WebSocket {
                constructor(url) { super(url); window.sockets += 1; }
            }";
        visit.0.run(count, Vec::new()).await;
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
        let _again = Server::spawn(process::binary().envs(settings));
        let verdict = visit.wait_for("verdict", "Everything works.").await;
        assert!(verdict.starts_with("Everything works."), "{verdict}");
        assert!(visit.text("link-state").await.starts_with("connected since "));
        // One, and one of each peer: Firefox would make them wait if others had failed before.
        assert_eq!(visit.0.run("return window.sockets", Vec::new()).await, 3);
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
fn a_browser_without_webrtc_is_named() {
    with_browser(async |driver| {
        let server = Server::start(&[]);
        let visit = Visit::to(driver, "about:blank", &[]).await;
        let off = "delete window.RTCPeerConnection";
        visit.0.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": off }));
        visit.0.goto(&check_page(server.port)).await;
        let verdict = visit.wait_for("verdict", "This browser has no WebRTC").await;
        assert!(verdict.contains("media.peerconnection.enabled"), "{verdict}");
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

        let server = Server::start(&[("RATE_LIMIT", "1")]);
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

#[test]
#[ignore = "drives Chromium"]
fn an_icecast_that_takes_nothing_is_named() {
    with_browser(async |driver| {
        let directory = tempfile::tempdir().unwrap();
        let coturn = Coturn::start(directory.path(), SECRET);
        let icecast = Icecast::start();
        let [(_, url), (_, password)] = icecast.settings();
        let mut settings = [
            ("ICECAST_URL", url.as_str()),
            ("ICECAST_PASSWORD", "another one"),
            ("TURN_SECRET", SECRET),
        ];
        let server = serve(directory.path(), coturn.port, &[coturn.port], &settings);
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        let verdict = visit.verdict().await;
        assert!(verdict.contains("Icecast does not take the programme."), "{verdict}");
        assert!(
            verdict.contains("refuses the password. What helps: set ICECAST_PASSWORD"),
            "{verdict}"
        );
        assert_eq!(visit.text("air").await, "Icecast does not take the programme.");
        visit.picture("icecast.png", 1280, "light").await;
        settings[1].1 = password.as_str();
        let server = serve(directory.path(), coturn.port, &[coturn.port], &settings);
        visit.0.goto(&check_page(server.port)).await;
        visit.verdict().await;
        assert_eq!(
            visit.text("air").await,
            "Icecast answers, takes the password, and has the mount free."
        );
    });
}
