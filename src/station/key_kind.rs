//! What kind of key something is.
//!
//! Owns the names of kinds, for an error line, and which of them ring signs with. It deliberately does not sign.

use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UintRef};
use x509_cert::der::oid::db::rfc5912::{
    ID_DSA, ID_EC_PUBLIC_KEY, ID_RSASSA_PSS, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1,
    SECP_521_R_1,
};
use x509_cert::der::oid::db::rfc8410::{ID_ED_448, ID_ED_25519, ID_X_448, ID_X_25519};
use x509_cert::der::{Decode, Reader, Result, SliceReader, Tag, TagMode, TagNumber, Tagged};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

/// The sizes of RSA keys that ring signs with, in bits.
const RSA_BITS: [usize; 3] = [2048, 3072, 4096];

/// The lowest public exponent of RSA that ring signs with.
const RSA_EXPONENT: u64 = 65_537;

/// The curve of Bitcoin (SEC 2 section 2.4.1).
const SECP_256_K_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");

/// Algorithms of keys that ring does not sign with.
const UNUSABLE: [(ObjectIdentifier, &str); 5] = [
    (ID_ED_448, "an Ed448 key"),
    (ID_X_25519, "an X25519 key"),
    (ID_X_448, "an X448 key"),
    (ID_DSA, "a DSA key"),
    (ID_RSASSA_PSS, "an RSA-PSS key"),
];

/// A kind of key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyKind {
    /// What it is called, with its article.
    pub name: String,
    /// Whether ring signs with keys of this kind.
    pub is_usable: bool,
}

impl KeyKind {
    /// A kind that ring does not sign with.
    pub fn other(name: &str) -> Self {
        Self { name: name.into(), is_usable: false }
    }

    fn usable(name: &str) -> Self {
        Self { name: name.into(), is_usable: true }
    }

    /// Of a private key in one of its three forms: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) and SEC1 (RFC 5915).
    pub fn of_key(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let der = key.secret_der();
        match key {
            PrivateKeyDer::Pkcs8(_) => {
                let (algorithm, key) = in_sequence(der, |fields| {
                    u8::decode(fields)?;
                    let algorithm = AlgorithmIdentifierRef::decode(fields)?;
                    Ok((algorithm, OctetStringRef::decode(fields)?.as_bytes()))
                })?;
                Self::of_algorithm(algorithm, || Self::of_private_rsa(key))
            }
            PrivateKeyDer::Pkcs1(_) => Self::of_private_rsa(der),
            PrivateKeyDer::Sec1(_) => {
                let curve = in_sequence(der, |fields| {
                    u8::decode(fields)?;
                    OctetStringRef::decode(fields)?;
                    // Without a name of the curve, its numbers may be there.
                    let named = fields.context_specific(TagNumber::N0, TagMode::Explicit);
                    Ok(named.unwrap_or_default())
                })?;
                Some(Self::of_curve(curve))
            }
            _ => None,
        }
    }

    /// Of the public key of a certificate (RFC 5280 section 4.1.2.7).
    pub fn of_certificate(info: &SubjectPublicKeyInfoDer<'_>) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(info.as_ref()).ok()?;
        let key = info.subject_public_key.raw_bytes();
        Self::of_algorithm(info.algorithm, || in_sequence(key, Self::of_rsa))
    }

    fn of_algorithm(
        algorithm: AlgorithmIdentifierRef<'_>,
        rsa: impl FnOnce() -> Option<Self>,
    ) -> Option<Self> {
        match algorithm.oid {
            RSA_ENCRYPTION => rsa(),
            ID_EC_PUBLIC_KEY => Some(Self::of_curve(algorithm.parameters_oid().ok())),
            ID_ED_25519 => Some(Self::usable("an Ed25519 key")),
            other => {
                let found = UNUSABLE.iter().find(|(known, _)| *known == other);
                found.map(|(_, name)| Self::other(name))
            }
        }
    }

    fn of_curve(curve: Option<ObjectIdentifier>) -> Self {
        match curve {
            Some(SECP_256_R_1) => Self::usable("a P-256 key"),
            Some(SECP_384_R_1) => Self::usable("a P-384 key"),
            Some(SECP_521_R_1) => Self::other("a P-521 key"),
            Some(SECP_256_K_1) => Self::other("a secp256k1 key"),
            _ => Self::other("an elliptic-curve key of an unknown curve"),
        }
    }

    /// Of an RSA key in whose `fields` the modulus and the public exponent come next.
    fn of_rsa(fields: &mut SliceReader<'_>) -> Result<Self> {
        let (modulus, exponent) = (UintRef::decode(fields)?, UintRef::decode(fields)?);
        let [modulus, exponent] = [modulus, exponent].map(|number| number.as_bytes());
        let bits =
            8 * modulus.len() - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        let exponent = exponent.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let name = format!("an RSA key with {bits} bits");
        Ok(if exponent < RSA_EXPONENT {
            Self::other(&format!("{name} and the public exponent {exponent}"))
        } else {
            Self { name, is_usable: RSA_BITS.contains(&bits) }
        })
    }

    /// Of a private RSA key (RFC 8017 appendix A.1.2).
    fn of_private_rsa(der: &[u8]) -> Option<Self> {
        in_sequence(der, |fields| {
            u8::decode(fields)?;
            Self::of_rsa(fields)
        })
    }
}

/// What `read` finds at the front of a sequence that is all of `der`.
fn in_sequence<'a, T>(
    der: &'a [u8],
    read: impl FnOnce(&mut SliceReader<'a>) -> Result<T>,
) -> Option<T> {
    let sequence = AnyRef::from_der(der).ok()?;
    sequence.tag().assert_eq(Tag::Sequence).ok()?;
    read(&mut SliceReader::new(sequence.value()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_nonsense_is_of_no_kind() {
        for der in [&[][..], &[0x30, 0], &[0x30, 3, 2, 1, 0], &[0x30, 6, 2, 1, 0, 2, 1, 0]] {
            for key in [PrivateKeyDer::Pkcs1(der.into()), PrivateKeyDer::Pkcs8(der.into())] {
                assert_eq!(KeyKind::of_key(&key), None, "{der:?}");
            }
            assert_eq!(KeyKind::of_key(&PrivateKeyDer::Sec1(der.into())), None, "{der:?}");
        }
    }
}
