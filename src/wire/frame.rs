//! How a frame is written (RFC 6455 section 5).
//!
//! Owns heads, masks, close frames, and where a frame ends that this server has written. It deliberately does not know what a payload means.

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL: u64 = 125;

/// The longest frame head, in bytes: two, eight of length, four of mask.
pub const MAX_HEAD: usize = 14;

/// The opcodes that RFC 6455 section 5.2 defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message under way.
    Continuation = 0x0,
    /// A message of UTF-8.
    Text = 0x1,
    /// A message of bytes.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// A question that asks for a pong.
    Ping = 0x9,
    /// The answer to a ping.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode of these four bits, if one has them.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is a control frame's.
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Appends one unfragmented frame to `out`. A client gives the mask (RFC 6455 section 5.3), a server none.
pub fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    put_head(out, true, opcode, payload.len() as u64, mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask, 0);
    }
}

/// Appends a text frame of what `write` appends, where that stands already: a server's, without a mask.
pub fn encode_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | Opcode::Text as u8, 0]);
    write(out);
    let length = out.len() - start - 2;
    match u8::try_from(length) {
        Ok(short) if short < 126 => out[start + 1] = short,
        _ => {
            let mut head = Vec::with_capacity(MAX_HEAD);
            put_head(&mut head, true, Opcode::Text, length as u64, None);
            out.splice(start..start + 2, head);
        }
    }
}

/// Appends a close frame: its code with a reason of at most 123 bytes, or an empty one.
pub fn encode_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str, mask: Option<[u8; 4]>) {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    encode(out, Opcode::Close, &payload, mask);
}

/// Writes the head of a frame with `length` bytes of payload behind what is in `out`.
pub fn put_head(out: &mut Vec<u8>, fin: bool, opcode: Opcode, length: u64, mask: Option<[u8; 4]>) {
    out.push(if fin { 0x80 } else { 0 } | opcode as u8);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |mask| &mask[..]));
}

/// The opcode and the length in bytes, head included, of the first of the whole frames that a server has encoded.
fn first_frame(frames: &[u8]) -> (Option<Opcode>, usize) {
    let number = |at: std::ops::Range<usize>| {
        let bytes = frames.get(at).unwrap_or_default();
        bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let length = match number(1..2) {
        126 => 4 + number(2..4),
        127 => 10 + number(2..10),
        short => 2 + short,
    };
    let opcode = frames.first().and_then(|first| Opcode::from_bits(first & 0x0F));
    (opcode, length.min(frames.len()))
}

/// How much is left of the frame that ends behind `written` bytes, where the first frame ends behind `cut` bytes.
pub fn rest_of_frame(frames: &[u8], mut cut: usize, written: usize) -> usize {
    while cut < written {
        cut += first_frame(&frames[cut..]).1;
    }
    cut - written
}

/// The messages among whole frames: pings and pongs are the connection's own.
pub fn messages(mut frames: &[u8]) -> Vec<u8> {
    let mut messages = Vec::new();
    while !frames.is_empty() {
        let (opcode, length) = first_frame(frames);
        let (frame, rest) = frames.split_at(length);
        if !opcode.is_some_and(Opcode::is_control) {
            messages.extend_from_slice(frame);
        }
        frames = rest;
    }
    messages
}

/// XORs `bytes`, which start at byte `offset` of their payload, with the mask. Eight bytes a step, of which the compiler
/// makes vector instructions, then four, then one.
#[inline]
pub fn apply_mask(bytes: &mut [u8], mut mask: [u8; 4], offset: u64) {
    if mask == [0; 4] {
        return;
    }
    if offset > 0 {
        mask.rotate_left((offset % 4) as usize);
    }
    let narrow = u32::from_ne_bytes(mask);
    let wide = u64::from(narrow) << 32 | u64::from(narrow);
    let mut eights = bytes.chunks_exact_mut(8);
    for chunk in &mut eights {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    let mut fours = eights.into_remainder().chunks_exact_mut(4);
    for chunk in &mut fours {
        let mut word = [0; 4];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u32::from_ne_bytes(word) ^ narrow).to_ne_bytes());
    }
    for (byte, key) in fours.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_as_short_as_they_can_be() {
        for (length, head) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xFF, 0xFF]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            encode(&mut out, Opcode::Text, &vec![b'x'; length], None);
            assert_eq!(out[..out.len() - length], head);
            let mut same = b"before".to_vec();
            encode_text(&mut same, |out| out.resize(out.len() + length, b'x'));
            assert_eq!(same[6..], out);
            let whole = out.len();
            encode(&mut out, Opcode::Ping, b"", None);
            assert_eq!(first_frame(&out), (Some(Opcode::Text), whole));
        }
    }

    #[test]
    fn the_rest_of_a_frame_is_found_at_each_byte() {
        let mut frames = Vec::new();
        encode(&mut frames, Opcode::Text, &[b'x'; 126], None);
        encode(&mut frames, Opcode::Text, b"y", None);
        for written in 0..=frames.len() {
            let rest = rest_of_frame(&frames, 0, written);
            let ends = [0, 130, 133];
            assert!(ends.contains(&(written + rest)) && rest < 130, "{written}: {rest}");
            for before in 0..written {
                let cut = rest_of_frame(&frames, 0, before);
                assert_eq!(rest_of_frame(&frames[before..], cut, written - before), rest);
            }
        }
    }
}
