//! What becomes of roles.
//!
//! Owns nothing. It deliberately knows no socket: the time is moved by hand.

use super::entering::Rival;
use super::house::*;
use super::parting::Parting;
use super::*;
use crate::signaling::entry::{Entry, EntryError};
use crate::signaling::identity::absence::SEAT_TIME;

#[test]
fn no_role_is_reserved_beyond_the_age_of_its_room() {
    let mut house = House::new(RoomLimits { ttl: Some(HOUR), ..RoomLimits::default() });
    let host = house.register(1, Identity::random());
    house.role(&host, Role::Host);
    house.now += HOUR - 60 * SECOND;
    house.part(&host, Parting::Away);
    house.now += 30 * SECOND;
    let back = house.register(1, host.identity);
    assert_eq!(house.role(&back, Role::Guest), Role::Host);
    // The room that it has made is as old as the one that was there.
    house.registry.expire(house.now, None);
    assert_eq!(house.registry.next_end(None), Some(house.now + 30 * SECOND));
    house.part(&back, Parting::Away);
    house.wait(30 * SECOND);
    let back = house.register(1, host.identity);
    assert_eq!(house.role(&back, Role::Guest), Role::Guest);
}

#[test]
fn roles_come_back_in_the_room_and_when_it_was_empty() {
    for others in [true, false] {
        let mut house = House::new(RoomLimits::default());
        let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
        house.role(&host, Role::Host);
        house.role(&guest, Role::Guest);
        house.now += SECOND;
        let since = house.registry.rooms.since(&show());
        let remains = house.part(&host, Parting::Away).unwrap();
        assert_eq!((remains.has_seat, remains.role), (false, Some(Role::Host)));
        if !others {
            house.part(&guest, Parting::Left);
            assert!(!house.registry.has_room(&show()));
        }
        // A page that is loaded again has another id, and asks as its address has it.
        let late = house.register(3, Identity::random());
        assert_eq!(house.role(&late, Role::Host), Role::Guest, "the host may come back");
        assert_eq!(house.wait(RESERVE - SECOND), []);
        let back = house.register(4, host.identity);
        let entered = house.enter(&back, Entry::Asked(Ok(Role::Guest))).unwrap();
        assert_eq!((entered.role, entered.joined.is_some()), (Role::Host, true));
        assert_eq!(house.registry.rooms.since(&show()), since, "its age goes on");
        let twice = house.register(5, host.identity);
        assert_eq!(house.role(&twice, Role::Host), Role::Guest, "it is given once");
    }
}

#[test]
fn a_role_is_reserved_for_its_time() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.part(&host, Parting::Away);
    house.wait(RESERVE);
    let back = house.register(1, host.identity);
    assert_eq!(house.role(&back, Role::Guest), Role::Guest);
    let next = house.register(3, Identity::random());
    assert_eq!(house.role(&next, Role::Host), Role::Host, "nobody leads it");
}

#[test]
fn a_room_that_was_hardly_used_is_forgotten() {
    for (invite, time, comes_back) in
        [(false, 59 * SECOND, false), (false, 60 * SECOND, true), (true, SECOND, true)]
    {
        let mut house = House::new(RoomLimits::default());
        let host = house.register(1, Identity::random());
        let entry = if invite { invited(Role::Host) } else { Entry::Asked(Ok(Role::Host)) };
        house.enter(&host, entry).unwrap();
        house.now += time;
        let remains = house.part(&host, Parting::Away);
        assert_eq!(remains.is_some(), comes_back);
        let back = house.register(2, host.identity);
        let entered = house.enter(&back, Entry::Asked(Ok(Role::Guest))).unwrap();
        let expected = if comes_back { Role::Host } else { Role::Guest };
        assert_eq!((entered.role, entered.joined), (expected, None), "{invite} {time:?}");
        assert_eq!(entered.invite_end.is_some(), invite);
    }
}

#[test]
fn a_stranger_does_not_flush_what_is_reserved_in_an_empty_room() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.part(&host, Parting::Away);
    house.part(&guest, Parting::Left);
    let stranger = house.register(3, Identity::random());
    for parting in [Parting::Left, Parting::Away, Parting::Broken] {
        let stranger = house.register(4, Identity::random());
        assert_eq!(house.role(&stranger, Role::Host), Role::Guest);
        house.part(&stranger, parting);
        house.wait(SEAT_TIME);
        assert!(!house.registry.has_room(&show()));
    }
    assert_eq!(house.role(&stranger, Role::Host), Role::Guest);
    house.registry.leave(stranger.peer, house.now);
    let back = house.register(1, host.identity);
    assert_eq!(house.role(&back, Role::Guest), Role::Host);
}

#[test]
fn who_only_checks_the_server_leaves_nothing_behind() {
    let mut house = House::new(RoomLimits::default());
    let arrival = Arrival { is_check: true, ..house.arrival(Identity::random()) };
    let client = arrival.client;
    house.registry.register(peer(1), arrival, house.now);
    let entry = Some(invited(Role::Host));
    house.registry.create_or_join_room(peer(1), &show(), None, entry, house.now).unwrap();
    assert_eq!(house.registry.reserved(house.now), (vec![], vec![]));
    let budget = ClientBudget::new(None, house.now);
    let holder = Holder { node: NodeId::default(), client };
    let parting = Parting::Broken;
    let after = house.registry.part(peer(1), holder, parting, Some(budget), house.now);
    assert!(after.parted.is_none() && !house.registry.has_room(&show()));
}

#[test]
fn guests_have_a_role_to_come_back_to_where_only_the_invited_come_in() {
    let mut house = House::new(RoomLimits { is_invited_only: true, ..RoomLimits::default() });
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.enter(&host, invited(Role::Host)).unwrap();
    house.enter(&guest, invited(Role::Guest)).unwrap();
    house.part(&guest, Parting::Away);
    let stranger = house.register(3, Identity::random());
    assert_eq!(house.enter_with(&stranger, None, None).unwrap_err(), EntryError::NoRight);
    let back = house.register(2, guest.identity);
    let entered = house.enter_with(&back, None, None).unwrap();
    assert_eq!((entered.role, entered.invite_end), (Role::Guest, Some(1_760_804_444)));
    // Its token names it as well, whoever brings it.
    house.part(&back, Parting::Away);
    let entered = house.enter_with(&stranger, Some(guest.identity), None).unwrap();
    assert_eq!(entered.role, Role::Guest);
}

#[test]
fn a_guest_gets_the_role_that_has_become_free() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    // A second page of the host, while the first one seems to be there.
    let page = house.register(3, host.identity);
    assert!(matches!(
        house.registry.rival(page.peer, None, &show()),
        Some(Rival { peer, holder, .. }) if (peer, holder) == (host.peer, host.holder())
    ));
    assert!(house.registry.rival(guest.peer, None, &show()).is_none(), "it is in a room");
    assert_eq!(house.role(&page, Role::Host), Role::Guest, "the first one lives");
    assert!(house.registry.reclaim(page.peer, house.now).is_none());
    house.part(&host, Parting::Away);
    let (entered, after) = house.registry.reclaim(page.peer, house.now).unwrap();
    assert_eq!(entered.role, Role::Host);
    assert_eq!(after.left.len(), 1, "to the others it left and came back");
    assert_eq!(house.participants(&guest), [(guest.peer, Role::Guest), (page.peer, Role::Host)]);
    assert!(house.registry.reclaim(page.peer, house.now).is_none());
    // Alone in the room, too.
    house.part(&page, Parting::Away);
    house.part(&guest, Parting::Left);
    let lonely = house.register(4, Identity::random());
    house.role(&lonely, Role::Guest);
    assert!(house.registry.reclaim(lonely.peer, house.now).is_none());
}

#[test]
fn a_role_of_ones_own_is_no_way_to_the_seat_of_another() {
    let mut house = House::new(RoomLimits::default());
    let [host, ops] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.enter(&ops, invited(Role::Ops)).unwrap();
    house.part(&ops, Parting::Away);
    house.part(&host, Parting::Broken);
    let thief = house.register(1, ops.identity);
    let entered = house.enter(&thief, Entry::Asked(Ok(Role::Guest)));
    assert_eq!(entered.unwrap_err(), EntryError::AlreadyIn(show()));
    let (_, back) = house.try_register(1, host.identity);
    assert_eq!(house.participants(&back), [(host.peer, Role::Host)]);
    let ops = house.register(3, ops.identity);
    assert_eq!(house.role(&ops, Role::Guest), Role::Ops, "it has it still");
}

#[test]
fn who_had_the_id_of_another_has_no_claim_to_it() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.part(&host, Parting::Broken);
    for parting in [None, Some(Parting::Away), Some(Parting::Broken)] {
        let thief = house.register(1, Identity::random());
        let room = RoomId::from("other");
        let entry = Some(invited(Role::Host));
        house.registry.create_or_join_room(thief.peer, &room, None, entry, house.now).unwrap();
        if let Some(parting) = parting {
            house.part(&thief, parting);
        }
        let (registered, back) = house.try_register(1, host.identity);
        assert!(matches!(registered, Registered::Back(..)), "{registered:?}");
        let (registered, _) = house.try_register(1, thief.identity);
        assert!(matches!(registered, Registered::Held(..)), "it is asked first: {registered:?}");
        assert_eq!(house.participants(&back).len(), 2);
        house.part(&back, Parting::Broken);
        house.registry.absences.end_room(&room);
    }
}

#[test]
fn a_seat_is_not_ended_by_whose_role_has_the_same_id() {
    let mut house = House::new(RoomLimits::default());
    let [host, other] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&other, Role::Guest);
    let tab = house.register(3, host.identity);
    house.role(&tab, Role::Guest);
    house.part(&host, Parting::Away);
    let guest = house.register(1, Identity::random());
    house.role(&guest, Role::Guest);
    house.part(&guest, Parting::Broken);
    assert!(house.registry.reclaim(tab.peer, house.now).is_some());
    assert_eq!(house.registry.count().seats_kept, 1);
    let (registered, _) = house.try_register(1, guest.identity);
    assert!(matches!(registered, Registered::Back(..)), "{registered:?}");
    assert_eq!(house.participants(&tab).len(), 3);
}

#[test]
fn a_silent_page_of_ones_own_gives_way() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    let page = house.register(3, host.identity);
    let rival = house.registry.rival(page.peer, None, &show()).unwrap();
    house.registry.silence(rival.peer, rival.holder, house.now);
    assert_eq!(house.role(&page, Role::Guest), Role::Host);
    assert_eq!(house.participants(&guest).len(), 2);
}

#[test]
fn a_token_from_before_the_start_gives_its_role_once() {
    let mut house = House::new(RoomLimits::default());
    let [a, b] = [1, 2].map(|number| house.register(number, Identity::random()));
    let identity = a.identity;
    let entry = || Entry::Remembered { identity, role: Role::Ops, invite_end: Some(7) };
    let entered = house.enter(&a, entry()).unwrap();
    assert_eq!((entered.role, entered.invite_end), (Role::Ops, Some(7)));
    assert_eq!(house.enter(&b, entry()).unwrap_err(), EntryError::Spent);
    // It is not spent where there was no place.
    let mut house = House::new(RoomLimits { peers: Some(1), ..RoomLimits::default() });
    let [a, b] = [1, 2].map(|number| house.register(number, Identity::random()));
    house.role(&b, Role::Guest);
    assert_eq!(house.enter(&a, entry()).unwrap_err(), EntryError::Full);
    house.part(&b, Parting::Left);
    assert_eq!(house.enter(&a, entry()).unwrap().role, Role::Ops);
}

#[test]
fn what_was_reserved_before_a_restart_is_reserved_still() {
    let mut house = House::new(RoomLimits::default());
    let [host, guest, gone] = [1, 2, 3].map(|number| house.register(number, Identity::random()));
    house.role(&host, Role::Host);
    house.role(&guest, Role::Guest);
    house.enter(&gone, invited(Role::Ops)).unwrap();
    house.part(&gone, Parting::Away);
    let (kept, present) = house.registry.reserved(house.now);
    assert_eq!((kept.len(), present.len()), (1, 1));
    let mut next = House::new(RoomLimits::default());
    next.registry.remember(kept.into_iter().chain(present).collect());
    let (registered, thief) = next.try_register(1, Identity::random());
    assert!(matches!(registered, Registered::Done));
    let back = next.register(1, host.identity);
    assert!(thief.outbox.is_closed(), "the id is its owner's");
    assert_eq!(next.role(&back, Role::Guest), Role::Host);
    let ops = next.register(9, gone.identity);
    assert_eq!(next.role(&ops, Role::Guest), Role::Ops);
    assert!(next.registry.counts(gone.identity, 48 * HOUR, next.now));
}
