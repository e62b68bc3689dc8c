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
    /// A message over the limit, where such are skipped: nothing of it was kept.
    Skipped,
    /// The peer's close frame: its code, or `None` where it gave none (what RFC 6455 calls 1005).
    Close(Option<u16>),
}

/// How large a message may be, in bytes after reassembly, and what comes of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It ends the connection.
    End(usize),
    /// It is skipped.
    Skip(usize),
}

impl Bound {
    fn most(self) -> usize {
        match self {
            Self::End(most) | Self::Skip(most) => most,
        }
    }
}

/// An incremental decoder. It is plain data: between two calls it holds only what of an unfinished frame
/// or message has come so far.
#[derive(Clone, Debug)]
pub struct Decoder {
    endpoint: Endpoint,
    bound: Bound,
    /// Whether the message under way is over it.
    is_skipping: bool,
    head: Head,
    frame: Option<Frame>,
    /// The kind of the message under way, from its first frame on.
    kind: Option<Opcode>,
    pub(super) message: Vec<u8>,
    /// How many bytes of `message` are known to be whole UTF-8 characters.
    valid: usize,
    pub(super) control: Vec<u8>,
    /// How many frames have been read to their end.
    frames: u64,
}

impl Decoder {
    /// A decoder for what comes to `endpoint`. A message of more than `max_message` bytes ends the connection.
    pub fn new(endpoint: Endpoint, max_message: usize) -> Self {
        Self {
            endpoint,
            bound: Bound::End(max_message),
            is_skipping: false,
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
        if let Some(text) = self.whole_text(input) {
            return text.map(|text| Some(Received::Text(Cow::Borrowed(text))));
        }
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

    /// Takes a whole text message of one frame from the front of `input`, where nothing is under way: what most clients send
    /// most of the time. `None` where something else is there, even if it is wrong.
    fn whole_text<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Result<&'i str, CloseCode>> {
        let is_under_way = self.kind.is_some() || self.frame.is_some() || self.is_skipping;
        if is_under_way || !self.head.unfinished().is_empty() || self.endpoint != Endpoint::Server {
            return None;
        }
        let (at, length) = whole_text_head(input)?;
        let mask = *input.get(at..)?.first_chunk()?;
        let start = at + mask.len();
        if length > self.bound.most() || input.len() < start + length {
            return None;
        }
        let (frame, rest) = std::mem::take(input).split_at_mut(start + length);
        *input = rest;
        let payload = &mut frame[start..];
        apply_mask(payload, mask, 0);
        self.frames += 1;
        Some(std::str::from_utf8(payload).map_err(|_| CloseCode::INVALID_DATA))
    }

    /// The bytes that a fresh decoder needs to stand where this one stands: what of an unfinished frame or
    /// message has been read so far, as frames. Where that is one that is skipped, the fresh decoder has to be told first,
    /// by [`Self::skip`].
    pub fn into_unread(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let in_data = self.frame.filter(|frame| !frame.opcode.is_control());
        // Of what is skipped nothing is there: it is told as if the rest were all.
        let current = match in_data {
            Some(frame) if !self.is_skipping => frame.read as usize,
            _ => 0,
        };
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
            let is_skipped = self.is_skipping && !frame.opcode.is_control();
            let length = if is_skipped { frame.length - frame.read } else { frame.length };
            put_head(&mut bytes, frame.fin, frame.opcode, length, mask);
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

    /// Whether the message under way is skipped.
    pub fn is_skipping(&self) -> bool {
        self.is_skipping
    }

    /// The message that comes, or is under way, is skipped.
    pub fn skip(&mut self) {
        self.is_skipping = true;
    }

    /// How large a message may be from the next frame on.
    pub fn bound_messages(&mut self, bound: Bound) {
        self.bound = bound;
    }

    /// The payload of `frame` comes next.
    fn begin(&mut self, frame: Frame) -> Result<(), CloseCode> {
        let is_data = !frame.opcode.is_control();
        let is_too_large = self.message.len() as u64 + frame.length > self.bound.most() as u64;
        if is_data && (self.is_skipping || is_too_large) {
            if !self.is_skipping && matches!(self.bound, Bound::End(_)) {
                return Err(CloseCode::TOO_BIG);
            }
            self.is_skipping = true;
            self.message = Vec::new();
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
        if self.is_skipping {
            if last {
                (self.is_skipping, self.kind, self.valid) = (false, None, 0);
            }
            return Ok(last.then_some(Received::Skipped));
        }
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

/// Where the mask is in a masked and final text frame of less than 64 KiB that `input` begins with, and how long its payload
/// is; `None` for all others.
fn whole_text_head(input: &[u8]) -> Option<(usize, usize)> {
    const FINAL_TEXT: u8 = 0x80 | Opcode::Text as u8;
    match *input {
        [FINAL_TEXT, length @ 0x80..=0xFD, ..] => Some((2, usize::from(length & 0x7F))),
        [FINAL_TEXT, 0xFE, high, low, ..] => {
            let length = u16::from_be_bytes([high, low]);
            // The shortest form must be used.
            (length > 125).then_some((4, length.into()))
        }
        _ => None,
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
