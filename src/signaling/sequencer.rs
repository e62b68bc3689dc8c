//! Who decides in which order changes are made to peers and rooms.
//!
//! Owns what signaling asks of the other nodes of a cluster. It deliberately does not know how they are reached: without
//! a cluster a change is made at once, and nobody is asked.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::signaling::budget::ClientBudget;
use crate::signaling::command::{Command, Outcome};
use crate::signaling::outbox::{Outbox, RoomNumber};
use crate::signaling::registry::parting::Moved;
use crate::wire::ids::{Holder, NodeId, PeerId};
use crate::wire::request::MessageType;

/// A change that somebody on this node wants.
#[derive(Debug)]
pub struct Proposal {
    /// What is to change.
    pub command: Command,
    /// What the client that wants an id is to hear.
    pub outbox: Option<Arc<Outbox>>,
    /// Gets what it came to. It is dropped where the change was refused.
    pub outcome: oneshot::Sender<Outcome>,
}

/// What became of a proposal.
#[derive(Debug)]
pub enum Proposed {
    /// The change is made.
    Made(Outcome),
    /// It is made when it is its turn; an error means that it is not.
    Waits(oneshot::Receiver<Outcome>),
    /// It can't be made now.
    Unavailable,
}

/// This node is out of touch with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// A message from one peer to another one, which is on another node.
#[derive(Clone, Copy, Debug)]
pub struct Relay<'a> {
    /// Its type.
    pub kind: MessageType,
    /// Who sends it.
    pub from: PeerId,
    /// Which client that is.
    pub client: Holder,
    /// Who is to get it.
    pub to: PeerId,
    /// The room in which both are.
    pub room: Option<RoomNumber>,
    /// As it was sent.
    pub text: &'a str,
    /// For the answer, where it does not arrive.
    pub request_id: Option<&'a str>,
}

/// The other nodes of a cluster.
pub trait Sequencer: fmt::Debug + Send + Sync {
    /// Whether changes are taken now, and what is known of peers and rooms is sure.
    fn takes_changes(&self) -> bool;

    /// Takes a change, which is made when it is its turn, after all that this node has proposed before.
    ///
    /// # Errors
    ///
    /// When this node is out of touch with the others.
    fn propose(&self, proposal: Proposal) -> Result<(), Unavailable>;

    /// Passes a relay to another node. Where it does not arrive, its sender hears of that later.
    ///
    /// # Errors
    ///
    /// When this node is out of touch with the others.
    fn relay(&self, node: NodeId, relay: Relay<'_>) -> Result<(), Unavailable>;

    /// Finds out whether a client of another node lives, which has the id `peer`. The receiver gets an answer when it
    /// does.
    fn challenge(&self, peer: PeerId, holder: Holder) -> oneshot::Receiver<()>;

    /// Sends what waits for a client to the node on which it is now.
    fn send_after(&self, moved: Moved);

    /// Waits for that from the node on which the client was. The receiver gets what the client may still send, and an error where it
    /// did not come in time.
    fn await_sent(&self, peer: PeerId, to: Holder) -> oneshot::Receiver<ClientBudget>;
}
