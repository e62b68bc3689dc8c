//! Whether a client lives.
//!
//! Owns when a client is asked, and when it is dead. It is pure: the time is an argument, and it deliberately knows no
//! socket.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::wire::carried::Moment;

/// How long a client has to answer a heartbeat.
pub const PONG_TIME: Duration = Duration::from_secs(10);

/// What is known of a client's life.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// When the client last answered: a whole frame came, or it made room in a socket that was full.
    heard: Instant,
    /// When a heartbeat was sent that the client has not answered yet.
    pinged: Option<Instant>,
    /// Since when somebody wants to know whether the client lives.
    challenged: Option<Instant>,
}

/// What a heartbeat's timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing, until then.
    Wait(Instant),
    /// A ping now, and a look at the client then.
    Ask(Instant),
    /// The client is dead: for so long it has been silent.
    Dead(Duration),
}

/// The same on its way to the process that follows. Who wants to know whether the client lives asks anew there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CarriedHeartbeat {
    heard: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinged: Option<Moment>,
}

impl Heartbeat {
    /// It is carried at `now`.
    pub fn carry(&self, now: Instant) -> CarriedHeartbeat {
        let pinged = self.pinged.map(|pinged| Moment::new(pinged, now));
        CarriedHeartbeat { heard: Moment::new(self.heard, now), pinged }
    }

    /// It goes on at `now`: what the client says meanwhile is read before it is called dead.
    pub fn go_on(carried: CarriedHeartbeat, now: Instant) -> Self {
        let pinged = carried.pinged.map(|pinged| pinged.at(now));
        Self { heard: carried.heard.at(now), pinged, challenged: None }
    }

    /// A client that has just connected.
    pub fn new(now: Instant) -> Self {
        Self { heard: now, pinged: None, challenged: None }
    }

    /// When it is to be looked at first.
    pub fn first_beat(&self, interval: Duration) -> Instant {
        self.pinged.map_or(self.heard + interval, |pinged| pinged + PONG_TIME)
    }

    /// When the client last answered.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// The client answers at `now`.
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A pong comes at `now`: how long after the heartbeat, if that is what it answers.
    pub fn pong(&mut self, now: Instant) -> Option<Duration> {
        self.pinged.take().map(|pinged| now - pinged)
    }

    /// The timer fires at `now`, in a server that pings after `interval` of silence.
    pub fn beat(&mut self, interval: Duration, now: Instant) -> Beat {
        let silent = now - self.heard;
        if let Some(pinged) = self.pinged.filter(|pinged| self.heard <= *pinged) {
            let end = pinged + PONG_TIME;
            // Where heartbeats are short, the next one is due before this one's time is over.
            return if now < end {
                Beat::Wait((now + interval).min(end))
            } else {
                Beat::Dead(silent)
            };
        }
        self.pinged = None;
        if silent < interval {
            return Beat::Wait(self.heard + interval);
        }
        self.pinged = Some(now);
        // The next heartbeat may be due before the time for the answer to this one is over.
        Beat::Ask(now + interval.min(PONG_TIME))
    }

    /// Somebody wants to know at `now` whether the client lives: it is pinged.
    pub fn challenge(&mut self, now: Instant) {
        self.challenged = Some(now);
    }

    /// Whether the client has answered a challenge; true once for each.
    pub fn has_answered(&mut self) -> bool {
        let heard = self.heard;
        self.challenged.take_if(|since| heard > *since).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_secs(25);

    #[test]
    fn a_silent_client_is_dead_in_the_next_process_when_it_would_have_been_in_this_one() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        let asked = start + INTERVAL;
        assert_eq!(heartbeat.beat(INTERVAL, asked), Beat::Ask(asked + PONG_TIME));
        let carried = heartbeat.carry(asked + SECOND);
        let mut heartbeat = Heartbeat::go_on(carried, asked + SECOND);
        let end = asked + PONG_TIME;
        assert_eq!(heartbeat.first_beat(INTERVAL), end);
        assert_eq!(Heartbeat::new(start).first_beat(INTERVAL), asked);
        assert_eq!(heartbeat.beat(INTERVAL, asked + 2 * SECOND), Beat::Wait(end));
        assert_eq!(heartbeat.pong(asked + 3 * SECOND), Some(3 * SECOND));
        let mut heartbeat = Heartbeat::go_on(carried, asked + SECOND);
        assert_eq!(heartbeat.beat(INTERVAL, end), Beat::Dead(INTERVAL + PONG_TIME));
    }

    #[test]
    fn a_silent_client_is_asked_and_then_dead() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        let early = INTERVAL - Duration::from_millis(1);
        assert_eq!(heartbeat.beat(INTERVAL, start + early), Beat::Wait(start + INTERVAL));
        let asked = start + INTERVAL;
        assert_eq!(heartbeat.beat(INTERVAL, asked), Beat::Ask(asked + PONG_TIME));
        let almost = asked + PONG_TIME - SECOND;
        assert_eq!(heartbeat.beat(INTERVAL, almost), Beat::Wait(asked + PONG_TIME));
        let end = asked + PONG_TIME;
        assert_eq!(heartbeat.beat(INTERVAL, end), Beat::Dead(INTERVAL + PONG_TIME));
    }

    #[test]
    fn a_client_that_answers_lives() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.pong(start), None, "nobody asked");
        let asked = start + INTERVAL;
        heartbeat.beat(INTERVAL, asked);
        heartbeat.hear(asked + SECOND);
        assert_eq!(heartbeat.pong(asked + SECOND), Some(SECOND));
        let due = asked + PONG_TIME;
        assert_eq!(heartbeat.beat(INTERVAL, due), Beat::Wait(asked + SECOND + INTERVAL));
        // Any frame is an answer.
        let asked = asked + SECOND + INTERVAL;
        assert_eq!(heartbeat.beat(INTERVAL, asked), Beat::Ask(asked + PONG_TIME));
        heartbeat.hear(asked + SECOND);
        let due = asked + PONG_TIME;
        assert_eq!(heartbeat.beat(INTERVAL, due), Beat::Wait(asked + SECOND + INTERVAL));
    }

    #[test]
    fn short_heartbeats_do_not_shorten_the_time_for_an_answer() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        let asked = start + SECOND;
        assert_eq!(heartbeat.beat(SECOND, asked), Beat::Ask(asked + SECOND));
        for beat in 1..10 {
            let now = asked + beat * SECOND;
            assert_eq!(heartbeat.beat(SECOND, now), Beat::Wait(now + SECOND));
        }
        assert_eq!(heartbeat.beat(SECOND, asked + PONG_TIME), Beat::Dead(11 * SECOND));
    }

    #[test]
    fn a_challenge_is_answered_once_by_what_comes_after_it() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        assert!(!heartbeat.has_answered());
        heartbeat.challenge(start);
        assert!(!heartbeat.has_answered(), "it was heard before");
        heartbeat.hear(start + SECOND);
        assert!(heartbeat.has_answered());
        assert!(!heartbeat.has_answered());
    }
}
