//! A message that waits for its answer until somebody else has given one.
//!
//! Owns for what there are contests, and how long they last. It deliberately does not know what comes of them.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::signaling::budget::ClientBudget;
use crate::wire::codes::Refusal;
use crate::wire::ids::{ClientId, PeerId};

/// Whether the other side of a contest lives; ends when its time to answer is over.
pub(super) type Alive = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A message that waits for its answer.
pub(super) enum Contest {
    /// A `register`, until it is known whether the holder of the id lives.
    Id { id: PeerId, holder: ClientId, request_id: Option<String>, alive: Alive },
    /// A `register`, until an earlier connection of the client has yielded.
    Place { id: PeerId, request_id: Option<String>, left: oneshot::Receiver<ClientBudget> },
    /// A `create-or-join-room`, until it is known whether another client of its identity lives.
    Role { text: String, peer: PeerId, rival: ClientId, alive: Alive },
}

/// What comes of a contest.
#[derive(Debug)]
pub enum Settled {
    /// The id or the refusal, for the reply to the `register`, and the `requestId` of that.
    Registered {
        /// The id, or why it is not the client's.
        id: Result<PeerId, Refusal>,
        /// Of the message.
        request_id: Option<String>,
    },
    /// It is known who may have the role, so the message is to be answered now.
    Rival {
        /// The message.
        text: String,
    },
}

impl fmt::Debug for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id { id, holder, .. } => write!(f, "Contest for {id} with client {holder}"),
            Self::Place { id, .. } => write!(f, "Contest for the place of {id}"),
            Self::Role { rival, .. } => write!(f, "Contest for a role with client {rival}"),
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
    pub client: ClientId,
    /// Resolves when it answers, and fails when its session ends.
    pub alive: oneshot::Receiver<()>,
}
