//! HTTP/1.1 on one connection.
//!
//! Owns how long each part may take, and how large a head may be. It deliberately does not know what requests mean.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use warp::reply::Response as Reply;

use crate::server::first::First;
use crate::server::http::lent::{Lent, lend};
use crate::server::listener::{Hearing, Wanted};
use crate::server::progress::Progress;
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::telemetry::refused::Refused;

/// How long a client may take to its first byte, then for the handshake of TLS where there is one, and then for a
/// request head. A further head has as long from its first byte.
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// The largest request head, in bytes.
pub const HEAD_BYTES: usize = 16 * 1024;

/// How long, while everything closes, a new connection may take to its first request, and a request that
/// has begun to its end. Whoever connected a moment before the end still gets an answer.
pub const LAST_REQUEST: Duration = Duration::from_secs(1);

/// How long nothing may move on a connection whose last request is being answered, or was: the client takes no byte of
/// the answer, and begins no other request. Load balancers keep an idle connection for 60 s, and it has to be they who
/// end it: a request that they send at that moment would be lost. A client that takes its answer slowly is not cut. Its
/// kernel and ours tell of new room in steps, of up to 137 KB where they were measured with the listener's send buffer,
/// so 2 KB a second are enough.
pub const QUIET_TIME: Duration = Duration::from_secs(75);

/// The largest piece that is read or held back for who does not read, in bytes: a head fits, and thousands who ask for
/// files and do not read them cost no more than those who say nothing.
const BUFFER: usize = HEAD_BYTES + 1024;

/// HTTP on a stream of either kind.
pub type Connection<S, F> = http1::UpgradeableConnection<TokioIo<Lent<S>>, F>;

/// What ends a connection for its time.
#[derive(Clone, Copy)]
pub struct Limits<'c> {
    /// What all connections share.
    pub state: &'c State,
    /// The client's address.
    pub ip: IpAddr,
    /// When it was accepted.
    pub accepted: Instant,
    /// What has moved on it.
    pub progress: &'c Progress,
    /// Whether there is TLS on it.
    pub is_tls: bool,
}

impl Limits<'_> {
    /// Lasts until the connection has made no progress for as long as it may. Whoever makes progress wakes the task that
    /// waits here, so an earlier end is noticed, too.
    async fn stalled(&self) {
        let mut timer = pin!(sleep_until(self.end()));
        poll_fn(|cx| {
            let end = self.end();
            if timer.deadline() != end {
                timer.as_mut().reset(end);
            }
            timer.as_mut().poll(cx)
        })
        .await;
    }

    /// When the connection ends without further progress.
    fn end(&self) -> Instant {
        match self.progress.head_since() {
            Some(since) => since + HEAD_TIME,
            None => self.progress.moved() + QUIET_TIME,
        }
    }
}

/// Lasts until everything closes, and a moment longer for who connected just before.
pub async fn closing(state: &State, accepted: Instant) {
    state.shutdown.reached(Phase::Closing).await;
    sleep_until(accepted + LAST_REQUEST).await;
}

/// HTTP on a connection, with its limits.
fn http<S, F>(stream: Lent<S>, service: F) -> Connection<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    http1::Builder::new()
        // It would hold for idle connections as well.
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER)
        // Who has asked and says nothing more waits for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
}

/// What becomes of a connection on which HTTP was served.
pub enum Served<S> {
    /// It has ended, or is a WebSocket's.
    Over,
    /// It is a listener's from now on.
    Listens(S, Hearing),
    /// Another process goes on with it; this much of a head has come.
    Carried(S, Vec<u8>),
}

/// Serves HTTP until the connection ends, is upgraded, or is given away.
pub async fn serve<S, F>(
    stream: S,
    service: F,
    first: First,
    limits: Limits<'_>,
    wanted: &Wanted,
) -> Served<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    let (lent, back) = lend(stream);
    // In a box: a listener's task does not carry what served its request.
    let mut connection = Box::new(http(lent, service));
    limits.progress.await_head();
    let (state, mut patience) = (limits.state, LAST_REQUEST);
    tokio::select! {
        biased;
        // What has come, and nobody has looked at, is for the next process.
        () = state.shutdown.within(Phase::HandingOver) => {
            if limits.progress.can_be_carried() {
                return match connection.into_parts() {
                    Some(Parts { io, read_buf, .. }) => {
                        Served::Carried(io.into_inner().into_inner(), read_buf.to_vec())
                    }
                    None => Served::Over,
                };
            }
        }
        // What has come in time goes before the end of that time.
        served = &mut connection => {
            // hyper has told the client.
            if let Some(why) = served.err().and_then(|error| misread(&error, first)) {
                state.turn_away(limits.ip, why);
            }
            return Served::Over;
        }
        hearing = wanted.wanted() => {
            // What was asked before it has been answered and sent: hyper takes one request after the other.
            drop(connection);
            return back.await.map_or(Served::Over, |stream| Served::Listens(stream, hearing));
        }
        // Through TLS, it can't be carried: who has been answered goes, and who has not is answered.
        () = state.shutdown.within(Phase::Settling), if limits.is_tls => patience = HEAD_TIME,
        () = limits.stalled() => {
            if limits.progress.head_since().is_some() {
                return Served::Over;
            }
        }
        () = closing(state, limits.accepted) => {}
    }
    Pin::new(&mut *connection).graceful_shutdown();
    let _ = timeout(patience, connection).await;
    Served::Over
}

/// What was there instead of HTTP, where that is what ended a connection.
fn misread(error: &hyper::Error, first: First) -> Option<Refused> {
    Some(match first {
        _ if error.is_parse_too_large() => Refused::HeadTooLarge,
        _ if !error.is_parse() => return None,
        First::Tls => Refused::TlsOnPlain,
        First::ProxyProtocol => Refused::ProxyProtocol,
        First::Other => Refused::NotHttp,
    })
}
