//! What goes back and forth between a client and the server.
//!
//! Owns the order in which a client is read, answered, told what others say, and asked whether it lives. It deliberately
//! does not know how a connection is closed.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::server::session::alarms::Alarms;
use crate::server::session::buffers::with_scratch;
use crate::server::session::heartbeat::{Beat, Heartbeat};
use crate::server::session::link::Link;
use crate::server::session::outcome::{End, Ready, Tally, Turn};
use crate::server::session::socket::Socket;
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::signaling::broadcast::News;
use crate::signaling::conversation::{ClientInfo, Conversation, KEEP, Message, Output, Replies};
use crate::telemetry::events::Event;
use crate::wire::codes::CloseCode;
use crate::wire::decoder::Received;
use crate::wire::frame::{Opcode, encode};
use crate::wire::ids::ClientId;

/// How long a client's messages are answered before others have their turn. A read can hold thousands, each of them
/// for a hundred receivers.
const TURN: Duration = Duration::from_micros(100);

/// One client's side of the server. Between two turns it is plain data.
#[derive(Debug)]
pub struct Exchange<C> {
    /// What all connections share.
    pub state: Arc<State>,
    /// The client's number.
    pub client: ClientId,
    /// The client's address.
    pub ip: IpAddr,
    /// Its WebSocket.
    pub link: Link,
    /// What it says, and what is said to it.
    pub conversation: C,
    pub(super) heartbeat: Heartbeat,
    /// What has been said up to now.
    pub tally: Tally,
}

impl<C: Conversation> Exchange<C> {
    /// Nothing has been said.
    pub fn new(state: Arc<State>, info: ClientInfo, socket: Socket) -> Self {
        let now = Instant::now();
        let ClientInfo { client, ip, .. } = info;
        Self {
            client,
            ip,
            link: Link::new(socket, state.studio.config.max_message_bytes),
            conversation: C::new(Arc::clone(&state.studio), info),
            state,
            heartbeat: Heartbeat::new(now),
            tally: Tally { since: now, messages_in: 0, messages_out: 0 },
        }
    }

    /// Whether the socket can be read or somebody else has something to say. If there is something to write,
    /// that goes first: then whether the socket takes more, or too much has come for it. Polled by hand,
    /// because a future for each of these would be a third of what an idle client costs.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        if self.conversation.is_contesting() {
            let settled = self.conversation.poll_contest(cx);
            return settled.map(|holder_lives| Ok(Ready::Settled { holder_lives }));
        }
        let is_flushed = self.link.is_flushed();
        if is_flushed && self.link.has_unread() {
            return Poll::Ready(Ok(Ready::Usual));
        }
        let from_others = self.conversation.outbox().map_or(Poll::Pending, |outbox| {
            if is_flushed { outbox.poll_ready(cx) } else { outbox.poll_urgent(cx) }
        });
        if from_others.is_ready() {
            return Poll::Ready(Ok(Ready::Usual));
        }
        self.link.poll_ready(cx).map_ok(|()| Ready::Usual)
    }

    /// The welcome, and the answers to what came with the handshake.
    pub fn greet(&mut self, early: &mut [u8]) -> Option<End> {
        with_scratch(|scratch| {
            self.with_replies(&mut scratch.out, C::greet);
            let end = self.receive(early, &mut scratch.out);
            // A goodbye counts, even if its answer no longer arrives.
            end.or(self.flush(&mut scratch.out.frames))
        })
    }

    /// One turn on a socket that is ready: writes what is pending, else reads once and answers.
    pub fn turn(&mut self, ready: Ready) -> Turn {
        if let Ready::Settled { holder_lives } = ready {
            return self.settle(holder_lives);
        }
        if self.conversation.is_to_yield() {
            return self.yield_place();
        }
        if !self.link.is_flushed() {
            let end = self.take_challenge().or_else(|| self.flush(&mut Vec::new()));
            let end = end.or_else(|| self.collect(&mut Vec::new(), 0));
            self.answer_challenge();
            return end.map_or(Turn::Paused, Turn::End);
        }
        with_scratch(|scratch| {
            let mut unread = self.link.take_unread();
            let input = if unread.is_empty() {
                let buffer = &mut scratch.input;
                let Ok(read) = self.link.read(buffer) else { return Turn::End(End::Gone) };
                &mut buffer[..read]
            } else {
                &mut unread[..]
            };
            let end = self.receive(input, &mut scratch.out);
            // Who says goodbye keeps nothing.
            if end.is_none() {
                self.answer_challenge();
            }
            let end = end.or_else(|| self.collect(&mut scratch.out.frames, KEEP));
            let gone = self.flush(&mut scratch.out.frames);
            let has_more = self.link.has_unread() || self.link.has_more();
            // What had come before it is asked is no answer.
            let asked = || if has_more { None } else { self.take_challenge() };
            match end.or(gone).or_else(asked) {
                Some(end) => Turn::End(end),
                None => Turn::after(has_more),
            }
        })
    }

    /// A session that is to yield handles whole messages that have come, and ends: another connection waits for its place.
    pub(super) fn yield_place(&mut self) -> Turn {
        const END: Turn = Turn::End(End::Refused(CloseCode::REPLACED));
        with_scratch(|scratch| {
            let mut unread = self.link.take_unread();
            let input = if unread.is_empty() {
                let read = self.link.read(&mut scratch.input).unwrap_or(0);
                let outbox = self.conversation.outbox();
                if read == 0 || !outbox.is_some_and(|outbox| outbox.may_read_on(read)) {
                    return END;
                }
                &mut scratch.input[..read]
            } else {
                &mut unread[..]
            };
            // What can't be sent now follows on the other connection.
            let end = self.receive(input, &mut scratch.out).or(self.flush(&mut scratch.out.frames));
            let waits = self.conversation.is_contesting() && !self.conversation.awaits_turn();
            if end.is_some() || waits { END } else { Turn::Busy }
        })
    }

    /// The end of a contest, and then what the client has said since.
    fn settle(&mut self, holder_lives: bool) -> Turn {
        with_scratch(|scratch| {
            // One that has gone meanwhile must not take an id that somebody else waits for as well.
            let may_go = !self.conversation.awaits_turn();
            if may_go && self.link.read_ahead(&mut scratch.input).is_err() {
                return Turn::End(End::Gone);
            }
            let news = self.with_replies(&mut scratch.out, |conversation, replies| {
                conversation.settle(holder_lives, replies)
            });
            if let Some(end) = self.spread(news, &mut scratch.out) {
                return Turn::End(end);
            }
            // What it wants next, the next process hears.
            let is_last = self.state.shutdown.phase() == Phase::HandingOver;
            let mut unread = if is_last { vec![] } else { self.link.take_unread() };
            let end = self.receive(&mut unread, &mut scratch.out);
            end.or(self.flush(&mut scratch.out.frames)).map_or(Turn::Busy, Turn::End)
        })
    }

    /// Gives the client what others have said to it up to now. What the socket does not take is pending.
    pub fn deliver(&mut self) {
        with_scratch(|scratch| {
            // Where it has too much waiting, or its connection is broken, there is nothing more to be done for it.
            if self.collect(&mut scratch.out.frames, usize::MAX).is_none() {
                let _ = self.flush(&mut scratch.out.frames);
            }
        });
    }

    /// Where somebody wants to know whether the client lives, it is asked.
    #[inline]
    fn take_challenge(&mut self) -> Option<End> {
        if !self.conversation.outbox()?.is_challenged() {
            return None;
        }
        self.heartbeat.challenge(Instant::now());
        self.ask()
    }

    fn ask(&mut self) -> Option<End> {
        let mut ping = Vec::new();
        encode(&mut ping, Opcode::Ping, b"", None);
        self.flush(&mut ping)
    }

    /// Answers the challenge, if the client has answered since.
    fn answer_challenge(&mut self) {
        let asked = self.conversation.outbox().filter(|_| self.heartbeat.has_answered());
        if let Some(outbox) = asked {
            outbox.answer_challenge();
        }
    }

    /// Puts what others have to say behind the answers, until there is `enough`, in bytes.
    pub(super) fn collect(&mut self, out: &mut Vec<u8>, enough: usize) -> Option<End> {
        // Its `registered` comes first.
        if self.conversation.is_contesting() {
            return None;
        }
        match self.conversation.outbox()?.take(out, enough) {
            Ok(taken) => {
                self.tally.messages_out += taken;
                None
            }
            Err(code) => {
                if code == CloseCode::TOO_SLOW {
                    self.state.studio.journal.log(Event::ReadsTooSlowly {
                        client_ip: self.ip,
                        client_id: self.client,
                        limit: self.state.studio.config.max_outbox_bytes,
                    });
                }
                Some(End::Refused(code))
            }
        }
    }

    /// Takes what the client sent and puts the answers into `out`.
    fn receive(&mut self, mut input: &mut [u8], out: &mut Output) -> Option<End> {
        if input.is_empty() {
            return None;
        }
        let now = Instant::now();
        let frames = self.link.frames();
        self.link.count(input.len());
        if self.conversation.is_contesting() {
            self.link.keep(input);
            return None;
        }
        loop {
            let next = self.link.decode(&mut input);
            if self.link.frames() != frames {
                self.heartbeat.hear(now);
            }
            let mut end = None;
            match next {
                Ok(None) => return None,
                Err(code) => return Some(End::Refused(code)),
                Ok(Some(Received::Text(text))) => end = self.message(Message::Text(&text), out),
                Ok(Some(Received::Binary(bytes))) => {
                    end = self.message(Message::Binary(&bytes), out);
                }
                Ok(Some(Received::Skipped)) => end = self.message(Message::Skipped, out),
                Ok(Some(Received::Ping(payload))) => {
                    encode(&mut out.frames, Opcode::Pong, &payload, None)
                }
                Ok(Some(Received::Pong)) => {
                    if let Some(round_trip) = self.heartbeat.pong(now) {
                        self.state.studio.metrics.answered(round_trip);
                    }
                }
                Ok(Some(Received::Close(code))) => return Some(End::Closed(code)),
            }
            if end.is_some() || input.is_empty() {
                return end;
            }
            if self.conversation.is_contesting() || now.elapsed() >= TURN {
                self.link.keep(input);
                return None;
            }
        }
    }

    /// One message, and what comes of it.
    fn message(&mut self, message: Message<'_>, out: &mut Output) -> Option<End> {
        self.tally.messages_in += 1;
        // What others said before comes before the answer, which may be that the client is elsewhere now.
        if let Some(end) = self.collect(&mut out.frames, usize::MAX) {
            return Some(end);
        }
        let heard = self.heartbeat.heard();
        let news = self
            .with_replies(out, |conversation, replies| conversation.hear(message, heard, replies));
        self.spread(news, out)
    }

    /// The client hears where it is before the others hear of it.
    #[inline]
    pub(super) fn spread(&mut self, news: News, out: &mut Output) -> Option<End> {
        if news.is_empty() {
            return None;
        }
        let end = self.flush(&mut out.frames);
        news.send(&self.state.studio.metrics);
        end
    }

    pub(super) fn with_replies<T>(
        &mut self,
        out: &mut Output,
        talk: impl FnOnce(&mut C, &mut Replies<'_>) -> T,
    ) -> T {
        let count = &mut self.tally.messages_out;
        let mut replies = Replies::new(out, count, &self.state.studio.metrics);
        let result = talk(&mut self.conversation, &mut replies);
        let Self { state, conversation, link, .. } = self;
        link.bound_messages(conversation.bound(state.studio.config.max_message_bytes));
        result
    }

    /// Writes what is pending and then `out`, which ends empty. What the socket does not take is kept, and counts as
    /// waiting in the outbox.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Option<End> {
        let had = self.link.pending();
        let Ok(has_made_room) = self.link.write(out) else {
            return Some(End::Gone);
        };
        if has_made_room {
            self.heartbeat.hear(Instant::now());
        }
        let has = self.link.pending();
        if had > 0 || has > 0 {
            if let Some(outbox) = self.conversation.outbox() {
                outbox.hold(has);
            }
        }
        None
    }

    /// The time of the heartbeat has come: the client was heard since, or is asked, or is dead.
    pub(super) fn beat(&mut self, alarms: &mut Alarms<'_, '_>) -> Option<End> {
        match self.heartbeat.beat(self.state.studio.config.heartbeat, Instant::now()) {
            Beat::Wait(until) => {
                alarms.set(until);
                None
            }
            Beat::Ask(until) => {
                alarms.set(until);
                self.ask()
            }
            Beat::Dead(silent) => {
                self.state.studio.journal.log(Event::ClientDead {
                    client_ip: self.ip,
                    client_id: self.client,
                    silent_ms: silent.as_millis() as u64,
                });
                Some(End::Refused(CloseCode::DEAD))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;
    use crate::server::session::link::tests::connected;
    use crate::signaling::handler::Signaling;
    use crate::signaling::studio::Studio;
    use crate::wire::ids::Identity;

    fn info() -> ClientInfo {
        let (ip, identity) = ([127, 0, 0, 1].into(), Identity::random());
        ClientInfo { client: ClientId(1), ip, identity, is_check: false }
    }

    /// A conversation in which ten messages take as long as a turn.
    struct TakesItsTime;

    impl Conversation for TakesItsTime {
        fn new(_studio: Arc<Studio>, _info: ClientInfo) -> Self {
            Self
        }

        fn greet(&mut self, _replies: &mut Replies<'_>) {}

        fn hear(&mut self, message: Message<'_>, _: Instant, replies: &mut Replies<'_>) -> News {
            // The clock moves at once; what is left to be awaited is that the others have a turn.
            let _ = tokio::time::advance(TURN / 10).now_or_never();
            replies.send(message);
            News::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_read_brings_is_answered_in_turns_and_to_the_end() {
        const MESSAGES: usize = 1_000;
        let (mut client, socket) = connected().await;
        let state = Arc::new(State::without_settings());
        let mut exchange = Exchange::<TakesItsTime>::new(state, info(), socket);
        let mut frames = Vec::new();
        for _ in 0..MESSAGES {
            encode(&mut frames, Opcode::Text, b"x", Some([0; 4]));
        }
        std::io::Write::write_all(&mut client, &frames).unwrap();
        poll_fn(|cx| exchange.link.poll_ready(cx)).await.unwrap();
        let mut turns = 0;
        while exchange.tally.messages_in < MESSAGES as u64 {
            // The rest needs nothing new from the client.
            poll_fn(|cx| exchange.poll_ready(cx)).await.unwrap();
            let turn = exchange.turn(Ready::Usual);
            turns += 1;
            let rests = exchange.link.has_unread();
            assert_eq!(turn, if rests { Turn::Busy } else { Turn::Paused });
            assert_eq!(exchange.tally.messages_in, turns * 10);
        }
        assert_eq!(turns, 100);
        assert_eq!(exchange.link.bytes().0, frames.len() as u64);
        assert!(poll_fn(|cx| Poll::Ready(exchange.poll_ready(cx).is_pending())).await);
    }

    #[tokio::test]
    async fn who_reads_slowly_is_alive_and_who_does_not_read_is_not() {
        let (mut client, socket) = connected().await;
        let state = Arc::new(State::without_settings());
        let mut exchange = Exchange::<Signaling>::new(state, info(), socket);
        let long_ago = Instant::now() - Duration::from_secs(60);
        exchange.flush(&mut vec![0; 20_000_000]);
        let mut pending = usize::MAX;
        while exchange.link.pending() < pending {
            pending = exchange.link.pending();
            poll_fn(|cx| exchange.link.poll_ready(cx)).await.unwrap();
            exchange.flush(&mut Vec::new());
        }
        exchange.heartbeat.hear(long_ago);
        assert_eq!(exchange.flush(&mut Vec::new()), None);
        assert_eq!(exchange.heartbeat.heard(), long_ago, "nothing was taken");
        let taken = 20_000_000 - pending;
        std::io::Read::read_exact(&mut client, &mut vec![0; taken]).unwrap();
        poll_fn(|cx| exchange.link.poll_ready(cx)).await.unwrap();
        assert_eq!(exchange.flush(&mut Vec::new()), None);
        assert!(exchange.heartbeat.heard() > long_ago, "the client made room");
    }
}
