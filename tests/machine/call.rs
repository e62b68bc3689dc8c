//! Two pages that call each other by way of the installed service. It deliberately does not know how WebRTC works, which
//! is the page's.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::booted::{Machine, SERVICE};
use crate::forwarder::Forwarder;
use crate::page::{Page, serve_call};
use crate::webdriver::Driver;

/// The types of what a page hears from the server, part by part.
type Heard = &'static [&'static [&'static str]];

const HOST_HEARS: &[&str] =
    &["welcome", "registered", "room-created", "peer-joined", "answer", "ice-candidate"];
const GUEST_HEARS: &[&str] = &["welcome", "registered", "room-joined", "offer", "ice-candidate"];

/// When the host is back and offers anew; that it was away, the guest does not hear.
const HOST_HEARS_AGAIN: &[&str] = &["welcome", "registered", "answer", "ice-candidate"];
const GUEST_HEARS_AGAIN: &[&str] = &["offer", "ice-candidate"];

/// `WebSocket.OPEN` of a page.
const OPEN: u32 = 1;

/// Who comes last, to see who is there.
const THIRD: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4cc";

/// What both hear where the service is restarted twice below them: of a mute, of an agreement anew, and of the end of the
/// mute. Of the restarts they hear nothing.
const HOST_HEARS_OVER: &[&str] =
    &["welcome", "registered", "room-created", "peer-joined", "answer", "mute", "answer", "mute"];
const GUEST_HEARS_OVER: &[&str] =
    &["welcome", "registered", "room-joined", "offer", "mute", "offer", "mute"];

/// Two pages meet and talk; then the connection of one to the server is cut, and it takes its place back.
pub fn two_browsers_call_and_one_comes_back(suite: &str) {
    let (machine, runtime, driver) = prepare(suite);
    runtime.block_on(call(suite, &machine, &driver));
}

/// Two pages talk while the service below them is restarted and upgraded, and see nothing of it.
pub fn two_browsers_notice_no_restart(suite: &str) {
    let (machine, runtime, driver) = prepare(suite);
    runtime.block_on(call_over_restarts(suite, &machine, &driver));
}

/// A machine, a runtime in its network, and a browser there.
fn prepare(suite: &str) -> (Machine, Runtime, Driver) {
    let machine = Machine::with_package(suite);
    // The page passes its ICE servers on as they are, and a browser takes no TURN server without credentials:
    // this one gets them from the service.
    let turn = r#"
        cd /etc/openstudio-signaling
        sed 's/"stun"/"turn": [{"urls": "turn:localhost:3478"}], "stun"/' \
            /usr/share/doc/openstudio-signaling/examples/station-manifest.sample.json > station-manifest.json
        echo TURN_SECRET=secret >> /etc/default/openstudio-signaling"#;
    machine.ok(&["sh", "-ec", turn]);
    // The runtime's thread is in the machine's network, as the thread that makes it is.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    (machine, runtime, Driver::start())
}

/// Two pages that have not met.
async fn open(machine: &Machine, driver: &Driver) -> (Page, Page) {
    let origin = serve_call().await;
    // The page is another server's, which has to be named so that its browser has a cookie.
    let name = format!("echo ALLOWED_ORIGINS={origin} >> /etc/default/openstudio-signaling");
    machine.ok(&["sh", "-ec", &name]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    tokio::join!(Page::open(driver, "host", &origin), Page::open(driver, "guest", &origin))
}

async fn call_over_restarts(suite: &str, machine: &Machine, driver: &Driver) {
    let (host, guest) = open(machine, driver).await;
    for (page, role) in [(&host, "host"), (&guest, "guest")] {
        page.call("enter", &["ws://localhost:3000/", "call", role]).await;
    }
    let before = [host.call("connected", &[]).await, guest.call("connected", &[]).await];
    host.call("count", &[]).await;
    guest.call("counts", &["10"]).await;
    host.call("mute", &["true"]).await;
    for page in [&host, &guest] {
        page.call("hears", &["mute", "1"]).await;
    }
    machine.ok(&["systemctl", "restart", SERVICE]);
    talk(suite, &host, &guest, "Do you hear me still?").await;
    // In the middle of an agreement.
    host.call("restart", &[]).await;
    machine.apt("install /upgrade/openstudio-signaling_*.deb");
    for (page, before) in [&host, &guest].into_iter().zip(&before) {
        page.call("connected", &[before["theirs"].as_str().unwrap()]).await;
    }
    host.call("mute", &["false"]).await;
    for page in [&host, &guest] {
        page.call("hears", &["mute", "2"]).await;
    }
    talk(suite, &host, &guest, "As if nothing had been.").await;
    guest.call("counts", &["50"]).await;
    for (page, hears) in [(&host, HOST_HEARS_OVER), (&guest, GUEST_HEARS_OVER)] {
        let state = page.call("state", &[]).await;
        assert_eq!((&state["failures"], &state["socket"]), (&json!([]), &json!(OPEN)));
        let heard = state["heard"].as_array().unwrap();
        let types = heard.iter().map(|message| message["type"].as_str().unwrap());
        // Candidates come when they are found.
        let types: Vec<_> = types.filter(|heard| *heard != "ice-candidate").collect();
        assert_eq!(types, hears);
    }
    let log = machine.log();
    assert_eq!(log.matches("Took over 2 clients in 1 room,").count(), 2, "{log}");
    host.close().await;
    guest.close().await;
}

async fn call(suite: &str, machine: &Machine, driver: &Driver) {
    let start = Instant::now();
    let (host, guest) = open(machine, driver).await;
    let network = Forwarder::to(3000).await;
    let by_network = format!("ws://localhost:{}/", network.port);
    host.call("enter", &[&by_network, "call", "host"]).await;
    guest.call("enter", &["ws://localhost:3000/", "call", "guest"]).await;
    let before = [host.call("connected", &[]).await, guest.call("connected", &[]).await];
    println!("{suite}: a call after {:?}", start.elapsed());
    talk(suite, &host, &guest, "Do you hear me?").await;
    let [host_id, guest_id] = ids(&host, &guest, &[HOST_HEARS], &[GUEST_HEARS]).await;

    network.cut();
    talk(suite, &host, &guest, "We need no server to go on.").await;
    let cut = Instant::now();
    host.call("connect", &[&by_network]).await;
    let took = cut.elapsed();
    // Its cookie proves who it is, so nobody waits for the old connection.
    println!("{suite}: the id is back after {took:?}");

    host.call("restart", &[]).await;
    for (page, before) in [&host, &guest].into_iter().zip(&before) {
        page.call("connected", &[before["theirs"].as_str().unwrap()]).await;
    }
    println!("{suite}: agreed anew after {:?}", cut.elapsed());
    talk(suite, &host, &guest, "Welcome back.").await;
    let hears = [&[HOST_HEARS, HOST_HEARS_AGAIN], &[GUEST_HEARS, GUEST_HEARS_AGAIN]];
    assert_eq!(ids(&host, &guest, hears[0], hears[1]).await, [host_id.clone(), guest_id.clone()]);

    // The old connection's end takes nothing with it: who comes now finds both in their places.
    let back =
        format!("Peer {host_id} is back as client 3, 127.0.0.1: it takes the place of client 1");
    machine.wait_for_log(&back);
    machine.wait_for_log("(client 1, close 4010 by server, ");
    let mut third = machine.client();
    third.ask(&format!(r#"{{"type":"register","peerId":"{THIRD}"}}"#));
    let joined = third.ask(r#"{"type":"create-or-join-room","roomId":"call"}"#);
    let place = |id: &str, role| json!({ "peerId": id, "role": role });
    let places = [place(&host_id, "host"), place(&guest_id, "guest"), place(THIRD, "guest")];
    let joined: Value = serde_json::from_str(&joined).unwrap();
    assert_eq!(joined["participants"], json!(places));
    third.leave(1000);
    host.close().await;
    guest.close().await;
    println!("{suite}: all of it took {:?}", start.elapsed());
}

/// Each sends the other a text, and packets of both tracks come in at both.
async fn talk(suite: &str, host: &Page, guest: &Page, text: &str) {
    for (from, to) in [(host, guest), (guest, host)] {
        from.call("channel.send", &[text]).await;
        to.call("text", &[text]).await;
    }
    let packets = [host.call("flow", &[]).await, guest.call("flow", &[]).await];
    println!("{suite}: {text:?} {}", json!(packets));
}

/// The ids of both, who have heard from the server what they should have, and nothing else.
async fn ids(host: &Page, guest: &Page, host_hears: Heard, guest_hears: Heard) -> [String; 2] {
    let [host, guest] = [host.call("state", &[]).await, guest.call("state", &[]).await];
    for (mine, theirs, hears) in [(&host, &guest, host_hears), (&guest, &host, guest_hears)] {
        assert_eq!(mine["failures"], json!([]));
        assert_eq!(mine["agreed"]["mine"], theirs["agreed"]["theirs"]);
        assert_eq!(mine["tracks"], json!(["audio", "video"]));
        let heard = mine["heard"].as_array().unwrap();
        let mut types: Vec<_> =
            heard.iter().map(|message| message["type"].as_str().unwrap()).collect();
        // There are as many candidates as there are addresses.
        types.dedup();
        assert_eq!(types, hears.concat());
        for relayed in heard.iter().filter(|message| message["from"].is_string()) {
            assert_eq!(relayed["from"], theirs["me"]);
            assert_eq!(relayed["to"], mine["me"]);
        }
    }
    [host, guest].map(|page| page["me"].as_str().unwrap().to_owned())
}
