//! The client behind `openstudio-signaling check`.
//!
//! Owns the steps, what can go wrong in each, and what to do then. It deliberately knows nothing of the
//! server but its protocol, so that it can check one on another machine.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ArgMatches;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::frame::{Decoder, Opcode, Received, Role, encode, encode_close};
use crate::protocol::WELCOME;
use crate::upgrade::{accept_key, into_stream};

/// The largest answer to /health and the largest message that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What to check, and how.
#[derive(Clone, Debug)]
pub struct Options {
    host: String,
    port: u16,
    /// Path and query of the WebSocket.
    path: String,
    timeout: Duration,
    json: bool,
}

impl Options {
    /// Reads the arguments of `check`.
    ///
    /// # Errors
    ///
    /// A line that says which argument can't be, and what is allowed.
    pub fn new(matches: &ArgMatches) -> Result<Self, String> {
        let seconds = matches.get_one::<String>("timeout").map_or("5", String::as_str);
        let timeout = seconds.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
        let timeout = timeout.map(Duration::from_secs_f64).ok_or_else(|| {
            format!("Invalid --timeout {seconds:?}: must be a number of seconds from 0.1 to 3600")
        })?;
        let url = matches.get_one::<String>("url").cloned().unwrap_or_else(local);
        let (host, port, path) = parse(&url)?;
        Ok(Self { host, port, path, timeout, json: matches.get_flag("json") })
    }
}

/// The server that a service on this machine is, unless PORT says otherwise.
fn local() -> String {
    let port = std::env::var("PORT").ok().filter(|port| !port.is_empty());
    format!("ws://localhost:{}/", port.unwrap_or_else(|| "3000".into()))
}

fn parse(url: &str) -> Result<(String, u16, String), String> {
    let bad = |why: &str| {
        format!("Invalid URL {url:?}: {why}; write ws://HOST:PORT/ or http://HOST:PORT/")
    };
    let full = if url.contains("://") { url.to_owned() } else { format!("ws://{url}") };
    let uri: Uri = full.parse().map_err(|error| bad(&format!("{error}")))?;
    match uri.scheme_str() {
        Some("ws" | "http") => {}
        Some("wss" | "https") => {
            return Err(bad("TLS cannot be checked, only the server behind it"));
        }
        _ => return Err(bad("unknown scheme")),
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16();
    let given = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().ends_with(uri.host().unwrap_or_default()));
    if given && port.is_none_or(|port| port == 0) {
        return Err(bad("the port must be from 1 to 65535"));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((host.to_owned(), port.unwrap_or(80), path.to_owned()))
}

/// Runs all steps up to the first that fails, printing each. True when all worked.
pub fn run(options: &Options) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let problem = Problem::new(format!("no runtime: {error}"), "try again");
            return report(options, "start", Instant::now(), Err(problem));
        }
    };
    let ok = runtime.block_on(steps(options));
    // A resolver that does not answer is not waited for.
    runtime.shutdown_background();
    ok
}

async fn steps(options: &Options) -> bool {
    let start = Instant::now();
    if !report(options, "health", start, limit(options, health(options)).await) {
        return false;
    }
    let start = Instant::now();
    let (handshake, socket) = split(limit(options, handshake(options)).await);
    if !report(options, "handshake", start, handshake) {
        return false;
    }
    let Some(mut socket) = socket else {
        return false;
    };
    let start = Instant::now();
    if !report(options, "welcome", start, limit(options, welcome(&mut socket)).await) {
        return false;
    }
    let start = Instant::now();
    let pong = limit(options, ping(&mut socket)).await;
    let ok = report(options, "ping", start, pong);
    // The verdict stands: how the goodbye goes does not change it.
    let _ = timeout(options.timeout, socket.close()).await;
    ok
}

/// Why a step failed, and what to do.
#[derive(Debug)]
struct Problem {
    what: String,
    fix: String,
}

impl Problem {
    fn new(what: impl Display, fix: impl Display) -> Self {
        Self { what: what.to_string(), fix: fix.to_string() }
    }

    fn slow(time: Duration) -> Self {
        Self::new(
            format!("no answer within {} s", time.as_secs_f64()),
            "the server hangs or a firewall drops packets: look at `systemctl status openstudio-signaling`, or allow more with --timeout",
        )
    }

    fn not_http(error: &hyper::Error) -> Self {
        if error.is_parse() {
            return Self::new(
                "the answer is not HTTP",
                "another program has this port: `ss -ltnp` names it",
            );
        }
        Self::new(
            format!("the connection broke off ({error})"),
            "the service may be failing to start: look at `systemctl status openstudio-signaling`",
        )
    }

    fn broken(error: io::Error) -> Self {
        Self::new(
            format!("the connection broke off ({error})"),
            "look at `journalctl -u 'openstudio-signaling*' -n 20`; a proxy in between may not pass WebSockets",
        )
    }
}

/// Prints a step's line. True when the step worked.
fn report(options: &Options, step: &str, start: Instant, result: Result<String, Problem>) -> bool {
    #[derive(Serialize)]
    struct Line<'a> {
        step: &'a str,
        ok: bool,
        ms: f64,
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        fix: Option<&'a str>,
    }
    let ms = (start.elapsed().as_secs_f64() * 100_000.0).round() / 100.0;
    let line = if options.json {
        let (detail, fix) = match &result {
            Ok(detail) => (detail, None),
            Err(problem) => (&problem.what, Some(problem.fix.as_str())),
        };
        let line = Line { step, ok: result.is_ok(), ms, detail, fix };
        serde_json::to_string(&line).expect("plain data can be written")
    } else {
        match &result {
            Ok(detail) => format!("✓ {step:<10} {detail}, in {ms} ms"),
            Err(problem) => format!("✗ {step:<10} {}; {}", problem.what, problem.fix),
        }
    };
    // A reader that has closed the pipe still gets the exit code.
    let _ = writeln!(io::stdout(), "{line}");
    result.is_ok()
}

/// Bounds a step.
async fn limit<T>(
    options: &Options,
    step: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    timeout(options.timeout, step).await.unwrap_or_else(|_| Err(Problem::slow(options.timeout)))
}

fn split<T>(result: Result<(String, T), Problem>) -> (Result<String, Problem>, Option<T>) {
    match result {
        Ok((detail, value)) => (Ok(detail), Some(value)),
        Err(problem) => (Err(problem), None),
    }
}

async fn connect(options: &Options) -> Result<TcpStream, Problem> {
    let place = format!("{}:{}", options.host, options.port);
    let connecting = async {
        if options.host == "localhost" {
            // RFC 6761 section 6.3: no resolver needs to be asked, and a small machine may have none.
            let here = [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)];
            TcpStream::connect(&here.map(|ip| SocketAddr::new(ip, options.port))[..]).await
        } else {
            TcpStream::connect((options.host.as_str(), options.port)).await
        }
    };
    let stream = connecting.await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Problem::new(
            format!("nothing listens on {place} ({error})"),
            "if the port was changed, `openstudio-signaling check ws://localhost:PORT/`; else start it with `systemctl start openstudio-signaling`, or look why it is down with `journalctl -u 'openstudio-signaling*' -n 20`",
        ),
        _ => Problem::new(
            format!("cannot reach {place} ({error})"),
            "check the host name and the network",
        ),
    })?;
    stream.set_nodelay(true).map_err(Problem::broken)?;
    Ok(stream)
}

/// Sends one request on a connection of its own.
async fn request(
    options: &Options,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> Result<Response<Incoming>, Problem> {
    let stream = connect(options).await?;
    let host = if options.host.contains(':') {
        format!("[{}]:{}", options.host, options.port)
    } else {
        format!("{}:{}", options.host, options.port)
    };
    let mut request = Request::get(path).header(header::HOST, host);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Problem::new(error, "check the URL"))?;
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer, or becomes the WebSocket.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await
    };
    exchange.await.map_err(|error| Problem::not_http(&error))
}

async fn health(options: &Options) -> Result<String, Problem> {
    #[derive(Deserialize)]
    struct Health {
        status: String,
        uptime: u64,
    }
    let answer = request(options, "/health", &[]).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let health: Option<Health> = serde_json::from_slice(&body).ok();
    match health {
        Some(health) if status == StatusCode::OK && health.status == "ok" => {
            Ok(format!("HTTP 200, up for {} s", health.uptime))
        }
        _ => Err(Problem::new(
            format!("HTTP {status} at /health, and not this server's answer"),
            "another program may have this port (`ss -ltnp` names it), or the proxy does not pass /health on",
        )),
    }
}

async fn handshake(options: &Options) -> Result<(String, Socket), Problem> {
    let key = STANDARD.encode(random::<16>());
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, key.as_str()),
    ];
    let answer = request(options, &options.path, &headers).await?;
    let status = answer.status();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let fix = "wait until clients have left, or raise MAX_CONNECTIONS";
        return Err(Problem::new(format!("HTTP {status}: the server is full"), fix));
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Problem::new(
            format!("HTTP {status} instead of 101: this is no WebSocket"),
            "check the path; a proxy in between must pass the Upgrade and Connection headers on",
        ));
    }
    let accept = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| *accept != accept_key(key.as_bytes())) {
        let fix = "a proxy in between may cache answers: switch that off for this path";
        return Err(Problem::new("the Sec-WebSocket-Accept header is wrong", fix));
    }
    let upgraded = hyper::upgrade::on(answer).await;
    let upgraded = upgraded.map_err(|error| Problem::not_http(&error))?;
    Ok(("HTTP 101, WebSocket open".into(), Socket::new(into_stream(upgraded))))
}

/// The `type` of a message, and what else the checks look at.
#[derive(Debug, Deserialize)]
struct Answer {
    r#type: String,
    message: Option<String>,
    timestamp: Option<u64>,
}

async fn welcome(socket: &mut Socket) -> Result<String, Problem> {
    let answer = socket.answer().await?;
    match answer {
        Answer { r#type, message: Some(message), .. }
            if r#type == "welcome" && message == WELCOME =>
        {
            Ok(message)
        }
        answer => Err(unexpected("the welcome", &answer)),
    }
}

async fn ping(socket: &mut Socket) -> Result<String, Problem> {
    socket.send(Opcode::Text, br#"{"type":"ping"}"#).await.map_err(Problem::broken)?;
    let answer = socket.answer().await?;
    match answer {
        Answer { r#type, timestamp: Some(_), .. } if r#type == "pong" => {
            Ok("pong, round trip".into())
        }
        answer => Err(unexpected("a pong", &answer)),
    }
}

fn unexpected(expected: &str, answer: &Answer) -> Problem {
    Problem::new(
        format!("expected {expected}, got a message of type {:?}", answer.r#type),
        "this is a WebSocket server, but not this one: check host, port and path",
    )
}

/// A client's end of a WebSocket.
struct Socket {
    stream: TcpStream,
    decoder: Decoder,
    /// What has been read and not decoded.
    unread: Vec<u8>,
}

impl Socket {
    fn new((stream, unread): (TcpStream, Vec<u8>)) -> Self {
        Self { stream, decoder: Decoder::new(Role::Client, MAX_ANSWER), unread }
    }

    async fn send(&self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut frame = Vec::new();
        encode(&mut frame, opcode, payload, Some(random()));
        self.write(&frame).await
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next message, as far as the checks look at it.
    async fn answer(&mut self) -> Result<Answer, Problem> {
        let text = self.message().await.map_err(Problem::broken)?;
        serde_json::from_str(&text).map_err(|error| {
            let fix = "this is a WebSocket server, but not this one: check host, port and path";
            Problem::new(format!("the answer is not a message of the protocol ({error})"), fix)
        })
    }

    async fn message(&mut self) -> io::Result<String> {
        loop {
            let mut read = std::mem::take(&mut self.unread);
            let mut input = &mut read[..];
            while let Some(received) = self.decode(&mut input)? {
                match received {
                    Received::Text(text) => {
                        let text = text.into_owned();
                        self.unread = input.to_vec();
                        return Ok(text);
                    }
                    Received::Ping(payload) => self.send(Opcode::Pong, &payload).await?,
                    Received::Close(code) => {
                        let code =
                            code.map_or_else(|| "no code".into(), |code| format!("code {code}"));
                        return Err(io::Error::other(format!("the server closed with {code}")));
                    }
                    Received::Binary(_) | Received::Pong => {}
                }
            }
            self.read().await?;
        }
    }

    /// Says goodbye and waits for the server's.
    async fn close(&mut self) -> io::Result<()> {
        let mut frame = Vec::new();
        encode_close(&mut frame, Some(1000), "", Some(random()));
        self.write(&frame).await?;
        while self.message().await.is_ok() {}
        Ok(())
    }

    fn decode<'i>(&mut self, input: &mut &'i mut [u8]) -> io::Result<Option<Received<'i>>> {
        self.decoder.next(input).map_err(|code| {
            io::Error::other(format!("the server's frames break RFC 6455, close code {code}"))
        })
    }

    async fn read(&mut self) -> io::Result<()> {
        loop {
            self.stream.readable().await?;
            let mut buffer = [0; 4096];
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.unread.extend_from_slice(&buffer[..read]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Bytes for a key or a mask (RFC 6455 section 10.3 wants them unpredictable).
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(filled, Ok(N), "getrandom(2) fills up to 256 bytes at once");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_and_without_scheme() {
        let parsed = |url| parse(url).map(|(host, port, path)| format!("{host} {port} {path}"));
        assert_eq!(parsed("ws://a:1/x?y").unwrap(), "a 1 /x?y");
        assert_eq!(parsed("http://a").unwrap(), "a 80 /");
        assert_eq!(parsed("a:3000").unwrap(), "a 3000 /");
        assert_eq!(parsed("ws://[::1]:3000/").unwrap(), "::1 3000 /");
        for bad in ["wss://a/", "ftp://a/", "", "ws://", "ws://a b/", "ws://a:99999/", "a:0"] {
            assert!(parse(bad).unwrap_err().contains("write ws://HOST:PORT/"), "{bad}");
        }
    }
}
