//! Bytes to messages (RFC 6455 section 5).
//!
//! Owns what is wrong with a frame, and the parts of a message that have come. It deliberately does not know where
//! bytes come from.

use std::borrow::Cow;

use crate::wire::codes::CloseCode;
use crate::wire::frame::{Opcode, apply_mask, put_head};
use crate::wire::head::{Endpoint, Frame, Head};

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

/// An incremental decoder. It is plain data: between two calls it holds only what of an unfinished frame
/// or message has come so far.
#[derive(Clone, Debug)]
pub struct Decoder {
    endpoint: Endpoint,
    /// The largest message after reassembly, in bytes.
    max_message: usize,
    head: Head,
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
    /// A decoder for what comes to `endpoint`, with messages of at most `max_message` bytes.
    pub fn new(endpoint: Endpoint, max_message: usize) -> Self {
        Self {
            endpoint,
            max_message,
            head: Head::default(),
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
                let Some(frame) = self.head.read(input, self.endpoint, self.kind.is_some())? else {
                    return Ok(None);
                };
                self.begin(frame)?;
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
            let mask = (self.endpoint == Endpoint::Server).then_some([0; 4]);
            put_head(&mut bytes, false, kind, earlier as u64, mask);
            bytes.extend_from_slice(&self.message[..earlier]);
        }
        if let Some(frame) = self.frame {
            let mask = (self.endpoint == Endpoint::Server).then_some(frame.mask);
            put_head(&mut bytes, frame.fin, frame.opcode, frame.length, mask);
            let read = if frame.opcode.is_control() {
                &mut self.control[..]
            } else {
                &mut self.message[earlier..]
            };
            apply_mask(read, frame.mask, 0);
            bytes.extend_from_slice(read);
        }
        bytes.extend_from_slice(self.head.unfinished());
        bytes
    }

    /// Messages have so many bytes at most from the next frame on.
    pub fn bound_messages(&mut self, most: usize) {
        self.max_message = most;
    }

    /// The payload of `frame` comes next.
    fn begin(&mut self, frame: Frame) -> Result<(), CloseCode> {
        let is_data = !frame.opcode.is_control();
        if is_data && self.message.len() as u64 + frame.length > self.max_message as u64 {
            return Err(CloseCode::TOO_BIG);
        }
        if matches!(frame.opcode, Opcode::Text | Opcode::Binary) {
            self.kind = Some(frame.opcode);
        }
        self.frame = Some(frame);
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
    use crate::wire::frame::{encode, encode_close};

    /// Decodes `bytes` in pieces of `step` bytes: what came, and the violation that ended it.
    fn decode(bytes: &[u8], step: usize) -> (Vec<Received<'static>>, Option<CloseCode>) {
        let mut decoder = Decoder::new(Endpoint::Server, 65_536);
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
            let mut first = Decoder::new(Endpoint::Server, 65_536);
            feed(&mut first, before, &mut all).unwrap();
            let mut second = Decoder::new(Endpoint::Server, 65_536);
            feed(&mut second, &first.into_unread(), &mut all).unwrap();
            feed(&mut second, after, &mut all).unwrap();
            assert_eq!(all, sample_decoded(), "cut at byte {cut}");
        }
    }

    #[test]
    fn an_idle_decoder_owns_no_memory() {
        let mut decoder = Decoder::new(Endpoint::Server, 65_536);
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
    fn a_client_reads_what_a_server_writes() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Opcode::Text, "grüße".as_bytes(), None);
        encode_close(&mut bytes, None, "", None);
        let mut decoder = Decoder::new(Endpoint::Client, 100);
        let mut all = Vec::new();
        feed(&mut decoder, &bytes, &mut all).unwrap();
        assert_eq!(all, [text("grüße"), Received::Close(None)]);
        let masked = frame(0x81, b"x");
        let mut decoder = Decoder::new(Endpoint::Client, 100);
        let result = feed(&mut decoder, &masked, &mut all);
        assert_eq!(result, Err(CloseCode::PROTOCOL), "a server must not mask");
    }
}
