//! The process that goes: it gives everything to systemd's descriptor store.
//!
//! Owns when that may be done, in which order, and what becomes of the clients where it fails. It deliberately does not
//! know who takes it out again.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep, timeout};

use crate::server::handover::pack::pack;
use crate::server::handover::queue::{Receiver, queue};
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::server::systemd::Notifier;
use crate::telemetry::events::Event;
use crate::wire::codes::CloseCode;
use crate::wire::frame::encode_close;
use crate::wire::text::is_printable;

/// The name of the queue in the store.
pub const NAME: &str = "handover";

/// For how long the mark of a restart counts: a terminal sends the same signal whenever it is resized (systemd.service(5):
/// `ExecStop=` comes right before SIGTERM).
const MARKED: Duration = Duration::from_secs(90);

/// How long the next program has to look at the settings, and how much is shown of what it says, in characters.
const CHECK: Duration = Duration::from_secs(3);
const MOST_SAID: usize = 300;

/// How much may wait for clients, in bytes: in the state it takes four times as much, for a moment.
const MOST_WAITING: usize = 128 * 1024 * 1024;

/// How long requests and handshakes that are under way have to come to their end.
const REQUESTS: Duration = Duration::from_millis(200);

/// How often it is looked for a mark that comes together with the end.
const LOOKS: usize = 10;

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(5);

/// How long sessions have to give their clients back.
const SESSIONS: Duration = Duration::from_secs(2);

/// How long systemd has to take the queue.
const STORE: Duration = Duration::from_secs(5);

/// Whether the stop that comes is half of a restart.
#[derive(Debug)]
pub struct Marks {
    signals: Signal,
    last: Option<Instant>,
}

impl Marks {
    /// Listens for marks.
    ///
    /// # Errors
    ///
    /// When the system gives no signal handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { signals: signal(SignalKind::window_change())?, last: None })
    }

    /// Notes each mark, and never ends.
    pub async fn note(&mut self) -> Infallible {
        loop {
            if self.signals.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            self.last = Some(Instant::now());
        }
    }

    /// Whether there is one that counts. It may come together with the signal that ends the service.
    pub async fn counts(&mut self) -> bool {
        // Without systemd, nobody goes on.
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return false;
        }
        for _ in 0..LOOKS {
            // Whoever gives way lets the runtime look for signals.
            yield_now().await;
            let _ = self.note().now_or_never();
        }
        self.last.is_some_and(|last| last.elapsed() < MARKED)
    }
}

/// Whether the program that is on the disk now would start with the settings as they are now: it looks at them as
/// `config` does.
///
/// # Errors
///
/// What it says.
async fn would_start() -> Result<(), String> {
    let mut arguments = std::env::args_os();
    let Some(program) = arguments.next() else { return Ok(()) };
    let settings = arguments.filter(|argument| argument != "serve");
    let mut command = Command::new(program);
    command.arg("config").args(settings).stdin(Stdio::null()).stdout(Stdio::null());
    let checked = timeout(CHECK, spawn_blocking(move || command.output())).await;
    match checked {
        Ok(Ok(Ok(output))) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let first = said.lines().next().unwrap_or_default();
            Err(first.chars().filter(|c| is_printable(*c)).take(MOST_SAID).collect())
        }
        Ok(Ok(Err(error))) => Err(format!("the program can't be run: {error}")),
        // One that takes its time is not waited for.
        _ => Ok(()),
    }
}

/// Gives everything to the store. On success there is nothing left to be done but to exit.
///
/// # Errors
///
/// Why it could not be done. Whoever was given back meanwhile has heard a goodbye; the others are to be drained.
pub async fn push(state: &Arc<State>, notifier: &Notifier) -> io::Result<()> {
    would_start().await.map_err(io::Error::other)?;
    let waiting = state.studio.hub.count().outbox_bytes;
    if waiting > MOST_WAITING {
        let error = format!("{waiting} bytes wait for clients that read too slowly");
        return Err(io::Error::other(error));
    }
    if state.shutdown.phase() != Phase::Serving {
        return Err(io::Error::other("it ends for another reason"));
    }
    // New connections wait in the listening socket; those that have just come are answered first.
    state.shutdown.enter(Phase::Settling);
    let settled = async {
        while state.shutdown.tasks.len() > state.collection.talking() {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(REQUESTS, settled).await;
    let start = Instant::now();
    state.shutdown.enter(Phase::HandingOver);
    let given = timeout(SESSIONS, state.collection.quiet()).await;
    if given.is_err() || state.shutdown.phase() != Phase::HandingOver {
        part_given(state);
        return Err(io::Error::other("not all sessions have given their clients back"));
    }
    let (carried, rooms) = (state.collection.given(), state.studio.hub.count().rooms);
    state.studio.metrics.handed_over(carried);
    // Those who could not be carried.
    let told = state.clients.taken();
    let (text, mut sockets) = pack(state, Instant::now()).map_err(io::Error::other)?;
    let stored = store(notifier, &text, &sockets).await;
    // Whoever has come meanwhile comes too late.
    part_given(state);
    if let Err(error) = stored {
        notifier.forget(NAME);
        // Those of clients come first.
        sockets.truncate(carried);
        part(sockets);
        return Err(error);
    }
    state.studio.journal.log(Event::HandedOver {
        clients: carried,
        rooms,
        told,
        milliseconds: start.elapsed().as_millis() as u64,
    });
    Ok(())
}

async fn store(notifier: &Notifier, text: &[u8], sockets: &[OwnedFd]) -> io::Result<()> {
    let (sender, receiver): (_, Receiver) = queue()?;
    let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    sender.put(text, &borrowed)?;
    notifier.store(NAME, receiver.as_fd())?;
    drop(receiver);
    // systemd closes its copy of the pipe when it has handled all that was sent before (sd_notify(3), BARRIER=1).
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    notifier.barrier(writer.as_fd())?;
    drop(writer);
    let handled = spawn_blocking(move || std::fs::File::from(reader).read(&mut [0]));
    if timeout(STORE, handled).await.is_err() {
        return Err(io::Error::other("systemd does not answer"));
    }
    if !sender.is_held() {
        return Err(io::Error::other(
            "systemd has not taken it: the unit has no FileDescriptorStoreMax=",
        ));
    }
    Ok(())
}

/// Says goodbye to clients that were given back and are not packed.
fn part_given(state: &State) {
    let given = state.collection.take().into_iter().map(|(socket, _)| socket.into());
    part(given.collect());
}

/// Says goodbye to clients that nobody goes on with.
fn part(sockets: Vec<OwnedFd>) {
    let mut close = Vec::new();
    encode_close(&mut close, Some(CloseCode::GOING_AWAY.0), CloseCode::GOING_AWAY.reason(), None);
    for socket in sockets {
        let mut socket = std::net::TcpStream::from(socket);
        // Who does not take it has gone, or reads too slowly.
        let _ = socket.write(&close);
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }
}
