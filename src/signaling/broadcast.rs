//! One message to many.
//!
//! Owns that it is written once and shared by all who hear it. It deliberately does not know who is in a room.

use std::sync::Arc;

use crate::signaling::outbox::{Frame, Outbox, RoomNumber};
use crate::telemetry::metrics::Metrics;
use crate::wire::frame::encode_text;
use crate::wire::reply::ServerMessage;

/// Something to be said to many.
#[derive(Debug, Default)]
#[must_use = "somebody is to hear it"]
pub struct News(Option<Box<Content>>);

/// Of what most messages have none: so it is in a box.
#[derive(Debug)]
struct Content {
    audience: Audience,
    /// Its type, as [`ServerMessage::index`] has it.
    index: usize,
    frame: Frame,
}

/// Who is to hear something about a room, collected under the lock and sent to after it.
#[derive(Debug, Default)]
pub(super) struct Audience {
    pub(super) receivers: Vec<Arc<Outbox>>,
    /// Whoever has left it meanwhile hears nothing.
    pub(super) room: RoomNumber,
    /// Whether it is the last that they hear of it.
    pub(super) ends: bool,
}

impl News {
    /// A message for an audience, for which it is written here.
    pub(super) fn new(audience: Audience, message: &ServerMessage) -> Self {
        if audience.receivers.is_empty() {
            return Self::default();
        }
        let mut frame = Vec::new();
        encode_text(&mut frame, |out| message.write(out));
        let frame = Frame::from(frame);
        Self(Some(Box::new(Content { audience, index: message.index(), frame })))
    }

    /// Says it.
    pub fn send(self, metrics: &Metrics) {
        let Some(content) = self.0 else { return };
        let Content { audience: Audience { receivers, room, ends }, index, frame } = *content;
        let push = |outbox: &&Arc<Outbox>| match ends {
            true => outbox.push_last(&frame, room),
            // What is about no room is for who is somewhere else, too.
            false => outbox.push(&frame, Some(room).filter(|room| *room > 0)),
        };
        metrics.sent(index, receivers.iter().filter(push).count() as u64);
    }

    /// Whether anybody is to hear it.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}
