//! What proves to a NATS server who this client is: a seed, and where the server wants one, a JWT (NKEYs and the `.creds`
//! file of docs.nats.io).
//!
//! Owns how such a file is read, and the signature. It deliberately does not know where the file is.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// The letters of Base32 (RFC 4648 section 6).
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first byte of a seed: an `S` as the first letter. In the three lowest bits and the byte behind it is whose seed it is.
const SEED: u8 = 18 << 3;

/// A user, in the same form.
const USER: u8 = 20 << 3;

/// What is in the file.
pub struct Credentials {
    key: Ed25519KeyPair,
    /// Where the server knows users by what an account says of them.
    pub jwt: Option<String>,
}

impl Credentials {
    /// Reads a `.creds` file, or one that holds a seed only.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let lines = text.lines().map(str::trim);
        let mut seed = None;
        let mut jwt = None;
        for line in lines {
            if line.starts_with("SU") && line.len() > 40 {
                seed = Some(line);
            } else if line.starts_with("ey") && line.split('.').count() == 3 {
                jwt = Some(line.to_owned());
            }
        }
        let seed = seed.ok_or("it has no seed of a user (a line that begins with SU)")?;
        let bytes = decoded(seed).ok_or("its seed is no Base32")?;
        let (said, checksum) = bytes
            .split_last_chunk::<2>()
            .map(|(said, sum)| (said, *sum))
            .ok_or("its seed is cut")?;
        if crc16(said) != u16::from_le_bytes(checksum) {
            return Err("its seed has a wrong check sum: a letter is wrong");
        }
        let [first, second, seed @ ..] = said else { return Err("its seed is cut") };
        let whose = (first & 7) << 5 | (second & 248) >> 3;
        if first & 248 != SEED || whose != USER {
            return Err("its seed is none of a user");
        }
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| "its seed is cut")?;
        Ok(Self { key, jwt })
    }

    /// The public key as servers have it.
    pub fn user(&self) -> String {
        let mut bytes = vec![USER];
        bytes.extend_from_slice(self.key.public_key().as_ref());
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        encoded(&bytes)
    }

    /// The signature of what the server wants to see signed.
    pub fn sign(&self, nonce: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(nonce.as_bytes()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// CRC-16 with the polynomial 0x1021, from 0 (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 }
        })
    })
}

/// Base32 without padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for letter in text.bytes() {
        held = held << 5 | LETTERS.iter().position(|found| *found == letter)? as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

fn encoded(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(LETTERS[(held >> bits) as usize & 31].into());
            held &= (1 << bits) - 1;
        }
    }
    if bits > 0 {
        text.push(LETTERS[(held << (5 - bits)) as usize & 31].into());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed of a user whose 32 bytes are 7.
    fn seed() -> String {
        let mut bytes = vec![SEED | USER >> 5, (USER & 31) << 3];
        bytes.extend_from_slice(&[7; 32]);
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        encoded(&bytes)
    }

    #[test]
    fn a_check_sum_is_that_of_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_seed_gives_the_user_and_signs() {
        let seed = seed();
        assert!(seed.starts_with("SU") && seed.len() == 58, "{seed}");
        let found = Credentials::parse(&seed).unwrap();
        assert!(found.user().starts_with('U') && found.user().len() == 56, "{}", found.user());
        assert_eq!(found.jwt, None);
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = ring::signature::UnparsedPublicKey::new(
            &ring::signature::ED25519,
            key.public_key().as_ref().to_vec(),
        );
        let signature = URL_SAFE_NO_PAD.decode(found.sign("nonce")).unwrap();
        public.verify(b"nonce", &signature).unwrap();
    }

    #[test]
    fn a_creds_file_has_a_jwt_beside_the_seed() {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.sig\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            seed()
        );
        assert_eq!(Credentials::parse(&text).unwrap().jwt.as_deref(), Some("eyJ0.eyJq.sig"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let seed = seed();
        let wrong = seed.replace('A', "B");
        for (text, part) in [("", "no seed"), (&*wrong, "check sum"), (&seed[..44], "check sum")] {
            let why = Credentials::parse(text).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        assert!(Credentials::parse(&format!("{}1", &seed[..57])).unwrap_err().contains("Base32"));
    }
}
