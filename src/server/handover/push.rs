//! The process that goes: it gives everything to systemd's descriptor store, or to another program in its place.
//!
//! Owns when that may be done, in which order, and what becomes of the clients where it fails. It deliberately does not
//! know who takes it out again.

use std::convert::Infallible;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep, timeout};

use crate::server::handover::execute::put_listeners;
use crate::server::handover::farewell::{leavers, say_goodbye};
use crate::server::handover::pack::pack;
use crate::server::handover::queue::{Contents, Received, Receiver, Sender, queue};
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::server::systemd::Notifier;
use crate::telemetry::events::Event;
use crate::wire::codes::CloseCode;
use crate::wire::text::is_printable;

/// The name of the queue in the store.
pub const NAME: &str = "handover";

/// For how long the mark of a restart counts: a terminal sends the same signal whenever it is resized (systemd.service(5):
/// `ExecStop=` comes right before SIGTERM).
const MARKED: Duration = Duration::from_secs(90);

/// By this flag of `config`, a program is asked that has to go on with clients. One that can't does not know it.
pub const HANDOVER: &str = "--handover";

/// How a program ends that does not know a flag.
const BAD_USAGE: i32 = 2;

/// How long the next program has to look at the settings, and how much is shown of what it says, in characters.
const CHECK: Duration = Duration::from_secs(3);
const MOST_SAID: usize = 300;

/// How much may wait for clients, in bytes: in the state it takes four times as much, for a moment.
const MOST_WAITING: usize = 128 * 1024 * 1024;

/// How long requests and handshakes that are under way have to come to their end, and the disk of the archive. Clients
/// are served meanwhile.
const REQUESTS: Duration = Duration::from_secs(3);

/// How often it is looked for a mark that comes together with the end.
const LOOKS: usize = 10;

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(5);

/// How long sessions have to give their clients back.
const SESSIONS: Duration = Duration::from_secs(2);

/// How long systemd has to take the queue.
const STORE: Duration = Duration::from_secs(5);

/// What the next process has now, and this one still has. To let go of it takes time, and a process that ends need not.
#[derive(Debug)]
pub struct Given {
    _contents: Contents<TcpStream>,
    _state: Arc<State>,
}

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
        std::env::var_os("NOTIFY_SOCKET").is_some() && self.is_recent().await
    }

    /// Whether there is one that is recent.
    pub async fn is_recent(&mut self) -> bool {
        for _ in 0..LOOKS {
            // Whoever gives way lets the runtime look for signals.
            yield_now().await;
            let _ = self.note().now_or_never();
        }
        self.last.is_some_and(|last| last.elapsed() < MARKED)
    }
}

/// Whether the program that is on the disk now can go on, with the settings as they are now: it looks at them as `config` does.
///
/// # Errors
///
/// What it says.
async fn would_start() -> Result<(), String> {
    let mut arguments = std::env::args_os();
    let Some(program) = arguments.next() else { return Ok(()) };
    let settings = arguments.filter(|argument| argument != "serve");
    let mut command = Command::new(program);
    command.args(["config", HANDOVER]).args(settings);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let checked = spawn_blocking(move || check(&mut command)).await;
    checked.unwrap_or_else(|_| Err("the runtime ends".to_owned()))
}

/// Waits for a program that looks at the settings.
fn check(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot = |error: io::Error| format!("the program {program} can't be run: {error}");
    let mut child = command.spawn().map_err(cannot)?;
    let end = std::time::Instant::now() + CHECK;
    let status = loop {
        match child.try_wait().map_err(cannot)? {
            Some(status) => break status,
            None if std::time::Instant::now() < end => std::thread::sleep(LOOK),
            None => {
                let _ = child.kill().and_then(|()| child.wait());
                let seconds = CHECK.as_secs();
                return Err(format!(
                    "the program needs more than {seconds} s to read its settings"
                ));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(BAD_USAGE) {
        return Err("the program is of a version that can't go on with clients".to_owned());
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(4096).read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    let first = said.lines().next().unwrap_or_default();
    Err(first.chars().filter(|c| is_printable(*c)).take(MOST_SAID).collect())
}

/// Whether the next process may be given everything now.
///
/// # Errors
///
/// Why not.
async fn may_push(state: &State) -> io::Result<()> {
    would_start().await.map_err(io::Error::other)?;
    check_waiting(state.studio.hub.count().outbox_bytes)?;
    if state.shutdown.phase() != Phase::Serving {
        return Err(io::Error::other("it ends for another reason"));
    }
    Ok(())
}

/// Whether so many bytes may wait for clients.
fn check_waiting(waiting: usize) -> io::Result<()> {
    if waiting > MOST_WAITING {
        let error = format!("{waiting} bytes wait for clients that read too slowly");
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// Gives everything to systemd's store. On success there is nothing left to be done but to exit.
///
/// # Errors
///
/// Why it could not be done. Whoever was given back meanwhile has heard a goodbye; the others are to be drained.
pub async fn push_to_store(state: &Arc<State>, notifier: &Notifier) -> io::Result<Given> {
    may_push(state).await?;
    // While everybody is still served: where it is refused, nothing has happened yet.
    let stored = store(notifier).await;
    let pushed = match stored {
        Ok(sender) => push(state, &sender).await,
        Err(error) => Err(error),
    };
    if pushed.is_err() {
        notifier.forget(NAME);
    }
    pushed
}

/// A queue of this process itself, so that another program goes on with it. `listeners` are what it listens on.
///
/// # Errors
///
/// Why everything can't be put into it now.
pub async fn own_queue(
    state: &State,
    listeners: &[OwnedFd],
    passed: bool,
) -> io::Result<(Sender, Receiver)> {
    may_push(state).await?;
    let (sender, receiver) = queue()?;
    put_listeners(&sender, listeners, passed)?;
    Ok((sender, receiver))
}

/// Puts everything into a queue that the next process has, or will have.
///
/// # Errors
///
/// As those of [`push_to_store`].
pub async fn push(state: &Arc<State>, sender: &Sender) -> io::Result<Given> {
    // New connections wait in the listening socket; those that have come are answered first.
    state.shutdown.enter(Phase::Settling);
    let is_settled = || {
        let carried = state.collection.talking() + state.pending.can_be_carried();
        state.shutdown.tasks.len() <= carried && !state.collection.is_writing()
    };
    let settled = async {
        while !is_settled() {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(REQUESTS, settled).await;
    let start = Instant::now();
    state.shutdown.enter(Phase::HandingOver);
    let given = timeout(SESSIONS, state.collection.quiet()).await;
    let is_ended = state.shutdown.phase() != Phase::HandingOver;
    let (carried, rooms) = (state.collection.given(), state.studio.hub.count().rooms);
    state.studio.metrics.handed_over(carried);
    // Those who could not be carried.
    let told = state.clients.taken();
    let contents = pack(state, Instant::now()).map_err(io::Error::other)?;
    let put = match given {
        Err(_) => Err(io::Error::other("not all sessions have given their clients back")),
        Ok(()) if is_ended => Err(io::Error::other("it ends for another reason")),
        Ok(()) => sender.put(&contents),
    };
    let put = put.and_then(|()| match sender.is_held() {
        true => Ok(()),
        false => Err(io::Error::other(
            "nobody has the queue any longer: another job of systemd has taken its place",
        )),
    });
    if let Err(error) = put {
        // Whoever has not been given back yet is drained.
        state.shutdown.enter(Phase::Draining);
        let Contents { state, clients, others, .. } = contents;
        let clients = clients.into_iter().map(|socket| Some(socket.into_std().ok()?.into()));
        let received = Received { state, clients: clients.collect(), others };
        let leavers = leavers(received, CloseCode::GOING_AWAY);
        let _ = spawn_blocking(move || say_goodbye(leavers)).await;
        return Err(error);
    }
    let milliseconds = start.elapsed().as_millis() as u64;
    state.studio.journal.log(Event::HandedOver { clients: carried, rooms, told, milliseconds });
    Ok(Given { _contents: contents, _state: Arc::clone(state) })
}

/// A queue that systemd has.
async fn store(notifier: &Notifier) -> io::Result<Sender> {
    let (sender, receiver): (_, Receiver) = queue()?;
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
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mark_counts_for_so_long() {
        let mut marks = Marks::listen().unwrap();
        assert!(!marks.is_recent().await);
        marks.last = Some(Instant::now());
        advance(MARKED - Duration::from_millis(1)).await;
        assert!(marks.is_recent().await);
        advance(Duration::from_millis(1)).await;
        assert!(!marks.is_recent().await);
        assert!(!marks.counts().await, "without systemd");
    }

    #[test]
    fn so_much_may_wait() {
        assert!(check_waiting(MOST_WAITING).is_ok());
        assert!(check_waiting(MOST_WAITING + 1).is_err());
    }
}
