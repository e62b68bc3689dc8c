//! Two studios in Chromium, each with its people on two nodes, while nodes and NATS servers die one after the other.
//!
//! Owns that a call goes on, and that nobody sees anybody leave. It deliberately does not know how WebRTC works, which is
//! the page's.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::nats::Nats;
use crate::nodes::{agree, enter, start, wait_for};
use crate::page::{Page, serve_call};
use crate::peers::{A, peer};
use crate::support::Server;
use crate::webdriver::Driver;

/// What a page hears of others, in its order. Candidates come when they are found, and errors are the page's to judge.
fn heard(state: &Value) -> Vec<&str> {
    const NOT_OF_OTHERS: [&str; 4] = ["ice-candidate", "welcome", "registered", "error"];
    let heard = state["heard"].as_array().unwrap().iter();
    let types = heard.map(|message| message["type"].as_str().unwrap());
    types.filter(|kind| !NOT_OF_OTHERS.contains(kind)).collect()
}

/// A host and a guest, and what both have done so far.
struct Studio {
    name: &'static str,
    host: Page,
    guest: Page,
    done: usize,
}

impl Studio {
    /// Two pages that call each other. Each comes in by the first of its addresses, and by the next when that one fails.
    async fn open(driver: &Driver, name: &'static str, origin: &str, urls: [[&str; 3]; 2]) -> Self {
        let [first, second] = ["host", "guest"].map(|role| format!("{name}-{role}"));
        let host = Page::open(driver, &first, origin).await;
        let guest = Page::open(driver, &second, origin).await;
        for (page, role, urls) in [(&host, "host", urls[0]), (&guest, "guest", urls[1])] {
            page.call("enter", &[urls[0], name, role]).await;
            page.call("stay", &urls).await;
        }
        for page in [&host, &guest] {
            page.call("connected", &[]).await;
        }
        host.call("count", &[]).await;
        guest.call("counts", &["10"]).await;
        Self { name, host, guest, done: 0 }
    }

    /// A mute that all hear, an agreement anew, and a text each way, while numbers go on to come.
    async fn goes_on(&mut self) {
        for page in [&self.host, &self.guest] {
            page.call("here", &[]).await;
        }
        self.done += 1;
        let before = self.guest.call("state", &[]).await["agreed"]["theirs"].clone();
        self.host.call("mute", &[if self.done % 2 == 1 { "true" } else { "false" }]).await;
        for page in [&self.host, &self.guest] {
            page.call("hears", &["mute", &self.done.to_string()]).await;
        }
        self.host.call("restart", &[]).await;
        self.guest.call("connected", &[before.as_str().unwrap()]).await;
        self.host.call("hears", &["answer", &(self.done + 1).to_string()]).await;
        let text = format!("{} {}", self.name, self.done);
        for (from, to) in [(&self.host, &self.guest), (&self.guest, &self.host)] {
            from.call("channel.send", &[&text]).await;
            to.call("text", &[&text]).await;
        }
        self.guest.call("counts", &["10"]).await;
    }

    /// How often both have lost their connections, and have not heard of anything but themselves.
    async fn returns(&self) -> u64 {
        let mut returns = 0;
        let more = |kind| std::iter::repeat_n(["mute", kind], self.done).flatten();
        for (page, first, kind) in [
            (&self.host, &["room-created", "peer-joined", "answer"][..], "answer"),
            (&self.guest, &["room-joined", "offer"], "offer"),
        ] {
            let state = page.call("state", &[]).await;
            assert_eq!(state["failures"], json!([]), "{state}");
            let expected: Vec<_> = first.iter().copied().chain(more(kind)).collect();
            assert_eq!(heard(&state), expected, "{state}");
            returns += state["returns"].as_u64().unwrap();
        }
        returns
    }
}

#[test]
#[ignore = "drives Chromium, in a network that has nothing but its loopback"]
fn two_studios_go_on_while_machines_die() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let driver = Driver::start();
    runtime.block_on(go_on(&driver));
}

async fn go_on(driver: &Driver) {
    let origin = serve_call().await;
    let mut nats = Nats::three();
    // The pages are another server's, which has to be named so that their browsers have a cookie.
    let run = |nats: &Nats, index: usize, port: u16| {
        start(nats, index, &[("ALLOWED_ORIGINS", &origin), ("PORT", &port.to_string())])
    };
    let mut nodes: Vec<Server> = (0..3).map(|index| run(&nats, index, 0)).collect();
    wait_for(&nodes.iter().collect::<Vec<_>>(), 3);
    let urls: Vec<_> = nodes.iter().map(|node| format!("ws://localhost:{}/", node.port)).collect();
    let by = |order: [usize; 3]| order.map(|index| &*urls[index]);
    let mut studios = [
        Studio::open(driver, "north", &origin, [by([0, 1, 2]), by([1, 2, 0])]).await,
        Studio::open(driver, "south", &origin, [by([2, 0, 1]), by([0, 2, 1])]).await,
    ];
    for which in 0..3 {
        // A machine dies, with its NATS server, and comes back.
        let port = nodes[which].port;
        nodes[which].signal(Signal::KILL);
        nats.kill(which);
        nodes[which].wait();
        for studio in &mut studios {
            studio.goes_on().await;
        }
        nats.bring_back(which);
        nodes[which] = run(&nats, which, port);
        wait_for(&nodes.iter().collect::<Vec<_>>(), 3);
        for studio in &mut studios {
            studio.goes_on().await;
        }
    }
    // Each NATS server once more, and two of them: nothing can change until one is back.
    for which in 0..3 {
        nats.kill(which);
        for studio in &mut studios {
            studio.goes_on().await;
        }
        nats.kill((which + 1) % 3);
        nats.start_again(which);
        nats.start_again((which + 1) % 3);
        for studio in &mut studios {
            studio.goes_on().await;
        }
    }
    let mut returns = 0;
    for studio in &studios {
        returns += studio.returns().await;
    }
    assert!(returns >= 4, "each node had clients when it died: {returns}");
    // Who comes now finds all of them in their places.
    for (node, studio) in nodes.iter().zip(&studios) {
        let mut third = peer(node, A);
        let joined: Value = serde_json::from_str(&enter(&mut third, studio.name, "guest")).unwrap();
        let roles: Vec<_> = joined["participants"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["role"].as_str().unwrap())
            .collect();
        assert_eq!(roles, ["host", "guest", "guest"], "{joined}");
        third.leave(1000);
    }
    agree(&nodes.iter().collect::<Vec<_>>());
    for studio in studios {
        studio.host.close().await;
        studio.guest.close().await;
    }
}
