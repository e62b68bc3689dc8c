//! WebSocket frames, made and read by hand (RFC 6455 section 5).
//!
//! Owns the bytes of a frame. It deliberately does not know sockets, nor what a message says.

use anyhow::{Result, bail, ensure};

/// Masking is there so that a script in a browser can't choose the bytes on the wire (RFC 6455 section 10.3).
/// There is no script here, so that one key is as good as another; the server unmasks all the same.
const KEY: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame from the server.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(u16),
}

/// A masked text frame.
pub fn text(message: &str) -> Vec<u8> {
    masked(TEXT, message.as_bytes())
}

/// A masked ping.
pub fn ping(payload: &[u8]) -> Vec<u8> {
    masked(PING, payload)
}

/// A masked text message with a frame for each piece.
pub fn in_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut pieces = pieces.peekable();
    let (mut bytes, mut opcode) = (Vec::new(), TEXT);
    while let Some(piece) = pieces.next() {
        let start = bytes.len();
        bytes.extend(masked(opcode, piece));
        if pieces.peek().is_some() {
            // Not the last one.
            bytes[start] &= !0x80;
        }
        // What follows continues it.
        opcode = 0;
    }
    bytes
}

/// A masked pong with what the ping had.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    masked(PONG, payload)
}

/// A masked close frame.
pub fn close(code: u16) -> Vec<u8> {
    masked(CLOSE, &code.to_be_bytes())
}

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The first frame in `bytes` and how long it is; `None` while it is not all there.
///
/// # Errors
///
/// What no server of this benchmark sends: fragments, reserved bits, masks, binary, other opcodes.
pub fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    ensure!(first & 0xf0 == 0x80, "a frame is fragmented or has reserved bits: {first:#04x}");
    let (head, length) = match second {
        0x80.. => bail!("a frame from the server is masked"),
        127 => bail!("a frame is over 65,535 bytes"),
        126 => match bytes.get(2..4) {
            Some(&[high, low]) => (4, usize::from(u16::from_be_bytes([high, low]))),
            _ => return Ok(None),
        },
        short => (2, usize::from(short)),
    };
    let Some(payload) = bytes.get(head..head + length) else { return Ok(None) };
    let frame = match first & 0x0f {
        TEXT => Frame::Text(payload),
        PING => Frame::Ping(payload),
        PONG => Frame::Pong,
        // 1005 is what RFC 6455 section 7.1.5 calls a close frame without a code.
        CLOSE => Frame::Close(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))),
        other => bail!("a frame has opcode {other}"),
    };
    Ok(Some((frame, head + length)))
}
