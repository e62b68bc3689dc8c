//! From the start of a process to the moment that it serves.
//!
//! Owns the processes that it starts. It deliberately does not know what they are.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Process;
use crate::say;

/// A start that takes longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Starts `command` again and again: with `notify` until it says READY=1 (sd_notify(3)), else until it has printed
/// where it listens and takes a connection. The pid is in `pid_file` while a process runs, so that whoever ends
/// this one can end that one, too.
pub fn start(notify: bool, times: usize, pid_file: &str, command: &[String]) -> Result<()> {
    let [program, arguments @ ..] = command else { bail!("start what?") };
    ensure!(!pid_file.is_empty(), "--pid-file is missing");
    for _ in 0..times {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        let time = if notify {
            until_ready(&mut command, pid_file)
        } else {
            until_listening(&mut command, pid_file)
        };
        say("start_ms", time?.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn until_ready(command: &mut Command, pid_file: &str) -> Result<Duration> {
    let path = PathBuf::from(format!("{pid_file}.notify"));
    let socket = UnixDatagram::bind(&path).context("a socket for READY")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    command.env("NOTIFY_SOCKET", &path).stdout(Stdio::null());
    let began = Instant::now();
    let process = Running::new(command, pid_file)?;
    let mut message = [0; 4096];
    loop {
        let length = socket.recv(&mut message).context("no READY=1")?;
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            break;
        }
    }
    let time = began.elapsed();
    fs::remove_file(&path)?;
    process.stop().map(|()| time)
}

fn until_listening(command: &mut Command, pid_file: &str) -> Result<Duration> {
    command.stdout(Stdio::piped());
    let began = Instant::now();
    let mut process = Running::new(command, pid_file)?;
    let output = process.0.stdout.take().context("its output is piped")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let address = line.trim_end().strip_prefix("Listening on ");
    TcpStream::connect(address.with_context(|| format!("no address but {line:?}"))?)?;
    let time = began.elapsed();
    process.stop().map(|()| time)
}

/// A process that ends with this value.
pub struct Running(Child, String);

impl Running {
    pub fn new(command: &mut Command, pid_file: &str) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let running = Self(child, pid_file.to_owned());
        fs::write(pid_file, running.0.id().to_string())?;
        Ok(running)
    }

    pub fn process(&self) -> Result<Process> {
        Process::new(self.0.id().try_into()?)
    }

    /// What it logs, where that is piped; once.
    pub fn log(&mut self) -> Result<ChildStderr> {
        self.0.stderr.take().context("its log is piped")
    }

    /// Ends it as an operator does.
    pub fn stop(self) -> Result<()> {
        self.process()?.terminate()?;
        self.wait()
    }

    /// Waits for its end, which is under way.
    pub fn wait(mut self) -> Result<()> {
        ensure!(self.process()?.ended(PATIENCE)?, "it does not end on SIGTERM");
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what they are for.
        drop(self.0.kill());
        drop(self.0.wait());
        drop(fs::remove_file(&self.1));
    }
}
