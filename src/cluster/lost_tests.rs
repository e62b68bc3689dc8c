//! Nodes whose log is lost, has gone back, or is said to be another one: their clients stay.
//!
//! Owns what nodes come to then. It deliberately knows no NATS server: `tests/cluster` has real ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::world::*;
use crate::signaling::command::{Command, Newcomer, Outcome};
use crate::signaling::outbox::Outbox;
use crate::signaling::sequencer::Proposed;
use crate::wire::ids::{ClientId, Identity, PeerId};

/// Two nodes, each at the same place in the log.
fn two_nodes(seed: u64) -> World {
    let mut world = World::new(seed, 0);
    world.join();
    world.run(Duration::from_secs(6));
    world.join();
    world.run(Duration::from_secs(2));
    world
}

/// A client of the node `index` registers, with that number.
fn register(world: &World, index: usize, number: u8) -> (Arc<Outbox>, oneshot::Receiver<Outcome>) {
    let peer = PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap();
    let (client, identity) = (ClientId(number.into()), Identity::from_bytes([number; 16]));
    let newcomer = Newcomer { client, identity, ip: [192, 0, 2, 1].into(), is_check: false };
    let outbox = Arc::new(Outbox::new(10_000));
    match world.nodes[index].2.propose(Command::Register { peer, newcomer }, Some(outbox.clone())) {
        Proposed::Waits(made) => (outbox, made),
        other => panic!("{other:?}"),
    }
}

/// All these are made, no client was ended, and both nodes have so many peers and go on.
fn all_are_there(world: &mut World, clients: Vec<(Arc<Outbox>, oneshot::Receiver<Outcome>)>) {
    let (count, mut there, nodes) = (clients.len(), 0, world.nodes.len());
    for (outbox, mut made) in clients {
        assert!(made.try_recv().unwrap().is_made());
        assert!(outbox.take(&mut Vec::new(), usize::MAX).is_ok(), "it is ended");
    }
    let digest = world.nodes[0].0.digest;
    for (node, _, hub) in &world.nodes {
        assert!(node.joining.is_none() && node.members.count() == nodes);
        assert_eq!(node.digest, digest);
        there += hub.count().peers;
    }
    assert_eq!(there, count);
    let ids: Vec<_> = world.nodes.iter().map(|(node, ..)| node.name()).collect();
    world.run(Duration::from_secs(15));
    for ((node, ..), id) in world.nodes.iter().zip(ids) {
        assert!(node.joining.is_none() && node.name() == id && node.members.count() == nodes);
    }
}

/// The log is lost when a node knows more of it than the other one.
#[tokio::test]
async fn nodes_that_knew_different_parts_of_a_lost_log_go_on() {
    for behind in 0..2 {
        let mut world = two_nodes(5);
        let ahead = 1 - behind;
        let mut all = vec![register(&world, behind, 1)];
        world.run(Duration::from_secs(1));
        world.late.insert(behind, 1000);
        all.extend([2, 3].map(|number| register(&world, ahead, number)));
        world.run(Duration::from_millis(100));
        // What was made is made nowhere, where the one founds that does not know of it.
        let lost: Vec<_> = all.drain(1..).collect();
        world.late.clear();
        world.mail.clear();
        world.log.clear();
        world.lost += 1;
        // Both found the cluster at the same moment, the one that knows less before the other one.
        let now = world.now();
        for index in [behind, ahead] {
            let (node, ..) = &mut world.nodes[index];
            (node.created, node.ends, node.seen) =
                (Some(world.lost.to_string()), (1, 0), Some(now));
            node.lose_log(0, now);
            node.joining.as_mut().unwrap().keeps = Some(now);
            node.join(now);
            for publish in node.take_out() {
                world.carry(index, publish);
            }
        }
        world.run(Duration::from_secs(12));
        for (outbox, _) in lost {
            assert!(outbox.take(&mut Vec::new(), usize::MAX).is_err(), "it has to come back");
        }
        all.push(register(&world, ahead, 4));
        world.run(Duration::from_secs(1));
        all_are_there(&mut world, all);
    }
}

/// Servers say different times of one stream once they have been restarted.
#[tokio::test]
async fn a_stream_of_which_another_time_is_said_is_the_same() {
    let mut world = two_nodes(6);
    let mut all = vec![register(&world, 0, 1), register(&world, 1, 2)];
    world.run(Duration::from_secs(1));
    for number in 3..6 {
        world.lost += 1;
        for _ in 0..800 {
            world.step();
            assert!(world.nodes.iter().all(|(node, ..)| node.joining.is_none()), "it begins anew");
        }
        all.push(register(&world, number as usize % 2, number));
        world.run(Duration::from_secs(1));
    }
    all_are_there(&mut world, all);
}

#[tokio::test]
async fn a_log_that_is_lost_or_has_gone_back_costs_nobody_the_place() {
    // How much of the log is left, whether the stream is another one, and which node does not hear of anything at first.
    for (left, is_other, away) in [
        (0, true, None),
        (4, false, None),
        (9, false, None),
        (9, true, Some(0)),
        (9, false, Some(1)),
    ] {
        let mut world = two_nodes(7);
        let mut all = vec![register(&world, 0, 1), register(&world, 1, 2)];
        world.run(Duration::from_secs(12));
        assert!(world.log.len() > 12);
        world.log.truncate(left);
        world.lost += u64::from(is_other);
        if let Some(away) = away {
            world.late.insert(away, 600);
        }
        all.push(register(&world, away.map_or(0, |away| 1 - away), 3));
        world.run(Duration::from_secs(8));
        world.late.clear();
        world.run(Duration::from_secs(12));
        all.push(register(&world, 1, 4));
        world.run(Duration::from_secs(1));
        assert!(world.nodes[0].0.founded > left as u64, "{left}: it was founded anew");
        all_are_there(&mut world, all);
    }
}

/// The log goes back while a node has no connection, and is longer than before when that one is back.
#[tokio::test]
async fn a_log_that_has_grown_past_a_node_that_was_away_is_told() {
    // How much of the log is left; the node is not given up meanwhile.
    for left in [4, 9] {
        let mut world = two_nodes(9);
        let mut all = vec![register(&world, 0, 1), register(&world, 1, 2)];
        world.run(Duration::from_secs(12));
        let end = world.log.len();
        assert_eq!(world.nodes[1].0.log.position(), end as u64);
        let away = world.nodes.pop().unwrap();
        world.mail.retain(|(_, to, ..)| *to == 0);
        world.log.truncate(left);
        world.run(Duration::from_secs(5));
        for number in 3..=end as u8 {
            all.push(register(&world, 0, number));
        }
        world.run(Duration::from_secs(1));
        assert!(world.log.len() > end, "{left}: it is longer");
        world.nodes.push(away);
        let now = world.now();
        world.nodes[1].0.connected(now);
        world.run(Duration::from_secs(8));
        all.push(register(&world, 1, end as u8 + 1));
        world.run(Duration::from_secs(1));
        all_are_there(&mut world, all);
    }
}

/// A node that does not know yet that the log is lost gives its peers and rooms to nobody who does.
#[tokio::test]
async fn what_is_as_of_a_lost_log_is_not_taken() {
    let mut world = two_nodes(8);
    world.join();
    world.run(Duration::from_secs(12));
    let mut all = vec![register(&world, 0, 1), register(&world, 1, 2), register(&world, 2, 3)];
    world.run(Duration::from_secs(1));
    world.log.clear();
    world.lost += 1;
    world.late.insert(0, 500);
    world.run(Duration::from_secs(8));
    world.late.clear();
    world.run(Duration::from_secs(12));
    all.push(register(&world, 1, 4));
    world.run(Duration::from_secs(1));
    all_are_there(&mut world, all);
}
