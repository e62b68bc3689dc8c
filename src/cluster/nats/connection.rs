//! A connection to a NATS server.
//!
//! Owns how it is made, with TLS and credentials or without, and that what is written waits for nobody. It deliberately
//! does not know what is said by it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use crate::cluster::nats::credentials::Credentials;
use crate::cluster::nats::protocol::{Info, Message, Nonsense, Publish, Reader, Said, subscribe};
use crate::config::cluster::{Cluster, NatsUrl};
use crate::programme::dial::{Plain, Wire};

/// How long a server may take until it says that all is well.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How much may wait for a server, in bytes; one that takes less is as one that is not there.
const MOST_PENDING: usize = 32 * 1024 * 1024;

/// How much is read at once, in bytes.
const READ: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server can't be reached, or the connection has ended.
    Unreachable(String),
    /// The credentials are missing, wrong, or unreadable.
    Credentials(String),
    /// The certificate is none that is trusted, or TLS is wanted of a server that has none.
    Tls(String),
    /// It is no NATS server, or one that is too old.
    Unfit(String),
}

impl Trouble {
    /// What helps.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "start nats-server, and check NATS_URL; under systemd, see docs/cluster.md for the way out of the sandbox"
            }
            Self::Credentials(_) => {
                "set the credential nats-creds (or NATS_CREDS) to the file of a user that the server knows"
            }
            Self::Tls(_) => "set NATS_CA to the authority that signed the server's certificate",
            Self::Unfit(_) => "NATS_URL must name nats-server 2.9 or later",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreachable(why) | Self::Credentials(why) | Self::Tls(why) | Self::Unfit(why)) =
            self;
        f.write_str(why)
    }
}

fn unreachable(error: io::Error) -> Trouble {
    Trouble::Unreachable(error.to_string())
}

/// A connection on which the server has said that all is well.
pub struct Connection {
    stream: Wire,
    reader: Reader,
    input: Vec<u8>,
    /// What the server has not taken yet.
    pending: Vec<u8>,
    /// How much of that it has.
    taken: usize,
    /// Who the server is.
    pub info: Info,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection to {}", self.info.server_name)
    }
}

impl Connection {
    /// Connects to a server by the name `client`.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    pub async fn open(
        url: NatsUrl,
        cluster: Arc<Cluster>,
        client: String,
    ) -> Result<Self, Trouble> {
        let late = || Trouble::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, begin(&url, &cluster, &client)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Says something, when the server takes it.
    pub fn publish(&mut self, publish: &Publish) {
        publish.write(&mut self.pending);
    }

    /// Asks for what is said on a subject.
    pub fn subscribe(&mut self, subject: &str, number: u64) {
        subscribe(&mut self.pending, subject, number);
    }

    /// Asks the server whether it lives.
    pub fn ping(&mut self) {
        self.pending.extend_from_slice(b"PING\r\n");
    }

    /// The next message, or `None` for a sign of life. Meanwhile it writes what is pending. Nothing is lost where it is
    /// not awaited to its end.
    ///
    /// # Errors
    ///
    /// Why the connection has ended.
    pub async fn next(&mut self) -> Result<Option<Message>, Trouble> {
        match self.said().await? {
            Said::Message(message) => Ok(Some(message)),
            Said::Ping => {
                self.pending.extend_from_slice(b"PONG\r\n");
                Ok(None)
            }
            Said::Info(info) => {
                self.info = *info;
                Ok(None)
            }
            Said::Pong | Said::Ok => Ok(None),
            Said::Error(why) if is_about_rights(&why) => Err(Trouble::Credentials(why)),
            Said::Error(why) => Err(Trouble::Unreachable(why)),
        }
    }

    /// Writes what is pending.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub async fn flush(&mut self) -> Result<(), Trouble> {
        poll_fn(|cx| self.poll_write(cx)).await.map_err(unreachable)
    }

    async fn said(&mut self) -> Result<Said, Trouble> {
        let nonsense = |Nonsense| Trouble::Unfit("it says what no NATS server says".to_owned());
        loop {
            if let Some(said) = self.reader.next().map_err(nonsense)? {
                return Ok(said);
            }
            poll_fn(|cx| self.poll_read(cx)).await.map_err(unreachable)?;
        }
    }

    /// Reads something, and writes as much as is taken meanwhile.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        self.input.resize(READ, 0);
        let mut buffer = ReadBuf::new(&mut self.input);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::Error::other("the server has closed the connection")));
        }
        self.reader.take(buffer.filled());
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending.len() - self.taken > MOST_PENDING {
            return Poll::Ready(Err(io::Error::other("the server takes too little")));
        }
        while self.taken < self.pending.len() {
            let rest = &self.pending[self.taken..];
            let wrote = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += wrote;
        }
        self.pending.clear();
        self.pending.shrink_to(READ);
        self.taken = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

fn is_about_rights(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    ["authorization", "authentication", "permissions"].iter().any(|word| why.contains(word))
}

async fn begin(url: &NatsUrl, cluster: &Cluster, client: &str) -> Result<Connection, Trouble> {
    let plain: Plain = match url {
        NatsUrl::Unix(path) => Either::Right(UnixStream::connect(path).await.map_err(unreachable)?),
        NatsUrl::Tcp { host, port, .. } => {
            let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(unreachable)?;
            Either::Left(tcp)
        }
    };
    let mut connection = Connection {
        stream: Either::Left(plain),
        reader: Reader::default(),
        input: Vec::new(),
        pending: Vec::new(),
        taken: 0,
        info: Info::default(),
    };
    let Said::Info(info) = connection.said().await? else {
        return Err(Trouble::Unfit("it does not begin as a NATS server".to_owned()));
    };
    connection.info = *info;
    if !connection.info.headers {
        return Err(Trouble::Unfit(format!("nats-server {} is too old", connection.info.version)));
    }
    if let NatsUrl::Tcp { is_tls, host, .. } = url {
        if *is_tls || connection.info.tls_required {
            connection = secure(connection, host, cluster.ca.as_deref()).await?;
        }
    }
    let hello = hello(&connection.info, cluster.credentials.as_deref(), client)?;
    connection.pending.extend_from_slice(format!("CONNECT {hello}\r\nPING\r\n").as_bytes());
    loop {
        match connection.said().await? {
            Said::Pong => return Ok(connection),
            Said::Error(why) if is_about_rights(&why) => return Err(Trouble::Credentials(why)),
            Said::Error(why) => return Err(Trouble::Unfit(why)),
            _ => {}
        }
    }
}

/// The connection goes on with TLS.
async fn secure(
    connection: Connection,
    host: &str,
    ca: Option<&Path>,
) -> Result<Connection, Trouble> {
    let tls = |error: &dyn fmt::Display| Trouble::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    match ca {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let unreadable = |error: &dyn fmt::Display| {
                Trouble::Tls(format!("{} (NATS_CA): {error}", path.display()))
            };
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| tls(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    let Connection { stream, info, .. } = connection;
    let Either::Left(plain) = stream else { return Err(tls(&"TLS twice")) };
    let secured = connector.connect(name, plain).await.map_err(|error| tls(&error))?;
    let (stream, reader) = (Either::Right(Box::new(secured)), Reader::default());
    let (input, pending) = (Vec::new(), Vec::new());
    Ok(Connection { stream, reader, input, pending, taken: 0, info })
}

/// What the client says of itself.
fn hello(info: &Info, credentials: Option<&Path>, client: &str) -> Result<String, Trouble> {
    let mut hello = json!({
        "verbose": false,
        "pedantic": false,
        "name": client,
        "lang": "openstudio-signaling",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "headers": true,
        "no_responders": true,
        "echo": true,
    });
    match (credentials, &info.nonce) {
        (Some(path), nonce) => {
            let named = |why: &dyn fmt::Display| {
                Trouble::Credentials(format!("{} (NATS_CREDS): {why}", path.display()))
            };
            let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
            let found = Credentials::parse(&text).map_err(|why| named(&why))?;
            if let Some(nonce) = nonce {
                hello["sig"] = found.sign(nonce).into();
            }
            match &found.jwt {
                Some(jwt) => hello["jwt"] = jwt.as_str().into(),
                None => hello["nkey"] = found.user().into(),
            }
        }
        (None, _) if info.auth_required => {
            return Err(Trouble::Credentials("the server wants credentials".to_owned()));
        }
        (None, _) => {}
    }
    Ok(hello.to_string())
}
