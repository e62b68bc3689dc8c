//! The programme on the clock: what the host sends, and silence where nothing comes.
//!
//! Owns until when the clock is covered by audio, and one Ogg stream that has no gap. It is pure: the time is an
//! argument, and it deliberately does not know who listens.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::programme::ogg::Stream;
use crate::programme::opus::{RATE, TWENTY_MS, is_quiet, pad, samples, silence};
use crate::programme::recording::Recording;
use crate::wire::carried::{Bytes, buffer, moment};

/// How late audio may be before silence takes its place: a chunk comes each second.
pub(super) const LATE: Duration = Duration::from_millis(1_400);

/// How much silence is written at a time, once there is some.
const STEP: Duration = Duration::from_millis(200);

/// How far audio may be ahead of the clock: of more, the oldest is dropped. A page that was blocked sends all at once.
const AHEAD: Duration = Duration::from_secs(8);

/// A clock that jumps further than this has stood still with the machine: what was not covered then is not filled.
const JUMP: Duration = Duration::from_secs(30);

/// How much of the latest audio a new connection gets first, in samples: 4 s.
const RECENT: u64 = 4 * RATE as u64;

/// How many bytes 20 ms of silence have before the programme's own rate is known: that of 128 kbps.
pub(super) const USUAL: usize = 320;

/// The most bytes in 20 ms: no encoder makes larger frames (RFC 6716 section 3.2.1).
pub(super) const MOST_RATE: usize = 1275;

/// How much has to be heard before the programme's own rate counts, in samples: 2 s.
const ENOUGH: u64 = 2 * RATE as u64;

/// How much was written, in samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Of all.
    pub all: u64,
    /// Of silence that took the place of audio that did not come.
    pub silence: u64,
    /// Of audio that came too far ahead of the clock, and was dropped.
    pub dropped: u64,
}

/// Where the programme goes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outlets {
    /// What Icecast has not taken.
    #[serde(with = "buffer")]
    pub icecast: Vec<u8>,
    /// What the archive keeps.
    pub recording: Recording,
}

/// The programme from `start-stream` to its end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Playout {
    /// Until when there is audio.
    #[serde(with = "moment")]
    covered: Instant,
    is_filling: bool,
    /// While somebody takes it.
    stream: Option<Stream>,
    /// The latest packets, with their samples, and how many that are in all.
    recent: VecDeque<(Bytes, u32)>,
    recent_samples: u64,
    is_heard: bool,
    /// What was not quiet, in bytes and samples.
    heard: (u64, u64),
    /// Samples since anything was heard but silence.
    pub(super) quiet: u64,
    /// How much was written.
    pub written: Written,
}

impl Playout {
    /// It begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            covered: now,
            is_filling: false,
            is_heard: false,
            stream: None,
            recent: VecDeque::new(),
            recent_samples: 0,
            heard: (0, 0),
            quiet: 0,
            written: Written::default(),
        }
    }

    /// Whether silence takes the place of audio.
    pub fn is_filling(&self) -> bool {
        self.is_filling
    }

    /// Whether a host was ever heard.
    pub fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// How long nothing was heard but silence.
    pub fn quiet(&self) -> Duration {
        Duration::from_micros(self.quiet * 1_000_000 / u64::from(RATE))
    }

    /// A part of the archive begins.
    pub fn record(&self, comments: &[String], out: &mut Outlets) {
        out.recording.begin(comments, self.recent.iter());
    }

    /// Somebody takes the programme from now on: a new stream, with what was said last.
    pub fn connect(&mut self, serial: u32, comments: &[String], out: &mut Outlets) {
        let out = &mut out.icecast;
        let mut stream = Stream::begin(serial, comments, out);
        for (packet, samples) in &self.recent {
            stream.put(&packet.0, *samples, out);
        }
        stream.flush(out);
        self.stream = Some(stream);
    }

    /// Nobody takes it any longer.
    pub fn disconnect(&mut self) {
        self.stream = None;
    }

    /// A chunk has come, with these packets. Returns how much of it was dropped.
    pub fn hear<'p>(
        &mut self,
        packets: impl IntoIterator<Item = &'p [u8]>,
        now: Instant,
        out: &mut Outlets,
    ) -> Duration {
        let dropped = self.written.dropped;
        let before = self.written.all;
        // What is no packet would be none for a player either.
        let packets: Vec<_> =
            packets.into_iter().filter_map(|packet| Some((packet, samples(packet)?))).collect();
        let all: u64 = packets.iter().map(|(_, samples)| u64::from(*samples)).sum();
        let mut surplus = all.saturating_sub(self.room(now));
        for (packet, samples) in packets {
            if surplus > 0 {
                surplus = surplus.saturating_sub(samples.into());
                self.written.dropped += u64::from(samples);
                continue;
            }
            self.is_filling = false;
            self.is_heard = true;
            if !is_quiet(packet, samples) {
                self.quiet = 0;
                self.heard.0 += packet.len() as u64;
                self.heard.1 += u64::from(samples);
            } else {
                self.quiet += u64::from(samples);
            }
            self.put(packet, samples, now, out);
        }
        // Where a browser's clock is slower than this one, what is missing is not saved up until it is a gap.
        if self.written.all > before && self.covered < now {
            self.covered += (now - self.covered) / 100;
        }
        self.flush(out);
        Duration::from_secs(1) * (self.written.dropped - dropped) as u32 / RATE
    }

    /// Fills up with silence what no audio has come for.
    pub fn fill(&mut self, now: Instant, out: &mut Outlets) {
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
            self.quiet += u64::from(TWENTY_MS);
            self.put(&packet, TWENTY_MS, now, out);
        }
        self.flush(out);
    }

    /// The programme is over.
    pub fn end(&mut self, out: &mut Outlets) {
        let last = silence(self.rate());
        if let Some(stream) = self.stream.take() {
            stream.end(&last, TWENTY_MS, &mut out.icecast);
        }
        out.recording.end(&last, TWENTY_MS);
    }

    fn put(&mut self, packet: &[u8], samples: u32, now: Instant, out: &mut Outlets) {
        if self.covered + JUMP < now {
            self.covered = now;
        }
        self.covered += length(samples);
        self.written.all += u64::from(samples);
        // Players pass on what has a certain size, not what has a certain length: quiet must not make them wait.
        let size = self.rate() * samples as usize / TWENTY_MS as usize;
        let packet = if packet.len() * 2 < size { pad(packet, size) } else { packet.to_vec() };
        if let Some(stream) = &mut self.stream {
            stream.put(&packet, samples, &mut out.icecast);
        }
        out.recording.put(&packet, samples);
        self.recent_samples += u64::from(samples);
        self.recent.push_back((Bytes(packet), samples));
        while self.recent_samples > RECENT {
            let Some((_, samples)) = self.recent.pop_front() else { break };
            self.recent_samples -= u64::from(samples);
        }
    }

    /// How much audio there is room for, in samples.
    fn room(&self, now: Instant) -> u64 {
        let stands = self.covered + JUMP < now;
        let from = if stands { now } else { self.covered };
        let room = (now + AHEAD).saturating_duration_since(from);
        room.as_micros() as u64 * u64::from(RATE) / 1_000_000
    }

    fn flush(&mut self, out: &mut Outlets) {
        if let Some(stream) = &mut self.stream {
            stream.flush(&mut out.icecast);
        }
        out.recording.flush(&silence(self.rate()), TWENTY_MS);
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
