//! TLS on the service's own port: the certificate, its key, and how they are renewed.
//!
//! Owns which certificate is in force, and why a pair of files is invalid. It deliberately does not know what a
//! connection is for.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::ring;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, ServerConfig};

use crate::config::config::TlsFiles;
use crate::config::settings::Settings;
use crate::station::key_kind::KeyKind;
use crate::wire::text::quoted;

/// What the first byte of every TLS connection is: the record type of a handshake (RFC 8446 section 5.1). No
/// HTTP request begins with it.
pub const FIRST_BYTE: u8 = 22;

/// What is in the PEM of a key with a passphrase: the label of RFC 7468 section 11, and the header of RFC 1421
/// section 4.6.1.1 that came before it.
const PROTECTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// What some editors begin a file with. The reader of PEM does not find the section that begins behind it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a file in UTF-16 begins with, in either order of bytes.
const UTF_16: [&[u8]; 2] = [&[0xff, 0xfe], &[0xfe, 0xff]];

/// The keys to take. ring signs with Ed25519, too, but browsers do not offer it.
const USABLE: &str = "P-256, P-384, or RSA with 2048, 3072 or 4096 bits";

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
    let chain = chain(cert).map_err(|why| refused("TLS_CERT", cert, &why))?;
    let read = private_key(key).map_err(|why| refused("TLS_KEY", key, &why))?;
    let kind = KeyKind::of_key(&read);
    let signing = ring::sign::any_supported_type(&read)
        .map_err(|_| refused("TLS_KEY", key, &unusable(kind.as_ref())))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certified))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(refused("TLS_KEY", key, &mismatch(&certified, kind, cert)))
        }
        Err(error) => Err(refused("TLS_CERT", cert, &invalid(&error))),
    }
}

/// Reads the certificates of a file, or says why there are none.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = pem(path).map_err(|error| unreadable(&error, b"", "a certificate"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.and_then(|chain| match chain.as_slice() {
        [] => Err(Error::NoItemsFound),
        _ => Ok(chain),
    });
    chain.map_err(|error| unreadable(&error, &text, "a certificate"))
}

/// Reads a private key, or says why there is none.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = pem(path).map_err(|error| unreadable(&error, b"", "a private key"))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        // It begins and ends as any other, but for the reader of PEM it is none, or no base64.
        if PROTECTED.iter().any(|mark| text.windows(mark.len()).any(|part| part == *mark)) {
            return "is protected by a passphrase, which nobody can type at a start; \
                    openssl pkey -in OLD -out NEW takes it off"
                .into();
        }
        // The form of openssl before PKCS#8, which the reader of PEM does not know.
        if labels(&text).iter().any(|label| label == "DSA PRIVATE KEY") {
            return unusable(Some(&KeyKind::other("a DSA key")));
        }
        unreadable(&error, &text, "a private key")
    })
}

/// The text of a file without byte order marks. One that is made of several files can have one in each.
fn pem(path: &Path) -> Result<Vec<u8>, Error> {
    let text = fs::read(path).map_err(Error::Io)?;
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line));
    Ok(lines.collect::<Vec<_>>().concat())
}

/// What sections a PEM file has, each once.
fn labels(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let begins = text.lines().filter_map(|line| line.strip_prefix("-----BEGIN "));
    let mut labels: Vec<_> = begins.map(|rest| quoted(rest.trim_end().trim_matches('-'))).collect();
    labels.sort();
    labels.dedup();
    labels
}

fn unreadable(error: &Error, text: &[u8], what: &str) -> String {
    let why = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound if UTF_16.iter().any(|mark| text.starts_with(mark)) => {
            "is in UTF-16, which has to be saved as UTF-8".into()
        }
        Error::NoItemsFound => match labels(text).as_slice() {
            [] => "no such section in it".into(),
            labels => format!("no such section in it, only {}", labels.join(", ")),
        },
        Error::MissingSectionEnd { .. } => {
            "ends in the middle of a section, so a part of it is missing".into()
        }
        Error::IllegalSectionStart { .. } => "a section in it does not begin as it should".into(),
        error => error.to_string(),
    };
    format!("{why}; must be a PEM file with {what}, which the user of the service can read")
}

/// What is wrong with a key that ring does not sign with.
fn unusable(kind: Option<&KeyKind>) -> String {
    let anew = format!("make a new key with {USABLE}, and a certificate for it");
    match kind {
        Some(KeyKind { name, is_usable: true }) => {
            format!("is {name}, but damaged or incomplete; {anew}")
        }
        Some(KeyKind { name, .. }) => format!("is {name}, which this server can't use; {anew}"),
        None => format!("is damaged, or of a kind that is not known here; {anew}"),
    }
}

/// What is wrong with a key that is not the first certificate's.
fn mismatch(certified: &CertifiedKey, kind: Option<KeyKind>, cert: &Path) -> String {
    let infos: Vec<_> = certified.cert.iter().map(public_key).collect();
    let own = certified.key.public_key();
    let name = |kind: Option<KeyKind>| kind.map_or_else(|| "a key".into(), |kind| kind.name);
    let has = infos.first().and_then(|info| KeyKind::of_certificate(info.as_ref()?));
    let must = format!("must be the private key of the first certificate in {}", cert.display());
    let (kind, has) = (name(kind), name(has));
    match infos.iter().position(|info| *info == own) {
        Some(index) => {
            let number = index + 1;
            format!("belongs to certificate {number} there; {must}: put certificate {number} first")
        }
        None if kind == has => format!("belongs to another certificate; {must}"),
        None => format!("is {kind}, and the certificate has {has}; {must}"),
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    Some(ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info())
}

/// What is wrong with a first certificate that can't be read.
fn invalid(error: &rustls::Error) -> String {
    let why = match error {
        // rustls has no name of its own for this one.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string() == "UnsupportedCertVersion" =>
        {
            return "the first certificate is of X.509 version 1, which browsers refuse: it has no subjectAltName; \
                    have it issued anew (`openssl x509 -req` with `-extfile FILE`, and \
                    subjectAltName=DNS:NAME in that file)"
                .into();
        }
        rustls::Error::InvalidCertificate(error) => error.to_string(),
        error => error.to_string(),
    };
    format!("the first certificate can't be read ({why}); get it anew from who issued it")
}

/// How much early data is passed over, in bytes: each record counts some twenty times or more.
const EARLY_DATA: u32 = 1 << 20;

/// TLS with the certificate in force.
pub struct Tls {
    config: Arc<ServerConfig>,
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
            // Where there are tickets, early data is not accepted. A client that has a ticket of another server of this name
            // may send some: it is passed over, up to so many bytes. rustls counts a record each time that it looks at
            // it, so that its own 16,384 bytes do not last for one record.
            config.max_early_data_size = EARLY_DATA;
        }
        Self { config: Arc::new(config), in_force }
    }

    /// Puts another certificate in force, for connections to come.
    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        *self.in_force.certified.lock().unwrap_or_else(PoisonError::into_inner) = certified;
    }

    /// What is agreed upon with those who connect.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_no_known_kind_is_called_damaged() {
        let why = unusable(None);
        assert!(why.starts_with("is damaged, or of a kind that is not known here; make "), "{why}");
    }

    #[test]
    fn sections_are_named_once() {
        let text =
            b"x\n-----BEGIN B-----\r\n-----END B-----\n-----BEGIN A----- \n-----BEGIN B-----\n";
        assert_eq!(labels(text), ["A", "B"]);
        assert!(labels(b"\xff-----BEGIN A").is_empty());
    }
}
