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
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::config::TlsFiles;
use crate::config::settings::Settings;
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

/// The sizes of RSA keys that ring signs with, in bits.
const RSA_BITS: [usize; 3] = [2048, 3072, 4096];

/// The lowest public exponent of RSA that ring signs with.
const RSA_EXPONENT: u64 = 65_537;

/// The object identifier of ECDSA keys (RFC 5480 section 2.1.1), before that of the curve.
const ECDSA: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// Tags of DER (ITU-T X.690 section 8).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// The optional parameters of a SEC1 key.
const PARAMETERS: u8 = 0xa0;

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
    let kind = Kind::of_key(&read);
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
            return unusable(Some(&Kind::other("a DSA key")));
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
fn unusable(kind: Option<&Kind>) -> String {
    let anew = format!("make a new key with {USABLE}, and a certificate for it");
    match kind {
        Some(Kind { name, is_usable: true }) => {
            format!("is {name}, but damaged or incomplete; {anew}")
        }
        Some(Kind { name, .. }) => format!("is {name}, which this server can't use; {anew}"),
        None => format!("is damaged, or of a kind that is not known here; {anew}"),
    }
}

/// What is wrong with a key that is not the first certificate's.
fn mismatch(certified: &CertifiedKey, kind: Option<Kind>, cert: &Path) -> String {
    let infos: Vec<_> = certified.cert.iter().map(public_key).collect();
    let own = certified.key.public_key();
    let name = |kind: Option<Kind>| kind.map_or_else(|| "a key".into(), |kind| kind.name);
    let has = infos.first().and_then(|info| Kind::of_certificate(info.as_ref()?));
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

/// What kind of key it is, for an error line. What is signed and how is not decided here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    /// With its article.
    name: String,
    /// Whether ring signs with keys of this kind.
    is_usable: bool,
}

impl Kind {
    fn other(name: &str) -> Self {
        Self { name: name.into(), is_usable: false }
    }

    /// Of a key in one of its three forms: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) and SEC1 (RFC 5915).
    fn of_key(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let mut fields = element(SEQUENCE, &mut key.secret_der())?;
        element(INTEGER, &mut fields)?;
        match key {
            PrivateKeyDer::Pkcs8(_) => {
                let algorithm = element(SEQUENCE, &mut fields)?;
                let mut key = element(OCTET_STRING, &mut fields)?;
                let mut numbers = element(SEQUENCE, &mut key).unwrap_or_default();
                element(INTEGER, &mut numbers);
                Self::of_algorithm(algorithm, numbers)
            }
            PrivateKeyDer::Pkcs1(_) => Self::of_rsa(fields),
            PrivateKeyDer::Sec1(_) => {
                element(OCTET_STRING, &mut fields)?;
                let curve = element(PARAMETERS, &mut fields).unwrap_or_default();
                Self::of_algorithm(&[ECDSA, curve].concat(), &[])
            }
            _ => None,
        }
    }

    /// Of the public key of a certificate (RFC 5280 section 4.1.2.7).
    fn of_certificate(info: &SubjectPublicKeyInfoDer<'_>) -> Option<Self> {
        let mut fields = element(SEQUENCE, &mut info.as_ref())?;
        let algorithm = element(SEQUENCE, &mut fields)?;
        let key = element(BIT_STRING, &mut fields)?;
        // The first byte says how many bits of the last one are none: none here.
        let numbers = element(SEQUENCE, &mut key.get(1..)?).unwrap_or_default();
        Self::of_algorithm(algorithm, numbers)
    }

    /// Of an algorithm with its parameters. `numbers` are those of an RSA key, from the modulus on.
    fn of_algorithm(algorithm: &[u8], numbers: &[u8]) -> Option<Self> {
        if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
            return Self::of_rsa(numbers);
        }
        let usable: [(&[u8], &str); 3] = [
            (&alg_id::ECDSA_P256, "a P-256 key"),
            (&alg_id::ECDSA_P384, "a P-384 key"),
            (&alg_id::ED25519, "an Ed25519 key"),
        ];
        let others: [(&[u8], &str); 8] = [
            (&alg_id::ECDSA_P521, "a P-521 key"),
            (&alg_id::ECDSA_P256K1, "a secp256k1 key"),
            (ECDSA, "an elliptic-curve key of an unknown curve"),
            (&alg_id::ED448, "an Ed448 key"),
            (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "an X25519 key"),
            (&[0x06, 0x03, 0x2b, 0x65, 0x6f], "an X448 key"),
            (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
            (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "an RSA-PSS key"),
        ];
        if let Some((_, name)) = usable.iter().find(|(known, _)| algorithm == *known) {
            return Some(Self { name: (*name).into(), is_usable: true });
        }
        let found = others.iter().find(|(known, _)| algorithm.starts_with(known));
        found.map(|(_, name)| Self::other(name))
    }

    /// Of the modulus and the public exponent of RSA.
    fn of_rsa(mut numbers: &[u8]) -> Option<Self> {
        let mut number = || element(INTEGER, &mut numbers).map(without_zeros);
        let (modulus, exponent) = (number()?, number()?);
        let bits = 8 * modulus.len() - modulus.first()?.leading_zeros() as usize;
        let exponent = exponent.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let name = format!("an RSA key with {bits} bits");
        Some(if exponent < RSA_EXPONENT {
            Self::other(&format!("{name} and the public exponent {exponent}"))
        } else {
            Self { name, is_usable: RSA_BITS.contains(&bits) }
        })
    }
}

/// A number of DER has a zero before it where its first bit is set.
fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    &number[first..]
}

/// Takes an element off the front of DER, if it has this tag, and gives what is in it.
fn element<'a>(tag: u8, input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = input.split_first_chunk::<2>()?;
    let [found, length] = *head;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // It is so long that its length has a length.
        0x81..=0x84 => {
            let (long, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (long.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
        }
        0x80 | 0x85.. => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(content)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_der_are_taken_one_by_one() {
        let mut der = &[0x02, 1, 7, 0x04, 0x81, 2, 8, 9, 0x30, 0x82, 0, 1][..];
        assert_eq!(element(OCTET_STRING, &mut der), None, "it is a number");
        assert_eq!(element(INTEGER, &mut der), Some(&[7][..]));
        assert_eq!(element(OCTET_STRING, &mut der), Some(&[8, 9][..]));
        assert_eq!(element(SEQUENCE, &mut der), None, "a byte is missing");
        for bad in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0, 0], &[0x30, 0x81]] {
            assert_eq!(element(SEQUENCE, &mut &*bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_key_that_is_nonsense_is_of_no_kind() {
        for der in [&[][..], &[0x30, 0], &[0x30, 3, 2, 1, 0], &[0x30, 6, 2, 1, 0, 2, 1, 0]] {
            for key in [PrivateKeyDer::Pkcs1(der.into()), PrivateKeyDer::Pkcs8(der.into())] {
                assert_eq!(Kind::of_key(&key), None, "{der:?}");
            }
            assert_eq!(Kind::of_key(&PrivateKeyDer::Sec1(der.into())), None, "{der:?}");
        }
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
