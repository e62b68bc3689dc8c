//! A show on air: ten people in a room who go on talking.

use crate::peers::peer;
use crate::support::{Client, Server};

/// How many people are in it.
const PEOPLE: usize = 10;

pub struct Show {
    people: Vec<(Client, String)>,
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
        Self { people }
    }

    /// Goes on for so many rounds. In each of them everybody sends the next one an offer, and then everybody hears what
    /// one of them says to all. Nothing is lost, nothing comes twice, and nothing overtakes.
    pub fn goes_on(&mut self, rounds: usize) {
        let sdp = "x".repeat(2_000);
        for round in 0..rounds {
            for from in 0..PEOPLE {
                let to = (from + 1) % PEOPLE;
                let (sender, receiver) = (&self.people[from].1, &self.people[to].1);
                let offer = format!(
                    r#"{{"type":"offer","from":"{sender}","to":"{receiver}","sdp":"{sdp}"}}"#
                );
                self.people[from].0.say(&offer);
                assert_eq!(self.people[to].0.text(), offer);
            }
            let (host, id) = &mut self.people[round % PEOPLE];
            let news = format!(r#"{{"type":"recording-state","recording":{}"#, round % 2 == 0);
            host.say(&format!("{news}}}"));
            let heard = format!(r#"{news},"from":"{id}"}}"#);
            for (person, _) in &mut self.people {
                assert_eq!(person.text(), heard);
            }
        }
    }

    /// Everybody is told that the service stops, and answers.
    pub fn hears_goodbye(self) {
        for (mut person, _) in self.people {
            assert_eq!(person.close_code(), Some(1001));
            person.leave(1001);
        }
    }

    /// Everybody goes home, and says so: else their seats would be kept.
    pub fn end(self) {
        for (mut person, _) in self.people {
            person.send(0x88, &1000_u16.to_be_bytes());
        }
    }
}
