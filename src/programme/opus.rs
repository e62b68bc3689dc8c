//! Opus packets (RFC 6716), as far as a remuxer has to know them.
//!
//! Owns how long a packet is, how it is padded, and which one is quiet. It deliberately decodes nothing.

/// Samples in a second: Opus in Ogg counts with 48 kHz whatever the input had (RFC 7845 section 4).
pub const RATE: u32 = 48_000;

/// Samples in 20 ms.
pub const TWENTY_MS: u32 = RATE / 50;

/// The longest packet, in samples: 120 ms (RFC 6716 section 3.2.5).
const LONGEST: u32 = 5760;

/// 20 ms of stereo silence: TOC of CELT, fullband, one frame, and the frame of an encoder that hears nothing.
const SILENCE: [u8; 3] = [0xFC, 0xFF, 0xFE];

/// Packets with fewer bytes in 20 ms are quiet: a browser sends 3 to 13 for silence.
pub const QUIET: usize = 24;

/// The bit of the frame count byte that says that padding follows (RFC 6716 section 3.2.5).
const HAS_PADDING: u8 = 0x40;

/// How many samples a packet has, by its TOC (RFC 6716 section 3.1); `None` where it is no packet.
pub fn samples(packet: &[u8]) -> Option<u32> {
    let (toc, rest) = packet.split_first()?;
    let frame = match toc >> 3 {
        silk @ 0..=11 => [480, 960, 1920, 2880][usize::from(silk & 3)],
        hybrid @ 12..=15 => [480, 960][usize::from(hybrid & 1)],
        celt => [120, 240, 480, 960][usize::from(celt & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 if rest.len() % 2 == 0 => 2,
        1 => return None,
        2 => rest.first().map(|_| 2)?,
        _ => u32::from(rest.first()? & 0x3F),
    };
    Some(frames * frame).filter(|samples| (1..=LONGEST).contains(samples))
}

/// The bytes of a packet without those of its padding. One whose padding is longer than itself is taken as it is.
pub fn body_size(packet: &[u8]) -> usize {
    let [toc, count, rest @ ..] = packet else {
        return packet.len();
    };
    if toc & 3 != 3 || count & HAS_PADDING == 0 {
        return packet.len();
    }
    // A length of 255 stands for 254 bytes and another length.
    let longer = rest.iter().take_while(|length| **length == 255).count();
    let Some(last) = rest.get(longer) else {
        return packet.len();
    };
    let padding = longer + 1 + longer * 254 + usize::from(*last);
    if padding > rest.len() { packet.len() } else { packet.len() - padding }
}

/// Whether a packet with this many samples is as small as those for silence, whatever it is padded to. An encoder with a
/// constant rate makes none that is.
pub fn is_quiet(packet: &[u8], samples: u32) -> bool {
    QUIET * samples as usize > body_size(packet) * TWENTY_MS as usize
}

/// 20 ms of silence in a packet of `size` bytes, or of three where that is less than can be padded.
pub fn silence(size: usize) -> Vec<u8> {
    pad(&SILENCE, size)
}

/// The same packet, made as long as `size` bytes by padding, which decoders skip (RFC 6716 section 3.2.5). One that is
/// longer already, or has padding, stays as it is.
pub fn pad(packet: &[u8], size: usize) -> Vec<u8> {
    let parts = match packet {
        // The count byte: one frame, two of equal size, two of different ones, or what it was.
        [toc, body @ ..] if toc & 3 != 3 => Some((*toc, [1, 2, 0x82][usize::from(toc & 3)], body)),
        [toc, count, body @ ..] if count & HAS_PADDING == 0 => Some((*toc, *count, body)),
        _ => None,
    };
    let Some((toc, count, body)) = parts.filter(|(.., body)| body.len() + 3 <= size) else {
        return packet.to_vec();
    };
    let mut padded = vec![toc | 3, count | HAS_PADDING];
    let mut zeros = 0;
    let mut left = size - 2 - body.len();
    // A length of 255 stands for 254 bytes and another length.
    while left > 255 {
        padded.push(255);
        zeros += 254;
        left -= 255;
    }
    padded.push(left as u8 - 1);
    zeros += left - 1;
    padded.extend_from_slice(body);
    padded.resize(padded.len() + zeros, 0);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_how_long_it_is() {
        for (packet, expected) in [
            (&SILENCE[..], Some(960)),
            // What Chromium sends: three frames of 20 ms.
            (&[0xFF, 3, 0], Some(2880)),
            (&[0x03, 4, 0], Some(1920)),
            (&[0x18, 0], Some(2880)),
            (&[0x60, 0], Some(480)),
            (&[0xE0, 0], Some(120)),
            (&[0xF9, 1, 2], Some(1920)),
            (&[0xF9, 1], None),
            (&[0xFA], None),
            (&[0xFA, 0], Some(1920)),
            (&[0xFB], None),
            (&[0xFB, 0], None),
            // 120 ms is the longest.
            (&[0xFB, 6], Some(5760)),
            (&[0xFB, 7], None),
            (&[], None),
        ] {
            assert_eq!(samples(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn padding_gives_any_size_and_changes_no_frame() {
        for packet in [
            &[0xFC, 7, 8, 9][..],
            &[0xFD, 7, 8, 9, 10],
            &[0xFE, 1, 7, 8],
            &[0xFF, 3, 7, 8, 9],
            &[0xFF, 0x82, 1, 7, 8],
        ] {
            let body = if packet[0] & 3 == 3 { &packet[2..] } else { &packet[1..] };
            for size in 0..1200 {
                let padded = pad(packet, size);
                if size < body.len() + 3 {
                    assert_eq!(padded, packet);
                    continue;
                }
                assert_eq!(padded.len(), size, "{packet:?}");
                assert_eq!(samples(&padded), samples(packet));
                assert_eq!(padded[0], packet[0] | 3);
                assert_ne!(padded[1] & HAS_PADDING, 0);
                // As a decoder reads it: the lengths, the body, and nothing but zeros.
                let (mut at, mut zeros) = (2, 0);
                while padded[at] == 255 {
                    zeros += 254;
                    at += 1;
                }
                zeros += usize::from(padded[at]);
                assert_eq!(padded[at + 1..padded.len() - zeros], *body);
                assert!(padded[padded.len() - zeros..].iter().all(|byte| *byte == 0));
                assert_eq!(pad(&padded, size + 100), padded, "once is enough");
            }
        }
        assert_eq!(silence(3), SILENCE);
        assert_eq!(silence(320).len(), 320);
        assert!(pad(&[], 100).is_empty() && pad(&[0xFF], 100) == [0xFF]);
    }

    #[test]
    fn padding_makes_no_packet_louder() {
        // What Chromium sends for silence: three frames in 8 bytes.
        let quiet = [0xFF, 3, 0xFF, 0xFE, 0xFF, 0xFE, 0xFF, 0xFE];
        let loud = [&[0xFC], &[7; 23][..]].concat();
        for size in [0, 24, 72, 255, 256, 257, 258, 511, 512, 1000] {
            assert!((3..=4).contains(&body_size(&silence(size))), "{size}");
            assert_eq!(body_size(&pad(&quiet, size)), quiet.len());
            assert!((24..=25).contains(&body_size(&pad(&loud, size))), "with a count byte");
            assert!(is_quiet(&silence(size), 960) && is_quiet(&pad(&quiet, size), 2880));
            assert!(!is_quiet(&pad(&loud, size), 960) && is_quiet(&pad(&loud, size), 2880));
        }
        for broken in [&[][..], &[0xFF], &[0xFF, 0x41], &[0xFF, 0x41, 255], &[0xFF, 0x41, 2, 0]] {
            assert_eq!(body_size(broken), broken.len());
        }
    }
}
