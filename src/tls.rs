//! TLS on the service's own port: the certificate, its key, and how they are renewed.
//!
//! Owns which certificate is in force. It deliberately does not know what a connection is for.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// What the first byte of every TLS connection is: the record type of a handshake (RFC 8446 section 5.1). No
/// HTTP request begins with it.
pub const FIRST_BYTE: u8 = 22;

/// How long no failed handshake is logged after one was.
const FAILURE_QUIET: Duration = Duration::from_secs(60);

/// Reads a certificate and its key, and sees that they belong together.
///
/// # Errors
///
/// A line that names the setting, the file and what to do.
pub fn load(files: &TlsFiles) -> Result<Arc<CertifiedKey>, String> {
    let TlsFiles { cert, key } = files;
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| unreadable("TLS_CERT", cert, error))?;
    if chain.is_empty() {
        return Err(unreadable("TLS_CERT", cert, Error::NoItemsFound));
    }
    let read = PrivateKeyDer::from_pem_file(key);
    let read = read.map_err(|error| unreadable("TLS_KEY", key, error))?;
    let certified = CertifiedKey::from_der(chain, read, &ring::default_provider());
    certified.map(Arc::new).map_err(|error| {
        let fix = format!("must be the private key of the first certificate in {}", cert.display());
        refused("TLS_KEY", key, &error.to_string(), &fix)
    })
}

fn unreadable(setting: &str, path: &Path, error: Error) -> String {
    let why = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "no such section in it".into(),
        error => error.to_string(),
    };
    let what = if setting == "TLS_CERT" { "a certificate" } else { "a private key" };
    let fix = format!("must be a PEM file with {what}, which the user of the service can read");
    refused(setting, path, &why, &fix)
}

fn refused(setting: &str, path: &Path, why: &str, fix: &str) -> String {
    format!(r#"Invalid setting {setting}="{}": {why}; {fix}"#, path.display())
}

/// TLS with the certificate in force.
pub struct Tls {
    acceptor: TlsAcceptor,
    in_force: Arc<InForce>,
    /// When a failed handshake was logged last, in seconds since `started`, plus one; 0 for never. Written and
    /// read by whoever fails.
    logged: AtomicU64,
    started: Instant,
}

impl Tls {
    /// TLS 1.2 and 1.3 with this certificate to begin with.
    pub fn new(certified: Arc<CertifiedKey>) -> Self {
        let in_force = Arc::new(InForce { certified: Mutex::new(certified) });
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for both versions");
        let mut config = builder.with_no_client_auth().with_cert_resolver(in_force.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Who comes back has its session in a ticket, so that a restart of the studio costs no signature each.
        // Without randomness there are no tickets, and nothing else.
        if let Ok(ticketer) = ring::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            in_force,
            logged: AtomicU64::default(),
            started: Instant::now(),
        }
    }

    /// Puts another certificate in force, for connections to come.
    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        *self.in_force.certified.lock().unwrap_or_else(PoisonError::into_inner) = certified;
    }

    /// Whether a handshake that failed is worth a line: scanners fail all day.
    pub fn failure_is_news(&self) -> bool {
        let now = self.started.elapsed().as_secs() + 1;
        let last = self.logged.load(Ordering::Relaxed);
        let is_news = last == 0 || now - last >= FAILURE_QUIET.as_secs();
        if is_news {
            self.logged.store(now, Ordering::Relaxed);
        }
        is_news
    }

    /// Agrees upon TLS with those who connect.
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The certificate in force, whatever name a client asks for.
#[derive(Debug)]
struct InForce {
    /// Written by a reload, read by handshakes; held for a clone only.
    certified: Mutex<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for InForce {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
