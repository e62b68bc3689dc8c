//! Round trips over a long time, in a memory that does not grow.
//!
//! Owns their statistics. It deliberately knows no clock: how long each one took comes from the caller.

use std::time::Duration;

/// How many buckets there are from one power of two to the next: a percentile is read to 1/32, about 3 %.
const PARTS: u64 = 32;

/// The powers of two of microseconds that have buckets: up to 2³² µs, which is over an hour.
const POWERS: u64 = 32;

/// Those of up to twice `PARTS` microseconds are one wide; from there on each power of two has `PARTS` of them.
const BUCKETS: usize = ((POWERS - PARTS.ilog2() as u64 + 1) * PARTS) as usize;

/// What is kept of all round trips: 7 KiB, however many there are.
#[derive(Clone, Debug)]
pub struct RoundTrips {
    buckets: [u64; BUCKETS],
    count: u64,
    min: Duration,
    max: Duration,
    /// Mean and sum of squared differences from it, in ms, kept up as Welford's method does it.
    mean: f64,
    squares: f64,
}

/// What they come to, in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The fastest.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// Of 100, 99 were no slower; at most 3 % too high.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
    /// The standard deviation, under the name that ping(8) has for it.
    pub mdev: f64,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            count: 0,
            min: Duration::MAX,
            max: Duration::ZERO,
            mean: 0.0,
            squares: 0.0,
        }
    }
}

impl RoundTrips {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        self.buckets[bucket(took)] += 1;
        self.count += 1;
        self.min = self.min.min(took);
        self.max = self.max.max(took);
        let ms = ms(took);
        let difference = ms - self.mean;
        self.mean += difference / self.count as f64;
        self.squares += difference * (ms - self.mean);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What they come to, if there were any.
    pub fn summary(&self) -> Option<Summary> {
        (self.count > 0).then(|| Summary {
            min: ms(self.min),
            avg: self.mean,
            p99: ms(self.percentile(99).min(self.max)),
            max: ms(self.max),
            mdev: (self.squares / self.count as f64).sqrt(),
        })
    }

    /// The upper end of the bucket that has the round trip which `percent` of 100 are no slower than.
    fn percentile(&self, percent: u128) -> Duration {
        let rank = (u128::from(self.count) * percent).div_ceil(100);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += u128::from(*count);
            seen >= rank
        });
        found.map_or(Duration::MAX, upper_end)
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min((1 << POWERS) - 1);
    // How many of the lower bits do not matter.
    let shift = micros.max(PARTS).ilog2() - PARTS.ilog2();
    (u64::from(shift) * PARTS + (micros >> shift)) as usize
}

/// Where the next bucket begins.
fn upper_end(bucket: usize) -> Duration {
    let next = bucket as u64 + 1;
    let shift = (next / PARTS).saturating_sub(1);
    Duration::from_micros((next - shift * PARTS) << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_micros((1 << POWERS) - 1)), BUCKETS - 1);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        for index in 0..BUCKETS - 1 {
            let end = upper_end(index);
            assert_eq!(bucket(end), index + 1);
            assert_eq!(bucket(end - Duration::from_micros(1)), index);
        }
    }

    #[test]
    fn percentiles_are_three_percent_too_high_at_most() {
        let mut trips = RoundTrips::default();
        for micros in 1..=100_000 {
            trips.add(Duration::from_micros(micros));
        }
        let summary = trips.summary().unwrap();
        assert_eq!((trips.count(), summary.min, summary.max), (100_000, 0.001, 100.0));
        assert!((summary.avg - 50.0005).abs() < 1e-6, "{summary:?}");
        assert!((summary.mdev - 28.8675).abs() < 1e-3, "{summary:?}");
        assert!((99.0..=99.0 * 1.032).contains(&summary.p99), "{summary:?}");
    }

    #[test]
    fn of_a_few_the_slowest_is_the_ninety_ninth() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.summary(), None);
        for ms in [3, 1, 2] {
            trips.add(Duration::from_millis(ms));
        }
        let summary = trips.summary().unwrap();
        assert_eq!((summary.min, summary.avg, summary.p99, summary.max), (1.0, 2.0, 3.0, 3.0));
    }
}
