//! What pages of other origins may read (Fetch standard, CORS protocol).
//!
//! Owns the fields that say so. It deliberately does not know what they read.

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::http::header::{self, HeaderMap, HeaderValue};
use warp::http::{Response, StatusCode};
use warp::reply::Response as Reply;
use warp::{Filter, Rejection};

use crate::server::http::upgrade::allows;
use crate::server::state::State;

/// The answers of `route`, and to preflights, for pages of any origin, or of those in `ALLOWED_ORIGINS`.
pub fn cross_origin<F>(state: &Arc<State>, route: F) -> BoxedFilter<(Reply,)>
where
    F: Filter<Extract = (Reply,), Error = Rejection> + Clone + Send + Sync + 'static,
{
    let state = Arc::clone(state);
    route
        .or(warp::options().map(preflight))
        .unify()
        .and(warp::header::headers_cloned())
        .map(move |mut reply: Reply, headers: HeaderMap| {
            let allowed = state.studio.config.allowed_origins.as_deref();
            let origin = headers.get(header::ORIGIN).filter(|origin| allows(allowed, origin));
            let origin = match allowed {
                None => Some(HeaderValue::from_static("*")),
                Some(_) => origin.cloned(),
            };
            if allowed.is_some() {
                reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
            }
            if let Some(origin) = origin {
                reply.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            }
            reply
        })
        .boxed()
}

fn preflight() -> Reply {
    let reply = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, OPTIONS")
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type")
        // A day, in seconds; browsers keep it for less.
        .header(header::ACCESS_CONTROL_MAX_AGE, "86400")
        .header(header::ALLOW, "GET, OPTIONS")
        .body(String::new());
    warp::Reply::into_response(reply.expect("its parts are constants"))
}
