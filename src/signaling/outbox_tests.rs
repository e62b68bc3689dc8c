//! What waits for a client, and for how long.
//!
//! Owns nothing. It deliberately has no sockets.

use std::future::poll_fn;

use std::sync::Arc;
use std::task::Poll;

use super::outbox::*;
use crate::config::table::OUTBOX_PLACE;
use crate::signaling::budget::ClientBudget;
use crate::wire::codes::CloseCode;

#[test]
fn bytes_are_bounded_on_both_sides() {
    let outbox = Outbox::new(10 + OUTBOX_PLACE);
    outbox.push(&Frame::from(vec![1; 6]), None);
    outbox.push(&Frame::from(vec![2; 4]), None);
    let mut out = Vec::new();
    assert_eq!(outbox.take(&mut out, 1), Ok(1));
    assert_eq!(out, [1; 6], "a frame is never cut");
    outbox.push(&Frame::from(vec![3; 6]), None);
    assert_eq!(outbox.take(&mut out, usize::MAX), Ok(2));
    assert_eq!(out.len(), 16, "what was taken does not count any longer");
    outbox.push(&Frame::from(vec![4; 11 + OUTBOX_PLACE]), None);
    assert!(outbox.is_closed());
    assert_eq!(outbox.take(&mut out, usize::MAX), Err(CloseCode::TOO_SLOW));
    outbox.push(&Frame::from(vec![5; 1]), None);
    assert_eq!(outbox.take(&mut out, usize::MAX), Err(CloseCode::TOO_SLOW), "and that is final");
}

#[test]
fn what_the_session_holds_counts_until_it_is_written() {
    let outbox = Outbox::new(10 + OUTBOX_PLACE);
    outbox.push(&Frame::from(vec![1; 6]), None);
    assert_eq!(outbox.take(&mut Vec::new(), usize::MAX), Ok(1));
    outbox.hold(6 + OUTBOX_PLACE);
    assert_eq!(outbox.bytes(), 6 + OUTBOX_PLACE);
    assert!(outbox.push(&Frame::from(vec![2; 4]), None), "they fit, both of them");
    assert_eq!(outbox.take(&mut Vec::new(), usize::MAX), Ok(1));
    outbox.hold(0);
    assert!(outbox.push(&Frame::from(vec![3; 10]), None), "the socket took all");
    assert_eq!(outbox.take(&mut Vec::new(), usize::MAX), Ok(1));
    outbox.hold(10 + OUTBOX_PLACE);
    assert!(!outbox.push(&Frame::from(vec![4; 1]), None));
    assert!(outbox.is_closed());
}

#[tokio::test]
async fn an_outbox_that_follows_gets_everything_in_order() {
    let before = Arc::new(Outbox::new(1000));
    before.enter(Some(7));
    before.push(&Frame::from(vec![2]), Some(7));
    let after = before.successor();
    // Somebody collected the receivers before.
    assert!(before.push(&Frame::from(vec![3]), Some(7)));
    let mut left = before.ask_to_yield();
    assert!(before.is_to_yield());
    poll_fn(|cx| before.poll_urgent(cx)).await;
    let next = after.successor();
    before.leave_behind(vec![1], &ClientBudget::new(None, tokio::time::Instant::now()));
    assert!(left.try_recv().is_ok());
    let mut out = Vec::new();
    assert_eq!(next.take(&mut out, usize::MAX), Ok(3));
    assert_eq!(out, [1, 2, 3]);
    assert_eq!((before.bytes(), after.bytes(), next.bytes()), (0, 0, 0));
}

#[test]
fn what_was_not_sent_before_counts_as_well() {
    let before = Outbox::new(10 + 2 * OUTBOX_PLACE);
    let budget = ClientBudget::new(None, tokio::time::Instant::now());
    let fits = before.successor();
    fits.push(&Frame::from(vec![1; 6]), None);
    before.leave_behind(vec![2; 4], &budget);
    assert!(!fits.is_closed());
    let before = Outbox::new(10 + 2 * OUTBOX_PLACE);
    let full = before.successor();
    full.push(&Frame::from(vec![1; 6]), None);
    before.leave_behind(vec![2; 5], &budget);
    assert!(full.is_closed());
}

#[tokio::test]
async fn a_push_wakes_who_waits_and_one_before_is_not_missed() {
    let outbox = Arc::new(Outbox::new(10));
    let waiting = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move { poll_fn(|cx| outbox.poll_ready(cx)).await }
    });
    tokio::task::yield_now().await;
    outbox.push(&Frame::from(vec![1; 2]), None);
    waiting.await.unwrap();
    poll_fn(|cx| outbox.poll_ready(cx)).await;
    assert!(poll_fn(|cx| Poll::Ready(outbox.poll_urgent(cx))).await.is_pending());
    outbox.push(&Frame::from(vec![1; 9]), None);
    poll_fn(|cx| outbox.poll_urgent(cx)).await;
}

#[test]
fn who_has_left_a_room_hears_no_more_of_it() {
    let outbox = Outbox::new(100);
    let taken = || {
        let mut out = Vec::new();
        outbox.take(&mut out, usize::MAX).unwrap();
        out
    };
    outbox.push(&Frame::from(vec![1]), Some(7));
    assert!(taken().is_empty(), "it is in no room");
    outbox.enter(Some(7));
    outbox.push(&Frame::from(vec![2]), Some(7));
    outbox.push(&Frame::from(vec![3]), None);
    outbox.push(&Frame::from(vec![4]), Some(6));
    assert_eq!(outbox.bytes(), 2);
    outbox.enter(Some(8));
    outbox.push(&Frame::from(vec![5]), Some(7));
    outbox.push(&Frame::from(vec![6]), Some(8));
    assert_eq!(taken(), [3, 6]);
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn what_waits_goes_on_waiting() {
    let outbox = Outbox::new(100 + 2 * OUTBOX_PLACE);
    outbox.enter(Some(7));
    outbox.push(&Frame::from(vec![1; 60]), None);
    outbox.push(&Frame::from(vec![2; 30]), Some(7));
    let outbox = Outbox::go_on(outbox.carry(), 100 + 2 * OUTBOX_PLACE);
    assert!(!outbox.push(&Frame::from(vec![3; 1]), Some(8)), "it is in room 7");
    let mut out = Vec::new();
    assert_eq!(outbox.take(&mut out, 1), Ok(1));
    assert!(outbox.push(&Frame::from(vec![4; 60]), Some(7)), "it has the bound that it had");
    assert!(!outbox.push(&Frame::from(vec![5; 60]), Some(7)));
    let outbox = Outbox::go_on(outbox.carry(), 1000);
    assert_eq!(outbox.take(&mut out, 1), Err(CloseCode::TOO_SLOW));
}
