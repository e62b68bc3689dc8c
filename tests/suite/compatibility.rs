//! What operators of 0.1.0 have in settings, dashboards, alerts and scripts: each is still there.
//!
//! Owns what "still there" means. It deliberately does not know how 0.1.0 came to have it: the lists are in
//! tests/compatibility, and tests/machine/compatibility.rs holds them against 0.1.0 itself.

use std::fs;
use std::net::TcpListener;

use openstudio_signaling::telemetry::events::Event;

use crate::fetch::get;
use crate::process::binary;
use crate::secure::certificate;
use crate::support::Server;

const SETTINGS: &str = include_str!("../compatibility/0.1.0/settings");
const METRICS: &str = include_str!("../compatibility/0.1.0/metrics");
const MESSAGE_IDS: &str = include_str!("../compatibility/0.1.0/message-ids");
const OPTIONS: &str = include_str!("../compatibility/0.1.0/options");

/// Runs the program to its end: its exit code, and what it said.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = binary().args(arguments).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_setting_is_known_with_the_values_that_it_could_have() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    certificate(directory.path(), "fullchain.pem", "privkey.pem");
    let manifest = include_str!("../../packaging/station-manifest.sample.json");
    fs::write(directory.path().join("station-manifest.json"), manifest).unwrap();
    let settings = SETTINGS.replace("@DIR@", path);
    let pair = settings.lines().filter(|line| line.starts_with("TLS_")).collect::<Vec<_>>();
    let file = directory.path().join("settings");
    for line in settings.lines() {
        let lines = if line.starts_with("TLS_") { pair.join("\n") } else { line.to_owned() };
        fs::write(&file, lines).unwrap();
        let (name, value) = line.split_once('=').unwrap();
        let config = ["config", "--settings-file", file.to_str().unwrap()];
        let (code, stdout, stderr) = run(&config, &[]);
        assert_eq!(code, Some(0), "{line}: {stderr}");
        assert!(!stderr.contains("Unknown setting"), "{line}: {stderr}");
        let value = if name.ends_with("_SECRET") { "(hidden)" } else { value };
        assert!(stdout.contains(&format!("\n{name}={value} ")), "{line}: {stdout}");
        // As a variable, and as a flag.
        let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
        assert!(run(&["serve", "--help"], &[]).1.contains(&format!("{flag} <")), "{flag}");
    }
    for (credential, name) in [("jwt-secret", "JWT_SECRET"), ("turn-secret", "TURN_SECRET")] {
        fs::write(directory.path().join(credential), "thirty-two bytes or more, as it should be")
            .unwrap();
        let (_, stdout, _) = run(&["config"], &[("CREDENTIALS_DIRECTORY", path)]);
        let line = format!("{name}=(hidden)");
        let line = stdout.lines().find(|found| found.starts_with(&line)).unwrap();
        assert!(line.ends_with(&format!("# credential {path}/{credential}")), "{line}");
    }
}

#[test]
fn every_metric_has_its_name_and_its_labels() {
    let server = Server::start(&[]);
    let text = get(server.port, "/metrics").body;
    for line in METRICS.lines() {
        let is_there = match line.starts_with('#') {
            true => text.lines().any(|found| found == line),
            false => {
                text.lines().any(|found| found.rsplit_once(' ').is_some_and(|(s, _)| s == line))
            }
        };
        assert!(is_there, "{line} is not in {text}");
    }
}

#[test]
fn every_event_has_its_id_and_its_fields() {
    assert_eq!(MESSAGE_IDS.lines().count(), 51);
    for line in MESSAGE_IDS.lines() {
        let mut words = line.split(' ');
        let (id, level) = (words.next().unwrap(), words.next().unwrap());
        let kind = Event::KINDS.iter().find(|kind| kind.message_id == id);
        let kind = kind.unwrap_or_else(|| panic!("{id} is gone"));
        assert_eq!(format!("{:?}", kind.level), level, "{}", kind.name);
        for field in words {
            assert!(kind.fields.contains(&field), "{} has no {field}", kind.name);
        }
    }
}

#[test]
fn every_command_takes_its_options_and_ends_with_its_exit_codes() {
    for line in OPTIONS.lines() {
        let (command, option) = line.split_once(' ').unwrap();
        let help = run(&[command, "--help"], &[]).1;
        let is_there = help.split([' ', '\n', ',']).any(|word| word == option);
        assert!(is_there, "{command} has no {option}: {help}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(run(&["check", &format!("ws://{closed}/")], &[]).0, Some(1));
    assert_eq!(run(&["--no-such-option"], &[]).0, Some(2));
    assert_eq!(run(&["config", "--port=none"], &[]).0, Some(78));
    assert_eq!(run(&["config"], &[]).0, Some(0));
    assert_eq!(Server::start(&[]).stop(), Some(0));
}

#[test]
fn an_outbox_that_0_1_0_took_is_raised_and_the_log_says_so() {
    let server = Server::start(&[("MAX_MESSAGE_BYTES", "2097152")]);
    server.log.wait_for(
        "[WARN] MAX_OUTBOX_BYTES=1048576 (from default) cannot hold one message of MAX_MESSAGE_BYTES=2097152 \
         (from environment): 2097258 bytes are used; set MAX_OUTBOX_BYTES to that at least, or lower MAX_MESSAGE_BYTES",
    );
    let raised = [("MAX_OUTBOX_BYTES", "2097258"), ("MAX_MESSAGE_BYTES", "2097152")];
    let (code, _, stderr) = run(&["config"], &raised);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let (code, _, stderr) = run(&["config"], &[("MAX_OUTBOX_BYTES", "65536")]);
    assert!(code == Some(0) && stderr.contains("65642 bytes are used"), "{stderr}");
}
