//! The head of a frame (RFC 6455 section 5.2), byte by byte.
//!
//! Owns what a head alone can get wrong. It deliberately does not know the payload behind it.

use crate::wire::codes::CloseCode;
use crate::wire::frame::{MAX_CONTROL, MAX_HEAD, Opcode};

/// An end of the connection (RFC 6455 section 1.6): the one that decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Frames come from a client and must be masked.
    Server,
    /// Frames come from a server and must not be masked.
    Client,
}

/// The frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) mask: [u8; 4],
    /// The payload's length, in bytes.
    pub(super) length: u64,
    /// How many of them have been read.
    pub(super) read: u64,
}

/// As much of a head as has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    bytes: [u8; MAX_HEAD],
    length: usize,
}

impl Head {
    /// Takes the head from the front of `input`: the frame that it begins, or `None` where it is not whole yet.
    /// `is_started` says whether a message is under way.
    pub(super) fn read(
        &mut self,
        input: &mut &mut [u8],
        endpoint: Endpoint,
        is_started: bool,
    ) -> Result<Option<Frame>, CloseCode> {
        loop {
            if self.length == 2 {
                self.check_start(endpoint, is_started)?;
            }
            let needed = self.needed();
            if self.length >= 2 && self.length == needed {
                break;
            }
            if input.is_empty() {
                return Ok(None);
            }
            let take = (needed - self.length).min(input.len());
            let (bytes, rest) = std::mem::take(input).split_at_mut(take);
            *input = rest;
            self.bytes[self.length..self.length + take].copy_from_slice(bytes);
            self.length += take;
        }
        let opcode = Opcode::from_bits(self.bytes[0] & 0x0F).ok_or(CloseCode::PROTOCOL)?;
        let (length, at) = match self.bytes[1] & 0x7F {
            126 => (u64::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])), 4),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&self.bytes[2..10]);
                (u64::from_be_bytes(bytes), 10)
            }
            short => (u64::from(short), 2),
        };
        // The shortest form must be used, and the top bit of the long one is 0.
        if (at == 4 && length < 126) || (at == 10 && (length < 65_536 || length >> 63 != 0)) {
            return Err(CloseCode::PROTOCOL);
        }
        let mut mask = [0; 4];
        if endpoint == Endpoint::Server {
            mask.copy_from_slice(&self.bytes[at..at + 4]);
        }
        self.length = 0;
        Ok(Some(Frame { opcode, fin: self.bytes[0] & 0x80 != 0, mask, length, read: 0 }))
    }

    /// What has come of a head that is not whole.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// How long the head is, as far as its first two bytes tell.
    fn needed(&self) -> usize {
        if self.length < 2 {
            return 2;
        }
        let extended = match self.bytes[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if self.bytes[1] & 0x80 != 0 { 4 } else { 0 }
    }

    /// What the first two bytes alone can get wrong, refused before more is waited for.
    fn check_start(&self, endpoint: Endpoint, is_started: bool) -> Result<(), CloseCode> {
        let [first, second] = [self.bytes[0], self.bytes[1]];
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(CloseCode::PROTOCOL)?;
        let fin = first & 0x80 != 0;
        let reserved = first & 0x70 != 0;
        let masked = second & 0x80 != 0;
        let is_invalid_here = match opcode {
            Opcode::Continuation => !is_started,
            Opcode::Text | Opcode::Binary => is_started,
            _ => !fin || u64::from(second & 0x7F) > MAX_CONTROL,
        };
        if reserved || is_invalid_here || masked != (endpoint == Endpoint::Server) {
            return Err(CloseCode::PROTOCOL);
        }
        Ok(())
    }
}
