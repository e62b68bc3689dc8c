//! A player that begins with the first audio, and plays in real time.
//!
//! Owns how much it holds, and when it holds nothing. It is pure: the time is an argument, and it deliberately does not
//! know what the audio is.

use std::time::{Duration, Instant};

/// How long after the first audio a server may still send what it has kept for new listeners, and the first piece of a
/// host that sends one a second.
const BURST: Duration = Duration::from_secs(2);

/// The shortest time without sound that is a gap: a packet. This program's own clock is not more exact.
const SHORTEST: Duration = Duration::from_millis(20);

/// How often there was nothing to play, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// How often.
    pub count: u64,
    /// The longest one.
    pub longest: Duration,
    /// All together.
    pub total: Duration,
}

/// A player that plays what it has, and stands still where it has nothing.
#[derive(Debug)]
pub struct Player {
    began: Instant,
    /// Up to when it has played.
    now: Instant,
    /// What it has and has not played.
    held: Duration,
    /// The most of that while the stream began.
    behind: Duration,
    gaps: Gaps,
}

impl Player {
    /// It begins to play at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            now,
            held: Duration::ZERO,
            behind: Duration::ZERO,
            gaps: Gaps::default(),
        }
    }

    /// Audio has come.
    pub fn take(&mut self, audio: Duration, now: Instant) {
        self.play(now);
        self.held += audio;
        if now <= self.began + BURST {
            self.behind = self.behind.max(self.held);
        }
    }

    /// Plays what it has, up to `now`.
    pub fn play(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.now);
        let gap = time.saturating_sub(self.held);
        self.held = self.held.saturating_sub(time);
        self.now = self.now.max(now);
        if gap >= SHORTEST {
            self.gaps.count += 1;
            self.gaps.longest = self.gaps.longest.max(gap);
            self.gaps.total += gap;
        }
    }

    /// Since when it plays.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How old the newest audio is when it is played.
    pub fn behind(&self) -> Duration {
        self.behind
    }

    /// When it had nothing to play.
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_it_holds_is_played_before_there_is_a_gap() {
        let start = Instant::now();
        let mut player = Player::new(start);
        player.take(SECOND, start);
        player.take(SECOND, start + SECOND / 2);
        player.play(start + 2 * SECOND + SHORTEST / 2);
        assert_eq!(player.gaps(), Gaps::default(), "as exact as its clock");
        player.take(SECOND, start + 3 * SECOND);
        player.play(start + 5 * SECOND);
        let gap = SECOND - SHORTEST / 2;
        assert_eq!(player.gaps(), Gaps { count: 2, longest: SECOND, total: SECOND + gap });
        assert_eq!((player.behind(), player.began()), (SECOND * 3 / 2, start));
        // A clock that goes back is one that stands still.
        player.play(start);
        assert_eq!(player.gaps().count, 2);
    }

    #[test]
    fn what_comes_at_once_later_is_no_beginning() {
        let start = Instant::now();
        let mut player = Player::new(start);
        player.take(SECOND, start);
        player.take(9 * SECOND, start + 3 * SECOND);
        assert_eq!(player.behind(), SECOND);
    }
}
