//! A server that is attacked: what it holds, and that nothing of the attack is left in the end.
//!
//! It deliberately knows no attack.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use crate::fetch::get;
use crate::file_limit::raise_file_limit;
use crate::paused::{self, Clock};
use crate::support::{Server, wait_until};

/// A server, and what it held before anybody came.
pub struct Target {
    pub server: Server,
    before: Holdings,
}

/// What a leak would add to.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    threads: usize,
}

impl Target {
    pub fn start(environment: &[(&str, &str)]) -> Self {
        Self::of(Server::start(environment))
    }

    /// A server whose clock stands still.
    pub fn start_paused(environment: &[(&str, &str)]) -> (Self, Clock) {
        let (server, clock) = paused::start(environment);
        (Self::of(server), clock)
    }

    /// A server that nobody has talked to yet.
    pub fn of(server: Server) -> Self {
        raise_file_limit();
        let before = holdings(&server);
        Self { server, before }
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// How many descriptors it has more than when it started.
    pub fn taken(&self) -> usize {
        holdings(&self.server).descriptors - self.before.descriptors
    }

    /// Waits until it has so many descriptors more than when it started.
    pub fn wait_for_taken(&self, number: usize) {
        wait_until(|| self.taken() == number, || format!("{} taken, not {number}", self.taken()));
    }

    /// Resident memory now, in bytes.
    pub fn memory(&self) -> usize {
        self.memory_as("VmRSS:")
    }

    /// The most resident memory that it ever had, in bytes.
    pub fn peak(&self) -> usize {
        self.memory_as("VmHWM:")
    }

    fn memory_as(&self, name: &str) -> usize {
        let kibibytes: usize = self.status(name);
        kibibytes * 1024
    }

    /// A figure of proc_pid_status(5).
    fn status<T: std::str::FromStr>(&self, name: &str) -> T {
        status(&self.server, name)
    }

    /// What `/metrics` has for a series.
    pub fn metric(&self, series: &str) -> f64 {
        let text = get(self.port(), "/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    /// As [`Self::survives`], once the seats of those who went without a goodbye have ended.
    pub fn survives_with(self, clock: &mut Clock) {
        self.wait_for_taken(0);
        clock.advance(8_000);
        self.survives();
    }

    /// When everybody has gone, nothing is left of them: no client, peer or room, no descriptor, no thread. SIGTERM
    /// ends it with 0, which says that its task tracker was empty in time, and nothing has panicked.
    pub fn survives(mut self) {
        for gauge in ["clients", "peers", "rooms", "outbox_bytes"] {
            let series = format!("openstudio_signaling_{gauge}");
            wait_until(|| self.metric(&series) == 0.0, || format!("{gauge} are left"));
        }
        let now = || holdings(&self.server);
        wait_until(|| now() == self.before, || format!("{:?}, before {:?}", now(), self.before));
        assert_eq!(self.server.stop(), Some(0));
        self.server.log.wait_for("Stopped cleanly");
        self.is_sound();
    }

    /// Nothing has panicked.
    pub fn is_sound(&self) {
        for word in ["[CRIT]", "panic"] {
            assert_eq!(self.server.log.count(word), 0, "{}", self.server.log.wait_for(word));
        }
    }
}

fn holdings(server: &Server) -> Holdings {
    Holdings { descriptors: descriptors(server.child.id()), threads: status(server, "Threads:") }
}

fn status<T: std::str::FromStr>(server: &Server, name: &str) -> T {
    let text = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// How many descriptors a process has. The server is not dumpable, so only root may look.
fn descriptors(process: u32) -> usize {
    let directory = format!("/proc/{process}/fd");
    match fs::read_dir(&directory) {
        Ok(entries) => entries.count(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let output = Command::new("sudo").args(["ls", &directory]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout.iter().filter(|byte| **byte == b'\n').count()
        }
        Err(error) => panic!("{directory}: {error}"),
    }
}
