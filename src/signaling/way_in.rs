//! How a member comes into a room by `create-or-join-room`.
//!
//! Owns what a name, a token and a reserved role are worth there, and in which order they are looked at. It deliberately
//! does not know who is in a room.

use std::fmt;

use crate::signaling::broadcast::News;
use crate::signaling::command::Action;
use crate::signaling::contest::{Challenged, Then};
use crate::signaling::entry::{Entered, Entry, EntryError};
use crate::signaling::member::{
    Member, already_in, invalid_role, invite_required, room_full, unix_s,
};
use crate::station::token_claims::{Invite, RoomToken, TokenError};
use crate::station::tokens::CHAIN_TIME;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::{Identity, RoomId};
use crate::wire::reply::{Access, ServerMessage};
use crate::wire::request::Envelope;
use crate::wire::role::Role;
use crate::wire::text::quoted;

/// What somebody has brought for the way in.
#[derive(Clone, Debug)]
struct Pass {
    /// Where it leads.
    room: RoomId,
    brought: Brought,
}

#[derive(Clone, Debug)]
enum Brought {
    Invite(Invite),
    Room(RoomToken),
}

impl Brought {
    /// Whose it is, where it says so.
    fn identity(&self) -> Option<Identity> {
        match self {
            Self::Room(token) => Some(token.identity),
            Self::Invite(_) => None,
        }
    }
}

/// How a member comes into a room.
pub(super) enum WayIn {
    /// It is there.
    IsThere(Entered),
    /// By this.
    Wants(Action, Then),
}

impl Member<'_> {
    /// Asks another client of the member's identity whether it lives, if it has a role in the room that the message leads
    /// into.
    pub fn challenge_rival(&self, envelope: &Envelope) -> Option<Challenged> {
        let pass = self.pass(envelope).ok().flatten();
        let token = pass.as_ref().and_then(|pass| pass.brought.identity());
        let room = match envelope.chosen_room() {
            Some(room) => room?,
            None => pass?.room,
        };
        self.studio.hub.challenge_rival(self.id, token, &room)
    }

    /// Takes the member into a room, which is made where it is not there; or it is there already.
    ///
    /// # Errors
    ///
    /// When the room or the invite is invalid, or the peer is in another room.
    pub(super) fn create_or_join_room(&self, envelope: &Envelope) -> Result<WayIn, Refusal> {
        let room = envelope.chosen_room();
        if room.as_ref().is_some_and(Option::is_none) {
            return Err(invalid_room());
        }
        let room = room.flatten();
        // In its own room, it asks for the state of that: what it brings for the way in is not looked at.
        let hub = &self.studio.hub;
        // Where it is may not be sure.
        if !hub.takes_changes() {
            return Err(Refusal::UNAVAILABLE);
        }
        let Some(present) = hub.present(self.id) else { return self.enter(envelope, room) };
        // Without a name of a room, a token has one.
        let room = match room {
            Some(room) => Some(room),
            None => self.pass(envelope)?.map(|pass| pass.room),
        };
        if room.as_ref() != Some(&present.room_id) {
            return Err(already_in(present.room_id));
        }
        Ok(match hub.may_reclaim(self.id) {
            true => WayIn::Wants(Action::Reclaim, Then::Answer),
            false => WayIn::IsThere(present),
        })
    }

    /// Answers that the member is in a room that it has come into. Returns what the others are to hear then.
    ///
    /// # Errors
    ///
    /// When the role is invalid, the room is full, or the peer is in a room already; or `refused`, where it has no right to
    /// come in.
    pub(super) fn has_entered(
        &self,
        entered: Result<Entered, EntryError>,
        refused: Option<Refusal>,
        request_id: Option<&str>,
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let entered = entered.map_err(|error| match error {
            EntryError::InvalidRole(role) => invalid_role(&role),
            EntryError::AlreadyIn(room) => already_in(room),
            EntryError::Full => room_full(),
            EntryError::Spent => Refusal::new(ErrorCode::InvalidInvite, TokenError::NotAnInvite),
            EntryError::NoRight => refused.unwrap_or_else(invite_required),
        })?;
        self.log_entered(&entered.room_id, entered.role);
        Ok(self.tell_entered(entered, request_id, say))
    }

    /// Tells the member how the room is that it is in. Returns what the others are to hear then.
    pub(super) fn tell_entered(
        &self,
        entered: Entered,
        request_id: Option<&str>,
        say: impl FnMut(&ServerMessage),
    ) -> News {
        let Entered { role, invite_end, .. } = entered;
        let token = self.studio.tokens.room(
            self.id,
            &entered.room_id,
            role,
            self.identity,
            (self.studio.config.room_access, invite_end),
            unix_s(),
        );
        let ice = self.ice();
        let access = Access { role, token: &token, ice: &ice };
        self.entered(entered, Some(access), request_id, say)
    }

    /// What the token says that a message brings, with its room.
    fn pass(&self, envelope: &Envelope) -> Result<Option<Pass>, Refusal> {
        let Some(token) = envelope.invite_token() else {
            return Ok(None);
        };
        let (tokens, access) = (&self.studio.tokens, self.studio.config.room_access);
        let (brought, counts) = match tokens.check(&token, unix_s()) {
            Ok(invite) => {
                let counts = invite.counts(access);
                (Brought::Invite(invite), counts)
            }
            Err(why) => {
                let refused = || Refusal::new(ErrorCode::InvalidInvite, why);
                let token = tokens.check_room(&token, unix_s()).ok_or_else(refused)?;
                let counts = token.counts(access);
                (Brought::Room(token), counts)
            }
        };
        if !counts {
            return Err(invite_required());
        }
        let (Brought::Invite(Invite { room_id, .. }) | Brought::Room(RoomToken { room_id, .. })) =
            &brought;
        let room = RoomId::parse(room_id).ok_or_else(invalid_room)?;
        Ok(Some(Pass { room, brought }))
    }

    /// Takes the member into `room`, into that of its token where it names none, or into a new one.
    fn enter(&self, envelope: &Envelope, room: Option<RoomId>) -> Result<WayIn, Refusal> {
        let pass = self.pass(envelope);
        let own = pass.as_ref().ok().and_then(Option::as_ref);
        let token = own.and_then(|pass| pass.brought.identity());
        let room = match (room, own, &pass) {
            (Some(room), ..) => room,
            (None, Some(pass), _) => pass.room.clone(),
            // What is reserved is so under a name, and there is none.
            (None, None, Err(refusal)) => return Err(refusal.clone()),
            (None, None, Ok(_)) => RoomId::random(),
        };
        let (entry, refused) = match self.entry(envelope, &room, pass) {
            Ok(entry) => (Some(entry), None),
            Err(refusal) => (None, Some(refusal)),
        };
        if !self.studio.hub.has_room(&room) && entry.is_some() {
            self.may_make_a_room()?;
        }
        let action = Action::CreateOrJoinRoom { room, token, entry };
        Ok(WayIn::Wants(action, Then::Enter(refused)))
    }

    /// By what right the member comes into `room`, unless something is reserved for it there.
    fn entry(
        &self,
        envelope: &Envelope,
        room: &RoomId,
        pass: Result<Option<Pass>, Refusal>,
    ) -> Result<Entry, Refusal> {
        let Some(Pass { room: own, brought }) = pass? else {
            self.may_come_in()?;
            return Ok(Entry::Asked(envelope.role()));
        };
        let refused = |why: &dyn fmt::Display| Refusal::new(ErrorCode::InvalidInvite, why);
        let named = |role: &str| Role::from_name(role).ok_or_else(|| invalid_role(&quoted(role)));
        match brought {
            Brought::Room(token) if !self.studio.counts_from_before(token.made) => {
                Err(refused(&TokenError::NotAnInvite))
            }
            _ if *room != own => Err(refused(&"Invite token is for a different room")),
            Brought::Invite(Invite { role, .. }) => {
                Ok(Entry::Invited { role: named(&role)?, end: unix_s() + CHAIN_TIME })
            }
            Brought::Room(RoomToken { identity, role, until, .. }) => {
                Ok(Entry::Remembered { identity, role: named(&role)?, invite_end: until })
            }
        }
    }
}

fn invalid_room() -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, r#"Invalid "roomId" field"#)
}
