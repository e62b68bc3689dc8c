//! The programme as signaling and the server have it in their hands.
//!
//! Owns the lock on it, and that whoever feeds Icecast hears of each change. It deliberately knows no socket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::icecast::{Archive, Icecast};
use crate::programme::account::Account;
use crate::programme::air::Air;
use crate::programme::news::{Busy, Heard, Owner};
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};

/// The shared handle.
#[derive(Clone, Debug)]
pub struct OnAir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where the programme goes, if it goes anywhere.
    icecast: Option<Icecast>,
    /// Written by sessions and by whoever feeds Icecast; held for one change only.
    air: Mutex<Air>,
    /// Told when something has changed, and when something is recorded.
    changed: Notify,
    recorded: Notify,
    /// Written by whoever feeds Icecast, for those who show it, or wait for its end.
    shown: watch::Sender<Option<Shown>>,
}

/// A programme, for those who do not hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it comes from.
    pub room: RoomId,
    /// Since when it is on air.
    since: Instant,
    /// The same in ms since 1970.
    pub since_unix: u64,
}

/// Since when somebody is on air, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// In ms since 1970.
    pub since: u64,
    /// The mount.
    pub mount: String,
}

impl OnAir {
    /// Nobody is on air.
    pub fn new(icecast: Option<Icecast>) -> Self {
        let archive = icecast.as_ref().and_then(|icecast| icecast.archive.as_ref());
        let hold = icecast.as_ref().map(|icecast| icecast.hold);
        let air = Mutex::new(Air::new(hold, archive.map(Archive::part_bytes)));
        Self {
            inner: Arc::new(Inner {
                icecast,
                air,
                changed: Notify::new(),
                recorded: Notify::new(),
                shown: watch::Sender::new(None),
            }),
        }
    }

    /// Where the programme goes, if it goes anywhere.
    pub fn icecast(&self) -> Option<&Icecast> {
        self.inner.icecast.as_ref()
    }

    /// As [`Air::start`].
    ///
    /// # Errors
    ///
    /// When somebody else is on air.
    pub fn start(&self, owner: Owner) -> Result<(), Busy> {
        self.change(|air, now| air.start(owner, now))
    }

    /// As [`Air::hear`].
    pub fn hear(&self, client: ClientId, chunk: Option<&[u8]>) -> Heard {
        self.change(|air, now| air.hear(client, chunk, now))
    }

    /// As [`Air::stop`].
    pub fn stop(&self, client: ClientId, why: &'static str) -> bool {
        self.change(|air, now| air.stop(client, why, now))
    }

    /// As [`Air::lose`].
    pub fn lose(&self, client: ClientId) {
        self.change(|air, now| air.lose(client, now));
    }

    /// As [`Air::register`].
    pub fn register(&self, peer: (PeerId, Identity), client: ClientId, has_seat: bool) {
        self.change(|air, now| air.register(peer, client, has_seat, now));
    }

    /// As [`Air::is_on_air`].
    pub fn is_on_air(&self, client: ClientId) -> bool {
        self.air().is_on_air(client)
    }

    /// Since when somebody is on air, and where.
    pub fn standing(&self) -> Option<Standing> {
        let since = unix_ms(self.air().on_air()?.1);
        Some(Standing { since, mount: self.inner.icecast.as_ref()?.url.mount.clone() })
    }

    /// The programme that there is, and each change of that.
    pub fn follow(&self) -> watch::Receiver<Option<Shown>> {
        self.inner.shown.subscribe()
    }

    /// Shows those who follow it the programme that there is.
    pub fn publish(&self) {
        let now = self.air().on_air().map(|(owner, since)| (owner.room.clone(), since));
        self.inner.shown.send_if_modified(|shown| {
            let before = shown.as_ref().map(|shown| (&shown.room, shown.since));
            let changes = before != now.as_ref().map(|(room, since)| (room, *since));
            if changes {
                *shown = now.map(|(room, since)| Shown { room, since, since_unix: unix_ms(since) });
            }
            changes
        });
    }

    /// Resolves when something has changed.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// Something may be recorded, or nothing more will be.
    pub fn record(&self) {
        self.inner.recorded.notify_one();
    }

    /// Resolves when something may be recorded, or nothing more will be.
    pub async fn recorded(&self) {
        self.inner.recorded.notified().await;
    }

    /// What all programmes came to by now.
    pub fn account(&self) -> Account {
        self.air().account(Instant::now())
    }

    /// The programme, for whoever feeds Icecast and the archive.
    pub fn air(&self) -> MutexGuard<'_, Air> {
        self.inner.air.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Air, Instant) -> T) -> T {
        let result = change(&mut self.air(), Instant::now());
        self.inner.changed.notify_one();
        result
    }
}

/// A moment in ms since 1970.
fn unix_ms(moment: Instant) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(moment.elapsed()).as_millis() as u64
}
