//! TLS on the service's own port: the certificate, its key, and how they are renewed.
//!
//! Owns which certificate is in force. It deliberately does not know what a connection is for.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;
use crate::settings::Settings;

/// What the first byte of every TLS connection is: the record type of a handshake (RFC 8446 section 5.1). No
/// HTTP request begins with it.
pub const FIRST_BYTE: u8 = 22;

/// What is in the PEM of a key with a passphrase: the label of RFC 7468 section 11, and the header of RFC 1421
/// section 4.6.1.1 that came before it.
const PROTECTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// Reads a certificate and its key, and sees that they belong together.
///
/// # Errors
///
/// A line that names the setting, where it comes from, the file and what to do.
pub fn load(files: &TlsFiles, settings: &Settings) -> Result<Arc<CertifiedKey>, String> {
    let refused = |setting: &str, path: &Path, why: &str| {
        let origin = settings.origin(setting);
        format!(r#"Invalid setting {setting}="{}" (from {origin}): {why}"#, path.display())
    };
    let TlsFiles { cert, key } = files;
    let chain = chain(cert)
        .map_err(|error| refused("TLS_CERT", cert, &unreadable(&error, "a certificate")))?;
    let read = private_key(key).map_err(|why| refused("TLS_KEY", key, &why))?;
    let certified = CertifiedKey::from_der(chain, read, &ring::default_provider());
    certified.map(Arc::new).map_err(|error| {
        let cert = cert.display();
        let why = format!("{error}; must be the private key of the first certificate in {cert}");
        refused("TLS_KEY", key, &why)
    })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    if chain.is_empty() { Err(Error::NoItemsFound) } else { Ok(chain) }
}

/// Reads a private key, or says why there is none.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = fs::read(path).map_err(|error| unreadable(&Error::Io(error), "a private key"))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        // It begins and ends as any other, but for the reader of PEM it is none, or no base64.
        if PROTECTED.iter().any(|mark| text.windows(mark.len()).any(|part| part == *mark)) {
            return "is protected by a passphrase, which nobody can type at a start; \
                    openssl pkey -in OLD -out NEW takes it off"
                .into();
        }
        unreadable(&error, "a private key")
    })
}

fn unreadable(error: &Error, what: &str) -> String {
    let why = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "no such section in it".into(),
        Error::MissingSectionEnd { .. } => {
            "ends in the middle of a section, so a part of it is missing".into()
        }
        Error::IllegalSectionStart { .. } => "a section in it does not begin as it should".into(),
        error => error.to_string(),
    };
    format!("{why}; must be a PEM file with {what}, which the user of the service can read")
}

/// TLS with the certificate in force.
pub struct Tls {
    acceptor: TlsAcceptor,
    in_force: Arc<InForce>,
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
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), in_force }
    }

    /// Puts another certificate in force, for connections to come.
    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        *self.in_force.certified.lock().unwrap_or_else(PoisonError::into_inner) = certified;
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
