//! A running server, whatever started it.

use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Log, wait_until};

/// A running server on a port of its own.
pub struct Server {
    pub child: Child,
    pub port: u16,
    pub log: Log,
}

impl Server {
    /// Starts a command that ends up as a server, and waits until it serves.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        Self::started(child, log)
    }

    /// Waits until a process serves; one that never does is not left behind.
    pub fn started(child: Child, log: Log) -> Self {
        let mut server = Self { child, port: 0, log };
        let line = server.log.wait_for("Listening on ");
        let address = line.split("Listening on ").nth(1).unwrap();
        let port = address.split(' ').next().unwrap().rsplit(':').next().unwrap();
        server.port = port.parse().unwrap();
        server.log.wait_for(" started: ");
        server
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        wait_until(
            || self.child.try_wait().unwrap().is_some(),
            || "the server does not end".into(),
        );
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
