//! The filter graph: routes, what is not found, the headers on every answer.
//!
//! Owns HTTP's side of the protocol. It deliberately knows no socket.

use std::convert::Infallible;
use std::sync::Arc;

use serde::Serialize;
use warp::http::header::{HeaderMap, HeaderValue};
use warp::http::{Response, StatusCode, header};
use warp::path::FullPath;
use warp::reply::Response as Reply;
use warp::{Filter, Rejection};

use crate::shutdown::Phase;
use crate::state::State;
use crate::upgrade::{Refused, upgrade};

/// On every answer, the one that switches protocols included.
const SECURITY_HEADERS: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];

/// Everything that the port answers.
pub fn routes(
    state: Arc<State>,
) -> impl Filter<Extract = (impl warp::Reply,), Error = Infallible> + Clone {
    let headers: HeaderMap = SECURITY_HEADERS
        .into_iter()
        .map(|(name, value)| {
            (name.parse().expect("a header name"), HeaderValue::from_static(value))
        })
        .collect();
    let read = || warp::get().or(warp::head()).unify();
    let health = exactly("/health").and(read()).map({
        let state = Arc::clone(&state);
        move || health(&state)
    });
    let ready = exactly("/ready").and(read()).map({
        let state = Arc::clone(&state);
        move || ready(&state)
    });
    // The paths of the routes are not open to upgrades, whatever the method.
    let elsewhere = exactly("/health").or(exactly("/ready")).unify().map(not_found);
    health
        .or(ready)
        .unify()
        .or(elsewhere)
        .unify()
        .or(upgrade(state))
        .unify()
        .recover(|rejection: Rejection| std::future::ready(recover(&rejection)))
        .unify()
        .with(warp::reply::with::headers(headers))
}

/// A path to the letter: `warp::path!` would let a slash behind it pass.
fn exactly(path: &'static str) -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::path::full()
        .and_then(move |full: FullPath| {
            let same = full.as_str() == path;
            std::future::ready(if same { Ok(()) } else { Err(warp::reject::not_found()) })
        })
        .untuple_one()
}

fn health(state: &State) -> Reply {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        uptime: u64,
    }
    json(StatusCode::OK, &Health { status: "ok", uptime: state.started.elapsed().as_secs() })
}

fn ready(state: &State) -> Reply {
    #[derive(Serialize)]
    struct Ready {
        status: &'static str,
    }
    if state.shutdown.phase() == Phase::Serving {
        json(StatusCode::OK, &Ready { status: "ready" })
    } else {
        json(StatusCode::SERVICE_UNAVAILABLE, &Ready { status: "draining" })
    }
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

fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "Not found")
}

fn error(status: StatusCode, reason: &str) -> Reply {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
    }
    json(status, &Error { error: reason })
}

fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut text = Vec::new();
    crate::protocol::write(&mut text, body);
    let reply = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(text);
    warp::Reply::into_response(reply.expect("its parts are constants"))
}
