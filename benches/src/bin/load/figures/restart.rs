//! Restarts that clients do not notice: how long they hear nothing, and that nobody is lost.
//!
//! Owns the stand-in for systemd, which holds the listening socket and what the service stores. It deliberately does
//! not know what is stored.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType,
};

use super::ping::check;
use super::start::{PATIENCE, Running};
use super::{ask_each, register};
use crate::client::Event;
use crate::pool::{Pool, unexpected};
use crate::{frame, say};

/// Connections that wait for the next process: what the socket unit has.
const BACKLOG: i32 = 4096;
/// Clients that ping in a closed loop during a restart; the others are idle.
const TALKERS: usize = 64;
/// Talk before and after each restart.
const AROUND: Duration = Duration::from_millis(500);

const PING: &str = r#"{"type":"ping"}"#;
const PONG: &str = r#"{"type":"pong","timestamp":"#;

/// Restarts `command` so many times below its clients, of whom 64 ping. After each restart, every client pings once.
pub fn restart(clients: usize, times: usize, pid_file: &str, command: &[String]) -> Result<()> {
    ensure!(!command.is_empty(), "restart what?");
    ensure!(!pid_file.is_empty(), "--pid-file is missing");
    let mut systemd = Systemd::new(pid_file)?;
    let mut service = Some(systemd.start(command, pid_file)?);
    let mut pool = Pool::new(systemd.address, crate::client::Wire::WebSocket, None)?;
    register(&mut pool, 0, clients)?;
    for _ in 0..times {
        let old = service.take().context("the service runs")?;
        // The signals come while clients talk.
        let restart = || {
            thread::sleep(AROUND);
            let began = Instant::now();
            systemd.stop(old)?;
            let next = systemd.start(command, pid_file)?;
            let time = began.elapsed();
            thread::sleep(AROUND);
            anyhow::Ok((next, time))
        };
        let (silence, (next, time)) = thread::scope(|scope| {
            let restart = scope.spawn(restart);
            let silence = talk(&mut pool, clients.min(TALKERS), || restart.is_finished());
            let restarted = restart.join().map_err(|_| anyhow::anyhow!("the restart panicked"))?;
            anyhow::Ok((silence?, restarted?))
        })?;
        service = Some(next);
        let pong = |_| (PING.to_owned(), PONG.to_owned());
        ask_each(&mut pool, 0..clients, pong).context("after the restart")?;
        say(&format!("restart_silence_ms/{clients}"), silence.as_secs_f64() * 1e3);
        say(&format!("restart_ms/{clients}"), time.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// The first clients ping in a closed loop until `done`: the longest wait for a pong. A pong that is lost is late for the
/// pool, and one too many is an error.
fn talk(pool: &mut Pool, talkers: usize, done: impl Fn() -> bool) -> Result<Duration> {
    let ping = frame::text(PING);
    for id in 0..talkers {
        pool.ask(id, &ping, "a pong")?;
    }
    let (mut left, mut longest) = (talkers, Duration::ZERO);
    while left > 0 {
        pool.turn(Duration::from_millis(100), |pool, id, event| match event {
            Event::Text(text) => {
                check(pool.wire(), text, &ping)?;
                longest = longest.max(pool.came(id)?);
                if done() {
                    left -= 1;
                    return Ok(());
                }
                pool.ask(id, &ping, "a pong")
            }
            Event::Ping => Ok(()),
            other => unexpected(id, other),
        })?;
    }
    Ok(longest)
}

/// What systemd does for a service with a socket unit and a descriptor store (systemd.service(5)).
struct Systemd {
    path: PathBuf,
    notifications: UnixDatagram,
    listener: TcpListener,
    address: SocketAddrV4,
    stored: Option<OwnedFd>,
}

impl Systemd {
    fn new(pid_file: &str) -> Result<Self> {
        let path = PathBuf::from(format!("{pid_file}.notify"));
        let notifications = UnixDatagram::bind(&path).context("a socket for notifications")?;
        notifications.set_read_timeout(Some(PATIENCE))?;
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        rustix::net::listen(&socket, BACKLOG)?;
        let listener = TcpListener::from(socket);
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
        Ok(Self { path, notifications, listener, address, stored: None })
    }

    /// Starts the service with the listening socket and with what was stored, until it says READY=1.
    fn start(&mut self, command: &[String], pid_file: &str) -> Result<Running> {
        // The shell gives the descriptors their numbers; it is the process that the service becomes.
        let stored = self.stored.take();
        let mut script = format!("exec 100<&{}", self.listener.as_raw_fd());
        let (mut count, mut names) = (1, "openstudio-signaling.socket".to_owned());
        if let Some(stored) = &stored {
            rustix::io::fcntl_setfd(stored, FdFlags::empty())?;
            script += &format!(" 101<&{} 4<&101 101<&-", stored.as_fd().as_raw_fd());
            (count, names) = (2, names + ":handover");
        }
        script += &format!(
            r#" 3<&100 100<&-; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names} exec "$@""#
        );
        let mut shell = Command::new("bash");
        shell.args(["-c", &script, "bash"]).args(command).env("NOTIFY_SOCKET", &self.path);
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let service = Running::new(&mut shell, pid_file)?;
        while !self.next()?.0.contains("READY=1") {}
        Ok(service)
    }

    /// Ends the process as a restart does, and keeps what it stores.
    fn stop(&mut self, service: Running) -> Result<()> {
        service.process()?.restart()?;
        loop {
            let (text, descriptor) = self.next()?;
            if text.contains("FDSTORE=1") {
                self.stored = descriptor;
            } else if text.contains("BARRIER=1") {
                break;
            }
        }
        ensure!(self.stored.is_some(), "the service has stored nothing");
        service.wait()
    }

    /// The next notification (sd_notify(3)), and its descriptor.
    fn next(&self) -> Result<(String, Option<OwnedFd>)> {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received =
            rustix::net::recvmsg(&self.notifications, &mut pieces, &mut ancillary, flags)
                .context("no notification")?;
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut all) => all.next(),
            _ => None,
        });
        Ok((String::from_utf8_lossy(&text[..received.bytes]).into_owned(), descriptor))
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The folder is the caller's, and temporary.
        drop(fs::remove_file(&self.path));
    }
}
