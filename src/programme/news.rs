//! What comes of a change to the programme.
//!
//! Owns what the one on air is to hear and what the log is to have. It deliberately does not know when that is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::programme::dead_air::Silence;
use crate::programme::icecast::Refusal;
use crate::programme::playout::Written;
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};

/// Who is on air.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Nothing is heard but silence, for this reason.
    Dead(Owner, Silence),
    /// The host is heard again, after this time.
    Alive(Owner, Duration),
    /// A piece could not be read, for the first time since its host went on air.
    Damaged(Owner),
    /// So much audio came too far ahead of the clock, and was dropped.
    Dropped(Owner, Duration),
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

/// What has to be done for Icecast and the archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Whether a connection is to be made.
    pub connect: bool,
    /// Whether the one that there is has to end, after what is unsent.
    pub end: bool,
    /// Whether it is of no use any longer.
    pub drop: bool,
    /// Whether a part of the archive is to begin.
    pub record: bool,
    /// When to ask again at the latest; `None` for not before something happens.
    pub next: Option<Instant>,
}
