//! The image, run by podman as an operator's container is.
//!
//! Owns what holds inside a container. It deliberately knows nothing of how podman is brought to run where a
//! test does: `tests/run` prepares that, and says where it can't be done.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::goodbye::goodbye;
use crate::support::{self, Client, Server};

const IMAGE: &str = "localhost/openstudio-signaling:latest";
const NAME: &str = "signaling";

fn podman(arguments: &[&str]) -> Output {
    Command::new("podman").args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = podman(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A container on a network of its own, whose log is followed, and who serves there on port 3000.
struct Container(Server);

impl Container {
    /// Beside `options`, what every container needs that is run here.
    fn run(options: &[&str]) -> Self {
        let mut command = Command::new("podman");
        // Cgroups, and limits above those that we have, may not be ours to give.
        command.args(["run", "--rm", "--name", NAME, "--network", "none", "--cgroups=disabled"]);
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command.args(options).arg(IMAGE);
        Self(Server::spawn(&mut command))
    }

    fn process(&self) -> String {
        ok(&["inspect", "--format", "{{.State.Pid}}", NAME]).trim().to_owned()
    }

    /// Brings this thread into the container's network.
    fn enter(&self) {
        let network = File::open(format!("/proc/{}/ns/net", self.process())).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    fn check(&self, url: &str) -> Output {
        podman(&["exec", NAME, "openstudio-signaling", "check", url])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        podman(&["rm", "--force", "--time", "0", NAME]);
    }
}

/// Answers every question for an IPv4 address with 127.0.0.1 (RFC 1035), and every other with nothing.
fn name_server(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut question) {
        let question = &question[..length];
        let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap();
        let is_ipv4 = question[name_end + 1..name_end + 3] == [0, 1];
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
        answer.extend(&question[12..name_end + 5]);
        if is_ipv4 {
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, client).unwrap();
    }
}

#[test]
#[ignore = "needs the image and podman"]
fn a_container_serves_is_healthy_keeps_its_secret_and_drains() {
    let files = tempfile::tempdir().unwrap();
    let mount = |name: &str, text: &str, place: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        format!("{}:{place}:ro", path.display())
    };
    let manifest = include_str!("../../packaging/station-manifest.sample.json");
    let manifest = mount("manifest", manifest, "/etc/openstudio-signaling/station-manifest.json");
    let hosts = mount("hosts", "127.0.0.1 in-hosts.example\n", "/etc/hosts");
    let resolver = mount("resolv.conf", "nameserver 127.0.0.1\n", "/etc/resolv.conf");
    // As in packaging/compose.yaml.
    let hardened = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    let volumes = ["-v", "signaling:/var/lib/openstudio-signaling", "-v", &manifest, "-v", &hosts];
    let options = [&hardened[..], &volumes, &["-v", &resolver]].concat();
    let mut container = Container::run(&options);
    let log = container.0.log.clone();
    log.wait_for(
        "Made a secret for invites and room tokens: /var/lib/openstudio-signaling/jwt-secret",
    );
    log.wait_for("Loaded station manifest: ");
    assert_eq!(log.count("[WARN]"), 0, "nothing to warn of");

    let status = fs::read_to_string(format!("/proc/{}/status", container.process())).unwrap();
    assert!(status.contains("\nUid:\t65532\t65532\t65532\t65532\n"), "{status}");
    assert!(status.contains("\nCapEff:\t0000000000000000\n"), "{status}");

    ok(&["healthcheck", "run", NAME]);
    // The C library in the binary finds names in /etc/hosts and asks name servers, with nothing beside it.
    let by_hosts = container.check("ws://in-hosts.example:3000/");
    assert!(by_hosts.status.success(), "{by_hosts:?}");
    log.wait_for("WebSocket client disconnected: 127.0.0.1");
    assert_eq!(log.count("client connected"), 1, "its health is asked for without a client");
    container.enter();
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || name_server(&socket));
    let by_dns = container.check("ws://in-dns.example:3000/");
    assert!(by_dns.status.success(), "{by_dns:?}");

    let mut client = Client::open(3000);
    assert_eq!(client.text(), support::WELCOME);
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    // Another program in the place of the first, and nobody notices: in a container, process 1 is the server.
    ok(&["kill", "--signal", "USR2", NAME]);
    log.wait_for("Took over 1 client ");
    assert!(client.ask(r#"{"type":"ping"}"#).contains("pong"));
    let leaving = goodbye(client);
    ok(&["stop", NAME]);
    assert_eq!(leaving.join().unwrap(), Some(1001));
    assert_eq!(container.0.wait().code(), Some(0));
    log.wait_for("Received SIGTERM");
    log.wait_for("Stopped cleanly");
    drop(container);

    // Another container on the same volume accepts the invites of the first.
    let again = Container::run(&options);
    assert_eq!(again.0.log.count("Made a secret"), 0);
    assert_eq!(again.0.log.count("[WARN]"), 0);
    drop(again);
    ok(&["volume", "rm", "signaling"]);
}

#[test]
#[ignore = "needs the image and podman"]
fn a_container_takes_its_secrets_from_where_containers_have_them() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "a secret of thirty-two bytes or more").unwrap();
    let own = |name: &str| format!("{name},uid=65532,mode=0400");
    for name in ["jwt-secret", "turn-secret"] {
        ok(&["secret", "create", name, secret.path().to_str().unwrap()]);
    }
    let options = ["--secret", &own("jwt-secret"), "--secret", &own("turn-secret")];
    let container = Container::run(&options);
    let config = ok(&["exec", NAME, "openstudio-signaling", "config"]);
    drop(container);
    for name in ["jwt-secret", "turn-secret"] {
        let line = format!("credential /run/secrets/{name}");
        assert!(config.contains(&line), "{line} in {config}");
        ok(&["secret", "rm", name]);
    }
}

#[test]
#[ignore = "needs the image and podman"]
fn a_container_that_hangs_is_unhealthy() {
    // The check goes where the server does.
    let container = Container::run(&["--env", "PORT=4000"]);
    ok(&["healthcheck", "run", NAME]);
    let process = Pid::from_raw(container.process().parse().unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    assert!(!podman(&["healthcheck", "run", NAME]).status.success());
    kill_process(process, Signal::CONT).unwrap();
    ok(&["healthcheck", "run", NAME]);
}
