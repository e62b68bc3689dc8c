//! Sockets: where to listen, whom to accept, and the drain.
//!
//! Owns the accept loop and the order in which everything ends. It deliberately knows nothing of what
//! requests and messages mean.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::config::config::Config;
use crate::server::connection::connection;
use crate::server::http::routes::routes;
use crate::server::limits::pending::{Pending, Place};
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::server::systemd::{Notifier, Probe};
use crate::signaling::conversation::Conversation;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// The accept queue; the kernel caps it at net.core.somaxconn, 4096 by default (listen(2)).
const BACKLOG: i32 = 4096;

/// What the kernel may hold for a client that reads slowly, in bytes; it doubles that for its own books
/// (socket(7)). Enough for a burst of messages. With the megabytes that it takes by itself, room in the
/// socket would be news only every megabyte, and a slow reader could not be told from one that is gone.
const SEND_BUFFER: usize = 64 * 1024;

/// How long the accept loop waits before it tries again without descriptors or memory.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// For how many room is made at once, where too many connections are pending, and where descriptors are wanted.
const ROOM_FOR_MANY: usize = 1024;
const ROOM_FOR_SOME: usize = 64;

/// How long a drain may take after a panic: long enough for close frames on a healthy network.
const FAILED_GRACE: Duration = Duration::from_secs(2);

/// How often systemd hears of a drain, and how much time each of these asks for.
const DRAIN_REPORT: Duration = Duration::from_secs(1);
const DRAIN_EXTENSION: Duration = Duration::from_secs(5);

/// Binds where the configuration says: both families by default, IPv4 on a machine without IPv6.
///
/// # Errors
///
/// What socket(2), bind(2) or listen(2) say.
pub fn bind(config: &Config) -> io::Result<StdListener> {
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    match bind_to(SocketAddr::new(config.host.unwrap_or(any), config.port)) {
        Err(error) if config.host.is_none() && lacks_ipv6(&error) => {
            bind_to(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), config.port))
        }
        result => result,
    }
}

fn bind_to(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Raises the file limit as far as it goes and returns it.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // Where that is forbidden, the limit stays what it is, and that is what counts.
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    limit.current.unwrap_or(u64::MAX)
}

/// How many clients a file limit carries. What is left is for the listener, the log, the runtime, and for
/// connections that are told that the server is full.
pub fn clients_for(file_limit: u64) -> usize {
    let reserve = (file_limit / 4).min(64);
    usize::try_from(file_limit - reserve).unwrap_or(usize::MAX).clamp(1, 1_000_000)
}

/// Makes a listener, bound here or passed, ready for [`accept`].
///
/// # Errors
///
/// When the system does not take the options.
pub fn prepare(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER)?;
    TcpListener::from_std(listener)
}

/// What the accept loops of all listeners share.
#[derive(Debug)]
pub struct Admission {
    /// The bound on connections that have not opened a WebSocket, whichever listener they came by.
    pending: Pending,
    /// The file limit, for the log.
    file_limit: u64,
}

impl Admission {
    /// Nobody has come yet.
    pub fn new(file_limit: u64) -> Self {
        Self { pending: Pending::default(), file_limit }
    }

    /// Closes up to `most` connections so that others are accepted.
    fn make_room(&self, most: usize, journal: &Journal) {
        let closed = self.pending.make_room(most);
        if closed > 0 {
            journal.log(Event::PendingClosed { closed });
        }
    }

    /// Logs what accept(2) failed with.
    fn failed(&self, error: &io::Error, sorted: AcceptError, journal: &Journal) {
        let error = error.to_string();
        journal.log(match sorted {
            AcceptError::Exhausted => Event::FilesExhausted { error, limit: self.file_limit },
            _ => Event::AcceptFailed { error },
        });
    }
}

/// Accepts connections until the drain begins, and answers the watchdog until everything closes.
pub async fn accept<C: Conversation>(
    listener: TcpListener,
    state: Arc<State>,
    mut probe: Probe,
    admission: Arc<Admission>,
) {
    accept_until_drain::<C>(listener, &state, &mut probe, &admission).await;
    tokio::select! {
        never = probe.answer_always(|| ()) => match never {},
        () = state.shutdown.reached(Phase::Closing) => {}
    }
}

async fn accept_until_drain<C: Conversation>(
    listener: TcpListener,
    state: &Arc<State>,
    probe: &mut Probe,
    admission: &Admission,
) {
    let filters = TowerToHyperService::new(warp::service(routes::<C>(Arc::clone(state))));
    let tasks = &state.shutdown.tasks;
    let mut draining = pin!(state.shutdown.reached(Phase::Draining));
    let pending = &admission.pending;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            () = probe.asked() => {
                probe.answer();
                continue;
            }
            // The kernel keeps those who come meanwhile.
            () = sleep(TROUBLE_PAUSE), if pending.are_too_many() => {
                // Who waits for the server is not the one to go.
                if state.fairness.are_free() {
                    admission.make_room(ROOM_FOR_MANY, &state.studio.journal);
                }
                continue;
            }
            accepted = accept_one(&listener, pending) => accepted,
        };
        let error = match accepted {
            Ok((place, stream, address)) => {
                let ip = address.ip().to_canonical();
                let mut connected = pending.enter(place);
                let (state, filters) = (Arc::clone(state), filters.clone());
                let connection = connection(stream, ip, state, filters, connected.progress());
                tasks.spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = connected.sent_away() => {}
                    }
                });
                continue;
            }
            Err(error) => error,
        };
        let sorted = sort(&error);
        if sorted == AcceptError::Theirs {
            continue;
        }
        admission.failed(&error, sorted, &state.studio.journal);
        if sorted == AcceptError::Exhausted {
            admission.make_room(ROOM_FOR_SOME, &state.studio.journal);
        }
        sleep(TROUBLE_PAUSE).await;
    }
}

/// Accepts a connection once there is room for one.
async fn accept_one(
    listener: &TcpListener,
    pending: &Pending,
) -> io::Result<(Place, TcpStream, SocketAddr)> {
    let place = pending.place().await;
    let (stream, address) = listener.accept().await?;
    Ok((place, stream, address))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptError {
    /// The client gave up while it waited.
    Theirs,
    /// No descriptors or no memory now.
    Exhausted,
    /// Anything else.
    Unknown,
}

/// Sorts what accept(2) can fail with. Linux passes errors of the new connection on as well.
fn sort(error: &io::Error) -> AcceptError {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AcceptError::Exhausted,
        Some(
            Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NONET
            | Errno::TIMEDOUT,
        ) => AcceptError::Theirs,
        _ => AcceptError::Unknown,
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everybody has gone.
    Clean,
    /// Somebody was cut off.
    Forced,
    /// The drain was caused by a panic.
    Failed,
}

/// Waits until all clients, and then all connections, have gone, as long as the grace period lasts.
pub async fn drain(state: &State, notifier: &Notifier) -> Outcome {
    let start = Instant::now();
    let shutdown = &state.shutdown;
    let failed = shutdown.has_failed();
    let grace = state.studio.config.shutdown_grace;
    let grace = if failed { grace.min(FAILED_GRACE) } else { grace };
    state.studio.journal.log(Event::Draining {
        clients: state.clients.taken(),
        grace_ms: grace.as_millis() as u64,
    });
    let mut clients = state.clients.follow();
    let everybody = async {
        // The slots live as long as the state.
        let _ = clients.wait_for(|clients| *clients == 0).await;
        shutdown.enter(Phase::Closing);
        shutdown.tasks.close();
        shutdown.tasks.wait().await;
    };
    let reason = tokio::select! {
        biased;
        () = everybody => None,
        () = shutdown.reached(Phase::Cut) => Some("a second signal came"),
        () = sleep(grace) => Some("the grace period is over"),
        never = report(state, notifier) => match never {},
    };
    // Who has everything is not cut off, and a connection that is none of a client was given its time.
    let clients = state.clients.taken().saturating_sub(shutdown.told());
    if let (Some(reason), 1..) = (reason, clients) {
        let connections = shutdown.tasks.len().saturating_sub(clients);
        state.studio.journal.log(Event::Forced { clients, connections, reason });
        return Outcome::Forced;
    }
    let milliseconds = start.elapsed().as_millis();
    state.studio.journal.log(Event::Stopped { milliseconds });
    if shutdown.has_failed() { Outcome::Failed } else { Outcome::Clean }
}

/// Tells systemd how the drain goes, and never ends.
async fn report(state: &State, notifier: &Notifier) -> Infallible {
    loop {
        notifier.extend(DRAIN_EXTENSION, &status("Draining", state.clients.taken()));
        sleep(DRAIN_REPORT).await;
    }
}

/// The one line for `systemctl status`.
pub fn status(doing: &str, clients: usize) -> String {
    let plural = if clients == 1 { "" } else { "s" };
    format!("{doing} {clients} client{plural}")
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;
    use crate::server::systemd::Watchdog;
    use crate::signaling::handler::Signaling;

    #[tokio::test]
    async fn all_listeners_share_one_bound() {
        // Each accept loop holds the place of whoever comes next.
        const MOST: usize = 3;
        let state = Arc::new(State::without_settings());
        let admission = Arc::new(Admission { pending: Pending::new(MOST), ..Admission::new(0) });
        let mut watchdog = Watchdog::default();
        let mut clients = Vec::new();
        for _ in 0..2 {
            let listener = prepare(StdListener::bind("127.0.0.1:0").unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            clients.extend((0..MOST).map(|_| std::net::TcpStream::connect(address).unwrap()));
            let probe = watchdog.watch("a test");
            let admission = Arc::clone(&admission);
            tokio::spawn(accept::<Signaling>(listener, Arc::clone(&state), probe, admission));
        }
        let connections = || state.shutdown.tasks.len();
        let all_places_taken = async {
            while connections() < MOST {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), all_places_taken).await.unwrap();
        // Each listener has some left in its queue, and is asked often enough to give them away.
        for _ in 0..1_000 {
            yield_now().await;
            assert!(connections() <= MOST, "{} of at most {MOST}", connections());
        }
    }

    #[test]
    fn some_descriptors_are_kept_back() {
        assert_eq!(clients_for(1), 1);
        assert_eq!(clients_for(64), 48);
        assert_eq!(clients_for(1024), 960);
        assert_eq!(clients_for(u64::MAX), 1_000_000);
    }

    #[test]
    fn accept_errors_are_sorted() {
        use rustix::io::Errno;
        let sorted = |errno: Errno| sort(&errno.into());
        assert_eq!(sorted(Errno::CONNABORTED), AcceptError::Theirs);
        assert_eq!(sorted(Errno::MFILE), AcceptError::Exhausted);
        assert_eq!(sorted(Errno::NFILE), AcceptError::Exhausted);
        assert_eq!(sorted(Errno::INVAL), AcceptError::Unknown);
    }

    #[test]
    fn the_status_counts_in_english() {
        assert_eq!(status("Serving", 12), "Serving 12 clients");
        assert_eq!(status("Draining", 1), "Draining 1 client");
    }
}
