//! What becomes of seats.
//!
//! Owns nothing. It deliberately knows no socket: the time is moved by hand.

use super::house::*;
use super::parting::Parting;
use super::*;
use crate::signaling::entry::{Entry, EntryError, JoinError};
use crate::signaling::identity::absence::SEAT_TIME;
use crate::signaling::outbox::Frame;
use crate::wire::codes::CloseCode;

#[test]
fn a_seat_is_kept_while_its_connection_is_broken() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    let muted = house.registry.mute(host.peer, guest.peer, true, Authority::Producer);
    assert!(muted.unwrap().is_some());
    let there = house.participants(&host);
    house.outbox_of(&guest).push(&Frame::from(vec![1]), None);
    assert!(house.part(&guest, Parting::Broken).unwrap().has_seat);
    assert_eq!(house.participants(&host), there, "the others notice nothing");
    assert_eq!(house.registry.others(host.peer), 1);
    // What is said to it waits.
    let (outbox, room) = house.route(host.peer, guest.peer);
    assert!(outbox.push(&Frame::from(vec![2]), room));
    assert_eq!(house.registry.everyone(host.peer).unwrap().receivers.len(), 2);
    assert_eq!(house.wait(SEAT_TIME - SECOND), []);
    let (registered, back) = house.try_register(2, guest.identity);
    assert!(matches!(registered, Registered::Back(before, Some(_)) if before == guest.holder()));
    assert_eq!(texts(&back.outbox), [1, 2]);
    assert_eq!(house.participants(&back), there);
    let again = house.registry.mute(host.peer, guest.peer, true, Authority::Producer);
    assert!(again.unwrap().is_none(), "it is muted still");
    assert_eq!(house.wait(10 * SEAT_TIME), []);
}

#[test]
fn a_seat_ends_after_its_time_or_by_its_clients_will() {
    let mut house = House::new(RoomLimits::default());
    let [host, a, b, c] = [1, 2, 3, 4].map(|number| house.register(number, Identity::random()));
    for who in [&host, &a, &b, &c] {
        house.role(who, Role::Host);
    }
    assert!(house.part(&a, Parting::Broken).is_some());
    assert_eq!(house.part(&b, Parting::Left), None);
    assert_eq!(house.part(&c, Parting::Away), None, "a guest may come as one again");
    assert_eq!(house.participants(&host).len(), 2);
    assert_eq!(house.wait(SEAT_TIME - SECOND), []);
    assert_eq!(house.wait(SECOND), [a.peer]);
    assert_eq!(house.participants(&host), [(host.peer, Role::Host)]);
    let back = house.register(2, a.identity);
    assert_eq!(house.registry.role_and_room(back.peer), Err(NotInRoom));
    // The last seat keeps its room, and no longer.
    assert!(house.part(&host, Parting::Broken).unwrap().has_seat);
    assert!(house.registry.has_room(&show()));
    assert_eq!(house.wait(SEAT_TIME), [host.peer]);
    assert!(!house.registry.has_room(&show()));
}

#[test]
fn a_stranger_gets_the_id_and_nothing_else() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.part(&host, Parting::Broken);
    let stranger = house.register(1, Identity::random());
    assert_eq!(house.registry.role_and_room(stranger.peer), Err(NotInRoom));
    assert!(texts(&stranger.outbox).is_empty());
    // What is for the host waits for the host.
    let (outbox, room) = house.route(guest.peer, host.peer);
    assert!(outbox.push(&Frame::from(vec![7]), room));
    assert_eq!(
        house.registry.route(stranger.peer, guest.peer).unwrap_err(),
        RelayError::DifferentRoom
    );
    // In that room there is no second one of the same name.
    let entered = house.enter(&stranger, invited(Role::Host));
    assert_eq!(entered.unwrap_err(), EntryError::AlreadyIn(show()));
    let joined = house.registry.join_room(stranger.peer, &show(), house.now);
    assert_eq!(joined.unwrap_err(), JoinError::AlreadyIn(show()));
    // Elsewhere it may be.
    house.registry.create_room(stranger.peer, RoomId::from("other"), house.now).unwrap();
    let (registered, back) = house.try_register(1, host.identity);
    assert!(matches!(registered, Registered::Back(..)), "{registered:?}");
    assert_eq!(house.participants(&back)[0], (host.peer, Role::Host));
    assert_eq!(texts(&back.outbox), [7]);
    assert!(stranger.outbox.is_closed(), "it had the id of another");
    assert!(!house.registry.has_room(&RoomId::from("other")));
}

#[test]
fn an_id_is_yielded_to_whom_a_role_is_reserved_for() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.part(&host, Parting::Away);
    let stranger = house.register(1, Identity::random());
    assert_eq!(house.role(&stranger, Role::Host), Role::Guest, "a host may come back");
    let back = house.register(1, host.identity);
    assert!(stranger.outbox.is_closed());
    assert_eq!(house.participants(&guest), [(guest.peer, Role::Guest)]);
    assert_eq!(house.role(&back, Role::Guest), Role::Host);
}

#[test]
fn a_silent_holder_loses_its_id_and_not_its_seat() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    let arrival = house.arrival(Identity::random());
    let (taken, after) = house.registry.take_over(host.peer, host.holder(), arrival, house.now);
    assert_eq!((taken, after.left.len(), after.replaced.len()), (TakeOver::Replaced, 0, 1));
    assert_eq!(house.participants(&guest).len(), 2);
    let (registered, back) = house.try_register(1, host.identity);
    assert!(matches!(registered, Registered::Back(before, None) if before == host.holder()));
    assert_eq!(house.participants(&back)[0], (host.peer, Role::Host));
}

#[test]
fn a_new_page_takes_over_the_seat_that_is_kept_for_the_old_one() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.part(&host, Parting::Broken);
    let back = house.register(3, host.identity);
    let otherwise = Some(Entry::Asked(Ok(Role::Guest)));
    let entered =
        house.registry.create_or_join_room(back.peer, &show(), None, otherwise, house.now);
    let (entered, after) = entered.unwrap();
    assert_eq!(entered.role, Role::Host);
    let ids: Vec<_> = entered.joined.unwrap().iter().map(|p| p.peer_id).collect();
    assert_eq!(ids, [guest.peer, back.peer]);
    let [left] = &after.left[..] else { panic!("{after:?}") };
    assert_eq!((left.peer, left.others.receivers.len()), (host.peer, 1), "the guest hears of it");
    assert_eq!(house.registry.count().seats_kept, 0);
    assert_eq!(house.wait(RESERVE), []);
}

#[test]
fn what_waits_for_a_kept_seat_is_bounded() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.part(&guest, Parting::Broken);
    let (outbox, room) = house.route(host.peer, guest.peer);
    assert!(!outbox.push(&Frame::from(vec![0; 1001]), room));
    let (registered, back) = house.try_register(2, guest.identity);
    assert!(matches!(registered, Registered::Done), "it has missed too much: {registered:?}");
    assert_eq!(house.registry.role_and_room(back.peer), Err(NotInRoom));
    assert_eq!(house.participants(&host).len(), 1);
}

#[test]
fn who_was_too_slow_and_is_back_before_its_end_hears_its_room() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    guest.outbox.close(CloseCode::TOO_SLOW);
    let (registered, back) = house.try_register(2, guest.identity);
    assert!(matches!(registered, Registered::Yielding(..)), "{registered:?}");
    let (outbox, room) = house.route(host.peer, guest.peer);
    assert!(outbox.push(&Frame::from(vec![1]), room));
    assert_eq!(texts(&back.outbox), [1]);
}

#[test]
fn who_read_too_slowly_has_a_seat_with_room_in_it() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    guest.outbox.close(CloseCode::TOO_SLOW);
    assert!(house.part(&guest, Parting::Broken).unwrap().has_seat);
    let (outbox, room) = house.route(host.peer, guest.peer);
    assert!(outbox.push(&Frame::from(vec![1]), room));
    let (_, back) = house.try_register(2, guest.identity);
    assert_eq!(texts(&back.outbox), [1]);
}

#[test]
fn a_room_has_its_limit() {
    let mut house = House::new(RoomLimits { peers: Some(2), ..RoomLimits::default() });
    let [a, b, c] = [1, 2, 3].map(|number| house.register(number, Identity::random()));
    assert_eq!(house.role(&a, Role::Host), Role::Host);
    assert!(house.registry.join_room(b.peer, &show(), house.now).is_ok());
    let join = house.registry.join_room(c.peer, &show(), house.now);
    assert_eq!(join.unwrap_err(), JoinError::Full);
    assert_eq!(house.enter(&c, invited(Role::Ops)).unwrap_err(), EntryError::Full);
    // A seat that is kept is taken, and so is a role that is reserved.
    house.part(&a, Parting::Broken);
    assert_eq!(house.enter(&c, invited(Role::Ops)).unwrap_err(), EntryError::Full);
    assert_eq!(house.wait(SEAT_TIME), [a.peer]);
    assert_eq!(house.enter(&c, invited(Role::Ops)).unwrap_err(), EntryError::Full);
    let back = house.register(4, a.identity);
    assert_eq!(house.role(&back, Role::Guest), Role::Host, "its place is its own");
    house.part(&b, Parting::Left);
    assert!(house.registry.join_room(c.peer, &show(), house.now).is_ok());
}

#[test]
fn rooms_end_at_their_age_with_all_that_is_kept_there() {
    let mut house = House::new(RoomLimits { ttl: Some(HOUR), ..RoomLimits::default() });
    let [a, b, c] = [1, 2, 3].map(|number| house.register(number, Identity::random()));
    assert_eq!(house.registry.next_end(None), None);
    assert_eq!(house.role(&a, Role::Host), Role::Host);
    assert_eq!(house.role(&b, Role::Guest), Role::Guest);
    let due = house.now + HOUR;
    house.now += HOUR / 2;
    house.registry.create_room(c.peer, RoomId::from("young"), house.now).unwrap();
    let expired = house.registry.expire(due - SECOND, None);
    assert_eq!((expired.expired.len(), house.registry.next_end(None)), (0, Some(due)));
    house.now = due - SECOND;
    assert!(house.part(&a, Parting::Broken).unwrap().has_seat);
    let expired = house.registry.expire(due, None);
    let next = house.registry.next_end(None);
    assert_eq!((expired.expired.len(), next), (1, Some(due + HOUR / 2)));
    assert_eq!(house.registry.role_and_room(b.peer), Err(NotInRoom));
    assert_eq!(house.registry.count().seats_kept, 0);
    let back = house.register(1, a.identity);
    assert_eq!(house.role(&back, Role::Guest), Role::Guest, "the room is another one");
    assert_eq!(house.registry.count().peers, 3, "who was in it is still registered");
}
