//! What becomes of a programme, and what its host is told.
//!
//! Owns nothing. It deliberately knows no Icecast: the time is moved by hand.

use std::time::Duration;

use tokio::time::Instant;

use super::air::*;
use crate::programme::dead_air::{DEAD, Silence, TELL, UNHEARD, UNREADABLE, UNSENT};
use crate::programme::icecast::{About, Refusal};
use crate::programme::news::*;
use crate::programme::ogg::tests::pages;
use crate::programme::returning::{BACK, JOIN, PRESS};
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};

const SECOND: Duration = Duration::from_secs(1);
const HOLD: Duration = Duration::from_secs(60);

fn owner(number: u8) -> Owner {
    Owner {
        peer: PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap(),
        client: ClientId(number.into()),
        identity: Identity::random(),
        room: RoomId::from("show"),
    }
}

/// Nobody is on air, and then this one is, with Icecast.
fn on_air(owner: &Owner, now: Instant) -> Air {
    let mut air = Air::new(Some(HOLD), None);
    air.start(owner.clone(), now).unwrap();
    assert!(air.work(now).connect);
    air.connected(7, &About::default(), now);
    assert_eq!(air.take_news().0, [(owner.peer, Said::Started)]);
    assert_eq!(pages(&air.take_unsent()).len(), 2, "the headers");
    air
}

fn unreachable() -> Refusal {
    Refusal::Unreachable("connection refused".into())
}

fn errors(air: &mut Air) -> Vec<String> {
    let said = air.take_news().0.into_iter();
    said.filter_map(|(_, said)| match said {
        Said::Error(text) => Some(text),
        _ => None,
    })
    .collect()
}

#[test]
fn where_no_icecast_is_set_up_the_host_is_told() {
    let mut air = Air::new(None, None);
    let host = owner(1);
    air.start(host.clone(), Instant::now()).unwrap();
    let (said, _) = air.take_news();
    assert!(matches!(&said[..], [(_, Said::Failed(_)), (_, Said::Error(_))]), "{said:?}");
    assert_eq!(air.hear(host.client, Some(b"x"), Instant::now()), Heard::Ignored, "it was told");
    assert_eq!(air.work(Instant::now()), Work::default());
}

#[test]
fn one_is_on_air_and_stops() {
    let (start, host, other) = (Instant::now(), owner(1), owner(2));
    let mut air = on_air(&host, start);
    assert_eq!(air.start(other.clone(), start), Err(Busy(host.clone())));
    assert_eq!(air.hear(host.client, Some(b"abc"), start), Heard::Acknowledged(3));
    assert_eq!(air.hear(host.client, None, start), Heard::Ignored);
    assert_eq!(air.hear(other.client, Some(b"abc"), start), Heard::OffAir);
    assert!(!air.stop(other.client, "x", start) && air.on_air().is_some());
    air.start(host.clone(), start).unwrap();
    assert_eq!(air.take_news().0, [(host.peer, Said::Started)], "once more");
    assert!(air.stop(host.client, "x", start + 3 * SECOND));
    let news = air.take_news().1;
    assert!(matches!(news[..], [News::Ended(_, "x", time, _)] if time == 3 * SECOND), "{news:?}");
    let last = pages(&air.take_unsent());
    assert_eq!(last.last().unwrap().flags, 4);
    assert!(air.work(start).end, "the connection");
    assert_eq!(air.work(start), Work::default());
    air.start(other, start).unwrap();
}

#[test]
fn who_stops_and_starts_at_once_has_one_connection() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = on_air(&host, start);
    air.stop(host.client, "x", start);
    air.start(host.clone(), start).unwrap();
    let work = air.work(start);
    assert!(work.end && !work.connect && work.next == Some(start), "{work:?}");
    assert_eq!(pages(&air.take_unsent()).last().unwrap().flags, 4, "the end of the first one");
    assert!(air.work(start).connect);
}

#[test]
fn silence_holds_the_mount_for_those_who_may_go_on() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = on_air(&host, start);
    air.lose(host.client, start);
    assert_eq!(air.hear(host.client, Some(b"abc"), start), Heard::OffAir);
    let (mut now, mut serials) = (start, Vec::new());
    while now < start + HOLD - SECOND {
        now += SECOND;
        assert!(!air.work(now).end);
        serials.extend(pages(&air.take_unsent()).iter().map(|page| page.serial));
        air.moved(0, now);
    }
    assert!(serials.len() > 50 && serials.iter().all(|serial| *serial == 7));
    // Somebody of another room may not, the same identity may, and whoever leads the same room.
    let elsewhere = Owner { room: RoomId::from("another"), ..owner(2) };
    assert!(air.start(elsewhere, now).is_err());
    let page = Owner { room: RoomId::from("another"), identity: host.identity, ..owner(3) };
    air.start(page.clone(), now).unwrap();
    assert_eq!(air.take_news().0, [(page.peer, Said::Started)]);
    air.lose(page.client, now);
    let ops = Owner { room: page.room.clone(), ..owner(4) };
    air.start(ops.clone(), now).unwrap();
    // Nobody comes back.
    air.lose(ops.client, now);
    air.moved(0, now + HOLD - SECOND);
    assert!(!air.work(now + HOLD - SECOND).end);
    assert!(air.work(now + HOLD).end && air.on_air().is_none());
}

#[test]
fn a_host_hears_of_an_icecast_that_does_not_answer_and_goes_on_by_itself() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = Air::new(Some(HOLD), None);
    air.start(host.clone(), start).unwrap();
    let (mut now, mut tries) = (start, Vec::new());
    while now < start + 10 * SECOND {
        if air.work(now).connect {
            tries.push((now - start).as_millis());
            air.break_off(unreachable(), now);
        }
        now += SECOND / 10;
    }
    assert_eq!(tries, [0, 500, 1500, 3500, 5500, 7500, 9500]);
    let (said, news) = air.take_news();
    assert!(matches!(&said[..], [(_, Said::Failed(_))]), "once: {said:?}");
    assert_eq!(news.len(), 2, "{news:?}");
    air.work(now);
    assert_eq!(errors(&mut air), [UNHEARD]);
    assert_eq!(air.hear(host.client, Some(b"abc"), now), Heard::Acknowledged(3));
    now += 60 * SECOND;
    assert!(air.work(now).connect && errors(&mut air).is_empty(), "once a start-stream");
    air.connected(9, &About::default(), now);
    assert_eq!(air.take_news().0, [(host.peer, Said::Started)]);
    // It breaks off, and comes back within 10 s: no alert.
    air.break_off(unreachable(), now);
    assert!(matches!(air.take_news().0[..], [(_, Said::Failed(_))]));
    now += 9 * SECOND;
    assert!(air.work(now).connect && errors(&mut air).is_empty());
    air.break_off(unreachable(), now);
    air.work(now + SECOND);
    assert_eq!(errors(&mut air), [UNHEARD]);
}

#[test]
fn what_is_refused_is_not_tried_again_before_it_is_asked_for() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = Air::new(Some(HOLD), None);
    air.start(host.clone(), start).unwrap();
    assert!(air.work(start).connect);
    air.break_off(Refusal::Password, start);
    let said = errors(&mut air);
    assert!(said[0].contains("refuses the password") && said.len() == 1, "{said:?}");
    assert_eq!(air.hear(host.client, Some(b"abc"), start), Heard::Ignored);
    assert_eq!(air.work(start + HOLD), Work::default());
    assert!(air.on_air().is_none() && !air.is_on_air(host.client));
    air.start(host.clone(), start).unwrap();
    assert!(air.work(start).connect);
    air.take_news();
    // A mount that is in use is told after 2 s, and counts after 15 s: Icecast may hold it for a dead source.
    for (seconds, is_told) in [(0, false), (1, false), (2, true), (4, false)] {
        let now = start + seconds * SECOND;
        air.break_off(Refusal::MountInUse, now);
        let (said, news) = air.take_news();
        assert_eq!((said.len(), news.len()), (usize::from(is_told), usize::from(is_told)));
        assert!(air.work(now + 2 * SECOND).connect);
    }
    air.break_off(Refusal::MountInUse, start + 15 * SECOND);
    assert!(errors(&mut air)[0].contains("another source has the mount"));
}

#[test]
fn a_page_that_is_back_hears_that_it_is_off_air() {
    let (start, host) = (Instant::now(), owner(1));
    for (has_seat, text) in [(true, PRESS), (false, JOIN)] {
        let mut air = on_air(&host, start);
        let client = ClientId(9);
        air.register((host.peer, host.identity), client, has_seat, start);
        air.work(start + 2 * SECOND);
        assert!(errors(&mut air).is_empty(), "it may start by itself");
        air.work(start + BACK);
        assert_eq!(errors(&mut air), [text]);
        air.work(start + 2 * BACK);
        assert!(errors(&mut air).is_empty());
        assert_eq!(air.hear(client, Some(b"abc"), start), Heard::OffAir);
        air.start(Owner { client, ..host.clone() }, start + 2 * BACK).unwrap();
        assert_eq!(air.hear(client, Some(b"abc"), start), Heard::Acknowledged(3));
    }
    let mut air = on_air(&host, start);
    air.register((owner(2).peer, host.identity), ClientId(2), true, start);
    assert!(air.is_on_air(host.client));
    // Somebody else has the id while its owner is away, and nothing of the programme.
    air.lose(host.client, start);
    let thief = Owner { client: ClientId(9), room: RoomId::from("another"), ..owner(1) };
    air.register((thief.peer, thief.identity), thief.client, false, start);
    assert!(!air.stop(thief.client, "x", start));
    assert!(air.start(thief, start).is_err());
    air.work(start + BACK);
    assert!(errors(&mut air).is_empty());
}

#[test]
fn what_waits_for_icecast_is_bounded() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = on_air(&host, start);
    air.out.icecast = vec![0; MOST_UNSENT];
    assert!(!air.work(start).drop);
    air.out.icecast.push(0);
    assert!(air.work(start).drop);
    assert!(air.out.icecast.is_empty() && !air.is_taken());
    // It takes nothing, or there is nothing for it.
    let mut air = on_air(&host, start);
    air.out.icecast = vec![0; 10];
    assert!(!air.work(start + STALLED - SECOND).drop);
    assert!(air.work(start + STALLED).drop);
    let mut air = on_air(&host, start);
    air.work(start + SECOND);
    air.moved(0, start + SECOND);
    assert!(!air.work(start + STALLED).drop);
}

#[test]
fn who_is_back_after_the_hold_is_told_as_well() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = on_air(&host, start);
    air.lose(host.client, start);
    assert!(air.work(start + HOLD).end);
    let back = start + 2 * HOLD;
    // Somebody else with the id is not.
    air.register((host.peer, Identity::random()), ClientId(8), false, back);
    assert_eq!(air.work(back).next, None);
    air.register((host.peer, host.identity), ClientId(9), false, back);
    assert_eq!(air.work(back).next, Some(back + BACK));
    assert_eq!(air.work(back + BACK), Work::default());
    assert_eq!(errors(&mut air), [JOIN]);
}

#[test]
fn what_icecast_refuses_is_in_nobodys_way() {
    let (start, host, other) = (Instant::now(), owner(1), owner(2));
    let mut air = Air::new(Some(HOLD), None);
    air.start(host, start).unwrap();
    assert!(air.work(start).connect);
    air.break_off(Refusal::Password, start);
    let other = Owner { room: RoomId::from("another"), ..other };
    air.start(other.clone(), start).unwrap();
    assert_eq!(air.on_air().map(|(owner, _)| owner), Some(&other));
}

#[test]
fn a_name_that_was_known_is_looked_up_again() {
    let (start, host) = (Instant::now(), owner(1));
    let unknown = || Refusal::UnknownHost("icecast".into());
    let mut air = on_air(&host, start);
    air.break_off(unreachable(), start);
    assert!(air.work(start + SECOND).connect);
    air.break_off(unknown(), start + SECOND);
    assert!(air.work(start + 3 * SECOND).connect, "it was there a moment ago");
    let mut air = Air::new(Some(HOLD), None);
    air.start(host, start).unwrap();
    assert!(air.work(start).connect);
    air.break_off(unknown(), start);
    assert!(air.on_air().is_none(), "nothing is tried again");
}

#[test]
fn another_source_has_its_time_from_when_it_was_seen() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = Air::new(Some(HOLD), None);
    air.start(host, start).unwrap();
    assert!(air.work(start).connect);
    air.break_off(unreachable(), start);
    let late = start + 30 * SECOND;
    assert!(air.work(late).connect);
    air.break_off(Refusal::MountInUse, late);
    assert!(air.work(late + 14 * SECOND).connect, "Icecast lets go of a dead one");
}

#[test]
fn a_host_who_sends_nothing_is_told_and_the_log_too() {
    for (chunk, what, why) in [
        (None, UNSENT, Silence::Nothing),
        (Some(&b"ftypiso5 is MP4, as Safari records it"[..]), UNREADABLE, Silence::Unreadable),
    ] {
        let (start, host) = (Instant::now(), owner(1));
        let mut air = on_air(&host, start);
        let mut now = start;
        let mut wait = |air: &mut Air, until| {
            while now < until {
                now += SECOND;
                if chunk.is_some() {
                    air.hear(host.client, chunk, now);
                }
                air.work(now);
                air.take_unsent();
                air.moved(0, now);
            }
        };
        wait(&mut air, start + TELL - SECOND);
        assert_eq!(errors(&mut air).len(), 0);
        wait(&mut air, start + TELL);
        assert_eq!(errors(&mut air), [what]);
        wait(&mut air, start + DEAD - SECOND);
        assert_eq!(air.take_news(), (vec![], vec![]), "once");
        wait(&mut air, start + DEAD + SECOND);
        assert_eq!(air.take_news().1, [News::Dead(host.clone(), why)]);
        assert!(air.account(start + DEAD + SECOND).quiet >= DEAD);
    }
}

#[test]
fn what_icecast_refuses_is_recorded_all_the_same() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = Air::new(Some(HOLD), Some(u64::MAX));
    air.start(host.clone(), start).unwrap();
    air.work(start);
    air.break_off(Refusal::Password, start);
    let tone = crate::programme::webm_tests::recording(&[&[0xFC; 320][..]; 50]);
    assert_eq!(air.hear(host.client, Some(&tone), start), Heard::Ignored);
    assert!(air.work(start).record);
    air.record(&About::default());
    assert!(!air.recording().take().unwrap().is_last);
    let work = air.work(start + 3 * SECOND);
    assert!(work.next.is_some() && !work.connect, "it goes on");
    assert!(!pages(&air.recording().take().unwrap().pages).is_empty(), "with silence");
    air.lose(host.client, start + 4 * SECOND);
    let last = air.recording().take().unwrap();
    assert!(last.is_last && pages(&last.pages).last().unwrap().flags == 4);
}

#[test]
fn all_programmes_are_counted() {
    let (start, host) = (Instant::now(), owner(1));
    let mut air = on_air(&host, start);
    air.moved(1000, start);
    air.work(start + 2 * SECOND);
    air.break_off(unreachable(), start + 3 * SECOND);
    air.connected(8, &About::default(), start + 4 * SECOND);
    air.moved(500, start + 4 * SECOND);
    let now = air.account(start + 5 * SECOND);
    assert_eq!((now.time, now.sent, now.reconnects), (5 * SECOND, 1500, 1));
    assert!(now.written.silence >= 48_000 && now.quiet >= SECOND);
    air.stop(host.client, "x", start + 6 * SECOND);
    air.work(start + 6 * SECOND);
    // Who is refused is not on air.
    air.start(host.clone(), start + 60 * SECOND).unwrap();
    air.break_off(Refusal::Password, start + 61 * SECOND);
    let all = air.account(start + 3600 * SECOND);
    assert_eq!((all.time, all.refusals, all.quiet), (7 * SECOND, 1, Duration::ZERO));
    air.stop(host.client, "x", start + 3600 * SECOND);
    assert_eq!(air.account(start + 3601 * SECOND), all, "nothing is counted twice");
}
