//! Sockets: where to listen, whom to accept, how long a head may take, and the drain.
//!
//! Owns the accept loop and the order in which everything ends. It deliberately knows nothing of what
//! requests and messages mean.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use warp::reply::Response as Reply;

use crate::config::Config;
use crate::conversation::Conversation;
use crate::events::Event;
use crate::routes::{not_found, routes, tls_only};
use crate::shutdown::Phase;
use crate::state::State;
use crate::systemd::{Notifier, Probe};
use crate::tls::{self, Tls};
use crate::upgrade::Caller;

/// How long a client may take for a request head.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// The largest request head, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// How long, while everything closes, a new connection may take to its first request, and a request that
/// has begun to its end. Whoever connected a moment before the end still gets an answer.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// How long a connection may be used for HTTP; a WebSocket stays. Who does not read its answers is not
/// noticed otherwise.
const HTTP_TIME: Duration = Duration::from_secs(60);

/// The accept queue; the kernel caps it at net.core.somaxconn, 4096 by default (listen(2)).
const BACKLOG: i32 = 4096;

/// What the kernel may hold for a client that reads slowly, in bytes; it doubles that for its own books
/// (socket(7)). Enough for a burst of messages. With the megabytes that it takes by itself, room in the
/// socket would be news only every megabyte, and a slow reader could not be told from one that is gone.
const SEND_BUFFER: usize = 64 * 1024;

/// How long the accept loop waits before it tries again without descriptors or memory.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// How long accepting must have worked for the next trouble to be news.
const TROUBLE_QUIET: Duration = Duration::from_secs(60);

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

/// Accepts connections until the drain begins, and answers the watchdog until everything closes.
/// `file_limit` is for the log.
pub async fn accept<C: Conversation>(
    listener: TcpListener,
    state: Arc<State>,
    mut probe: Probe,
    file_limit: u64,
) {
    accept_until_drain::<C>(listener, &state, &mut probe, file_limit).await;
    tokio::select! {
        never = probe.answer_always(|| ()) => match never {},
        () = state.shutdown.reached(Phase::Closing) => {}
    }
}

async fn accept_until_drain<C: Conversation>(
    listener: TcpListener,
    state: &Arc<State>,
    probe: &mut Probe,
    file_limit: u64,
) {
    let filters = TowerToHyperService::new(warp::service(routes::<C>(Arc::clone(state))));
    let mut draining = pin!(state.shutdown.reached(Phase::Draining));
    let mut trouble: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            () = probe.asked() => {
                probe.answer();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let error = match accepted {
            Ok((stream, address)) => {
                let ip = address.ip().to_canonical();
                let connection = connection(stream, ip, Arc::clone(state), filters.clone());
                state.shutdown.tasks.spawn(connection);
                continue;
            }
            Err(error) => error,
        };
        let sorted = sort(&error);
        if sorted == AcceptError::Theirs {
            continue;
        }
        let is_news = trouble.is_none_or(|last| last.elapsed() >= TROUBLE_QUIET);
        trouble = Some(Instant::now());
        if is_news {
            let error = error.to_string();
            state.journal.log(match sorted {
                AcceptError::Exhausted => Event::FilesExhausted { error, limit: file_limit },
                _ => Event::AcceptFailed { error },
            });
        }
        sleep(TROUBLE_PAUSE).await;
    }
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

/// Serves a connection until it ends or becomes a session.
async fn connection<F>(stream: TcpStream, ip: IpAddr, state: Arc<State>, filters: F)
where
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let accepted = Instant::now();
    // Without it, small frames would wait for acknowledgements. An error means that the client has gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        let version = request.version();
        request.extensions_mut().insert(Caller { ip, version });
        // What names a host and no path (CONNECT, RFC 9112 section 3.2.3) is for proxies, and more than warp's
        // filters can take: `warp::path::full` panics at it.
        let has_path = request.uri().path_and_query().is_some();
        let answer = has_path.then(|| filters.call(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Ok(not_found()),
            }
        }
    });
    match &state.tls {
        None => serve(pin!(http(stream, service)), &state, accepted).await,
        // In a box of its own: without TLS nobody pays for it.
        Some(tls) => Box::pin(secured(stream, ip, service, tls, &state, accepted)).await,
    }
}

/// Serves a connection on a port that speaks TLS.
async fn secured<F>(
    stream: TcpStream,
    ip: IpAddr,
    service: F,
    tls: &Tls,
    state: &State,
    accepted: Instant,
) where
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let agreed = tokio::select! {
        agreed = timeout(HEAD_TIME, agree(stream, tls)) => agreed,
        () = closing(state, accepted) => return,
    };
    match agreed {
        Ok(Ok(Agreed::Tls(stream))) => serve(pin!(http(*stream, service)), state, accepted).await,
        Ok(Ok(Agreed::Plain(stream))) => {
            let service = service_fn(|_: Request<Incoming>| std::future::ready(Ok(tls_only())));
            serve(pin!(http(stream, service)), state, accepted).await;
        }
        // Who only looks whether the port is open, or says nothing, is no failure.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Ok(Err(error)) if tls.failure_is_news() => {
            state.journal.log(Event::TlsFailed { client_ip: ip, error: error.to_string() });
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

/// HTTP on a stream of either kind.
type Connection<S, F> = http1::UpgradeableConnection<TokioIo<S>, F>;

/// What a client speaks on a port for TLS.
enum Agreed {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

async fn agree(stream: TcpStream, tls: &Tls) -> io::Result<Agreed> {
    let mut first = [tls::FIRST_BYTE];
    // Who says nothing is no failure of TLS.
    if stream.peek(&mut first).await.is_ok_and(|read| read > 0) && first[0] != tls::FIRST_BYTE {
        return Ok(Agreed::Plain(stream));
    }
    Ok(Agreed::Tls(Box::new(tls.acceptor().accept(stream).await?)))
}

/// Lasts until everything closes, and a moment longer for who connected just before.
async fn closing(state: &State, accepted: Instant) {
    state.shutdown.reached(Phase::Closing).await;
    sleep_until(accepted + LAST_REQUEST).await;
}

/// HTTP on a connection, with its limits.
fn http<S, F>(stream: S, service: F) -> Connection<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
}

/// Serves HTTP until the connection ends or is upgraded.
async fn serve<S, F>(mut connection: Pin<&mut Connection<S, F>>, state: &State, accepted: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    // What goes wrong here is between the client and HTTP, and hyper has told the client.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing(state, accepted) => {}
        () = sleep_until(accepted + HTTP_TIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_REQUEST, connection).await;
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
    let grace = state.config.shutdown_grace;
    let grace = if failed { grace.min(FAILED_GRACE) } else { grace };
    state
        .journal
        .log(Event::Draining { clients: state.seats.taken(), grace_ms: grace.as_millis() as u64 });
    let mut clients = state.seats.follow();
    let everybody = async {
        // The seats live as long as the state.
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
    if let Some(reason) = reason {
        let clients = state.seats.taken();
        state.journal.log(Event::Forced {
            clients,
            connections: shutdown.tasks.len().saturating_sub(clients),
            reason,
        });
        return Outcome::Forced;
    }
    let milliseconds = start.elapsed().as_millis();
    state.journal.log(Event::Stopped { milliseconds });
    if shutdown.has_failed() { Outcome::Failed } else { Outcome::Clean }
}

/// Tells systemd how the drain goes, and never ends.
async fn report(state: &State, notifier: &Notifier) -> Infallible {
    loop {
        notifier.extend(DRAIN_EXTENSION, &status("Draining", state.seats.taken()));
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
    use super::*;

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
