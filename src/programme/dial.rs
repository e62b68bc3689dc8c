//! The connection to Icecast.
//!
//! Owns the way there: by the socket of the unit beside, or directly, with TLS or without. It deliberately does not know
//! what is sent.

use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::config::icecast::{Icecast, IcecastUrl};
use crate::programme::icecast::{About, MOST_ANSWER, Refusal, answer, request};

/// The socket by which the unit openstudio-signaling-icecast passes the programme on.
pub const WAY: &str = "/run/openstudio-signaling-icecast/socket";

/// How long Icecast may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection without TLS: directly, or by the socket of the unit beside.
pub type Plain = Either<TcpStream, UnixStream>;

/// A connection of any kind.
pub type Wire = Either<Plain, Box<TlsStream<Plain>>>;

/// The descriptor below a connection, which can be given away: not with TLS, whose state is in this process.
pub fn into_descriptor(wire: Wire) -> Option<OwnedFd> {
    match wire {
        Either::Left(Either::Left(tcp)) => Some(tcp.into_std().ok()?.into()),
        Either::Left(Either::Right(unix)) => Some(unix.into_std().ok()?.into()),
        Either::Right(_) => None,
    }
}

/// The connection on a descriptor that was given here.
///
/// # Errors
///
/// When it is none of a kind that is known.
pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Wire> {
    let is_unix = socket_domain(&descriptor)? == AddressFamily::UNIX;
    Ok(Either::Left(if is_unix {
        let unix = StdUnixStream::from(descriptor);
        unix.set_nonblocking(true)?;
        Either::Right(UnixStream::from_std(unix)?)
    } else {
        let tcp = StdTcpStream::from(descriptor);
        tcp.set_nonblocking(true)?;
        Either::Left(TcpStream::from_std(tcp)?)
    }))
}

/// Connects to Icecast as a source. By the socket `way`, if it is there: the service has no network of its own under
/// systemd.
///
/// # Errors
///
/// Why Icecast does not take the programme.
pub async fn dial(icecast: &Icecast, about: &About, way: &Path) -> Result<Wire, Refusal> {
    let dialed = timeout(PATIENCE, begin(icecast, about, way)).await;
    let why = || Refusal::Unreachable(format!("not within {} s", PATIENCE.as_secs()));
    dialed.unwrap_or_else(|_| Err(why()))
}

async fn begin(icecast: &Icecast, about: &About, way: &Path) -> Result<Wire, Refusal> {
    let unreachable = |error: io::Error| Refusal::Unreachable(error.to_string());
    let mut wire = connect(&icecast.url, way).await?;
    wire.write_all(request(icecast, about).as_bytes()).await.map_err(unreachable)?;
    wire.flush().await.map_err(unreachable)?;
    let (mut sent, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        // Behind the unit's socket, an Icecast that is not there is a connection that is reset.
        let read = wire.read(&mut buffer).await.map_err(unreachable)?;
        sent.extend_from_slice(&buffer[..read.min(MOST_ANSWER - sent.len())]);
        if let Some(answer) = answer(&sent, read == 0) {
            return answer.map(|()| wire);
        }
    }
}

/// Connects to Icecast, and asks for nothing yet.
///
/// # Errors
///
/// Why it can't be reached.
pub async fn connect(url: &IcecastUrl, way: &Path) -> Result<Wire, Refusal> {
    let unreachable = |error: io::Error| Refusal::Unreachable(error.to_string());
    let wire: Plain = if way.exists() {
        Either::Right(UnixStream::connect(way).await.map_err(unreachable)?)
    } else {
        let unknown = |_| Refusal::UnknownHost(url.host.clone());
        let addresses = lookup_host((url.host.as_str(), url.port)).await.map_err(unknown)?;
        let addresses: Vec<_> = addresses.collect();
        let tcp = TcpStream::connect(&addresses[..]).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        Either::Left(tcp)
    };
    if !url.is_tls {
        return Ok(Either::Left(wire));
    }
    let host = url.host.clone();
    let name = ServerName::try_from(host).map_err(|_| Refusal::UnknownHost(url.host.clone()))?;
    let tls = TlsConnector::from(Arc::clone(&TRUST));
    let tls = tls.connect(name, wire).await.map_err(unreachable)?;
    Ok(Either::Right(Box::new(tls)))
}

/// TLS that trusts whom this machine trusts. What it trusts is read once.
static TRUST: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
});
