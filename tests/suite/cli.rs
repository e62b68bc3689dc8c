//! The command line: settings, exit codes, `config`, a panic.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use openstudio_signaling::config::table::SETTINGS;
use openstudio_signaling::server::drain::Outcome;
use openstudio_signaling::server::serve::{Ended, serve};
use openstudio_signaling::signaling::handler::Signaling;
use openstudio_signaling::telemetry::journal::Journal;
use openstudio_signaling::telemetry::level::Level;
use rustix::process::Signal;

use crate::fetch::get;
use crate::paused;
use crate::process::binary;
use crate::support::{Client, Log, PATIENCE, Server};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        binary().args(arguments).envs(environment.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_value_that_cannot_be_is_78_and_a_line() {
    for (name, value) in [
        ("PORT", "65536"),
        ("HOST", "example.org"),
        ("LOG_LEVEL", "loud"),
        ("HEARTBEAT_MS", "0"),
        ("RATE_LIMIT", "-1"),
        ("MAX_CONNECTIONS", "0"),
        ("MAX_MESSAGE_BYTES", "1e3"),
        ("SHUTDOWN_GRACE_MS", "ten"),
    ] {
        let (code, _, stderr) = run(&[], &[(name, value)]);
        assert_eq!(code, Some(78), "{name}");
        let start =
            format!("[ERROR] Invalid setting {name}=\"{value}\" (from environment): must be ");
        assert!(stderr.contains(&start) && stderr.lines().count() == 1, "{stderr}");
        let flag = format!("--{}={value}", name.to_lowercase().replace('_', "-"));
        let (code, _, stderr) = run(&["serve", &flag], &[]);
        assert_eq!(code, Some(78));
        assert!(stderr.contains("(from command line): must be "), "{stderr}");
    }
}

#[test]
fn a_value_that_is_no_text_is_78() {
    use std::os::unix::ffi::OsStrExt;

    let bytes = std::ffi::OsStr::from_bytes(b"\xFF\xFE");
    let output = binary().env("PORT", bytes).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Invalid setting PORT="));
}

#[test]
fn a_secret_that_is_no_text_is_78_and_is_not_shown() {
    use std::os::unix::ffi::OsStrExt;

    for name in ["JWT_SECRET", "TURN_SECRET"] {
        let bytes = std::ffi::OsStr::from_bytes(b"hunter\xFF2");
        let output = binary().arg("config").env(name, bytes).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let log = String::from_utf8(output.stderr).unwrap();
        let line = format!(
            "Invalid setting {name}=(hidden) (from environment): is not UTF-8; must be a line of text, "
        );
        assert!(log.contains(&line) && !log.contains("hunter"), "{log}");
    }
    // Both at once, as `config` says them.
    let directory = tempfile::tempdir().unwrap();
    for name in ["jwt-secret", "turn-secret"] {
        std::fs::write(directory.path().join(name), b"hunter\xFF2\n").unwrap();
    }
    let credentials = [("CREDENTIALS_DIRECTORY", directory.path().to_str().unwrap())];
    let (code, _, stderr) = run(&["config"], &credentials);
    assert_eq!((code, stderr.lines().count()), (Some(78), 2), "{stderr}");
    assert!(stderr.contains("/turn-secret): is not UTF-8; ") && !stderr.contains("hunter"));
}

#[test]
fn more_clients_than_descriptors_is_a_warning() {
    let server = Server::start(&[("MAX_CONNECTIONS", "1000000")]);
    server
        .log
        .wait_for("[WARN] MAX_CONNECTIONS=1000000 is more than the limit of open files allows: ");
}

#[test]
fn no_socket_from_systemd_is_1_with_the_fix() {
    let environment = [("NOTIFY_SOCKET", "/nonexistent"), ("HOST", "192.0.2.1")];
    let (code, _, stderr) = run(&[], &environment);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("[ERROR] systemd passed no socket"), "{stderr}");
    assert!(stderr.contains("systemctl restart openstudio-signaling.socket"), "{stderr}");
}

#[test]
fn a_settings_file_need_not_be_utf8_in_its_comments() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings");
    std::fs::write(&path, b"# Gr\xFCn\nRATE_LIMT=5\n").unwrap();
    let file = format!("--settings-file={}", path.display());
    let (code, _, stderr) = run(&["config", &file], &[]);
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("Unknown setting RATE_LIMT in "), "{stderr}");
    assert!(stderr.ends_with(" line 2 is ignored; did you mean RATE_LIMIT?\n"), "{stderr}");
    std::fs::write(&path, "COLOUR=red\n").unwrap();
    let (_, _, stderr) = run(&["config", &file], &[]);
    assert!(stderr.ends_with(" line 1 is ignored\n"), "{stderr}");
    std::fs::write(&path, b"RATE_LIMIT=\xFC\nexport HOST=x\n").unwrap();
    let (code, _, stderr) = run(&["config", &file], &[]);
    assert_eq!(code, Some(78));
    assert!(stderr.contains("Invalid line \"export HOST=x\""), "{stderr}");
}

#[test]
fn a_port_in_use_is_1_and_a_line() {
    let taken = TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, stderr) = run(&["--port", &port], &[]);
    assert_eq!(code, Some(1));
    let expected = format!("[ERROR] Cannot listen on HOST=:: PORT={port}: Address already in use");
    assert!(stderr.contains(&expected) && stderr.contains("set PORT to a free one"), "{stderr}");
}

#[test]
fn host_chooses_the_address() {
    let server = Server::start(&[("HOST", "127.0.0.1")]);
    assert!(std::net::TcpStream::connect(("::1", server.port)).is_err());
    server.log.wait_for(&format!("Listening on 127.0.0.1:{}", server.port));
    server.client();
}

#[test]
fn an_empty_value_is_unset() {
    let server = Server::start(&[("LOG_LEVEL", ""), ("HOST", ""), ("RATE_LIMIT", "")]);
    server.log.wait_for("Listening on [::]:");
}

#[test]
fn unknown_arguments_are_2() {
    assert_eq!(run(&["--prot", "1"], &[]).0, Some(2));
    assert_eq!(run(&["fly"], &[]).0, Some(2));
}

#[test]
fn help_and_version_can_be_read() {
    let (code, stdout, _) = run(&["--version"], &[]);
    let version = concat!("openstudio-signaling ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((code, stdout.as_str()), (Some(0), version));
    let (code, help, _) = run(&["--help"], &[]);
    assert_eq!(code, Some(0));
    for part in [
        "serve",
        "check",
        "config",
        "invite",
        "--port <PORT>",
        "a whole number from 0 to 65535; default: 3000]",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
    for setting in SETTINGS {
        let part = format!("{} [{}; default: {}]", setting.help, setting.allowed, setting.default);
        assert!(help.contains(&part), "{part} in {help}");
    }
}

#[test]
fn config_says_where_each_value_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings");
    std::fs::write(&path, "LOG_LEVEL=warn\nHEARTBEAT_MS=1000\n").unwrap();
    let file = format!("--settings-file={}", path.display());
    let (code, stdout, _) =
        run(&["config", &file, "--port=81"], &[("LOG_LEVEL", "error"), ("HOST", "::1")]);
    assert_eq!(code, Some(0));
    let origin = |name: &str| {
        let line = stdout.lines().find(|line| line.starts_with(name)).unwrap();
        line.split(" # ").map(|part| part.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(origin("PORT="), ["PORT=81", "command line"]);
    assert_eq!(origin("HOST="), ["HOST=::1", "environment"]);
    assert_eq!(origin("LOG_LEVEL="), ["LOG_LEVEL=error", "environment"]);
    let line = format!("{} line 2", path.display());
    assert_eq!(origin("HEARTBEAT_MS="), ["HEARTBEAT_MS=1000", line.as_str()]);
    assert_eq!(origin("RATE_LIMIT="), ["RATE_LIMIT=100", "default"]);
    // A default in words is a comment: as a value it would be invalid.
    assert_eq!(
        origin("# WEB_ROOT "),
        ["# WEB_ROOT is /usr/share/openstudio-web, where it exists", "default"]
    );
    assert!(!stdout.contains("WEB_ROOT="), "{stdout}");
    let (code, _, stderr) = run(&["config", &file, "--port=x"], &[]);
    assert_eq!(code, Some(78));
    assert!(stderr.contains("Invalid setting PORT=\"x\""), "{stderr}");
}

#[test]
fn a_reload_takes_the_log_level_and_keeps_it_when_the_file_is_bad() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings");
    std::fs::write(&path, "LOG_LEVEL=info\nLOGLEVEL=debug\n").unwrap();
    let file = format!("--settings-file={}", path.display());
    let server = Server::spawn(binary().args(["--port=0", &file]));
    let place = format!("Unknown setting LOGLEVEL in {} line 2 is ignored; ", path.display());
    let line = server.log.wait_for(&place);
    let fix = "did you mean LOG_LEVEL? `openstudio-signaling config` lists the known ones";
    assert!(line.ends_with(fix), "{line}");
    let mut client = server.client();
    let ping = r#"{"type":"ping"}"#;
    client.ask(ping);
    client.ask(ping);
    assert_eq!(server.log.count("[DEBUG]"), 0);

    std::fs::write(&path, "\nLOG_LEVEL=debug\nRATE_LIMIT=7\nCOLOUR=red\nport=0\n").unwrap();
    server.signal(Signal::HUP);
    server.log.wait_for("Unknown setting port in ");
    let line = server.log.wait_for("Unknown setting COLOUR in ");
    assert!(
        line.ends_with(" line 4 is ignored; `openstudio-signaling config` lists the known ones")
    );
    assert_eq!(server.log.count("did you mean PORT?"), 1);
    server.log.wait_for("[WARN] RATE_LIMIT=7 needs a restart");
    server.log.wait_for(&format!("Reloaded: log level is debug (from {} line 2)", path.display()));
    client.ask(ping);
    server.log.wait_for("[DEBUG] Received message: ping");

    std::fs::write(&path, "LOG_LEVEL=loud\n").unwrap();
    server.signal(Signal::HUP);
    let line =
        server.log.wait_for("[ERROR] Reload failed for the settings, the old value stays in use: ");
    assert!(line.contains("LOG_LEVEL=\"loud\""), "{line}");
    client.ask(ping);
    client.leave(1000);
    server.log.wait_for("disconnected");
    assert_eq!(server.log.count("[DEBUG] Received message: ping"), 2);
}

#[test]
fn a_reload_takes_half_a_pair_for_one_with_a_credential() {
    // ExecReload= sees no credentials of the service: on Debian 12 it may not, on 13 it is not told of them.
    for given in ["TLS_CERT", "TLS_KEY"] {
        let (code, _, stderr) = run(&["config", "--reload"], &[(given, "/somewhere")]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{given}");
        assert_eq!(run(&["config"], &[(given, "/somewhere")]).0, Some(78), "{given}");
    }
    // A whole pair is looked at.
    let pair = [("TLS_CERT", "/somewhere"), ("TLS_KEY", "/somewhere")];
    assert_eq!(run(&["config", "--reload"], &pair).0, Some(78));
}

#[test]
fn a_reload_takes_each_thing_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (settings, manifest, root) = (path("settings"), path("station.json"), path("web"));
    let write_settings = |more: &str| {
        let (manifest, root) = (manifest.display(), root.display());
        let text = format!("STATION_MANIFEST={manifest}\nWEB_ROOT={root}\n{more}\n");
        std::fs::write(&settings, text).unwrap();
    };
    let write_manifest = |id: &str| {
        let text = format!(
            r#"{{"stationId":"{id}","name":"x","signaling":{{"url":"wss://c/"}},"ice":{{"stun":["stun:d"]}}}}"#
        );
        std::fs::write(&manifest, text).unwrap();
    };
    let config = || {
        let mut command = binary();
        command.args(["config", "--reload"]).arg("--settings-file").arg(&settings).output().unwrap()
    };
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("index.html"), "the studio").unwrap();
    write_settings("");
    write_manifest("north");
    let server = Server::spawn(binary().arg("--port=0").arg("--settings-file").arg(&settings));
    let reload = || server.signal(Signal::HUP);
    assert!(config().status.success());

    // A deployment swaps the directory of the studio's page: that is nothing that a reload applies.
    std::fs::rename(&root, path("old")).unwrap();
    write_manifest("south");
    assert!(config().status.success());
    reload();
    server.log.wait_for("[WARN] WEB_ROOT has no ");
    server.log.wait_for("log level is info (from default), station is south, certificate is none");
    std::fs::rename(path("old"), &root).unwrap();
    assert_eq!(get(server.port, "/").body, "the studio");

    // A setting that needs a restart, and could not have one.
    write_settings("RATE_LIMIT=abc\nLOG_LEVEL=warn");
    write_manifest("east");
    let refused = config();
    assert_eq!(refused.status.code(), Some(78));
    let limit = r#"Invalid setting RATE_LIMIT="abc""#;
    assert!(String::from_utf8(refused.stderr).unwrap().starts_with(limit));
    reload();
    server.log.wait_for(&format!(
        "[ERROR] Reload failed for the settings, the old value stays in use: {limit}"
    ));
    let station = || get(server.port, "/api/station").body;
    let wait_for = |id: &str| {
        while !station().contains(id) {
            std::thread::yield_now();
        }
    };
    wait_for("east");
    assert_eq!(server.log.count("station is east"), 0, "the log level was applied: warn");

    // Unreadable settings: the old ones say where the manifest is.
    std::fs::write(&settings, "nonsense\n").unwrap();
    write_manifest("west");
    assert_eq!(config().status.code(), Some(78));
    reload();
    server.log.wait_for(
        r#"Reload failed for the settings, the old value stays in use: Invalid line "nonsense""#,
    );
    wait_for("west");

    // A manifest that is wrong keeps the log level in.
    write_settings("LOG_LEVEL=info");
    std::fs::write(&manifest, "{").unwrap();
    assert_eq!(config().status.code(), Some(78));
    reload();
    server.log.wait_for("Reload failed for the station manifest, the old value stays in use: ");
    server.log.wait_for("log level is info (from ");
    assert!(station().contains("west"));
}

/// Serves with the real parts beside `trouble`, which gets the runtime once standard input says so: what
/// the children of the tests below run.
fn serve_with(trouble: impl FnOnce() + Send + 'static) -> ! {
    let (journal, writer) = Journal::start(Level::Info).unwrap();
    let service = paused::service(journal);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (told, go) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_line(&mut String::new()).unwrap();
        told.send(()).unwrap();
    });
    runtime.spawn(async move {
        go.await.unwrap();
        trouble();
    });
    let ended = runtime.block_on(serve::<Signaling>(service)).unwrap();
    runtime.shutdown_timeout(Duration::from_secs(1));
    writer.finish(Duration::from_secs(1));
    std::process::exit(i32::from(!matches!(ended, Ended::Over(Outcome::Clean))));
}

/// Starts a test of this file as a process with its log; a line on its standard input makes the trouble.
fn child(test: &str, environment: &[(&str, &str)]) -> (Child, Log, u16) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let log = Log::follow(child.stderr.take().unwrap());
    let line = log.wait_for("Listening on ");
    let port = line.split(" (bound").next().unwrap().rsplit(':').next().unwrap();
    (child, log, port.parse().unwrap())
}

#[test]
#[ignore = "runs as a child of another test"]
fn panicking_server() {
    serve_with(|| panic!("the test asked\nfor it"));
}

#[test]
fn a_panic_is_one_critical_event() {
    let (mut child, log, port) = child("cli::panicking_server", &[]);
    let mut client = Client::open(port);
    client.text();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(client.close_code(), Some(1011));
    client.leave(1011);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let line = log.wait_for("[CRIT] Internal error");
    assert!(line.contains("the test asked for it (at tests/suite/cli.rs:"), "{line}");
    assert_eq!(log.count("[CRIT]"), 1);
}

#[test]
#[ignore = "runs as a child of another test"]
fn stuck_server() {
    // The only worker never comes back.
    serve_with(|| {
        eprintln!("The runtime is stuck");
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn the_watchdog_is_not_pinged_when_the_runtime_is_stuck() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let environment = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "200000"),
        ("WATCHDOG_PID", ""),
    ];
    let (mut child, log, _) = child("cli::stuck_server", &environment);
    let mut buffer = [0; 100];
    while !buffer.starts_with(b"WATCHDOG=1") {
        socket.recv(&mut buffer).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    log.wait_for("The runtime is stuck");
    let line = log.wait_for("[ERROR] Watchdog ping withheld: ");
    assert!(line.contains(" has not answered for "), "{line}");
    // What came before is read.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut buffer).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    // The watchdog looks every 50 ms. What was answered before may lead to one ping.
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let pings = std::iter::from_fn(|| socket.recv(&mut buffer).ok()).take(2).count();
    assert!(pings < 2, "it goes on being pinged");
    let said = log.count("Watchdog ping withheld");
    assert!(socket.recv(&mut buffer).is_err());
    assert_eq!(log.count("Watchdog ping withheld"), said, "not said at each look");
    child.kill().unwrap();
    child.wait().unwrap();
}
