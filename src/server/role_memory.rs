//! What the service remembers from one start to the next: who has which role to come back to.
//!
//! Owns when that is saved, and the two clocks: a role's end is an instant here and a time of day in the file. It
//! deliberately does not know the form of the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::config::config::{Config, RoomAccess};
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::signaling::identity::absence::{Absence, Absences};
use crate::station::role_file::{self, SavedRole};
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// How long changes are collected before they are saved.
const PAUSE: Duration = Duration::from_secs(4);

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
struct Now {
    instant: Instant,
    /// In ms since 1970.
    unix: u64,
}

impl Now {
    fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix: unix.as_millis() as u64 }
    }

    fn unix(self, instant: Instant) -> u64 {
        let later = instant.saturating_duration_since(self.instant).as_millis() as u64;
        let earlier = self.instant.saturating_duration_since(instant).as_millis() as u64;
        (self.unix + later).saturating_sub(earlier)
    }

    /// As [`Self::unix`], backwards; what is too long ago to be told is now.
    fn instant(self, unix: u64) -> Instant {
        let earlier = Duration::from_millis(self.unix.saturating_sub(unix));
        let later = Duration::from_millis(unix.saturating_sub(self.unix));
        self.instant.checked_sub(earlier).unwrap_or(self.instant) + later
    }
}

/// The file, and that one at a time writes it.
#[derive(Debug)]
pub struct RoleMemory {
    path: PathBuf,
    /// Whether the last word is in it.
    is_final: Mutex<bool>,
}

impl RoleMemory {
    /// In the state directory.
    pub fn new(state_directory: &Path) -> Self {
        Self { path: role_file::place(state_directory), is_final: Mutex::new(false) }
    }

    /// The roles that were reserved when the service last ran; `None` where nobody knows. Who was present then has its
    /// time from now. Where only the invited come in, a role that was not given by an invite is none.
    pub fn load(&self, config: &Config, journal: &Journal) -> Option<Vec<Absence>> {
        let (now, path) = (Now::new(), self.path.display().to_string());
        let saved = match role_file::read(&self.path) {
            Ok(saved) => saved?,
            Err(error) => {
                journal.log(Event::RolesForgotten { path, error: error.to_string() });
                return None;
            }
        };
        let counts = |saved: &SavedRole| {
            config.room_access == RoomAccess::Open || saved.invite_end.is_some()
        };
        let absences = saved.into_iter().filter(counts);
        let absences = absences.map(|saved| absence(saved, config.role_reserve, now));
        let absences: Vec<_> =
            absences.filter(|absence| absence.role_end > Some(now.instant)).collect();
        if !absences.is_empty() {
            journal.log(Event::RolesRemembered { count: absences.len(), path });
        }
        Some(absences)
    }

    /// Saves who has which role to come back to. Who is present when the service stops has a time from then, and nothing
    /// is saved after that.
    pub async fn save(&self, state: &State, is_stopping: bool) {
        let mut is_final = self.is_final.lock().await;
        if *is_final || (state.shutdown.phase() > Phase::Serving && !is_stopping) {
            return;
        }
        *is_final = is_stopping;
        let (kept, present) = state.studio.hub.reserved();
        let (path, now) = (self.path.clone(), Now::new());
        let written = spawn_blocking(move || {
            role_file::write(&path, &roles(kept, present, is_stopping, now))
        });
        if let Ok(Err(error)) = written.await {
            let (path, error) = (self.path.display().to_string(), error.to_string());
            state.studio.journal.log(Event::RolesUnsaved { path, error });
        }
    }
}

/// What is saved of what is kept, and of who is present.
fn roles(kept: Vec<Absence>, present: Vec<Absence>, is_stopping: bool, now: Now) -> Vec<SavedRole> {
    let end = |absence: &Absence| absence.role_end.map(|end| now.unix(end));
    // The same bounds hold for those who are here: nobody fills the file.
    let mut bounded = Absences::default();
    for absence in present {
        let _ = bounded.add(absence);
    }
    let present = bounded.iter().map(|absence| {
        let end = end(absence).filter(|_| is_stopping);
        saved(absence, end, now)
    });
    kept.iter().map(|absence| saved(absence, end(absence), now)).chain(present).collect()
}

fn absence(saved: SavedRole, reserve: Duration, now: Now) -> Absence {
    // A clock that was set back must not make it longer.
    let most = now.instant + reserve;
    let end = saved.end.map_or(most, |end| now.instant(end).min(most));
    Absence {
        identity: saved.identity,
        peer: saved.peer,
        owns_id: saved.owns_id,
        room: saved.room,
        role: saved.role,
        invite_end: saved.invite_end,
        subnet: None,
        room_since: now.instant(saved.room_since).min(now.instant),
        seat_end: None,
        role_end: Some(end),
    }
}

fn saved(absence: &Absence, end: Option<u64>, now: Now) -> SavedRole {
    SavedRole {
        identity: absence.identity,
        peer: absence.peer,
        owns_id: absence.owns_id,
        room: absence.room.clone(),
        role: absence.role,
        invite_end: absence.invite_end,
        room_since: now.unix(absence.room_since),
        end,
    }
}

/// Saves who has which role to come back to, soon after each change, until the service stops.
pub async fn keep_saved(memory: Arc<RoleMemory>, state: Arc<State>) {
    loop {
        let change = async {
            state.studio.hub.roles_changed().await;
            sleep(PAUSE).await;
        };
        tokio::select! {
            () = state.shutdown.reached(Phase::Draining) => return,
            () = change => {}
        }
        memory.save(&state, false).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_tell_the_same_time() {
        let now = Now::new();
        for offset in [0, 1, 600_000] {
            let offset = Duration::from_millis(offset);
            for instant in [now.instant + offset, now.instant - offset] {
                assert_eq!(now.instant(now.unix(instant)), instant);
            }
        }
        assert!(now.instant(0) <= now.instant);
    }

    #[test]
    fn nothing_that_is_saved_makes_a_role_last_longer() {
        let (now, reserve) = (Now::new(), Duration::from_secs(600));
        let role = |end| SavedRole {
            identity: crate::wire::ids::Identity::random(),
            peer: crate::wire::ids::PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap(),
            owns_id: true,
            room: crate::wire::ids::RoomId::from("show"),
            role: crate::wire::role::Role::Host,
            invite_end: None,
            room_since: now.unix + 5000,
            end,
        };
        let end = |end| absence(role(end), reserve, now).role_end.unwrap() - now.instant;
        assert_eq!(end(None), reserve, "who was present when the service ended without a word");
        assert_eq!(end(Some(now.unix + 1000)).as_secs(), 1);
        assert_eq!(end(Some(u64::MAX / 4)), reserve, "a clock that was set back");
        assert_eq!(absence(role(None), reserve, now).room_since, now.instant);
    }
}
