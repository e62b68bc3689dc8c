//! Installed machines that are one studio, by the commands of docs/cluster.md, with Debian's nats-server and HAProxy.
//!
//! Owns that an operator gets there, and that a machine that dies is not missed. It deliberately does not know what the
//! nodes say to each other.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tungstenite::{Message, WebSocket};

use crate::booted::{Machine, SERVICE};
use crate::docs::{commands, part};
use crate::support::wait_every;

const PAGE: &str = include_str!("../../docs/cluster.md");
const WAY: &str = "openstudio-signaling-nats";

const HOST: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
const GUEST: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";

/// Runs blocks of the page, one after the other in one shell, so that each knows what an earlier one has set.
fn follow(machine: &Machine, blocks: &[String]) -> String {
    let script = blocks.join("\n").replace("apt install", "apt-get -y install");
    let script = format!("export DEBIAN_FRONTEND=noninteractive\n{script}");
    machine.ok(&["bash", "-e", "-o", "pipefail", "-c", &script])
}

/// Waits until a node knows of so many.
fn wait_for_nodes(machine: &Machine, nodes: &str) {
    let status = || machine.property("StatusText");
    let state = || format!("{nodes} in {:?}:\n{}", status(), machine.log());
    wait_every(Duration::from_millis(50), || status().contains(&format!(", {nodes}")), state);
}

/// Waits until a command of a page is content, as an operator does.
fn check(machine: &Machine, more: &str) -> String {
    let mut said = String::new();
    machine.wait_until("check", || {
        let output = machine.run(&["sh", "-c", &format!("openstudio-signaling check {more}")]);
        said = String::from_utf8(output.stdout).unwrap();
        output.status.success()
    });
    said
}

pub fn a_node_reaches_nats_out_of_the_sandbox(suite: &str) {
    let machine = Machine::with_package(suite);
    let state = machine.run(&["systemctl", "is-enabled", &format!("{WAY}.socket")]);
    assert_ne!(String::from_utf8_lossy(&state.stdout).trim(), "enabled", "for those who want it");
    // One server has no routes.
    let blocks = commands(part(PAGE, "Three machines"));
    let (before, rest) = blocks[1].split_once("cluster {\n").unwrap();
    let (_, after) = rest.split_once("\n}\n").unwrap();
    follow(&machine, &[blocks[0].clone(), format!("{before}{after}")]);
    wait_for_nodes(&machine, "1 node");
    let said = check(&machine, "--call");
    assert!(said.contains("cluster    1 node, in touch by 10.0.0.1"), "{said}");
    assert!(said.contains("one replica only"), "{said}");
    for (unit, most) in [(SERVICE, 0.4), (WAY, 1.1)] {
        let security = machine.ok(&["systemd-analyze", "security", "--no-pager", unit]);
        let level = security.lines().rev().find(|line| line.contains("exposure level")).unwrap();
        let level: f64 =
            level.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(level <= most, "{unit}: {level}");
    }
    // A restart keeps clients, and the node is the same.
    let mut client = machine.client();
    client.ask(&format!(r#"{{"type":"register","peerId":"{HOST}"}}"#));
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.wait_for_log("Took over 1 client ");
    let entered = client.ask(r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#);
    assert!(entered.contains("room-created"), "{entered}");
    assert_eq!(machine.log().matches("Joined the cluster").count(), 1);
    // nats-server goes away and comes back.
    machine.ok(&["systemctl", "restart", "nats-server"]);
    let left = client.ask(r#"{"type":"leave-room"}"#);
    assert!(left.contains("room-left"), "{left}");
    // And the other way: a network of its own.
    let direct = commands(part(PAGE, "Other ways to NATS"))[0].replace("10.0.0.", "127.0.0.");
    follow(&machine, &[direct]);
    machine.ok(&["systemctl", "stop", &format!("{WAY}.socket"), &format!("{WAY}.service")]);
    wait_for_nodes(&machine, "1 node");
    assert!(check(&machine, "").contains("cluster    1 node"));
}

/// A command in the network of a machine, with this machine's tools.
fn ip(machine: &Machine, arguments: &str) {
    let mut command = Command::new("nsenter");
    command.args(["-t", &machine.init().to_string(), "-n", "ip"]).args(arguments.split(' '));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Connects machines to each other: number n has the address 10.0.0.n.
fn connect(machines: &[Machine]) {
    for (index, machine) in (1..).zip(machines) {
        ip(machine, &format!("address add 10.0.0.{index}/32 dev lo"));
    }
    for first in 1..=machines.len() {
        for second in first + 1..=machines.len() {
            let (one, other) = (&machines[first - 1], &machines[second - 1]);
            let init = other.init();
            ip(one, &format!("link add to{second} type veth peer name to{first} netns {init}"));
            for (machine, own, to) in [(one, first, second), (other, second, first)] {
                ip(machine, &format!("link set to{to} up"));
                ip(machine, &format!("route add 10.0.0.{to}/32 dev to{to} src 10.0.0.{own}"));
            }
        }
    }
}

/// A client that comes by way of HAProxy, and may lose its connection.
struct Caller(WebSocket<TcpStream>);

impl Caller {
    fn open() -> Option<Self> {
        let tcp = TcpStream::connect("127.0.0.1:80").ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut caller = Self(tungstenite::client("ws://studio/", tcp).ok()?.0);
        caller.text()?;
        Some(caller)
    }

    /// The next message, or `None` at the end.
    fn text(&mut self) -> Option<String> {
        loop {
            match self.0.read().ok()? {
                Message::Text(text) => return Some(text.to_string()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    fn ask(&mut self, text: &str) -> Option<String> {
        self.0.send(Message::text(text)).ok()?;
        self.text()
    }

    /// Whether the next thing that it hears is the answer to its ping.
    fn pong(&mut self) -> bool {
        self.ask(r#"{"type":"ping"}"#).is_some_and(|answer| answer.contains("pong"))
    }

    /// It is back, as soon as there is a node that takes it.
    fn back(again: &str) -> Self {
        for _ in 0..600 {
            if let Some(mut caller) = Self::open() {
                if caller.ask(again).is_some_and(|answer| answer.contains(r#""registered""#)) {
                    return caller;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("nobody takes {again}");
    }
}

pub fn three_machines_are_one_studio(suite: &str) {
    let machines: Vec<_> = (0..3).map(|_| Machine::with_package(suite)).collect();
    connect(&machines);
    let blocks = commands(part(PAGE, "Three machines"));
    let made = machines[0].ok(&[
        "bash",
        "-ec",
        &blocks[0].replace("apt install openssl", "apt-get -qqy install openssl >/dev/null 2>&1"),
    ]);
    for (index, machine) in (1..).zip(&machines) {
        let own = blocks[1].replace("address=10.0.0.1", &format!("address=10.0.0.{index}"));
        follow(machine, &[made.clone(), own]);
    }
    // As the page says, where a server is not known to the others.
    let (look, restart) = (&blocks[2..3], &blocks[3..4]);
    let is_one = || machines[0].property("StatusText").contains(", 3 nodes");
    let is_left_out = || machines[0].log().contains("no suitable peers");
    machines[0].wait_until("3 nodes, or why not", || is_one() || is_left_out());
    if !is_one() {
        machines.iter().for_each(|machine| drop(follow(machine, restart)));
    }
    for machine in &machines {
        wait_for_nodes(machine, "3 nodes");
        let said = check(machine, "--call");
        assert!(said.contains("✓ cluster    3 nodes") && !said.contains("one replica"), "{said}");
        follow(machine, look);
    }
    follow(&machines[1], restart);
    machines.iter().for_each(|machine| wait_for_nodes(machine, "3 nodes"));
    // This thread is in the network of the last one.
    follow(&machines[2], &commands(part(PAGE, "The balancer")));
    let mut clients: Vec<_> = (0..6).map(|_| Caller::open().unwrap()).collect();
    let resumes: Vec<_> = (0..)
        .zip(&mut clients)
        .map(|(index, client)| {
            let id = id(index);
            let registered =
                client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#)).unwrap();
            let resume =
                registered.split(r#""resume":""#).nth(1).unwrap().split('"').next().unwrap();
            resume.to_owned()
        })
        .collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let enter = r#"{"type":"create-or-join-room","roomId":"show","role":"guest"}"#;
        let entered = client.ask(enter).unwrap();
        assert!(entered.contains(r#""roomId":"show""#), "{index}: {entered}");
    }
    for (index, client) in clients.iter_mut().enumerate() {
        for _ in index + 1..6 {
            assert!(client.text().unwrap().contains("peer-joined"));
        }
    }
    // A rolling restart is not noticed.
    for machine in &machines {
        machine.ok(&["systemctl", "restart", SERVICE]);
        wait_for_nodes(machine, "3 nodes");
    }
    assert!(clients.iter_mut().all(Caller::pong));
    // A machine dies, with its node and its NATS server: whoever was there comes back unseen.
    let mut machines = machines.into_iter();
    drop(machines.next());
    for (index, client) in clients.iter_mut().enumerate() {
        if !client.pong() {
            let (id, resume) = (id(index), &resumes[index]);
            let again = format!(r#"{{"type":"register","peerId":"{id}","resume":"{resume}"}}"#);
            *client = Caller::back(&again);
        }
    }
    let machines: Vec<_> = machines.collect();
    for machine in &machines {
        wait_for_nodes(machine, "2 nodes");
    }
    // Nobody has seen anybody leave.
    for (index, client) in clients.iter_mut().enumerate() {
        let heard = client.ask(r#"{"type":"ping"}"#);
        assert!(heard.as_deref().is_some_and(|heard| heard.contains("pong")), "{index}: {heard:?}");
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let other = (index + 1) % 6;
        let offer = format!(
            r#"{{"type":"offer","from":"{}","to":"{}","sdp":"v=0"}}"#,
            id(index),
            id(other)
        );
        client.0.send(Message::text(offer)).unwrap();
    }
    for client in &mut clients {
        assert!(client.text().unwrap().contains(r#""type":"offer""#));
    }
}

fn id(index: usize) -> String {
    GUEST.replace("bb", &format!("{index:02x}"))
}
