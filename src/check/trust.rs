//! TLS as `check` sees it: whether this machine trusts a server, and if not, why not.
//!
//! Owns the words for certificate and handshake problems. It deliberately knows no way to trust a server that this
//! machine does not trust.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ConfigBuilder, Error, ProtocolVersion,
    RootCertStore,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::check::report::{Finding, Problem};
use crate::station::certificate::{
    AUTHORITY, Certificate, NOT_FOR_SERVERS, RENEW, SOON, WAIT, date, names, now, remaining,
};
use crate::wire::text::quoted;

/// Whom this machine trusts, for one server.
#[derive(Clone, Debug)]
pub struct Trust {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Reads the authorities that this machine trusts, to judge the server called `host` by.
    ///
    /// # Errors
    ///
    /// Where there are none, or `host` is not a name that a certificate can have.
    pub fn new(host: &str) -> Result<Self, Problem> {
        let name = server_name(host)?;
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        // It refuses to judge without any authority, and fails for no other reason.
        let verifier = WebPkiServerVerifier::builder(roots.into()).build().map_err(|_| {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            Problem::new(
                format!("this machine trusts no certificate authority{why}"),
                "`apt install ca-certificates`; where SSL_CERT_FILE or SSL_CERT_DIR is set, it must name certificates",
            )
        })?;
        let builder = ClientConfig::builder().with_webpki_verifier(Arc::clone(&verifier));
        Ok(Self { name, verifier, config: finish(builder) })
    }

    /// Shakes hands on a fresh connection.
    ///
    /// # Errors
    ///
    /// When the other end speaks no TLS, or is not trusted.
    pub async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Problem> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connected = connector.connect(self.name.clone(), stream).await;
        connected.map_err(|error| self.problem(&error))
    }

    /// What the certificate of a connection is worth, today and soon.
    pub fn certificate(&self, stream: &TlsStream<TcpStream>) -> Finding {
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        };
        let now = now();
        let soon = self.end_before(stream, now + SOON);
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let end = match (soon, leaf.and_then(Certificate::read).map(|leaf| leaf.end())) {
            (Some(end), _) | (None, Some(Some(end))) => end,
            (None, Some(None)) => {
                return format!("{version}, the certificate is valid without an end").into();
            }
            (None, None) => {
                return format!("{version}, the certificate is trusted; its end is not readable")
                    .into();
            }
        };
        let detail = format!("{version}, the certificate {}", remaining(end, now));
        Finding { detail, warning: soon.map(|_| RENEW.into()) }
    }

    /// When the certificate ends, or one that it rests on, if that is before `time`: the verifier, which knows what it
    /// rests on, is asked whether it will be trusted then. Both are since 1970.
    fn end_before(&self, stream: &TlsStream<TcpStream>, time: Duration) -> Option<Duration> {
        let (leaf, others) = stream.get_ref().1.peer_certificates()?.split_first()?;
        let time = UnixTime::since_unix_epoch(time);
        match self.verifier.verify_server_cert(leaf, others, &self.name, &[], time).err()? {
            Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                Some(Duration::from_secs(not_after.as_secs()))
            }
            _ => None,
        }
    }

    fn problem(&self, error: &io::Error) -> Problem {
        let name = self.name.to_str();
        match tls_error(error) {
            Some(Error::InvalidCertificate(error)) => certificate_problem(error, &name),
            Some(Error::AlertReceived(alert)) => alert_problem(*alert, &name),
            Some(Error::InvalidMessage(_)) => Problem::new(
                "the answer is not TLS: this port speaks something else",
                "check the port, or ask without TLS: ws:// instead of wss://",
            ),
            Some(Error::PeerIncompatible(why)) => Problem::new(
                format!(
                    "the server supports no version or cipher of TLS that this program supports ({why:?})"
                ),
                "configure it for TLS 1.2 and 1.3: `ssl_protocols TLSv1.2 TLSv1.3;` in nginx",
            ),
            _ => Problem::new(
                format!("the connection broke off before TLS was set up ({error})"),
                "check that the port is the one for TLS; if it is this service's, it may be failing to start: `systemctl status openstudio-signaling`",
            ),
        }
    }
}

/// Whether a fresh connection leads to a port for TLS. Nobody is trusted for that, and nothing is said.
pub async fn speaks_tls(stream: TcpStream, host: &str) -> bool {
    let Ok(name) = server_name(host) else {
        return false;
    };
    let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let connected = TlsConnector::from(finish(nobody)).connect(name, stream).await;
    matches!(
        connected.as_ref().map_err(tls_error),
        Err(Some(
            Error::InvalidCertificate(_) | Error::AlertReceived(_) | Error::PeerIncompatible(_)
        ))
    )
}

/// Why a connection that TLS was set up on ends early, where TLS is the reason: a server that wants a
/// certificate of its clients says so after the handshake only (RFC 8446 section 4.4.2.4).
pub fn late_problem(error: &(dyn std::error::Error + 'static)) -> Option<Problem> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(Error::AlertReceived(alert)) = error.downcast_ref().and_then(tls_error) {
            return Some(alert_problem(*alert, "this host"));
        }
        source = error.source();
    }
    None
}

fn server_name(host: &str) -> Result<ServerName<'static>, Problem> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        let fix = "use the name that the certificate is for";
        Problem::new(format!("no certificate can be for a host called {:?}", quoted(host)), fix)
    })
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// The rest of what is the same for all: no certificate of our own, and HTTP/1.1, in which a WebSocket begins.
fn finish(builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> Arc<ClientConfig> {
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn certificate_problem(error: &CertificateError, name: &str) -> Problem {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => Problem::new(
            format!(
                "the certificate, or one above it in its chain, has expired on {}",
                day(*not_after)
            ),
            "renew it (`certbot renew`), then reload the service or the proxy: it serves the old certificate until then",
        ),
        CertificateError::NotValidYetContext { not_before, .. } => {
            Problem::new(format!("the certificate is not valid before {}", day(*not_before)), WAIT)
        }
        CertificateError::NotValidForNameContext { presented, .. } => Problem::new(
            format!(
                "the certificate is for {}, not for {name}",
                names(&presented.iter().map(|name| presented_name(name)).collect::<Vec<_>>())
            ),
            format!("use a name of the certificate, or get a certificate that also has {name}"),
        ),
        CertificateError::UnknownIssuer => Problem::new(
            "the certificate's issuer is unknown here: it is self-signed, from an authority that this machine does not trust, or sent without the certificates in between",
            "serve fullchain.pem instead of cert.pem; an authority of your own goes to /usr/local/share/ca-certificates/NAME.crt on this machine, then `update-ca-certificates`",
        ),
        error if is_authority(error) => Problem::new(
            "the certificate is an authority's (CA:TRUE), as `openssl req -x509` makes them, and not a server's",
            AUTHORITY.fix,
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Problem::new(
                "the certificate is not for servers (its extendedKeyUsage has no serverAuth)",
                NOT_FOR_SERVERS.fix,
            )
        }
        other => Problem::new(
            format!("the certificate is refused ({other})"),
            "get another one for this server",
        ),
    }
}

/// One of the names that a certificate has, from the verifier's text for it: `DnsName("a")`, `IpAddress(192.0.2.7)`.
fn presented_name(text: &str) -> String {
    let inside = text.split_once('(').map_or(text, |(_, inside)| inside);
    inside.trim_end_matches(')').trim_matches('"').to_owned()
}

/// Whether a certificate is refused as an authority's. rustls has no name of its own for this error.
fn is_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity")
}

/// The day of a time, as 2025-10-18.
fn day(time: UnixTime) -> String {
    date(Duration::from_secs(time.as_secs()))
}

fn alert_problem(alert: AlertDescription, name: &str) -> Problem {
    match alert {
        AlertDescription::UnrecognisedName | AlertDescription::InternalError => Problem::new(
            format!("the server refuses TLS for {name} (alert {alert:?})"),
            "it may have no certificate for this name: check the name, and the names in its configuration",
        ),
        AlertDescription::CertificateRequired => Problem::new(
            "the server asks its clients for a certificate, and browsers have none for it",
            "turn that off: `ssl_verify_client off;` in nginx",
        ),
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => Problem::new(
            format!(
                "the server supports no version or cipher of TLS that this program supports (alert {alert:?})"
            ),
            "configure it for TLS 1.2 and 1.3: `ssl_protocols TLSv1.2 TLSv1.3;` in nginx",
        ),
        AlertDescription::NoApplicationProtocol => Problem::new(
            "the server does not speak HTTP/1.1 over TLS, in which a WebSocket begins",
            "configure it to offer http/1.1 beside h2",
        ),
        alert => Problem::new(
            format!("the server refuses TLS (alert {alert:?})"),
            "look at the log of the program that answers there",
        ),
    }
}
