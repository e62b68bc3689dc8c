//! One TCP connection, up to its end or its upgrade: TLS, HTTP, and how long each may take.
//!
//! Owns what a connection may cost before it is a session. It deliberately does not know how it was accepted,
//! nor what requests mean.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use warp::reply::Response as Reply;

use crate::events::Event;
use crate::refused::Refused;
use crate::routes::{not_found, tls_only};
use crate::shutdown::Phase;
use crate::state::State;
use crate::tls::{self, Tls};
use crate::turns::Turns;
use crate::upgrade::Caller;

/// How long a client may take to its first byte, then for the handshake of TLS where there is one, and then for a
/// request head.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// The largest request head, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// How long, while everything closes, a new connection may take to its first request, and a request that
/// has begun to its end. Whoever connected a moment before the end still gets an answer.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// How long a connection may be used for HTTP; a WebSocket stays. Who does not read its answers is not
/// noticed otherwise.
const HTTP_TIME: Duration = Duration::from_secs(60);

/// The largest piece that is read or held back for who does not read, in bytes: a head fits, and thousands who ask for
/// files and do not read them cost no more than those who say nothing.
const BUFFER: usize = HEAD_BYTES + 1024;

/// Serves a connection until it ends or becomes a session.
pub async fn connection<F>(stream: TcpStream, ip: IpAddr, state: Arc<State>, filters: F)
where
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let accepted = Instant::now();
    // Without it, small frames would wait for acknowledgements. An error means that the client has gone.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let first = tokio::select! {
        first = timeout(HEAD_TIME, first_byte(&stream, &state.turns)) => first,
        () = closing(&state, accepted) => return,
    };
    let Ok(Ok(first)) = first else { return };
    // In a box of its own: who says nothing does not pay for it.
    Box::pin(speak(stream, first, ip, state, filters, accepted)).await;
}

/// Serves a connection on which the client has begun to speak.
async fn speak<F>(
    stream: TcpStream,
    first: u8,
    ip: IpAddr,
    state: Arc<State>,
    filters: F,
    accepted: Instant,
) where
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let shared = Arc::clone(&state);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let version = request.version();
        request.extensions_mut().insert(Caller { ip, version });
        // What names a host and no path (CONNECT, RFC 9112 section 3.2.3) is for proxies, and more than warp's
        // filters can take: `warp::path::full` panics at it.
        let has_path = request.uri().path_and_query().is_some();
        let answer = has_path.then(|| filters.call(request));
        let state = Arc::clone(&shared);
        async move {
            state.turns.request().await;
            match answer {
                Some(answer) => answer.await,
                None => Ok(not_found()),
            }
        }
    });
    match &state.tls {
        None => serve(pin!(http(stream, service)), &state, accepted).await,
        Some(_) if first != tls::FIRST_BYTE => {
            let service = service_fn(|_: Request<Incoming>| async {
                state.turns.request().await;
                Ok(tls_only())
            });
            serve(pin!(http(stream, service)), &state, accepted).await;
        }
        // In a box of its own: without TLS nobody pays for it.
        Some(tls) => Box::pin(secured(stream, ip, service, tls, &state, accepted)).await,
    }
}

/// Waits until a client has something to say, and for its turn: up to there it costs no buffer. The byte is left there.
async fn first_byte(stream: &TcpStream, turns: &Turns) -> io::Result<u8> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    turns.arrive().await;
    Ok(first[0])
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
    let handshake = state.turns.handshake(tls.acceptor().accept(stream));
    let agreed = tokio::select! {
        agreed = timeout(HEAD_TIME, handshake) => agreed,
        () = closing(state, accepted) => return,
    };
    match agreed {
        Ok(Ok(stream)) => serve(pin!(http(stream, service)), state, accepted).await,
        // Who only looks whether the port is open, or says nothing more, is no failure.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Ok(Err(error)) => {
            state.metrics.turned_away(Refused::TlsHandshake);
            state.journal.log(Event::TlsFailed { client_ip: ip, error: error.to_string() });
        }
        Err(_) => {}
    }
}

/// HTTP on a stream of either kind.
type Connection<S, F> = http1::UpgradeableConnection<TokioIo<S>, F>;

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
        .max_buf_size(BUFFER)
        // Who has asked and says nothing more waits for the answer.
        .half_close(true)
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
