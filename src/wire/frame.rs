//! RFC 6455 frames in and out of byte slices.
//!
//! Owns framing, masking, reassembly, UTF-8 and size checks. It deliberately knows no socket: bytes come
//! from the caller's buffer, so that a session that is idle owns none.

use std::borrow::Cow;

use crate::wire::protocol::CloseCode;

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
const MAX_CONTROL: u64 = 125;

/// The longest frame head, in bytes: two, eight of length, four of mask.
const MAX_HEAD: usize = 14;

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
    fn from_bits(bits: u8) -> Option<Self> {
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

    fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Which end of the connection decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Frames come from a client and must be masked.
    Server,
    /// Frames come from a server and must not be masked.
    Client,
}

/// Something complete that the peer sent. The payload borrows from the caller's buffer where the frame
/// arrived in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping, to be answered with the same payload.
    Ping(Cow<'a, [u8]>),
    /// A pong.
    Pong,
    /// The peer's close frame: its code, or `None` where it gave none (what RFC 6455 calls 1005).
    Close(Option<u16>),
}

/// The frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    /// The payload's length, in bytes.
    length: u64,
    /// How many of them have been read.
    read: u64,
}

/// An incremental decoder. It is plain data: between two calls it holds only what of an unfinished frame
/// or message has come so far.
#[derive(Clone, Debug)]
pub struct Decoder {
    role: Role,
    /// The largest message after reassembly, in bytes.
    max_message: usize,
    head: [u8; MAX_HEAD],
    head_len: usize,
    frame: Option<Frame>,
    /// The kind of the message under way, from its first frame on.
    kind: Option<Opcode>,
    message: Vec<u8>,
    /// How many bytes of `message` are known to be whole UTF-8 characters.
    valid: usize,
    control: Vec<u8>,
    /// How many frames have been read to their end.
    frames: u64,
}

impl Decoder {
    /// A decoder for what comes to `role`, with messages of at most `max_message` bytes.
    pub fn new(role: Role, max_message: usize) -> Self {
        Self {
            role,
            max_message,
            head: [0; MAX_HEAD],
            head_len: 0,
            frame: None,
            kind: None,
            message: Vec::new(),
            valid: 0,
            control: Vec::new(),
            frames: 0,
        }
    }

    /// How many frames have come, whole, since the decoder was made: fragments of messages as well.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes what it can from the front of `input`, unmasking in place, and stops behind the first thing
    /// that is complete. `None` means that all of `input` was taken and more is needed.
    ///
    /// # Errors
    ///
    /// The close code that RFC 6455 has for the violation: 1002 for framing, 1007 for UTF-8 (as soon as
    /// the bad byte is there), 1009 for a message over the limit (as soon as a head announces it). The
    /// decoder is of no use after an error.
    pub fn next<'i>(
        &mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Received<'i>>, CloseCode> {
        loop {
            let Some(frame) = self.frame else {
                if !self.read_head(input)? {
                    return Ok(None);
                }
                continue;
            };
            let left = frame.length - frame.read;
            let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
            let (chunk, rest) = std::mem::take(input).split_at_mut(take);
            *input = rest;
            apply_mask(chunk, frame.mask, frame.read);
            let complete = take as u64 == left;
            if complete {
                self.frame = None;
                self.frames += 1;
            } else if let Some(frame) = &mut self.frame {
                frame.read += take as u64;
            }
            let received = if frame.opcode.is_control() {
                self.read_control(frame, chunk, complete)?
            } else {
                self.read_data(frame, chunk, complete)?
            };
            if received.is_some() || !complete {
                return Ok(received);
            }
        }
    }

    /// The bytes that a fresh decoder needs to stand where this one stands: what of an unfinished frame or
    /// message has been read so far, as frames.
    pub fn into_unread(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let in_data = self.frame.filter(|frame| !frame.opcode.is_control());
        let current = in_data.map_or(0, |frame| frame.read as usize);
        let earlier = self.message.len() - current;
        // The first frame of a message is itself the frame being read, unless an earlier one ended.
        let started =
            self.kind.filter(|_| in_data.is_none_or(|frame| frame.opcode == Opcode::Continuation));
        if let Some(kind) = started {
            let mask = (self.role == Role::Server).then_some([0; 4]);
            put_head(&mut bytes, false, kind, earlier as u64, mask);
            bytes.extend_from_slice(&self.message[..earlier]);
        }
        if let Some(frame) = self.frame {
            let mask = (self.role == Role::Server).then_some(frame.mask);
            put_head(&mut bytes, frame.fin, frame.opcode, frame.length, mask);
            let read = if frame.opcode.is_control() {
                &mut self.control[..]
            } else {
                &mut self.message[earlier..]
            };
            apply_mask(read, frame.mask, 0);
            bytes.extend_from_slice(read);
        }
        bytes.extend_from_slice(&self.head[..self.head_len]);
        bytes
    }

    /// Gathers a frame head; true when it is whole and has become `self.frame`.
    fn read_head(&mut self, input: &mut &mut [u8]) -> Result<bool, CloseCode> {
        loop {
            if self.head_len == 2 {
                self.check_start()?;
            }
            let needed = self.head_needed();
            if self.head_len >= 2 && self.head_len == needed {
                break;
            }
            if input.is_empty() {
                return Ok(false);
            }
            let take = (needed - self.head_len).min(input.len());
            let (bytes, rest) = std::mem::take(input).split_at_mut(take);
            *input = rest;
            self.head[self.head_len..self.head_len + take].copy_from_slice(bytes);
            self.head_len += take;
        }
        let opcode = Opcode::from_bits(self.head[0] & 0x0F).ok_or(CloseCode::PROTOCOL)?;
        let (length, at) = match self.head[1] & 0x7F {
            126 => (u64::from(u16::from_be_bytes([self.head[2], self.head[3]])), 4),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&self.head[2..10]);
                (u64::from_be_bytes(bytes), 10)
            }
            short => (u64::from(short), 2),
        };
        // Section 5.2: the shortest form must be used, and the top bit of the long one is 0.
        if (at == 4 && length < 126) || (at == 10 && (length < 65_536 || length >> 63 != 0)) {
            return Err(CloseCode::PROTOCOL);
        }
        if !opcode.is_control() && self.message.len() as u64 + length > self.max_message as u64 {
            return Err(CloseCode::TOO_BIG);
        }
        let mut mask = [0; 4];
        if self.role == Role::Server {
            mask.copy_from_slice(&self.head[at..at + 4]);
        }
        let fin = self.head[0] & 0x80 != 0;
        if matches!(opcode, Opcode::Text | Opcode::Binary) {
            self.kind = Some(opcode);
        }
        self.head_len = 0;
        self.frame = Some(Frame { opcode, fin, mask, length, read: 0 });
        Ok(true)
    }

    /// How long the head is, as far as its first two bytes tell.
    fn head_needed(&self) -> usize {
        if self.head_len < 2 {
            return 2;
        }
        let extended = match self.head[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if self.head[1] & 0x80 != 0 { 4 } else { 0 }
    }

    /// What the first two bytes alone can get wrong, refused before more is waited for.
    fn check_start(&self) -> Result<(), CloseCode> {
        let [first, second] = [self.head[0], self.head[1]];
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(CloseCode::PROTOCOL)?;
        let fin = first & 0x80 != 0;
        let reserved = first & 0x70 != 0;
        let masked = second & 0x80 != 0;
        let out_of_turn = match opcode {
            Opcode::Continuation => self.kind.is_none(),
            Opcode::Text | Opcode::Binary => self.kind.is_some(),
            _ => !fin || u64::from(second & 0x7F) > MAX_CONTROL,
        };
        if reserved || out_of_turn || masked != (self.role == Role::Server) {
            return Err(CloseCode::PROTOCOL);
        }
        Ok(())
    }

    fn read_control<'i>(
        &mut self,
        frame: Frame,
        chunk: &'i mut [u8],
        complete: bool,
    ) -> Result<Option<Received<'i>>, CloseCode> {
        if !complete {
            self.control.extend_from_slice(chunk);
            return Ok(None);
        }
        let payload = whole(&mut self.control, chunk);
        Ok(Some(match frame.opcode {
            Opcode::Ping => Received::Ping(payload),
            Opcode::Pong => Received::Pong,
            _ => Received::Close(close_code(&payload)?),
        }))
    }

    fn read_data<'i>(
        &mut self,
        frame: Frame,
        chunk: &'i mut [u8],
        complete: bool,
    ) -> Result<Option<Received<'i>>, CloseCode> {
        let last = complete && frame.fin;
        let text = self.kind == Some(Opcode::Text);
        if !last || !self.message.is_empty() {
            self.message.extend_from_slice(chunk);
            if text {
                self.validate(last)?;
            }
            if !last {
                return Ok(None);
            }
        }
        self.kind = None;
        self.valid = 0;
        let payload = if self.message.is_empty() {
            Cow::Borrowed(&*chunk)
        } else {
            Cow::Owned(std::mem::take(&mut self.message))
        };
        if !text {
            return Ok(Some(Received::Binary(payload)));
        }
        let text = match payload {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        let text = text.ok_or(CloseCode::INVALID_DATA)?;
        Ok(Some(Received::Text(text)))
    }

    /// Checks the part of `message` that has come since the last check. A character may be cut in two by
    /// the end of a chunk, but not by the end of the message.
    fn validate(&mut self, last: bool) -> Result<(), CloseCode> {
        match std::str::from_utf8(&self.message[self.valid..]) {
            Ok(_) => self.valid = self.message.len(),
            Err(error) if error.error_len().is_none() && !last => self.valid += error.valid_up_to(),
            Err(_) => return Err(CloseCode::INVALID_DATA),
        }
        Ok(())
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

/// Appends a close frame: its code with a reason of at most 123 bytes, or an empty one.
pub fn encode_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str, mask: Option<[u8; 4]>) {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    encode(out, Opcode::Close, &payload, mask);
}

fn put_head(out: &mut Vec<u8>, fin: bool, opcode: Opcode, length: u64, mask: Option<[u8; 4]>) {
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

/// XORs `bytes`, which start at byte `offset` of their payload, with the mask. Eight bytes a step: the
/// compiler makes vector instructions of it.
fn apply_mask(bytes: &mut [u8], mut mask: [u8; 4], offset: u64) {
    if mask == [0; 4] {
        return;
    }
    mask.rotate_left((offset % 4) as usize);
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The payload that ends with `chunk`: the chunk itself, or what was kept before it and the chunk.
fn whole<'i>(kept: &mut Vec<u8>, chunk: &'i [u8]) -> Cow<'i, [u8]> {
    if kept.is_empty() {
        return Cow::Borrowed(chunk);
    }
    kept.extend_from_slice(chunk);
    Cow::Owned(std::mem::take(kept))
}

/// The code in a close frame's payload, checked as RFC 6455 sections 5.5.1 and 7.4 demand. 1012 to 1014
/// came later, by IANA's WebSocket close code registry.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(CloseCode::PROTOCOL) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::PROTOCOL);
    }
    std::str::from_utf8(reason).map_err(|_| CloseCode::INVALID_DATA)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `bytes` in pieces of `step` bytes: what came, and the violation that ended it.
    fn decode(bytes: &[u8], step: usize) -> (Vec<Received<'static>>, Option<CloseCode>) {
        let mut decoder = Decoder::new(Role::Server, 65_536);
        let mut all = Vec::new();
        for piece in bytes.chunks(step) {
            if let Err(code) = feed(&mut decoder, piece, &mut all) {
                return (all, Some(code));
            }
        }
        (all, None)
    }

    fn feed(
        decoder: &mut Decoder,
        piece: &[u8],
        all: &mut Vec<Received<'static>>,
    ) -> Result<(), CloseCode> {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while let Some(received) = decoder.next(&mut input)? {
            all.push(match received {
                Received::Text(text) => Received::Text(text.into_owned().into()),
                Received::Binary(bytes) => Received::Binary(bytes.into_owned().into()),
                Received::Ping(bytes) => Received::Ping(bytes.into_owned().into()),
                Received::Pong => Received::Pong,
                Received::Close(code) => Received::Close(code),
            });
        }
        Ok(())
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut bytes = Vec::new();
        put_head(&mut bytes, true, Opcode::Text, payload.len() as u64, Some(mask));
        bytes[0] = first;
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        apply_mask(&mut bytes[start..], mask, 0);
        bytes
    }

    fn text(text: &str) -> Received<'static> {
        Received::Text(text.to_owned().into())
    }

    /// A stream with every kind of frame in it.
    fn sample() -> Vec<u8> {
        [
            frame(0x81, "grüße".as_bytes()),
            frame(0x01, "a€".as_bytes().split_at(2).0),
            frame(0x89, b"are you there"),
            frame(0x00, b""),
            frame(0x80, "a€b".as_bytes().split_at(2).1),
            frame(0x82, &[0xFF; 300]),
            frame(0x8A, b""),
            frame(0x01, b""),
            frame(0x80, b""),
            frame(0x88, &[0x03, 0xE8, b'o', b'k']),
        ]
        .concat()
    }

    fn sample_decoded() -> Vec<Received<'static>> {
        vec![
            text("grüße"),
            Received::Ping(b"are you there".to_vec().into()),
            text("a€b"),
            Received::Binary(vec![0xFF; 300].into()),
            Received::Pong,
            text(""),
            Received::Close(Some(1000)),
        ]
    }

    #[test]
    fn pieces_of_any_size_decode_alike() {
        let bytes = sample();
        for step in 1..=bytes.len() {
            assert_eq!(decode(&bytes, step), (sample_decoded(), None), "pieces of {step}");
        }
    }

    #[test]
    fn unread_bytes_start_a_decoder_where_another_stopped() {
        let bytes = sample();
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            let mut all = Vec::new();
            let mut first = Decoder::new(Role::Server, 65_536);
            feed(&mut first, before, &mut all).unwrap();
            let mut second = Decoder::new(Role::Server, 65_536);
            feed(&mut second, &first.into_unread(), &mut all).unwrap();
            feed(&mut second, after, &mut all).unwrap();
            assert_eq!(all, sample_decoded(), "cut at byte {cut}");
        }
    }

    #[test]
    fn an_idle_decoder_owns_no_memory() {
        let mut decoder = Decoder::new(Role::Server, 65_536);
        for byte in sample() {
            feed(&mut decoder, &[byte], &mut Vec::new()).unwrap();
        }
        assert_eq!((decoder.message.capacity(), decoder.control.capacity()), (0, 0));
    }

    #[test]
    fn violations_have_their_code() {
        let code = |bytes: &[u8]| {
            let results: Vec<_> =
                [1, bytes.len()].into_iter().map(|step| decode(bytes, step).1).collect();
            assert_eq!(results[0], results[1]);
            results[0].map(|code| code.0)
        };
        for first in [0x83, 0x87, 0x8B, 0x8F] {
            assert_eq!(code(&frame(first, b"")), Some(1002), "opcode {first:x}");
        }
        for first in [0xC1, 0xA1, 0x91] {
            assert_eq!(code(&frame(first, b"")), Some(1002), "reserved bit {first:x}");
        }
        assert_eq!(code(&[0x81, 0x00]), Some(1002), "not masked");
        assert_eq!(code(&frame(0x80, b"")), Some(1002), "continuation of nothing");
        let twice = [frame(0x01, b""), frame(0x81, b"")].concat();
        assert_eq!(code(&twice), Some(1002), "a message inside a message");
        assert_eq!(code(&frame(0x09, b"")), Some(1002), "fragmented ping");
        assert_eq!(code(&frame(0x89, &[0; 126])), Some(1002), "long ping");
        assert_eq!(code(&frame(0x89, &[0; 125])), None, "longest ping");
        assert_eq!(code(&[0x81, 0xFE, 0, 125, 0, 0, 0, 0]), Some(1002), "not the shortest form");
        let long = [0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0];
        assert_eq!(code(&long), Some(1002), "not the shortest form");
        let negative = [0x81, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(code(&negative), Some(1002), "top bit of the length");
    }

    #[test]
    fn messages_have_a_limit_before_and_after_reassembly() {
        let most = vec![b'x'; 65_536];
        let over = vec![b'x'; 65_537];
        assert_eq!(decode(&frame(0x81, &most), 9999).0.len(), 1);
        // The head alone is enough to refuse it.
        assert_eq!(decode(&frame(0x81, &over)[..14], 1), (vec![], Some(CloseCode::TOO_BIG)));
        let fragments = [frame(0x01, &most[..65_000]), frame(0x80, &most[65_000..])].concat();
        assert_eq!(decode(&fragments, 9999).0.len(), 1);
        let fragments = [frame(0x01, &most), frame(0x80, b"x")].concat();
        assert_eq!(decode(&fragments, 9999).1, Some(CloseCode::TOO_BIG));
    }

    #[test]
    fn bad_utf8_is_refused_at_the_bad_byte() {
        let bytes = frame(0x81, b"abc\xFF and much more");
        let after_bad = 6 + 4;
        assert_eq!(decode(&bytes[..after_bad - 1], 1).1, None);
        assert_eq!(decode(&bytes[..after_bad], 1).1, Some(CloseCode::INVALID_DATA));
        // A character that the message's end cuts off, alone and over two fragments.
        assert_eq!(decode(&frame(0x81, b"\xE2\x82"), 1).1, Some(CloseCode::INVALID_DATA));
        let cut = [frame(0x01, b"\xE2"), frame(0x80, b"\x82")].concat();
        assert_eq!(decode(&cut, 99).1, Some(CloseCode::INVALID_DATA));
        // Surrogates are no characters.
        assert_eq!(decode(&frame(0x81, b"\xED\xA0\x80"), 99).1, Some(CloseCode::INVALID_DATA));
        // Bytes are.
        assert_eq!(decode(&frame(0x82, b"\xFF"), 1).1, None);
    }

    #[test]
    fn close_frames_are_checked() {
        let close = |payload: &[u8]| decode(&frame(0x88, payload), 99);
        assert_eq!(close(b"").0, [Received::Close(None)]);
        assert_eq!(close(b"\x03").1, Some(CloseCode::PROTOCOL));
        for code in 0..=u16::MAX {
            let closed = close(&code.to_be_bytes());
            if let 1000..=1003 | 1007..=1014 | 3000..=4999 = code {
                assert_eq!(closed, (vec![Received::Close(Some(code))], None));
            } else {
                assert_eq!(closed, (vec![], Some(CloseCode::PROTOCOL)), "{code}");
            }
        }
        assert_eq!(close(b"\x03\xE8\xFF").1, Some(CloseCode::INVALID_DATA));
    }

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
        }
    }

    #[test]
    fn a_client_reads_what_a_server_writes() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Opcode::Text, "grüße".as_bytes(), None);
        encode_close(&mut bytes, None, "", None);
        let mut decoder = Decoder::new(Role::Client, 100);
        let mut all = Vec::new();
        feed(&mut decoder, &bytes, &mut all).unwrap();
        assert_eq!(all, [text("grüße"), Received::Close(None)]);
        let masked = frame(0x81, b"x");
        let mut decoder = Decoder::new(Role::Client, 100);
        let result = feed(&mut decoder, &masked, &mut all);
        assert_eq!(result, Err(CloseCode::PROTOCOL), "a server must not mask");
    }
}
