//! What README and docs/operate.md have an operator do, done.
//!
//! Owns which commands of the two pages are run. It deliberately knows none of them, but those that no booted machine
//! can run.

use crate::booted::{Machine, SERVICE};

const README: &str = include_str!("../../README.md");
const OPERATE: &str = include_str!("../../docs/operate.md");

/// The part of README that has a machine of its own: after it, the service is on another port.
const TEN_MINUTES: &str = "Ten minutes from nothing to on air";

/// Code spans that begin with one of these and go on are commands.
const PROGRAMS: [&str; 3] = ["systemctl", "journalctl", SERVICE];

/// The commands that are not run, by how they begin, and why. Blocks among them are marked as `console`, with prompts.
const NOT_RUN: &[(&str, &str)] = &[
    ("$ git clone REPOSITORY", "needs Rust: the step terminal of tests/run runs it"),
    ("# apt install git dpkg-dev", "needs Rust: the step package of tests/run builds the package"),
    ("# apt install git\n# git clone", "needs the network: the test brings a page of its own"),
    ("# . /etc/os-release", "needs a web server: repository.rs has one"),
    ("$ gpg --quick-generate-key ", "makes a key for good: repository.rs makes one for a test"),
    ("# apt update\n# apt upgrade", "needs 0.1.0: upgrade.rs has it"),
    ("# apt install --allow-downgrades", "needs 0.1.0: upgrade.rs has it"),
    ("# packaging/build-image", "needs podman: container.rs runs the image"),
    ("systemctl edit ", "opens an editor"),
    ("openstudio-signaling check wss://studio.example.org/", "needs TLS: the ten minutes have it"),
    ("# openstudio-signaling check wss://", "needs TLS: the ten minutes have it"),
    ("systemctl status coturn", "needs coturn: the ten minutes have it"),
    ("systemctl status icecast2", "needs Icecast: on_air.rs installs it"),
];

/// A piece of a page.
#[derive(Debug)]
enum Piece<'a> {
    Block { language: &'a str, code: &'a str },
    Span(String),
}

/// The blocks and code spans of a page, in its order.
fn pieces(page: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for (index, part) in page.split("```").enumerate() {
        if index % 2 == 1 {
            let (language, code) = part.split_once('\n').unwrap();
            pieces.push(Piece::Block { language, code });
            continue;
        }
        assert_eq!(part.matches('`').count() % 2, 0, "a code span does not end in {part}");
        // A span may go over the end of a line.
        let words = |span: &str| span.split_whitespace().collect::<Vec<_>>().join(" ");
        pieces.extend(part.split('`').skip(1).step_by(2).map(|span| Piece::Span(words(span))));
    }
    pieces
}

/// The commands of a page, block by block and span by span, without those that no machine can run.
pub fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for piece in pieces(page) {
        let (command, is_block) = match piece {
            Piece::Block { language: "sh", code } => {
                commands.push(code.to_owned());
                continue;
            }
            Piece::Block { language: "console", code } => (code.to_owned(), true),
            Piece::Block { language, code } => {
                assert!(["text", "json", "mermaid"].contains(&language), "{language:?}: {code}");
                continue;
            }
            Piece::Span(span) => (span, false),
        };
        let program = command.split_once(' ').map(|(program, _)| program);
        if !is_block && !program.is_some_and(|program| PROGRAMS.contains(&program)) {
            continue;
        }
        match NOT_RUN.iter().find(|(start, _)| command.starts_with(start)) {
            Some((_, why)) => println!("not run: {}: {why}", command.lines().next().unwrap()),
            None if is_block => panic!("no reason why this is not run: {command}"),
            None => commands.push(command),
        }
    }
    commands
}

/// The text below a heading of the second level.
pub fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    let (before, part) = page.split_once(&format!("# {heading}\n")).unwrap();
    let level = before.rsplit('\n').next().unwrap();
    part.split(&format!("\n{level}# ")).next().unwrap()
}

/// Runs a block or a span as root's shell does, and stops at the first command that fails: what it said.
pub fn run(machine: &Machine, command: &str) -> String {
    let script = format!("cd /debs\n{command}");
    let output = machine.ok(&["bash", "-e", "-o", "pipefail", "-c", &script]);
    // These succeed where they find nothing.
    if command.contains("journalctl ") {
        assert!(!output.contains("-- No entries --"), "{command}: {output}");
    }
    if command.contains("curl ") {
        assert!(output.contains(r#"{"status":"ok","uptime":"#), "{command}: {output}");
    }
    if command.contains("openstudio-signaling check") {
        assert!(output.contains("✓ ping ") && !output.contains('✗'), "{command}: {output}");
    }
    output
}

pub fn the_docs_can_be_followed(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    let readme = README.replace(part(README, TEN_MINUTES), "");
    let commands: Vec<_> = [&*readme, OPERATE].into_iter().flat_map(commands).collect();
    assert!(commands.len() >= 20, "{commands:#?}");
    for (start, _) in NOT_RUN {
        let begins = |piece: &Piece| match piece {
            Piece::Block { code, .. } => code.starts_with(start),
            Piece::Span(span) => span.starts_with(start),
        };
        assert!(pieces(README).iter().chain(&pieces(OPERATE)).any(begins), "{start} is nowhere");
    }
    for command in commands {
        println!("{suite}: {}", command.trim_end());
        run(&machine, &command);
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
    let trusting = format!("export SSL_CERT_FILE={lineage}/fullchain.pem");
    let commands =
        ["Install", TEN_MINUTES].into_iter().flat_map(|name| commands(part(README, name)));
    let follow = |command: String| {
        run(&machine, &format!("export DEBIAN_FRONTEND=noninteractive; {trusting}\n{command}"))
    };
    let mut said: Vec<_> = commands.map(follow).collect();
    // The last two blocks are the check and the invite for the host.
    let (invite, said) = (said.pop().unwrap(), said.pop().unwrap());
    let link = invite.lines().find_map(|line| line.strip_prefix("Studio: ")).unwrap();
    assert!(link.starts_with("https://studio.example.org/#morning-show?token="), "{invite}");
    let check = "openstudio-signaling check wss://studio.example.org/ --call";
    let checked = follow(format!("{check} --invite '{link}'"));
    assert!(checked.contains("✓ room ") && checked.contains("✓ close "), "{checked}");
    let strange = format!("{trusting}; {check}");
    let strange = machine.run(&["sh", "-c", &strange]);
    let strange = String::from_utf8_lossy(&strange.stdout).into_owned();
    assert!(strange.contains("✗ room ") && strange.contains("Invite required"), "{strange}");
    for line in [
        "✓ tls ",
        "ICE servers: 1 STUN, 1 TURN, 1 of them with a credential",
        "✓ close ",
        "✓ icecast    it answers, takes the password, and has the mount free",
    ] {
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
