//! Ogg pages as they come over a network (RFC 3533).
//!
//! Owns where a page begins and ends, whether it is whole, and what something else than Ogg is called. It deliberately
//! does not know what is in the packets.

use crate::programme::ogg::checksum;

/// The bytes of a page's header in front of its segment table.
const HEADER: usize = 27;

/// How a page begins: the capture pattern, and version 0.
const START: &[u8] = b"OggS\0";

/// A page whose checksum is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Whether the first of `packets` is the rest of one that an earlier page has begun.
    pub is_continued: bool,
    /// Whether a logical stream begins with it.
    pub is_first: bool,
    /// Whether its logical stream ends with it.
    pub is_last: bool,
    /// The position at the end of the last packet that ends in it; `None` where none does.
    pub granule: Option<u64>,
    /// Which logical stream it belongs to.
    pub serial: u32,
    /// Which page of that stream it is.
    pub number: u32,
    /// The packets in it, whole or in part.
    pub packets: Vec<Vec<u8>>,
    /// Whether the last of `packets` goes on in the next page.
    pub is_open: bool,
}

/// Takes bytes and gives pages.
#[derive(Debug, Default)]
pub struct Reader {
    /// What is no page yet. Less than a page (65,307 bytes) is left when [`Reader::next`] has returned `None`.
    unread: Vec<u8>,
    /// Whether what was read last is no page.
    is_lost: bool,
    /// How often something else stood where a page should have begun, or a checksum was wrong.
    damaged: u64,
}

impl Reader {
    /// Adds bytes. Whoever does so takes all pages out before the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next page, where one is complete.
    #[expect(clippy::should_implement_trait, reason = "bytes that come later are no end")]
    pub fn next(&mut self) -> Option<Page> {
        let mut at = 0;
        let page = loop {
            at += find_start(&self.unread[at..]);
            if at > 0 {
                self.lose();
            }
            let Some(length) = page_length(&self.unread[at..]) else { break None };
            let Some(page) = self.unread.get_mut(at..at + length) else { break None };
            if let Some(page) = read(page) {
                at += length;
                self.is_lost = false;
                break Some(page);
            }
            self.lose();
            at += 1;
        };
        self.unread.drain(..at);
        page
    }

    /// How many stretches of bytes were no pages, or broken ones.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What has not become a page so far.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    fn lose(&mut self) {
        if !std::mem::replace(&mut self.is_lost, true) {
            self.damaged += 1;
        }
    }
}

/// Where a page may begin: at its first bytes, or at those that may become its first bytes.
fn find_start(bytes: &[u8]) -> usize {
    let begins = |at: &usize| {
        let rest = &bytes[*at..];
        rest.starts_with(&START[..rest.len().min(START.len())])
    };
    (0..bytes.len()).find(begins).unwrap_or(bytes.len())
}

/// The bytes of a page, as soon as its segment table says so.
fn page_length(page: &[u8]) -> Option<usize> {
    let segments = usize::from(*page.get(HEADER - 1)?);
    let table = page.get(HEADER..HEADER + segments)?;
    Some(HEADER + segments + table.iter().map(|size| usize::from(*size)).sum::<usize>())
}

/// Reads a page; `None` where its checksum is wrong.
fn read(page: &mut [u8]) -> Option<Page> {
    let number =
        |page: &[u8], at: usize| page[at..at + 4].iter().rfold(0, |n, b| n << 8 | u32::from(*b));
    let expected = number(page, 22);
    page[22..26].fill(0);
    if checksum(page) != expected {
        // Where the next page begins is looked for in the bytes as they came.
        page[22..26].copy_from_slice(&expected.to_le_bytes());
        return None;
    }
    let flags = page[5];
    let granule = u64::from(number(page, 10)) << 32 | u64::from(number(page, 6));
    let body = HEADER + usize::from(page[HEADER - 1]);
    let (mut packets, mut is_open, mut at) = (Vec::<Vec<u8>>::new(), false, body);
    for size in &page[HEADER..body] {
        let segment = &page[at..at + usize::from(*size)];
        match packets.last_mut().filter(|_| is_open) {
            Some(packet) => packet.extend_from_slice(segment),
            None => packets.push(segment.to_vec()),
        }
        at += segment.len();
        is_open = *size == 255;
    }
    Some(Page {
        is_continued: flags & 1 != 0,
        is_first: flags & 2 != 0,
        is_last: flags & 4 != 0,
        granule: Some(granule).filter(|granule| *granule != u64::MAX),
        serial: number(page, 14),
        number: number(page, 18),
        packets,
        is_open,
    })
}

/// What bytes are that do not begin with a page, as far as that is easily said. `None` where they do, or where there are
/// too few to tell.
pub fn stranger(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 10] = [
        (b"ID3", "MP3"),
        (b"fLaC", "FLAC without Ogg"),
        (b"RIFF", "WAV"),
        (b"\x1A\x45\xDF\xA3", "WebM"),
        (b"#EXTM3U", "a playlist (M3U)"),
        (b"[playlist]", "a playlist (PLS)"),
        (b"<", "a page (HTML or XML)"),
        (b"{", "JSON"),
        (b"\xFF\xF1", "AAC"),
        (b"\xFF\xF9", "AAC"),
    ];
    let bytes = &bytes[..bytes.len().min(START.len())];
    if bytes.len() < 4 || START.starts_with(bytes) {
        return None;
    }
    let named =
        kinds.iter().find(|(start, _)| bytes.starts_with(&start[..start.len().min(START.len())]));
    Some(match named {
        Some((_, name)) => name,
        // The frame sync of MPEG audio.
        None if bytes[0] == 0xFF && bytes[1] & 0xE0 == 0xE0 => "MP3",
        None => "something else than Ogg",
    })
}

#[cfg(test)]
pub(in crate::check) mod tests {
    use super::*;
    use crate::programme::ogg::Stream;
    use crate::programme::opus::silence;

    /// A stream of so many pages of 200 ms behind its headers, each page by itself.
    pub fn programme(serial: u32, pages: usize, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut stream = Stream::begin(serial, &[], &mut out);
        let mut all = vec![std::mem::take(&mut out)];
        for _ in 0..pages {
            for _ in 0..10 {
                stream.put(packet, 960, &mut out);
            }
            stream.flush(&mut out);
            all.push(std::mem::take(&mut out));
        }
        stream.end(packet, 960, &mut out);
        all.push(out);
        all
    }

    /// All pages in `bytes`, which come in pieces of this size, and how many stretches were damaged.
    pub fn pages(bytes: &[u8], piece: usize) -> (Vec<Page>, u64) {
        let (mut reader, mut pages) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            while let Some(page) = reader.next() {
                pages.push(page);
            }
            assert!(reader.unread.len() < 65_307);
        }
        (pages, reader.damaged())
    }

    #[test]
    fn pages_come_out_whole_however_they_come_in() {
        let bytes = programme(7, 3, &silence(320)).concat();
        let (whole, damaged) = pages(&bytes, bytes.len());
        assert_eq!((whole.len(), damaged), (6, 0));
        assert!(whole[0].is_first && whole[0].packets[0].starts_with(b"OpusHead"));
        assert!(whole[5].is_last && whole.iter().all(|page| page.serial == 7 && !page.is_open));
        assert_eq!((whole[2].packets.len(), whole[2].granule), (10, Some(9600)));
        assert_eq!(whole[4].number, 4);
        for piece in [1, 3, 27, 1000] {
            assert_eq!(pages(&bytes, piece), (whole.clone(), 0));
        }
    }

    #[test]
    fn what_is_damaged_is_left_out_and_counted() {
        let parts = programme(7, 4, &silence(320));
        let whole = pages(&parts.concat(), 9999).0;
        // Between pages, and with a false start in it.
        let garbage = [&parts[0][..], b"xxOggS\0OggOg", &parts[1..].concat()].concat();
        // A bit in the body of a page, and the half of another.
        let mut flipped = parts.clone();
        flipped[2][500] ^= 1;
        let mut short = parts.clone();
        short[2].truncate(1000);
        let without = [&whole[..3], &whole[4..]].concat();
        for piece in [1, 7, 9999] {
            assert_eq!(pages(&garbage, piece), (whole.clone(), 1));
            assert_eq!(pages(&flipped.concat(), piece), (without.clone(), 1));
            assert_eq!(pages(&short.concat(), piece), (without.clone(), 1));
        }
        let end = parts.concat();
        assert_eq!(pages(&end[..end.len() - 1], 100), (whole[..6].to_vec(), 0), "one has to come");
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let mut random = 1_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        let noise: Vec<_> = (0..100_000).map(|_| next()).collect();
        assert_eq!(pages(&noise, 977), (Vec::new(), 1));
        let mut starts = b"OggS\0".repeat(2_000);
        assert!(pages(&starts, 100).0.is_empty());
        starts.extend(noise);
        assert!(pages(&starts, 4096).0.is_empty());
    }

    #[test]
    fn a_stranger_has_a_name() {
        for (bytes, expected) in [
            (&b"OggS\0\x02"[..], None),
            (b"OggS", None),
            (b"", None),
            (b"Og", None),
            (b"<!DOCTYPE html>", Some("a page (HTML or XML)")),
            (b"#EXTM3U\n", Some("a playlist (M3U)")),
            (b"ID3\x04\0", Some("MP3")),
            (b"\xFF\xFB\x90\x64\0", Some("MP3")),
            (b"\xFF\xF1\x50\x80", Some("AAC")),
            (b"\x1A\x45\xDF\xA3\x01", Some("WebM")),
            (b"hello", Some("something else than Ogg")),
        ] {
            assert_eq!(stranger(bytes), expected, "{bytes:?}");
        }
    }
}
