//! A closed loop over a stretch of time: how many exchanges, what CPU, how long each.
//!
//! Owns warm-up, window and percentiles. It deliberately does not know what an exchange is.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::Event;
use crate::pool::Pool;
use crate::process::{Process, own_cpu};

/// How long a closed loop goes on.
#[derive(Clone, Copy, Debug)]
pub enum Span {
    /// For a time.
    Time(Duration),
    /// For a number of exchanges, where what each of them costs is counted elsewhere.
    Exchanges(usize),
}

impl Span {
    /// For how long to wait after so much, or `None` at its end.
    fn left(self, elapsed: Duration, exchanges: usize) -> Option<Duration> {
        match self {
            Self::Time(time) => time.checked_sub(elapsed),
            Self::Exchanges(all) => (exchanges < all).then_some(Duration::from_secs(1)),
        }
    }
}

/// What a window showed.
pub struct Window {
    /// How long each exchange took.
    times: Vec<Duration>,
    seconds: f64,
    /// ns of the server.
    cpu: u64,
    /// ns of this process.
    own: u64,
}

/// Runs the loop that `on` keeps going, for `span`; where that is a time, first for a third of it to warm up. `on` gives
/// back how long an exchange took where one ended.
pub fn window(
    pool: &mut Pool,
    server: &Process,
    span: Span,
    mut on: impl FnMut(&mut Pool, usize, Event<'_>) -> Result<Option<Duration>>,
) -> Result<Window> {
    if let Span::Time(time) = span {
        drive(pool, Span::Time(time / 3), &mut on, &mut Vec::new())?;
    }
    let mut times = Vec::with_capacity(1 << 20);
    let (cpu, own, began) = (server.cpu()?, own_cpu()?, Instant::now());
    drive(pool, span, &mut on, &mut times)?;
    let seconds = began.elapsed().as_secs_f64();
    let (cpu, own) = (server.cpu()? - cpu, own_cpu()? - own);
    ensure!(!times.is_empty(), "nothing ended within {span:?}");
    times.sort_unstable();
    Ok(Window { times, seconds, cpu, own })
}

fn drive(
    pool: &mut Pool,
    span: Span,
    on: &mut impl FnMut(&mut Pool, usize, Event<'_>) -> Result<Option<Duration>>,
    times: &mut Vec<Duration>,
) -> Result<()> {
    let began = Instant::now();
    while let Some(left) = span.left(began.elapsed(), times.len()) {
        pool.turn(left, |pool, id, event| {
            times.extend(on(pool, id, event)?);
            Ok(())
        })?;
    }
    Ok(())
}

impl Window {
    /// Exchanges a second.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }

    /// µs of the server's CPU an exchange.
    pub fn cpu(&self) -> f64 {
        self.cpu as f64 / 1e3 / self.times.len() as f64
    }

    /// µs of the load generator's CPU an exchange.
    pub fn own(&self) -> f64 {
        self.own as f64 / 1e3 / self.times.len() as f64
    }

    /// The time in µs that this share of all exchanges stayed within.
    pub fn percentile(&self, share: f64) -> f64 {
        percentile(&self.times, share)
    }
}

/// The time in µs that this share of all stayed within; they are in order, and there are some.
pub fn percentile(times: &[Duration], share: f64) -> f64 {
    let index = ((times.len() - 1) as f64 * share).round() as usize;
    times[index].as_secs_f64() * 1e6
}
