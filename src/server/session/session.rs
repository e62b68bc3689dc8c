//! One client, from its welcome to its close frame.
//!
//! Owns what the client said, what it is owed, and how its connection ends. It deliberately does not know
//! how the WebSocket came about.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::consume_budget;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::server::limits::clients::{Crowded, Slot};
use crate::server::limits::fairness::Fairness;
use crate::server::session::socket::Socket;
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::signaling::conversation::{Conversation, KEEP, Message, Output, Replies};
use crate::telemetry::events::Event;
use crate::telemetry::refused::Refused;
use crate::wire::codes::CloseCode;
use crate::wire::decoder::{Decoder, Received};
use crate::wire::frame::{Opcode, encode, encode_close};
use crate::wire::head::Endpoint;
use crate::wire::ids::ClientId;

/// How long a client has to answer a heartbeat.
const PONG_TIME: Duration = Duration::from_secs(10);

/// How long the server reads on after its last frame. Closing a socket with unread bytes in it would
/// reset the connection, and the reset could overtake the close frame.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client that has its close frame may be silent before it is taken for gone, and how long it may go on to
/// say anything but goodbye: what it says comes too late.
const SILENCE: Duration = Duration::from_secs(1);
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How long a client that has not read everything may take to read up to its close frame. It holds at most
/// what `MAX_OUTBOX_BYTES` allows.
const SLOW_GOODBYE: Duration = Duration::from_secs(10);

/// How much is read at once, in bytes. What one read holds is answered before the next, so the answers
/// that wait for a slow client are bounded by what 16 KiB of messages can ask for.
const READ: usize = 16 * 1024;

/// How long a client's messages are answered before others have their turn. A read can hold thousands, each of them
/// for a hundred receivers.
const TURN: Duration = Duration::from_micros(100);

/// The most that a session reads ahead while its client waits for an id, in bytes: enough to find the end of TCP
/// behind the messages of a page's start.
const UNREAD: usize = 4 * READ;

thread_local! {
    /// What a session works in while it holds the thread. An idle session owns no buffer.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; READ],
        out: Output::default(),
    });
}

struct Scratch {
    input: Vec<u8>,
    out: Output,
}

/// A connected client. Between two turns it is plain data.
#[derive(Debug)]
pub struct Session<C> {
    state: Arc<State>,
    socket: Socket,
    /// Until it ends.
    slot: Option<Slot>,
    client: ClientId,
    ip: IpAddr,
    /// Whether the client's subnet has too many: it is only told so.
    crowded: bool,
    decoder: Decoder,
    /// What the socket did not take yet. While there is some, nothing more is read.
    pending: Vec<u8>,
    /// When the client last answered: a whole frame came, or it made room in a socket that was full.
    heard: Instant,
    /// When a heartbeat was sent that the client has not answered yet.
    pinged: Option<Instant>,
    /// What it says, and what is said to it.
    conversation: C,
    /// What was read and has to wait: for the client's next turn, or until a contest is settled.
    unread: Vec<u8>,
    /// Since when somebody wants to know whether the client lives.
    challenged: Option<Instant>,
    tally: Tally,
    /// How it ended, once it did: the close code, and whose it was.
    ended: (CloseCode, &'static str),
}

/// What the log says when the client has gone.
#[derive(Debug)]
struct Tally {
    since: Instant,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Why the talking stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client sent a close frame.
    Closed(Option<u16>),
    /// The client broke the protocol, or is dead.
    Refused(CloseCode),
    /// The server goes: the client has until the end of the grace period to answer.
    Going(CloseCode),
    /// The connection broke off.
    Gone,
}

/// What a turn on a ready socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The socket has nothing more now.
    Paused,
    /// The client has said more than a turn reads or answers.
    Busy,
    /// The talking stops.
    End(End),
}

/// How a client that was told to go did so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    /// It answered, or has gone, or makes no sense.
    Said,
    /// It has its close frame, and says nothing.
    Silent,
}

/// What a turn is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// The socket or the outbox.
    Usual,
    /// A contest is over: whether the holder of what was wanted lives.
    Settled { holder_lives: bool },
}

impl Turn {
    fn after(socket: &Socket) -> Self {
        if socket.has_more() { Self::Busy } else { Self::Paused }
    }

    /// Lets others have the thread. A socket that is always ready would keep it for ever: waiting for a
    /// ready socket is no pause.
    async fn give_way(self, fairness: &Fairness) {
        match self {
            // In a box: few need it, and none for long.
            Self::Busy => Box::pin(fairness.talk()).await,
            _ => consume_budget().await,
        }
    }
}

impl<C: Conversation> Session<C> {
    /// A session for the client that sits on `slot` and connects from `ip` by `socket`.
    pub fn new(state: Arc<State>, slot: Slot, ip: IpAddr, socket: Socket) -> Self {
        let now = Instant::now();
        let (client_ip, client_id) = (ip, slot.client);
        match slot.crowded() {
            None => state.studio.journal.log(Event::ClientConnected { client_ip, client_id }),
            Some(Crowded { limit }) => {
                state.studio.metrics.turned_away(Refused::AddressFull);
                state.studio.journal.log(Event::AddressFull { client_ip, limit });
            }
        }
        Self {
            decoder: Decoder::new(Endpoint::Server, state.studio.config.max_message_bytes),
            conversation: C::new(Arc::clone(&state.studio), slot.client, ip),
            unread: Vec::new(),
            challenged: None,
            state,
            socket,
            client: slot.client,
            crowded: slot.crowded().is_some(),
            slot: Some(slot),
            ip,
            pending: Vec::new(),
            heard: now,
            pinged: None,
            tally: Tally { since: now, messages_in: 0, messages_out: 0, bytes_in: 0, bytes_out: 0 },
            ended: (CloseCode::ABNORMAL, "nobody"),
        }
    }

    /// Serves the client until its connection has ended. `early` is what came behind the handshake. A
    /// client whose session panics is told so, as the others are by the drain that follows.
    ///
    /// It borrows what it works on, and the inner future has a box: a future holds what it is given once for
    /// each function on the way, and there are as many of these as clients.
    pub async fn run(&mut self, early: &mut Vec<u8>) {
        let served = AssertUnwindSafe(Box::pin(self.serve(early))).catch_unwind().await;
        if served.is_err() {
            say_failed(&mut self.socket, &self.state.fairness).await;
        }
    }

    async fn serve(&mut self, early: &mut Vec<u8>) {
        let end = self.talk(early).await;
        *early = Vec::new();
        // The others need not wait for the goodbye.
        self.conversation.leave();
        self.leave(end).await;
    }

    async fn talk(&mut self, early: &mut [u8]) -> End {
        let state = Arc::clone(&self.state);
        if self.crowded {
            return End::Refused(CloseCode::TOO_MANY);
        }
        if let Some(end) = self.greet(early) {
            return end;
        }
        let mut draining = std::pin::pin!(state.shutdown.reached(Phase::Draining));
        let mut heartbeat = std::pin::pin!(sleep(state.studio.config.heartbeat));
        loop {
            // The heartbeat comes last: bytes that wait to be read are an answer.
            tokio::select! {
                biased;
                () = &mut draining => return End::Going(self.parting_code()),
                ready = poll_fn(|cx| self.poll_ready(cx)) => {
                    match ready.map_or(Turn::End(End::Gone), |ready| self.turn(ready)) {
                        Turn::End(end) => return end,
                        turn => turn.give_way(&state.fairness).await,
                    }
                }
                () = &mut heartbeat => {
                    if let Some(end) = self.beat(heartbeat.as_mut()) {
                        return end;
                    }
                }
            }
        }
    }

    /// Whether the socket can be read or somebody else has something to say. If there is something to write,
    /// that goes first: then whether the socket takes more, or too much has come for it. Polled by hand,
    /// because a future for each of these would be a third of what an idle client costs.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        if self.conversation.is_contesting() {
            let settled = self.conversation.poll_contest(cx);
            return settled.map(|holder_lives| Ok(Ready::Settled { holder_lives }));
        }
        let all_is_out = self.all_is_out();
        if all_is_out && !self.unread.is_empty() {
            return Poll::Ready(Ok(Ready::Usual));
        }
        let from_others = self.conversation.outbox().map_or(Poll::Pending, |outbox| {
            if all_is_out { outbox.poll_ready(cx) } else { outbox.poll_urgent(cx) }
        });
        if from_others.is_ready() {
            return Poll::Ready(Ok(Ready::Usual));
        }
        let socket = &self.socket;
        let ready =
            if all_is_out { socket.poll_read_ready(cx) } else { socket.poll_write_ready(cx) };
        ready.map_ok(|()| Ready::Usual)
    }

    /// Whether nothing waits to be written.
    fn all_is_out(&self) -> bool {
        self.pending.is_empty() && self.socket.is_flushed()
    }

    fn parting_code(&self) -> CloseCode {
        if self.state.shutdown.has_failed() {
            CloseCode::SERVER_ERROR
        } else {
            CloseCode::GOING_AWAY
        }
    }

    /// The welcome, and the answers to what came with the handshake.
    fn greet(&mut self, early: &mut [u8]) -> Option<End> {
        with_scratch(|scratch| {
            self.with_replies(&mut scratch.out, C::greet);
            let end = self.receive(early, &mut scratch.out);
            self.flush(&mut scratch.out.frames).or(end)
        })
    }

    /// One turn on a socket that is ready: writes what is pending, else reads once and answers.
    fn turn(&mut self, ready: Ready) -> Turn {
        if let Ready::Settled { holder_lives } = ready {
            return self.settle(holder_lives);
        }
        if let Some(end) = self.take_challenge() {
            return Turn::End(end);
        }
        if !self.all_is_out() {
            let end = self.flush(&mut Vec::new());
            let end = end.or_else(|| self.collect(&mut Vec::new(), 0));
            self.answer_challenge();
            return end.map_or(Turn::Paused, Turn::End);
        }
        with_scratch(|scratch| {
            let mut unread = std::mem::take(&mut self.unread);
            let input = if unread.is_empty() {
                let Ok(read) = self.socket.read(&mut scratch.input) else {
                    return Turn::End(End::Gone);
                };
                &mut scratch.input[..read.unwrap_or(0)]
            } else {
                &mut unread[..]
            };
            let end = self.receive(input, &mut scratch.out);
            // Who says goodbye keeps nothing.
            if end.is_none() {
                self.answer_challenge();
            }
            let end = end.or_else(|| self.collect(&mut scratch.out.frames, KEEP));
            let end = self.flush(&mut scratch.out.frames).or(end);
            match end {
                Some(end) => Turn::End(end),
                None if self.unread.is_empty() => Turn::after(&self.socket),
                None => Turn::Busy,
            }
        })
    }

    /// The end of a contest, and then what the client has said since.
    fn settle(&mut self, holder_lives: bool) -> Turn {
        with_scratch(|scratch| {
            // One that has gone meanwhile must not take an id that somebody else waits for as well.
            while self.unread.len() < UNREAD {
                match self.socket.read(&mut scratch.input) {
                    Ok(Some(read)) => self.unread.extend_from_slice(&scratch.input[..read]),
                    Ok(None) => break,
                    Err(_) => return Turn::End(End::Gone),
                }
            }
            self.with_replies(&mut scratch.out, |conversation, replies| {
                conversation.settle(holder_lives, replies);
            });
            let mut unread = std::mem::take(&mut self.unread);
            let end = self.receive(&mut unread, &mut scratch.out);
            let end = self.flush(&mut scratch.out.frames).or(end);
            end.map_or(Turn::Busy, Turn::End)
        })
    }

    /// Where somebody wants to know whether the client lives, it is asked.
    fn take_challenge(&mut self) -> Option<End> {
        if !self.conversation.outbox()?.is_challenged() {
            return None;
        }
        self.challenged = Some(Instant::now());
        self.ask()
    }

    fn ask(&mut self) -> Option<End> {
        let mut ping = Vec::new();
        encode(&mut ping, Opcode::Ping, b"", None);
        self.flush(&mut ping)
    }

    /// Answers the challenge, if the client has answered since.
    fn answer_challenge(&mut self) {
        if self.challenged.take_if(|since| self.heard > *since).is_some() {
            if let Some(outbox) = self.conversation.outbox() {
                outbox.answer_challenge();
            }
        }
    }

    /// Puts what others have to say behind the answers, until there is `enough`, in bytes.
    fn collect(&mut self, out: &mut Vec<u8>, enough: usize) -> Option<End> {
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
        let frames = self.decoder.frames();
        self.tally.bytes_in += input.len() as u64;
        loop {
            let next = self.decoder.next(&mut input);
            if self.decoder.frames() != frames {
                self.heard = now;
            }
            match next {
                Ok(None) => return None,
                Err(code) => return Some(End::Refused(code)),
                Ok(Some(Received::Text(text))) => {
                    if let Some(end) = self.message(Message::Text(&text), out) {
                        return Some(end);
                    }
                }
                Ok(Some(Received::Binary(bytes))) => {
                    if let Some(end) = self.message(Message::Binary(&bytes), out) {
                        return Some(end);
                    }
                }
                Ok(Some(Received::Ping(payload))) => {
                    encode(&mut out.frames, Opcode::Pong, &payload, None)
                }
                Ok(Some(Received::Pong)) => {
                    if let Some(pinged) = self.pinged.take() {
                        self.state.studio.metrics.answered(now - pinged);
                    }
                }
                Ok(Some(Received::Close(code))) => return Some(End::Closed(code)),
            }
            if input.is_empty() {
                return None;
            }
            if self.conversation.is_contesting() || now.elapsed() >= TURN {
                self.tally.bytes_in -= input.len() as u64;
                self.unread = input.to_vec();
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
        let heard = self.heard;
        let news = self
            .with_replies(out, |conversation, replies| conversation.hear(message, heard, replies));
        if news.is_empty() {
            return None;
        }
        // The client hears where it is before the others hear of it.
        let end = self.flush(&mut out.frames);
        news.send(&self.state.studio.metrics);
        end
    }

    fn with_replies<T>(
        &mut self,
        out: &mut Output,
        talk: impl FnOnce(&mut C, &mut Replies<'_>) -> T,
    ) -> T {
        let count = &mut self.tally.messages_out;
        let mut replies = Replies::new(out, count, &self.state.studio.metrics);
        talk(&mut self.conversation, &mut replies)
    }

    /// Writes what is pending and then `out`, which ends empty. What the socket does not take is kept, and counts as
    /// waiting in the outbox.
    fn flush(&mut self, out: &mut Vec<u8>) -> Option<End> {
        let had = self.pending.len();
        let end = self.write(out);
        if had > 0 || !self.pending.is_empty() {
            if let Some(outbox) = self.conversation.outbox() {
                outbox.hold(self.pending.len());
            }
        }
        end
    }

    fn write(&mut self, out: &mut Vec<u8>) -> Option<End> {
        let result = if self.pending.is_empty() {
            self.socket.write(out)
        } else {
            self.pending.append(out);
            self.socket.write(&self.pending)
        };
        let written = match result {
            Ok(written) => written,
            Err(_) => {
                out.clear();
                return Some(End::Gone);
            }
        };
        self.tally.bytes_out += written as u64;
        if self.pending.is_empty() {
            self.pending.extend_from_slice(&out[written..]);
            out.clear();
        } else {
            if written > 0 {
                self.heard = Instant::now();
            }
            self.pending.drain(..written);
            if self.pending.is_empty() {
                self.pending = Vec::new();
            }
        }
        None
    }

    /// The heartbeat's timer fired: the client was heard since, or is asked, or is dead.
    fn beat(&mut self, timer: Pin<&mut Sleep>) -> Option<End> {
        let heartbeat = self.state.studio.config.heartbeat;
        let now = Instant::now();
        let silent = now - self.heard;
        if let Some(pinged) = self.pinged.filter(|pinged| self.heard <= *pinged) {
            if now < pinged + PONG_TIME {
                // Where heartbeats are short, the next one is due before this one's time is over.
                timer.reset((now + heartbeat).min(pinged + PONG_TIME));
                return None;
            }
            self.state.studio.journal.log(Event::ClientDead {
                client_ip: self.ip,
                client_id: self.client,
                silent_ms: silent.as_millis() as u64,
            });
            return Some(End::Refused(CloseCode::DEAD));
        }
        self.pinged = None;
        if silent < heartbeat {
            timer.reset(self.heard + heartbeat);
            return None;
        }
        self.pinged = Some(now);
        // The next heartbeat may be due before the time for the answer to this one is over.
        timer.reset(now + heartbeat.min(PONG_TIME));
        self.ask()
    }

    /// Ends the connection the way `end` asks for: a close frame, then the end of our side of TCP, then
    /// reading on until the client has ended its own.
    async fn leave(&mut self, end: End) {
        let (code, reason) = match end {
            End::Gone => return,
            End::Closed(code) => {
                // 1005 stands for a close frame without a code (RFC 6455 section 7.1.5).
                self.ended = (CloseCode(code.unwrap_or(1005)), "client");
                (code, "")
            }
            End::Refused(code) | End::Going(code) => {
                self.ended = (code, "server");
                (Some(code.0), code.reason())
            }
        };
        let mut close = Vec::new();
        encode_close(&mut close, code, reason, None);
        let is_gone = self.flush(&mut close).is_some();
        // A reader that is slow gets its time to come to the close frame.
        let patience = if self.all_is_out() { LINGER } else { SLOW_GOODBYE };
        let goodbye = async { !is_gone && self.flush_all().await.is_ok() };
        if let End::Going(_) = end {
            // The drain's grace period bounds this one.
            if goodbye.await {
                self.go().await;
            }
            return;
        }
        let _ = timeout(patience, goodbye).await;
        if self.crowded {
            // What is too many for its subnet takes nothing from the others.
            self.slot = None;
        }
        hang_up(&mut self.socket, &self.state.fairness).await;
    }

    async fn flush_all(&mut self) -> io::Result<()> {
        while !self.all_is_out() {
            self.socket.writable().await?;
            if self.flush(&mut Vec::new()).is_some() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }

    /// Lets a client go that was sent its close frame. From when it has acknowledged everything, it is not cut off, even if
    /// the grace period ends.
    async fn go(&mut self) {
        let shutdown = self.state.shutdown.clone();
        let mut told = None;
        let tell = || {
            told.get_or_insert_with(|| shutdown.tell());
        };
        let goodbye = self.await_close(tell).await;
        // Nobody waits for this one any longer.
        self.slot = None;
        drop(told);
        if goodbye == Goodbye::Silent {
            self.socket.end();
        } else {
            hang_up(&mut self.socket, &self.state.fairness).await;
        }
    }

    /// Reads until the client's close frame, or until it has gone or makes no sense. What else it says comes too late.
    /// A client that has everything and says nothing is not waited for; one that has not everything is: its network may
    /// come back. `told` is called when it is known to have everything.
    async fn await_close(&mut self, mut told: impl FnMut()) -> Goodbye {
        let mut unread = std::mem::take(&mut self.unread);
        if self.find_close(&mut unread) {
            return Goodbye::Said;
        }
        drop(unread);
        // A grace period that is shorter than these is no reason to count it as cut off.
        let half = self.state.studio.config.shutdown_grace / 2;
        let (silence, last_words) = (SILENCE.min(half), LAST_WORDS.min(half));
        let start = Instant::now();
        loop {
            let Ok(readable) = timeout(silence, self.socket.readable()).await else {
                match self.socket.unacknowledged() {
                    Ok(0) => {
                        told();
                        return Goodbye::Silent;
                    }
                    Ok(_) => continue,
                    Err(_) => return Goodbye::Said,
                }
            };
            if readable.is_err() {
                return Goodbye::Said;
            }
            let turn = with_scratch(|scratch| {
                let read = match self.socket.read(&mut scratch.input) {
                    Ok(Some(read)) => read,
                    Ok(None) => return Turn::Paused,
                    Err(_) => return Turn::End(End::Gone),
                };
                let found = self.find_close(&mut scratch.input[..read]);
                if found { Turn::End(End::Gone) } else { Turn::after(&self.socket) }
            });
            if let Turn::End(_) = turn {
                return Goodbye::Said;
            }
            if self.socket.unacknowledged().is_ok_and(|bytes| bytes == 0) {
                told();
                if start.elapsed() >= last_words {
                    return Goodbye::Said;
                }
            }
            turn.give_way(&self.state.fairness).await;
        }
    }

    /// Whether the client's close frame is in there, or what makes no sense.
    fn find_close(&mut self, mut input: &mut [u8]) -> bool {
        loop {
            match self.decoder.next(&mut input) {
                Ok(None) => return false,
                Ok(Some(Received::Close(_))) | Err(_) => return true,
                Ok(Some(_)) => {}
            }
        }
    }
}

impl<C> Drop for Session<C> {
    fn drop(&mut self) {
        // Whoever reads that the client has gone can count on its place.
        self.slot = None;
        let (close_code, closed_by) = self.ended;
        self.state.studio.metrics.closed(close_code);
        if self.crowded {
            return;
        }
        let tally = &self.tally;
        self.state.studio.journal.log(Event::ClientDisconnected {
            client_ip: self.ip,
            client_id: self.client,
            close_code,
            closed_by,
            seconds: tally.since.elapsed().as_secs(),
            messages_in: tally.messages_in,
            messages_out: tally.messages_out,
            bytes_in: tally.bytes_in,
            bytes_out: tally.bytes_out,
        });
    }
}

/// Our end of the connection, and then reading until the client's, for a while.
async fn hang_up(socket: &mut Socket, fairness: &Fairness) {
    socket.end();
    let _ = timeout(LINGER, discard(socket, fairness)).await;
}

/// Reads until the client's end of TCP, and keeps nothing.
async fn discard(socket: &mut Socket, fairness: &Fairness) {
    while socket.readable().await.is_ok() {
        match with_scratch(|scratch| socket.read(&mut scratch.input)) {
            Ok(Some(_)) => Turn::after(socket).give_way(fairness).await,
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Tells a client whose session panicked 1011 before TCP ends.
async fn say_failed(socket: &mut Socket, fairness: &Fairness) {
    let mut close = Vec::new();
    let code = CloseCode::SERVER_ERROR;
    encode_close(&mut close, Some(code.0), code.reason(), None);
    // If it cannot be written now, it never can: the process is about to end.
    let _ = socket.write(&close);
    hang_up(socket, fairness).await;
}

/// Lends the thread's buffers. What a panic left in them is not the next client's business.
fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.out.clear();
        let result = work(scratch);
        scratch.out.clear();
        result
    })
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown as Direction;

    use socket2::SockRef;

    use super::*;
    use crate::signaling::broadcast::News;
    use crate::signaling::handler::Signaling;
    use crate::signaling::studio::Studio;

    fn session<C: Conversation>(socket: Socket) -> Session<C> {
        let state = Arc::new(State::without_settings());
        let slot = state.clients.admit([127, 0, 0, 1].into()).unwrap();
        Session::new(state, slot, [127, 0, 0, 1].into(), socket)
    }

    /// Both ends of a connection.
    async fn connected() -> (std::net::TcpStream, Socket) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        SockRef::from(&stream).set_send_buffer_size(64 * 1024).unwrap();
        (client, Socket::plain(stream))
    }

    #[tokio::test]
    async fn a_socket_that_is_always_ready_does_not_keep_the_thread() {
        let (mut client, socket) = connected().await;
        // A message that is never finished, in empty fragments, as many as the sockets take.
        client.set_nonblocking(true).unwrap();
        std::io::Write::write_all(&mut client, &[0x01, 0x80, 0, 0, 0, 0]).unwrap();
        let fragments = [0x00, 0x80, 0, 0, 0, 0].repeat(10_000);
        while std::io::Write::write_all(&mut client, &fragments).is_ok() {}
        client.shutdown(Direction::Both).unwrap();

        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (first, second) = (Arc::clone(&order), Arc::clone(&order));
        let flooded = tokio::spawn(async move {
            session::<Signaling>(socket).run(&mut Vec::new()).await;
            first.lock().unwrap().push("flooded");
        });
        let other = tokio::spawn(async move { second.lock().unwrap().push("other") });
        flooded.await.unwrap();
        other.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["other", "flooded"]);
    }

    /// A conversation in which ten messages take as long as a turn.
    struct TakesItsTime;

    impl Conversation for TakesItsTime {
        fn new(_studio: Arc<Studio>, _client: ClientId, _ip: IpAddr) -> Self {
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
        let mut session = session::<TakesItsTime>(socket);
        let mut frames = Vec::new();
        for _ in 0..MESSAGES {
            encode(&mut frames, Opcode::Text, b"x", Some([0; 4]));
        }
        std::io::Write::write_all(&mut client, &frames).unwrap();
        session.socket.readable().await.unwrap();
        let mut turns = 0;
        while session.tally.messages_in < MESSAGES as u64 {
            // The rest needs nothing new from the client.
            poll_fn(|cx| session.poll_ready(cx)).await.unwrap();
            let turn = session.turn(Ready::Usual);
            turns += 1;
            let rests = !session.unread.is_empty();
            assert_eq!(turn, if rests { Turn::Busy } else { Turn::Paused });
            assert_eq!(session.tally.messages_in, turns * 10);
        }
        assert_eq!(turns, 100);
        assert_eq!(session.tally.bytes_in, frames.len() as u64);
        assert!(poll_fn(|cx| Poll::Ready(session.poll_ready(cx).is_pending())).await);
    }

    #[tokio::test]
    async fn a_goodbye_that_waits_to_be_read_is_found() {
        let (_client, socket) = connected().await;
        let mut session = session::<Signaling>(socket);
        encode(&mut session.unread, Opcode::Text, b"x", Some([0; 4]));
        encode_close(&mut session.unread, Some(1000), "", Some([0; 4]));
        // The client says nothing more.
        assert_eq!(session.await_close(|| ()).await, Goodbye::Said);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_everything_and_says_nothing_is_not_waited_for() {
        let (_client, socket) = connected().await;
        let mut session = session::<Signaling>(socket);
        session.socket.write(b"x").unwrap();
        while session.socket.unacknowledged().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        assert_eq!(session.await_close(|| ()).await, Goodbye::Silent);
        assert_eq!(start.elapsed(), SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_everything_is_waited_for() {
        let (mut client, socket) = connected().await;
        let mut session = session::<Signaling>(socket);
        while session.socket.write(&[0; 4096]).unwrap() > 0 {}
        let waited = timeout(100 * SILENCE, session.await_close(|| ())).await;
        assert!(waited.is_err(), "{waited:?}");
        // Now it reads, and is as silent as before.
        let (read, has_read) = tokio::sync::oneshot::channel();
        let reading = std::thread::spawn(move || {
            client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut read = Some(read);
            let mut buffer = [0; 65_536];
            loop {
                match std::io::Read::read(&mut client, &mut buffer) {
                    Ok(0) => return,
                    Ok(_) => {}
                    // All that was sent has been read, perhaps.
                    Err(_) => drop(read.take().map(|read| read.send(()))),
                }
            }
        });
        has_read.await.unwrap();
        while session.socket.unacknowledged().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(session.await_close(|| ()).await, Goodbye::Silent);
        drop(session);
        reading.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_talking_has_its_last_words() {
        let (mut client, socket) = connected().await;
        let mut session = session::<Signaling>(socket);
        let start = Instant::now();
        let mut frame = Vec::new();
        encode(&mut frame, Opcode::Text, b"x", Some([0; 4]));
        let talking = async {
            loop {
                std::io::Write::write_all(&mut client, &frame).unwrap();
                tokio::time::sleep(SILENCE / 2).await;
            }
        };
        let goodbye = tokio::select! {
            goodbye = session.await_close(|| ()) => goodbye,
            () = talking => unreachable!("it goes on for ever"),
        };
        assert_eq!(goodbye, Goodbye::Said);
        assert!(start.elapsed() >= LAST_WORDS, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn who_reads_slowly_is_alive_and_who_does_not_read_is_not() {
        let (mut client, socket) = connected().await;
        let mut session = session::<Signaling>(socket);
        let long_ago = Instant::now() - Duration::from_secs(60);
        session.pending = vec![0; 20_000_000];
        let mut pending = usize::MAX;
        while session.pending.len() < pending {
            pending = session.pending.len();
            session.socket.writable().await.unwrap();
            session.flush(&mut Vec::new());
        }
        session.heard = long_ago;
        assert_eq!(session.flush(&mut Vec::new()), None);
        assert_eq!(session.heard, long_ago, "nothing was taken");
        let taken = 20_000_000 - pending;
        std::io::Read::read_exact(&mut client, &mut vec![0; taken]).unwrap();
        session.socket.writable().await.unwrap();
        assert_eq!(session.flush(&mut Vec::new()), None);
        assert!(session.heard > long_ago, "the client made room");
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_has_time_to_come_to_the_close_frame() {
        let (mut client, socket) = connected().await;
        let mut session = session::<Signaling>(socket);
        // The socket has taken all that was to be written, and takes nothing more.
        while session.socket.write(&[0; 4096]).unwrap() > 0 {}
        assert!(session.all_is_out());
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        // As long as it runs, the clock is moved by nobody else.
        let client = tokio::task::spawn_blocking(move || {
            may_go_on.recv().unwrap();
            let mut heard = Vec::new();
            std::io::Read::read_to_end(&mut client, &mut heard).unwrap();
            heard
        });
        let later = async {
            tokio::time::advance(SLOW_GOODBYE - LINGER).await;
            go_on.send(()).unwrap();
        };
        tokio::join!(session.leave(End::Refused(CloseCode::TOO_SLOW)), later);
        assert!(client.await.unwrap().ends_with(b"Read too slowly"));
    }

    /// A conversation that comes to nothing.
    struct Panics;

    impl Conversation for Panics {
        fn new(_studio: Arc<Studio>, _client: ClientId, _ip: IpAddr) -> Self {
            Self
        }

        fn greet(&mut self, _replies: &mut Replies<'_>) {
            panic!("as the test asks");
        }

        fn hear(&mut self, _: Message<'_>, _: Instant, _: &mut Replies<'_>) -> News {
            unreachable!("it did not get that far")
        }
    }

    #[tokio::test]
    async fn a_client_whose_session_panics_gets_its_close_frame() {
        let (mut client, socket) = connected().await;
        let client = std::thread::spawn(move || {
            let mut heard = Vec::new();
            std::io::Read::read_to_end(&mut client, &mut heard).unwrap();
            heard
        });
        session::<Panics>(socket).run(&mut Vec::new()).await;
        let heard = client.join().unwrap();
        assert_eq!(heard[..4], [0x88, 15, 0x03, 0xF3]);
        assert_eq!(heard[4..], *b"Server failed");
    }
}
