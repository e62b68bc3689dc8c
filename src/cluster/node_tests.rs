//! Nodes on a network that loses, doubles and delays what they say: they agree, and with a server that is alone.
//!
//! Owns a log and a network for tests, by a seed. It deliberately knows no NATS server: `tests/cluster` has real ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::apply::mix;
use super::entry::{About, What, head, what};
use super::handle::{Asks, Handle};
use super::nats::protocol::{Message, Publish};
use super::node::Node;
use crate::signaling::command::{Action, Command, Newcomer, Outcome, Proposer};
use crate::signaling::entry::{Entry, RoomLimits};
use crate::signaling::hub::{Hub, Passed};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::parting::Parting;
use crate::signaling::sequencer::Proposed;
use crate::telemetry::journal::Journal;
use crate::telemetry::level::Level;
use crate::wire::ids::{ClientId, Identity, NodeId, PeerId, RoomId};
use crate::wire::request::MessageType;
use crate::wire::role::{Authority, Role};

const STEP: Duration = Duration::from_millis(5);
const UNIX: u64 = 1_760_804_444_392;

/// Numbers that look random and are the same for each seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    fn chance(&mut self, of_100: u64) -> bool {
        self.below(100) < of_100
    }
}

struct World {
    nodes: Vec<(Node, Asks, Hub)>,
    log: Vec<Vec<u8>>,
    /// How often the log was lost.
    lost: u64,
    /// What is on its way: when it comes, to which node, in which order.
    mail: Vec<(u64, usize, u64, Message)>,
    /// When the last thing from one node to another one comes: they do not overtake each other.
    last: HashMap<(usize, usize), u64>,
    sent: u64,
    step: u64,
    start: Instant,
    random: Random,
    /// How often of 100 things go wrong.
    faults: u64,
    /// By how many steps entries come late to a node.
    late: HashMap<usize, u64>,
    journal: Journal,
}

fn hub(journal: &Journal) -> Hub {
    let limits = RoomLimits {
        peers: Some(4),
        role_reserve: Duration::from_secs(2),
        ..RoomLimits::default()
    };
    Hub::new(limits, Arc::default(), journal.clone())
}

impl World {
    fn new(seed: u64, faults: u64) -> Self {
        let (journal, _writer) = Journal::start(Level::Error).unwrap();
        let (nodes, log, mail, last, late) = Default::default();
        let (sent, step, lost, start, random) = (0, 0, 0, Instant::now(), Random(seed));
        Self { nodes, log, lost, mail, last, sent, step, start, random, faults, late, journal }
    }

    fn now(&self) -> Instant {
        self.start + STEP * self.step as u32
    }

    /// Another node, whose clock is a little wrong.
    fn join(&mut self) {
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

    fn post(&mut self, to: usize, delay: u64, message: Message) {
        self.sent += 1;
        self.mail.push((self.step + delay, to, self.sent, message));
    }

    /// What a node says.
    fn carry(&mut self, from: usize, publish: Publish) {
        let Publish { subject, reply, payload } = publish;
        let message =
            |subject: String, payload: Vec<u8>| Message { subject, payload, ..Message::default() };
        let answer = |value: Value| message(reply.clone().unwrap(), value.to_string().into_bytes());
        let log = self.nodes[from].0.names().log.clone();
        let id = |index: usize, world: &Self| world.nodes[index].0.names().own.clone();
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
                        let subject = self.nodes[to].0.names().events.clone();
                        let headers = headers.clone().into_bytes();
                        let event = Message { headers, ..message(subject, payload.clone()) };
                        let late = self.late.get(&to).copied().unwrap_or_default();
                        let delay = late + self.random.below(1 + self.faults);
                        self.post(to, delay, event);
                    }
                }
            }
        } else if subject.contains("STREAM.INFO") {
            let state = json!({ "last_seq": self.log.len() });
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
            }
        } else {
            for to in 0..self.nodes.len() {
                let is_for_all = subject == self.nodes[to].0.names().all;
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

    fn step(&mut self) {
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

    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.step();
        }
    }

    /// Some client of some node wants something.
    fn want(&mut self) {
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
    fn alone(&self) -> (Value, u64) {
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
fn sorted(hub: &Hub, moment: Instant) -> Value {
    let mut value = serde_json::to_value(hub.share(moment)).unwrap();
    for list in value.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut) {
        list.sort_by_key(Value::to_string);
    }
    value
}

#[tokio::test]
async fn nodes_agree_whatever_the_network_does() {
    for seed in 0..12 {
        let mut world = World::new(seed, [0, 10, 30][seed as usize % 3]);
        world.join();
        world.run(Duration::from_secs(2));
        for round in 0..3 {
            // A newcomer in the middle of it.
            world.join();
            for _ in 0..150 {
                world.want();
                world.run(Duration::from_millis(10 + 5 * round));
                tokio::task::yield_now().await;
            }
        }
        world.faults = 0;
        world.run(Duration::from_secs(6));
        let (alone, digest) = world.alone();
        let last = world.log.len() as u64;
        assert!(last > 400, "seed {seed}: {last} entries");
        for (node, _, hub) in &world.nodes {
            assert_eq!(node.place(), (last, digest), "seed {seed}");
            assert_eq!(sorted(hub, node.latest_moment()), alone, "seed {seed}");
        }
    }
}

fn identity(number: u8) -> Identity {
    Identity::from_bytes([number; 16])
}

fn id(number: u8) -> PeerId {
    PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap()
}

#[tokio::test]
async fn an_offer_does_not_overtake_the_join_that_it_follows() {
    let mut world = World::new(7, 0);
    world.join();
    world.run(Duration::from_secs(2));
    world.join();
    world.run(Duration::from_secs(2));
    let outboxes: Vec<_> = (0..3).map(|_| Arc::new(Outbox::new(10_000))).collect();
    let room = RoomId::from("show");
    let enter = |world: &World, node: usize, number: u8| {
        let entry = Some(Entry::Asked(Ok(Role::Guest)));
        let action = Action::CreateOrJoinRoom { room: room.clone(), token: None, entry };
        let command = Command::Act { peer: id(number), identity: identity(number), action };
        world.nodes[node].2.propose(command, None);
    };
    // Two are on the first node, and one on the second.
    for (number, node) in [(0, 0), (1, 1), (2, 0)] {
        let (client, identity) = (ClientId(number.into()), identity(number));
        let newcomer = Newcomer { client, identity, ip: [192, 0, 2, 1].into(), is_check: false };
        let command = Command::Register { peer: id(number), newcomer };
        world.nodes[node].2.propose(command, Some(Arc::clone(&outboxes[number as usize])));
    }
    enter(&world, 0, 0);
    enter(&world, 1, 1);
    world.run(Duration::from_secs(1));
    let heard = |outbox: &Outbox| {
        let mut frames = Vec::new();
        outbox.take(&mut frames, usize::MAX).unwrap();
        String::from_utf8_lossy(&frames).into_owned()
    };
    heard(&outboxes[1]);
    // The third one joins, and offers at once; the second node hears of the join later.
    world.late.insert(1, 100);
    enter(&world, 0, 2);
    world.run(Duration::from_millis(100));
    let (kind, text) = (MessageType::Offer, "an offer");
    let passed =
        Passed { kind, from: id(2), client: ClientId(2), to: id(1), text, request_id: None };
    world.nodes[0].2.relay(passed).unwrap();
    world.run(Duration::from_millis(200));
    assert!(!heard(&outboxes[1]).contains("an offer"), "it waits for the join");
    world.run(Duration::from_millis(500));
    let heard = heard(&outboxes[1]);
    let (joined, offer) = (heard.find("peer-joined"), heard.find("an offer"));
    assert!(joined.is_some() && joined < offer, "{heard}");
}

/// A cluster of one node, and a client of it with this id, which gets nothing.
fn one_node(number: u8) -> World {
    let mut world = World::new(3, 0);
    world.join();
    world.run(Duration::from_secs(6));
    let (client, identity) = (ClientId(number.into()), identity(number));
    let newcomer = Newcomer { client, identity, ip: [192, 0, 2, 1].into(), is_check: false };
    let command = Command::Register { peer: id(number), newcomer };
    world.nodes[0].2.propose(command, Some(Arc::new(Outbox::new(10_000))));
    world.run(Duration::from_secs(1));
    world
}

/// A client comes into a room by way of the first node.
fn enter(world: &World, number: u8, identity: Identity) -> oneshot::Receiver<Outcome> {
    let entry = Some(Entry::Asked(Ok(Role::Guest)));
    let action = Action::CreateOrJoinRoom { room: RoomId::from("show"), token: None, entry };
    let command = Command::Act { peer: id(number), identity, action };
    match world.nodes[0].2.propose(command, None) {
        Proposed::Waits(made) => made,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_client_was_told_that_it_could_not_be_made_does_not_stay() {
    let mut world = one_node(1);
    // One client waits for the answer, another one is on its way to the next process.
    for waits in [true, false] {
        let mut made = enter(&world, 1, identity(1));
        if !waits {
            made.close();
        }
        let now = world.now();
        let (node, asks, _) = &mut world.nodes[0];
        node.ask(asks.try_next().unwrap(), now);
        node.give_up(now);
        assert!(made.try_recv().is_err());
        // It asks again before the gate is closed.
        let mut again = enter(&world, 1, identity(1));
        world.step();
        assert_eq!(again.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
        world.run(Duration::from_secs(1));
        assert_eq!(world.nodes[0].2.count().rooms, 0, "{waits}");
    }
    let mut made = enter(&world, 1, identity(1));
    world.run(Duration::from_secs(1));
    assert!(made.try_recv().unwrap().is_made());
    assert_eq!(world.nodes[0].2.count().rooms, 1);
}

#[tokio::test]
async fn what_a_client_was_told_that_it_could_not_be_made_is_not_made_in_another_log() {
    let mut world = one_node(1);
    let _made = enter(&world, 1, identity(1));
    let now = world.now();
    let (node, asks, _) = &mut world.nodes[0];
    node.ask(asks.try_next().unwrap(), now);
    node.give_up(now);
    node.take_out();
    world.log.clear();
    world.lost += 1;
    world.run(Duration::from_secs(12));
    let counts = world.nodes[0].2.count();
    assert_eq!((counts.peers, counts.rooms), (1, 0));
    let mut made = enter(&world, 1, identity(1));
    world.run(Duration::from_secs(1));
    assert!(made.try_recv().unwrap().is_made(), "it goes on");
}

/// A change that is made at once, and what it came to.
fn make(world: &mut World, command: Command) -> Outcome {
    let outbox = Some(Arc::new(Outbox::new(10_000)));
    let Proposed::Waits(mut made) = world.nodes[0].2.propose(command, outbox) else {
        panic!("it is taken")
    };
    world.run(Duration::from_secs(1));
    made.try_recv().unwrap()
}

#[tokio::test]
async fn who_has_lost_its_id_does_nothing_under_it() {
    let mut world = one_node(1);
    // Its node stood still, and somebody else has the id.
    let mut made = enter(&world, 1, identity(9));
    world.run(Duration::from_secs(1));
    assert!(matches!(made.try_recv(), Ok(Outcome::NotRegistered)));
    assert_eq!(world.nodes[0].2.count().rooms, 0);
    // Another connection of its own has the place: what came by the one before counts.
    let (client, identity) = (ClientId(2), identity(1));
    let newcomer = Newcomer { client, identity, ip: [192, 0, 2, 1].into(), is_check: false };
    make(&mut world, Command::Register { peer: id(1), newcomer });
    let mut made = enter(&world, 1, identity);
    world.run(Duration::from_secs(1));
    assert!(made.try_recv().unwrap().is_made());
}

#[tokio::test]
async fn an_undone_join_leaves_no_seat_that_is_kept() {
    let mut world = one_node(1);
    let mut made = enter(&world, 1, identity(1));
    let now = world.now();
    let (node, asks, hub) = &mut world.nodes[0];
    node.ask(asks.try_next().unwrap(), now);
    node.give_up(now);
    assert!(made.try_recv().is_err());
    // Its connection breaks before that is made.
    let (peer, client, parting) = (id(1), ClientId(1), Parting::Broken);
    hub.propose(Command::Part { peer, client, parting, budget: None }, None);
    world.run(Duration::from_secs(2));
    let counts = world.nodes[0].2.count();
    assert_eq!((counts.peers, counts.rooms, counts.seats_kept), (0, 0, 0));
}

#[tokio::test]
async fn a_programme_that_its_host_knows_of_is_not_undone() {
    let mut world = one_node(1);
    let mut made = enter(&world, 1, identity(1));
    world.run(Duration::from_secs(1));
    assert!(made.try_recv().unwrap().is_made());
    let go = || Command::Act { peer: id(1), identity: identity(1), action: Action::GoOnAir };
    assert!(make(&mut world, go()).is_made());
    let again = make(&mut world, go());
    assert!(matches!(again, Outcome::OnAir(Ok(false))) && !again.is_made());
}
