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
use crate::support::Client;

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

/// A host with the invite of this token, on air.
fn host(machine: &Machine, token: &str) -> Client {
    let mut host = machine.client();
    host.ask(&format!(r#"{{"type":"register","peerId":"{HOST}"}}"#));
    let enter = format!(r#"{{"type":"create-or-join-room","inviteToken":"{token}"}}"#);
    assert!(host.ask(&enter).contains(r#""role":"host""#));
    let started = host.ask(r#"{"type":"start-stream"}"#);
    assert!(started.contains("stream-started"), "{started}");
    host
}

fn send(host: &mut Client, recording: &[u8]) {
    let chunk = STANDARD.encode(recording);
    let ack = host.ask(&format!(r#"{{"type":"stream-chunk","chunk":"{chunk}"}}"#));
    assert!(ack.contains("chunk-ack"), "{ack}");
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

    let mut host = host(&machine, token);
    machine.wait_for_log("Icecast takes the programme: http://127.0.0.1:8000/live.ogg");
    send(&mut host, &recording());
    // This thread is in the machine's network.
    let mut listener = TcpStream::connect("127.0.0.1:8000").unwrap();
    listener.write_all(b"GET /live.ogg HTTP/1.0\r\n\r\n").unwrap();
    let mut heard = vec![0; 8_000];
    listener.read_exact(&mut heard).unwrap();
    let at_icecast = String::from_utf8_lossy(&heard);
    assert!(at_icecast.contains("200 OK") && at_icecast.contains("OpusHead"), "{at_icecast:.500}");

    // Icecast goes away and comes back: the programme goes on by itself.
    machine.ok(&["systemctl", "restart", "icecast2"]);
    machine.wait_for_log("Nobody hears the programme: ");
    let mut news = host.text();
    assert!(news.contains("stream-error"), "{news}");
    while !news.contains("stream-started") {
        news = host.text();
    }
    // What a listener gets by way of the service, and what check says of it.
    let mut listener = TcpStream::connect("127.0.0.1:3000").unwrap();
    listener.write_all(b"GET /stream/live.opus HTTP/1.1\r\nHost: studio\r\n\r\n").unwrap();
    listener.read_exact(&mut heard).unwrap();
    let by_the_service = String::from_utf8_lossy(&heard);
    assert!(by_the_service.starts_with("HTTP/1.1 200 OK\r\n"), "{by_the_service:.500}");
    assert!(by_the_service.contains("OpusHead"), "{by_the_service:.500}");
    let said = machine.ok(&["openstudio-signaling", "check"]);
    assert!(said.contains("✓ icecast    it takes the programme that is on air"), "{said}");
    let said = machine.run(&["openstudio-signaling", "check", "--listen", "--seconds=2"]);
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("✓ audio") && said.contains("✓ gaps       none"), "{said}");
    // A restart goes unheard: neither connection to Icecast is made anew.
    let taken = |machine: &Machine| machine.log().matches("Icecast takes the programme").count();
    let before = taken(&machine);
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.wait_for_log("Took over 1 client in 1 room,");
    send(&mut host, &recording());
    let mut more = vec![0; 20_000];
    listener.read_exact(&mut more).unwrap();
    assert_eq!(taken(&machine), before);
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
    host.leave(1000);
    is_archived(&machine, token);
    goes_to_another_address(&machine, token);
}

/// A directory that the sandbox hides is no setting; by the commands of the page it is one.
fn is_archived(machine: &Machine, token: &str) {
    let settings = "/etc/default/openstudio-signaling";
    let set = format!(
        "cp {settings} /saved && echo ARCHIVE_DIR=/srv/hidden >> {settings}
        install -d -o openstudio-signaling /srv/hidden"
    );
    machine.ok(&["sh", "-c", &set]);
    machine.run(&["systemctl", "restart", SERVICE]);
    machine.wait_for_log(r#"Invalid setting ARCHIVE_DIR="/srv/hidden""#);
    let line = machine.log();
    let line = line.lines().find(|line| line.contains("ARCHIVE_DIR")).unwrap();
    assert!(
        line.contains("Read-only file system") && line.contains("ReadWritePaths=-/srv/hidden"),
        "{line}"
    );
    machine.wait_for_property("ExecMainStatus", "78");
    machine.ok(&["cp", "/saved", settings]);
    machine.ok(&["bash", "-ec", &commands(part(PAGE, "The archive")).join("\n")]);
    let mut host = self::host(machine, token);
    send(&mut host, &recording());
    assert!(host.ask(r#"{"type":"stop-stream"}"#).contains("stream-stopped"));
    machine.wait_for_log(" is complete (");
    // As somebody who is no one in particular.
    let name = machine.ok(&["ls", "/srv/archive"]);
    assert!(name.trim().ends_with("Z-1.ogg"), "{name}");
    let read = ["runuser", "-u", "nobody", "--", "head", "-c4"];
    let path = format!("/srv/archive/{}", name.trim());
    assert_eq!(machine.ok(&[&read[..], &[&path]].concat()), "OggS");
    host.leave(1000);
}

/// With the drop-in of the page, for an Icecast that is nowhere else.
fn goes_to_another_address(machine: &Machine, token: &str) {
    let part = part(PAGE, "Icecast on another machine");
    let (drop_in, apply) = part.split_once("```ini\n").unwrap().1.split_once("```").unwrap();
    let path = drop_in.lines().next().unwrap().strip_prefix("# ").unwrap();
    let drop_in = drop_in.replace("192.0.2.10", "127.0.0.2");
    let (directory, _) = path.rsplit_once('/').unwrap();
    let script = format!(
        "sed -i 's|<port>8000</port>|&<bind-address>127.0.0.2</bind-address>|' /etc/icecast2/icecast.xml
        mkdir -p {directory}
        cat > {path} <<'END'\n{drop_in}\nEND
        sed -i 's|@127.0.0.1:8000|@127.0.0.2:8000|' /etc/default/openstudio-signaling
        systemctl restart icecast2"
    );
    machine.ok(&["bash", "-ec", &script]);
    let apply = commands(apply).join("\n");
    assert!(apply.contains(&format!("{WAY}.service")), "{apply}");
    machine.ok(&["bash", "-ec", &apply]);
    assert!(TcpStream::connect("127.0.0.1:8000").is_err(), "Icecast is elsewhere");
    let host = self::host(machine, token);
    machine.wait_for_log("Icecast takes the programme: http://127.0.0.2:8000/live.ogg");
    host.leave(1000);
}
