//! A change that a client wants, and its answer.
//!
//! Owns what a change comes to for its client: at once, or once it is made. It deliberately does not know in which order
//! changes are made.

use crate::signaling::broadcast::News;
use crate::signaling::client::Client;
use crate::signaling::command::{Action, Command, Outcome};
use crate::signaling::contest::{Contest, Pending, Then};
use crate::signaling::member::{not_in_room, not_muted};
use crate::signaling::registry::NotInRoom;
use crate::signaling::sequencer::Proposed;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::reply::ServerMessage;
use crate::wire::request::{Envelope, MessageType};

/// The refusal of who has lost its id.
const NOT_REGISTERED: &str = "Must register first";

impl Client {
    /// Has a change made that a message of type `kind` asks for, and answers it: now, or when it is made.
    ///
    /// # Errors
    ///
    /// The refusal, which is the reply then.
    pub(super) fn change(
        &mut self,
        (kind, envelope): (MessageType, &Envelope<'_>),
        (command, then): (Command, Then),
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let outbox = match &then {
            Then::Register(_, outbox) | Then::TakeOver(_, outbox, _) => Some(outbox.clone()),
            Then::Answer | Then::Enter(_) | Then::Stream(..) => None,
        };
        let request_id = envelope.request_id().map(str::to_owned);
        let pending = Pending { kind, request_id, then };
        match self.studio.hub.propose(command, outbox) {
            Proposed::Made(outcome) => self.conclude(pending, Some(outcome), say),
            Proposed::Unavailable => Err(Refusal::UNAVAILABLE),
            Proposed::Waits(made) => {
                self.contest = Some(Box::new(Contest::Turn { pending, made, outcome: None }));
                Ok(News::default())
            }
        }
    }

    /// As [`Self::change`], of what only who has an id can do.
    ///
    /// # Errors
    ///
    /// The refusal, which is the reply then.
    pub(super) fn act(
        &mut self,
        message: (MessageType, &Envelope<'_>),
        (action, then): (Action, Then),
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let me = self.member(NOT_REGISTERED)?;
        let command = Command::Act { peer: me.id, identity: me.identity, action };
        self.change(message, (command, then), say)
    }

    /// Answers a message whose change is made, or is not, where there is no outcome. Returns what others are to hear once
    /// that reply has been sent.
    ///
    /// # Errors
    ///
    /// The refusal, which is the reply then.
    pub fn conclude(
        &mut self,
        pending: Pending,
        outcome: Option<Outcome>,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let Pending { request_id, then, .. } = pending;
        let outcome = outcome.ok_or(Refusal::UNAVAILABLE)?;
        let id = match (outcome, then) {
            (Outcome::Registered(registered), Then::Register(id, outbox)) => {
                self.has_wanted(id, outbox, registered, request_id.clone())?
            }
            (Outcome::TakenOver(taken), Then::TakeOver(id, outbox, holder)) => {
                self.has_taken(id, outbox, holder, taken)?
            }
            (outcome, then) => return self.is_answered(outcome, then, request_id.as_deref(), say),
        };
        if let Some(peer_id) = id {
            let (resume, request_id) = (&self.resume(), request_id.as_deref());
            say(&ServerMessage::Registered { peer_id, resume, request_id });
        }
        Ok(News::default())
    }

    /// Answers what a registered client has asked for.
    fn is_answered(
        &mut self,
        outcome: Outcome,
        then: Then,
        request_id: Option<&str>,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let me = self.member(NOT_REGISTERED)?;
        match outcome {
            Outcome::Created(created) => me.has_created(created, request_id, say)?,
            Outcome::Joined(joined) => return me.has_joined(joined, request_id, say),
            Outcome::Entered(entered) => {
                let refused = if let Then::Enter(refused) = then { refused } else { None };
                return me.has_entered(entered, refused, request_id, say);
            }
            Outcome::Reclaimed(entered) => {
                // Where nothing was left to reclaim, it hears how its room is.
                let present = || me.studio.hub.present(me.id);
                return match entered.or_else(present) {
                    Some(entered) => Ok(me.tell_entered(entered, request_id, say)),
                    None => Err(not_in_room(NotInRoom)),
                };
            }
            Outcome::Left(left) => {
                let room_id = &left.map_err(not_in_room)?;
                say(&ServerMessage::RoomLeft { room_id, request_id });
                self.stop_programme("its host left the room");
                self.is_streaming = false;
            }
            Outcome::OnAir(Ok(_)) => {
                if let Then::Stream(text, may_ask) = then {
                    self.go_on_air(text, may_ask)?;
                }
            }
            Outcome::OnAir(Err(busy)) => {
                if let Then::Stream(text, may_ask) = then {
                    self.ask_elsewhere(text, may_ask, busy)?;
                }
            }
            Outcome::Muted(muted) => muted.map_err(not_muted)?,
            Outcome::Told(told) => told.map_err(not_in_room)?,
            Outcome::NotRegistered => {
                return Err(Refusal::new(ErrorCode::NotRegistered, NOT_REGISTERED));
            }
            Outcome::Registered(_) | Outcome::TakenOver(_) | Outcome::Done => {}
        }
        Ok(News::default())
    }
}
