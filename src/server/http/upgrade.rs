//! The WebSocket handshake (RFC 6455 section 4.2) as a filter.
//!
//! Owns which requests become sessions and what the others are told. It deliberately knows nothing of
//! what is said once the connection is one.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use warp::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, Response, StatusCode, Version};
use warp::reply::Response as Reply;
use warp::{Filter, Rejection};

use crate::server::http::identity_cookie::identify;
use crate::server::http::lent::Lent;
use crate::server::limits::address;
use crate::server::limits::clients::Full;
use crate::server::progress::Tracked;
use crate::server::session::session::Session;
use crate::server::session::socket::Socket;
use crate::server::state::State;
use crate::server::tls::stream::TlsStream;
use crate::signaling::conversation::{Conversation, Identified};
use crate::telemetry::events::Event;
use crate::telemetry::refused::Refused;
use crate::wire::handshake::{accept_key, is_key};
use crate::wire::ids::Identity;
use crate::wire::text::quoted;

/// Where proxies write down for whom they ask.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where some proxies do.
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The parameter in the query of a WebSocket that only checks the server: its cookie is not looked at, and nothing is
/// kept for it.
const CHECK: &str = "check";

/// What the accept loop puts beside each request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address at the other end of TCP.
    pub ip: IpAddr,
    /// The request's HTTP version.
    pub version: Version,
}

/// Takes every request that asks for a WebSocket, for conversations of one kind, and turns away ones that
/// don't as not found.
pub fn upgrade<C: Conversation>(
    state: Arc<State>,
) -> impl Filter<Extract = (Reply,), Error = Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Caller>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and_then(move |method, query: String, headers, caller, upgrade| {
            let is_check = query.split('&').any(|parameter| parameter == CHECK);
            let reply = handshake::<C>(&state, &method, &headers, is_check, caller, upgrade);
            std::future::ready(reply)
        })
}

fn handshake<C: Conversation>(
    state: &Arc<State>,
    method: &Method,
    headers: &HeaderMap,
    is_check: bool,
    caller: Caller,
    upgrade: Option<OnUpgrade>,
) -> Result<Reply, Rejection> {
    if !asks_for_websocket(headers) {
        return Err(warp::reject::not_found());
    }
    let client_ip = client_ip(state, headers, caller);
    let acceptable = acceptable(method, headers, caller.version);
    let agreed = acceptable.and_then(|key| Ok((key, upgrade.ok_or(Refused::NoConnectionUpgrade)?)));
    let (key, upgrade) = agreed.inspect_err(|refused| state.turn_away(client_ip, *refused))?;
    let origin = headers.get(header::ORIGIN);
    if !origin.is_none_or(|origin| allows(state.studio.config.allowed_origins.as_deref(), origin)) {
        let origin = origin.map(HeaderValue::as_bytes).unwrap_or_default();
        let origin = quoted(&String::from_utf8_lossy(origin));
        state.studio.metrics.turned_away(Refused::Origin);
        state.studio.journal.log(Event::OriginRefused { client_ip, origin });
        return Err(Refused::Origin.into());
    }
    let slot = state.clients.admit(client_ip).map_err(|Full| {
        state.studio.metrics.turned_away(Refused::Full);
        state.studio.journal.log(Event::ClientsFull { client_ip, limit: state.clients.limit() });
        Refused::Full
    })?;
    let mut reply = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept_key(key));
    let (identity, set_cookie) = match is_check {
        true => (Identity::random(), None),
        false => identify(state, headers, caller.ip),
    };
    match set_cookie {
        Some(set_cookie) => reply = reply.header(header::SET_COOKIE, set_cookie),
        None if is_check => {}
        None => {
            let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes).unwrap_or_default();
            let origin = quoted(&String::from_utf8_lossy(origin));
            state.studio.journal.log(Event::OriginWithoutIdentity { client_ip, origin });
        }
    }
    if let Some(protocol) = first_protocol(headers) {
        reply = reply.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let state = Arc::clone(state);
    let tasks = state.shutdown.tasks.clone();
    // The slot is taken before the reply goes out, so a drain waits for handshakes in flight, too.
    tasks.spawn(async move {
        // An error means that the client went before it had the reply: the slot is given back.
        if let Ok((socket, early)) = upgrade.await.map(into_socket) {
            let (identified, tasks) =
                (Identified { identity, is_check }, state.shutdown.tasks.clone());
            let session = Session::<C>::new(state, slot, client_ip, identified, socket);
            // A task of its own, without what the handshake needed.
            tasks.spawn(session.run(early));
        }
    });
    let reply = reply.body(String::new());
    Ok(warp::Reply::into_response(reply.expect("all of its parts were valid headers before")))
}

/// The address of the client behind a request.
pub fn client_ip(state: &State, headers: &HeaderMap, caller: Caller) -> IpAddr {
    let forwarded = headers.get_all(FORWARDED).iter().map(HeaderValue::as_bytes);
    address::client(caller.ip, forwarded, &state.studio.config.trusted_proxies)
}

/// Whether a proxy says that it asks for somebody, in whatever words: then its own address is not theirs.
pub fn is_proxied(headers: &HeaderMap) -> bool {
    let says_so = |name: &HeaderName| {
        [header::FORWARDED, header::VIA, REAL_IP].contains(name)
            || name.as_str().starts_with("x-forwarded-")
    };
    headers.keys().any(says_so)
}

/// Whether a request names one host, as each of HTTP/1.1 must (RFC 9112 section 3.2).
///
/// # Errors
///
/// When there is none, or what no proxy could tell from two.
pub fn names_host(headers: &HeaderMap, version: Version) -> Result<(), Refused> {
    match only(headers, header::HOST) {
        None if version < Version::HTTP_11 => Ok(()),
        None => Err(Refused::NoHost),
        Some(Some(host)) if is_host(host) => Ok(()),
        Some(_) => Err(Refused::MalformedHost),
    }
}

/// Whether a page of this origin may talk to the server.
pub fn allows(allowed: Option<&[String]>, origin: &HeaderValue) -> bool {
    let Some(allowed) = allowed else {
        return true;
    };
    let origin = origin.to_str().ok().and_then(crate::config::web_origin::origin);
    origin.is_some_and(|origin| allowed.contains(&origin))
}

/// The key of an upgrade that can be accepted.
fn acceptable<'h>(
    method: &Method,
    headers: &'h HeaderMap,
    version: Version,
) -> Result<&'h [u8], Refused> {
    if !has_upgrade(headers) {
        return Err(Refused::NoUpgrade);
    }
    if method != Method::GET {
        return Err(Refused::Method);
    }
    if version != Version::HTTP_11 {
        return Err(Refused::HttpVersion);
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(Refused::NoConnectionUpgrade);
    }
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
    {
        return Err(Refused::Body);
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION) != Some(Some(b"13")) {
        return Err(Refused::WebSocketVersion);
    }
    let key = match only(headers, header::SEC_WEBSOCKET_KEY) {
        None => return Err(Refused::NoKey),
        Some(Some(key)) if is_key(key) => key,
        Some(_) => return Err(Refused::MalformedKey),
    };
    if !elements(headers, header::SEC_WEBSOCKET_PROTOCOL).all(is_token) {
        return Err(Refused::MalformedProtocol);
    }
    Ok(key)
}

/// The value of a header that must not come twice: the outer `None` where it is absent, the inner where it
/// does.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<Option<&[u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(values.next().is_none().then_some(first.as_bytes()))
}

/// The elements of a header that is a list; empty ones count for nothing (RFC 9110 section 5.6.1).
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter();
    let elements = values.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether a request asks for a WebSocket, or for one by everything but the `Upgrade` that a proxy took away.
pub fn asks_for_websocket(headers: &HeaderMap) -> bool {
    has_upgrade(headers) || headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

fn has_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

/// Whether a header that is a list of tokens has this one, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    elements(headers, name).any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// The first subprotocol that the client offers, if it offers any.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let first = elements(headers, header::SEC_WEBSOCKET_PROTOCOL).next()?;
    HeaderValue::from_bytes(first).ok()
}

/// RFC 9110 section 5.6.2.
fn is_token(element: &[u8]) -> bool {
    element.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Whether it may be a host with or without a port, or nothing, as for a target that has none (RFC 9110
/// section 7.2). Nothing here depends on which one: it is enough that no proxy could read it as two.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_graphic() && !b"/?#@\\,\"<>".contains(b))
}

/// What a session runs on, of a connection that hyper has let go of, and what hyper had read ahead.
fn into_socket(upgraded: Upgraded) -> (Socket, Vec<u8>) {
    match upgraded.downcast::<TokioIo<Lent<TlsStream<Tracked<TcpStream>>>>>() {
        Ok(parts) => {
            let (tcp, records) = parts.io.into_inner().into_inner().into_parts();
            (Socket::tls(tcp.into_inner(), records), parts.read_buf.to_vec())
        }
        Err(upgraded) => {
            let (tcp, early) = into_stream(upgraded);
            (Socket::plain(tcp), early)
        }
    }
}

/// The socket below a connection that hyper has let go of, and what hyper had read ahead.
fn into_stream(upgraded: Upgraded) -> (TcpStream, Vec<u8>) {
    let parts = upgraded
        .downcast::<TokioIo<Lent<Tracked<TcpStream>>>>()
        .expect("every connection was made on this type");
    (parts.io.into_inner().into_inner().into_inner(), parts.read_buf.to_vec())
}
