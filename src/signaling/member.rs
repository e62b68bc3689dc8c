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
use crate::signaling::entry::{Entered, Entry, EntryError, JoinError};
use crate::signaling::registry::{NotInRoom, RelayError};
use crate::signaling::room::MuteError;
use crate::signaling::studio::Studio;
use crate::station::tokens::{INVITE_TIME, Invite};
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
        let text = envelope.with_registered_ids(text, self.id, receiver);
        self.studio.hub.relay(kind, self.id, receiver, &text).map_err(|error| match error {
            RelayError::NotConnected => not_connected(),
            RelayError::DifferentRoom => {
                Refusal::new(ErrorCode::DifferentRoom, "Target peer is in a different room")
            }
            RelayError::NoRoom => not_in_room(NotInRoom),
        })
    }

    /// Makes a room with the member as its host.
    ///
    /// # Errors
    ///
    /// When it needs an invite, or is in a room already.
    pub fn create_room(
        &self,
        request_id: Option<&str>,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<(), Refusal> {
        self.may_come_in()?;
        self.may_make_a_room()?;
        let room_id = &self.studio.hub.create_room(self.id).map_err(already_in)?;
        self.log_entered(room_id, Role::Host);
        say(&ServerMessage::RoomCreated { room_id, host_id: self.id, access: None, request_id });
        Ok(())
    }

    /// Takes the member into a room that there is. Returns what the others are to hear then.
    ///
    /// # Errors
    ///
    /// When it needs an invite, there is no such room, or it is in one already.
    pub fn join_room(
        &self,
        envelope: &Envelope,
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        self.may_come_in()?;
        let room = envelope.room_id()?;
        let joined = self.studio.hub.join_room(self.id, &room).map_err(|error| match error {
            JoinError::AlreadyIn(room) => already_in(room),
            JoinError::NoSuchRoom => no_such_room(room.as_ref()),
            JoinError::Full => room_full(),
        })?;
        self.log_entered(&joined.room_id, joined.role);
        Ok(self.entered(joined, None, envelope.request_id(), say))
    }

    /// Takes the member into a room, which is made where it is not there, or tells it again how its own room is. Returns
    /// what the others are to hear then.
    ///
    /// # Errors
    ///
    /// When the room, the invite or the role is invalid, an invite is missing, or the peer is in another room.
    pub fn create_or_join_room(
        &self,
        envelope: &Envelope,
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let room = envelope.chosen_room();
        if room.as_ref().is_some_and(Option::is_none) {
            return Err(invalid_room());
        }
        let room = room.flatten();
        // In its own room, it asks for the state of that: what it brings for the way in is not looked at.
        let present = self.studio.hub.present(self.id);
        let entered = match (present, room) {
            (Some(present), Some(room)) if present.room_id == room => present,
            (Some(present), Some(_)) => return Err(already_in(present.room_id)),
            (present, room) => {
                let invite = self.invite_of(envelope)?;
                match present {
                    // Without a name of a room, an invite has one.
                    Some(present) if leads_into(invite.as_ref(), &present.room_id) => present,
                    Some(present) => return Err(already_in(present.room_id)),
                    None => {
                        let entered = self.enter(envelope, room, invite)?;
                        self.log_entered(&entered.room_id, entered.role);
                        entered
                    }
                }
            }
        };
        let role = entered.role;
        let token =
            self.studio.tokens.room(self.id, &entered.room_id, role, self.identity, unix_s());
        let ice = self.ice();
        let access = Access { role, token: &token, ice: &ice };
        Ok(self.entered(entered, Some(access), envelope.request_id(), say))
    }

    /// The invite that a message brings, with its room.
    fn invite_of(&self, envelope: &Envelope) -> Result<Option<(Invite, RoomId)>, Refusal> {
        let Some(token) = envelope.invite_token() else {
            return Ok(None);
        };
        let invite = self.studio.tokens.check(&token, unix_s());
        let invite = invite.map_err(|why| Refusal::new(ErrorCode::InvalidInvite, why))?;
        if !invite.counts(self.studio.config.room_access) {
            return Err(invite_required());
        }
        let room = RoomId::parse(&invite.room_id).ok_or_else(invalid_room)?;
        Ok(Some((invite, room)))
    }

    /// Takes the member into `room`, into that of its invite where it names none, or into a new one.
    fn enter(
        &self,
        envelope: &Envelope,
        room: Option<RoomId>,
        invite: Option<(Invite, RoomId)>,
    ) -> Result<Entered, Refusal> {
        let (room, entry) = match invite {
            Some((Invite { role, .. }, own)) => {
                if room.is_some_and(|room| room != own) {
                    let why = "Invite token is for a different room";
                    return Err(Refusal::new(ErrorCode::InvalidInvite, why));
                }
                let role = Role::from_name(&role).ok_or_else(|| invalid_role(&quoted(&role)))?;
                (own, Entry::Invited(role))
            }
            None => {
                self.may_come_in()?;
                (room.unwrap_or_else(RoomId::random), Entry::Asked(envelope.role()))
            }
        };
        if !self.studio.hub.has_room(&room) {
            self.may_make_a_room()?;
        }
        self.studio.hub.create_or_join_room(self.id, room, entry).map_err(|error| match error {
            EntryError::InvalidRole(role) => invalid_role(&role),
            EntryError::AlreadyIn(room) => already_in(room),
            EntryError::Full => room_full(),
        })
    }

    /// Whether the member's address has not made too many rooms. It counts this one.
    fn may_make_a_room(&self) -> Result<(), Refusal> {
        match self.budget {
            Some(budget) if !budget.take_room(Instant::now()) => Err(Refusal::RATE_LIMIT),
            _ => Ok(()),
        }
    }

    /// Whether somebody without an invite makes and enters rooms.
    fn may_come_in(&self) -> Result<(), Refusal> {
        match self.studio.config.room_access {
            RoomAccess::Open => Ok(()),
            RoomAccess::Invited => Err(invite_required()),
        }
    }

    /// Tells the member where it is now: what the others are to hear then.
    fn entered(
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
    fn ice(&self) -> Box<RawValue> {
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

    /// Takes the member out of its room.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub fn leave_room(
        &self,
        request_id: Option<&str>,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<(), Refusal> {
        let room_id = &self.studio.hub.leave_room(self.id).map_err(not_in_room)?;
        self.log_left(room_id);
        say(&ServerMessage::RoomLeft { room_id, request_id });
        Ok(())
    }

    /// Mutes somebody in the member's room, or ends that.
    ///
    /// # Errors
    ///
    /// When it is in none, a field is wrong, or it has not the right.
    pub fn mute(&self, envelope: &Envelope) -> Result<(), Refusal> {
        let hub = &self.studio.hub;
        hub.role_and_room(self.id).map_err(not_in_room)?;
        let (target, muted, authority) = envelope.mute()?;
        hub.mute(self.id, target, muted, authority).map_err(|error| match error {
            MuteError::NotHere => Envelope::not_a_participant(),
            MuteError::NotALeader => {
                let why = "Only hosts and ops can mute other participants";
                Refusal::new(ErrorCode::Forbidden, why)
            }
            MuteError::NotOneself => {
                let why = "Self authority can only be used on yourself";
                Refusal::new(ErrorCode::Forbidden, why)
            }
        })
    }

    /// Tells everyone in the member's room that the recording started or stopped.
    ///
    /// # Errors
    ///
    /// When it is in none, or the field is wrong.
    pub fn recording_state(&self, envelope: &Envelope) -> Result<(), Refusal> {
        let hub = &self.studio.hub;
        hub.role_and_room(self.id).map_err(not_in_room)?;
        let message =
            ServerMessage::RecordingState { recording: envelope.recording()?, from: self.id };
        hub.tell_room(self.id, &message).map_err(not_in_room)
    }

    fn log_entered(&self, room_id: &RoomId, role: Role) {
        self.studio.journal.log(Event::RoomEntered {
            client_ip: self.ip,
            client_id: self.client,
            peer_id: self.id,
            room_id: room_id.clone(),
            role,
        });
    }

    /// The log's line about the member's leaving.
    pub fn log_left(&self, room_id: &RoomId) {
        self.studio.journal.log(Event::RoomLeft {
            client_ip: self.ip,
            client_id: self.client,
            peer_id: self.id,
            room_id: room_id.clone(),
        });
    }
}

fn invalid_room() -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, r#"Invalid "roomId" field"#)
}

/// Whether an invite is for this room.
fn leads_into(invite: Option<&(Invite, RoomId)>, room: &RoomId) -> bool {
    invite.is_some_and(|(_, own)| own == room)
}

fn invite_required() -> Refusal {
    Refusal::new(ErrorCode::InviteRequired, "Invite required")
}

fn room_full() -> Refusal {
    Refusal::new(ErrorCode::RoomFull, "Room is full")
}

fn invalid_role(role: &str) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidRole,
        format_args!(r#"Invalid role "{role}". Must be one of: host, ops, guest"#),
    )
}

fn already_in(room: RoomId) -> Refusal {
    Refusal::new(ErrorCode::AlreadyInRoom, format_args!(r#"Peer is already in room "{room}""#))
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
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
