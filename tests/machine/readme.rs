//! What README has an operator do, done.

use crate::booted::{Machine, SERVICE};

const README: &str = include_str!("../../README.md");

/// The commands of a part of README, block by block.
fn blocks(part: &str) -> impl Iterator<Item = &str> {
    part.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap())
}

pub fn the_readme_can_be_followed(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    let (_, operator) = README.split_once("\n## Install\n").unwrap();
    let (operator, _) = operator.split_once("\n## Work on it\n").unwrap();
    let commands: Vec<_> = blocks(operator).flat_map(str::lines).collect();
    assert!(commands.len() > 15, "{commands:#?}");
    // What the tables and the text name, as far as it can be run here as it stands.
    let spans = operator.split('`').skip(1).step_by(2).filter(|span| {
        let first = span.split(' ').next().unwrap();
        ["systemctl", "journalctl", "openstudio-signaling"].contains(&first) && span.contains(' ')
    });
    let spans: Vec<_> =
        spans.filter(|span| !span.contains(" edit ") && !span.contains("studio.example")).collect();
    assert!(spans.len() >= 8, "{spans:#?}");
    for command in commands {
        if command.starts_with("systemctl stop") {
            for span in &spans {
                machine.ok(&["sh", "-c", span]);
            }
        }
        let output = machine.ok(&["sh", "-c", &format!("cd /debs && {command}")]);
        match command.split(' ').next() {
            Some("curl") => assert!(output.starts_with(r#"{"status":"ok","uptime":"#), "{output}"),
            Some("journalctl") => assert!(output.contains("client 1"), "{output}"),
            Some("openstudio-signaling") => assert!(output.lines().count() >= 4, "{output}"),
            _ => {}
        }
    }
    assert!(!machine.run(&["systemctl", "cat", SERVICE]).status.success(), "uninstalled");
}

/// The whole way, by README's commands as they stand. What stands for the world outside: the name leads to the machine
/// itself, and a certbot that is its own certificate authority, which check trusts and curl is told of.
pub fn ten_minutes_lead_on_air(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    let lineage = "/etc/letsencrypt/live/studio.example.org";
    let certbot = format!(
        "#!/bin/sh
         set -e
         [ \"$1\" = certonly ] && which openssl /usr/bin/certbot
         mkdir -p {lineage}
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=studio.example.org \\
             -addext subjectAltName=DNS:studio.example.org -addext basicConstraints=critical,CA:FALSE \\
             -keyout {lineage}/privkey.pem -out {lineage}/fullchain.pem
         chmod 600 {lineage}/privkey.pem"
    );
    machine.ok(&["sh", "-ec", "echo 203.0.113.1 studio.example.org >> /etc/hosts"]);
    let script = "printf %s \"$1\" > /usr/local/sbin/certbot; chmod 755 /usr/local/sbin/certbot";
    machine.ok(&["sh", "-ec", script, "-", &certbot]);
    // coturn wants a card that is not the loopback. This thread is in the machine's network.
    for arguments in [
        "link add studio type veth peer name callers",
        "addr add 203.0.113.1/24 dev studio",
        "link set studio up",
        "link set callers up",
    ] {
        let mut command = std::process::Command::new("ip");
        assert!(command.args(arguments.split(' ')).status().unwrap().success(), "{arguments}");
    }
    let (_, part) = README.split_once("\n## Ten minutes from nothing to on air\n").unwrap();
    let (part, _) = part.split_once("\n## ").unwrap();
    let mut said = String::new();
    for block in blocks(part) {
        let trusting = format!("cd /debs; export SSL_CERT_FILE={lineage}/fullchain.pem\n{block}");
        said = machine.ok(&[
            "sh",
            "-ec",
            &format!("export DEBIAN_FRONTEND=noninteractive; {trusting}"),
        ]);
    }
    // The last block is the check.
    for line in ["✓ tls ", "ICE servers: 1 STUN, 1 TURN, 1 of them with a credential", "✓ close "]
    {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    machine.ok(&["sh", "-c", "echo '<h1>Studio</h1>' > /srv/studio/index.html"]);
    let curl = |path: &str| {
        let url = format!("https://studio.example.org/{path}");
        machine.ok(&["curl", "-sS", "--cacert", &format!("{lineage}/fullchain.pem"), &url])
    };
    assert_eq!(curl(""), "<h1>Studio</h1>\n");
    assert!(curl("check").contains("<html"));
    assert!(curl("api/station").contains("radio-north"));
    // coturn takes what is signed with the service's secret.
    let secret = "$(cat /etc/openstudio-signaling/secrets/turn-secret)";
    let relay = format!("turnutils_uclient -y -c -n 1 -W {secret} -u anybody studio.example.org");
    machine.ok(&["sh", "-ec", &relay]);
}
