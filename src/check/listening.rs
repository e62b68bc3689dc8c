//! What a listener has of the pages that come: sound, silence, and what is missing.
//!
//! Owns the logical stream that is heard, and the count of what is wrong with it. It is pure: the time is an argument, and
//! it deliberately does not know where the pages come from.

use std::time::{Duration, Instant};

use crate::check::pages::Page;
use crate::check::player::{Gaps, Player};
use crate::programme::opus::{RATE, is_quiet, samples};

/// The most bytes of a packet that are kept: 48 frames of 1275 bytes with their lengths are less (RFC 6716 section 3.4).
const MOST_PACKET: usize = 65_536;

/// Why a stream is none that Opus players play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplayable {
    /// It begins in the middle: the first page is no first one.
    NoBeginning,
    /// There is something else in its pages.
    OtherCodec(&'static str),
    /// Its OpusHead is not one of RFC 7845 section 5.1.
    BadHead,
}

/// What a listener has had so far.
#[derive(Debug, Default)]
pub struct Listening {
    stream: Option<Stream>,
    player: Option<Player>,
    /// What was heard, in samples.
    heard: u64,
    /// What of it was silence, in samples.
    silent: u64,
    /// Pages that are missing by their numbers.
    pub lost_pages: u64,
    /// Jumps in the stream's own time, or in the numbers of its pages, that no lost page explains.
    pub jumps: u64,
    /// Streams that came behind the first one.
    pub more_streams: u64,
    /// Whether the stream has said that it ends.
    pub has_ended: bool,
}

/// The logical stream that is played.
#[derive(Debug)]
struct Stream {
    serial: u32,
    channels: u8,
    has_tags: bool,
    /// The number of its next page, once there was audio: a listener who comes later gets the headers, and then the
    /// pages of that time.
    next: Option<u32>,
    granule: Option<u64>,
    /// A packet whose end has not come.
    begun: Option<Vec<u8>>,
}

impl Listening {
    /// A page has come.
    ///
    /// # Errors
    ///
    /// Where the stream is none that can be played. Nothing is added then.
    pub fn hear(&mut self, page: &Page, now: Instant) -> Result<(), Unplayable> {
        if page.is_first {
            let stream = Stream::begin(page)?;
            if self.stream.replace(stream).is_some() {
                self.more_streams += 1;
            }
            self.has_ended = page.is_last;
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or(Unplayable::NoBeginning)?;
        if page.serial != stream.serial {
            return Ok(());
        }
        self.has_ended = page.is_last;
        let packets = stream.packets(page);
        let mut came = 0;
        for packet in packets {
            // The second header. What is no packet is nothing to play.
            if !std::mem::replace(&mut stream.has_tags, true) {
                continue;
            }
            let Some(samples) = samples(&packet) else { continue };
            came += u64::from(samples);
            self.silent += u64::from(samples) * u64::from(is_quiet(&packet, samples));
        }
        if came == 0 && stream.next.is_none() {
            return Ok(());
        }
        let (lost, is_jump) = stream.follow(page, came);
        self.lost_pages += lost;
        self.jumps += u64::from(is_jump);
        if came > 0 {
            self.heard += came;
            self.player.get_or_insert_with(|| Player::new(now)).take(length(came), now);
        }
        Ok(())
    }

    /// It is `now`, and nothing has come.
    pub fn wait(&mut self, now: Instant) {
        if let Some(player) = &mut self.player {
            player.play(now);
        }
    }

    /// Since when there is sound.
    pub fn began(&self) -> Option<Instant> {
        self.player.as_ref().map(|player| player.began())
    }

    /// How many channels the stream has.
    pub fn channels(&self) -> Option<u8> {
        self.stream.as_ref().map(|stream| stream.channels)
    }

    /// How old the newest audio is when it is played: the most that the player held while the stream began.
    pub fn behind(&self) -> Duration {
        self.player.as_ref().map(Player::behind).unwrap_or_default()
    }

    /// When there was nothing to play.
    pub fn gaps(&self) -> Gaps {
        self.player.as_ref().map(Player::gaps).unwrap_or_default()
    }

    /// How much audio has come.
    pub fn heard(&self) -> Duration {
        length(self.heard)
    }

    /// How much of it was silence.
    pub fn silent(&self) -> Duration {
        length(self.silent)
    }
}

impl Stream {
    fn begin(page: &Page) -> Result<Self, Unplayable> {
        let head = page.packets.first().map_or(&[][..], Vec::as_slice);
        if !head.starts_with(b"OpusHead") {
            return Err(Unplayable::OtherCodec(codec(head)));
        }
        // The upper half of the version is 0 where its reader can read it.
        let channels = match (head.get(8), head.get(9)) {
            (Some(0..=15), Some(channels @ 1..)) if head.len() >= 19 => *channels,
            _ => return Err(Unplayable::BadHead),
        };
        Ok(Self {
            serial: page.serial,
            channels,
            has_tags: false,
            next: None,
            granule: None,
            begun: None,
        })
    }

    /// The packets that end in a page.
    fn packets(&mut self, page: &Page) -> Vec<Vec<u8>> {
        let mut ended = Vec::new();
        for (index, part) in page.packets.iter().enumerate() {
            let is_open = page.is_open && index + 1 == page.packets.len();
            let packet = match (index == 0 && page.is_continued, self.begun.take()) {
                (true, Some(mut begun)) => {
                    let room = MOST_PACKET.saturating_sub(begun.len());
                    begun.extend_from_slice(&part[..part.len().min(room)]);
                    begun
                }
                // Its beginning has not come.
                (true, None) => continue,
                (false, _) => part.clone(),
            };
            if is_open {
                self.begun = Some(packet);
            } else {
                ended.push(packet);
            }
        }
        ended
    }

    /// How many pages are missing before this one, which has so many samples, and whether its time or its number is
    /// another than it should be.
    fn follow(&mut self, page: &Page, came: u64) -> (u64, bool) {
        let ahead = self.next.map_or(0, |next| page.number.wrapping_sub(next));
        self.next = Some(page.number.wrapping_add(1));
        // A number that is behind is that of a page from before, or of a stream that counts anew.
        let is_back = ahead > u32::MAX / 2;
        let lost = if is_back { 0 } else { u64::from(ahead) };
        let expected = self.granule.map(|granule| granule.saturating_add(came));
        let Some(granule) = page.granule else {
            self.granule = expected;
            return (lost, is_back);
        };
        self.granule = Some(granule);
        // The end of the last packet may be cut off (RFC 7845 section 4.4).
        let is_jump = expected
            .is_some_and(|expected| granule > expected || (granule < expected && !page.is_last));
        (lost, is_back || (lost == 0 && is_jump))
    }
}

/// What a stream that is no Opus begins with.
fn codec(head: &[u8]) -> &'static str {
    let kinds: [(&[u8], &str); 5] = [
        (b"\x01vorbis", "Vorbis"),
        (b"\x7FFLAC", "FLAC"),
        (b"Speex", "Speex"),
        (b"\x80theora", "video (Theora)"),
        (b"fishead", "a skeleton"),
    ];
    let named = kinds.iter().find(|(start, _)| head.starts_with(start));
    named.map_or("something else", |(_, name)| name)
}

/// How long so many samples are.
fn length(samples: u64) -> Duration {
    Duration::from_micros(samples.saturating_mul(1_000_000) / u64::from(RATE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::pages::tests::{pages, programme};
    use crate::programme::opus::{pad, silence};

    /// The pages of a programme of 128 kbps, headers in front.
    fn loud(count: usize) -> Vec<Page> {
        made(7, count, &[&[0xFC], &[7; 319][..]].concat())
    }

    fn made(serial: u32, count: usize, packet: &[u8]) -> Vec<Page> {
        pages(&programme(serial, count, packet).concat(), 4096).0
    }

    struct Test {
        listening: Listening,
        start: Instant,
        now: Instant,
    }

    impl Test {
        fn new() -> Self {
            let now = Instant::now();
            Self { listening: Listening::default(), start: now, now }
        }

        fn hear(&mut self, pages: &[Page]) {
            for page in pages {
                self.listening.hear(page, self.now).unwrap();
            }
        }

        fn wait(&mut self, milliseconds: u64) {
            self.now += ms(milliseconds);
            self.listening.wait(self.now);
        }

        /// Each page when it is time for it.
        fn hear_in_time(&mut self, pages: &[Page]) {
            for page in pages {
                self.wait(200);
                self.hear(std::slice::from_ref(page));
            }
        }
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_stream_in_time_has_no_gap_and_stays_as_far_behind_as_it_began() {
        let (mut test, pages) = (Test::new(), loud(50));
        test.hear(&pages[..2]);
        assert_eq!((test.listening.channels(), test.listening.began()), (Some(2), None));
        // The burst: 4 s.
        test.wait(300);
        test.hear(&pages[2..22]);
        assert_eq!(test.listening.began(), Some(test.start + ms(300)));
        test.hear_in_time(&pages[22..52]);
        assert_eq!(test.listening.behind(), ms(4000));
        assert_eq!(test.listening.gaps(), Gaps::default());
        assert_eq!((test.listening.heard(), test.listening.silent()), (ms(10_000), ms(0)));
        let Listening { lost_pages, jumps, more_streams, has_ended, .. } = test.listening;
        assert_eq!((lost_pages, jumps, more_streams, has_ended), (0, 0, 0, false));
    }

    #[test]
    fn a_host_who_sends_once_a_second_is_a_second_more() {
        let (mut test, pages) = (Test::new(), loud(40));
        test.hear(&pages[..12]);
        test.wait(300);
        test.hear(&pages[12..17]);
        for second in 0..4 {
            test.wait(1000);
            test.hear(&pages[17 + second * 5..22 + second * 5]);
        }
        assert_eq!(test.listening.behind(), ms(2700), "the newest of it is played so much later");
        assert_eq!(test.listening.gaps(), Gaps::default());
    }

    #[test]
    fn nothing_to_play_is_a_gap() {
        let (mut test, pages) = (Test::new(), loud(50));
        test.hear(&pages[..7]);
        test.wait(1500);
        test.hear(&pages[7..12]);
        test.wait(1010);
        assert_eq!(test.listening.gaps(), Gaps { count: 1, longest: ms(500), total: ms(500) });
        test.hear(&pages[12..17]);
        test.wait(3000);
        let all = Gaps { count: 2, longest: ms(2000), total: ms(2500) };
        assert_eq!(test.listening.gaps(), all, "10 ms are none, the end is one");
        assert_eq!(test.listening.behind(), ms(1000));
    }

    #[test]
    fn silence_is_counted_however_it_is_padded() {
        let mut test = Test::new();
        test.hear(&made(7, 5, &silence(320))[..7]);
        assert_eq!((test.listening.heard(), test.listening.silent()), (ms(1000), ms(1000)));
        test.hear(&made(7, 5, &pad(&[0xFC; 200], 320))[2..7]);
        assert_eq!((test.listening.heard(), test.listening.silent()), (ms(2000), ms(1000)));
    }

    #[test]
    fn a_lost_page_is_no_jump_and_a_jump_is_no_lost_page() {
        let (mut test, pages) = (Test::new(), loud(20));
        // Who comes late gets the headers and what is new then.
        test.hear(&[&pages[..2], &pages[9..12], &pages[14..16]].concat());
        assert_eq!((test.listening.lost_pages, test.listening.jumps), (2, 0));
        let mut later = pages[16].clone();
        later.granule = later.granule.map(|granule| granule + 48_000);
        test.hear(&[later]);
        assert_eq!((test.listening.lost_pages, test.listening.jumps), (2, 1));
        test.hear(&pages[5..7]);
        assert_eq!((test.listening.lost_pages, test.listening.jumps), (2, 2), "back to before");
    }

    #[test]
    fn an_end_and_another_stream_are_seen() {
        let (mut test, pages) = (Test::new(), loud(5));
        test.hear(&pages);
        assert!(test.listening.has_ended);
        test.hear(&made(8, 5, &silence(320))[..7]);
        let Listening { lost_pages, jumps, more_streams, has_ended, .. } = test.listening;
        assert_eq!((lost_pages, jumps, more_streams, has_ended), (0, 0, 1, false));
        let mut strange = pages[4].clone();
        strange.serial = 9;
        test.hear(&[strange]);
        assert_eq!(test.listening.heard(), ms(2020), "what is of no stream is not heard");
        // The last packet may be cut.
        let (mut test, mut cut) = (Test::new(), loud(5));
        cut[7].granule = cut[7].granule.map(|granule| granule - 100);
        test.hear(&cut);
        assert_eq!(test.listening.jumps, 0);
    }

    #[test]
    fn a_packet_may_go_over_pages() {
        let (mut test, pages) = (Test::new(), loud(1));
        let part = |number, bytes: &[u8], is_continued, is_open, granule| Page {
            serial: 7,
            number,
            packets: vec![bytes.to_vec()],
            is_continued,
            is_open,
            granule,
            ..Page::default()
        };
        test.hear(&pages[..1]);
        // Tags with a picture that is larger than any packet.
        test.hear(&[part(1, b"OpusTags", false, true, None)]);
        for number in 2..6 {
            test.hear(&[part(number, &[0; 60_000], true, true, None)]);
        }
        test.hear(&[part(6, b"x", true, false, Some(0))]);
        assert_eq!(test.listening.began(), None);
        test.hear(&[part(7, &[0xFC; 255], false, true, None)]);
        test.hear(&[part(8, &[7; 10], true, false, Some(960))]);
        // One that nobody has begun.
        test.hear(&[part(9, &[7; 10], true, false, Some(960))]);
        assert_eq!((test.listening.heard(), test.listening.jumps), (ms(20), 0));
        assert_eq!(test.listening.lost_pages, 0);
    }

    #[test]
    fn what_no_player_plays_has_a_name() {
        let pages = loud(1);
        let hear = |page: &Page| Listening::default().hear(page, Instant::now()).unwrap_err();
        assert_eq!(hear(&pages[2]), Unplayable::NoBeginning);
        let begins =
            |head: &[u8]| Page { is_first: true, packets: vec![head.to_vec()], ..Page::default() };
        let vorbis = begins(b"\x01vorbis\0\0\0\0\x02");
        assert_eq!(hear(&vorbis), Unplayable::OtherCodec("Vorbis"));
        assert_eq!(hear(&begins(b"")), Unplayable::OtherCodec("something else"));
        assert_eq!(hear(&begins(b"OpusHead\x01")), Unplayable::BadHead);
        let mut head = pages[0].packets[0].clone();
        head[8] = 16;
        assert_eq!(hear(&begins(&head)), Unplayable::BadHead);
        assert_eq!(
            hear(&Page { is_first: true, ..Page::default() }),
            Unplayable::OtherCodec("something else")
        );
    }
}
