//! Ogg pages with Opus in them (RFC 3533, RFC 7845).
//!
//! Owns one logical stream: its headers, its pages and how far it has come. It deliberately does not know where packets
//! come from. No crate's writer can go on in the middle of a stream that another process has begun.

use serde::{Deserialize, Serialize};

use crate::programme::opus::RATE;
use crate::wire::carried::buffer;

/// The most segments of a page (RFC 3533 section 6).
const SEGMENTS: usize = 255;

/// Samples that a player leaves out at the start, as browsers that do so have it: 6.5 ms.
const PRE_SKIP: u16 = 312;

/// The flags of the first page of a stream, and of the last one.
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// A stream that is written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stream {
    serial: u32,
    page: u32,
    /// Samples up to the end of the last packet.
    granule: u64,
    #[serde(with = "buffer")]
    segments: Vec<u8>,
    #[serde(with = "buffer")]
    body: Vec<u8>,
}

impl Stream {
    /// A stream with its headers written into `out`: stereo, with these comments (RFC 7845 section 5), `NAME=value`.
    pub fn begin(serial: u32, comments: &[String], out: &mut Vec<u8>) -> Self {
        let mut stream =
            Self { serial, page: 0, granule: 0, segments: Vec::new(), body: Vec::new() };
        let mut head = b"OpusHead\x01\x02".to_vec();
        head.extend_from_slice(&PRE_SKIP.to_le_bytes());
        head.extend_from_slice(&RATE.to_le_bytes());
        // No gain, and channels that need no table.
        head.extend_from_slice(&[0, 0, 0]);
        stream.put(&head, 0, out);
        stream.page(FIRST, out);
        let mut tags = b"OpusTags".to_vec();
        put_text(&mut tags, concat!("openstudio-signaling ", env!("CARGO_PKG_VERSION")));
        tags.extend_from_slice(&(comments.len() as u32).to_le_bytes());
        for comment in comments {
            put_text(&mut tags, comment);
        }
        stream.put(&tags, 0, out);
        stream.flush(out);
        stream
    }

    /// Adds a packet with this many samples. Pages that are full go to `out`.
    pub fn put(&mut self, packet: &[u8], samples: u32, out: &mut Vec<u8>) {
        // A packet ends with the first segment that is shorter than 255.
        let needed = packet.len() / 255 + 1;
        if self.segments.len() + needed > SEGMENTS {
            self.flush(out);
        }
        self.segments.resize(self.segments.len() + needed - 1, 255);
        self.segments.push((packet.len() % 255) as u8);
        self.body.extend_from_slice(packet);
        self.granule += u64::from(samples);
    }

    /// Writes what has been added, if anything has.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if !self.segments.is_empty() {
            self.page(0, out);
        }
    }

    /// Ends the stream with this packet: players take no last page that is empty.
    pub fn end(mut self, packet: &[u8], samples: u32, out: &mut Vec<u8>) {
        self.put(packet, samples, out);
        self.page(LAST, out);
    }

    fn page(&mut self, flags: u8, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"OggS\0");
        out.push(flags);
        out.extend_from_slice(&self.granule.to_le_bytes());
        out.extend_from_slice(&self.serial.to_le_bytes());
        out.extend_from_slice(&self.page.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.push(self.segments.len() as u8);
        out.append(&mut self.segments);
        out.append(&mut self.body);
        let checksum = checksum(&out[start..]);
        out[start + 22..start + 26].copy_from_slice(&checksum.to_le_bytes());
        self.page += 1;
    }
}

/// A text with its length in front (RFC 7845 section 5.2).
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The checksum of a page whose own field for it is zeros (RFC 3533 section 6, number 7): a CRC that begins with 0, and
/// is not reflected.
pub fn checksum(page: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04C1_1DB7;
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < table.len() {
            let mut value = (index as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                let carry = value >> 31;
                value = (value << 1) ^ (carry * POLYNOMIAL);
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    page.iter().fold(0, |crc: u32, byte| (crc << 8) ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

#[cfg(test)]
pub(in crate::programme) mod tests {
    use super::*;

    /// A page that was read: its flags, granule, number, and packets that end or go on in it.
    #[derive(Debug)]
    pub struct Page {
        pub flags: u8,
        pub granule: u64,
        pub serial: u32,
        pub number: u32,
        pub packets: Vec<Vec<u8>>,
    }

    /// The pages in `bytes`, each with a right checksum.
    pub fn pages(mut bytes: &[u8]) -> Vec<Page> {
        let mut pages = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(bytes[..5], *b"OggS\0");
            let segments = usize::from(bytes[26]);
            let lacing = &bytes[27..27 + segments];
            let length = 27 + segments + lacing.iter().map(|n| usize::from(*n)).sum::<usize>();
            let (page, rest) = bytes.split_at(length);
            let mut zeroed = page.to_vec();
            zeroed[22..26].fill(0);
            assert_eq!(page[22..26], checksum(&zeroed).to_le_bytes());
            let (mut packets, mut packet, mut at) = (Vec::new(), Vec::new(), 27 + segments);
            for size in lacing {
                packet.extend_from_slice(&page[at..at + usize::from(*size)]);
                at += usize::from(*size);
                if *size < 255 {
                    packets.push(std::mem::take(&mut packet));
                }
            }
            let number = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
            pages.push(Page {
                flags: page[5],
                granule: u64::from_le_bytes(page[6..14].try_into().unwrap()),
                serial: number(14),
                number: number(18),
                packets,
            });
            bytes = rest;
        }
        pages
    }

    #[test]
    fn the_checksum_is_the_one_of_ogg() {
        // The check value of CRC-32/MPEG-2 without its first value, from libogg's table for "123456789".
        assert_eq!(checksum(b"123456789"), 0x89A1_897F);
    }

    #[test]
    fn a_stream_has_headers_pages_and_an_end() {
        let mut out = Vec::new();
        let comments = ["TITLE=Radio North".to_owned()];
        let mut stream = Stream::begin(7, &comments, &mut out);
        let sizes = [0, 1, 254, 255, 256, 510, 8192];
        for size in sizes {
            stream.put(&vec![0xFC; size], 960, &mut out);
        }
        stream.flush(&mut out);
        stream.flush(&mut out);
        stream.end(&[0xFC], 960, &mut out);
        let pages = pages(&out);
        assert_eq!(pages[0].packets, [b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0".to_vec()]);
        assert_eq!(pages[0].flags, FIRST);
        let tags = &pages[1].packets[0];
        assert!(tags.starts_with(b"OpusTags") && tags.ends_with(b"\x11\0\0\0TITLE=Radio North"));
        let numbers: Vec<_> = pages.iter().map(|page| page.number).collect();
        assert_eq!(numbers, (0..pages.len() as u32).collect::<Vec<_>>());
        assert!(pages.iter().all(|page| page.serial == 7));
        let read: Vec<_> = pages[2..].iter().flat_map(|page| &page.packets).map(Vec::len).collect();
        assert_eq!(read, [&sizes[..], &[1]].concat());
        let last = pages.last().unwrap();
        assert_eq!((last.flags, last.granule), (LAST, 8 * 960));
    }

    #[test]
    fn a_page_has_255_segments_at_most() {
        let mut out = Vec::new();
        let mut stream = Stream::begin(7, &[], &mut out);
        out.clear();
        for _ in 0..600 {
            stream.put(&[1], 960, &mut out);
        }
        stream.flush(&mut out);
        let pages = pages(&out);
        let counts: Vec<_> = pages.iter().map(|page| page.packets.len()).collect();
        assert_eq!(counts, [255, 255, 90]);
        assert_eq!(pages[0].granule, 255 * 960, "up to the last packet that ends there");
    }
}
