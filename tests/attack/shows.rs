//! A show on air: ten people in a room who go on talking, and how long they wait for each other.

use std::time::{Duration, Instant};

use crate::peers::peer;
use crate::support::{Client, Server};

/// How many people are in it.
const PEOPLE: usize = 10;

/// What people may wait for each other, in 99 of 100 cases.
pub const P99: Duration = Duration::from_millis(50);

pub struct Show {
    people: Vec<(Client, String)>,
    turns: usize,
}

impl Show {
    /// Ten people of one address come into a room.
    pub fn start(server: &Server) -> Self {
        let id = |number: usize| format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}");
        let mut people: Vec<_> =
            (0..PEOPLE).map(|number| (peer(server, &id(number)), id(number))).collect();
        let enter = r#"{"type":"create-or-join-room","roomId":"on air","role":"host"}"#;
        for newest in 0..PEOPLE {
            people[newest].0.say(enter);
            assert!(people[newest].0.text().contains(r#""type":"room-"#));
            for (earlier, _) in &mut people[..newest] {
                assert!(earlier.text().contains("peer-joined"));
            }
        }
        Self { people, turns: 0 }
    }

    /// One of them sends an offer to the next: how long until it is there. Each tenth turn goes to all: how long
    /// until the last one has it.
    pub fn turn(&mut self) -> Duration {
        self.turns += 1;
        let (from, to) = (self.turns % PEOPLE, (self.turns + 1) % PEOPLE);
        let begun = Instant::now();
        if self.turns % 10 == 0 {
            self.people[from].0.say(r#"{"type":"recording-state","recording":true}"#);
            for (person, _) in &mut self.people {
                assert!(person.text().contains("recording-state"));
            }
        } else {
            let (sender, receiver) = (self.people[from].1.clone(), self.people[to].1.clone());
            let sdp = "x".repeat(2_000);
            let offer =
                format!(r#"{{"type":"offer","from":"{sender}","to":"{receiver}","sdp":"{sdp}"}}"#);
            self.people[from].0.say(&offer);
            assert_eq!(self.people[to].0.text(), offer);
        }
        begun.elapsed()
    }

    /// Goes on for `time`: the wait that 99 of 100 stay below.
    pub fn p99(&mut self, time: Duration) -> Duration {
        let begun = Instant::now();
        let mut waits = Vec::new();
        while begun.elapsed() < time {
            waits.push(self.turn());
        }
        waits.sort_unstable();
        waits[waits.len() * 99 / 100]
    }

    /// Everybody is told that the service stops, and answers.
    pub fn hears_goodbye(self) {
        for (mut person, _) in self.people {
            assert_eq!(person.close_code(), Some(1001));
            person.leave(1001);
        }
    }

    /// Everybody goes home.
    pub fn end(self) {
        drop(self.people);
    }
}

/// The middle one of several measurements: a hiccup of the machine is in one of them, a server that lets itself be
/// held up is in all.
pub fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).unwrap());
    values[values.len() / 2]
}
