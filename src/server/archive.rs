//! What keeps the programme.
//!
//! Owns when files of the archive begin and end, and what the log has of them. A disk that fails or is slow ends the
//! archive and not the programme. It deliberately does not know what is in the files.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::programme::recording::Piece;
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::station::archive::{CarriedPart, Found, Part, Shelf};
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// How long the disk has to take the end of a programme when the service stops.
const LAST: Duration = Duration::from_secs(2);

/// What to do about a disk.
const FIX: &str =
    "make room on that disk, or set a smaller ARCHIVE_MAX_BYTES; it is tried again in a minute";

/// The files, and the one that is written. Its methods wait for the disk.
struct Archive {
    shelf: Shelf,
    journal: Journal,
    /// How large a part gets, in bytes.
    part_bytes: u64,
    part: Option<Part>,
}

/// Writes what is recorded until the service stops. The last piece is waited for, but not for ever.
pub async fn archive(state: Arc<State>, part: Option<CarriedPart>) {
    let too_late = async {
        state.shutdown.reached(Phase::Cut).await;
        sleep(LAST).await;
    };
    tokio::select! {
        () = keep(&state, part) => {}
        () = too_late => {
            let path = state.studio.on_air.icecast().and_then(|icecast| icecast.archive.as_ref());
            let path = path.map(|archive| archive.directory.display().to_string());
            state.studio.journal.log(Event::ArchiveFailed {
                path: path.unwrap_or_default(),
                error: "the disk does not take the end of the programme".to_owned(),
                fix: "look at that disk; the file keeps its name ending in .part",
            });
        }
    }
}

async fn keep(state: &State, part: Option<CarriedPart>) {
    let on_air = &state.studio.on_air;
    let Some(icecast) = on_air.icecast() else { return };
    let Some(settings) = &icecast.archive else { return };
    let shelf = Shelf::new(&settings.directory, &icecast.url.mount, settings.max_bytes);
    let (journal, part_bytes) = (state.studio.journal.clone(), settings.part_bytes());
    let mut archive = Archive { shelf, journal, part_bytes, part: None };
    if let Some(part) = part {
        match Part::go_on(part) {
            Ok(part) => archive.part = Some(part),
            Err(error) => {
                on_air.air().recording().fail();
                archive.fail(&error);
            }
        }
    }
    archive.look_for_unfinished();
    // Until it is dropped, what is carried is not all there.
    let mut busy = Some(state.collection.work());
    loop {
        if state.shutdown.phase() == Phase::HandingOver {
            // What is recorded and not written crosses, too.
            if let Some(part) = archive.part {
                state.collection.give_part(part.carry());
            }
            return;
        }
        let (piece, is_too_slow, is_over) = {
            let mut air = on_air.air();
            let recording = air.recording();
            (recording.take(), recording.is_too_slow(), recording.is_over())
        };
        if is_too_slow {
            on_air.air().recording().fail();
            archive.fail(&io::Error::other("the disk is too slow"));
            continue;
        }
        let Some(piece) = piece else {
            if is_over {
                return;
            }
            match state.shutdown.phase() {
                Phase::Serving | Phase::Settling => tokio::select! {
                    () = on_air.recorded() => {}
                    () = state.shutdown.reached(Phase::HandingOver) => {}
                },
                Phase::HandingOver => {}
                _ => on_air.recorded().await,
            }
            continue;
        };
        let written = spawn_blocking(move || {
            let result = archive.write(&piece);
            (archive, result)
        });
        // A disk that hangs takes its file with it, and nobody else.
        state.collection.write(true);
        busy.take();
        let result;
        (archive, result) = match written.await {
            Ok(written) => written,
            // The runtime ends.
            Err(_) => return,
        };
        busy = Some(state.collection.work());
        state.collection.write(false);
        if let Err(error) = result {
            on_air.air().recording().fail();
            archive.fail(&error);
        }
    }
}

impl Archive {
    fn look_for_unfinished(&self) {
        // What is wrong with the directory was said at the start.
        let own = self.part.as_ref().map(Part::path);
        let unfinished = self.shelf.unfinished().unwrap_or_default();
        for path in unfinished.into_iter().filter(|path| Some(&**path) != own) {
            self.journal.log(Event::ArchiveUnfinished { path: path.display().to_string() });
        }
    }

    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        let mut part = match self.part.take() {
            Some(part) => part,
            None => self.begin()?,
        };
        let written = part.write(&piece.pages);
        if !piece.is_last || written.is_err() {
            self.part = Some(part);
            return written;
        }
        let Found { path, bytes } = part.complete()?;
        self.journal.log(Event::ArchiveKept { path: path.display().to_string(), bytes });
        Ok(())
    }

    fn begin(&self) -> io::Result<Part> {
        for Found { path, bytes } in self.shelf.surplus(self.part_bytes)? {
            let deleted = std::fs::remove_file(&path);
            let (path, max_bytes) = (path.display().to_string(), self.shelf.max_bytes());
            match deleted {
                Ok(()) => self.journal.log(Event::ArchiveDeleted { path, bytes, max_bytes }),
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let error = error.to_string();
                    self.journal.log(Event::ArchiveNotDeleted { path, error });
                }
            }
        }
        let part = self.shelf.begin(SystemTime::now())?;
        self.journal.log(Event::ArchiveBegun { path: part.path().display().to_string() });
        Ok(part)
    }

    /// Nothing more is written of this programme. What there is of it stays, as far as the disk has it.
    fn fail(&mut self, error: &io::Error) {
        let part = self.part.take();
        let path = part.as_ref().map_or(self.shelf.directory(), Part::path).display().to_string();
        self.journal.log(Event::ArchiveFailed { path, error: error.to_string(), fix: FIX });
    }
}
