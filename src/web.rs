//! The web studio's files, so that its page and the WebSocket share one origin.
//!
//! Owns which files under `WEB_ROOT` are seen. It deliberately does not send them: `warp::fs` does.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use warp::filters::BoxedFilter;
use warp::http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, RANGE};
use warp::path::FullPath;
use warp::reply::Response as Reply;
use warp::{Filter, Rejection};

/// What is sent for a directory.
const INDEX: &str = "index.html";

/// The digits of a position in a file: 10^18 bytes are more than a file system holds, and less than 2^63.
const MAX_DIGITS: usize = 18;

/// Checks that a directory can be served: its real path.
///
/// # Errors
///
/// When it is no directory, or can't be read.
pub fn root(path: &Path) -> io::Result<PathBuf> {
    let root = path.canonicalize()?;
    root.read_dir()?;
    Ok(root)
}

/// What can't be read where a page to begin with should be, or `None`: `root`, a real path, has one.
pub fn missing_index(root: &Path) -> Option<PathBuf> {
    let index = root.join(INDEX);
    let is_there = is_seen(root, "/") && File::open(&index).is_ok();
    (!is_there).then_some(index)
}

/// Serves what is under `root`, a real path, to GET and HEAD. Anything else is not found.
pub fn files(root: PathBuf) -> BoxedFilter<(Reply,)> {
    let files = warp::fs::dir(root.clone());
    let root = Arc::new(root);
    warp::path::full()
        .and_then(move |path: FullPath| {
            let root = Arc::clone(&root);
            async move {
                match tokio::task::spawn_blocking(move || is_seen(&root, path.as_str())).await {
                    Ok(true) => Ok(()),
                    _ => Err(warp::reject::not_found()),
                }
            }
        })
        .untuple_one()
        .and(warp::header::headers_cloned().and_then(sane_range).untuple_one())
        .and(files)
        .map(|file| {
            let mut reply = warp::Reply::into_response(file);
            // A studio that was upgraded is seen at the next visit; what did not change is not sent again.
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            Ok::<_, Rejection>(reply)
        })
        .and_then(std::future::ready)
        .boxed()
}

/// Turns away a range that ends behind all files there can be: adding it up would overflow in warp.
async fn sane_range(headers: HeaderMap) -> Result<(), Rejection> {
    let range = headers.get(RANGE).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut numbers = range.split(|b| !b.is_ascii_digit());
    if numbers.any(|digits| digits.len() > MAX_DIGITS) {
        return Err(warp::reject::not_found());
    }
    Ok(())
}

/// Whether a request's path leads to a file under `root` with nothing hidden on the way. Links are
/// followed first, so that none leads out.
fn is_seen(root: &Path, path: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let Some(inner) = decoded.strip_prefix(b"/") else {
        return false;
    };
    let parts = || inner.split(|b| *b == b'/');
    if parts().any(|part| part.starts_with(b".") || part.contains(&b'\\')) {
        return false;
    }
    let mut wanted = root.to_owned();
    // An empty part, as behind a slash at the end, is no step.
    wanted.extend(parts().filter(|part| !part.is_empty()).map(OsStr::from_bytes));
    if wanted.is_dir() {
        wanted.push(INDEX);
    }
    let Ok(real) = wanted.canonicalize() else {
        return false;
    };
    let hidden = |part: &OsStr| part.as_bytes().starts_with(b".");
    real.is_file() && real.strip_prefix(root).is_ok_and(|inside| !inside.iter().any(hidden))
}
