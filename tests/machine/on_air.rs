//! The programme on an installed machine: by the commands of docs/on-air.md, through the shipped units, to Debian's Icecast.
//!
//! Owns that a listener hears what a host sends. It deliberately does not know what is in a recording.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::booted::{Machine, SERVICE};
use crate::docs::{commands, part};

const PAGE: &str = include_str!("../../docs/on-air.md");
const HOST: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
const WAY: &str = "openstudio-signaling-icecast";

/// A second of WebM.
fn recording() -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-f", "lavfi", "-i", "sine=duration=1:sample_rate=48000"]);
    command.args(["-ac", "2", "-c:a", "libopus", "-f", "webm", "-live", "1", "-"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn a_programme_goes_out_of_the_sandbox(suite: &str) {
    let machine = Machine::with_package(suite);
    for unit in ["socket", "service"] {
        let state = machine.run(&["systemctl", "is-enabled", &format!("{WAY}.{unit}")]);
        assert_ne!(
            String::from_utf8_lossy(&state.stdout).trim(),
            "enabled",
            "for those who want it"
        );
    }
    // One terminal: a later block knows what an earlier one has set.
    let script = commands(part(PAGE, "Icecast on the same machine")).join("\n");
    let said = machine.ok(&[
        "bash",
        "-ec",
        &format!(
            "export DEBIAN_FRONTEND=noninteractive\n{}",
            script.replace("apt install", "apt-get -y install")
        ),
    ]);
    let link = said.lines().find_map(|line| line.strip_prefix("Studio: ")).unwrap();
    let token = link.split("?token=").nth(1).unwrap();

    let mut host = machine.client();
    host.ask(&format!(r#"{{"type":"register","peerId":"{HOST}"}}"#));
    let enter = format!(r#"{{"type":"create-or-join-room","inviteToken":"{token}"}}"#);
    assert!(host.ask(&enter).contains(r#""role":"host""#));
    let started = host.ask(r#"{"type":"start-stream"}"#);
    assert!(started.contains("stream-started"), "{started}");
    machine.wait_for_log("Icecast takes the programme: http://127.0.0.1:8000/live.ogg");
    let chunk = STANDARD.encode(recording());
    let ack = host.ask(&format!(r#"{{"type":"stream-chunk","chunk":"{chunk}"}}"#));
    assert!(ack.contains("chunk-ack"), "{ack}");
    // This thread is in the machine's network.
    let mut listener = TcpStream::connect("127.0.0.1:8000").unwrap();
    listener.write_all(b"GET /live.ogg HTTP/1.0\r\n\r\n").unwrap();
    let mut heard = vec![0; 8_000];
    listener.read_exact(&mut heard).unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.contains("200 OK") && heard.contains("OpusHead"), "{heard:.500}");

    // Icecast goes away and comes back: the programme goes on by itself.
    machine.ok(&["systemctl", "restart", "icecast2"]);
    machine.wait_for_log("Nobody hears the programme: ");
    let mut news = host.text();
    assert!(news.contains("stream-error"), "{news}");
    while !news.contains("stream-started") {
        news = host.text();
    }
    // How exposed the units are, by systemd's own judgement.
    for (unit, most) in [(SERVICE, 0.4), (WAY, 0.9)] {
        let security = machine.ok(&["systemd-analyze", "security", "--no-pager", unit]);
        let level = security.lines().rev().find(|line| line.contains("exposure level")).unwrap();
        let level: f64 =
            level.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(level <= most, "{unit}: {level}");
    }
    let all = machine.ok(&["journalctl", "--no-pager", "-o", "export"]);
    let password = machine.ok(&["cat", "/etc/openstudio-signaling/secrets/icecast-password"]);
    assert!(!all.contains(password.trim()), "the password is in the journal");
}
