//! A real coturn on the loopback, which ends with the test that started it. It deliberately does not know who
//! asks it for what.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::port::free_port;
use crate::running::Running;
use crate::support::Log;

/// A coturn that knows a secret.
pub struct Coturn {
    _process: Running,
    pub port: u16,
    pub log: Log,
}

impl Coturn {
    pub fn start(directory: &Path, secret: &str) -> Self {
        let secret = format!("--static-auth-secret={secret}");
        let flags =
            ["--no-tls", "--no-dtls", "--no-cli", "--use-auth-secret", "--realm=studio.example"];
        Self::start_with(directory, flags.map(String::from).into_iter().chain([secret]))
    }

    pub fn start_with(directory: &Path, flags: impl IntoIterator<Item = String>) -> Self {
        let port = free_port();
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("turnserver");
        command
            // No configuration file, and nothing but what a peer needs.
            .args(["-n", "--allow-loopback-peers"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .args(flags)
            .arg(format!("--listening-port={port}"))
            .arg(format!("--pidfile={}", path("coturn.pid")))
            .arg(format!("--userdb={}", path("coturn.db")))
            .args(["--log-file=stdout", "--simple-log", "--verbose"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        let log = Log::follow(process.0.stdout.take().unwrap());
        log.wait_for(&format!("UDP listener opened on: 127.0.0.1:{port}"));
        Self { _process: process, port, log }
    }
}
