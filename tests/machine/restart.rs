//! Restarts and upgrades that clients do not notice, on a real systemd. It deliberately does not look into the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::booted::{Machine, SERVICE};
use crate::goodbye::goodbye;
use crate::support::Client;

pub const SETTINGS: &str = "/etc/default/openstudio-signaling";

fn id(number: usize) -> String {
    format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}")
}

pub fn offer(from: usize, to: usize, number: usize) -> String {
    let (from, to) = (id(from), id(to));
    format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"{number}"}}"#)
}

pub fn register(number: usize) -> String {
    format!(r#"{{"type":"register","peerId":"{}"}}"#, id(number))
}

pub fn peer(machine: &Machine, number: usize) -> Client {
    let mut client = machine.client();
    assert!(client.ask(&register(number)).contains("registered"));
    client
}

/// Lets clients say as much as they like, and never pings those who only listen.
pub fn set_no_limits(machine: &Machine) {
    let settings = format!("printf 'RATE_LIMIT=0\\nHEARTBEAT_MS=3600000\\n' >> {SETTINGS}");
    machine.ok(&["sh", "-c", &settings]);
    machine.ok(&["systemctl", "restart", SERVICE]);
}

/// Two peers that talk all the time: each message is heard once, in its order.
pub struct Talk {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Talk {
    pub fn start(mut from: Client, mut to: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                from.say(&offer(0, 1, number));
                assert_eq!(to.text(), offer(0, 1, number));
                number += 1;
            }
            number
        });
        Self { stop, thread }
    }

    pub fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

pub fn clients_notice_no_restart(suite: &str) {
    let machine = Machine::with_package(suite);
    set_no_limits(&machine);
    let talk = Talk::start(peer(&machine, 0), peer(&machine, 1));
    let mut others: Vec<_> = (2..42).map(|number| peer(&machine, number)).collect();
    for (index, client) in others.iter_mut().enumerate() {
        let room = format!(r#"{{"type":"create-or-join-room","roomId":"{}"}}"#, index / 4);
        assert!(client.ask(&room).contains("room-"));
    }
    let restart = |command: &[&str]| {
        let before = machine.property("MainPID");
        machine.ok(command);
        assert_ne!(machine.property("MainPID"), before, "{command:?}");
    };
    for _ in 0..5 {
        restart(&["systemctl", "restart", SERVICE]);
    }
    // As an upgrade, and the way back, do it.
    let install = "export DEBIAN_FRONTEND=noninteractive; apt-get -y --allow-downgrades install";
    restart(&["sh", "-c", &format!("{install} /upgrade/openstudio-signaling_*.deb")]);
    restart(&["sh", "-c", &format!("{install} /debs/openstudio-signaling_*.deb")]);
    let messages = talk.finish();
    println!("{suite}: 7 restarts, {messages} messages");
    assert!(messages > 100, "{messages}");
    for (index, client) in others.iter_mut().enumerate() {
        // What the others had to say of those who came behind it.
        while !client.ask(r#"{"type":"ping"}"#).contains("pong") {}
        let again = format!(r#"{{"type":"create-or-join-room","roomId":"{}"}}"#, index / 4);
        client.say(&again);
        while !client.text().contains("room-joined") {}
    }
    let log = machine.log();
    assert_eq!(log.matches("Handed over 42 clients in 10 rooms").count(), 7, "{log}");
    assert_eq!(log.matches("Took over 42 clients in 10 rooms").count(), 7, "{log}");
    assert_eq!(machine.property("NFileDescriptorStore"), "0", "nothing is left there");

    // A stop is a stop.
    let mut client = others.pop().unwrap();
    let leaving = std::thread::spawn(move || client.close_code());
    drop(others);
    machine.ok(&["systemctl", "stop", SERVICE]);
    assert_eq!(leaving.join().unwrap(), Some(1001));
}

/// A program that does not know handovers, as those before them, and otherwise is the one that was there.
const OLDER: &str = r#"
    mv /usr/bin/openstudio-signaling /usr/bin/newer
    cat > /usr/bin/openstudio-signaling <<'END'
#!/bin/sh
[ "$1" = config ] && exit 2
exec /usr/bin/newer "$@"
END
    chmod +x /usr/bin/openstudio-signaling"#;

pub fn an_older_program_gets_nothing_and_clients_hear_goodbye(suite: &str) {
    let machine = Machine::with_package(suite);
    let client = machine.client();
    machine.ok(&["sh", "-ec", OLDER]);
    let leaving = goodbye(client);
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_eq!(leaving.join().unwrap(), Some(1001));
    machine.wait_for_log("the program is of a version that can't go on with clients");
    assert_eq!(machine.property("NFileDescriptorStore"), "0", "nothing was stored");
    assert_eq!(machine.property("NRestarts"), "0");
    assert!(machine.client().ask(r#"{"type":"ping"}"#).contains("pong"));
}
