//! One TCP connection, up to its end or its upgrade.
//!
//! Owns what is spoken on it: TLS, HTTP, or neither. It deliberately does not know how it was accepted, nor what requests
//! mean.

use std::any::Any;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use warp::reply::Response as Reply;

use crate::server::first::{First, first_bytes};
use crate::server::handover::collection::GivenConnection;
use crate::server::http::http1::{HEAD_TIME, Limits, QUIET_TIME, Served, closing, serve};
use crate::server::http::routes::{not_found, tls_only};
use crate::server::http::stream::Listener;
use crate::server::http::upgrade::Caller;
use crate::server::listener::{Hearing, Wanted};
use crate::server::progress::{Progress, Tracked};
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::server::tls::stream::TlsStream;
use crate::station::tls::Tls;
use crate::telemetry::events::Event;
use crate::telemetry::refused::Refused;

/// Serves a connection until it ends or becomes a session, and notes its progress. `early` is what another process has read
/// of it, and `is_kept` whether that has answered a request on it. Where nothing but a head is under way, it is given to the next process.
pub async fn connection<F>(
    stream: TcpStream,
    (ip, early, is_kept): (IpAddr, Vec<u8>, bool),
    state: Arc<State>,
    filters: F,
    progress: Arc<Progress>,
) where
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let accepted = Instant::now();
    // Without it, small frames would wait for acknowledgements. An error means that the client has gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let first = async {
        match early.is_empty() {
            true => first_bytes(&stream, &state.fairness).await,
            false => Ok(First::of(&early)),
        }
    };
    // Who asked before has more time to ask again.
    let time = if is_kept { QUIET_TIME } else { HEAD_TIME };
    let first = tokio::select! {
        biased;
        () = state.shutdown.within(Phase::HandingOver) => {
            return give((ip, early, is_kept), Box::new(stream), &state);
        }
        first = timeout(time, first) => first,
        () = closing(&state, accepted) => return,
    };
    let Ok(Ok(first)) = first else { return };
    let stream = Tracked::new(stream, Arc::clone(&progress), early);
    // In a box of its own: who says nothing does not pay for it.
    Box::pin(speak(stream, first, ip, state, filters, accepted, progress)).await;
}

/// Gives a connection to the next process, where it can be carried.
fn give((ip, head, is_kept): (IpAddr, Vec<u8>, bool), stream: Box<dyn Any>, state: &State) {
    let socket = stream.downcast::<TcpStream>().ok().and_then(|stream| stream.into_std().ok());
    if let Some(socket) = socket {
        state.collection.give_connection(GivenConnection { ip, socket, head, is_kept });
    }
}

/// The same for one on which this much of a head has come.
fn carry<S: 'static>(ip: IpAddr, stream: Tracked<S>, mut head: Vec<u8>, state: &State) {
    let is_kept = stream.was_asked();
    let (stream, early) = stream.into_parts();
    head.extend(early);
    give((ip, head, is_kept), Box::new(stream), state);
}

/// Serves a connection on which the client has begun to speak.
async fn speak<S, F>(
    stream: Tracked<S>,
    first: First,
    ip: IpAddr,
    state: Arc<State>,
    filters: F,
    accepted: Instant,
    progress: Arc<Progress>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let is_tls = state.tls.is_some() && first == First::Tls;
    let limits = Limits { state: &state, ip, accepted, progress: &progress, is_tls };
    let (shared, requests) = (Arc::clone(&state), Arc::clone(&progress));
    let wanted = Arc::<Wanted>::default();
    let wants = Arc::clone(&wanted);
    let service = service_fn(move |mut request: Request<Incoming>| {
        requests.begin_request(!request.body().is_end_stream());
        let version = request.version();
        request.extensions_mut().insert(Caller { ip, version });
        // What names a host and no path (CONNECT, RFC 9112 section 3.2.3) is for proxies, and more than warp's
        // filters can take: `warp::path::full` panics at it.
        let has_path = request.uri().path_and_query().is_some();
        let answer = has_path.then(|| filters.call(request));
        let (state, wants) = (Arc::clone(&shared), Arc::clone(&wants));
        async move {
            state.fairness.request().await;
            let Some(answer) = answer else { return Ok(not_found()) };
            let mut reply = answer.await?;
            let listener = reply.extensions_mut().remove::<Listener>();
            match listener.and_then(|listener| listener.take()) {
                Some(heard) => {
                    // hyper gets no answer: the connection is taken back from it.
                    wants.want(Hearing::new(reply.headers(), heard));
                    pending().await
                }
                None => Ok(reply),
            }
        }
    });
    match &state.tls {
        None => {
            match serve(stream, service, first, limits, &wanted).await {
                Served::Over => {}
                Served::Listens(stream, hearing) => {
                    // It is no longer one of those that are no clients yet.
                    let stream = stream.into_inner();
                    state.shutdown.tasks.spawn(hearing.pass_on(stream, Arc::clone(&state)));
                }
                Served::Carried(stream, head) => carry(ip, stream, head, &state),
            }
        }
        Some(_) if first != First::Tls => {
            let service = service_fn(|request: Request<Incoming>| {
                progress.begin_request(!request.body().is_end_stream());
                async {
                    state.fairness.request().await;
                    state.turn_away(ip, Refused::PlainOnTls);
                    Ok(tls_only())
                }
            });
            let served = serve(stream, service, first, limits, &wanted).await;
            if let Served::Carried(stream, head) = served {
                carry(ip, stream, head, &state);
            }
        }
        // In a box of its own: without TLS nobody pays for it.
        Some(tls) => {
            let secured = Box::pin(secured(stream, service, tls, limits, &wanted));
            if let Served::Listens(stream, hearing) = secured.await {
                state.shutdown.tasks.spawn(hearing.pass_on(stream, Arc::clone(&state)));
            }
        }
    }
}

/// Serves a connection on a port that speaks TLS.
async fn secured<S, F>(
    stream: Tracked<S>,
    service: F,
    tls: &Tls,
    limits: Limits<'_>,
    wanted: &Wanted,
) -> Served<TlsStream<Tracked<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let Limits { state, ip, accepted, progress, .. } = limits;
    progress.begin_tls();
    let handshake = state.fairness.handshake(TlsStream::accept(tls.config(), stream));
    let agreed = tokio::select! {
        agreed = timeout(HEAD_TIME, handshake) => agreed,
        () = closing(state, accepted) => return Served::Over,
    };
    match agreed {
        Ok(Ok(stream)) => return serve(stream, service, First::Other, limits, wanted).await,
        Ok(Err(error)) => {
            state.studio.metrics.turned_away(Refused::TlsHandshake);
            // Who goes without a word has no line: there is nothing to say of them.
            if error.kind() != io::ErrorKind::UnexpectedEof {
                state
                    .studio
                    .journal
                    .log(Event::TlsFailed { client_ip: ip, error: error.to_string() });
            }
        }
        Err(_) => state.studio.metrics.turned_away(Refused::TlsHandshake),
    }
    Served::Over
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;
    use crate::config::config::TlsFiles;
    use crate::server::http::http1::LAST_REQUEST;
    use crate::station::tls;

    const MOMENT: Duration = Duration::from_millis(100);

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// What is on the way between the client and the server, in bytes.
    const ON_THE_WAY: usize = 64 * 1024;

    /// A client's end, and the connection at the server's.
    struct Connected<S> {
        client: S,
        connection: JoinHandle<()>,
        asked: Arc<AtomicUsize>,
    }

    /// A connection on which each answer has a body of `length` bytes.
    fn connected(tls: Option<Tls>, length: usize) -> Connected<DuplexStream> {
        let first = if tls.is_some() { First::Tls } else { First::of(GET) };
        let state = Arc::new(State { tls, ..State::without_settings() });
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let filters = service_fn(move |_: Request<Incoming>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(warp::Reply::into_response(vec![b'x'; length])) }
        });
        let (client, server) = duplex(ON_THE_WAY);
        let progress = Arc::<Progress>::default();
        let connection = tokio::spawn(speak(
            Tracked::new(server, Arc::clone(&progress), Vec::new()),
            first,
            [127, 0, 0, 1].into(),
            state,
            filters,
            Instant::now(),
            progress,
        ));
        Connected { client, connection, asked }
    }

    /// The same through TLS.
    async fn secured(length: usize) -> Connected<tokio_rustls::client::TlsStream<DuplexStream>> {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-subj", "/CN=localhost", "-keyout", "key", "-out", "cert"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .current_dir(dir.path())
            .output()
            .expect("it is installed by tests/run");
        assert!(made.status.success());
        let files = TlsFiles { cert: dir.path().join("cert"), key: dir.path().join("key") };
        let matches = crate::config::cli::command().get_matches_from(["openstudio-signaling"]);
        let settings =
            crate::config::settings::Settings::collect(&matches, |_| None, None).unwrap();
        let certified = tls::load(&files, &settings).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.cert).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let Connected { client, connection, asked } = connected(Some(Tls::new(certified)), length);
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let client = connector.connect(name, client).await.unwrap();
        Connected { client, connection, asked }
    }

    impl<S: AsyncRead + AsyncWrite + Unpin> Connected<S> {
        async fn send(&mut self, bytes: &[u8]) {
            self.client.write_all(bytes).await.unwrap();
            self.client.flush().await.unwrap();
        }

        /// Reads an answer up to the end of its head.
        async fn head(&mut self) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.client.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{:?}", head.escape_ascii());
        }

        async fn body(&mut self, length: usize) {
            self.client.read_exact(&mut vec![0; length]).await.unwrap();
        }

        /// Reads until the server's end, and how long that takes.
        async fn end(&mut self) -> Duration {
            let begun = Instant::now();
            // Through TLS, an end without a goodbye is an error.
            let _ = self.client.read_to_end(&mut Vec::new()).await;
            begun.elapsed()
        }

        async fn keeps_an_idle_connection(mut self) {
            for _ in 0..3 {
                self.send(GET).await;
                self.head().await;
                self.body(5).await;
                sleep(QUIET_TIME - MOMENT).await;
            }
            self.send(GET).await;
            self.head().await;
            self.body(5).await;
            is_about(self.end().await, QUIET_TIME);
            self.connection.await.unwrap();
        }

        async fn has_time_for_heads(mut self) {
            self.send(&GET[..9]).await;
            sleep(HEAD_TIME - MOMENT).await;
            self.send(&GET[9..]).await;
            self.head().await;
            self.body(5).await;
            // The time of the next one begins with its first byte, and not anew with each.
            sleep(QUIET_TIME - MOMENT).await;
            self.send(&GET[..9]).await;
            sleep(HEAD_TIME - MOMENT).await;
            self.send(&GET[9..]).await;
            self.head().await;
            self.body(5).await;
            self.send(&GET[..9]).await;
            sleep(HEAD_TIME - MOMENT).await;
            self.send(&GET[9..10]).await;
            is_about(self.end().await, MOMENT);
        }

        /// Takes an answer of ten times what is on the way, a piece each time that the connection is about to be cut.
        async fn goes_on_while_it_takes(mut self) {
            let begun = Instant::now();
            self.send(GET).await;
            self.head().await;
            for _ in 0..10 {
                sleep(QUIET_TIME - MOMENT).await;
                self.body(ON_THE_WAY).await;
            }
            assert!(begun.elapsed() > 10 * Duration::from_secs(61));
            // It can go on being used.
            self.send(GET).await;
            self.head().await;
            self.body(10 * ON_THE_WAY).await;
        }

        /// Takes a part of such an answer, and then nothing more.
        async fn ends_when_it_takes_nothing(mut self) {
            self.send(GET).await;
            self.head().await;
            self.body(2 * ON_THE_WAY).await;
            sleep(QUIET_TIME - MOMENT).await;
            assert!(!self.connection.is_finished());
            // For those who take up again just then, there is a moment more.
            sleep(MOMENT + LAST_REQUEST + MOMENT).await;
            assert!(self.connection.is_finished());
            let mut rest = Vec::new();
            let _ = self.client.read_to_end(&mut rest).await;
            assert!(rest.len() < 8 * ON_THE_WAY, "{} bytes", rest.len());
        }
    }

    /// The timer counts in milliseconds.
    fn is_about(time: Duration, expected: Duration) {
        assert!(time.abs_diff(expected) < Duration::from_millis(5), "{time:?}, not {expected:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_so_long() {
        connected(None, 5).keeps_an_idle_connection().await;
        secured(5).await.keeps_an_idle_connection().await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_head_has_its_time() {
        connected(None, 5).has_time_for_heads().await;
        secured(5).await.has_time_for_heads().await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_head_it_ends() {
        is_about(connected(None, 5).end().await, HEAD_TIME);
        is_about(secured(5).await.end().await, HEAD_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_download_goes_on() {
        connected(None, 10 * ON_THE_WAY).goes_on_while_it_takes().await;
        secured(10 * ON_THE_WAY).await.goes_on_while_it_takes().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_nobody_takes_ends() {
        connected(None, 10 * ON_THE_WAY).ends_when_it_takes_nothing().await;
        secured(10 * ON_THE_WAY).await.ends_when_it_takes_nothing().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_reads_ends_the_connection_with_the_answer() {
        let mut connected = connected(None, 5);
        connected.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx").await;
        connected.head().await;
        connected.body(5).await;
        is_about(connected.end().await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_not_taken_for_the_next_head() {
        let mut connected = connected(None, 5);
        for _ in 0..2 {
            connected.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
            connected.head().await;
            connected.body(5).await;
            sleep(QUIET_TIME - MOMENT).await;
        }
        // Behind it, the first byte of a head can't be told: its time began with the answer.
        connected.send(&GET[..9]).await;
        is_about(connected.end().await, MOMENT);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_whose_answers_nobody_takes_end_the_connection() {
        let mut connected = connected(None, ON_THE_WAY);
        let begun = Instant::now();
        // As many as go, until the connection breaks.
        while connected.client.write_all(GET).await.is_ok() {}
        is_about(begun.elapsed(), QUIET_TIME + LAST_REQUEST);
        assert!(connected.asked.load(Ordering::Relaxed) <= 2, "{:?}", connected.asked);
    }
}
