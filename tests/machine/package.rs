//! The package: installed, upgraded and purged, and what autopkgtest has to say about it.

use crate::booted::{Machine, SERVICE, SERVICE_UNIT, SOCKET_UNIT};
use crate::fetch;
use crate::load::ConnectLoop;

pub fn install_starts_a_service_that_explains_itself(suite: &str) {
    let machine = Machine::with_package(suite);
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.property("StatusText"), "Serving 0 clients");
    assert_eq!(machine.property("Result"), "success");
    for unit in ["openstudio-signaling.service", "openstudio-signaling.socket"] {
        assert_eq!(machine.ok(&["systemctl", "is-enabled", unit]), "enabled\n");
        assert_eq!(machine.ok(&["systemctl", "is-active", unit]), "active\n");
    }
    assert_eq!(machine.property("User"), SERVICE);
    assert!(machine.property("LimitNOFILE").parse::<u64>().unwrap() > 100_000);
    // Not held in a machine in a machine, but set.
    let memory = |name| machine.property(name).parse::<u64>().unwrap();
    assert_eq!((memory("MemoryHigh"), memory("MemoryMax")), (3584 << 20, 4096 << 20));

    let verified =
        machine.run(&["systemd-analyze", "verify", "--man=no", SERVICE_UNIT, SOCKET_UNIT]);
    assert!(verified.status.success());
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "", "verify is silent");
    let security = machine.ok(&["systemd-analyze", "security", "--no-pager", SERVICE]);
    let exposure = security.split("Overall exposure level").nth(1).unwrap();
    let exposure: f64 = exposure.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(exposure <= 0.4, "{exposure}");

    let check = machine.ok(&["openstudio-signaling", "check"]);
    assert_eq!(check.matches('✓').count(), 4, "{check}");
    machine.wait_for_log("WebSocket client disconnected");

    // A client of our own, and what the journal has of it.
    let mut client = machine.client();
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    machine.wait_for_property("StatusText", "Serving 1 client");
    client.leave(1000);
    let lines = machine.wait_for_log_with("CLIENT_ID=2", "disconnected");
    let by_address =
        machine.ok(&["journalctl", "-u", SERVICE, "CLIENT_IP=127.0.0.1", "-o", "json"]);
    assert_eq!(by_address.lines().count(), 6, "two clients with three events each: {by_address}");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [connected, message, disconnected] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(connected["MESSAGE"], "WebSocket client connected: 127.0.0.1 (client 2)");
    assert_eq!(connected["SYSLOG_IDENTIFIER"], SERVICE);
    assert_eq!(connected["MESSAGE_ID"].as_str().unwrap().len(), 32);
    assert_eq!(message["MESSAGE_TYPE"], "ping");
    for line in &lines {
        assert_eq!((&line["PRIORITY"], &line["CLIENT_IP"]), (&"6".into(), &"127.0.0.1".into()));
    }
    for (field, value) in [
        ("CLOSE_CODE", "1000"),
        ("CLOSED_BY", "client"),
        ("MESSAGES_IN", "1"),
        ("MESSAGES_OUT", "2"),
    ] {
        assert_eq!(disconnected[field], value, "{disconnected:#?}");
    }
    let explained = machine.ok(&["journalctl", "-x", "--no-pager", "-u", SERVICE]);
    for text in [
        "Subject: The signaling server is up",
        "Browsers connect to ws://localhost:3000/",
        "Client 2 (127.0.0.1) was connected for ",
        "Subject: A client has disconnected",
    ] {
        assert!(explained.contains(text), "{text} in {explained}");
    }
    let health = fetch::get(3000, "/health");
    assert!(health.body.starts_with(r#"{"status":"ok","uptime":"#), "{health:?}");
}

pub fn an_upgrade_under_load_refuses_nobody_and_keeps_settings(suite: &str) {
    let machine = Machine::with_package(suite);
    let socket =
        machine.ok(&["systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", SOCKET_UNIT]);
    let process = machine.property("MainPID");
    machine.ok(&["sh", "-c", "echo RATE_LIMIT=77 >> /etc/default/openstudio-signaling"]);
    let load = ConnectLoop::start();
    let upgraded = machine.apt("install /upgrade/openstudio-signaling_9.9.9_*.deb");
    assert!(upgraded.contains("openstudio-signaling (9.9.9)"), "{upgraded}");
    let tally = load.finish();
    println!("{suite}: upgrade: {tally:?}");
    assert!(tally.served >= 20, "{tally:?}");
    assert_eq!((tally.refused, tally.broken), (0, 0), "{tally:?}");
    assert_ne!(machine.property("MainPID"), process, "the service runs the new program");
    let after =
        machine.ok(&["systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", SOCKET_UNIT]);
    assert_eq!(after, socket, "the socket was left alone");
    let config = machine.ok(&["openstudio-signaling", "config"]);
    assert!(config.contains("RATE_LIMIT=77 "), "{config}");

    machine.apt("reinstall /upgrade/openstudio-signaling_9.9.9_*.deb");
    machine.ok(&["openstudio-signaling", "check"]);
}

pub fn purge_leaves_nothing_behind(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    // The journal, dpkg's and apt's own books, and the backups of sysusers are not the package's.
    let files = || {
        machine.ok(&["sh", "-c", "find / -xdev -not -path '/proc/*' -not -path '/run/*' -not -path '/tmp/*' \
            -not -path '/var/tmp/*' -not -path '/var/log/*' -not -path '/var/cache/*' -not -path '/var/lib/dpkg/*' \
            -not -path '/var/lib/apt/*' -not -path '/etc/*-' -not -path '/var/lib/systemd/catalog/database' \
            -not -path '/var/lib/systemd/deb-systemd-helper-*' -not -path '/var/lib/systemd/timers/*' | sort"])
    };
    let helper = || {
        machine.ok(&[
            "sh",
            "-c",
            "find / -xdev -name '*openstudio*' -not -path '/proc/*' -not -path '/var/log/*'",
        ])
    };
    let before = files();
    machine.install();
    assert_ne!(files(), before);
    machine.ok(&["openstudio-signaling", "check"]);
    machine.apt("remove openstudio-signaling");
    assert!(std::net::TcpStream::connect(("127.0.0.1", 3000)).is_err(), "remove stops it");
    assert_eq!(
        machine.ok(&["sh", "-c", "ls /etc/default/openstudio-signaling"]).lines().count(),
        1
    );
    machine.apt("purge openstudio-signaling");
    let after = files();
    let left: Vec<_> =
        after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(helper(), "");
    // systemd forgets a unit that is gone when it finds the time; until then it knows its name, and neither
    // a file nor anybody who wants it.
    let units = machine.ok(&["systemctl", "list-units", "--all", "--no-legend", "*openstudio*"]);
    assert!(units.lines().all(|unit| unit.contains("not-found inactive")), "{units}");
    assert_eq!(machine.property("LoadState"), "not-found");
    assert_eq!(machine.property("WantedBy"), "");
    machine.install();
    machine.ok(&["openstudio-signaling", "check"]);
}

pub fn autopkgtest_passes(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    machine.apt("install --no-install-recommends autopkgtest dpkg-dev");
    // The machine is a container. It has nothing around it that could say so to autopkgtest.
    let command = "autopkgtest --ignore-restrictions=isolation-container \
        /debs/openstudio-signaling_*.deb /source/ -- null 2>&1";
    let said = machine.ok(&["sh", "-c", command]);
    let summary = said.split("@@ summary\n").nth(1).unwrap_or(&said);
    println!("{suite}: autopkgtest: {summary}");
    let control = include_str!("../../debian/tests/control");
    let names = control.lines().find_map(|line| line.strip_prefix("Tests: ")).unwrap();
    for name in names.split(", ") {
        let passed = |line: &str| line.starts_with(name) && line.ends_with(" PASS");
        assert!(summary.lines().any(passed), "{name}: {said}");
    }
}
