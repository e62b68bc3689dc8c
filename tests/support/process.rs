//! The built binary as a process of the test's own.

use std::net::TcpStream;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Server, WELCOME, connect};

/// A command for the built binary with an empty environment.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openstudio-signaling"));
    command.env_clear();
    command
}

impl Server {
    pub fn start(environment: &[(&str, &str)]) -> Self {
        // However long a test takes, no heartbeat comes in between, and nobody who takes leave is cut off.
        let usual = [("PORT", "0"), ("HEARTBEAT_MS", "3600000"), ("SHUTDOWN_GRACE_MS", "3600000")];
        Self::spawn(binary().envs(usual).envs(environment.iter().copied()))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait().code()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// A client that has had its welcome.
    pub fn client(&self) -> Client {
        let mut client = Client::over(self.connect());
        assert_eq!(client.text(), WELCOME);
        client
    }
}
