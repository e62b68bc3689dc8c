//! The conversation that the server is for: messages of the protocol in, replies and refusals out.
//!
//! Owns what a message counts as, and what the log says of it. It deliberately knows no
//! rooms: what a message asks for is the client's business.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::signaling::broadcast::News;
use crate::signaling::budget::{Class, ClientBudget, Exceeded};
use crate::signaling::carried::{CarriedConversation, Owed};
use crate::signaling::client::Client;
use crate::signaling::contest::Settled;
use crate::signaling::conversation::{ClientInfo, Conversation, Message, Replies};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::parting::Parting;
use crate::signaling::studio::Studio;
use crate::telemetry::events::Event;
use crate::telemetry::level::Level;
use crate::telemetry::metrics::Relay;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::decoder::Bound;
use crate::wire::reply::{ServerMessage, WELCOME};
use crate::wire::request::{Envelope, MessageType};

/// The largest message of the one on air, in bytes: three minutes at 128 kbps, of a page that was blocked. A larger one is
/// skipped: an end of the connection would be worse for listeners.
const MOST_PIECE: usize = 4 * 1024 * 1024;

/// What a client says and hears.
#[derive(Debug)]
pub struct Signaling {
    /// What it may say, and what others say to it.
    client: Client,
    budget: ClientBudget,
    /// Bit sets of the types and the error codes that have been logged once; the last bit of the codes is for
    /// pieces of a stream.
    seen_types: u32,
    seen_errors: u32,
}

impl Conversation for Signaling {
    fn new(studio: Arc<Studio>, info: ClientInfo) -> Self {
        Self {
            budget: ClientBudget::new(studio.config.rate_limit, Instant::now()),
            client: Client::new(studio, info),
            seen_types: 0,
            seen_errors: 0,
        }
    }

    fn greet(&mut self, replies: &mut Replies<'_>) {
        replies.say(&ServerMessage::Welcome { message: WELCOME });
    }

    fn hear(&mut self, message: Message<'_>, heard: Instant, replies: &mut Replies<'_>) -> News {
        let text = match message {
            Message::Text(text) => Some(text),
            Message::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            Message::Skipped => {
                self.skip();
                return News::default();
            }
        };
        let mut envelope = Envelope::default();
        let Some(text) = text.filter(|text| envelope.read(text).is_some()) else {
            self.client.studio().metrics.received(None);
            self.refuse(&Refusal::INVALID_JSON, None, replies);
            return News::default();
        };
        self.hear_text(text, &envelope, heard, replies)
    }

    fn outbox(&self) -> Option<&Outbox> {
        self.client.outbox()
    }

    fn is_contesting(&self) -> bool {
        self.client.is_contesting()
    }

    fn awaits_turn(&self) -> bool {
        self.client.awaits_turn()
    }

    fn poll_contest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.client.poll_contest(cx)
    }

    fn settle(&mut self, holder_lives: bool, replies: &mut Replies<'_>) -> News {
        let Some(settled) = self.client.settle(holder_lives) else { return News::default() };
        self.take_back_budget();
        match settled {
            Settled::Registered { id, request_id } => {
                let request_id = request_id.as_deref();
                match id {
                    Ok(peer_id) => {
                        let resume = &self.client.resume();
                        replies.say(&ServerMessage::Registered { peer_id, resume, request_id });
                    }
                    Err(refusal) => self.refuse(&refusal, request_id, replies),
                }
                News::default()
            }
            Settled::Rival { text } => self.answer_again(&text, replies),
            Settled::Turn { pending, outcome } => {
                let (kind, request_id) = (pending.kind, pending.request_id.clone());
                let said = self.client.conclude(pending, outcome, |reply| replies.say(reply));
                self.answered(Some(kind), request_id.as_deref(), said, replies)
            }
        }
    }

    fn bound(&self, usual: usize) -> Bound {
        match self.client.is_streaming() {
            true => Bound::Skip(usual.max(MOST_PIECE)),
            false => Bound::End(usual),
        }
    }

    fn carry(&mut self, now: Instant) -> Option<CarriedConversation> {
        Some(CarriedConversation {
            client: self.client.carry(now),
            budget: self.budget.carry(now),
            seen_types: self.seen_types,
            seen_errors: self.seen_errors,
        })
    }

    fn go_on(
        studio: Arc<Studio>,
        info: ClientInfo,
        carried: CarriedConversation,
        now: Instant,
    ) -> Option<(Self, Option<Owed>)> {
        let budget = carried.budget(studio.config.rate_limit, now);
        let CarriedConversation { client, seen_types, seen_errors, .. } = carried;
        let (client, owed) = Client::go_on(studio, info, client, now)?;
        Some((Self { client, budget, seen_types, seen_errors }, owed))
    }

    fn pay(&mut self, owed: Owed, replies: &mut Replies<'_>) -> News {
        match owed {
            Owed::Registered(request_id) => {
                if let Some(peer_id) = self.client.id() {
                    let (resume, request_id) = (&self.client.resume(), request_id.as_deref());
                    replies.say(&ServerMessage::Registered { peer_id, resume, request_id });
                }
                News::default()
            }
            Owed::Answer(text) => self.answer_again(&text, replies),
            Owed::Unavailable(request_id) => {
                self.refuse(&Refusal::UNAVAILABLE, request_id.as_deref(), replies);
                News::default()
            }
        }
    }

    fn leave(&mut self, parting: Parting, unsent: Vec<u8>) {
        self.client.leave(parting, unsent, &self.budget);
    }
}

impl Signaling {
    /// Counts a message, and answers it where it is not too much.
    fn hear_text(
        &mut self,
        text: &str,
        envelope: &Envelope<'_>,
        heard: Instant,
        replies: &mut Replies<'_>,
    ) -> News {
        let request_id = envelope.request_id();
        let kind = envelope.kind();
        self.client.studio().metrics.received(kind.as_ref().ok().copied());
        let class = match &kind {
            Ok(MessageType::StreamChunk) => Class::Chunk,
            Ok(kind) if kind.is_relayed() => Class::Relay,
            // It can be wrong otherwise.
            Err(_) if envelope.is_stream_chunk() => Class::Chunk,
            _ => Class::Counted,
        };
        if let Err(exceeded) = self.take(class, heard) {
            self.log_exceeded(class, exceeded);
            if class == Class::Chunk {
                self.client.lose_chunk();
            }
            self.count_refused_relay(kind.ok(), &Refusal::RATE_LIMIT);
            self.answer_refusal_of(None, &Refusal::RATE_LIMIT, request_id, replies);
            return News::default();
        }
        if let Ok(kind) = &kind {
            self.log_message(*kind);
        }
        self.answer(kind, envelope, text, replies)
    }

    /// Does what a message asks for, and answers it.
    fn answer(
        &mut self,
        kind: Result<MessageType, Refusal>,
        envelope: &Envelope<'_>,
        text: &str,
        replies: &mut Replies<'_>,
    ) -> News {
        let (known, request_id) = (kind.as_ref().ok().copied(), envelope.request_id());
        let said = kind
            .and_then(|kind| self.client.hear(kind, envelope, text, |reply| replies.say(reply)));
        self.answered(known, request_id, said, replies)
    }

    /// What comes of a message once it has its answer, or its refusal.
    fn answered(
        &mut self,
        known: Option<MessageType>,
        request_id: Option<&str>,
        said: Result<News, Refusal>,
        replies: &mut Replies<'_>,
    ) -> News {
        if known == Some(MessageType::Register) {
            self.take_back_budget();
        }
        said.unwrap_or_else(|refusal| {
            self.count_refused_relay(known, &refusal);
            if refusal.code == ErrorCode::RateLimitExceeded {
                // Of what an address may do, it is the one that this message is about.
                let is_registration = known == Some(MessageType::Register);
                let exceeded =
                    if is_registration { Exceeded::REGISTRATIONS } else { Exceeded::ROOMS };
                self.log_exceeded(Class::Counted, exceeded);
                self.answer_refusal(&refusal, request_id, replies);
            } else {
                self.log_refusal(&refusal);
                self.answer_refusal_of(known, &refusal, request_id, replies);
            }
            News::default()
        })
    }

    /// A piece of the programme that was too large is lost.
    fn skip(&self) {
        let studio = self.client.studio();
        studio.metrics.received(Some(MessageType::StreamChunk));
        let (client_ip, client_id) = self.client.address();
        studio.journal.log(Event::PieceSkipped { client_ip, client_id, most_bytes: MOST_PIECE });
        self.client.lose_chunk();
    }

    /// Answers a message that has waited.
    fn answer_again(&mut self, text: &str, replies: &mut Replies<'_>) -> News {
        match Envelope::parse(text) {
            Some(envelope) => self.answer(envelope.kind(), &envelope, text, replies),
            None => News::default(),
        }
    }

    /// A client that is back may send what it could before.
    fn take_back_budget(&mut self) {
        if let Some(budget) = self.client.take_budget() {
            self.budget = budget;
        }
    }

    /// Counts a message against what the client and its address may send.
    fn take(&mut self, class: Class, now: Instant) -> Result<(), Exceeded> {
        self.budget.take(class, now, || self.client.others_in_room())?;
        match self.client.address_budget() {
            Some(address) if class == Class::Counted => address.take_message(now),
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, refusal: &Refusal, request_id: Option<&str>, replies: &mut Replies<'_>) {
        self.log_refusal(refusal);
        self.answer_refusal(refusal, request_id, replies);
    }

    fn answer_refusal(
        &self,
        refusal: &Refusal,
        request_id: Option<&str>,
        replies: &mut Replies<'_>,
    ) {
        self.client.studio().metrics.refused(refusal.code);
        replies.say(&ServerMessage::Error {
            message: &refusal.message,
            code: refusal.code,
            request_id,
        });
    }

    /// As [`Self::answer_refusal`], but of what a host on air does not do by itself: the studio shows an error in a way
    /// that stops its page, and the audio with it.
    fn answer_refusal_of(
        &self,
        kind: Option<MessageType>,
        refusal: &Refusal,
        request_id: Option<&str>,
        replies: &mut Replies<'_>,
    ) {
        let is_quiet = refusal.code == ErrorCode::RateLimitExceeded
            || kind.is_some_and(|kind| kind.is_relayed() || kind == MessageType::Mute);
        if !is_quiet || !self.client.is_on_air() {
            return self.answer_refusal(refusal, request_id, replies);
        }
        self.client.studio().metrics.refused(refusal.code);
        let (message, code) = (&*refusal.message, refusal.code);
        replies.say(&ServerMessage::Notice { message, code, request_id });
    }

    /// The outcome of a relay that nobody looked for a receiver of. Of the others the hub knows.
    fn count_refused_relay(&self, kind: Option<MessageType>, refusal: &Refusal) {
        let is_counted =
            matches!(refusal.code, ErrorCode::PeerNotConnected | ErrorCode::DifferentRoom);
        if let Some(kind) = kind.filter(|kind| kind.is_relayed() && !is_counted) {
            self.client.studio().metrics.relayed(kind, Relay::Refused);
        }
    }

    fn log_message(&mut self, kind: MessageType) {
        let first = first_time(&mut self.seen_types, kind as u32);
        let journal = &self.client.studio().journal;
        let ((client_ip, client_id), message_type) = (self.client.address(), kind.name());
        if first {
            journal.log(Event::FirstMessage { client_ip, client_id, message_type });
        } else if journal.logs(Level::Debug) {
            journal.log(Event::Message { client_ip, client_id, message_type });
        }
    }

    fn log_exceeded(&mut self, class: Class, Exceeded { limit, what }: Exceeded) {
        // Pieces of a stream have a line of their own.
        let (bit, is_chunk) = match class {
            Class::Chunk => (u32::BITS - 1, true),
            _ => (ErrorCode::RateLimitExceeded as u32, false),
        };
        let first = first_time(&mut self.seen_errors, bit);
        let journal = &self.client.studio().journal;
        let (client_ip, client_id) = self.client.address();
        if first && is_chunk {
            journal.log(Event::StreamLimited { client_ip, client_id, limit });
        } else if first {
            journal.log(Event::RateLimited { client_ip, client_id, limit, what });
        } else if !is_chunk && journal.logs(Level::Debug) {
            let (error_code, reason) =
                (ErrorCode::RateLimitExceeded, Refusal::RATE_LIMIT.message.to_string());
            journal.log(Event::Rejected { client_ip, client_id, error_code, reason });
        }
    }

    fn log_refusal(&mut self, refusal: &Refusal) {
        let first = first_time(&mut self.seen_errors, refusal.code as u32);
        let studio = self.client.studio();
        let journal = &studio.journal;
        let ((client_ip, client_id), error_code) = (self.client.address(), refusal.code);
        if first {
            let reason = refusal.message.to_string();
            journal.log(Event::FirstRejected { client_ip, client_id, error_code, reason });
        } else if journal.logs(Level::Debug) {
            let reason = refusal.message.to_string();
            journal.log(Event::Rejected { client_ip, client_id, error_code, reason });
        }
    }
}

/// Whether `bit` was not yet in `set`; it is now.
fn first_time(set: &mut u32, bit: u32) -> bool {
    let first = *set & (1 << bit) == 0;
    *set |= 1 << bit;
    first
}
