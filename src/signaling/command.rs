//! The changes that are made to peers and rooms, and what each came to.
//!
//! Owns what a change is made of: with the time, all that its outcome depends on. It deliberately does not know when it is
//! made.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::signaling::budget::ClientBudget;
use crate::signaling::entry::{Entered, Entry, EntryError, JoinError, RoomLimits};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::parting::Parting;
use crate::signaling::registry::{NotInRoom, Registered, TakeOver};
use crate::signaling::room::MuteError;
use crate::wire::carried::is_default;
use crate::wire::ids::{ClientId, Holder, Identity, NodeId, PeerId, RoomId};
use crate::wire::role::Authority;

/// A client that wants an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its number.
    pub client: ClientId,
    /// Who is behind it.
    pub identity: Identity,
    /// Where it connects from.
    pub ip: IpAddr,
    /// Whether nothing is kept for it when it goes: it only checks the server.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_check: bool,
}

/// A change to peers and rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Gives a client the id `peer`, if that is free or its own.
    Register {
        /// The id.
        peer: PeerId,
        /// The client.
        newcomer: Newcomer,
    },
    /// Gives a client the id `peer`, if `holder`, which was silent, still has it or nobody has. The holder is ended with
    /// 4010, and its seat is kept for a while.
    TakeOver {
        /// The id.
        peer: PeerId,
        /// Who had it.
        holder: Holder,
        /// The client.
        newcomer: Newcomer,
    },
    /// A client of the node has gone, if it is still the one that has the id `peer`.
    Part {
        /// The id.
        peer: PeerId,
        /// The client.
        client: ClientId,
        /// How it goes.
        parting: Parting,
        /// What it may still send; on its own node only.
        #[serde(skip)]
        budget: Option<ClientBudget>,
    },
    /// Ends `holder`, which was silent, with 4010, if it still has the id `peer`: its seat is kept.
    Silence {
        /// The id.
        peer: PeerId,
        /// Who has it.
        holder: Holder,
    },
    /// Ends the seat that is kept for this identity: more waits for it than may.
    EndSeat {
        /// The id.
        peer: PeerId,
        /// Whose seat it is.
        identity: Identity,
    },
    /// A client of the node does something among others, if a client of its identity has the id `peer`: its node may have
    /// stood still meanwhile, and another connection of it may have the place.
    Act {
        /// The id.
        peer: PeerId,
        /// Who is behind the client.
        identity: Identity,
        /// What it does.
        action: Action,
    },
    /// The programme of the node is over.
    GoOffAir,
    /// Ends what is over: rooms that are too old, seats and roles that were kept for long enough.
    Expire {
        /// The room that is on air, which does not end.
        #[serde(default, skip_serializing_if = "is_default")]
        on_air: Option<RoomId>,
    },
    /// Rooms are within these limits from here on.
    Limit(RoomLimits),
    /// This node has gone, with all of its clients.
    Gone(NodeId),
}

/// What a registered client does among others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Makes a room, as its host.
    CreateRoom {
        /// The room, which nobody can have guessed.
        room: RoomId,
    },
    /// Comes into a room that there is.
    JoinRoom {
        /// Where.
        room: RoomId,
    },
    /// Comes into a room, which is made where it is not there.
    CreateOrJoinRoom {
        /// Where.
        room: RoomId,
        /// The identity of the token that it has brought.
        #[serde(default, skip_serializing_if = "is_default")]
        token: Option<Identity>,
        /// By what right it comes in, where nothing is reserved for it.
        #[serde(default, skip_serializing_if = "is_default")]
        entry: Option<Entry>,
    },
    /// Takes the role with more rights that is reserved for its identity in the room where it is, if one is. The others
    /// hear of it.
    Reclaim,
    /// Leaves its room; the others are told.
    LeaveRoom,
    /// Mutes `target` in its room, or ends that, and tells everyone in it.
    Mute {
        /// Whom.
        target: PeerId,
        /// Whether it is muted from here on.
        muted: bool,
        /// By what right.
        authority: Authority,
    },
    /// Tells everyone in its room that the recording started or stopped.
    Recording {
        /// Whether it runs.
        recording: bool,
    },
    /// Goes on air by way of its node, unless somebody who lives is by way of another one.
    GoOnAir,
}

impl Command {
    /// Whether it ends something on its node, and has to be made, however late.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Part { .. } | Self::GoOffAir)
    }
}

/// Who is on air, as all nodes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AiredBy {
    /// Nobody.
    Nobody,
    /// This peer, by way of this node.
    Here(PeerId),
    /// Somebody by way of another node.
    Elsewhere,
}

/// Who is on air by way of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyElsewhere {
    /// Under which id.
    pub peer: PeerId,
    /// Which client, where the one who asks gains something if it does not live.
    pub rival: Option<Holder>,
}

/// What a change came to.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Command::Register`].
    Registered(Registered),
    /// Of [`Command::TakeOver`].
    TakenOver(TakeOver),
    /// Of [`Action::CreateRoom`]; or the room that the peer is in already.
    Created(Result<RoomId, RoomId>),
    /// Of [`Action::JoinRoom`].
    Joined(Result<Entered, JoinError>),
    /// Of [`Action::CreateOrJoinRoom`].
    Entered(Result<Entered, EntryError>),
    /// Of [`Action::Reclaim`].
    Reclaimed(Option<Entered>),
    /// Of [`Action::LeaveRoom`].
    Left(Result<RoomId, NotInRoom>),
    /// Of [`Action::Mute`].
    Muted(Result<(), MuteError>),
    /// Of [`Action::Recording`].
    Told(Result<(), NotInRoom>),
    /// Of [`Action::GoOnAir`]: whether the node was not on air before.
    OnAir(Result<bool, BusyElsewhere>),
    /// Of an action of a client that has not the id any longer.
    NotRegistered,
    /// Of all others.
    Done,
}

impl Outcome {
    /// Whether its client has got what it wanted.
    pub fn is_made(&self) -> bool {
        match self {
            Self::Registered(registered) => {
                !matches!(registered, Registered::Held(..) | Registered::Refused)
            }
            Self::TakenOver(taken) => *taken != TakeOver::Held,
            Self::Created(created) => created.is_ok(),
            Self::Joined(joined) => joined.is_ok(),
            Self::Entered(entered) => entered.is_ok(),
            // What its client knew of before is not undone.
            Self::OnAir(on_air) => *on_air == Ok(true),
            _ => false,
        }
    }

    /// The room that somebody came into, if that is what it came to.
    pub fn entered(&mut self) -> Option<&mut Entered> {
        match self {
            Self::Joined(Ok(entered))
            | Self::Entered(Ok(entered))
            | Self::Reclaimed(Some(entered)) => Some(entered),
            _ => None,
        }
    }
}

/// Which node wants a change.
#[derive(Clone, Debug)]
pub struct Proposer {
    /// It.
    pub node: NodeId,
    /// On that node: what the client that wants an id is to hear.
    pub outbox: Option<Arc<Outbox>>,
}
