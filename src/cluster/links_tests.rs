//! What becomes of things on a link that is slow, or ends.
//!
//! Owns nothing. It deliberately knows no connection: the time is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::links::*;
use crate::wire::ids::{ClientId, NodeId, PeerId};

const MS: Duration = Duration::from_millis(1);
const A: NodeId = NodeId(1);

fn bytes(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn sender(number: u64) -> Sender {
    let from = PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap();
    Sender { client: ClientId(number), from, to: from, request_id: None }
}

fn numbers(sent: &[Send]) -> Vec<u64> {
    sent.iter().map(|send| send.number).collect()
}

#[test]
fn what_comes_is_taken_once_in_order_and_behind_its_position() {
    let mut links = Links::default();
    for (number, position) in [(2, 0), (1, 5), (2, 0), (4, 0)] {
        links.receive(A, number, position, number * 10);
    }
    assert_eq!(links.ready(4), None, "the change that it follows is not made");
    assert_eq!(links.ready(5), Some((A, 1, 10)));
    assert_eq!(links.ready(5), Some((A, 2, 20)));
    assert_eq!(links.ready(5), None);
    let start = Instant::now();
    assert_eq!(links.wanted(start), []);
    assert_eq!(links.wanted(start + PATIENCE), [(A, 3)]);
    assert_eq!(links.wanted(start + PATIENCE + AGAIN - MS), []);
    assert_eq!(links.wanted(start + PATIENCE + AGAIN), [(A, 3)]);
    links.skip(A, 4);
    assert_eq!((links.ready(0), links.expected(A)), (Some((A, 4, 40)), 5));
    links.receive(A, 4, 0, 0);
    assert_eq!(links.ready(0), None, "it came again");
}

#[test]
fn what_is_kept_is_bounded_and_sent_again() {
    let (mut links, start) = (Links::<()>::default(), Instant::now());
    for number in 1..=3 {
        assert_eq!(links.next(A), number);
        let sent = links.send(A, bytes("x"), None, start).unwrap();
        assert_eq!(sent, Send { to: A, number, bytes: bytes("x") });
    }
    let (sent, skip) = links.again(A, 2);
    assert_eq!((numbers(&sent), skip), (vec![2, 3], None));
    links.send(A, bytes("y"), None, start + MOST_TIME);
    let (sent, skip) = links.again(A, 2);
    assert_eq!((numbers(&sent), skip), (vec![4], Some(4)), "the others are too old");
    links.send(A, vec![0; MOST_BYTES].into(), None, start + MOST_TIME);
    let (sent, skip) = links.again(A, 4);
    assert_eq!((numbers(&sent), skip), (vec![5], Some(5)), "or too much");
    assert_eq!(numbers(&links.all_again(start + MOST_TIME)), [5]);
    assert_eq!(numbers(&links.all_again(start + 2 * MOST_TIME)), [0; 0]);
}

#[test]
fn who_waits_for_a_connection_hears_when_that_is_too_long() {
    let (mut links, start) = (Links::<()>::default(), Instant::now());
    links.send(A, bytes("x"), Some(sender(1)), start);
    links.lose_connection();
    links.send(A, bytes("x"), Some(sender(2)), start);
    assert_eq!(links.drop_waiting(), [sender(2)], "the first one has gone");
    assert_eq!(links.drop_waiting(), []);
    links.send(A, bytes("x"), Some(sender(3)), start);
    assert_eq!(numbers(&links.all_again(start)), [1, 2]);
    assert_eq!(links.drop_waiting(), []);
}

#[test]
fn a_node_that_is_back_soon_gets_all_of_it() {
    let (mut links, start) = (Links::<()>::default(), Instant::now());
    for number in 1..=3 {
        links.send(A, bytes("x"), Some(sender(number)), start);
    }
    assert_eq!(links.failed(A, 2, start), []);
    assert_eq!(links.send(A, bytes("x"), Some(sender(4)), start), None, "it waits");
    assert_eq!(links.try_again(start + TRY - MS), (vec![], vec![]));
    let (sent, _) = links.try_again(start + TRY);
    assert_eq!(numbers(&sent), [2]);
    assert_eq!(links.failed(A, 2, start + TRY), []);
    assert_eq!(numbers(&links.try_again(start + 2 * TRY).0), [2]);
    // Nobody says that it failed.
    assert_eq!(numbers(&links.try_again(start + 3 * TRY).0), [3, 4]);
    assert!(links.send(A, bytes("x"), None, start).is_some());
}

#[test]
fn who_sent_to_a_node_that_has_gone_hears_that() {
    let (mut links, start) = (Links::<()>::default(), Instant::now());
    for number in 1..=3 {
        links.send(A, bytes("x"), Some(sender(number)), start);
    }
    links.failed(A, 2, start);
    assert_eq!(links.try_again(start + GIVE_UP), (vec![], vec![sender(2), sender(3)]));
    assert_eq!(links.send(A, bytes("x"), Some(sender(4)), start).unwrap().number, 4);
    assert_eq!(links.failed(A, 4, start), [sender(4)], "at once");
    links.lives(A);
    links.send(A, bytes("x"), Some(sender(5)), start);
    assert_eq!(links.failed(A, 5, start), []);
    assert_eq!(links.end(A), [sender(5)]);
    links.send(A, bytes("x"), Some(sender(6)), start);
    assert_eq!(links.refused(A, 1), Some(sender(6)), "counting begins anew");
    assert_eq!(links.refused(A, 1), None);
}
