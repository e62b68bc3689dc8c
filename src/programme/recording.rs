//! The programme on its way to the archive.
//!
//! Owns the parts: each is an Ogg stream of its own, with all that was played since the part before it. It is pure, and
//! deliberately does not know where they are kept.

use std::mem::take;

use crate::programme::ogg::Stream;
use crate::programme::opus::RATE;

/// The number of each part's stream: there is no other one in its file.
const SERIAL: u32 = 1;

/// The longest part, in samples: 4 h. A show is one part; a station that never stops has six a day.
const LONGEST: u64 = 4 * 3600 * RATE as u64;

/// How much may wait for the disk, in bytes: four minutes at 128 kbps.
pub(super) const MOST_UNWRITTEN: usize = 4 * 1024 * 1024;

/// What the archive has to write next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Pages of one part.
    pub pages: Vec<u8>,
    /// Whether they are the last ones of it.
    pub is_last: bool,
}

/// What is recorded.
#[derive(Debug, Default)]
pub struct Recording {
    /// The largest part, in bytes; `None` where nothing is recorded.
    largest: Option<u64>,
    /// The part that is written. There is none before the host is heard.
    stream: Option<Stream>,
    /// How much of it there is, in bytes and samples.
    part: (u64, u64),
    /// Samples that were played since the last part ended.
    missed: u64,
    next: Piece,
    /// Whether the disk has failed: nothing more is recorded of this programme.
    has_failed: bool,
    /// Whether there will be no more programmes.
    is_closed: bool,
}

impl Recording {
    /// With parts of so many bytes at most; `None` where nothing is recorded.
    pub fn new(largest: Option<u64>) -> Self {
        Self { largest, ..Self::default() }
    }

    /// A programme begins, and with it everything anew.
    pub fn renew(&mut self) {
        self.missed = 0;
        self.has_failed = false;
    }

    /// Whether a part is to begin as soon as there is something to hear.
    pub fn wants_part(&self) -> bool {
        self.largest.is_some() && !self.has_failed && self.stream.is_none() && !self.next.is_last
    }

    /// A part begins with what was played and is not recorded; `recent` are the latest packets.
    pub fn begin<'p>(
        &mut self,
        comments: &[String],
        recent: impl DoubleEndedIterator<Item = &'p (Vec<u8>, u32)>,
    ) {
        let mut stream = Stream::begin(SERIAL, comments, &mut self.next.pages);
        let mut first = Vec::new();
        let mut missed = self.missed;
        for (packet, samples) in recent.rev() {
            if missed < u64::from(*samples) {
                break;
            }
            missed -= u64::from(*samples);
            first.push((packet, *samples));
        }
        self.part = (0, 0);
        for (packet, samples) in first.into_iter().rev() {
            stream.put(packet, samples, &mut self.next.pages);
            self.part.1 += u64::from(samples);
        }
        stream.flush(&mut self.next.pages);
        self.missed = 0;
        self.stream = Some(stream);
    }

    /// A packet was played.
    pub fn put(&mut self, packet: &[u8], samples: u32) {
        if self.has_failed {
            return;
        }
        match &mut self.stream {
            Some(stream) => {
                stream.put(packet, samples, &mut self.next.pages);
                self.part.0 += packet.len() as u64;
                self.part.1 += u64::from(samples);
            }
            None => self.missed += u64::from(samples),
        }
    }

    /// What was played is to be kept. The part ends where it is large or long enough, with this packet.
    pub fn flush(&mut self, last: &[u8], samples: u32) {
        let Some(stream) = &mut self.stream else { return };
        stream.flush(&mut self.next.pages);
        let (bytes, length) = self.part;
        if length >= LONGEST || self.largest.is_some_and(|largest| bytes >= largest) {
            self.end(last, samples);
        } else if self.next.pages.len() > MOST_UNWRITTEN {
            self.has_failed = true;
        }
    }

    /// The part ends, if there is one, with this packet.
    pub fn end(&mut self, last: &[u8], samples: u32) {
        if let Some(stream) = self.stream.take() {
            stream.end(last, samples, &mut self.next.pages);
            self.next.is_last = true;
        }
    }

    /// What is to be written next, if anything is.
    pub fn take(&mut self) -> Option<Piece> {
        let is_empty = self.next.pages.is_empty() && !self.next.is_last;
        (!is_empty).then(|| take(&mut self.next))
    }

    /// There will be no more programmes.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether there will be no more programmes, and all is taken.
    pub fn is_over(&self) -> bool {
        self.is_closed && self.next.pages.is_empty() && !self.next.is_last
    }

    /// Whether so much waits for the disk that nothing more is recorded.
    pub fn is_too_slow(&self) -> bool {
        self.has_failed && self.stream.is_some()
    }

    /// The disk takes nothing: the part has no end, and nothing more is recorded of this programme.
    pub fn fail(&mut self) {
        self.has_failed = true;
        self.stream = None;
        self.next = Piece::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programme::ogg::tests::pages;

    const LOUD: [u8; 320] = [0xFC; 320];

    fn put(recording: &mut Recording, packets: usize) {
        for _ in 0..packets {
            recording.put(&LOUD, 960);
        }
        recording.flush(&[0xFC], 960);
    }

    fn packets(piece: &Piece) -> usize {
        pages(&piece.pages).iter().map(|page| page.packets.len()).sum()
    }

    #[test]
    fn a_part_has_what_was_played_since_the_one_before() {
        let mut recording = Recording::new(Some(320 * 50));
        assert!(recording.wants_part());
        put(&mut recording, 10);
        assert_eq!(recording.take(), None, "nobody was heard");
        let recent: Vec<_> = (0..200).map(|_| (LOUD.to_vec(), 960)).collect();
        recording.begin(&[], recent.iter());
        let piece = recording.take().unwrap();
        assert_eq!((packets(&piece), piece.is_last), (2 + 10, false));
        put(&mut recording, 49);
        assert!(!recording.take().unwrap().is_last);
        put(&mut recording, 1);
        assert!(!recording.wants_part(), "before its end is written");
        let piece = recording.take().unwrap();
        assert!(piece.is_last && pages(&piece.pages).last().unwrap().flags == 4);
        put(&mut recording, 3);
        assert!(recording.wants_part());
        recording.begin(&[], recent.iter());
        recording.end(&[0xFC], 960);
        let piece = recording.take().unwrap();
        assert_eq!((packets(&piece), piece.is_last), (2 + 3 + 1, true));
        recording.end(&[0xFC], 960);
        assert_eq!(recording.take(), None, "it ends once");
    }

    #[test]
    fn a_part_is_no_longer_than_four_hours() {
        let mut recording = Recording::new(Some(u64::MAX));
        recording.begin(&[], [].iter());
        for second in 0..4 * 3600 {
            assert!(!recording.take().is_some_and(|piece| piece.is_last), "{second}");
            put(&mut recording, 50);
        }
        assert!(recording.take().unwrap().is_last);
    }

    #[test]
    fn a_disk_that_is_too_slow_ends_it() {
        let mut recording = Recording::new(Some(u64::MAX));
        recording.begin(&[], [].iter());
        while !recording.is_too_slow() {
            put(&mut recording, 50);
        }
        let waits = recording.take().unwrap().pages.len();
        assert!((MOST_UNWRITTEN..MOST_UNWRITTEN + 32 * 1024).contains(&waits), "{waits}");
        recording.fail();
        put(&mut recording, 50);
        assert!(!recording.wants_part() && recording.take().is_none());
        recording.renew();
        assert!(recording.wants_part());
    }

    #[test]
    fn where_nothing_is_recorded_nothing_waits() {
        let mut recording = Recording::new(None);
        put(&mut recording, 1000);
        assert!(!recording.wants_part() && recording.take().is_none());
    }
}
