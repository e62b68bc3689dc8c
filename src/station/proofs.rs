//! What proves who is behind a client: a browser's cookie, and `resume`.
//!
//! Owns how both are made and read. It deliberately knows no clock, and not what an identity may do.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::config::config::Secret;
use crate::wire::ids::Identity;

/// How long a cookie's value is: 128 random bits in base64url without padding.
pub const COOKIE_CHARS: usize = 22;

/// How many bytes of a signature are sent: nobody finds another one with the same 128 bits.
const SIGNATURE: usize = 16;

/// A cookie's value: what a browser has of its identity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cookie([u8; 16]);

impl Cookie {
    /// A value that nobody has.
    pub fn random() -> Self {
        Self(*Identity::random().bytes())
    }

    /// Reads a value in the one form in which it is written.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| text.len() == COOKIE_CHARS)?;
        bytes.try_into().ok().map(Self)
    }

    /// As it is sent.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The identity that it proves. Whoever sees the identity does not have the cookie.
    pub fn identity(&self) -> Identity {
        let hash = Sha256::new().chain_update(b"cookie").chain_update(self.0).finalize();
        Identity::from_bytes(hash[..Identity::BYTES].try_into().expect("a hash is longer"))
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie")
    }
}

/// Signs and checks `resume` with the secret of tokens.
pub struct Proofs(Hmac<Sha256>);

impl Proofs {
    /// Proofs that are signed with `secret`.
    pub fn new(secret: &Secret) -> Self {
        Self(Hmac::new_from_slice(secret.bytes()).expect("HMAC takes a key of any length"))
    }

    /// What proves `identity`, made at `now`, in seconds since 1970.
    pub fn resume(&self, identity: Identity, now: u64) -> String {
        let mut bytes = [identity.bytes().as_slice(), &now.to_be_bytes()].concat();
        let signature = self.sign(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&signature[..SIGNATURE]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whose proof it is, and when it was made, in seconds since 1970; `None` where it is none of this secret's.
    pub fn check(&self, resume: &str) -> Option<(Identity, u64)> {
        let bytes = URL_SAFE_NO_PAD.decode(resume).ok()?;
        let (said, signature) = bytes.split_at_checked(Identity::BYTES + 8)?;
        if signature.len() != SIGNATURE || self.sign(said).verify_truncated_left(signature).is_err()
        {
            return None;
        }
        let (identity, made) = said.split_at(Identity::BYTES);
        let made = u64::from_be_bytes(made.try_into().ok()?);
        Some((Identity::from_bytes(identity.try_into().ok()?), made))
    }

    /// No token of another kind begins so.
    fn sign(&self, bytes: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(b"resume\0").chain_update(bytes)
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proofs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_one_form() {
        let cookie = Cookie::random();
        let text = cookie.text();
        assert_eq!(text.len(), COOKIE_CHARS);
        assert_eq!(Cookie::parse(text.as_bytes()), Some(cookie));
        for bad in [
            "",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAA+A",
            "AAAAAAAAAAAAAAAAAAAAAB",
        ] {
            assert_eq!(Cookie::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_ne!(cookie.identity(), Cookie::random().identity());
        assert_ne!(cookie.identity().bytes(), &cookie.0, "it can't be sent back as a cookie");
    }

    #[test]
    fn a_resume_proves_its_identity_and_cannot_be_forged() {
        let proofs = Proofs::new(&Secret::new("correct horse battery staple"));
        let identity = Identity::random();
        let resume = proofs.resume(identity, 1_760_804_444);
        assert_eq!(proofs.check(&resume), Some((identity, 1_760_804_444)));
        let other = Proofs::new(&Secret::new("another secret"));
        assert_eq!(other.check(&resume), None);
        let bytes = URL_SAFE_NO_PAD.decode(&resume).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert_eq!(proofs.check(&URL_SAFE_NO_PAD.encode(changed)), None, "{index}");
        }
        for length in 0..bytes.len() {
            assert_eq!(proofs.check(&URL_SAFE_NO_PAD.encode(&bytes[..length])), None, "{length}");
        }
        for bad in ["", "x", &format!("{resume}A"), &format!(" {resume}"), &"A".repeat(60_000)] {
            assert_eq!(proofs.check(bad), None);
        }
    }
}
