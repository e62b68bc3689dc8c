//! The way to the programme over HTTP.
//!
//! Owns the request, one redirect, and what each other answer means. It deliberately does not know what is in the stream.

use std::time::Instant;

use hyper::body::Incoming;
use hyper::{Response, StatusCode, header};
use serde::Deserialize;

use crate::check::connect::{Client, Stream, body, is_json, proxy_problem, should_use_tls, tls};
use crate::check::report::{Finding, Problem, Report};
use crate::check::url::Target;
use crate::wire::text::quoted;

/// Where the server lets the programme be heard.
const STREAM: &str = "/stream/live.opus";

/// What to do where nothing listens on a port that is not the server's own.
const CLOSED: &str = "another port? `openstudio-signaling check --listen http://HOST:PORT/MOUNT`. Icecast not running? `systemctl start icecast2`. Why not? Its error.log says so";

/// What a request for the stream leads to.
enum Answer {
    /// To the stream.
    Stream(Incoming),
    /// To another place.
    Elsewhere(Target),
}

/// Asks for the stream at `target`: at its path, or where the server has it, if the URL has none. `None` where there is
/// none.
pub async fn reach(target: &Target, report: &mut Report) -> Option<Incoming> {
    let mut target = target.clone();
    if target.path == "/" {
        target.path = STREAM.into();
    }
    let next = match open(&target, true, report).await? {
        Answer::Stream(body) => return Some(body),
        Answer::Elsewhere(next) => next,
    };
    match open(&next, false, report).await? {
        Answer::Stream(body) => Some(body),
        Answer::Elsewhere(_) => None,
    }
}

/// Asks for the stream, and prints what the answer is. `may_follow` says whether it may lead elsewhere.
async fn open(target: &Target, may_follow: bool, report: &mut Report) -> Option<Answer> {
    let connected = if target.tls { Some(tls(target, report).await?) } else { None };
    let start = Instant::now();
    let ask = async {
        let (client, stream) = match connected {
            Some(connected) => connected,
            None => connect(target).await?,
        };
        client.ask(stream).await
    };
    let asked = report.bounded("answer", ask).await;
    // A port for TLS says nothing that is HTTP, or that this is a bad request.
    let may_be_tls = match &asked {
        Ok(answer) => answer.status() == StatusCode::BAD_REQUEST,
        Err(_) => true,
    };
    let mut result = match asked {
        Ok(answer) => report.bounded("answer", judge(answer, target, may_follow)).await,
        Err(problem) => Err(problem),
    };
    if may_be_tls && !target.tls && should_use_tls(target).await {
        let fix = format!("`openstudio-signaling check --listen {}`", target.with_tls(true));
        result = Err(Problem::new("this port speaks TLS", fix));
    }
    let is_elsewhere = matches!(result, Ok((_, Answer::Elsewhere(_))));
    report.done(if is_elsewhere { "redirect" } else { "stream" }, start, result)
}

/// A connection without TLS.
async fn connect(target: &Target) -> Result<(Client, Stream), Problem> {
    let client = Client::new(target.clone())?;
    let client = if target.path == STREAM { client } else { client.where_closed(CLOSED) };
    let stream = client.connect().await?;
    Ok((client, stream))
}

/// What an answer is, as far as its head tells.
async fn judge(
    answer: Response<Incoming>,
    target: &Target,
    may_follow: bool,
) -> Result<(Finding, Answer), Problem> {
    let status = answer.status();
    let field = |name| {
        let value = answer.headers().get(name).map(header::HeaderValue::as_bytes);
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    if status == StatusCode::OK {
        let kind = field(header::CONTENT_TYPE).unwrap_or_default();
        let is_ogg = ["application/ogg", "audio/ogg", "audio/opus"]
            .iter()
            .any(|ogg| kind.split(';').next().is_some_and(|kind| kind.trim() == *ogg));
        let shown = if kind.is_empty() { "no Content-Type".into() } else { quoted(&kind) };
        let warning = (!is_ogg).then(|| {
            "players go by the Content-Type: it should be application/ogg or audio/ogg".into()
        });
        let finding = Finding { detail: format!("HTTP 200, {shown}"), warning };
        return Ok((finding, Answer::Stream(answer.into_body())));
    }
    if let Some(location) = field(header::LOCATION).filter(|_| is_followed(status)) {
        let place = quoted(&location);
        if !may_follow {
            let fix = "listen at the address that it leads to";
            return Err(Problem::new(format!("HTTP {status}: it leads on to {place}"), fix));
        }
        let next = elsewhere(&location, target).ok_or_else(|| {
            let fix = "correct the address: ICECAST_PUBLIC_URL, or the proxy's configuration";
            Problem::new(format!("HTTP {status}: it leads to {place}, and that is no URL"), fix)
        })?;
        let finding = format!("HTTP {status}: it leads to {place}");
        return Ok((finding.into(), Answer::Elsewhere(next)));
    }
    Err(refused(answer, target).await)
}

fn is_followed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 307 | 308)
}

/// Where a Location leads: a URL, or a path of the same server.
fn elsewhere(location: &str, target: &Target) -> Option<Target> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(Target { path: location.to_owned(), ..target.clone() });
    }
    let is_http = ["http://", "https://"].iter().any(|scheme| location.starts_with(scheme));
    Target::parse(location).ok().filter(|_| is_http)
}

/// Why there is no stream.
async fn refused(answer: Response<Incoming>, target: &Target) -> Problem {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let (status, is_json, path) = (answer.status(), is_json(&answer), quoted(&target.path));
    let proxy = proxy_problem(&answer).filter(|_| !is_json);
    let body = body(answer).await;
    let refusal: Option<Refusal> = serde_json::from_slice(&body).ok().filter(|_| is_json);
    let (what, fix) = match status {
        StatusCode::NOT_FOUND if refusal.is_some_and(|refusal| refusal.error == "Not found") => (
            format!("HTTP {status}: this server has no stream at {path}"),
            "set ICECAST_URL there; if it is set, check the path",
        ),
        StatusCode::NOT_FOUND if is_json => {
            (format!("HTTP {status} at {path}: nobody is on air"), "let a host press Stream")
        }
        StatusCode::NOT_FOUND => (
            format!("HTTP {status} at {path}: nobody is on air"),
            "let a host press Stream; if one is on air, check the path: at Icecast it is that of ICECAST_URL",
        ),
        StatusCode::BAD_GATEWAY if is_json => (
            format!("HTTP {status}: the server can't reach Icecast"),
            "there, `journalctl -u openstudio-signaling -n 20` says why; `systemctl start icecast2` starts Icecast",
        ),
        StatusCode::SERVICE_UNAVAILABLE if is_json => (
            format!("HTTP {status}: there are too many listeners"),
            "raise MAX_LISTENERS there, or set ICECAST_PUBLIC_URL, so that they listen at Icecast",
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            format!("HTTP {status}: this listener is refused"),
            "look at the mount in icecast.xml: it may want a password, or have as many listeners as <max-listeners> allows",
        ),
        _ => (
            format!("HTTP {status} at {path}, and not a stream"),
            "check the URL: the programme is at /stream/live.opus of this server, and at the path of ICECAST_URL of Icecast",
        ),
    };
    proxy.unwrap_or_else(|| Problem::new(what, fix))
}
