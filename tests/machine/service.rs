//! The installed service under restarts, crashes and stops. It deliberately does not know how it came there.

use std::time::{Duration, Instant};

use crate::booted::{Machine, SERVICE, SOCKET_UNIT};
use crate::fetch::get;
use crate::load::ConnectLoop;
use crate::support::{self, Client};
use crate::talk;

pub fn restarts_and_reloads_refuse_nobody(suite: &str) {
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

pub fn crashes_and_hangs_are_restarted(suite: &str) {
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
pub fn memory_that_runs_out_is_a_restart(suite: &str) {
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
    let part = talk::frame(0x01, &vec![b'x'; 12 << 20]);
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

pub fn bad_settings_fail_with_78_and_stay_down(suite: &str) {
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

pub fn stop_says_goodbye_to_clients(suite: &str) {
    let machine = Machine::with_package(suite);
    let mut clients: Vec<_> = (0..50).map(|_| machine.client()).collect();
    let leaving = std::thread::spawn(move || {
        let codes: Vec<_> = clients.iter_mut().map(Client::close_code).collect();
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
fn deaf(machine: &Machine) -> Client {
    let id = |end: &str| format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{end}");
    let register = |client: &mut Client, end| {
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

pub fn a_long_drain_gets_the_time_it_asks_for(suite: &str) {
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

pub fn a_stopped_journal_holds_nobody_up(suite: &str) {
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

    // Not stopped, but gone: what is said meanwhile is counted as well. Whatever starts the journal again ends that.
    let units =
        ["systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service"];
    let before = dropped();
    machine.wait_until("an event that no journal takes", || {
        machine.ok(&[&["systemctl", "stop"], &units[..]].concat());
        machine.ok(&["openstudio-signaling", "check"]);
        dropped() > before
    });
    machine.ok(&[&["systemctl", "start"], &units[..]].concat());
    machine.wait_until("the count", || {
        machine.ok(&["openstudio-signaling", "check"]);
        let lines = machine.ok(&["journalctl", "-u", SERVICE, "PRIORITY=4", "-o", "cat"]);
        let counts = lines.lines().filter_map(|line| line.split_once(" log events were dropped"));
        counts.map(|(count, _)| count.parse::<u64>().unwrap()).sum::<u64>() == dropped()
    });

    // A restart of it is nothing: whoever is there stays, and what is said after it is written.
    let mut client = machine.client();
    let process = machine.property("MainPID");
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    let id = "f47ac10b-58cc-4372-a567-0e02b2c3d4ee";
    assert!(client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#)).contains(id));
    machine.wait_for_log_with(&format!("PEER_ID={id}"), id);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert_eq!(machine.property("MainPID"), process);
    client.leave(1000);
}

/// How many events were dropped, as the metrics say.
fn dropped() -> u64 {
    let metrics = get(3000, "/metrics").body;
    let name = "openstudio_signaling_log_events_dropped_total ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}
