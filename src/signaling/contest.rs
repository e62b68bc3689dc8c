//! A message that waits for its answer: until somebody else has given one, or until its turn among all nodes has come.
//!
//! Owns for what there are contests, and how long they last. It deliberately does not know what comes of them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::signaling::budget::ClientBudget;
use crate::signaling::command::Outcome;
use crate::signaling::outbox::Outbox;
use crate::wire::codes::Refusal;
use crate::wire::ids::{Holder, PeerId};
use crate::wire::request::MessageType;

/// Whether the other side of a contest lives; ends when its time to answer is over.
pub(super) type Alive = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A message that waits for its answer.
pub(super) enum Contest {
    /// A `register`, until it is known whether the holder of the id lives.
    Id { id: PeerId, holder: Holder, request_id: Option<String>, alive: Alive },
    /// A `register`, until an earlier connection of the client has yielded.
    Place { id: PeerId, request_id: Option<String>, left: oneshot::Receiver<ClientBudget> },
    /// A `create-or-join-room` or a `start-stream`, until it is known whether the other client lives that has the role, or
    /// is on air.
    Role { text: String, peer: PeerId, rival: Holder, alive: Alive },
    /// A change to peers and rooms, until it has been made; then what it came to.
    Turn { pending: Pending, made: oneshot::Receiver<Outcome>, outcome: Option<Outcome> },
}

/// A message whose change is not made yet.
#[derive(Debug)]
pub struct Pending {
    /// Its type.
    pub kind: MessageType,
    /// Its `requestId`.
    pub request_id: Option<String>,
    /// What it needs beside the outcome.
    pub(super) then: Then,
}

/// What an answer needs beside the outcome of the change.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    Answer,
    /// The refusal of who has no right of its own to come in.
    Enter(Option<Refusal>),
    /// The message, for who goes on air, and whether somebody else who is on air may be asked whether it lives.
    Stream(String, bool),
    /// The id that is wanted, and what its client is to hear.
    Register(PeerId, Arc<Outbox>),
    /// The same, and who had it, and was silent.
    TakeOver(PeerId, Arc<Outbox>, Holder),
}

impl Then {
    /// The id that a client gets by it.
    pub(super) fn id(&self) -> Option<PeerId> {
        match self {
            Self::Register(id, _) | Self::TakeOver(id, ..) => Some(*id),
            Self::Answer | Self::Enter(_) | Self::Stream(..) => None,
        }
    }
}

/// What comes of a contest.
#[derive(Debug)]
pub enum Settled {
    /// The id is the client's, or not, for the reply to the `register`.
    Registered {
        /// It, or why not.
        id: Result<PeerId, Refusal>,
        /// Of the message.
        request_id: Option<String>,
    },
    /// The change is made, or is not, where there is no outcome.
    Turn {
        /// The message.
        pending: Pending,
        /// What it came to.
        outcome: Option<Outcome>,
    },
    /// It is known who may have the role, so the message is to be answered now.
    Rival {
        /// The message.
        text: String,
    },
}

impl Contest {
    /// The id that the client gets if its change is made.
    pub(super) fn id(&self) -> Option<PeerId> {
        match self {
            Self::Turn { pending, .. } => pending.then.id(),
            _ => None,
        }
    }
}

impl fmt::Debug for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id { id, holder, .. } => write!(f, "Contest for {id} with {holder:?}"),
            Self::Place { id, .. } => write!(f, "Contest for the place of {id}"),
            Self::Role { rival, .. } => write!(f, "Contest for a role with {rival:?}"),
            Self::Turn { pending, .. } => write!(f, "{pending:?}"),
        }
    }
}

/// Whether there is an answer within `time`.
pub(super) fn answer(alive: oneshot::Receiver<()>, time: Duration) -> Alive {
    Box::pin(async move { matches!(timeout(time, alive).await, Ok(Ok(()))) })
}

/// Another client, which is asked whether it lives.
#[derive(Debug)]
pub struct Challenged {
    /// Under which id.
    pub peer: PeerId,
    /// Which client.
    pub holder: Holder,
    /// Resolves when it answers, and fails when its session ends.
    pub alive: oneshot::Receiver<()>,
}
