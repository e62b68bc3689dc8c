//! Who is on air, and how the programme stands.
//!
//! Owns the states from `start-stream` to the end of the programme, and what its host is told. It is pure: the time is an
//! argument. It deliberately holds no connection: whoever feeds Icecast asks it what to do.

use std::mem::take;
use std::time::Duration;

use tokio::time::Instant;

use crate::programme::account::Account;
use crate::programme::dead_air::{Change, Sent, TELL, UNHEARD};
use crate::programme::icecast::{About, Refusal};
use crate::programme::news::{Busy, Heard, News, Owner, Said, Work};
use crate::programme::playout::Outlets;
use crate::programme::programme::{Link, Programme};
use crate::programme::recording::Recording;
use crate::programme::returning::Returning;
use crate::programme::webm::Reader;
use crate::wire::ids::{ClientId, Identity, PeerId};

/// How long another source may have the mount before that counts: Icecast lets go of a dead one after 11 s.
pub(super) const IN_USE: Duration = Duration::from_secs(15);

/// For how long no attempt is told that finds it so: where the host comes from another node, that one gives the mount back
/// meanwhile.
const UNTOLD: Duration = Duration::from_secs(2);

/// How long Icecast may take nothing.
pub(super) const STALLED: Duration = Duration::from_secs(10);

/// How much may wait for Icecast, in bytes: half a minute at 128 kbps.
pub(super) const MOST_UNSENT: usize = 512 * 1024;

/// How often the programme is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long it waits before it tries Icecast again: the second and every further time.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// All of it.
#[derive(Debug, Default)]
pub struct Air {
    pub(super) programme: Option<Programme>,
    /// Whether there is somewhere to go.
    pub(super) is_set_up: bool,
    hold: Duration,
    pub(super) returning: Returning,
    /// For Icecast and the archive.
    pub(super) out: Outlets,
    /// Of programmes that are over.
    pub(super) account: Account,
    /// A connection is to end after what is unsent.
    is_ending: bool,
    /// What is to be heard and logged.
    said: Vec<(PeerId, Said)>,
    news: Vec<News>,
}

impl Air {
    /// Nobody is on air. Silence holds the mount for so long; `None` where no Icecast is set up. The archive has parts of so
    /// many bytes; `None` where there is none.
    pub fn new(hold: Option<Duration>, part: Option<u64>) -> Self {
        let out = Outlets { icecast: Vec::new(), recording: Recording::new(part) };
        let (is_set_up, hold) = (hold.is_some(), hold.unwrap_or_default());
        Self { is_set_up, hold, out, ..Self::default() }
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
        self.returning.forget();
        let Some(programme) = &mut self.programme else {
            self.news.push(News::Began(owner.clone()));
            self.out.recording.renew();
            self.programme = Some(Programme::new(owner, now));
            return Ok(());
        };
        let held = programme.away.is_some();
        // An id proves nothing: somebody else may have it while its owner is away.
        let is_same = programme.owner.client == owner.client;
        let is_own = programme.owner.identity == owner.identity;
        if programme.link == Link::Refused {
            self.news.push(News::Began(owner.clone()));
            programme.playout.end(&mut self.out);
            self.out.recording.renew();
            *programme = Programme::new(owner, now);
            return Ok(());
        }
        if !(is_same || held && (is_own || programme.owner.room == owner.room)) {
            return Err(Busy(programme.owner.clone()));
        }
        if programme.away.is_some() {
            self.news.push(News::Began(owner.clone()));
        }
        // The same stream goes on, with another recording in it.
        programme.owner = owner;
        programme.away = None;
        (programme.asked, programme.is_failed, programme.is_told) = (now, false, false);
        programme.sent = Sent::new(now);
        programme.reader = Reader::default();
        if let Link::Up { .. } = programme.link {
            self.say(peer, Said::Started);
        }
        Ok(())
    }

    /// A piece of the programme has come; `None` where it can't be read.
    pub fn hear(&mut self, client: ClientId, chunk: Option<&[u8]>, now: Instant) -> Heard {
        if !self.is_set_up {
            return Heard::Ignored;
        }
        let programme = self.programme.as_mut().filter(|found| found.owner.client == client);
        let Some(programme) = programme.filter(|found| found.away.is_none()) else {
            return Heard::OffAir;
        };
        let is_refused = programme.link == Link::Refused;
        if is_refused && !self.out.recording.is_on() {
            return Heard::Ignored;
        }
        let mut packets = Vec::new();
        // After damage it goes on with the next Cluster.
        let is_read = match chunk {
            Some(chunk) => {
                let read =
                    programme.reader.push(chunk, &mut |packet| packets.push(packet.to_vec()));
                read.is_ok()
            }
            None => {
                programme.reader.lose();
                false
            }
        };
        if !is_read && programme.sent.damage() {
            self.news.push(News::Damaged(programme.owner.clone()));
        }
        let Some(chunk) = chunk else { return Heard::Ignored };
        programme.sent.note(!packets.is_empty());
        let packets = packets.iter().map(Vec::as_slice);
        let dropped = programme.playout.hear(packets, now, &mut self.out);
        if dropped.as_secs() > 0 {
            self.news.push(News::Dropped(programme.owner.clone(), dropped));
        }
        if is_refused { Heard::Ignored } else { Heard::Acknowledged(chunk.len()) }
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
            programme.playout.end(&mut self.out);
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
        if self.returning.was_missed(peer, identity) {
            self.returning.come_back(peer, has_seat, now);
            return;
        }
        let Some(programme) = self.programme.as_mut() else { return };
        if (programme.owner.peer, programme.owner.identity) != (peer, identity) {
            return;
        }
        let before = programme.owner.client;
        self.lose(before, now);
        if let Some(programme) = self.programme.as_mut() {
            programme.owner.client = client;
            self.returning.come_back(peer, has_seat, now);
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

    /// What all programmes came to by now.
    pub fn account(&self, now: Instant) -> Account {
        let mut account = self.account;
        if let Some(programme) = self.programme.as_ref().filter(|found| found.link != Link::Refused)
        {
            account.add(now.saturating_duration_since(programme.since), programme.playout.written);
            account.quiet = programme.playout.quiet();
        }
        account
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
            if let Some(Programme { owner, .. }) = &self.programme {
                self.returning.miss(owner.peer, owner.identity);
            }
            self.end("its host did not come back (ICECAST_HOLD_MS)", now);
        }
        if let Some((peer, what)) = self.returning.due(now) {
            self.say(peer, Said::Error(what.to_owned()));
        }
        let back = self.returning.next();
        if take(&mut self.is_ending) {
            // Before another one begins: Icecast has one source a mount.
            return Work { end: true, next: Some(now), ..Work::default() };
        }
        let Some(programme) = &mut self.programme else {
            return Work { next: back, ..Work::default() };
        };
        let peer = programme.owner.peer;
        let is_refused = programme.link == Link::Refused;
        if is_refused && !self.out.recording.is_on() {
            return Work { next: back, ..Work::default() };
        }
        programme.playout.fill(now, &mut self.out);
        let mut work = Work { next: Some(now + TICK), ..Work::default() };
        work.record = programme.playout.is_heard() && self.out.recording.wants_part();
        if is_refused {
            // It is recorded all the same.
            return work;
        }
        let is_up = matches!(programme.link, Link::Up { .. });
        match is_up.then(|| programme.dead_air.watch(programme.playout.quiet())).flatten() {
            Some(Change::Dead) => {
                let is_filling = programme.playout.is_filling();
                let why = programme.sent.silence(programme.away.is_some(), is_filling);
                self.news.push(News::Dead(programme.owner.clone(), why));
            }
            Some(Change::Alive(after)) => {
                self.news.push(News::Alive(programme.owner.clone(), after));
            }
            None => {}
        }
        let is_unheard = programme.away.is_none() && !is_up;
        if is_unheard && now >= programme.asked + TELL && !programme.is_told {
            programme.is_told = true;
            self.said.push((peer, Said::Error(UNHEARD.to_owned())));
        }
        if !is_unheard && programme.away.is_none() {
            let what = programme.sent.complaint(now);
            self.said.extend(what.map(|what| (peer, Said::Error(what.to_owned()))));
        }
        match programme.link {
            Link::Down { failures, next } if now >= next => {
                programme.link = Link::Connecting { failures };
                work.connect = true;
            }
            Link::Up { moved }
                if self.out.icecast.len() > MOST_UNSENT || now >= moved + STALLED =>
            {
                let why = if self.out.icecast.is_empty() { "" } else { "it takes nothing" };
                if why.is_empty() {
                    programme.link = Link::Up { moved: now };
                } else {
                    self.break_off(Refusal::Unreachable(why.to_owned()), now);
                    work.drop = true;
                }
            }
            _ => {}
        }
        work
    }

    /// Icecast takes the programme, as a stream with this number.
    pub fn connected(&mut self, serial: u32, about: &About, now: Instant) {
        let Some(programme) = &mut self.programme else { return };
        self.out.icecast.clear();
        programme.link = Link::Up { moved: now };
        programme.sent.begin(now);
        programme.playout.connect(serial, &about.comments(), &mut self.out);
        self.account.reconnects += u64::from(programme.was_taken);
        (programme.is_failed, programme.is_told) = (false, true);
        (programme.was_taken, programme.in_use) = (true, None);
        let peer = programme.owner.peer;
        let is_there = programme.away.is_none();
        self.news.push(News::Taken);
        if is_there {
            self.say(peer, Said::Started);
        }
    }

    /// Icecast does not take the programme, or not any longer.
    pub fn break_off(&mut self, refusal: Refusal, now: Instant) {
        self.out.icecast.clear();
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
        let is_in_use = refusal == Refusal::MountInUse;
        programme.in_use = is_in_use.then(|| programme.in_use.unwrap_or(now));
        let is_late = programme.in_use.is_some_and(|since| now >= since + IN_USE);
        // A name that was known is not looked up in vain for ever.
        let is_known = programme.was_taken && matches!(refusal, Refusal::UnknownHost(_));
        let pause = PAUSES[failures.min(PAUSES.len()) - 1];
        let is_final = (refusal.is_final() && !is_known) || is_late;
        programme.link =
            if is_final { Link::Refused } else { Link::Down { failures, next: now + pause } };
        if is_final {
            self.account.refusals += 1;
            self.account
                .add(now.saturating_duration_since(programme.since), programme.playout.written);
        }
        let is_told = programme.in_use.is_none_or(|since| now >= since + UNTOLD);
        let is_new = is_told && !std::mem::replace(&mut programme.is_failed, true) || is_final;
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
        take(&mut self.out.icecast)
    }

    /// A part of the archive begins.
    pub fn record(&mut self, about: &About) {
        if let Some(programme) = &self.programme {
            programme.playout.record(&about.comments(), &mut self.out);
        }
    }

    /// What is recorded.
    pub fn recording(&mut self) -> &mut Recording {
        &mut self.out.recording
    }

    /// Icecast took so many bytes at `now`: none where there were none for it.
    pub fn moved(&mut self, bytes: usize, now: Instant) {
        self.account.sent += bytes as u64;
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
        programme.playout.end(&mut self.out);
        self.is_ending = true;
        let time = now.saturating_duration_since(programme.since);
        if programme.link != Link::Refused {
            self.account.add(time, programme.playout.written);
        }
        self.news.push(News::Ended(programme.owner, why, time, programme.playout.written));
    }
}
