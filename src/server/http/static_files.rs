//! The web studio's files, so that its page and the WebSocket share one origin.
//!
//! Owns which files under `WEB_ROOT` are seen. It deliberately does not send them: `warp::fs` does.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, RANGE};
use warp::http::{Method, Request, StatusCode, Uri};
use warp::path::FullPath;
use warp::reply::Response as Reply;

use crate::config::config::PACKAGED_STUDIO;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// What is sent for a directory.
const INDEX: &str = "index.html";

/// The digits of a position in a file: 10^18 bytes are more than a file system holds, and less than 2^63.
const MAX_DIGITS: usize = 18;

/// The one hidden directory that is meant to be seen, at the top only (RFC 8615 section 3).
const WELL_KNOWN: &[u8] = b".well-known";

/// Whether it is where the studio's package has its files, and that one is not installed. When it is, they are served
/// without a restart.
fn is_not_installed(root: &Path) -> bool {
    root == Path::new(PACKAGED_STUDIO) && !root.exists()
}

/// Checks that a directory can be served.
///
/// # Errors
///
/// When it is no directory, or can't be read.
pub fn check_root(path: &Path) -> io::Result<()> {
    if is_not_installed(path) {
        return Ok(());
    }
    path.canonicalize()?.read_dir().map(drop)
}

/// What can't be read where a page to begin with should be, or `None`: the directory `root` has one.
pub fn missing_index(root: &Path) -> Option<PathBuf> {
    let index = root.join(INDEX);
    let is_there = real_root(root, "/").is_some() && File::open(&index).is_ok();
    (!is_there && !is_not_installed(root)).then_some(index)
}

/// Serves what is under the `WEB_ROOT` of this moment to GET and HEAD. Anything else is not found. Its links are
/// followed at each request: a new release of the studio is often put in force by turning one.
pub fn files(root: PathBuf, journal: Journal) -> BoxedFilter<(Reply,)> {
    let root: Arc<Path> = root.into();
    warp::get()
        .or(warp::head())
        .unify()
        .and(warp::method())
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and_then(move |method, path: FullPath, headers: HeaderMap| {
            let (root, journal) = (Arc::clone(&root), journal.clone());
            async move {
                let reply = file(&root, &journal, method, path, headers).await;
                reply.ok_or_else(warp::reject::not_found)
            }
        })
        .boxed()
}

async fn file(
    root: &Arc<Path>,
    journal: &Journal,
    method: Method,
    path: FullPath,
    headers: HeaderMap,
) -> Option<Reply> {
    if !is_sane_range(&headers) {
        return None;
    }
    let (wanted, asked) = (Arc::clone(root), path.as_str().to_owned());
    let found = tokio::task::spawn_blocking(move || {
        real_root(&wanted, &asked).ok_or_else(|| wanted.is_dir())
    });
    let real = match found.await.ok()? {
        Ok(real) => real,
        Err(is_there) => {
            if !is_there && !is_not_installed(root) {
                let index = root.join(INDEX).display().to_string();
                journal.log(Event::WebRootEmpty { path: index });
            }
            return None;
        }
    };
    let mut request = Request::new(String::new());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(path.as_str()).ok()?;
    *request.headers_mut() = headers;
    let files = TowerToHyperService::new(warp::service(warp::fs::dir(real)));
    // A task of its own, because warp wants one filter at a time in a task, and this one is inside of another.
    let served = tokio::spawn(async move { files.call(request).await }).await;
    let Ok(Ok(mut reply)) = served else { return None };
    let is_about_a_file = reply.status().is_success()
        || [
            StatusCode::NOT_MODIFIED,
            StatusCode::PRECONDITION_FAILED,
            StatusCode::RANGE_NOT_SATISFIABLE,
        ]
        .contains(&reply.status());
    if !is_about_a_file {
        return None;
    }
    // A studio that was upgraded is seen at the next visit; what did not change is not sent again.
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(reply)
}

/// Whether a range ends where a file can: adding up one that does not would overflow in warp.
fn is_sane_range(headers: &HeaderMap) -> bool {
    let range = headers.get(RANGE).map(HeaderValue::as_bytes).unwrap_or_default();
    range.split(|b| !b.is_ascii_digit()).all(|digits| digits.len() <= MAX_DIGITS)
}

/// The real path of `root` where a request's path leads to a file under it, with nothing hidden on the way. Links are
/// followed first, so that none leads out.
fn real_root(root: &Path, path: &str) -> Option<PathBuf> {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let inner = decoded.strip_prefix(b"/")?;
    let parts = || inner.split(|b| *b == b'/');
    if has_hidden(parts()) || parts().any(|part| part.contains(&b'\\')) {
        return None;
    }
    let root = root.canonicalize().ok()?;
    let mut wanted = root.clone();
    // An empty part, as behind a slash at the end, is no step.
    wanted.extend(parts().filter(|part| !part.is_empty()).map(OsStr::from_bytes));
    if wanted.is_dir() {
        wanted.push(INDEX);
    }
    let real = wanted.canonicalize().ok()?;
    let inside = real.strip_prefix(&root).ok()?;
    let is_seen = real.is_file() && !has_hidden(inside.iter().map(OsStr::as_bytes));
    is_seen.then_some(root)
}

/// Whether one of the parts of a path is hidden, but for a first one that is known to all.
fn has_hidden<'p>(parts: impl Iterator<Item = &'p [u8]>) -> bool {
    let is_hidden =
        |(index, part): (usize, &[u8])| part.starts_with(b".") && (index > 0 || part != WELL_KNOWN);
    parts.enumerate().any(is_hidden)
}
