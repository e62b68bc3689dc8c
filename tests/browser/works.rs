//! What a visitor sees where all is well, and does with it. It deliberately breaks nothing.

use std::path::Path;
use std::time::Duration;

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::coturn::Coturn;
use crate::icecast::Icecast;
use crate::network::translation;
use crate::page::Page;
use crate::port::free_port;
use crate::process::binary;
use crate::support::Server;
use crate::visit::{Visit, pictures};
use crate::{SECRET, check_page, serve, station, with_browser};

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
        let pings = if pictures().is_some() { 45 } else { 3 };
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

/// A server on whose mount everybody may go on air.
fn serve_on_air(directory: &Path, icecast: &Icecast) -> Server {
    let [(_, url), (_, password)] = icecast.settings();
    let settings = [
        ("ICECAST_URL", url.as_str()),
        ("ICECAST_PASSWORD", password.as_str()),
        ("ON_AIR_ACCESS", "open"),
    ];
    serve(directory, 9, &[], &settings)
}

#[test]
#[ignore = "drives Chromium"]
fn what_chromium_records_is_heard() {
    with_browser(async |driver| {
        let (directory, icecast) = (tempfile::tempdir().unwrap(), Icecast::start());
        let server = serve_on_air(directory.path(), &icecast);
        let visit = Visit::to(
            driver,
            &check_page(server.port),
            &["--autoplay-policy=no-user-gesture-required"],
        )
        .await;
        let listener = tokio::task::spawn_blocking(move || {
            let heard = icecast.listen().hear_out();
            (icecast, heard)
        });
        let id = json!("f47ac10b-58cc-4372-a567-0e02b2c3d4aa");
        let said = visit.0.run(include_str!("../programme.js"), vec![id, json!(4)]).await;
        let said: Vec<&str> = said.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(said.iter().filter(|kind| **kind == "chunk-ack").count(), 4, "{said:?}");
        let (_icecast, heard) = listener.await.unwrap();
        let file = directory.path().join("heard.ogg");
        std::fs::write(&file, heard).unwrap();
        let decode = |filter: &str| {
            let mut command = std::process::Command::new("ffmpeg");
            command
                .args(["-hide_banner", "-i"])
                .arg(&file)
                .args(["-af", filter, "-f", "null", "-"]);
            let output = command.stdin(std::process::Stdio::null()).output().unwrap();
            assert!(output.status.success());
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let volume = |filter: &str| {
            let said = decode(&format!("{filter},volumedetect"));
            let mean = said.split("mean_volume: ").nth(1).unwrap_or_else(|| panic!("{said}"));
            mean.split(' ').next().unwrap().parse::<f64>().unwrap()
        };
        // The tone is there, and hardly anything else.
        let (tone, rest) = (
            volume("bandpass=f=440:width_type=h:w=100"),
            volume("bandreject=f=440:width_type=h:w=200,bandreject=f=440:width_type=h:w=200"),
        );
        assert!(tone > -20.0 && rest < tone - 15.0, "{tone} dB, and {rest} dB");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn who_listens_notices_no_reload_of_the_hosts_page() {
    with_browser(async |driver| {
        let directory = tempfile::tempdir().unwrap();
        // With the burst that Debian's Icecast has, which is what players start with.
        let icecast = (0..10).find_map(|_| Icecast::try_at(free_port(), 65_535)).unwrap();
        let server = serve_on_air(directory.path(), &icecast);
        let autoplay = ["--autoplay-policy=no-user-gesture-required"];
        // No page of the server's that plays audio: one without a policy will do.
        let page = format!("http://localhost:{}/health", server.port);
        let host = Page::start(driver, "host", &autoplay).await;
        let listener = Page::start(driver, "listener", &autoplay).await;
        host.goto(&page).await;
        listener.goto(&page).await;
        let go_on_air = async |end: &str, pieces: u8, goes_on: bool| {
            let id = json!(format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{end}"));
            let script = include_str!("../programme.js");
            let said = host.run(script, vec![id, json!(pieces), json!(goes_on)]).await;
            assert!(!said.as_array().unwrap().contains(&json!("error")), "{said}");
        };
        go_on_air("aa", 3, true).await;
        let listen = include_str!("../listen.js");
        assert_eq!(listener.run(listen, vec![json!("/stream/live.opus")]).await, true);
        let played = async |seconds: f64| {
            let script = "return (async () => {
                const [seconds] = arguments;
                for (let tries = 0; heard().played < seconds && tries < 400; tries += 1) {
                    await new Promise((resolve) => setTimeout(resolve, 100));
                }
                return heard();
            })()";
            let heard = listener.run(script, vec![json!(seconds)]).await;
            assert!(heard["played"].as_f64().unwrap() >= seconds, "{heard}");
            heard
        };
        played(4.0).await;
        // The host's page is gone for 13 s, and is another one then.
        host.goto("about:blank").await;
        played(17.0).await;
        host.goto(&page).await;
        go_on_air("bb", 6, false).await;
        let heard = played(20.0).await;
        // Before it plays, it waits. A player that runs dry later says so by another `waiting`.
        let events = heard["events"].as_array().unwrap();
        let first = events.iter().position(|event| event == "playing").unwrap();
        assert_eq!(events[first..], [json!("playing")], "{heard}");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn a_browser_is_known_by_its_cookie() {
    with_browser(async |driver| {
        let directory = tempfile::tempdir().unwrap();
        let server = serve(directory.path(), 9, &[], &[]);
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        let enter = async |end: &str, role: &str| {
            let id = format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{end}");
            let script = include_str!("../cookie.js");
            visit.0.run(script, vec![json!(id), json!(role)]).await
        };
        assert_eq!(enter("aa", "host").await, "room-created host");
        // The first one lives, which it shows by itself.
        assert_eq!(enter("bb", "host").await, "room-joined guest");
        // A second connection of the first takes its place.
        assert_eq!(enter("aa", "guest").await, "room-joined host");
        let last = "return connections[0].at(-1)";
        assert_eq!(visit.0.run(last, Vec::new()).await, "close 4010");
        // A page that is loaded again has another id, and leads its room still.
        visit.0.goto(&check_page(server.port)).await;
        assert_eq!(enter("cc", "guest").await, "room-created host");
    });
}

#[test]
#[ignore = "drives Chromium"]
fn it_comes_in_by_an_invite() {
    with_browser(async |driver| {
        let directory = tempfile::tempdir().unwrap();
        let coturn = Coturn::start(directory.path(), SECRET);
        let stun = translation(coturn.port).await;
        let invited = [("JWT_SECRET", SECRET), ("ROOM_ACCESS", "invited")];
        let settings = [&[("TURN_SECRET", SECRET)][..], &invited].concat();
        let server = serve(directory.path(), stun, &[coturn.port], &settings);
        let visit = Visit::to(driver, &check_page(server.port), &[]).await;
        visit.wait_for("headline", "Only the invited get in here.").await;
        assert!(visit.text("advice").await.contains("openstudio-signaling invite --room check"));
        assert!(visit.text("call-state").await.starts_with("failed"));
        visit.wait_for("ice-state", "not tried").await;

        let url = format!("--url=http://localhost:{}", server.port);
        let made = binary()
            .args(["invite", "--json", "--room", "Käse & Brot", &url])
            .envs(invited)
            .output()
            .unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let link = made["check"].as_str().unwrap();
        // Only what follows the # changes: the page runs again by itself.
        visit.0.goto(link).await;
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("Everything works."), "{verdict}");
        server.log.wait_for("Käse & Brot");
        let report = visit.report().await;
        assert!(!report.contains("eyJ"), "{report}");

        // What somebody else in the room says to everybody who comes is no part of the call.
        let (mut other, _) = tungstenite::client("ws://localhost/", server.connect()).unwrap();
        let mut talk = |say: Option<Value>| -> Value {
            if let Some(say) = say {
                other.send(say.to_string().into()).unwrap();
            }
            serde_json::from_str(other.read().unwrap().to_text().unwrap()).unwrap()
        };
        let id = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
        assert_eq!(talk(None)["type"], "welcome");
        assert_eq!(talk(Some(json!({ "type": "register", "peerId": id })))["type"], "registered");
        let enter = json!({ "type": "create-or-join-room", "inviteToken": made["token"] });
        assert_eq!(talk(Some(enter))["type"], "room-created");
        visit.0.run("document.getElementById('rerun').click()", Vec::new()).await;
        let mut joined = talk(None);
        for _ in 0..2 {
            let to = &joined["peerId"];
            // What is heard next is the other peer, or the first one's leave.
            joined = talk(Some(json!({ "type": "offer", "from": id, "to": to, "sdp": "v=0" })));
        }
        let verdict = visit.verdict().await;
        assert!(verdict.starts_with("Everything works."), "{verdict}");

        visit.0.goto(&format!("{link}x")).await;
        visit.wait_for("headline", "The invite does not let anybody in.").await;
        assert!(visit.text("advice").await.contains("invalid signature"));
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
        assert_eq!(visit.accessibility().await, Vec::<String>::new());
        visit.0.run("document.getElementById('mic').focus()", Vec::new()).await;
        visit.0.press(Key::Enter).await;
        visit.wait_for("mic-state", "Off.").await;
    });
}
