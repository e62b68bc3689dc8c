//! What a registered client does among others: relays, rooms, invites.
//!
//! Owns [`Member`], a registered client: the order of the checks on each of these messages, and the texts of their
//! errors. It deliberately does not know how the client got its id.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use crate::config::config::RoomAccess;
use crate::signaling::broadcast::News;
use crate::signaling::budget::AddressBudget;
use crate::signaling::command::Action;
use crate::signaling::entry::{Entered, JoinError};
use crate::signaling::hub::Passed;
use crate::signaling::registry::{NotInRoom, RelayError};
use crate::signaling::room::MuteError;
use crate::signaling::studio::Studio;
use crate::station::tokens::INVITE_TIME;
use crate::station::turn_credentials::{wants_credentials, with_credentials};
use crate::telemetry::events::Event;
use crate::telemetry::metrics::Relay;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};
use crate::wire::reply::{Access, ServerMessage};
use crate::wire::request::{Envelope, MessageType, no_such_room};
use crate::wire::role::Role;
use crate::wire::text::quoted;

/// A registered client. The refusal is the reply where there is an error; `say` takes any other.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What it works on.
    pub studio: &'a Studio,
    /// Which client it is and where it connects from, for the log.
    pub client: ClientId,
    /// See [`Self::client`].
    pub ip: IpAddr,
    /// Who it is.
    pub id: PeerId,
    /// Who is behind it.
    pub identity: Identity,
    /// What all clients of its address may do, if that is bounded.
    pub budget: Option<&'a AddressBudget>,
}

impl Member<'_> {
    /// Passes an offer, an answer or a candidate on as it came.
    ///
    /// # Errors
    ///
    /// When a field is wrong, or the receiver is not there.
    pub fn relay<'a>(
        &self,
        kind: MessageType,
        envelope: &Envelope<'a>,
        text: &'a str,
    ) -> Result<(), Refusal> {
        let to = envelope.relay(kind, self.id)?;
        let not_connected = || {
            Refusal::new(
                ErrorCode::PeerNotConnected,
                format_args!(r#"Target peer "{}" is not connected"#, quoted(&to)),
            )
        };
        let Some(receiver) = PeerId::parse(&to) else {
            self.studio.metrics.relayed(kind, Relay::NotConnected);
            return Err(not_connected());
        };
        let text = &envelope.with_registered_ids(text, self.id, receiver);
        let (from, client, request_id) = (self.id, self.client, envelope.request_id());
        let passed = Passed { kind, from, client, to: receiver, text, request_id };
        self.studio.hub.relay(passed).map_err(|error| match error {
            RelayError::NotConnected => not_connected(),
            RelayError::DifferentRoom => {
                Refusal::new(ErrorCode::DifferentRoom, "Target peer is in a different room")
            }
            RelayError::NoRoom => not_in_room(NotInRoom),
            RelayError::Unavailable => Refusal::UNAVAILABLE,
        })
    }

    /// Makes a room with the member as its host.
    ///
    /// # Errors
    ///
    /// When it needs an invite.
    pub fn create_room(&self) -> Result<Action, Refusal> {
        self.may_come_in()?;
        self.may_make_a_room()?;
        Ok(Action::CreateRoom { room: RoomId::random() })
    }

    /// Answers that the room is made.
    ///
    /// # Errors
    ///
    /// When the member is in one already.
    pub(super) fn has_created(
        &self,
        created: Result<RoomId, RoomId>,
        request_id: Option<&str>,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<(), Refusal> {
        let room_id = &created.map_err(already_in)?;
        self.log_entered(room_id, Role::Host);
        say(&ServerMessage::RoomCreated { room_id, host_id: self.id, access: None, request_id });
        Ok(())
    }

    /// Takes the member into a room that there is.
    ///
    /// # Errors
    ///
    /// When it needs an invite, or names no room.
    pub fn join_room(&self, envelope: &Envelope) -> Result<Action, Refusal> {
        self.may_come_in()?;
        Ok(Action::JoinRoom { room: envelope.room_id()? })
    }

    /// Answers that the member is in the room. Returns what the others are to hear then.
    ///
    /// # Errors
    ///
    /// When there is no such room or no place in it, or the member is in one already.
    pub(super) fn has_joined(
        &self,
        joined: Result<Entered, JoinError>,
        request_id: Option<&str>,
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let joined = joined.map_err(|error| match error {
            JoinError::AlreadyIn(room) => already_in(room),
            JoinError::NoSuchRoom(room) => no_such_room(room.as_ref()),
            JoinError::Full => room_full(),
        })?;
        self.log_entered(&joined.room_id, joined.role);
        Ok(self.entered(joined, None, request_id, say))
    }

    /// Whether the member's address has not made too many rooms. It counts this one.
    pub(super) fn may_make_a_room(&self) -> Result<(), Refusal> {
        match self.budget {
            Some(budget) if !budget.take_room(Instant::now()) => Err(Refusal::RATE_LIMIT),
            _ => Ok(()),
        }
    }

    /// Whether somebody without an invite makes and enters rooms.
    pub(super) fn may_come_in(&self) -> Result<(), Refusal> {
        match self.studio.config.room_access {
            RoomAccess::Open => Ok(()),
            RoomAccess::Invited => Err(invite_required()),
        }
    }

    /// Tells the member where it is now: what the others are to hear then.
    pub(super) fn entered(
        &self,
        entered: Entered,
        access: Option<Access>,
        request_id: Option<&str>,
        mut say: impl FnMut(&ServerMessage),
    ) -> News {
        let room_id = &entered.room_id;
        say(&match &entered.joined {
            Some(participants) => {
                ServerMessage::RoomJoined { room_id, participants, access, request_id }
            }
            None => ServerMessage::RoomCreated { room_id, host_id: self.id, access, request_id },
        });
        entered.news
    }

    /// Tells the member where STUN and TURN servers are, with credentials that are valid from now.
    ///
    /// # Errors
    ///
    /// When it is in no room.
    pub fn request_ice(
        &self,
        request_id: Option<&str>,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<(), Refusal> {
        self.studio.hub.role_and_room(self.id).map_err(not_in_room)?;
        say(&ServerMessage::Ice { ice: &self.ice(), request_id });
        Ok(())
    }

    /// The `ice` object for the member.
    pub(super) fn ice(&self) -> Box<RawValue> {
        let station = self.studio.manifest.now();
        match &self.studio.config.turn_secret {
            Some(secret) if wants_credentials(&station.ice_value) => {
                let ttl = self.studio.config.turn_ttl;
                let ice = with_credentials(&station.ice_value, secret, self.id, unix_s(), ttl);
                to_raw_value(&ice).expect("a JSON value is written as JSON")
            }
            _ => station.ice.clone(),
        }
    }

    /// Makes what lets somebody into the member's room.
    ///
    /// # Errors
    ///
    /// When it is in none, has not the right, or asks for an invalid role.
    pub fn invite(
        &self,
        envelope: &Envelope,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<(), Refusal> {
        let (room_id, role) = self.studio.hub.role_and_room(self.id).map_err(not_in_room)?;
        if !role.leads() {
            let why = "Only hosts and ops can generate invite links";
            return Err(Refusal::new(ErrorCode::Forbidden, why));
        }
        let invalid = |role: String| {
            Refusal::new(ErrorCode::InvalidRole, format_args!(r#"Invalid invite role "{role}""#))
        };
        let role = match envelope.invite_role().map_err(invalid)? {
            Role::Host => return Err(invalid(Role::Host.to_string())),
            role => role,
        };
        let invite_token = &self.studio.tokens.invite(
            &room_id,
            role,
            self.studio.config.room_access,
            unix_s(),
            INVITE_TIME,
        );
        let (client_ip, client_id, peer_id) = (self.ip, self.client, self.id);
        let request_id = envelope.request_id();
        say(&ServerMessage::InviteToken { invite_token, room_id: &room_id, role, request_id });
        self.studio.journal.log(Event::InviteMade { client_ip, client_id, peer_id, room_id, role });
        Ok(())
    }

    /// Mutes somebody in the member's room, or ends that.
    ///
    /// # Errors
    ///
    /// When it is in none, or a field is wrong.
    pub fn mute(&self, envelope: &Envelope) -> Result<Action, Refusal> {
        self.studio.hub.role_and_room(self.id).map_err(not_in_room)?;
        let (target, muted, authority) = envelope.mute()?;
        Ok(Action::Mute { target, muted, authority })
    }

    /// Tells everyone in the member's room that the recording started or stopped.
    ///
    /// # Errors
    ///
    /// When it is in none, or the field is wrong.
    pub fn recording_state(&self, envelope: &Envelope) -> Result<Action, Refusal> {
        self.studio.hub.role_and_room(self.id).map_err(not_in_room)?;
        Ok(Action::Recording { recording: envelope.recording()? })
    }

    pub(super) fn log_entered(&self, room_id: &RoomId, role: Role) {
        self.studio.journal.log(Event::RoomEntered {
            client_ip: self.ip,
            client_id: self.client,
            peer_id: self.id,
            room_id: room_id.clone(),
            role,
        });
    }
}

pub(super) fn invite_required() -> Refusal {
    Refusal::new(ErrorCode::InviteRequired, "Invite required")
}

pub(super) fn room_full() -> Refusal {
    Refusal::new(ErrorCode::RoomFull, "Room is full")
}

pub(super) fn invalid_role(role: &str) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidRole,
        format_args!(r#"Invalid role "{role}". Must be one of: host, ops, guest"#),
    )
}

pub(super) fn already_in(room: RoomId) -> Refusal {
    Refusal::new(ErrorCode::AlreadyInRoom, format_args!(r#"Peer is already in room "{room}""#))
}

/// The refusal of a mute.
pub(super) fn not_muted(error: MuteError) -> Refusal {
    match error {
        MuteError::NotHere => Envelope::not_a_participant(),
        MuteError::NotALeader => {
            let why = "Only hosts and ops can mute other participants";
            Refusal::new(ErrorCode::Forbidden, why)
        }
        MuteError::NotOneself => {
            let why = "Self authority can only be used on yourself";
            Refusal::new(ErrorCode::Forbidden, why)
        }
    }
}

/// The refusal of what needs a room.
pub fn not_in_room(_: NotInRoom) -> Refusal {
    Refusal::new(ErrorCode::NotInRoom, "Not in a room")
}

/// Seconds since 1970.
pub fn unix_s() -> u64 {
    unix_ms() / 1000
}

/// Milliseconds since 1970.
#[inline]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
