//! How a connection begins.
//!
//! Owns what its first bytes tell. It deliberately does not know what follows them.

use std::io;

use tokio::net::TcpStream;

use crate::server::limits::fairness::Fairness;
use crate::station::tls::{self};

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// With the hello of TLS.
    Tls,
    /// With the line or the signature of the PROXY protocol (section 2 of its specification).
    ProxyProtocol,
    /// With anything else: HTTP, most often.
    Other,
}

impl First {
    /// What the first bytes tell: twelve are enough.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [tls::FIRST_BYTE, ..] => Self::Tls,
            [b'P', b'R', b'O', b'X', b'Y', b' ', ..] | b"\r\n\r\n\0\r\nQUIT\n" => {
                Self::ProxyProtocol
            }
            _ => Self::Other,
        }
    }
}

/// Waits until a client has something to say, and for its turn: up to there it costs no buffer. The bytes are left there.
pub async fn first_bytes(stream: &TcpStream, fairness: &Fairness) -> io::Result<First> {
    let mut first = [0; 12];
    let peeked = stream.peek(&mut first).await?;
    if peeked == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    fairness.arrive().await;
    Ok(First::of(&first[..peeked]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_what_is_spoken() {
        for (bytes, first) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], First::Tls),
            (b"PROXY TCP4 19", First::ProxyProtocol),
            (b"\r\n\r\n\0\r\nQUIT\n", First::ProxyProtocol),
            (b"GET / HTTP/1.1\r\n", First::Other),
            (b"\r\n\r\nGET", First::Other),
            (b"P", First::Other),
        ] {
            assert_eq!(First::of(bytes), first, "{}", bytes.escape_ascii());
        }
    }
}
