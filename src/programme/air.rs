//! Who is on air, and how the programme stands.
//!
//! Owns the states from `start-stream` to the end of the programme, and what its host is told. It is pure: the time is an
//! argument. It deliberately holds no connection: whoever feeds Icecast asks it what to do.

use std::mem::take;
use std::time::Duration;

use tokio::time::Instant;

use crate::programme::icecast::{About, Refusal};
use crate::programme::playout::{Playout, Written};
use crate::programme::webm::Reader;
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};

/// How long nobody hears anything before the host is told.
pub(super) const TELL: Duration = Duration::from_secs(10);

/// How long a host who has registered again has to start anew by itself.
pub(super) const BACK: Duration = Duration::from_secs(3);

/// How long another source may have the mount before that counts: Icecast lets go of a dead one after 11 s.
pub(super) const IN_USE: Duration = Duration::from_secs(15);

/// How long Icecast may take nothing.
pub(super) const STALLED: Duration = Duration::from_secs(10);

/// How much may wait for Icecast, in bytes: half a minute at 128 kbps.
pub(super) const MOST_UNSENT: usize = 512 * 1024;

/// How often the programme is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long it waits before it tries Icecast again: the second and every further time.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What the host is told where Icecast has been silent for a while.
pub(super) const UNHEARD: &str = "Listeners hear nothing: Icecast does not answer. You go back on air by yourself as soon as it does; press Stop Streaming if you do not want that";

/// What a host is told who is back, with its seat and without it.
pub(super) const PRESS: &str = "You are off air: press Stop Streaming, then Stream";
pub(super) const JOIN: &str = "You are off air and out of the room: join again first";

/// Who is on air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub peer: PeerId,
    /// Its connection.
    pub client: ClientId,
    /// Who is behind it.
    pub identity: Identity,
    /// Where it is.
    pub room: RoomId,
}

/// Something that the one on air is to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// `stream-started`.
    Started,
    /// `stream-error`, with why.
    Failed(String),
    /// `error`, which is all that the studio shows.
    Error(String),
}

/// Something that the log is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Somebody went on air, or goes on with the programme.
    Began(Owner),
    /// The host has gone: silence holds the mount.
    Held(Owner),
    /// The programme is over, for this reason, after this time.
    Ended(Owner, &'static str, Duration, Written),
    /// Icecast takes the programme.
    Taken,
    /// Icecast does not take it; it is tried again after this time, if it is.
    Refused(Refusal, Option<Duration>),
}

/// How a chunk was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has so many bytes.
    Acknowledged(usize),
    /// Nothing is to be said of it.
    Ignored,
    /// Its sender is not on air.
    OffAir,
}

/// Somebody else is on air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy(pub Owner);

/// What has to be done for Icecast.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Whether a connection is to be made.
    pub connect: bool,
    /// Whether the one that there is has to end, after what is unsent.
    pub end: bool,
    /// When to ask again at the latest; `None` for not before something happens.
    pub next: Option<Instant>,
}

/// How it stands with Icecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Not connected, after so many failures; the next try is due then.
    Down {
        failures: usize,
        next: Instant,
    },
    Connecting {
        failures: usize,
    },
    /// Connected; this is when Icecast last took something, or had taken everything.
    Up {
        moved: Instant,
    },
    /// Icecast has refused it, and nothing is tried.
    Refused,
}

/// The programme while there is one.
#[derive(Debug)]
struct Programme {
    owner: Owner,
    since: Instant,
    /// Since when its host is away.
    away: Option<Instant>,
    /// When its host was back without going on, and whether with its seat.
    back: Option<(Instant, bool)>,
    /// When it was last asked for.
    asked: Instant,
    /// Whether the host was told since, as `stream-error` and as `error`.
    is_failed: bool,
    is_told: bool,
    reader: Reader,
    playout: Playout,
    link: Link,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Air {
    programme: Option<Programme>,
    /// Whether there is somewhere to go.
    is_set_up: bool,
    hold: Duration,
    /// For Icecast.
    pub(super) unsent: Vec<u8>,
    /// A connection is to end after what is unsent.
    is_ending: bool,
    /// What is to be heard and logged.
    said: Vec<(PeerId, Said)>,
    news: Vec<News>,
}

impl Air {
    /// Nobody is on air. Silence holds the mount for so long; `None` where no Icecast is set up.
    pub fn new(hold: Option<Duration>) -> Self {
        Self { is_set_up: hold.is_some(), hold: hold.unwrap_or_default(), ..Self::default() }
    }

    /// Somebody goes on air, or asks for it again.
    ///
    /// # Errors
    ///
    /// When somebody else is.
    pub fn start(&mut self, owner: Owner, now: Instant) -> Result<(), Busy> {
        let peer = owner.peer;
        if !self.is_set_up {
            let why = "ICECAST_URL is not set on the server".to_owned();
            self.say(peer, Said::Failed(why));
            let fix = "Nobody hears you: this server has no Icecast. The station's operator sets ICECAST_URL";
            self.say(peer, Said::Error(fix.to_owned()));
            return Ok(());
        }
        let fresh = |owner| Programme {
            owner,
            since: now,
            away: None,
            back: None,
            asked: now,
            is_failed: false,
            is_told: false,
            reader: Reader::default(),
            playout: Playout::new(now),
            link: Link::Down { failures: 0, next: now },
        };
        let Some(programme) = &mut self.programme else {
            self.news.push(News::Began(owner.clone()));
            self.programme = Some(fresh(owner));
            return Ok(());
        };
        let held = programme.away.is_some() || programme.link == Link::Refused;
        // An id proves nothing: somebody else may have it while its owner is away.
        let is_same = programme.owner.client == owner.client;
        let is_own = programme.owner.identity == owner.identity;
        if !(is_same || held && (is_own || programme.owner.room == owner.room)) {
            return Err(Busy(programme.owner.clone()));
        }
        if programme.link == Link::Refused {
            self.news.push(News::Began(owner.clone()));
            *programme = fresh(owner);
            return Ok(());
        }
        if programme.away.is_some() {
            self.news.push(News::Began(owner.clone()));
        }
        // The same stream goes on, with another recording in it.
        programme.owner = owner;
        (programme.away, programme.back) = (None, None);
        (programme.asked, programme.is_failed, programme.is_told) = (now, false, false);
        programme.reader = Reader::default();
        if let Link::Up { .. } = programme.link {
            self.say(peer, Said::Started);
        }
        Ok(())
    }

    /// A piece of the programme has come; `None` where it can't be read.
    pub fn hear(&mut self, client: ClientId, chunk: Option<&[u8]>, now: Instant) -> Heard {
        let programme = self.programme.as_mut().filter(|found| found.owner.client == client);
        let Some(programme) = programme.filter(|found| found.away.is_none()) else {
            return Heard::OffAir;
        };
        if programme.link == Link::Refused {
            return Heard::Ignored;
        }
        let Some(chunk) = chunk else {
            programme.reader.lose();
            return Heard::Ignored;
        };
        let mut packets = Vec::new();
        // After damage it has gone on with the next Cluster.
        let _ = programme.reader.push(chunk, &mut |packet| packets.push(packet.to_vec()));
        programme.playout.hear(packets.iter().map(Vec::as_slice), now, &mut self.unsent);
        Heard::Acknowledged(chunk.len())
    }

    /// The client ends its programme, if it has one. Returns whether it had.
    pub fn stop(&mut self, client: ClientId, why: &'static str, now: Instant) -> bool {
        let is_own = self.programme.as_ref().is_some_and(|found| found.owner.client == client);
        if is_own {
            self.end(why, now);
        }
        is_own
    }

    /// The client has gone, and may come back: silence holds the mount.
    pub fn lose(&mut self, client: ClientId, now: Instant) {
        let Some(programme) = self.programme.as_mut() else { return };
        if programme.owner.client != client || programme.away.is_some() {
            return;
        }
        if programme.link == Link::Refused {
            self.programme = None;
            return;
        }
        programme.away = Some(now);
        programme.reader.lose();
        self.news.push(News::Held(programme.owner.clone()));
    }

    /// A peer has registered, with a seat in its room or without: if it is the one that was on air, its page does not know
    /// that it is no longer.
    pub fn register(
        &mut self,
        (peer, identity): (PeerId, Identity),
        client: ClientId,
        has_seat: bool,
        now: Instant,
    ) {
        let Some(programme) = self.programme.as_mut() else { return };
        if (programme.owner.peer, programme.owner.identity) != (peer, identity) {
            return;
        }
        let before = programme.owner.client;
        self.lose(before, now);
        if let Some(programme) = self.programme.as_mut() {
            programme.owner.client = client;
            programme.back = Some((now, has_seat));
        }
    }

    /// Who is on air and since when, if anybody is.
    pub fn on_air(&self) -> Option<(&Owner, Instant)> {
        let programme = self.programme.as_ref().filter(|found| found.link != Link::Refused)?;
        Some((&programme.owner, programme.since))
    }

    /// Whether Icecast takes the programme.
    pub fn is_taken(&self) -> bool {
        self.programme.as_ref().is_some_and(|found| matches!(found.link, Link::Up { .. }))
    }

    /// How much was written of the programme that there is.
    pub fn written(&self) -> Written {
        self.programme.as_ref().map(|found| found.playout.written).unwrap_or_default()
    }

    /// Whether this client's refusals must not stop its page.
    pub fn is_on_air(&self, client: ClientId) -> bool {
        let programme = self.programme.as_ref().filter(|found| found.link != Link::Refused);
        programme.is_some_and(|found| found.owner.client == client && found.away.is_none())
    }

    /// What has to be done at `now`.
    pub fn work(&mut self, now: Instant) -> Work {
        let over = |since: Option<Instant>, time| since.is_some_and(|since| now >= since + time);
        if self.programme.as_ref().is_some_and(|found| over(found.away, self.hold)) {
            self.end("its host did not come back (ICECAST_HOLD_MS)", now);
        }
        if take(&mut self.is_ending) {
            // Before another one begins: Icecast has one source a mount.
            return Work { end: true, next: Some(now), ..Work::default() };
        }
        let Some(programme) = &mut self.programme else { return Work::default() };
        let peer = programme.owner.peer;
        if let Some((_, has_seat)) = programme.back.take_if(|(since, _)| now >= *since + BACK) {
            let text = if has_seat { PRESS } else { JOIN };
            self.said.push((peer, Said::Error(text.to_owned())));
        }
        if programme.link == Link::Refused {
            return Work { next: programme.back.map(|(since, _)| since + BACK), ..Work::default() };
        }
        programme.playout.fill(now, &mut self.unsent);
        let mut work = Work { next: Some(now + TICK), ..Work::default() };
        let is_unheard = !matches!(programme.link, Link::Up { .. });
        if is_unheard && now >= programme.asked + TELL && !programme.is_told {
            programme.is_told = true;
            self.said.push((peer, Said::Error(UNHEARD.to_owned())));
        }
        match programme.link {
            Link::Down { failures, next } if now >= next => {
                programme.link = Link::Connecting { failures };
                work.connect = true;
            }
            Link::Up { moved } if self.unsent.len() > MOST_UNSENT || now >= moved + STALLED => {
                let why = if self.unsent.is_empty() { "" } else { "it takes nothing" };
                if why.is_empty() {
                    programme.link = Link::Up { moved: now };
                } else {
                    self.break_off(Refusal::Unreachable(why.to_owned()), now);
                    work.end = true;
                }
            }
            _ => {}
        }
        work
    }

    /// Icecast takes the programme, as a stream with this number.
    pub fn connected(&mut self, serial: u32, about: &About, now: Instant) {
        let Some(programme) = &mut self.programme else { return };
        self.unsent.clear();
        programme.link = Link::Up { moved: now };
        programme.playout.connect(serial, &about.comments(), &mut self.unsent);
        (programme.is_failed, programme.is_told) = (false, true);
        let peer = programme.owner.peer;
        let is_there = programme.away.is_none();
        self.news.push(News::Taken);
        if is_there {
            self.say(peer, Said::Started);
        }
    }

    /// Icecast does not take the programme, or not any longer.
    pub fn break_off(&mut self, refusal: Refusal, now: Instant) {
        self.unsent.clear();
        let Some(programme) = &mut self.programme else { return };
        programme.playout.disconnect();
        let failures = match programme.link {
            Link::Down { failures, .. } | Link::Connecting { failures } => failures + 1,
            Link::Up { .. } => {
                // Those who listened hear nothing from now on.
                programme.asked = now;
                programme.is_told = false;
                1
            }
            Link::Refused => return,
        };
        let peer = programme.owner.peer;
        let is_late = refusal == Refusal::MountInUse && now >= programme.asked + IN_USE;
        let pause = PAUSES[failures.min(PAUSES.len()) - 1];
        let is_final = refusal.is_final() || is_late;
        programme.link =
            if is_final { Link::Refused } else { Link::Down { failures, next: now + pause } };
        let is_new = !std::mem::replace(&mut programme.is_failed, true) || is_final;
        let is_there = programme.away.is_none();
        if is_there && is_new {
            self.said.push((peer, Said::Failed(refusal.to_string())));
        }
        if is_there && is_final {
            let text = format!(
                "Nobody hears you: {refusal}; the station's operator has to {}",
                refusal.fix()
            );
            self.said.push((peer, Said::Error(text)));
        }
        if is_new {
            self.news.push(News::Refused(refusal, (!is_final).then_some(pause)));
        }
    }

    /// What is to be sent to Icecast next.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        take(&mut self.unsent)
    }

    /// Icecast took something at `now`, or there was nothing for it.
    pub fn moved(&mut self, now: Instant) {
        if let Some(Programme { link: Link::Up { moved }, .. }) = &mut self.programme {
            *moved = now;
        }
    }

    /// What is to be heard and logged since this was last asked.
    pub fn take_news(&mut self) -> (Vec<(PeerId, Said)>, Vec<News>) {
        (take(&mut self.said), take(&mut self.news))
    }

    fn say(&mut self, peer: PeerId, said: Said) {
        self.said.push((peer, said));
    }

    fn end(&mut self, why: &'static str, now: Instant) {
        let Some(mut programme) = self.programme.take() else { return };
        programme.playout.end(&mut self.unsent);
        self.is_ending = true;
        let time = now.saturating_duration_since(programme.since);
        self.news.push(News::Ended(programme.owner, why, time, programme.playout.written));
    }
}
