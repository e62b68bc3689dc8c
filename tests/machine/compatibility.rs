//! A station of 0.1.0 without TLS: what its operator finds changed after `apt-get upgrade`, and after the way back.
//!
//! Owns whether the lists in tests/compatibility are those of 0.1.0. It deliberately does not know what this version has
//! of them: tests/suite/compatibility.rs looks at that.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::booted::{Machine, SERVICE};
use crate::fetch::get;
use crate::goodbye::goodbye;
use crate::published::Published;
use crate::repository::installed;
use crate::restart::SETTINGS;

/// Where a Prometheus of another machine would ask from.
const ELSEWHERE: &str = "203.0.113.1";

/// A unit that 0.1.0 does not have.
const ICECAST: &str = "openstudio-signaling-icecast.socket";

/// A secret of the operator's own, by the example of 0.1.0.
const SECRET: &str = "
    cd /etc/openstudio-signaling
    install -d -m 700 secrets
    (umask 077; echo a key of thirty-two bytes and more > secrets/jwt-secret)
    mkdir -p /etc/systemd/system/openstudio-signaling.service.d
    grep -v turn-secret /usr/share/doc/openstudio-signaling/examples/secrets.conf \\
        > /etc/systemd/system/openstudio-signaling.service.d/secrets.conf
    systemctl daemon-reload";

/// Whether the lists of settings, metrics, events and options are those of the program that is installed.
fn lists_are_true(machine: &Machine) {
    let set = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let sh = |script: &str| set(&machine.ok(&["sh", "-ec", script]));
    let settings = include_str!("../compatibility/0.1.0/settings");
    let names = settings.lines().map(|line| line.split('=').next().unwrap().to_owned());
    let config = "openstudio-signaling config | sed -n 's/^\\([A-Z_]*\\)=.*/\\1/p'";
    assert_eq!(sh(config), names.collect());
    for line in settings.lines().filter(|line| !line.contains("@DIR@")) {
        machine.ok(&["env", line, "openstudio-signaling", "config"]);
    }
    let metrics = get(3000, "/metrics").body;
    let metrics = metrics.lines().filter(|line| !line.contains("build_info{")).map(|line| {
        let is_type = line.starts_with("# TYPE ");
        if is_type { line } else { line.rsplit_once(' ').unwrap().0 }.to_owned()
    });
    let metrics: BTreeSet<_> = metrics.filter(|line| !line.starts_with("# HELP ")).collect();
    assert_eq!(metrics, set(include_str!("../compatibility/0.1.0/metrics")));
    let ids = include_str!("../compatibility/0.1.0/message-ids");
    let ids = ids.lines().map(|line| line.split(' ').next().unwrap().to_owned());
    let catalog = "sed -n 's/^-- //p' /usr/lib/systemd/catalog/openstudio-signaling.catalog";
    assert_eq!(sh(catalog), ids.collect());
    let options = "for command in serve check config; do
        openstudio-signaling $command --help | grep -o -- '--[a-z-]*' | sed \"s/^/$command /\"; done";
    assert_eq!(sh(options), set(include_str!("../compatibility/0.1.0/options")));
}

/// Runs apt-get: what each of some clients is told meanwhile.
fn told(machine: &Machine, arguments: &str) -> Vec<Option<u16>> {
    let clients: Vec<_> = (0..3).map(|_| goodbye(machine.client())).collect();
    machine.apt(arguments);
    assert_eq!(machine.ok(&["systemctl", "list-units", "--failed", "--no-legend"]), "");
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ok(&["openstudio-signaling", "check", "--call"]);
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

pub fn what_has_changed_since_0_1_0_is_in_the_log(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    let published = Published::with_0_1_0(&machine, suite);
    lists_are_true(&machine);
    // This thread is in the machine's network.
    let address = ["addr", "add", &format!("{ELSEWHERE}/32"), "dev", "lo"];
    assert!(Command::new("ip").args(address).status().unwrap().success());
    let asked = || {
        let url = format!("http://{ELSEWHERE}:3000/metrics");
        machine.ok(&["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", &url])
    };
    let set = |line: &str| {
        machine.ok(&["sh", "-c", &format!("echo {line} >> {SETTINGS}")]);
        machine.ok(&["systemctl", "restart", SERVICE]);
    };
    assert_eq!(asked(), "200");
    machine.ok(&["sh", "-ec", SECRET]);
    set("SHUTDOWN_GRACE_MS=500");
    set("MAX_MESSAGE_BYTES=2097152");
    let mut host = machine.client();
    host.ask(r#"{"type":"register","peerId":"f47ac10b-58cc-4372-a567-0e02b2c3d4aa"}"#);
    host.ask(r#"{"type":"create-or-join-room","roomId":"show","role":"host"}"#);
    let made: Value = serde_json::from_str(&host.ask(r#"{"type":"request-invite"}"#)).unwrap();
    let invite = made["inviteToken"].as_str().unwrap();

    // The host's network is gone: it answers no goodbye, and 0.1.0 ends with 1.
    let version = published.publish(&machine, "deb");
    assert_eq!(told(&machine, "upgrade"), [Some(1001); 3]);
    assert_eq!(installed(&machine), version);
    machine.wait_for_log("Main process exited, code=exited, status=1/FAILURE");
    machine.ok(&["openstudio-signaling", "invite", "--show", invite]);
    machine.wait_for_log(
        "]: MAX_OUTBOX_BYTES=1048576 (from default) cannot hold one message of MAX_MESSAGE_BYTES=2097152 (from ",
    );
    assert_eq!(asked(), "404");
    machine
        .wait_for_log(&format!("]: {ELSEWHERE} requested /metrics without permission: HTTP 404; "));
    machine.wait_for_log("name its network in METRICS");
    set(&format!("METRICS=127.0.0.1,{ELSEWHERE}"));
    assert_eq!(asked(), "200");

    // What 0.1.0 does not have, in use.
    machine.ok(&["systemctl", "enable", "--now", ICECAST]);

    let back = format!("install --allow-downgrades {SERVICE}=0.1.0");
    assert_eq!(told(&machine, &back), [Some(1001); 3]);
    assert_eq!(installed(&machine), "0.1.0");
    machine.wait_for_log("Unknown setting METRICS in /etc/default/openstudio-signaling line ");
    assert_eq!(asked(), "200");
    assert_eq!(told(&machine, "upgrade"), [Some(1001); 3]);
    assert_eq!(installed(&machine), version);
    println!("{suite}: {}{}", machine.ok(&["systemctl", "status", SERVICE]), machine.log());

    for (question, answer) in [("is-enabled", "enabled\n"), ("is-active", "active\n")] {
        assert_eq!(machine.ok(&["systemctl", question, ICECAST]), answer);
    }

    // The settings stay with a removal, and go with a purge, although 0.1.0 had brought them.
    machine.apt(&format!("remove {SERVICE}"));
    machine.ok(&["grep", "METRICS", SETTINGS]);
    machine.apt(&format!("purge {SERVICE}"));
    assert_eq!(machine.ok(&["find", "/etc/default", "-name", "openstudio*"]), "");

    // 0.1.0 is new to the machine: its conffile does not take the place of the settings.
    machine.apt(&format!("install {SERVICE}"));
    set("RATE_LIMIT=77");
    let before = machine.ok(&["cat", SETTINGS]);
    machine.apt(&format!("-o Dpkg::Options::=--force-confold {back}"));
    assert_eq!((installed(&machine), machine.ok(&["cat", SETTINGS])), ("0.1.0".to_owned(), before));
    assert_eq!(machine.property("ActiveState"), "active");
}
