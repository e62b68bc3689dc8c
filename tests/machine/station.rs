//! The station of an installed service: its manifest and its secrets, as an operator sets them.

use serde_json::Value;

use crate::booted::{Machine, SERVICE};
use crate::fetch;
use crate::goodbye::goodbye;
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
    let leaving = goodbye(host);
    // Not a restart, in which the process hands over what it knows.
    machine.ok(&["systemctl", "stop", SERVICE]);
    assert_eq!(leaving.join().unwrap(), Some(1001));
    machine.ok(&["systemctl", "start", SERVICE]);
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

/// As root and without an option, the command signs with what the service signs with.
pub fn root_makes_invites(suite: &str) {
    let machine = Machine::with_package(suite);
    let sh = |script: &str| machine.ok(&["sh", "-ec", script]);
    let make = |more: &str| {
        let json =
            sh(&format!("openstudio-signaling invite --room 'Käse' --role host --json {more}"));
        let made: Value = serde_json::from_str(&json).unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let comes_in = |token: &str| {
        let (client, entered) = enter(&machine, HOST, &format!(r#","inviteToken":"{token}""#));
        client.leave(1000);
        assert_eq!((&entered["role"], &entered["roomId"]), (&"host".into(), &"Käse".into()));
    };
    comes_in(&make(""));
    let said = machine.run(&["openstudio-signaling", "invite", "--room", "show"]);
    let (words, notes) =
        (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap());
    assert!(words.contains("\nStudio: http://localhost:3000/#show?token=eyJ"), "{words}");
    assert!(
        notes.contains("There is no /etc/openstudio-signaling/station-manifest.json"),
        "{notes}"
    );
    assert!(!notes.contains("does not run"), "{notes}");
    // Nobody else makes one.
    let su = "setpriv --reuid=65534 --regid=65534 --clear-groups openstudio-signaling invite --room show";
    let refused = machine.run(&["sh", "-c", su]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("permission denied; run this as root: sudo"), "{why}");
    sh("echo ROOM_ACCESS=invited >> /etc/default/openstudio-signaling");
    machine.ok(&["systemctl", "restart", SERVICE]);
    let made = make("");
    comes_in(&made);
    sh(&format!("openstudio-signaling invite --show {made}"));
    machine.ok(&["openstudio-signaling", "check", "--call", "--invite", &make("")]);

    // A credential of the running unit goes before what was made at the first start.
    let drop_ins = "/etc/systemd/system/openstudio-signaling.service.d";
    sh(&format!(
        "mkdir -p {drop_ins}; install -d -m 700 /etc/openstudio-signaling/secrets
        cd /etc/openstudio-signaling/secrets; umask 077
        echo a key of thirty-two bytes and more > jwt-secret"
    ));
    for line in [
        "SetCredential=jwt-secret:another key of thirty-two bytes and more",
        "LoadCredential=jwt-secret:/etc/openstudio-signaling/secrets/jwt-secret",
    ] {
        sh(&format!("printf '[Service]\\n{line}\\n' > {drop_ins}/secret.conf"));
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "restart", SERVICE]);
        comes_in(&make(""));
        assert!(
            !machine.run(&["openstudio-signaling", "invite", "--show", &made]).status.success()
        );
        let why = String::from_utf8(machine.run(&["sh", "-c", su]).stderr).unwrap();
        assert!(why.contains("permission denied; run this as root: sudo"), "{why}");
    }
    // While the unit does not run, nothing of it is known.
    sh("systemctl stop openstudio-signaling.socket openstudio-signaling.service");
    let stopped = machine.run(&["openstudio-signaling", "invite", "--room", "show"]);
    let notes = String::from_utf8(stopped.stderr).unwrap();
    assert!(notes.contains("The service does not run."), "{notes}");
    sh("rm /var/lib/openstudio-signaling/jwt-secret");
    let stopped = machine.run(&["openstudio-signaling", "invite", "--room", "show"]);
    let why = String::from_utf8(stopped.stderr).unwrap();
    assert_eq!(stopped.status.code(), Some(1), "{why}");
    for part in [
        "/run/credentials/openstudio-signaling.service/jwt-secret (the unit's are there while it runs)",
        "there is no /var/lib/openstudio-signaling/jwt-secret",
        "systemctl start openstudio-signaling",
    ] {
        assert!(why.contains(part), "{part} in {why}");
    }
    assert!(
        !machine.run(&["test", "-e", "/var/lib/openstudio-signaling/jwt-secret"]).status.success()
    );
    // What the operator was told brings a secret back: the credential's, or one that is made.
    sh(&format!(
        "rm {drop_ins}/secret.conf; systemctl daemon-reload; systemctl start openstudio-signaling"
    ));
    comes_in(&make(""));
    let log = machine.ok(&["journalctl", "--no-pager", "-o", "export"]);
    assert!(!log.contains(&made), "an invite is in the journal");
}
