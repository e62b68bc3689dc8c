//! The conversation that the server is for: messages of the protocol in, replies and refusals out.
//!
//! Owns how often a client may speak, and what the log says of its messages. It deliberately knows no
//! rooms: what a message asks for is the client's business.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::signaling::broadcast::News;
use crate::signaling::conversation::{Conversation, Message, Replies};
use crate::signaling::outbox::Outbox;
use crate::signaling::registration::Client;
use crate::signaling::studio::Studio;
use crate::telemetry::events::Event;
use crate::telemetry::level::Level;
use crate::telemetry::metrics::Relay;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::ClientId;
use crate::wire::reply::{ServerMessage, WELCOME};
use crate::wire::request::{Envelope, MessageType};

/// How many `stream-chunk` a client may send in the window of `RATE_LIMIT`.
const MAX_CHUNKS: u32 = 500;

/// The window of `RATE_LIMIT`.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// What a client says and hears.
#[derive(Debug)]
pub struct Signaling {
    /// What it may say, and what others say to it.
    client: Client,
    rate: RateWindow,
    /// Bit sets of the types and the error codes that have been logged once; the last bit of the codes is for
    /// pieces of a stream.
    seen_types: u32,
    seen_errors: u32,
}

impl Conversation for Signaling {
    fn new(studio: Arc<Studio>, client: ClientId, ip: IpAddr) -> Self {
        Self {
            rate: RateWindow::new(studio.config.rate_limit, Instant::now()),
            client: Client::new(studio, client, ip),
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
        };
        let parsed = text.and_then(|text| Some((text, Envelope::parse(text)?)));
        let Some((text, envelope)) = parsed else {
            self.client.studio().metrics.received(None);
            self.refuse(&Refusal::INVALID_JSON, None, replies);
            return News::default();
        };
        let request_id = envelope.request_id();
        let kind = envelope.kind();
        self.client.studio().metrics.received(kind.as_ref().ok().copied());
        let is_chunk = envelope.is_stream_chunk();
        if !self.rate.allows(is_chunk, heard) {
            if is_chunk {
                self.log_chunks();
            } else {
                self.log_refusal(&Refusal::RATE_LIMIT);
            }
            self.count_refused_relay(kind.ok(), &Refusal::RATE_LIMIT);
            self.answer_refusal(&Refusal::RATE_LIMIT, request_id, replies);
            return News::default();
        }
        let relayed = kind.as_ref().ok().copied();
        let said = kind.and_then(|kind| {
            self.log_message(kind);
            self.client.hear(kind, &envelope, text, |reply| replies.say(reply))
        });
        said.unwrap_or_else(|refusal| {
            self.count_refused_relay(relayed, &refusal);
            self.refuse(&refusal, request_id, replies);
            News::default()
        })
    }

    fn outbox(&self) -> Option<&Outbox> {
        self.client.outbox()
    }

    fn is_contesting(&self) -> bool {
        self.client.is_contesting()
    }

    fn poll_contest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.client.poll_contest(cx)
    }

    fn settle(&mut self, holder_lives: bool, replies: &mut Replies<'_>) {
        if let Some((registered, request_id)) = self.client.settle(holder_lives) {
            let request_id = request_id.as_deref();
            match registered {
                Ok(peer_id) => replies.say(&ServerMessage::Registered { peer_id, request_id }),
                Err(refusal) => self.refuse(&refusal, request_id, replies),
            }
        }
    }

    fn leave(&mut self, others_are_told: bool) {
        self.client.leave(others_are_told);
    }
}

impl Signaling {
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

    /// Pieces of a stream have a limit that no setting raises.
    fn log_chunks(&mut self) {
        if first_time(&mut self.seen_errors, u32::BITS - 1) {
            let ((client_ip, client_id), limit) = (self.client.address(), MAX_CHUNKS);
            self.client.studio().journal.log(Event::StreamLimited { client_ip, client_id, limit });
        }
    }

    fn log_refusal(&mut self, refusal: &Refusal) {
        let first = first_time(&mut self.seen_errors, refusal.code as u32);
        let studio = self.client.studio();
        let journal = &studio.journal;
        let ((client_ip, client_id), error_code) = (self.client.address(), refusal.code);
        if first && error_code == ErrorCode::RateLimitExceeded {
            let limit = studio.config.rate_limit.unwrap_or_default();
            journal.log(Event::RateLimited { client_ip, client_id, limit });
        } else if first {
            let reason = refusal.message.to_string();
            journal.log(Event::FirstRejected { client_ip, client_id, error_code, reason });
        } else if journal.logs(Level::Debug) {
            let reason = refusal.message.to_string();
            journal.log(Event::Rejected { client_ip, client_id, error_code, reason });
        }
    }
}

/// Counts messages in windows that start with the first message behind the last window.
#[derive(Debug)]
struct RateWindow {
    limit: Option<u32>,
    start: Instant,
    count: u32,
    /// Pieces of streams, which are many by nature.
    chunks: u32,
}

impl RateWindow {
    fn new(limit: Option<u32>, now: Instant) -> Self {
        Self { limit, start: now, count: 0, chunks: 0 }
    }

    fn allows(&mut self, is_chunk: bool, now: Instant) -> bool {
        let Some(limit) = self.limit else {
            return true;
        };
        if now - self.start >= RATE_WINDOW {
            self.start = now;
            self.count = 0;
            self.chunks = 0;
        }
        let (count, limit) =
            if is_chunk { (&mut self.chunks, MAX_CHUNKS) } else { (&mut self.count, limit) };
        *count = count.saturating_add(1);
        *count <= limit
    }
}

/// Whether `bit` was not yet in `set`; it is now.
fn first_time(set: &mut u32, bit: u32) -> bool {
    let first = *set & (1 << bit) == 0;
    *set |= 1 << bit;
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_limit_counts_in_windows_of_ten_seconds() {
        let start = Instant::now();
        let mut rate = RateWindow::new(Some(2), start);
        let late = start + Duration::from_millis(9_999);
        assert!(rate.allows(false, start) && rate.allows(false, late) && !rate.allows(false, late));
        let next = start + RATE_WINDOW;
        assert!(rate.allows(false, next) && rate.allows(false, next) && !rate.allows(false, next));
        // Pieces of streams are counted apart.
        assert!((0..500).all(|_| rate.allows(true, next)) && !rate.allows(true, next));
        let mut unlimited = RateWindow::new(None, start);
        assert!((0..1_000).all(|_| unlimited.allows(false, start)));
    }
}
