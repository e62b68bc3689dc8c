//! Events that come in floods, of which only the first is worth a line in the log.
//!
//! Owns for how long it must have been quiet. It deliberately does not know what the events are.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing must have happened for the next time to be news.
const QUIET: Duration = Duration::from_secs(60);

/// When something happened last, if it ever did.
#[derive(Debug, Default)]
pub struct Flood(Option<Instant>);

impl Flood {
    /// It happens now: whether it did not in the minute before.
    pub fn is_news(&mut self) -> bool {
        let before = self.0.replace(Instant::now());
        before.is_none_or(|before| before.elapsed() >= QUIET)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_after_a_quiet_minute_is_news() {
        let mut flood = Flood::default();
        assert!(flood.is_news());
        for _ in 0..3 {
            advance(QUIET - Duration::from_millis(1)).await;
            assert!(!flood.is_news());
        }
        advance(QUIET).await;
        assert!(flood.is_news());
    }
}
