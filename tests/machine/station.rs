//! The station of an installed service: its manifest and its secrets, as an operator sets them.

use serde_json::Value;

use crate::booted::{Machine, SERVICE};
use crate::fetch;
use crate::support::Client;

const HOST: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
const GUEST: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
const MANIFEST: &str = "/etc/openstudio-signaling/station-manifest.json";
const EXAMPLES: &str = "/usr/share/doc/openstudio-signaling/examples";

fn ask(client: &mut Client, text: &str) -> Value {
    serde_json::from_str(&client.ask(text)).unwrap()
}

/// A registered client in a room.
fn enter(machine: &Machine, id: &str, fields: &str) -> (Client, Value) {
    let mut client = machine.client();
    ask(&mut client, &format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    let entered = ask(&mut client, &format!(r#"{{"type":"create-or-join-room"{fields}}}"#));
    (client, entered)
}

pub fn invites_survive_a_restart(suite: &str) {
    let machine = Machine::with_package(suite);
    let state = "/var/lib/openstudio-signaling";
    let secret = format!("{state}/jwt-secret");
    machine.wait_for_log(&format!("Made a secret for invites and room tokens: {secret}"));
    let modes = machine.ok(&["stat", "-L", "-c", "%a %U", state, &secret]);
    assert_eq!(modes, "700 openstudio-signaling\n600 openstudio-signaling\n");
    let (mut host, created) = enter(&machine, HOST, r#","roomId":"show","role":"host""#);
    assert_eq!(created["role"], "host", "{created}");
    let invite = ask(&mut host, r#"{"type":"request-invite","inviteRole":"ops"}"#);
    let invite = invite["inviteToken"].as_str().unwrap();
    let leaving = std::thread::spawn(move || {
        assert_eq!(host.close_code(), Some(1001));
        host.leave(1001);
    });
    machine.ok(&["systemctl", "restart", SERVICE]);
    leaving.join().unwrap();
    let (guest, entered) = enter(&machine, GUEST, &format!(r#","inviteToken":"{invite}""#));
    assert_eq!((&entered["role"], &entered["roomId"]), (&"ops".into(), &"show".into()));
    guest.leave(1000);
    machine.wait_for_log_with(&format!("PEER_ID={GUEST}"), "Room left: show");
    let roles = machine.ok(&["journalctl", "--no-pager", "-u", SERVICE, "ROLE=ops"]);
    assert!(roles.contains("Invite made: to room show as ops"), "{roles}");
    let secret = machine.ok(&["cat", &secret]);
    let log = machine.ok(&["journalctl", "--no-pager", "-o", "export"]);
    assert!(!log.contains(secret.trim()) && !log.contains(invite), "a secret is in the journal");
    // Nor is it in a core dump, which the process does not leave.
    let process = machine.property("MainPID");
    machine.ok(&["sh", "-c", &format!("kill -ABRT {process}")]);
    machine.wait_for_log("code=killed, status=6/ABRT");
    machine.client().leave(1000);
}

pub fn secrets_and_the_manifest_are_set(suite: &str) {
    let machine = Machine::with_package(suite);
    let sh = |script: &str| machine.ok(&["sh", "-ec", script]);
    machine.wait_for_log("No station manifest at /etc/openstudio-signaling/station-manifest.json");
    sh("install -d -m 700 /etc/openstudio-signaling/secrets
        cd /etc/openstudio-signaling/secrets
        umask 077; printf 'a key of thirty-two bytes and more\\n' > jwt-secret
        printf 'north\\n' > turn-secret");
    let drop_ins = "/etc/systemd/system/openstudio-signaling.service.d";
    sh(&format!("mkdir -p {drop_ins}; cp {EXAMPLES}/secrets.conf {drop_ins}"));
    let turn = r#""turn": [{"urls": "turn:localhost:3478"}], "stun""#;
    sh(&format!("sed 's/\"stun\"/{turn}/' {EXAMPLES}/station-manifest.sample.json > {MANIFEST}"));
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.wait_for_log("Loaded station manifest: OpenStudio Sample Station (openstudio-sample)");
    let (host, created) = enter(&machine, HOST, r#","role":"host""#);
    let server = &created["ice"]["turn"][0];
    let username = server["username"].as_str().unwrap();
    assert!(username.ends_with(&format!(":{HOST}")), "{created}");
    let script = r#"printf %s "$1" | openssl dgst -sha1 -hmac north -binary | base64"#;
    let output = std::process::Command::new("bash").args(["-c", script, "-", username]).output();
    let expected = String::from_utf8(output.unwrap().stdout).unwrap();
    assert_eq!(server["credential"], expected.trim());
    let token = created["token"].as_str().unwrap();
    let script = r#"
        text=${1%.*}
        made=$(printf %s "$text" | openssl dgst -sha256 -hmac 'a key of thirty-two bytes and more' -binary |
            base64 -w0 | tr '+/' '-_' | tr -d =)
        [ "$1" = "$text.$made" ]"#;
    let signed = std::process::Command::new("bash").args(["-c", script, "-", token]).status();
    assert!(signed.unwrap().success(), "the credential signs tokens");

    // An edit and a reload; the reload itself tells of an invalid one, which changes nothing.
    let process = machine.property("MainPID");
    sh(&format!("sed -i s/openstudio-sample/radio-north/ {MANIFEST}"));
    machine.ok(&["systemctl", "reload", SERVICE]);
    machine.wait_for_log("station is radio-north");
    let station = fetch::get(3000, "/api/station").body;
    assert!(station.contains(r#""stationId":"radio-north""#), "{station}");
    sh(&format!("sed -i 's/\"name\"/\"nom\"/; s/stun:/http:/' {MANIFEST}"));
    assert!(!machine.run(&["systemctl", "reload", SERVICE]).status.success());
    for error in ["Missing or invalid \"name\"", "Invalid STUN URL at ice.stun[0]"] {
        machine.wait_for_log(&format!("Failed to load station manifest: {MANIFEST}: {error}"));
    }
    assert_eq!(fetch::get(3000, "/api/station").body, station);
    assert_eq!(machine.property("MainPID"), process);
    host.leave(1000);
    assert!(!machine.run(&["systemctl", "restart", SERVICE]).status.success());
    assert_eq!(machine.property("ExecMainStatus"), "78");
    sh(&format!("sed -i 's/\"nom\"/\"name\"/; s/http:/stun:/' {MANIFEST}"));
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.ok(&["openstudio-signaling", "check"]);
    let all =
        machine.ok(&["sh", "-c", "openstudio-signaling config; journalctl --no-pager -o export"]);
    assert!(!all.contains("thirty-two bytes"), "a secret is in the journal");
}
