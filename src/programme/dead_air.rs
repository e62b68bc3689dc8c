//! Programmes in which nothing is heard but silence.
//!
//! Owns when the log hears of it, when the host does, and why it is so. It deliberately hears nothing itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::wire::carried::moment;

/// How long nothing may be heard but silence before the log says so.
pub const DEAD: Duration = Duration::from_secs(30);

/// What the host is told where Icecast has been silent for a while.
pub(super) const UNHEARD: &str = "Listeners hear nothing: Icecast does not answer. You go back on air by yourself as soon as it does; press Stop Streaming if you do not want that";

/// What the host is told where Icecast takes the programme, and there is nothing in it.
pub(super) const UNSENT: &str = "Listeners hear silence: this page sends no audio. Check the microphone, then press Stop Streaming and Stream";
pub(super) const UNREADABLE: &str = "Listeners hear silence: what this browser records is not WebM with Opus. Use Chrome, Chromium, Edge or Firefox";

/// Why nothing is heard but silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The host has gone.
    Away,
    /// The host's page sends nothing.
    Nothing,
    /// What it sends can't be read.
    Unreadable,
    /// It sends silence.
    Quiet,
}

impl Silence {
    /// Why, and what to do, for the log.
    pub fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Away => {
                ("its host has gone", "wait for the host, or let another host or ops press Stream")
            }
            Self::Nothing => {
                ("its host's page sends no audio", "let the host press Stop Streaming, then Stream")
            }
            Self::Unreadable => (
                "what its host's browser records is not WebM with Opus",
                "use Chrome, Chromium, Edge or Firefox",
            ),
            Self::Quiet => {
                ("its host's page sends silence", "check the host's microphone, and who is muted")
            }
        }
    }
}

/// How long nothing may be heard before the host is told.
pub(super) const TELL: Duration = Duration::from_secs(10);

/// What a host has sent since it asked to be on air.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Since when it could be heard.
    #[serde(with = "moment")]
    since: Instant,
    latest: Latest,
    /// Whether there was ever audio.
    is_audio: bool,
    is_told: bool,
    /// Whether something of it could not be read.
    #[serde(default)]
    is_damaged: bool,
}

/// What it has sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Latest {
    Nothing,
    /// A piece in which there is no audio.
    Unreadable,
    Audio,
}

impl Sent {
    /// Nothing yet.
    pub fn new(now: Instant) -> Self {
        let (latest, is_audio) = (Latest::Nothing, false);
        Self { since: now, latest, is_audio, is_told: false, is_damaged: false }
    }

    /// It can be heard from now on.
    pub fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// A piece has come, with audio in it or without.
    pub fn note(&mut self, has_audio: bool) {
        self.latest = if has_audio { Latest::Audio } else { Latest::Unreadable };
        self.is_audio |= has_audio;
    }

    /// Something of it can't be read: true the first time.
    pub fn damage(&mut self) -> bool {
        !std::mem::replace(&mut self.is_damaged, true)
    }

    /// What the host is told of it, once. It was not on air with this recording before, so an alert stops nothing.
    pub fn complaint(&mut self, now: Instant) -> Option<&'static str> {
        let is_early = now < self.since + TELL;
        if self.is_audio || is_early || std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        Some(if self.latest == Latest::Unreadable { UNREADABLE } else { UNSENT })
    }

    /// Why nothing is heard but silence, where the host is away or not, and audio comes or silence stands in for it.
    pub fn silence(&self, is_away: bool, is_filling: bool) -> Silence {
        match (is_away, is_filling, self.latest) {
            (true, ..) => Silence::Away,
            (_, true, Latest::Unreadable) => Silence::Unreadable,
            (_, true, _) => Silence::Nothing,
            _ => Silence::Quiet,
        }
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing was heard but silence for [`DEAD`].
    Dead,
    /// Something is heard again, after this time.
    Alive(Duration),
}

/// Whether the log has said that nothing is heard.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DeadAir {
    /// How long, where it has.
    dead: Option<Duration>,
}

impl DeadAir {
    /// Nothing was heard but silence for so long.
    pub fn watch(&mut self, quiet: Duration) -> Option<Change> {
        let is_dead = quiet >= DEAD;
        let before = std::mem::replace(&mut self.dead, is_dead.then_some(quiet));
        match (before, is_dead) {
            (None, true) => Some(Change::Dead),
            (Some(longest), false) => Some(Change::Alive(longest)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_of_the_beginning_and_of_the_end() {
        let mut dead_air = DeadAir::default();
        assert_eq!(dead_air.watch(DEAD - Duration::from_millis(20)), None);
        assert_eq!(dead_air.watch(DEAD), Some(Change::Dead));
        assert_eq!(dead_air.watch(2 * DEAD), None);
        assert_eq!(dead_air.watch(Duration::ZERO), Some(Change::Alive(2 * DEAD)));
        assert_eq!(dead_air.watch(Duration::ZERO), None);
    }

    #[test]
    fn a_host_is_told_once_why_it_is_not_heard() {
        let start = Instant::now();
        let now = start + TELL;
        let mut sent = Sent::new(start);
        assert_eq!(sent.complaint(now - Duration::from_millis(1)), None);
        assert_eq!((sent.complaint(now), sent.complaint(now)), (Some(UNSENT), None));
        let mut sent = Sent::new(start);
        sent.note(false);
        assert_eq!((sent.complaint(now), sent.complaint(now)), (Some(UNREADABLE), None));
        let mut sent = Sent::new(start);
        sent.note(true);
        sent.note(false);
        assert_eq!(sent.complaint(now), None, "it was heard");
    }

    #[test]
    fn the_reason_is_that_of_now() {
        let mut sent = Sent::new(Instant::now());
        assert_eq!(sent.silence(true, true), Silence::Away);
        assert_eq!(sent.silence(false, true), Silence::Nothing);
        sent.note(true);
        assert_eq!(sent.silence(false, false), Silence::Quiet);
        // It was heard before, and its page has stopped.
        assert_eq!(sent.silence(false, true), Silence::Nothing);
        sent.note(false);
        assert_eq!(sent.silence(false, true), Silence::Unreadable);
    }
}
