//! A log and a network for tests of nodes, by a seed: it loses, doubles and delays what they say.
//!
//! Owns what is on its way, and what a server that is alone comes to. It deliberately does not judge.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::apply::mix;
use super::entry::{About, What, head, what};
use super::handle::{Asks, Handle};
use super::nats::protocol::{Message, Publish};
use super::node::Node;
use crate::signaling::command::{Action, Command, Newcomer, Outcome, Proposer};
use crate::signaling::entry::{Entry, RoomLimits};
use crate::signaling::hub::Hub;
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::parting::Parting;
use crate::telemetry::journal::Journal;
use crate::telemetry::level::Level;
use crate::wire::ids::{ClientId, Identity, NodeId, PeerId, RoomId};
use crate::wire::role::{Authority, Role};

pub(super) const STEP: Duration = Duration::from_millis(5);
pub(super) const UNIX: u64 = 1_760_804_444_392;

/// Numbers that look random and are the same for each seed (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    pub(super) fn chance(&mut self, of_100: u64) -> bool {
        self.below(100) < of_100
    }
}

pub(super) struct World {
    pub(super) nodes: Vec<(Node, Asks, Hub)>,
    pub(super) log: Vec<Vec<u8>>,
    /// How often the log was lost.
    pub(super) lost: u64,
    /// What is on its way: when it comes, to which node, in which order.
    pub(super) mail: Vec<(u64, usize, u64, Message)>,
    /// When the last thing from one node to another one comes: they do not overtake each other.
    pub(super) last: HashMap<(usize, usize), u64>,
    pub(super) sent: u64,
    pub(super) step: u64,
    pub(super) start: Instant,
    pub(super) random: Random,
    /// How often of 100 things go wrong.
    pub(super) faults: u64,
    /// By how many steps entries come late to a node.
    pub(super) late: HashMap<usize, u64>,
    pub(super) journal: Journal,
}

pub(super) fn hub(journal: &Journal) -> Hub {
    let limits = RoomLimits {
        peers: Some(4),
        role_reserve: Duration::from_secs(2),
        ..RoomLimits::default()
    };
    Hub::new(limits, Arc::default(), journal.clone())
}

impl World {
    pub(super) fn new(seed: u64, faults: u64) -> Self {
        let (journal, _writer) = Journal::start(Level::Error).unwrap();
        let (nodes, log, mail, last, late) = Default::default();
        let (sent, step, lost, start, random) = (0, 0, 0, Instant::now(), Random(seed));
        Self { nodes, log, lost, mail, last, sent, step, start, random, faults, late, journal }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + STEP * self.step as u32
    }

    /// Another node, whose clock is a little wrong.
    pub(super) fn join(&mut self) {
        let hub = hub(&self.journal);
        let (handle, asks) = Handle::new();
        let parts = (hub.clone(), self.journal.clone(), handle.clone());
        let unix = UNIX + self.step * 5 + self.random.below(2000);
        let about = About { limits: hub.limits(), ..About::default() };
        let node = Node::new("test", about, parts, None, (self.now(), unix));
        hub.join(Arc::new(handle));
        self.nodes.push((node, asks, hub));
        let now = self.now();
        self.nodes.last_mut().unwrap().0.connected(now);
    }

    pub(super) fn post(&mut self, to: usize, delay: u64, message: Message) {
        self.sent += 1;
        self.mail.push((self.step + delay, to, self.sent, message));
    }

    /// What a node says.
    pub(super) fn carry(&mut self, from: usize, publish: Publish) {
        let Publish { subject, reply, payload } = publish;
        let message =
            |subject: String, payload: Vec<u8>| Message { subject, payload, ..Message::default() };
        let answer = |value: Value| message(reply.clone().unwrap(), value.to_string().into_bytes());
        let log = self.nodes[from].0.names.log.clone();
        let id = |index: usize, world: &Self| world.nodes[index].0.names.own.clone();
        if subject == log {
            for _ in 0..1 + u64::from(self.random.chance(self.faults)) {
                if self.random.chance(self.faults) {
                    continue;
                }
                self.log.push(payload.clone());
                let headers = format!("NATS/1.0\r\nNats-Sequence: {}\r\n\r\n", self.log.len());
                for to in 0..self.nodes.len() {
                    for _ in 0..1 + u64::from(self.random.chance(self.faults)) {
                        if self.random.chance(self.faults) {
                            continue;
                        }
                        let subject = self.nodes[to].0.names.events.clone();
                        let headers = headers.clone().into_bytes();
                        let event = Message { headers, ..message(subject, payload.clone()) };
                        let late = self.late.get(&to).copied().unwrap_or_default();
                        let delay = late + self.random.below(1 + self.faults);
                        self.post(to, delay, event);
                    }
                }
            }
        } else if subject.contains("STREAM.INFO") {
            let state = json!({ "first_seq": 1, "last_seq": self.log.len() });
            let info = json!({ "config": { "num_replicas": 1 }, "created": self.lost.to_string(), "state": state });
            self.post(from, 1, answer(info));
        } else if subject.contains("MSG.GET") {
            let position =
                serde_json::from_slice::<Value>(&payload).unwrap()["seq"].as_u64().unwrap();
            if let Some(entry) = self.log.get(position as usize - 1) {
                let found =
                    json!({ "message": { "seq": position, "data": STANDARD.encode(entry) } });
                let late = self.late.get(&from).copied().unwrap_or_default();
                self.post(from, 1 + late, answer(found));
            } else {
                self.post(from, 1, answer(json!({ "error": { "err_code": 10_037 } })));
            }
        } else {
            for to in 0..self.nodes.len() {
                let is_for_all = subject == self.nodes[to].0.names.all;
                if !(is_for_all || subject == id(to, self)) || self.random.chance(self.faults / 4) {
                    continue;
                }
                let due = self.step + 1 + self.random.below(1 + self.faults);
                let due = due.max(self.last.get(&(from, to)).copied().unwrap_or_default());
                self.last.insert((from, to), due);
                self.post(to, due - self.step, message(subject.clone(), payload.clone()));
            }
        }
    }

    pub(super) fn step(&mut self) {
        self.step += 1;
        let now = self.now();
        self.mail.sort_by_key(|(due, _, order, _)| (*due, *order));
        let count = self.mail.iter().take_while(|(due, ..)| *due <= self.step).count();
        let due: Vec<_> = self.mail.drain(..count).collect();
        for (_, to, _, message) in due {
            self.nodes[to].0.hear(&message, now);
        }
        for index in 0..self.nodes.len() {
            let (node, asks, hub) = &mut self.nodes[index];
            while let Some(ask) = asks.try_next() {
                node.ask(ask, now);
            }
            if self.step % 40 == 0 && hub.next_end().is_some_and(|end| end <= now) {
                hub.propose(Command::Expire { on_air: None }, None);
            }
            node.open(&asks.shared, true, now);
            node.tick(now);
            for publish in node.take_out() {
                self.carry(index, publish);
            }
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.step();
        }
    }

    /// Some client of some node wants something.
    pub(super) fn want(&mut self) {
        let node = self.random.below(self.nodes.len() as u64) as usize;
        let number = self.random.below(8) as u8;
        let peer =
            PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap();
        // Some of them can prove who they are.
        let identity = Identity::from_bytes([number + self.random.below(2) as u8; 16]);
        let client = ClientId(self.random.below(6));
        let newcomer =
            Newcomer { client, identity, ip: [192, 0, 2, number].into(), is_check: false };
        let room = RoomId::from(["a", "b"][self.random.below(2) as usize]);
        let role = [Role::Host, Role::Guest][self.random.below(2) as usize];
        let act = |action| Command::Act { peer, identity, action };
        let command = match self.random.below(9) {
            0..3 => Command::Register { peer, newcomer },
            3 | 4 => {
                let entry = Some(Entry::Asked(Ok(role)));
                act(Action::CreateOrJoinRoom { room, token: Some(identity), entry })
            }
            5 => act(Action::LeaveRoom),
            6 => act(Action::Mute { target: peer, muted: true, authority: Authority::Producer }),
            7 => act(Action::JoinRoom { room }),
            _ => {
                let parting =
                    [Parting::Broken, Parting::Left, Parting::Away][self.random.below(3) as usize];
                Command::Part { peer, client, parting, budget: None }
            }
        };
        self.nodes[node].2.propose(command, Some(Arc::new(Outbox::new(1000))));
    }

    /// What a server that is alone comes to, if it makes the same changes in the order of the log.
    pub(super) fn alone(&self) -> (Value, u64) {
        let (hub, mut digest, mut latest) = (hub(&self.journal), 0, 0);
        let mut counters: HashMap<NodeId, u64> = HashMap::new();
        let mut begun = false;
        for (position, entry) in (1..).zip(&self.log) {
            let (Some(head), Some(what)) = (head(entry), what(entry)) else { panic!("no entry") };
            if !begun {
                begun = matches!(what, What::Found { .. });
                if begun {
                    counters.insert(head.node, head.counter);
                }
                continue;
            }
            if let What::Hello(_) = what {
                counters.entry(head.node).or_insert(head.counter - 1);
            }
            let Some(counter) = counters.get_mut(&head.node) else { continue };
            if *counter + 1 != head.counter {
                continue;
            }
            *counter = head.counter;
            latest = latest.max(head.time);
            let moment = self.start + Duration::from_millis(latest - UNIX);
            let command = match what {
                What::Do(command) => command,
                What::Hello(about) => Command::Limit(about.limits),
                What::Lease { .. } => Command::Limit(hub.limits()),
                other => panic!("nobody is to write {other:?}"),
            };
            let is_change = !matches!(command, Command::Limit(_));
            let outcome = hub.apply(command, Proposer { node: head.node, outbox: None }, moment);
            let outcome = if is_change { outcome } else { Outcome::Done };
            digest = mix(digest, hub.sizes(), position, &outcome);
        }
        let moment = self.start + Duration::from_millis(latest - UNIX);
        (sorted(&hub, moment), digest)
    }
}

/// All peers and rooms, in an order that maps do not have.
pub(super) fn sorted(hub: &Hub, moment: Instant) -> Value {
    let mut value = serde_json::to_value(hub.share(moment)).unwrap();
    for list in value.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut) {
        list.sort_by_key(Value::to_string);
    }
    value
}
