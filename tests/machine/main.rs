//! The package, installed with apt on a Debian whose PID 1 is systemd.
//!
//! Each test boots a machine of its own from a cached base and throws it away. `tests/run` makes the bases
//! and the package, and runs these tests: they need root.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod booted;
mod browser;
mod call;
mod container;
mod docs;
mod forwarder;
mod load;
mod repository;
#[path = "../suite/secure.rs"]
mod secure;
mod station;
#[allow(dead_code, reason = "the other test crate uses the rest")]
#[path = "../suite/support.rs"]
mod support;
mod tls;
#[allow(dead_code, reason = "the other test crate uses the rest")]
mod webdriver;

use std::time::{Duration, Instant};

use booted::{Machine, SERVICE};
use call::two_browsers_call_and_one_comes_back;
use docs::{ten_minutes_lead_on_air, the_docs_can_be_followed};
use load::ConnectLoop;
use repository::it_is_installed_and_upgraded_from_a_repository;
use station::{invites_survive_a_restart, secrets_and_the_manifest_are_set};
use tls::{a_renewed_certificate_drops_nobody, every_source_of_a_certificate_reloads};

/// Makes a test of each scenario on each release.
macro_rules! on_both_releases {
    ($($scenario:ident)*) => {
        mod bookworm {
            $(#[test] #[ignore = "boots a machine"] fn $scenario() { super::$scenario("bookworm"); })*
        }
        mod trixie {
            $(#[test] #[ignore = "boots a machine"] fn $scenario() { super::$scenario("trixie"); })*
        }
    };
}

on_both_releases! {
    install_starts_a_service_that_explains_itself
    restarts_and_reloads_refuse_nobody
    an_upgrade_under_load_refuses_nobody_and_keeps_settings
    it_is_installed_and_upgraded_from_a_repository
    crashes_and_hangs_are_restarted
    memory_that_runs_out_is_a_restart
    bad_settings_fail_with_78_and_stay_down
    stop_says_goodbye_to_clients
    a_long_drain_gets_the_time_it_asks_for
    a_stopped_journal_holds_nobody_up
    the_drop_in_examples_work
    invites_survive_a_restart
    secrets_and_the_manifest_are_set
    a_renewed_certificate_drops_nobody
    every_source_of_a_certificate_reloads
    it_starts_where_unshare_is_blocked
    it_serves_ipv4_where_there_is_no_ipv6
    purge_leaves_nothing_behind
    the_as_installed_tests_pass
    the_docs_can_be_followed
    ten_minutes_lead_on_air
    a_browser_gets_its_pong
    two_browsers_call_and_one_comes_back
}

fn install_starts_a_service_that_explains_itself(suite: &str) {
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
    let health = support::get(3000, "/health");
    assert!(health.body.starts_with(r#"{"status":"ok","uptime":"#), "{health:?}");
}

const SERVICE_UNIT: &str = "openstudio-signaling.service";
const SOCKET_UNIT: &str = "openstudio-signaling.socket";

fn restarts_and_reloads_refuse_nobody(suite: &str) {
    let machine = Machine::with_package(suite);
    let load = ConnectLoop::start();
    for _ in 0..20 {
        machine.ok(&["systemctl", "restart", SERVICE]);
    }
    let tally = load.finish();
    println!("{suite}: 20 restarts: {tally:?}");
    assert!(tally.served >= 100, "{tally:?}");
    assert_eq!((tally.refused, tally.broken), (0, 0), "{tally:?}");
    assert_eq!(machine.property("NRestarts"), "0");

    // Of the socket, too, where that is asked for: it refuses while it is away, but it comes back.
    for _ in 0..20 {
        machine.ok(&["systemctl", "restart", SOCKET_UNIT]);
        machine.ok(&["openstudio-signaling", "check"]);
    }

    let process = machine.property("MainPID");
    let mut client = machine.client();
    machine.ok(&["sh", "-c", "echo LOG_LEVEL=debug >> /etc/default/openstudio-signaling"]);
    machine.ok(&["systemctl", "reload", SERVICE]);
    machine
        .wait_for_log("Reloaded: log level is debug (from /etc/default/openstudio-signaling line ");
    client.ask(r#"{"type":"ping"}"#);
    client.ask(r#"{"type":"ping"}"#);
    let debug = machine.wait_for_log_with("PRIORITY=7", "Received message: ping");
    assert!(!debug.is_empty());
    // Invalid settings: reload itself fails, and everything stays as it was.
    machine.ok(&["sh", "-c", "echo LOG_LEVEL=loud >> /etc/default/openstudio-signaling"]);
    assert!(!machine.run(&["systemctl", "reload", SERVICE]).status.success());
    machine.wait_for_log("Invalid setting LOG_LEVEL=\"loud\"");
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert_eq!(machine.property("MainPID"), process);
    assert_eq!(machine.property("ActiveState"), "active");
    client.leave(1000);
}

fn an_upgrade_under_load_refuses_nobody_and_keeps_settings(suite: &str) {
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

fn crashes_and_hangs_are_restarted(suite: &str) {
    let machine = Machine::with_package(suite);
    for (signal, result) in
        [("KILL", "Main process exited, code=killed, status=9/KILL"), ("STOP", "Watchdog timeout")]
    {
        let process = machine.property("MainPID");
        let mut client = machine.client();
        machine.ok(&["sh", "-c", &format!("kill -{signal} {process}")]);
        machine.wait_until("a new process", || {
            let now = machine.property("MainPID");
            now != process && now != "0" && machine.property("ActiveState") == "active"
        });
        machine.wait_for_log(result);
        machine.ok(&["openstudio-signaling", "check"]);
        // Who was connected sees the end, whatever TCP makes of it.
        let _ = std::io::Read::read(&mut client.stream, &mut [0; 1]);
    }
    assert_eq!(machine.ok(&["systemctl", "is-active", SOCKET_UNIT]), "active\n");
}

/// A machine in a machine does not hold `MemoryMax=`, so the process runs into the end of its address space instead:
/// clients say more than there is memory for. The process ends, systemd starts it again, and whoever connects
/// meanwhile waits and is served.
fn memory_that_runs_out_is_a_restart(suite: &str) {
    let machine = Machine::with_package(suite);
    let settings = "RATE_LIMIT=0\nMAX_MESSAGE_BYTES=16777216\nMAX_OUTBOX_BYTES=20000000\nMAX_CONNECTIONS_PER_IP=0";
    let file = "/etc/default/openstudio-signaling";
    machine.ok(&["sh", "-c", &format!("echo '{settings}' >> {file}")]);
    // 32 MiB above what it has to start with.
    let size = format!("awk '/^VmSize/{{print $2}}' /proc/{}/status", machine.property("MainPID"));
    let size: u64 = machine.ok(&["sh", "-c", &size]).trim().parse().unwrap();
    let drop_in = format!("[Service]\\nLimitAS={}K\\n", size + 32 * 1024);
    let directory = "/etc/systemd/system/openstudio-signaling.service.d";
    let write = format!("mkdir {directory} && printf '{drop_in}' > {directory}/x.conf");
    machine.ok(&["sh", "-c", &write]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    let process = machine.property("MainPID");
    let mut client = machine.client();
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    let load = ConnectLoop::start();
    let part = support::frame(0x01, &vec![b'x'; 12 << 20]);
    let mut attackers: Vec<_> = (0..4).map(|_| machine.client()).collect();
    for attacker in &mut attackers {
        // The process may be gone in the middle of it.
        let _ = std::io::Write::write_all(&mut attacker.stream, &part);
    }
    machine.wait_until("a new process", || {
        let now = machine.property("MainPID");
        now != process && now != "0" && machine.property("ActiveState") == "active"
    });
    // It says why, and so does systemd.
    machine.wait_for_log("memory allocation of ");
    machine.wait_for_log("Main process exited, code=killed, status=6/ABRT");
    assert_eq!(machine.property("NRestarts"), "1", "{}", machine.log());
    machine.ok(&["openstudio-signaling", "check"]);
    // Who was connected sees the end, whatever TCP makes of it, and comes back.
    let _ = std::io::Read::read(&mut client.stream, &mut [0; 1]);
    let mut back = machine.client();
    assert!(back.ask(r#"{"type":"ping"}"#).contains("pong"));
    let tally = load.finish();
    println!("{suite}: out of memory: {tally:?}");
    assert!(tally.served >= 20, "{tally:?}");
    assert_eq!(tally.refused, 0, "{tally:?}");
    // The one that was being served when the process ended, at most.
    assert!(tally.broken <= 1, "{tally:?}");
}

fn bad_settings_fail_with_78_and_stay_down(suite: &str) {
    let machine = Machine::with_package(suite);
    let setting = "/etc/default/openstudio-signaling";
    machine.ok(&["sh", "-c", &format!("echo MAX_CONNECTIONS=many >> {setting}")]);
    assert!(!machine.run(&["systemctl", "restart", SERVICE]).status.success());
    assert_eq!(machine.property("ExecMainStatus"), "78");
    machine.wait_until("failed", || machine.property("ActiveState") == "failed");
    let line = format!("Invalid setting MAX_CONNECTIONS=\"many\" (from {setting} line ");
    let logged = machine.wait_for_log_with("PRIORITY=3", &line);
    assert!(logged.contains("must be a whole number from 1 to 1000000"), "{logged}");
    assert_eq!(machine.property("NRestarts"), "0");

    // A client starts it again and is turned away instead of waiting for ever; the socket survives that.
    for _ in 0..3 {
        let mut stream = support::connect(3000);
        assert!(!matches!(std::io::Read::read(&mut stream, &mut [0; 1]), Ok(1..)));
    }
    machine.wait_until("failed", || machine.property("ActiveState") == "failed");
    assert_eq!(machine.ok(&["systemctl", "is-active", SOCKET_UNIT]), "active\n");

    machine.ok(&["sed", "-i", "/=many/d", setting]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.ok(&["openstudio-signaling", "check"]);
}

fn stop_says_goodbye_to_clients(suite: &str) {
    let machine = Machine::with_package(suite);
    let mut clients: Vec<_> = (0..50).map(|_| machine.client()).collect();
    let leaving = std::thread::spawn(move || {
        let codes: Vec<_> = clients.iter_mut().map(support::Client::close_code).collect();
        clients.into_iter().for_each(|client| client.leave(1001));
        codes
    });
    machine.ok(&["systemctl", "stop", SERVICE]);
    assert_eq!(leaving.join().unwrap(), vec![Some(1001); 50]);
    assert_eq!(machine.property("ExecMainStatus"), "0");
    assert_eq!(machine.property("Result"), "success");
    machine.wait_for_log("Stopped cleanly after ");
    // The socket brings the service back for whoever connects next.
    machine.client().leave(1000);
}

/// A client that has more to read than the sockets take, and reads nothing of it.
fn deaf(machine: &Machine) -> support::Client {
    let id = |end: &str| format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{end}");
    let register = |client: &mut support::Client, end| {
        let text = format!(r#"{{"type":"register","peerId":"{}"}}"#, id(end));
        assert!(client.ask(&text).contains("registered"));
    };
    let (mut deaf, mut talker) = (machine.client(), machine.client());
    register(&mut deaf, "aa");
    register(&mut talker, "bb");
    let sdp = "x".repeat(60_000);
    let offer =
        format!(r#"{{"type":"offer","from":"{}","to":"{}","sdp":"{sdp}"}}"#, id("bb"), id("aa"));
    // Both sockets together hold 6 MiB at most; the rest waits in the outbox, which is larger here.
    for _ in 0..150 {
        talker.say(&offer);
    }
    assert!(talker.ask(r#"{"type":"ping"}"#).contains("pong"), "all of it has been passed on");
    talker.leave(1000);
    deaf
}

fn a_long_drain_gets_the_time_it_asks_for(suite: &str) {
    let machine = Machine::with_package(suite);
    let drop_in = "[Service]\\nTimeoutStopSec=3\\nWatchdogSec=2\\nEnvironment=SHUTDOWN_GRACE_MS=8000 RATE_LIMIT=0 MAX_OUTBOX_BYTES=100000000\\n";
    let directory = "/etc/systemd/system/openstudio-signaling.service.d";
    machine.ok(&[
        "sh",
        "-c",
        &format!("mkdir {directory} && printf '{drop_in}' > {directory}/x.conf"),
    ]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    let _deaf = deaf(&machine);
    let start = Instant::now();
    machine.run(&["systemctl", "stop", SERVICE]);
    assert!(start.elapsed() >= Duration::from_secs(8), "{:?}", start.elapsed());
    machine.wait_for_log("Forced to stop: the grace period is over");
    assert_eq!(machine.property("ExecMainStatus"), "1", "{}", machine.log());
    assert_eq!(machine.property("Result"), "exit-code");
}

fn a_stopped_journal_holds_nobody_up(suite: &str) {
    let machine = Machine::with_package(suite);
    machine.ok(&[
        "sh",
        "-c",
        "echo 'LOG_LEVEL=debug\nRATE_LIMIT=0' >> /etc/default/openstudio-signaling",
    ]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    let mut client = machine.client();
    let journald =
        machine.ok(&["systemctl", "show", "-p", "MainPID", "--value", "systemd-journald"]);
    let journald = journald.trim();
    machine.ok(&["sh", "-c", &format!("kill -STOP {journald}")]);
    // More than journald's socket, the queue and the writer's batch take together.
    for _ in 0..15_000 {
        assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    }
    machine.ok(&["sh", "-c", &format!("kill -CONT {journald}")]);
    let lines = machine.wait_for_log_with("PRIORITY=4", "log events were dropped");
    let line: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    println!("{suite}: {}", line["MESSAGE"]);
    client.leave(1000);

    // Not stopped, but gone: what is said meanwhile is counted as well.
    let units =
        ["systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service"];
    machine.wait_for_log("WebSocket client disconnected");
    let before =
        machine.ok(&["journalctl", "--no-pager", "-u", SERVICE, "PRIORITY=4"]).lines().count();
    machine.ok(&[&["systemctl", "stop"], &units[..]].concat());
    machine.ok(&["openstudio-signaling", "check"]);
    machine.ok(&[&["systemctl", "start"], &units[..]].concat());
    machine.wait_until("the count", || {
        machine.ok(&["openstudio-signaling", "check"]);
        machine.ok(&["journalctl", "--no-pager", "-u", SERVICE, "PRIORITY=4"]).lines().count()
            > before
    });
}

fn the_drop_in_examples_work(suite: &str) {
    let machine = Machine::with_package(suite);
    let examples = "/usr/share/doc/openstudio-signaling/examples";
    let install = |unit: &str, example: &str| {
        let directory = format!("/etc/systemd/system/{unit}.d");
        machine.ok(&["mkdir", "-p", &directory]);
        machine.ok(&["cp", &format!("{examples}/{example}"), &directory]);
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "restart", SOCKET_UNIT, SERVICE_UNIT]);
    };
    machine.ok(&["sh", "-c", "echo PORT=8080 >> /etc/default/openstudio-signaling"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.wait_for_log("PORT=8080 (/etc/default/openstudio-signaling line ");
    machine.wait_for_log("has no effect: systemd passed a socket that listens on [::]:3000");

    // The log's explanation has the commands that put it right.
    let catalog = include_str!("../../systemd/openstudio-signaling.catalog");
    let entry =
        catalog.split("\n-- ").find(|entry| entry.contains("has no effect, because systemd"));
    let commands = entry.unwrap().lines().filter_map(|line| line.strip_prefix("    "));
    let commands = commands.collect::<Vec<_>>().join("\n");
    assert!(commands.contains("restart"), "{commands}");
    machine.ok(&["sh", "-ec", &commands]);
    machine.ok(&["openstudio-signaling", "check", "ws://localhost:8080/"]);
    assert!(std::net::TcpStream::connect(("127.0.0.1", 3000)).is_err());
    install(SOCKET_UNIT, "privileged-port.conf");
    machine.ok(&["openstudio-signaling", "check", "ws://localhost:80/"]);
    install(SERVICE_UNIT, "direct-network.conf");
    machine.ok(&["openstudio-signaling", "check", "ws://localhost:80/"]);
    assert_eq!(machine.property("PrivateNetwork"), "no");
}

fn it_starts_where_unshare_is_blocked(suite: &str) {
    let machine = Machine::boot(suite, &["--system-call-filter=~unshare"]);
    machine.install();
    let unshare = ["systemd-run", "--quiet", "--wait", "unshare", "--mount", "true"];
    assert!(!machine.run(&unshare).status.success(), "unshare is blocked");
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ok(&["openstudio-signaling", "check"]);
}

fn it_serves_ipv4_where_there_is_no_ipv6(suite: &str) {
    let machine = Machine::with_package(suite);
    let unit = "--unit=without-ipv6";
    let families = "--property=RestrictAddressFamilies=AF_INET AF_UNIX";
    machine.ok(&["systemd-run", "--quiet", unit, families, "openstudio-signaling", "--port=4000"]);
    let log = || machine.ok(&["journalctl", "--no-pager", "-u", "without-ipv6"]);
    machine.wait_until("the port", || log().contains("Listening on 0.0.0.0:4000"));
    machine.ok(&["openstudio-signaling", "check", "ws://127.0.0.1:4000/"]);
}

fn purge_leaves_nothing_behind(suite: &str) {
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

fn the_as_installed_tests_pass(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    machine.install();
    let control = include_str!("../../debian/tests/control");
    let names = control.lines().find_map(|line| line.strip_prefix("Tests: ")).unwrap();
    for name in names.split(", ") {
        let output = machine.run(&[
            "sh",
            "-c",
            &format!("cd /tmp && AUTOPKGTEST_TMP=/tmp sh /source-tests/{name}"),
        ]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{name}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A page in Chromium connects to the installed service, asks, and reports what it heard.
fn a_browser_gets_its_pong(suite: &str) {
    let machine = Machine::with_package(suite);
    let heard = browser::hear(include_str!("page.html"));
    let lines: Vec<_> = heard.lines().collect();
    let [welcome, pong, closed] = &lines[..] else { panic!("{heard}") };
    assert_eq!(*welcome, support::WELCOME);
    assert!(pong.starts_with(r#"{"type":"pong","timestamp":"#), "{heard}");
    assert_eq!(*closed, "closed 1000 clean");
    machine.wait_for_log("close 1000 by client");
}
