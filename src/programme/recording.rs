//! The programme on its way to the archive.
//!
//! Owns the parts: each is an Ogg stream of its own, and nothing that was played is missing between two of them. It is
//! pure, and deliberately does not know where they are kept.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::programme::ogg::Stream;
use crate::programme::opus::RATE;
use crate::wire::carried::{Bytes, buffer};

/// The number of each part's stream: there is no other one in its file.
const SERIAL: u32 = 1;

/// The longest part, in samples: 4 h. A show is one part; a station that never stops has six a day.
const LONGEST: u64 = 4 * 3600 * RATE as u64;

/// How much may wait for the disk, in bytes: four minutes at 128 kbps.
pub(super) const MOST_UNWRITTEN: usize = 4 * 1024 * 1024;

/// How much is played before a disk that has failed is tried again, in samples: a minute.
pub(super) const AGAIN: u64 = 60 * RATE as u64;

/// What the archive has to write next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Pages of one part.
    #[serde(with = "buffer")]
    pub pages: Vec<u8>,
    /// Whether they are the last ones of it.
    pub is_last: bool,
}

/// How the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Disk {
    /// It takes what comes.
    #[default]
    Well,
    /// It has not taken so much that nothing more is recorded.
    TooSlow,
    /// It has failed, and nothing is recorded before it is tried again.
    Failed,
}

/// What is recorded.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Recording {
    /// The largest part, in bytes; `None` where nothing is recorded.
    largest: Option<u64>,
    /// The part that is recorded. There is none before the host is heard.
    stream: Option<Stream>,
    /// How much of it there is, in bytes and samples.
    part: (u64, u64),
    /// Samples that were played since the last part ended.
    missed: u64,
    /// What the disk has not taken; the last one may grow.
    pieces: VecDeque<Piece>,
    disk: Disk,
    /// Whether there will be no more programmes.
    is_closed: bool,
}

impl Recording {
    /// With parts of so many bytes at most; `None` where nothing is recorded.
    pub fn new(largest: Option<u64>) -> Self {
        Self { largest, ..Self::default() }
    }

    /// What another process has recorded goes on, if programmes are recorded here.
    pub fn go_on(&mut self, before: Self) {
        if self.is_on() {
            *self = Self { largest: self.largest, is_closed: false, ..before };
        }
    }

    /// Whether programmes are recorded.
    pub fn is_on(&self) -> bool {
        self.largest.is_some()
    }

    /// A programme begins. A disk that has failed is tried again.
    pub fn renew(&mut self) {
        self.missed = 0;
        if self.disk == Disk::Failed {
            self.disk = Disk::Well;
        }
    }

    /// Whether a part is to begin as soon as there is something to hear.
    pub fn wants_part(&self) -> bool {
        let may_try = match self.disk {
            Disk::Well => true,
            Disk::TooSlow => false,
            Disk::Failed => self.missed >= AGAIN,
        };
        self.is_on() && may_try && self.stream.is_none()
    }

    /// A part begins with what was played and is not recorded; `recent` are the latest packets.
    pub fn begin<'p>(
        &mut self,
        comments: &[String],
        recent: impl DoubleEndedIterator<Item = &'p (Bytes, u32)>,
    ) {
        self.pieces.push_back(Piece::default());
        let pages = last(&mut self.pieces);
        let mut stream = Stream::begin(SERIAL, comments, pages);
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
            stream.put(&packet.0, samples, pages);
            self.part.1 += u64::from(samples);
        }
        stream.flush(pages);
        (self.missed, self.disk) = (0, Disk::Well);
        self.stream = Some(stream);
    }

    /// A packet was played.
    pub fn put(&mut self, packet: &[u8], samples: u32) {
        match &mut self.stream {
            Some(stream) => {
                stream.put(packet, samples, last(&mut self.pieces));
                self.part.0 += packet.len() as u64;
                self.part.1 += u64::from(samples);
            }
            None => self.missed += u64::from(samples),
        }
    }

    /// What was played is to be kept. The part ends where it is large or long enough, with this packet.
    pub fn flush(&mut self, end: &[u8], samples: u32) {
        let Some(stream) = &mut self.stream else { return };
        stream.flush(last(&mut self.pieces));
        let (bytes, length) = self.part;
        if self.pieces.iter().map(|piece| piece.pages.len()).sum::<usize>() > MOST_UNWRITTEN {
            // The part has no end.
            (self.stream, self.disk) = (None, Disk::TooSlow);
        } else if length >= LONGEST || self.largest.is_some_and(|largest| bytes >= largest) {
            self.end(end, samples);
        }
    }

    /// The part ends, if there is one, with this packet.
    pub fn end(&mut self, end: &[u8], samples: u32) {
        if let Some(stream) = self.stream.take() {
            stream.end(end, samples, last(&mut self.pieces));
            if let Some(piece) = self.pieces.back_mut() {
                piece.is_last = true;
            }
        }
    }

    /// What is to be written next, if anything is.
    pub fn take(&mut self) -> Option<Piece> {
        let first = self.pieces.front()?;
        if first.pages.is_empty() && !first.is_last {
            return None;
        }
        let piece = self.pieces.pop_front();
        if self.pieces.is_empty() && self.stream.is_some() {
            self.pieces.push_back(Piece::default());
        }
        piece
    }

    /// There will be no more programmes.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether there will be no more programmes, and all is taken.
    pub fn is_over(&self) -> bool {
        self.is_closed && self.pieces.iter().all(|piece| piece.pages.is_empty() && !piece.is_last)
    }

    /// Whether so much waits for the disk that nothing more is recorded.
    pub fn is_too_slow(&self) -> bool {
        self.disk == Disk::TooSlow
    }

    /// The disk takes nothing: the part has no end.
    pub fn fail(&mut self) {
        (self.stream, self.disk) = (None, Disk::Failed);
        self.missed = 0;
        self.pieces.clear();
    }
}

/// Where pages go.
fn last(pieces: &mut VecDeque<Piece>) -> &mut Vec<u8> {
    if pieces.back().is_none_or(|piece| piece.is_last) {
        pieces.push_back(Piece::default());
    }
    &mut pieces.back_mut().expect("there is one").pages
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
        let recent: Vec<_> = (0..200).map(|_| (Bytes(LOUD.to_vec()), 960)).collect();
        recording.begin(&[], recent.iter());
        let piece = recording.take().unwrap();
        assert_eq!((packets(&piece), piece.is_last), (2 + 10, false));
        assert_eq!(recording.take(), None);
        put(&mut recording, 49);
        assert!(!recording.take().unwrap().is_last);
        put(&mut recording, 1);
        put(&mut recording, 3);
        assert!(recording.wants_part());
        recording.begin(&[], recent.iter());
        recording.end(&[0xFC], 960);
        // The disk has been busy meanwhile.
        let piece = recording.take().unwrap();
        assert!(piece.is_last && pages(&piece.pages).last().unwrap().flags == 4);
        let piece = recording.take().unwrap();
        assert_eq!((packets(&piece), piece.is_last), (2 + 3 + 1, true));
        recording.end(&[0xFC], 960);
        assert_eq!(recording.take(), None, "it ends once");
        recording.close();
        assert!(recording.is_over());
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
    fn a_disk_that_is_too_slow_ends_it_for_a_minute() {
        let mut recording = Recording::new(Some(u64::MAX));
        recording.begin(&[], [].iter());
        while !recording.is_too_slow() {
            put(&mut recording, 50);
        }
        // The programme may end before the disk is asked again: the part is not taken for complete.
        recording.end(&[0xFC], 960);
        let waits = recording.take().unwrap();
        assert!(!waits.is_last);
        let waits = waits.pages.len();
        assert!((MOST_UNWRITTEN..MOST_UNWRITTEN + 32 * 1024).contains(&waits), "{waits}");
        assert!(recording.is_too_slow() && !recording.wants_part());
        recording.fail();
        put(&mut recording, 60 * 50 - 1);
        assert!(!recording.wants_part() && recording.take().is_none());
        put(&mut recording, 1);
        assert!(recording.wants_part());
        recording.begin(&[], [].iter());
        recording.fail();
        recording.renew();
        assert!(recording.wants_part(), "at the next programme");
    }

    #[test]
    fn where_nothing_is_recorded_nothing_waits() {
        let mut recording = Recording::new(None);
        put(&mut recording, 1000);
        assert!(!recording.wants_part() && recording.take().is_none() && !recording.is_on());
    }
}
