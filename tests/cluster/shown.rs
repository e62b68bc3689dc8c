//! What an operator sees of a cluster.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use crate::fetch::get;
use crate::nats::{Nats, Version};
use crate::nodes::{SECRET, agree, health, nodes, nodes_with, start, wait_for};
use crate::process::binary;
use crate::support::{Server, wait_until};

/// A user whose seed is 32 bytes of 7.
const SEED: &str = "SUAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ5FE";
const USER: &str = "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF";

/// What `check` prints, and whether it found all well.
fn check(server: &Server, more: &[&str]) -> (String, bool) {
    let url = format!("ws://127.0.0.1:{}/", server.port);
    let mut command: Command = binary();
    let output = command.arg("check").arg(url).args(more).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn check_says_how_a_node_stands() {
    let nats = Nats::single(Version::Trixie, "");
    let [mut one, two] = nodes(&nats);
    let other = format!("ws://127.0.0.1:{}/", two.port);
    let (said, is_well) = check(&one, &["--call", "--second", &other]);
    assert!(is_well && said.contains("2 nodes, in touch by s0"), "{said}");
    assert!(
        said.contains("one replica only") && said.contains("relayed as they were sent"),
        "{said}"
    );
    let metrics = get(one.port, "/metrics").body;
    for line in ["cluster_nodes 2", "cluster_in_touch 1", "cluster_peers 0"] {
        assert!(metrics.contains(&format!("\nopenstudio_signaling_{line}\n")), "{line}: {metrics}");
    }
    assert_eq!(one.stop(), Some(0));
    wait_for(&[&two], 1);
}

/// A node that can't work with this, and what it says of that.
fn trouble(settings: &[(&str, &str)], words: &[&str]) {
    let mut all = vec![("JWT_SECRET", SECRET), ("HOST", "127.0.0.1")];
    all.extend(settings);
    let server = Server::start(&all);
    let says = |text: &str| words.iter().all(|word| text.contains(word));
    wait_until(|| says(&health(&server)), || format!("{words:?} in {}", health(&server)));
    assert_eq!(get(server.port, "/ready").status, 503);
    let (said, is_well) = check(&server, &[]);
    assert!(!is_well && says(&said), "{said}");
    // And the log, once it has been so for a while.
    server.log.find("a line about it", |lines| {
        lines.iter().find(|line| line.contains("Out of touch") && says(line)).map(drop)
    });
}

#[test]
fn what_is_wrong_with_nats_is_named_with_its_fix() {
    let cases: [(&str, &[&str]); 2] = [
        ("nats://127.0.0.1:1", &["nats://127.0.0.1:1: Connection refused", "start nats-server"]),
        (
            "unix:/nowhere/nats.sock",
            &["unix:/nowhere/nats.sock: No such file", "start nats-server"],
        ),
    ];
    for (url, words) in cases {
        trouble(&[("NATS_URL", url)], words);
    }
    let closed = Nats::single(Version::Trixie, "authorization { token: hush }");
    trouble(&[("NATS_URL", &closed.url(0))], &["wants credentials", "nats-creds"]);
    let no_jetstream = Nats::without_jetstream(Version::Trixie);
    trouble(&[("NATS_URL", &no_jetstream.url(0))], &["JetStream", "jetstream {}"]);
    let words = ["fewer than 3 NATS servers", "restart one after the other"];
    trouble(&[("NATS_URL", &Nats::two().url(0))], &words);
}

#[test]
fn a_server_that_is_too_old_is_named() {
    let old = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", old.local_addr().unwrap());
    // As versions before 2.2 begin. It ends with the test.
    std::thread::spawn(move || {
        for stream in old.incoming() {
            let info = r#"INFO {"server_name":"old","version":"2.1.9","max_payload":1048576}"#;
            let _ = stream.unwrap().write_all(format!("{info}\r\n").as_bytes());
        }
    });
    trouble(&[("NATS_URL", &url)], &["nats-server 2.1.9 is too old", "2.9 or later"]);
}

#[test]
fn a_key_opens_a_server_that_asks_who_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.creds");
    std::fs::write(&path, SEED).unwrap();
    let path = path.to_str().unwrap();
    let nats = Nats::single(
        Version::Trixie,
        &format!("authorization {{ users: [ {{ nkey: {USER} }} ] }}"),
    );
    nodes_with::<2>(&nats, &[("NATS_CREDS", path)]);
    let other = folder.path().join("other.creds");
    std::fs::write(&other, "nothing").unwrap();
    let settings = [("NATS_URL", &*nats.url(0)), ("NATS_CREDS", other.to_str().unwrap())];
    trouble(&settings, &["no seed", "nats-creds"]);
}

/// The rights that docs/cluster.md names are enough, and each of them is needed.
#[test]
fn the_rights_that_are_documented_are_those_that_are_needed() {
    let text = include_str!("../../docs/cluster.md").split("The user needs these rights").nth(1);
    let text = text.unwrap().split("\n\n").next().unwrap();
    let rights: Vec<_> =
        text.split('`').skip(1).step_by(2).filter(|name| name.contains('.')).collect();
    assert_eq!(rights.len(), 4, "{rights:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.creds");
    std::fs::write(&path, SEED).unwrap();
    let path = path.to_str().unwrap();
    let server = |rights: &[&str]| {
        let subjects = |rights: &[&str]| format!("{rights:?}");
        let heard: Vec<_> = rights.iter().copied().filter(|name| !name.starts_with('$')).collect();
        let (publish, subscribe) = (subjects(rights), subjects(&heard));
        let rights = format!("permissions: {{ publish: {publish}, subscribe: {subscribe} }}");
        let users = format!("users: [ {{ nkey: {USER}, {rights} }} ]");
        Nats::single(Version::Trixie, &format!("authorization {{ {users} }}"))
    };
    let nats = server(&rights);
    let settings = [("NATS_CREDS", path)];
    let nodes = nodes_with::<3>(&nats, &settings);
    agree(&nodes.each_ref());
    assert!(!nats.log(0).contains("Violation"), "{}", nats.log(0));
    for missing in &rights {
        let rest: Vec<_> = rights.iter().copied().filter(|name| name != missing).collect();
        let nats = server(&rest);
        let nodes = [0, 1].map(|_| start(&nats, 0, &settings));
        wait_until(
            || nats.log(0).contains("Violation"),
            || format!("without {missing}: {}", health(&nodes[0])),
        );
    }
}

#[test]
fn nodes_that_differ_are_named() {
    let nats = Nats::single(Version::Bookworm, "");
    let [one] = nodes(&nats);
    let two = start(&nats, 0, &[("MAX_ROOM_PEERS", "7")]);
    wait_for(&[&one, &two], 2);
    one.log.wait_for("differ in the limits of rooms (MAX_ROOM_PEERS");
    let urls = nats.urls(0);
    let three = Server::start(&[
        ("NATS_URL", &urls),
        ("JWT_SECRET", "another secret that is as long as it should be"),
    ]);
    wait_for(&[&one, &two, &three], 3);
    for server in [&one, &two] {
        server.log.wait_for("differ in JWT_SECRET");
    }
}

#[test]
fn tls_is_for_servers_that_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
            -subj /CN=authority -days 2 -addext keyUsage=keyCertSign
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout nats.key -out nats.csr -subj /CN=nats
        printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' > names
        openssl x509 -req -in nats.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out nats.pem";
    let output = Command::new("bash").args(["-ec", script]).current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (path("nats.pem"), path("nats.key"), path("ca.pem"));
    let tls = format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\" }}");
    let nats = Nats::single(Version::Trixie, &tls);
    for scheme in ["tls", "nats"] {
        let url = nats.url(0).replace("nats://127.0.0.1", &format!("{scheme}://localhost"));
        let node = Server::start(&[("NATS_URL", &url), ("JWT_SECRET", SECRET), ("NATS_CA", &ca)]);
        wait_until(|| health(&node).contains("in-touch"), || health(&node));
    }
    let url = nats.url(0).replace("nats://127.0.0.1", "tls://localhost");
    trouble(&[("NATS_URL", &url)], &["NATS_CA"]);
    trouble(&[("NATS_URL", &url), ("NATS_CA", &path("nothing"))], &["nothing", "NATS_CA"]);
}

#[test]
fn another_cause_has_a_line_of_its_own() {
    let mut nats = Nats::without_jetstream(Version::Trixie);
    nats.kill(0);
    let server = start(&nats, 0, &[]);
    server.log.wait_for("Connection refused");
    nats.start_again(0);
    server.log.wait_for("switch JetStream on");
}
