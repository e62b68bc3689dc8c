//! What a listener gets of what a host sends, and when.
//!
//! Owns nothing. It deliberately knows no host: the time is moved by hand.

use std::time::Duration;

use tokio::time::Instant;

use super::playout::*;
use crate::programme::ogg::tests::pages;
use crate::programme::recording::Recording;

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
    out: Outlets,
}

impl Test {
    fn new() -> Self {
        let now = Instant::now();
        let (mut playout, mut out) = (Playout::new(now), Outlets::default());
        playout.connect(7, &[], &mut out);
        out.icecast.clear();
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
        let pages = pages(&std::mem::take(&mut self.out.icecast));
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
fn of_what_comes_too_early_the_oldest_is_dropped() {
    let mut test = Test::new();
    test.hear(&chunk(400));
    assert_eq!(test.packets().len(), 400, "8 s");
    test.hear(&chunk(10));
    assert_eq!(test.packets().len(), 0);
    assert_eq!(test.playout.written.dropped, 10 * 960);
    test.wait(5 * SECOND);
    assert_eq!(test.packets().len(), 0, "there is audio for it");
    test.hear(&chunk(50));
    assert_eq!(test.packets().len(), 50);
    // A page that was blocked for half a minute sends all of it: listeners hear the end, which is what is said now.
    test.wait(20 * SECOND);
    test.packets();
    let numbered: Vec<Vec<u8>> =
        (0..1500_u32).map(|n| [&[0xFC], &n.to_be_bytes()[..], &[7; 315]].concat()).collect();
    test.hear(&numbered);
    let heard = test.packets();
    assert_eq!(heard, numbered[1500 - heard.len()..]);
    assert!((395..=415).contains(&heard.len()), "{}", heard.len());
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
    test.out.icecast.clear();
    test.hear(&chunk(50));
    assert!(test.out.icecast.is_empty());
    test.playout.connect(8, &["TITLE=x".into()], &mut test.out);
    let read = pages(&test.out.icecast);
    assert!(read.iter().all(|page| page.serial == 8));
    assert_eq!(test.packets().len(), 2 + 200, "the headers, and 4 s");
    test.playout.end(&mut test.out);
    let read = pages(&test.out.icecast);
    assert_eq!((read.len(), read[0].flags, read[0].packets.len()), (1, 4, 1));
    test.playout.end(&mut test.out);
    assert_eq!(pages(&test.out.icecast).len(), 1, "it ends once");
}

#[test]
fn what_is_no_packet_is_left_out() {
    let mut test = Test::new();
    test.hear(&[vec![], loud(), vec![0xFB, 63]]);
    assert_eq!(test.packets(), [loud()]);
}

#[test]
fn how_long_it_is_quiet_is_counted() {
    let mut test = Test::new();
    let quiet = vec![vec![0xFC, 0xFF, 0xFE]; 50];
    for _ in 0..40 {
        test.wait(SECOND);
        test.hear(&quiet);
    }
    assert_eq!(test.playout.quiet(), 40 * SECOND);
    // So it is where nothing comes.
    test.wait(10 * SECOND);
    let all = test.playout.quiet();
    assert!((48 * SECOND..51 * SECOND).contains(&all), "{all:?}");
    test.hear(&[&quiet[..], &[loud()]].concat());
    assert_eq!(test.playout.quiet(), Duration::ZERO);
    test.hear(&quiet);
    assert_eq!(test.playout.quiet(), SECOND);
    // After a day, it is not counted anew.
    test.playout.quiet = u64::from(u32::MAX) + 1;
    assert!(test.playout.quiet() > 24 * 3600 * SECOND);
}

#[test]
fn what_is_recorded_is_what_is_played() {
    let mut test = Test::new();
    test.out.recording = Recording::new(Some(u64::MAX));
    test.wait(SECOND);
    test.hear(&chunk(50));
    test.playout.record(&["TITLE=x".into()], &mut test.out);
    // Icecast is away, and a gap comes.
    test.playout.disconnect();
    test.wait(SECOND);
    test.hear(&chunk(50));
    test.wait(4 * SECOND);
    test.playout.end(&mut test.out);
    let piece = test.out.recording.take().unwrap();
    let all = pages(&piece.pages);
    assert!(piece.is_last && all.last().unwrap().flags == 4);
    let written = test.playout.written;
    assert_eq!(all.last().unwrap().granule, written.all + 960, "all of it, and the last packet");
    assert!(written.silence > 2 * 48_000, "{written:?}");
}
