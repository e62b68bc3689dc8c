//! TLS without a proxy, as an operator of certbot sets it up.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::booted::{Machine, SERVICE};
use crate::secure::{Stream, certificate, secure};
use crate::shown::shown;
use crate::support::{Client, connect};

pub const LINEAGE: &str = "/etc/letsencrypt/live/localhost";
const HOOK: &str = "/etc/letsencrypt/renewal-hooks/deploy/openstudio-signaling";

/// What certbot does when it renews: a new pair in the lineage, and the hook.
pub fn renew(machine: &Machine, dir: &Path, lineage: &str) -> bool {
    certificate(dir, "fullchain.pem", "privkey.pem");
    lay(machine, dir, lineage);
    machine.run(&["env", &format!("RENEWED_LINEAGE={lineage}"), HOOK]).status.success()
}

/// A new pair in a lineage, and the folder that has it here, too.
pub fn obtain(machine: &Machine, lineage: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "fullchain.pem", "privkey.pem");
    lay(machine, dir.path(), lineage);
    dir
}

/// Puts a pair into a lineage.
fn lay(machine: &Machine, dir: &Path, lineage: &str) {
    for name in ["fullchain.pem", "privkey.pem"] {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        let script =
            format!("umask 077; mkdir -p {lineage}; printf %s '{text}' > {lineage}/{name}");
        machine.ok(&["sh", "-ec", &script]);
    }
}

fn connected(dir: &Path) -> Stream {
    secure(connect(3000), &dir.join("fullchain.pem"), rustls::DEFAULT_VERSIONS)
}

pub fn a_renewed_certificate_drops_nobody(suite: &str) {
    let machine = Machine::with_package(suite);
    let dir = tempfile::tempdir().unwrap();
    let drop_ins = "/etc/systemd/system/openstudio-signaling.service.d";
    // The commands of the example, for this name.
    let example = include_str!("../../systemd/examples/tls.conf");
    let commands = example.lines().filter_map(|line| line.strip_prefix("#   "));
    let commands = commands.collect::<Vec<_>>().join("\n").replace("NAME", "localhost");
    assert!(commands.contains(HOOK) && commands.ends_with("restart openstudio-signaling.service"));
    certificate(dir.path(), "fullchain.pem", "privkey.pem");
    lay(&machine, dir.path(), LINEAGE);
    machine.ok(&["sh", "-ec", &commands]);
    machine.wait_for_log("TLS with the certificate in /etc/openstudio-signaling/tls/fullchain.pem");
    let key = "/etc/openstudio-signaling/tls/privkey.pem";
    let mode = machine.ok(&["stat", "-c", "%a %U:%G", key]);
    assert_eq!(mode, "640 root:openstudio-signaling\n");

    let mut client = Client::over(connected(dir.path()));
    client.text();
    let process = machine.property("MainPID");
    let before = shown(connected(dir.path()));
    assert!(renew(&machine, dir.path(), LINEAGE));
    machine.wait_for_log("Reloaded: ");
    let after = shown(connected(dir.path()));
    assert_ne!(before, after);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"), "who was there stays");

    // Another certificate of this machine is not the service's business.
    let other = tempfile::tempdir().unwrap();
    assert!(renew(&machine, other.path(), "/etc/letsencrypt/live/mail.example.org"));
    assert_eq!(shown(connected(dir.path())), after);

    // certbot is told of an invalid pair, and the old one stays in force.
    let script = format!("echo nothing > {LINEAGE}/privkey.pem; RENEWED_LINEAGE={LINEAGE} {HOOK}");
    assert!(!machine.run(&["sh", "-c", &script]).status.success());
    machine.wait_for_log("Invalid setting TLS_KEY=\"/etc/openstudio-signaling/tls/privkey.pem\"");
    assert_eq!(shown(connected(dir.path())), after);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    assert_eq!(machine.property("MainPID"), process);
    client.leave(1000);

    // The same pair as credentials, which root alone can read.
    certificate(dir.path(), "fullchain.pem", "privkey.pem");
    lay(&machine, dir.path(), LINEAGE);
    let edit = "/^Environment/d; s/^#LoadCredential/LoadCredential/; s/NAME/localhost/";
    machine.ok(&["sed", "-i", edit, &format!("{drop_ins}/tls.conf")]);
    machine.ok(&["rm", "-r", "/etc/openstudio-signaling/tls"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    let mut client = Client::over(connected(dir.path()));
    client.text();
    client.leave(1000);
    machine.ok(&["systemctl", "reload", SERVICE]);
    let before = shown(connected(dir.path()));
    assert!(renew(&machine, dir.path(), LINEAGE));
    assert_ne!(shown(connected(dir.path())), before, "the hook restarts for a credential");

    // Without a name it is for nobody, and once the package has gone it is no failure of certbot's.
    machine.ok(&["sed", "-i", "s/^name=.*/name=/", HOOK]);
    assert!(!renew(&machine, dir.path(), LINEAGE));
    machine.ok(&["sed", "-i", "s/^name=$/name=localhost/", HOOK]);
    machine.ok(&["apt-get", "purge", "-y", "openstudio-signaling"]);
    machine.ok(&["rm", "-r", drop_ins]);
    machine.ok(&["systemctl", "daemon-reload"]);
    assert!(renew(&machine, dir.path(), LINEAGE));
}

/// Certificate and key each come by a line of the settings file, a variable of a drop-in, or a credential.
pub fn every_source_of_a_certificate_reloads(suite: &str) {
    let machine = Machine::with_package(suite);
    let sh = |script: &str| machine.run(&["sh", "-ec", script]).status.success();
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "fullchain.pem", "privkey.pem");
    let tls = "/etc/openstudio-signaling/tls";
    lay(&machine, dir.path(), tls);
    assert!(sh(&format!("chgrp -R {SERVICE} {tls}; chmod 750 {tls}; chmod 640 {tls}/*")));
    // A secret that only the service sees is there in any case.
    assert!(sh("echo 0123456789abcdef0123456789abcdef > /etc/openstudio-signaling/turn-secret"));
    let drop_in = "/etc/systemd/system/openstudio-signaling.service.d/mixture.conf";
    let settings = "/etc/default/openstudio-signaling";
    let manifest = "/etc/openstudio-signaling/station-manifest.json";
    let station = |id: &str| {
        format!(
            r#"{{"stationId":"{id}","name":"x","signaling":{{"url":"wss://localhost/"}},"ice":{{"stun":["stun:localhost"]}}}}"#
        )
    };
    let sources = ["file", "variable", "credential"];
    for (number, (cert, key)) in
        sources.iter().flat_map(|cert| sources.map(|key| (*cert, key))).enumerate()
    {
        let mut unit =
            "[Service]\nLoadCredential=turn-secret:/etc/openstudio-signaling/turn-secret\n"
                .to_owned();
        let mut lines = String::new();
        for (name, credential, path, source) in [
            ("TLS_CERT", "tls-cert", "fullchain.pem", cert),
            ("TLS_KEY", "tls-key", "privkey.pem", key),
        ] {
            match source {
                "file" => lines += &format!("{name}={tls}/{path}\n"),
                "variable" => unit += &format!("Environment={name}={tls}/{path}\n"),
                _ => unit += &format!("LoadCredential={credential}:{tls}/{path}\n"),
            }
        }
        let id = format!("mixture-{number}");
        assert!(sh(&format!(
            "mkdir -p $(dirname {drop_in}); printf '{unit}' > {drop_in}; printf '{lines}' > {settings}; \
             rm -f {manifest}; systemctl daemon-reload; systemctl restart {SERVICE}"
        )));
        let mut client = Client::over(connected(dir.path()));
        client.text();
        assert!(sh(&format!("echo '{}' > {manifest}", station(&id))));
        assert!(sh(&format!("systemctl reload {SERVICE}")), "{cert} {key}: {}", machine.log());
        machine.wait_for_log(&format!("station is {id}, certificate is the one in TLS_CERT"));
        shown(connected(dir.path()));

        // What is wrong is said by systemctl and by the log, and keeps nothing else out.
        assert!(sh(&format!(
            "echo nonsense-{number} > {manifest}; echo LOG_LEVEL=debug >> {settings}"
        )));
        assert!(!sh(&format!("systemctl reload {SERVICE}")), "{cert} {key}: {}", machine.log());
        machine.wait_for_log("Reload failed for the station manifest, the old value stays in use");
        machine.wait_until("the log level", || {
            client.ask(r#"{"type":"ping"}"#);
            machine.log().contains("Received message: ping (client 1, 127.0.0.1)")
        });
        client.leave(1000);
    }
}
