//! The programme on the clock: what the host sends, and silence where nothing comes.
//!
//! Owns until when the clock is covered by audio, and one Ogg stream that has no gap. It is pure: the time is an
//! argument, and it deliberately does not know who listens.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::programme::ogg::Stream;
use crate::programme::opus::{RATE, TWENTY_MS, pad, samples, silence};

/// How late audio may be before silence takes its place: a chunk comes each second.
const LATE: Duration = Duration::from_millis(1_400);

/// How much silence is written at a time, once there is some.
const STEP: Duration = Duration::from_millis(200);

/// How far audio may be ahead of the clock: more is dropped. A page that was blocked sends all at once.
const AHEAD: Duration = Duration::from_secs(8);

/// A clock that jumps further than this has stood still with the machine: what was not covered then is not filled.
const JUMP: Duration = Duration::from_secs(30);

/// How much of the latest audio a new connection gets first, in samples: 4 s.
const RECENT: u64 = 4 * RATE as u64;

/// How many bytes 20 ms of silence have before the programme's own rate is known: that of 128 kbps.
const USUAL: usize = 320;

/// Packets with fewer bytes in 20 ms say nothing about the programme's rate: a browser sends 3 to 13 for silence.
const QUIET: usize = 24;

/// The most bytes in 20 ms: no encoder makes larger frames (RFC 6716 section 3.2.1).
const MOST_RATE: usize = 1275;

/// How much has to be heard before the programme's own rate counts, in samples: 2 s.
const ENOUGH: u64 = 2 * RATE as u64;

/// How much was written, in samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Of all.
    pub all: u64,
    /// Of silence that took the place of audio that did not come.
    pub silence: u64,
    /// Of audio that came too far ahead of the clock, and was dropped.
    pub dropped: u64,
}

/// The programme from `start-stream` to its end.
#[derive(Debug)]
pub struct Playout {
    /// Until when there is audio.
    covered: Instant,
    is_filling: bool,
    /// While somebody takes it.
    stream: Option<Stream>,
    /// The latest packets, with their samples, and how many that are in all.
    recent: VecDeque<(Vec<u8>, u32)>,
    recent_samples: u64,
    /// What was not quiet, in bytes and samples.
    heard: (u64, u64),
    /// How much was written.
    pub written: Written,
}

impl Playout {
    /// It begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            covered: now,
            is_filling: false,
            stream: None,
            recent: VecDeque::new(),
            recent_samples: 0,
            heard: (0, 0),
            written: Written::default(),
        }
    }

    /// Whether silence takes the place of audio.
    pub fn is_filling(&self) -> bool {
        self.is_filling
    }

    /// Somebody takes the programme from now on: a new stream, with what was said last.
    pub fn connect(&mut self, serial: u32, comments: &[String], out: &mut Vec<u8>) {
        let mut stream = Stream::begin(serial, comments, out);
        for (packet, samples) in &self.recent {
            stream.put(packet, *samples, out);
        }
        stream.flush(out);
        self.stream = Some(stream);
    }

    /// Nobody takes it any longer.
    pub fn disconnect(&mut self) {
        self.stream = None;
    }

    /// A chunk has come, with these packets.
    pub fn hear<'p>(
        &mut self,
        packets: impl IntoIterator<Item = &'p [u8]>,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let before = self.written.all;
        for packet in packets {
            // What is no packet would be none for a player either.
            let Some(samples) = samples(packet) else { continue };
            self.is_filling = false;
            if packet.len() * TWENTY_MS as usize >= QUIET * samples as usize {
                self.heard.0 += packet.len() as u64;
                self.heard.1 += u64::from(samples);
            }
            self.put(packet, samples, now, out);
        }
        // Where a browser's clock is slower than this one, what is missing is not saved up until it is a gap.
        if self.written.all > before && self.covered < now {
            self.covered += (now - self.covered) / 100;
        }
        self.flush(out);
    }

    /// Fills up with silence what no audio has come for.
    pub fn fill(&mut self, now: Instant, out: &mut Vec<u8>) {
        let patience = if self.is_filling { STEP } else { LATE };
        if now <= self.covered + patience {
            return;
        }
        self.is_filling = true;
        if self.covered + JUMP < now {
            self.covered = now - STEP;
        }
        let packet = silence(self.rate());
        while self.covered + length(TWENTY_MS) <= now {
            self.written.silence += u64::from(TWENTY_MS);
            self.put(&packet, TWENTY_MS, now, out);
        }
        self.flush(out);
    }

    /// The programme is over.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(stream) = self.stream.take() {
            stream.end(&silence(self.rate()), TWENTY_MS, out);
        }
    }

    fn put(&mut self, packet: &[u8], samples: u32, now: Instant, out: &mut Vec<u8>) {
        if self.covered + JUMP < now {
            self.covered = now;
        }
        if self.covered > now + AHEAD {
            self.written.dropped += u64::from(samples);
            return;
        }
        self.covered += length(samples);
        self.written.all += u64::from(samples);
        // Players pass on what has a certain size, not what has a certain length: quiet must not make them wait.
        let size = self.rate() * samples as usize / TWENTY_MS as usize;
        let packet = if packet.len() * 2 < size { pad(packet, size) } else { packet.to_vec() };
        if let Some(stream) = &mut self.stream {
            stream.put(&packet, samples, out);
        }
        self.recent_samples += u64::from(samples);
        self.recent.push_back((packet, samples));
        while self.recent_samples > RECENT {
            let Some((_, samples)) = self.recent.pop_front() else { break };
            self.recent_samples -= u64::from(samples);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(stream) = &mut self.stream {
            stream.flush(out);
        }
    }

    /// The programme's bytes in 20 ms.
    fn rate(&self) -> usize {
        let (bytes, samples) = self.heard;
        if samples < ENOUGH {
            return USUAL;
        }
        ((bytes * u64::from(TWENTY_MS) / samples) as usize).min(MOST_RATE)
    }
}

/// How long so many samples are.
fn length(samples: u32) -> Duration {
    Duration::from_secs(1) * samples / RATE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programme::ogg::tests::pages;

    const SECOND: Duration = Duration::from_secs(1);

    /// 20 ms of a programme of 128 kbps.
    fn loud() -> Vec<u8> {
        [&[0xFC], &[7; 319][..]].concat()
    }

    fn chunk(packets: usize) -> Vec<Vec<u8>> {
        vec![loud(); packets]
    }

    struct Test {
        playout: Playout,
        now: Instant,
        out: Vec<u8>,
    }

    impl Test {
        fn new() -> Self {
            let now = Instant::now();
            let (mut playout, mut out) = (Playout::new(now), Vec::new());
            playout.connect(7, &[], &mut out);
            out.clear();
            Self { playout, now, out }
        }

        fn hear(&mut self, chunk: &[Vec<u8>]) {
            self.playout.hear(chunk.iter().map(Vec::as_slice), self.now, &mut self.out);
        }

        /// Time goes by, with a look each 100 ms.
        fn wait(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                self.now = end.min(self.now + SECOND / 10);
                self.playout.fill(self.now, &mut self.out);
            }
        }

        /// The packets since this was last called.
        fn packets(&mut self) -> Vec<Vec<u8>> {
            let pages = pages(&std::mem::take(&mut self.out));
            pages.into_iter().flat_map(|page| page.packets).collect()
        }
    }

    #[test]
    fn a_chunk_a_second_passes_as_it_is() {
        let mut test = Test::new();
        for _ in 0..10 {
            test.wait(SECOND);
            test.hear(&chunk(50));
            assert_eq!(test.packets(), chunk(50));
        }
        assert_eq!(test.playout.written, Written { all: 480_000, ..Written::default() });
    }

    #[test]
    fn a_gap_is_filled_at_the_programmes_rate_and_the_clock_goes_on() {
        let mut test = Test::new();
        for _ in 0..3 {
            test.wait(SECOND);
            test.hear(&chunk(50));
        }
        test.packets();
        test.wait(LATE);
        assert_eq!(test.packets().len(), 0, "it may only be late");
        test.wait(SECOND / 10);
        assert!(test.playout.is_filling());
        let first = test.packets();
        assert!((72..=75).contains(&first.len()), "up to now: {}", first.len());
        assert!(first.iter().all(|packet| packet.len() == 320), "at the programme's rate");
        test.wait(8 * SECOND);
        let all = first.len() + test.packets().len();
        assert!((460..=475).contains(&all), "{all}");
        // The host is back: nothing is lost, and it is on time.
        test.hear(&chunk(50));
        assert!(!test.playout.is_filling());
        assert_eq!(test.packets(), chunk(50));
        test.wait(SECOND);
        assert_eq!(test.packets().len(), 0);
    }

    #[test]
    fn silence_begins_with_the_stream_before_anything_is_heard() {
        let mut test = Test::new();
        test.wait(2 * SECOND);
        let packets = test.packets();
        assert!(packets.len() > 80 && packets.iter().all(|packet| packet.len() == USUAL));
    }

    #[test]
    fn quiet_packets_are_padded_to_the_rate_and_say_nothing_about_it() {
        let mut test = Test::new();
        let half: Vec<_> = vec![[&[0xFC], &[7; 159][..]].concat(); 50];
        for _ in 0..3 {
            test.wait(SECOND);
            test.hear(&half);
        }
        test.packets();
        test.wait(SECOND);
        // What Chromium sends for silence: three frames in 8 bytes.
        let quiet = vec![vec![0xFF, 3, 0xFF, 0xFE, 0xFF, 0xFE, 0xFF, 0xFE]; 17];
        test.hear(&quiet);
        assert!(test.packets().iter().all(|packet| packet.len() == 480), "60 ms of 64 kbps");
        test.wait(SECOND);
        test.hear(&half);
        assert_eq!(test.packets(), half);
    }

    #[test]
    fn what_comes_too_early_is_dropped() {
        let mut test = Test::new();
        test.hear(&chunk(400));
        assert_eq!(test.packets().len(), 400, "8 s");
        test.hear(&chunk(10));
        assert_eq!(test.packets().len(), 1, "the one that is not wholly behind it");
        assert_eq!(test.playout.written.dropped, 9 * 960);
        test.wait(5 * SECOND);
        assert_eq!(test.packets().len(), 0, "there is audio for it");
        test.hear(&chunk(50));
        assert_eq!(test.packets().len(), 50);
    }

    #[test]
    fn a_slower_clock_does_not_make_gaps() {
        let mut test = Test::new();
        // A browser that is 0.1 % too slow, for an hour.
        for _ in 0..3600 {
            test.wait(SECOND + SECOND / 1000);
            test.hear(&chunk(50));
        }
        assert_eq!(test.playout.written.silence, 0);
    }

    #[test]
    fn after_an_hour_silence_comes_as_soon_as_after_a_minute() {
        let mut test = Test::new();
        for _ in 0..3600 {
            test.wait(SECOND);
            test.hear(&chunk(50));
        }
        test.packets();
        test.wait(LATE + SECOND / 10);
        assert!(test.playout.is_filling());
    }

    #[test]
    fn no_rate_is_more_than_an_encoder_makes() {
        let mut test = Test::new();
        // Packets of 2.5 ms, as large as a block may be.
        for _ in 0..2_000 {
            test.wait(SECOND / 400);
            test.hear(&[[&[0xE0], &[7; 8000][..]].concat()]);
        }
        test.packets();
        test.wait(2 * SECOND);
        let packets = test.packets();
        assert!(!packets.is_empty() && packets.iter().all(|packet| packet.len() == MOST_RATE));
    }

    #[test]
    fn a_machine_that_stood_still_does_not_fill_up_the_time() {
        let mut test = Test::new();
        test.wait(SECOND);
        test.hear(&chunk(50));
        test.packets();
        test.now += 3600 * SECOND;
        test.wait(SECOND);
        assert!(test.packets().len() < 100);
        test.now += 3600 * SECOND;
        test.hear(&chunk(50));
        assert_eq!(test.packets(), chunk(50));
    }

    #[test]
    fn who_connects_gets_the_last_four_seconds() {
        let mut test = Test::new();
        for _ in 0..10 {
            test.wait(SECOND);
            test.hear(&chunk(50));
        }
        test.playout.disconnect();
        test.out.clear();
        test.hear(&chunk(50));
        assert!(test.out.is_empty());
        test.playout.connect(8, &["TITLE=x".into()], &mut test.out);
        let read = pages(&test.out);
        assert!(read.iter().all(|page| page.serial == 8));
        assert_eq!(test.packets().len(), 2 + 200, "the headers, and 4 s");
        test.playout.end(&mut test.out);
        let read = pages(&test.out);
        assert_eq!((read.len(), read[0].flags, read[0].packets.len()), (1, 4, 1));
        test.playout.end(&mut test.out);
        assert_eq!(pages(&test.out).len(), 1, "it ends once");
    }

    #[test]
    fn what_is_no_packet_is_left_out() {
        let mut test = Test::new();
        test.hear(&[vec![], loud(), vec![0xFB, 63]]);
        assert_eq!(test.packets(), [loud()]);
    }
}
