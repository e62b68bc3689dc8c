//! What holds for the frame path, whatever the bytes and however they are split.
//!
//! Owns the properties, and a decoder that reads RFC 6455 plainly to compare with. It deliberately knows no
//! fuzzer: a test replays the corpus through it.

use openstudio_signaling::wire::codes::CloseCode;
use openstudio_signaling::wire::decoder::{Bound, Decoder, Received};
use openstudio_signaling::wire::frame::{Opcode, encode};
use openstudio_signaling::wire::head::Endpoint;

/// Limits on a message in bytes: at once, soon, around the first long form of a length, and the server's own.
const LIMITS: [usize; 4] = [0, 20, 200, 65_536];

/// What came of a stream: what was received, and the violation that ended it.
type Outcome = (Vec<Received<'static>>, Option<CloseCode>);

/// Checks one input. Its first byte says who reads and how much, its second one how the rest is split.
pub fn check(data: &[u8]) {
    let [settings, seed, stream @ ..] = data else {
        return;
    };
    let endpoint = if settings & 1 == 0 { Endpoint::Server } else { Endpoint::Client };
    let limit = LIMITS[usize::from(settings >> 1) % LIMITS.len()];
    let (expected, frames) = plainly(stream, endpoint, limit);
    let holds = |mut decoder: Decoder, outcome: Outcome| {
        assert_eq!(outcome, expected);
        if outcome.1.is_none() {
            assert_eq!(decoder.frames(), frames);
            assert_eq!(decoder.next(&mut &mut [][..]), Ok(None), "nothing is kept back");
        }
    };
    let mut decoder = Decoder::new(endpoint, limit);
    let outcome = decode(&mut decoder, [stream]);
    holds(decoder, outcome);
    let mut decoder = Decoder::new(endpoint, limit);
    let outcome = decode(&mut decoder, stream.chunks(1));
    holds(decoder, outcome);
    let mut decoder = Decoder::new(endpoint, limit);
    let outcome = decode(&mut decoder, pieces(stream, *seed));
    holds(decoder, outcome);
    for message in &expected.0 {
        assert!(length(message) <= limit.max(125), "{message:?} is over the limit of {limit}");
    }
    hand_over(stream, usize::from(*seed) % (stream.len() + 1), endpoint, limit, &expected);
    skip(stream, *seed, endpoint, limit, &expected);
    round_trip(stream, endpoint, *seed);
}

/// Where large messages are skipped, all else is as it was, up to the first of them at least.
fn skip(stream: &[u8], seed: u8, endpoint: Endpoint, limit: usize, expected: &Outcome) {
    let skipping = || {
        let mut decoder = Decoder::new(endpoint, 0);
        decoder.bound_messages(Bound::Skip(limit));
        decoder
    };
    let outcome = decode(&mut skipping(), [stream]);
    assert_eq!(outcome, decode(&mut skipping(), pieces(stream, seed)));
    assert_ne!(outcome.1, Some(CloseCode::TOO_BIG));
    assert!(outcome.0.starts_with(&expected.0), "{outcome:?}");
    if expected.1 != Some(CloseCode::TOO_BIG) {
        assert_eq!(outcome, *expected);
    }
    for message in &outcome.0 {
        assert!(length(message) <= limit.max(125), "{message:?} is over the limit of {limit}");
    }
}

/// One decoder stops anywhere, and another one goes on where it stood.
fn hand_over(stream: &[u8], cut: usize, endpoint: Endpoint, limit: usize, expected: &Outcome) {
    let (before, after) = stream.split_at(cut);
    let mut first = Decoder::new(endpoint, limit);
    let (mut all, None) = decode(&mut first, [before]) else {
        return;
    };
    let unread = first.into_unread();
    // At most a message, a control frame, and the head of a frame for each.
    assert!(unread.len() <= limit + 125 + 3 * 14, "{} bytes are kept", unread.len());
    let mut second = Decoder::new(endpoint, limit);
    let (later, violation) = decode(&mut second, [&unread[..], after]);
    all.extend(later);
    assert_eq!((&all, violation), (&expected.0, expected.1));
}

/// What is encoded is decoded to the same, with a head that is as short as it can be.
fn round_trip(payload: &[u8], endpoint: Endpoint, seed: u8) {
    let mask = (endpoint == Endpoint::Server).then_some([seed, 0, !seed, 0x55]);
    let text = String::from_utf8_lossy(payload);
    let mut frames = Vec::new();
    encode(&mut frames, Opcode::Text, text.as_bytes(), mask);
    let head = match text.len() {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    assert_eq!(frames.len(), head + mask.map_or(0, |mask| mask.len()) + text.len());
    let short = &payload[..payload.len().min(125)];
    encode(&mut frames, Opcode::Ping, short, mask);
    encode(&mut frames, Opcode::Binary, payload, mask);
    let mut decoder = Decoder::new(endpoint, text.len().max(payload.len()));
    let sent = vec![
        Received::Text(text.into_owned().into()),
        Received::Ping(short.to_vec().into()),
        Received::Binary(payload.to_vec().into()),
    ];
    assert_eq!(decode(&mut decoder, pieces(&frames, seed)), (sent, None));
}

fn decode<'a>(decoder: &mut Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut all = Vec::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.clear();
        buffer.extend_from_slice(piece);
        let mut input = &mut buffer[..];
        loop {
            match decoder.next(&mut input) {
                Ok(Some(received)) => all.push(owned(received)),
                Ok(None) => break,
                Err(code) => return (all, Some(code)),
            }
        }
        assert!(input.is_empty(), "what is not taken is lost");
    }
    (all, None)
}

fn owned(received: Received<'_>) -> Received<'static> {
    match received {
        Received::Text(text) => Received::Text(text.into_owned().into()),
        Received::Binary(bytes) => Received::Binary(bytes.into_owned().into()),
        Received::Ping(bytes) => Received::Ping(bytes.into_owned().into()),
        Received::Pong => Received::Pong,
        Received::Skipped => Received::Skipped,
        Received::Close(code) => Received::Close(code),
    }
}

fn length(received: &Received<'_>) -> usize {
    match received {
        Received::Text(text) => text.len(),
        Received::Binary(bytes) | Received::Ping(bytes) => bytes.len(),
        Received::Pong | Received::Skipped | Received::Close(_) => 0,
    }
}

/// Pieces of 0 to 15 bytes, the same ones for the same seed.
fn pieces(mut stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        if stream.is_empty() {
            return None;
        }
        // The generator of Numerical Recipes; its upper bits are the better ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = stream.split_at(stream.len().min((state >> 28) as usize));
        stream = rest;
        Some(piece)
    })
}

/// Reads a stream by the letter of RFC 6455 section 5, with all of it at hand: what comes of it, and how many
/// frames are whole.
fn plainly(stream: &[u8], endpoint: Endpoint, limit: usize) -> (Outcome, u64) {
    let mut received = Vec::new();
    let mut frames = 0;
    let violation = read_plainly(stream, endpoint, limit, &mut received, &mut frames).err();
    ((received, violation), frames)
}

fn read_plainly(
    mut stream: &[u8],
    endpoint: Endpoint,
    limit: usize,
    received: &mut Vec<Received<'static>>,
    frames: &mut u64,
) -> Result<(), CloseCode> {
    let mut message: Option<(bool, Vec<u8>)> = None;
    loop {
        let [first, second, rest @ ..] = stream else {
            return Ok(());
        };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
        let (masked, short) = (second & 0x80 != 0, second & 0x7F);
        let in_turn = match opcode {
            0 => message.is_some(),
            1 | 2 => message.is_none(),
            8..=10 => fin && short <= 125,
            _ => false,
        };
        if first & 0x70 != 0 || !in_turn || masked != (endpoint == Endpoint::Server) {
            return Err(CloseCode::PROTOCOL);
        }
        let (extended, least) = match short {
            126 => (2, 126),
            127 => (8, 65_536),
            _ => (0, 0),
        };
        let Some((head, rest)) = rest.split_at_checked(extended + if masked { 4 } else { 0 })
        else {
            return Ok(());
        };
        let (extended, mask) = head.split_at(extended);
        let length = extended.iter().fold(0, |length, byte| (length << 8) | u64::from(*byte));
        let length = if extended.is_empty() { u64::from(short) } else { length };
        if length < least || length >= 1 << 63 {
            return Err(CloseCode::PROTOCOL);
        }
        let before = message.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        if opcode < 8 && before + length > limit as u64 {
            return Err(CloseCode::TOO_BIG);
        }
        let is_whole = rest.len() as u64 >= length;
        let (payload, rest) = rest.split_at(rest.len().min(length as usize));
        let key = |at: usize| if masked { mask[at % 4] } else { 0 };
        let payload: Vec<u8> = payload.iter().enumerate().map(|(at, b)| b ^ key(at)).collect();
        if opcode < 8 {
            let (is_text, bytes) = message.get_or_insert((opcode == 1, Vec::new()));
            bytes.extend(payload);
            let ends = is_whole && fin;
            let bad = std::str::from_utf8(bytes).err();
            if *is_text && bad.is_some_and(|bad| ends || bad.error_len().is_some()) {
                return Err(CloseCode::INVALID_DATA);
            }
            if ends {
                let (is_text, bytes) = message.take().expect("it was put there just now");
                received.push(match String::from_utf8(bytes) {
                    Ok(text) if is_text => Received::Text(text.into()),
                    Ok(text) => Received::Binary(text.into_bytes().into()),
                    Err(error) => Received::Binary(error.into_bytes().into()),
                });
            }
        } else if is_whole {
            received.push(match opcode {
                8 => Received::Close(plain_code(&payload)?),
                9 => Received::Ping(payload.into()),
                _ => Received::Pong,
            });
        }
        if !is_whole {
            return Ok(());
        }
        *frames += 1;
        stream = rest;
    }
}

/// The code of a close frame (RFC 6455 section 7.4, and IANA's registry for 1012 to 1014).
fn plain_code(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(CloseCode::PROTOCOL) };
    };
    let code = u16::from_be_bytes(*code);
    let reserved = matches!(code, 1004..=1006 | 1015..=2999);
    if !(1000..5000).contains(&code) || reserved {
        return Err(CloseCode::PROTOCOL);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(CloseCode::INVALID_DATA),
    }
}
