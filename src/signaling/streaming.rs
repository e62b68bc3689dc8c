//! What a client says about the programme: `start-stream`, `stream-chunk` and `stop-stream`.
//!
//! Owns who may go on air, and the answers to these messages. It deliberately does not know where the programme goes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::icecast::OnAirAccess;
use crate::programme::news::{Busy, Heard, Owner};
use crate::programme::returning::PRESS;
use crate::signaling::contest::Challenged;
use crate::signaling::entry::Entered;
use crate::signaling::member::{Member, not_in_room};
use crate::signaling::registry::NotInRoom;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::PeerId;
use crate::wire::reply::ServerMessage;
use crate::wire::request::Envelope;

impl Member<'_> {
    /// Where the member is, if it may go on air from there.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(super) fn may_stream(&self) -> Result<Entered, Refusal> {
        let present = self.studio.hub.present(self.id).ok_or(NotInRoom).map_err(not_in_room)?;
        if !present.role.leads() {
            let why = "Only hosts and ops can start streaming";
            return Err(Refusal::new(ErrorCode::Forbidden, why));
        }
        let is_open = self.studio.config.on_air_access == OnAirAccess::Open;
        if !is_open && present.invite_end.is_none() {
            let why = "Only invited hosts and ops can start streaming";
            return Err(Refusal::new(ErrorCode::NotInvited, why));
        }
        Ok(present)
    }

    /// Puts the member on air. Where somebody else is, and `may_ask`, that one is asked whether it lives.
    ///
    /// # Errors
    ///
    /// When it may not go on air, or somebody else is.
    pub fn start_stream(&self, may_ask: bool) -> Result<Option<Challenged>, Refusal> {
        let present = self.may_stream()?;
        let owner = Owner {
            peer: self.id,
            client: self.client,
            identity: self.identity,
            room: present.room_id,
        };
        let (room, identity) = (owner.room.clone(), owner.identity);
        match self.studio.on_air.start(owner) {
            Ok(()) => Ok(None),
            Err(Busy(owner)) => {
                // Nobody else gains anything if it is silent.
                let gains = owner.room == room || owner.identity == identity;
                let asked = (may_ask && gains)
                    .then(|| {
                        let hub = &self.studio.hub;
                        hub.challenge_client(owner.peer, hub.holder(owner.client))
                    })
                    .flatten();
                asked.map(Some).ok_or_else(|| on_air(owner.peer))
            }
        }
    }

    /// Takes a piece of the programme. `is_told` is whether the member knows that it is not on air.
    ///
    /// # Errors
    ///
    /// When it is not on air, once.
    pub fn stream_chunk(
        &self,
        envelope: &Envelope,
        is_told: &mut bool,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<(), Refusal> {
        let chunk = envelope.chunk().and_then(|chunk| STANDARD.decode(chunk.as_bytes()).ok());
        match self.studio.on_air.hear(self.client, chunk.as_deref()) {
            Heard::Acknowledged(size) => {
                say(&ServerMessage::ChunkAck { size, request_id: envelope.request_id() });
            }
            Heard::OffAir if !std::mem::replace(is_told, true) => {
                return Err(Refusal::new(ErrorCode::OffAir, PRESS));
            }
            Heard::OffAir | Heard::Ignored => {}
        }
        Ok(())
    }
}

/// The refusal of who wants to go on air while somebody else is.
pub(super) fn on_air(owner: PeerId) -> Refusal {
    Refusal::new(ErrorCode::OnAir, format_args!(r#"Peer "{owner}" is on air"#))
}
