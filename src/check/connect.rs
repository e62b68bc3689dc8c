//! A client of a signaling server: TCP, TLS, HTTP and the WebSocket of `check`.
//!
//! Owns one connection at a time, and the words for how each can fail. It deliberately does not know which steps
//! are taken in what order.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::check::report::{Finding, Problem, Report};
use crate::check::trust::{Trust, late_problem, speaks_tls};
use crate::check::url::Target;
use crate::check::websocket::{WebSocket, random};
use crate::wire::handshake::accept_key;
use crate::wire::text::quoted;

/// The largest answer to a request that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// How long a port that does not answer as it should may take to show that it is one for TLS.
const PROBE: Duration = Duration::from_secs(1);

/// What to do where nothing listens on the port of a server.
const CLOSED: &str = "another port? `openstudio-signaling check ws://localhost:PORT/`. TLS? `openstudio-signaling check wss://NAME/`. Not running? `systemctl start openstudio-signaling`. Why not? `journalctl -u 'openstudio-signaling*' -n 20`";

/// A connection that nothing has been asked on yet.
pub type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    /// By whom the server is trusted, where TLS is spoken.
    trust: Option<Trust>,
    /// What to do where nothing listens.
    closed: &'static str,
}

impl Client {
    /// The way to `target`.
    ///
    /// # Errors
    ///
    /// When the target has TLS and this machine trusts no certificate authority.
    pub fn new(target: Target) -> Result<Self, Problem> {
        let trust = target.tls.then(|| Trust::new(&target.host)).transpose()?;
        Ok(Self { target, trust, closed: CLOSED })
    }

    /// The same, with other words for what to do where nothing listens.
    pub fn where_closed(self, closed: &'static str) -> Self {
        Self { closed, ..self }
    }

    /// Connects, with TLS where the target has it.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or this machine does not trust it.
    pub async fn connect(&self) -> Result<Stream, Problem> {
        let stream = connect_tcp(&self.target, self.closed).await?;
        match &self.trust {
            Some(trust) => Ok(Either::Right(trust.connect(stream).await?)),
            None => Ok(Either::Left(stream)),
        }
    }

    /// What the server's certificate is worth, where it has one.
    pub fn certificate(&self, stream: &Stream) -> Finding {
        match (&self.trust, stream) {
            (Some(trust), Either::Right(stream)) => trust.certificate(stream),
            _ => "no TLS".into(),
        }
    }

    /// The status and the body of what is at `path`.
    ///
    /// # Errors
    ///
    /// When what answers is not HTTP, or leads somewhere else.
    pub async fn get(&self, stream: Stream, path: &str) -> Result<(StatusCode, Bytes), Problem> {
        let answer = self.request(stream, path, &[]).await?;
        let status = answer.status();
        Ok((status, body(answer).await))
    }

    /// When the server's process began, and what time it is there, in ms since 1970, where it says so.
    ///
    /// # Errors
    ///
    /// As those of [`Client::get`].
    pub async fn began(&self) -> Result<Option<(u64, u64)>, Problem> {
        let answer = self.request(self.connect().await?, "/health", &[]).await?;
        let text = |name: &str| answer.headers().get(name)?.to_str().ok();
        let began = text("process-began").and_then(|began| began.parse().ok());
        let now = text("date").and_then(|date| httpdate::parse_http_date(date).ok());
        let now = now.and_then(|now| now.duration_since(UNIX_EPOCH).ok());
        Ok(began.zip(now.map(|now| now.as_millis() as u64)))
    }

    /// Makes a WebSocket (RFC 6455 section 4.1).
    ///
    /// # Errors
    ///
    /// When there is no connection, or the answer is something else.
    pub async fn open(&self) -> Result<WebSocket, Problem> {
        let stream = self.connect().await?;
        let key = STANDARD.encode(random::<16>());
        let headers = [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, key.as_str()),
        ];
        // By this the server knows that nothing is to be kept for this client when it has gone.
        let path = &self.target.path;
        let path = format!("{path}{}check", if path.contains('?') { '&' } else { '?' });
        let answer = self.request(stream, &path, &headers).await?;
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
        Ok(WebSocket::new(upgraded.map_err(|error| no_answer(&error))?))
    }

    /// A WebSocket that has had its welcome.
    ///
    /// # Errors
    ///
    /// When there is none, or something else comes.
    pub async fn welcomed(&self) -> Result<WebSocket, Problem> {
        let mut socket = self.open().await?;
        socket.expect("welcome").await?;
        Ok(socket)
    }

    /// Asks for what is at the target's path, and takes any answer.
    ///
    /// # Errors
    ///
    /// When what answers is not HTTP.
    pub async fn ask(&self, stream: Stream) -> Result<Response<Incoming>, Problem> {
        self.send(stream, &self.target.path, &[]).await
    }

    async fn request(
        &self,
        stream: Stream,
        path: &str,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<Response<Incoming>, Problem> {
        let answer = self.send(stream, path, headers).await?;
        self.other_place(&answer).map_or(Ok(answer), Err)
    }

    async fn send(
        &self,
        stream: Stream,
        path: &str,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<Response<Incoming>, Problem> {
        let mut request = Request::get(path).header(header::HOST, self.target.authority());
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
        exchange.await.map_err(|error| no_answer(&error))
    }

    /// What an answer says that comes from a proxy and not from the server: that it is elsewhere, or gone.
    fn other_place(&self, answer: &Response<Incoming>) -> Option<Problem> {
        if let Some(problem) = proxy_problem(answer) {
            return Some(problem);
        }
        let status = answer.status();
        let location =
            answer.headers().get(header::LOCATION).filter(|_| status.is_redirection())?;
        let location = String::from_utf8_lossy(location.as_bytes());
        let fix = match location.strip_prefix("https://") {
            Some(rest) if !self.target.tls => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let path = &self.target.path;
                let url = quoted(&format!("wss://{authority}{path}"));
                format!("a WebSocket does not follow there: `openstudio-signaling check {url}`")
            }
            _ => "a WebSocket does not follow there: use the address of the server itself".into(),
        };
        Some(Problem::new(format!("HTTP {status}: it leads to {}", quoted(&location)), fix))
    }
}

/// A connection to a target that has TLS, by a step that says what the certificate is worth.
pub async fn tls(target: &Target, report: &mut Report) -> Option<(Client, Stream)> {
    let connect = async {
        let client = Client::new(target.clone())?;
        let stream = client.connect().await?;
        Ok((client.certificate(&stream), (client, stream)))
    };
    report.step("tls", "answer to the TLS handshake", connect).await
}

/// What an answer says where a proxy does not reach the server behind it. The server's own problems are JSON.
pub fn proxy_problem(answer: &Response<Incoming>) -> Option<Problem> {
    let status = answer.status();
    if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
        || (status == StatusCode::SERVICE_UNAVAILABLE && !is_json(answer))
    {
        return Some(Problem::new(
            format!("HTTP {status}: a proxy answers, and does not reach the server behind it"),
            "look at `systemctl status openstudio-signaling` there, and at the port in the proxy's configuration",
        ));
    }
    None
}

/// Whether an answer is the server's own, and not a page for people.
pub fn is_json(answer: &Response<Incoming>) -> bool {
    answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}

/// The body of an answer, or nothing where it is too large or breaks off.
pub async fn body(answer: Response<Incoming>) -> Bytes {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    body.map(|body| body.to_bytes()).unwrap_or_default()
}

/// Whether the port of a target without TLS is one for TLS.
pub async fn should_use_tls(target: &Target) -> bool {
    let probe = async {
        match connect_tcp(target, CLOSED).await {
            Ok(stream) => speaks_tls(stream, &target.host).await,
            Err(_) => false,
        }
    };
    timeout(PROBE, probe).await == Ok(true)
}

async fn connect_tcp(target: &Target, closed: &str) -> Result<TcpStream, Problem> {
    let Target { host, port, .. } = target;
    let place = format!("{host}:{port}");
    let stream = connect_to(host, *port).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Problem::new(
            format!("nothing listens on {place} ({error})"),
            closed,
        ),
        _ => Problem::new(
            format!("cannot reach {place} ({error})"),
            "check the name (`getent ahosts NAME` shows its addresses), the firewall and the router",
        ),
    })?;
    stream.set_nodelay(true).map_err(|error| Problem::new(error, "try again"))?;
    Ok(stream)
}

/// Why there was no HTTP answer.
fn no_answer(error: &hyper::Error) -> Problem {
    if error.is_parse() {
        return Problem::new(
            "the answer is not HTTP",
            "another program has this port: `ss -ltnp` names it",
        );
    }
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    late_problem(error).unwrap_or_else(|| {
        Problem::new(
            format!("the connection broke off ({error}{source})"),
            "the service may be failing to start: look at `systemctl status openstudio-signaling`",
        )
    })
}

/// Connects to the first address of a host that takes it. Where none does, what one that is there says is of more use
/// than that another can't be reached, such as the IPv6 half of a name on a machine without it.
async fn connect_to(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = if host == "localhost" {
        // RFC 6761 section 6.3: no resolver needs to be asked, and a small machine may have none.
        let here = [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)];
        here.map(|ip| SocketAddr::new(ip, port)).into()
    } else {
        lookup_host((host, port)).await?.collect()
    };
    let mut said = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if said.kind() != io::ErrorKind::ConnectionRefused => said = error,
            Err(_) => {}
        }
    }
    Err(said)
}
