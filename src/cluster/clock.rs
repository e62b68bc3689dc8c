//! The two clocks: entries have the time of day, peers and rooms an instant.
//!
//! Owns that both name the same moments, in whole ms. It deliberately does not know what happens when.

use std::time::Duration;

use tokio::time::Instant;

/// One moment by both clocks: entries have the time of day, rooms an instant.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    /// In ms since 1970.
    unix: u64,
}

impl Clock {
    /// Both clocks now.
    pub fn new(instant: Instant, unix: u64) -> Self {
        Self { instant, unix }
    }

    /// The instant of a time of day.
    pub fn instant(self, unix: u64) -> Instant {
        let later = Duration::from_millis(unix.saturating_sub(self.unix));
        let earlier = Duration::from_millis(self.unix.saturating_sub(unix));
        (self.instant + later).checked_sub(earlier).unwrap_or(self.instant)
    }

    /// The time of day of an instant.
    pub fn unix(self, instant: Instant) -> u64 {
        self.unix + instant.saturating_duration_since(self.instant).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_name_the_same_moments() {
        let start = Instant::now();
        let clock = Clock::new(start, 1_760_804_444_392);
        for unix in [0, 1_760_804_444_391, 1_760_804_444_392, 1_760_804_450_000] {
            let moment = clock.instant(unix);
            assert_eq!(clock.instant(unix + 8000), moment + Duration::from_secs(8), "{unix}");
        }
        assert_eq!(clock.unix(start + Duration::from_micros(1999)), 1_760_804_444_393);
    }
}
