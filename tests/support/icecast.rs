//! A real Icecast on the loopback, which ends with the test that started it. It deliberately does not know who brings a
//! programme.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::port::free_port;
use crate::running::Running;
use crate::support::wait_until;

pub const PASSWORD: &str = "a password of Icecast's own";

/// An Icecast, with its mount `/live.ogg` to be had.
pub struct Icecast {
    _process: Running,
    _directory: TempDir,
    pub port: u16,
}

impl Icecast {
    /// On a port that nobody else has taken meanwhile. A listener gets what comes, and nothing of before.
    pub fn start() -> Self {
        (0..10).find_map(|_| Self::try_at(free_port(), 0)).expect("a free port")
    }

    /// On this port, or `None` where somebody else has it. A listener gets so many bytes of before at once.
    pub fn try_at(port: u16, burst: u32) -> Option<Self> {
        // Root hands it to somebody else, who has to come to its logs: TMPDIR may be root's own.
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let path = directory.path();
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        let logs = path.display();
        let settings = format!(
            "<icecast><limits><source-timeout>10</source-timeout><burst-size>{burst}</burst-size></limits>
            <authentication><source-password>{PASSWORD}</source-password>
            <admin-user>admin</admin-user><admin-password>x</admin-password></authentication>
            <hostname>localhost</hostname>
            <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
            <paths><basedir>{logs}</basedir><logdir>{logs}</logdir><webroot>/usr/share/icecast2/web</webroot>
            <adminroot>/usr/share/icecast2/admin</adminroot></paths>
            <logging><loglevel>4</loglevel></logging>
            <security><changeowner><user>nobody</user><group>nogroup</group></changeowner></security></icecast>"
        );
        let file = path.join("icecast.xml");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("icecast2");
        command.arg("-c").arg(&file).stdin(Stdio::null());
        let mut process = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let log = path.join("error.log");
        let mut has_started = None;
        wait_until(
            || {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let is_over = process.0.try_wait().unwrap().is_some();
                // It says so behind its sockets.
                let serves =
                    log.contains("connection thread started") || log.contains("server started");
                has_started = if is_over { Some(false) } else { serves.then_some(true) };
                has_started.is_some()
            },
            || "icecast2 does not start".into(),
        );
        has_started?.then_some(Self { _process: process, _directory: directory, port })
    }

    /// What the service is told of it.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let url = format!("http://source@127.0.0.1:{}/live.ogg", self.port);
        [("ICECAST_URL", url), ("ICECAST_PASSWORD", PASSWORD.to_owned())]
    }

    /// Somebody who listens from now on.
    pub fn listen(&self) -> Listener {
        let mut listener = None;
        // The mount is there a moment after the source has its answer.
        wait_until(
            || {
                listener = Listener::open(self.port);
                listener.is_some()
            },
            || "the mount is not there".into(),
        );
        listener.unwrap()
    }
}

/// A player that only keeps what it gets.
pub struct Listener {
    pub stream: TcpStream,
    pub heard: Vec<u8>,
}

impl Listener {
    fn open(port: u16) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /live.ogg HTTP/1.0\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.extend(byte);
        }
        head.starts_with(b"HTTP/1.0 200").then(|| Self { stream, heard: Vec::new() })
    }

    /// Listens to the end of the programme.
    pub fn hear_out(mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        self.stream.read_to_end(&mut self.heard).unwrap();
        self.heard
    }
}
