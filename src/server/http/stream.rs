//! The route of listeners: `/stream/<mount>`.
//!
//! Owns what a listener is told before it hears anything. It deliberately does not pass the audio on.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use warp::filters::BoxedFilter;
use warp::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, Response, StatusCode};
use warp::path::FullPath;
use warp::reply::Response as Reply;
use warp::{Filter, Rejection};

use crate::config::icecast::Icecast;
use crate::programme::dial::WAY;
use crate::programme::icecast::Refusal;
use crate::programme::listening::{Playing, Silent, listen};
use crate::server::http::cors::cross_origin;
use crate::server::http::routes::{NO_STORE, error};
use crate::server::http::upgrade::{Caller, client_ip};
use crate::server::limits::listeners::{ListenerPlace, NoPlace};
use crate::server::state::State;
use crate::telemetry::events::Event;

/// Where the route begins.
const STREAM: &str = "/stream";

/// The name by which the web studio links to the programme, whatever the mount is.
const STUDIO_NAME: &str = "/stream/live.opus";

/// Somebody whose answer is what Icecast plays, to the end of the connection. It travels with the head of the answer.
#[derive(Clone)]
pub struct Listener(Arc<Mutex<Option<(Playing, ListenerPlace)>>>);

impl Listener {
    /// What it hears, and its place. There is something the first time only.
    pub fn take(&self) -> Option<(Playing, ListenerPlace)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The paths of the route; none where no Icecast is set up, or nobody may listen here.
pub fn paths(icecast: Option<&Icecast>) -> Vec<String> {
    let icecast =
        icecast.filter(|icecast| icecast.max_listeners > 0 || icecast.public_url.is_some());
    let mount = icecast.map(|icecast| format!("{STREAM}{}", icecast.url.mount));
    let studio = mount.as_ref().map(|_| STUDIO_NAME.to_owned());
    mount.into_iter().chain(studio).collect()
}

/// The route.
pub fn stream(state: &Arc<State>) -> BoxedFilter<(Reply,)> {
    let paths = paths(state.studio.config.icecast.as_ref());
    let is_one = warp::path::full()
        .and_then(move |full: FullPath| {
            let is_one = paths.iter().any(|path| path == full.as_str());
            std::future::ready(is_one.then_some(()).ok_or_else(warp::reject::not_found))
        })
        .untuple_one();
    let shared = Arc::clone(state);
    let play = warp::get()
        .or(warp::head())
        .unify()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Caller>())
        .and_then(move |method: Method, headers: HeaderMap, caller: Caller| {
            let state = Arc::clone(&shared);
            async move {
                let client_ip = client_ip(&state, &headers, caller);
                Ok::<_, Rejection>(play(&state, &method, client_ip).await)
            }
        });
    is_one.and(cross_origin(state, play)).boxed()
}

async fn play(state: &State, method: &Method, client_ip: IpAddr) -> Reply {
    let Some(icecast) = &state.studio.config.icecast else {
        return error(StatusCode::NOT_FOUND, "Not found");
    };
    if let Some(url) = &icecast.public_url {
        return elsewhere(url);
    }
    let place = match state.listeners.admit(client_ip) {
        Ok(place) => place,
        Err(why) => {
            state.studio.journal.log(match why {
                NoPlace::Full(limit) => Event::ListenersFull { client_ip, limit },
                NoPlace::Crowded(limit) => Event::ListenersCrowded { client_ip, limit },
            });
            return full();
        }
    };
    let turn = state.listeners.turn().await;
    let playing = listen(icecast, Path::new(WAY)).await;
    drop(turn);
    let playing = match playing {
        Ok(playing) => playing,
        Err(Silent::OffAir) => return error(StatusCode::NOT_FOUND, "Nobody is on air"),
        Err(Silent::Unavailable(refusal)) => {
            let (url, reason, fix) = (icecast.url.to_string(), refusal.to_string(), refusal.fix());
            let is_full = refusal == Refusal::Full;
            state.studio.journal.log(Event::StreamUnavailable { client_ip, url, reason, fix });
            if is_full {
                return full();
            }
            return error(StatusCode::BAD_GATEWAY, "Stream unavailable");
        }
    };
    let mut reply = Response::builder()
        .header(header::CONTENT_TYPE, &playing.content_type)
        .header(header::CACHE_CONTROL, NO_STORE)
        .header(header::ACCEPT_RANGES, "none")
        // Its end is that of the connection.
        .header(header::CONNECTION, "close")
        .body(String::new())
        .map(warp::Reply::into_response)
        .unwrap_or_else(|_| error(StatusCode::BAD_GATEWAY, "Stream unavailable"));
    for (name, value) in &playing.fields {
        // What can't stand in an answer is left out.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            reply.headers_mut().append(name, value);
        }
    }
    if *method == Method::GET && reply.status() == StatusCode::OK {
        let listener = Listener(Arc::new(Mutex::new(Some((playing, place)))));
        reply.extensions_mut().insert(listener);
    }
    reply
}

/// The answer where there is no place.
fn full() -> Reply {
    let mut reply = error(StatusCode::SERVICE_UNAVAILABLE, "Too many listeners");
    // In seconds.
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    reply
}

/// The answer that leads to Icecast itself.
fn elsewhere(url: &str) -> Reply {
    let reply = Response::builder()
        .status(StatusCode::TEMPORARY_REDIRECT)
        .header(header::LOCATION, url)
        .header(header::CACHE_CONTROL, NO_STORE)
        .body(String::new());
    warp::Reply::into_response(reply.expect("the setting is in ASCII"))
}
