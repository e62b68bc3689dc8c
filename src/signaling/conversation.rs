//! What a session is for: who hears a client's messages, and how it replies.
//!
//! Owns the [`Conversation`] trait, which connects a session to the message code: `Signaling` implements it for the
//! server, and the echo example for a conformance suite. It deliberately knows no socket, and not what messages mean.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::signaling::broadcast::News;
use crate::signaling::carried::{CarriedConversation, Owed};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::parting::Parting;
use crate::signaling::studio::Studio;
use crate::telemetry::metrics::Metrics;
use crate::wire::decoder::Bound;
use crate::wire::frame::{Opcode, encode, encode_text};
use crate::wire::ids::{ClientId, Identity};
use crate::wire::reply::ServerMessage;

/// A whole message from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// One that was too large, and was skipped.
    Skipped,
}

/// Who is behind a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Identified {
    /// Who is behind it, until it proves to be somebody else.
    pub identity: Identity,
    /// Whether it only checks the server, so that nothing is kept for it when it goes.
    pub is_check: bool,
}

/// What is known of a client from its handshake.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo {
    /// Its number.
    pub client: ClientId,
    /// Where it connects from.
    pub ip: IpAddr,
    /// Who is behind it, until it proves to be somebody else.
    pub identity: Identity,
    /// Whether it only checks the server, so that nothing is kept for it when it goes.
    pub is_check: bool,
}

/// What a session does with the messages of its client. The session holds it as a type parameter, so there is no box
/// and no dynamic call.
pub trait Conversation: Send + 'static {
    /// The conversation with a client.
    fn new(studio: Arc<Studio>, info: ClientInfo) -> Self;

    /// Says what is said first.
    fn greet(&mut self, replies: &mut Replies<'_>);

    /// Hears a message that came at `heard`. Returns what others are to hear once the replies have been
    /// sent.
    fn hear(&mut self, message: Message<'_>, heard: Instant, replies: &mut Replies<'_>) -> News;

    /// What others want the client to hear, if they can.
    fn outbox(&self) -> Option<&Outbox> {
        None
    }

    /// Whether a message waits for its answer until a contest is over. Until then the client is not
    /// listened to: its messages are handled in order.
    fn is_contesting(&self) -> bool {
        false
    }

    /// Whether it waits for a change to be made, which nobody can take back.
    fn awaits_turn(&self) -> bool {
        false
    }

    /// Whether the contest is over, and if so whether the other side of it lives.
    fn poll_contest(&mut self, _cx: &mut Context<'_>) -> Poll<bool> {
        Poll::Pending
    }

    /// Ends the contest, and gives the answer. Returns what others are to hear once the replies have been sent.
    fn settle(&mut self, _holder_lives: bool, _replies: &mut Replies<'_>) -> News {
        News::default()
    }

    /// Whether the client is to make room for another connection of its own.
    fn is_to_yield(&self) -> bool {
        self.outbox().is_some_and(Outbox::is_to_yield)
    }

    /// How large a message of the client may be, where it is `usual` bytes for others. Asked after each message.
    fn bound(&self, usual: usize) -> Bound {
        Bound::End(usual)
    }

    /// What of it is carried to the process that follows at `now`; nothing more is heard or said here. `None` where it
    /// can't be carried.
    fn carry(&mut self, _now: Instant) -> Option<CarriedConversation> {
        None
    }

    /// It goes on at `now`, and says what is owed. `None` where it can't.
    fn go_on(
        _studio: Arc<Studio>,
        _info: ClientInfo,
        _carried: CarriedConversation,
        _now: Instant,
    ) -> Option<(Self, Option<Owed>)>
    where
        Self: Sized,
    {
        None
    }

    /// Says what was owed when it was carried. Returns what others are to hear once the replies have been sent.
    fn pay(&mut self, _owed: Owed, _replies: &mut Replies<'_>) -> News {
        News::default()
    }

    /// The client goes like this: nothing more is heard or said. `unsent` are the messages that it did not get.
    fn leave(&mut self, _parting: Parting, _unsent: Vec<u8>) {}
}

/// The largest buffer for output that a thread keeps, in bytes.
pub const KEEP: usize = 64 * 1024;

/// Frames on their way to a socket.
#[derive(Debug, Default)]
pub struct Output {
    /// Whole frames.
    pub frames: Vec<u8>,
}

impl Output {
    /// Empties it, and gives back what a long message took.
    pub fn clear(&mut self) {
        self.frames.clear();
        if self.frames.capacity() > KEEP {
            self.frames.shrink_to(KEEP);
        }
    }
}

/// Takes what a client is told, and counts it.
#[derive(Debug)]
pub struct Replies<'a> {
    out: &'a mut Output,
    count: &'a mut u64,
    metrics: &'a Metrics,
}

impl<'a> Replies<'a> {
    /// Replies that go into `out`.
    pub fn new(out: &'a mut Output, count: &'a mut u64, metrics: &'a Metrics) -> Self {
        Self { out, count, metrics }
    }

    /// Says something in the protocol's words.
    pub fn say(&mut self, message: &ServerMessage) {
        self.metrics.sent(message.index(), 1);
        encode_text(&mut self.out.frames, |out| message.write(out));
        *self.count += 1;
    }

    /// Sends a message as it is.
    pub fn send(&mut self, message: Message<'_>) {
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, bytes),
            // There is nothing of it.
            Message::Skipped => return,
        };
        encode(&mut self.out.frames, opcode, payload, None);
        *self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reply_is_no_loan_for_ever() {
        let (mut out, mut count, metrics) = (Output::default(), 0, Metrics::default());
        let long = "x".repeat(2 * KEEP);
        let mut replies = Replies::new(&mut out, &mut count, &metrics);
        replies.say(&ServerMessage::Welcome { message: &long });
        assert!(out.frames.capacity() > KEEP);
        out.clear();
        assert!(out.frames.capacity() <= KEEP);
    }
}
