//! Nodes on a network that loses, doubles and delays what they say: they agree, and with a server that is alone.
//!
//! Owns what nodes come to, whatever the network does. It deliberately knows no NATS server: `tests/cluster` has real ones.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use super::nats::protocol::Message;
use super::transfer::PART;
use super::world::*;
use crate::signaling::command::{Action, Command, Newcomer, Outcome};
use crate::signaling::entry::Entry;
use crate::signaling::hub::Passed;
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::parting::Parting;
use crate::signaling::sequencer::Proposed;
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};
use crate::wire::request::MessageType;
use crate::wire::role::Role;

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
            assert_eq!((node.log.position(), node.digest), (last, digest), "seed {seed}");
            assert_eq!(sorted(hub, node.moment(node.latest)), alone, "seed {seed}");
        }
    }
}

/// Two nodes that come at once, to one that has more than a part holds.
#[tokio::test]
async fn newcomers_get_what_many_parts_hold() {
    let mut world = World::new(11, 0);
    world.join();
    world.run(Duration::from_secs(6));
    for number in 0..6000u32 {
        let peer = PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02{number:08x}")).unwrap();
        let (client, identity) = (ClientId(number.into()), Identity::from_bytes([7; 16]));
        let newcomer = Newcomer { client, identity, ip: [192, 0, 2, 1].into(), is_check: false };
        world.nodes[0].2.propose(Command::Register { peer, newcomer }, None);
    }
    world.run(Duration::from_secs(1));
    world.join();
    world.join();
    world.run(Duration::from_secs(4));
    let first = sorted(&world.nodes[0].2, world.nodes[0].0.moment(world.nodes[0].0.latest));
    assert!(first.to_string().len() > 2 * PART);
    for (node, _, hub) in &world.nodes {
        assert_eq!(node.members.count(), 3);
        assert!(node.joining.is_none() && node.giving.is_none());
        assert!(sorted(hub, node.moment(node.latest)) == first);
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

/// A server that led the log before, and hung meanwhile, says of it what it knew then.
#[tokio::test]
async fn a_server_that_does_not_know_better_costs_no_place() {
    let mut world = one_node(1);
    let info = |world: &World, last: usize| {
        let state = json!({ "last_seq": last });
        let info = json!({ "config": { "num_replicas": 1 }, "created": "0", "state": state });
        let subject = world.nodes[0].0.names.answer("info");
        Message { subject, payload: info.to_string().into_bytes(), ..Message::default() }
    };
    let old = info(&world, 1);
    for _ in 0..20 {
        let now = world.now();
        world.nodes[0].0.hear(&old, now);
        world.run(Duration::from_secs(1));
        assert!(world.nodes[0].0.joining.is_none());
    }
    // Where nothing comes but that, the log is as it says.
    let now = world.now();
    let node = &mut world.nodes[0].0;
    node.shorter.end();
    node.hear(&old, now);
    node.hear(&old, now + Duration::from_millis(9_999));
    assert!(node.joining.is_none());
    node.hear(&old, now + Duration::from_secs(10));
    // Then it is read again, and says by its entries what it is: the node has to follow it.
    assert!(node.log.has_gone_back());
    world.run(Duration::from_secs(2));
    assert!(world.nodes[0].0.joining.is_some());
}

#[tokio::test]
async fn a_log_that_has_gone_back_is_noticed_by_another_entry_in_it() {
    let mut world = one_node(1);
    let node = &mut world.nodes[0].0;
    let headers = format!("NATS/1.0\r\nNats-Sequence: {}\r\n\r\n", node.log.position());
    let subject = node.names.events.clone();
    let headers = headers.into_bytes();
    let event = Message { subject, headers, payload: b"another".to_vec(), ..Message::default() };
    let now = world.now();
    world.nodes[0].0.hear(&event, now);
    assert!(world.nodes[0].0.joining.is_none(), "the stream is looked at first");
    world.run(Duration::from_secs(2));
    assert!(world.nodes[0].0.joining.is_some());
}
