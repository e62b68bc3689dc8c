//! The filter graph: routes, what is not found, the headers on every answer.
//!
//! Owns HTTP's side of the protocol. It deliberately knows no socket.

use std::convert::Infallible;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use warp::filters::BoxedFilter;
use warp::http::header::{HeaderMap, HeaderName, HeaderValue};
use warp::http::{Response, StatusCode, header};
use warp::path::FullPath;
use warp::reply::Response as Reply;
use warp::{Filter, Rejection};

use crate::cluster::standing::Shown;
use crate::config::config::MetricsAccess;
use crate::programme::on_air::Standing;
use crate::programme::opus::RATE;
use crate::server::http::capabilities::capabilities;
use crate::server::http::check_page::page;
use crate::server::http::cors::cross_origin;
use crate::server::http::icecast_check::{LastAnswer, icecast_check};
use crate::server::http::static_files::files;
use crate::server::http::stream::{self, stream};
use crate::server::http::upgrade::{
    Caller, asks_for_websocket, client_ip, is_proxied, names_host, upgrade,
};
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::signaling::conversation::Conversation;
use crate::station::manifest::Manifest;
use crate::telemetry::counts::Counts;
use crate::telemetry::events::Event;
use crate::telemetry::metrics::CONTENT_TYPE;
use crate::telemetry::refused::Refused;

/// On every answer, the one that switches protocols included.
const SECURITY_HEADERS: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];

/// On what is true now only: a cache in front would go on saying that a dead server is well (RFC 9111 section
/// 5.2.2.5).
pub const NO_STORE: &str = "no-store";

/// Where the check page and `check` learn whether Icecast would take a programme.
const ICECAST_CHECK: &str = "/check/icecast";

/// Everything that the port answers, with conversations of one kind on its WebSockets.
pub fn routes<C: Conversation>(
    state: Arc<State>,
) -> impl Filter<Extract = (impl warp::Reply,), Error = Infallible> + Clone {
    let read = |path| exactly(path).and(warp::get().or(warp::head()).unify()).boxed();
    let health = read("/health").map({
        let state = Arc::clone(&state);
        move || health(&state)
    });
    let ready = read("/ready").map({
        let state = Arc::clone(&state);
        move || ready(&state)
    });
    let station = station_route(&state);
    let capabilities = read("/api/capabilities").map({
        let has_icecast = state.studio.config.icecast.is_some();
        move || json(StatusCode::OK, &capabilities(has_icecast))
    });
    let routes = ["/health", "/ready", "/api/station", "/api/capabilities", "/metrics"];
    let mut paths = stream::paths(state.studio.config.icecast.as_ref());
    paths.extend(routes.map(str::to_owned));
    let metrics =
        read("/metrics").and(warp::header::headers_cloned()).and(warp::ext::get::<Caller>()).map({
            let state = Arc::clone(&state);
            move |headers: HeaderMap, caller| metrics(&state, &headers, caller)
        });
    let check = if state.studio.config.check_page {
        paths.push("/check".to_owned());
        let headers = warp::header::headers_cloned();
        read("/check").and(headers).map(|headers| page(&headers)).boxed()
    } else {
        warp::any().and_then(nothing).boxed()
    };
    let icecast_check = match &state.studio.config.icecast {
        Some(icecast) if state.studio.config.check_page => {
            paths.push(ICECAST_CHECK.to_owned());
            let (state, icecast) = (Arc::clone(&state), icecast.clone());
            let last = LastAnswer::default();
            let answer = move || {
                let (state, icecast, last) = (Arc::clone(&state), icecast.clone(), last.clone());
                async move { Ok::<_, Rejection>(icecast_check(&state, &icecast, &last).await) }
            };
            read(ICECAST_CHECK).and_then(answer).boxed()
        }
        _ => warp::any().and_then(nothing).boxed(),
    };
    // The paths of the routes are not open to upgrades, whatever the method.
    let elsewhere = first_of(paths.into_iter().map(|path| exactly(path).map(not_found).boxed()));
    let files = match &state.web_root {
        Some(root) => files(root.clone(), state.studio.journal.clone()),
        None => warp::any().and_then(nothing).boxed(),
    };
    let all = [
        health.boxed(),
        ready.boxed(),
        station,
        stream(&state),
        capabilities.boxed(),
        metrics.boxed(),
        check,
        icecast_check,
        elsewhere,
        upgrade::<C>(Arc::clone(&state)).boxed(),
        no_upgrade().and(files).boxed(),
    ];
    one_host(&state)
        .and(first_of(all))
        .recover(|rejection: Rejection| std::future::ready(recover(&rejection)))
        .unify()
        .with(warp::reply::with::headers(security_headers()))
}

/// The first of these filters that has an answer. Each is in a box: as one type, a chain of them makes the program larger
/// with each, by more than the filter itself.
fn first_of(filters: impl IntoIterator<Item = BoxedFilter<(Reply,)>>) -> BoxedFilter<(Reply,)> {
    let filters = filters.into_iter().reduce(|all, filter| all.or(filter).unify().boxed());
    filters.expect("there are routes")
}

/// A request that could be read as one for another host is no request.
fn one_host(state: &Arc<State>) -> impl Filter<Extract = (), Error = Rejection> + Clone + use<> {
    let state = Arc::clone(state);
    warp::header::headers_cloned()
        .and(warp::ext::get::<Caller>())
        .and_then(move |headers: HeaderMap, caller: Caller| {
            let named = names_host(&headers, caller.version).map_err(|refused| {
                state.turn_away(client_ip(&state, &headers, caller), refused);
                Rejection::from(refused)
            });
            std::future::ready(named)
        })
        .untuple_one()
}

fn security_headers() -> HeaderMap {
    let headers = SECURITY_HEADERS.into_iter();
    let headers = headers
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    headers.collect()
}

/// A path to the letter: `warp::path!` would let a slash behind it pass.
fn exactly(path: impl Into<String>) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    let path: Arc<str> = path.into().into();
    warp::path::full()
        .and_then(move |full: FullPath| {
            let same = full.as_str() == &*path;
            std::future::ready(if same { Ok(()) } else { Err(warp::reject::not_found()) })
        })
        .untuple_one()
}

/// When the process began, in ms since 1970: `uptime` goes on in the next one.
pub const BEGAN: HeaderName = HeaderName::from_static("process-began");

fn health(state: &State) -> Reply {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        uptime: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        cluster: Option<Shown>,
    }
    let uptime = state.started.elapsed().as_secs();
    let cluster = state.cluster.as_ref().map(|found| found.borrow().show(Instant::now()));
    let mut reply = json(StatusCode::OK, &Health { status: "ok", uptime, cluster });
    reply.headers_mut().insert(BEGAN, state.began_unix.into());
    reply
}

fn ready(state: &State) -> Reply {
    #[derive(Serialize)]
    struct Ready {
        status: &'static str,
    }
    let is_cut_off = state.cluster.as_ref().is_some_and(|found| {
        let standing = found.borrow();
        !standing.is_member || standing.out_of_touch(Instant::now()).is_some()
    });
    let (code, status) = match state.shutdown.phase() {
        Phase::Serving if is_cut_off => (StatusCode::SERVICE_UNAVAILABLE, "cluster-unavailable"),
        Phase::Serving => (StatusCode::OK, "ready"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    json(code, &Ready { status })
}

/// What pages of other origins may know of the station.
fn station_route(state: &Arc<State>) -> BoxedFilter<(Reply,)> {
    let shared = Arc::clone(state);
    let get = warp::get().map(move || station(&shared));
    exactly("/api/station").and(cross_origin(state, get)).boxed()
}

fn station(state: &State) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        station_id: &'a str,
        name: &'a str,
        signaling: &'a RawValue,
        on_air: Option<Standing>,
    }
    let Manifest { station_id, name, signaling, .. } = &*state.studio.manifest.now();
    let on_air = state.studio.on_air.standing();
    json(StatusCode::OK, &Answer { station_id, name, signaling, on_air })
}

fn metrics(state: &State, headers: &HeaderMap, caller: Caller) -> Reply {
    let client_ip = client_ip(state, headers, caller);
    // A proxy that nobody named, or that does not say for whom it asks, has an address that says nothing about that.
    let is_hidden = is_proxied(headers) && client_ip == caller.ip.to_canonical();
    let may_see = match &state.studio.config.metrics {
        MetricsAccess::Nobody => false,
        MetricsAccess::Everybody => true,
        MetricsAccess::Networks(networks) => {
            !is_hidden && networks.iter().any(|network| network.contains(&client_ip))
        }
    };
    if !may_see {
        state.studio.metrics.turned_away(Refused::Metrics);
        let fix = match (&state.studio.config.metrics, is_hidden) {
            (MetricsAccess::Nobody, _) => "set METRICS to its network, instead of off",
            (_, true) => {
                "name the proxy in front of it in TRUSTED_PROXIES, let that send X-Forwarded-For, and name its own network in METRICS"
            }
            (_, false) => {
                "name its network in METRICS, beside what is there (METRICS=127.0.0.1,::1,NETWORK)"
            }
        };
        state.studio.journal.log(Event::MetricsRefused { client_ip, fix });
        return not_found();
    }
    let (clients, on_air) = (state.clients.taken(), state.studio.on_air.air());
    let (is_on_air, is_heard) = (on_air.on_air().is_some(), on_air.is_taken());
    drop(on_air);
    let account = state.studio.on_air.account();
    let seconds = |samples: u64| samples / u64::from(RATE);
    let cluster = state.cluster.as_ref().map_or([0; 4], |found| {
        let [nodes, is_in_touch, waiting] = found.borrow().counts(Instant::now());
        [nodes, is_in_touch, state.studio.hub.sizes()[0] as usize, waiting]
    });
    let counts = Counts {
        clients,
        cluster,
        on_air: is_on_air.into(),
        heard: is_heard.into(),
        listeners: state.listeners.taken(),
        quiet: account.quiet.as_secs() as usize,
        programme: [
            account.time.as_secs(),
            account.sent,
            seconds(account.written.silence),
            seconds(account.written.dropped),
            account.reconnects,
            account.refusals,
        ],
        ..state.studio.hub.count()
    };
    let text = state.studio.metrics.text(counts, state.studio.journal.lost());
    let reply = Response::builder()
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header(header::CACHE_CONTROL, NO_STORE)
        .body(text);
    warp::Reply::into_response(reply.expect("its parts are constants"))
}

/// A refused upgrade is answered as such, also where there is a file of that path.
fn no_upgrade() -> BoxedFilter<()> {
    warp::header::headers_cloned()
        .and_then(|headers: HeaderMap| {
            let result =
                if asks_for_websocket(&headers) { Err(warp::reject::not_found()) } else { Ok(()) };
            std::future::ready(result)
        })
        .untuple_one()
        .boxed()
}

async fn nothing() -> Result<Reply, Rejection> {
    Err(warp::reject::not_found())
}

/// What a client is told where no filter had an answer.
fn recover(rejection: &Rejection) -> Result<Reply, Infallible> {
    let Some(refused) = rejection.find::<Refused>() else {
        return Ok(not_found());
    };
    let mut reply = error(refused.status(), refused.reason());
    for (name, value) in refused.hints() {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(reply)
}

/// What anything else gets that is no route.
pub fn not_found() -> Reply {
    let mut reply = error(StatusCode::NOT_FOUND, "Not found");
    reply.headers_mut().extend(security_headers());
    reply
}

/// What plain HTTP gets on a port that speaks TLS.
pub fn tls_only() -> Reply {
    let reason = "This port speaks TLS: use https:// or wss://";
    let mut reply = error(StatusCode::BAD_REQUEST, reason);
    reply.headers_mut().extend(security_headers());
    reply
}

/// An error, as JSON.
pub fn error(status: StatusCode, reason: &str) -> Reply {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
    }
    json(status, &Error { error: reason })
}

/// An answer in JSON.
pub fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut text = Vec::new();
    crate::wire::reply::write(&mut text, body);
    let reply = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, NO_STORE)
        .body(text);
    warp::Reply::into_response(reply.expect("its parts are constants"))
}
