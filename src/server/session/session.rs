//! One client, from its welcome to its close frame.
//!
//! Owns the order of its life: welcome, exchange, goodbye, and the line about it in the log. It deliberately does not
//! know how the WebSocket came about.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until, timeout};

use crate::server::limits::clients::{Crowded, Slot};
use crate::server::session::alarms::Alarms;
use crate::server::session::exchange::Exchange;
use crate::server::session::link::{LINGER, SLOW_GOODBYE};
use crate::server::session::outcome::{End, Goodbye, Ready, Turn};
use crate::server::session::socket::Socket;
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::signaling::carried::Owed;
use crate::signaling::conversation::{ClientInfo, Conversation, Identified};
use crate::telemetry::events::Event;
use crate::telemetry::refused::Refused;
use crate::wire::codes::CloseCode;

/// What is said first, and how that ends the session, if it does. In a box, which is gone once that is said.
type Begin<C> = Box<dyn FnOnce(&mut Exchange<C>) -> Option<End> + Send>;

/// A connected client.
#[derive(Debug)]
pub struct Session<C> {
    /// Until it is handed over.
    exchange: Option<Exchange<C>>,
    /// Until it ends.
    slot: Option<Slot>,
    /// Whether the client's subnet has too many: it is only told so.
    crowded: bool,
    /// How it ended, once it did.
    ended: End,
}

impl<C: Conversation> Session<C> {
    /// A session for the client that sits on `slot` and connects from `ip` by `socket`, and is `identified`.
    pub fn new(
        state: Arc<State>,
        slot: Slot,
        ip: IpAddr,
        identified: Identified,
        socket: Socket,
    ) -> Self {
        let (client_ip, client_id) = (ip, slot.client);
        let Identified { identity, is_check } = identified;
        match slot.crowded() {
            None => state.studio.journal.log(Event::ClientConnected { client_ip, client_id }),
            Some(Crowded { limit }) => {
                state.studio.metrics.turned_away(Refused::AddressFull);
                state.studio.journal.log(Event::AddressFull { client_ip, limit });
            }
        }
        Self {
            exchange: Some(Exchange::new(
                state,
                ClientInfo { client: slot.client, ip, identity, is_check },
                socket,
            )),
            crowded: slot.crowded().is_some(),
            slot: Some(slot),
            ended: End::Gone,
        }
    }

    /// The session of a client that another process has served.
    pub fn carried(exchange: Exchange<C>, slot: Slot) -> Self {
        Self { exchange: Some(exchange), slot: Some(slot), crowded: false, ended: End::Gone }
    }

    /// Serves the client until its connection has ended. `early` is what came behind the handshake. A
    /// client whose session panics is told so, as the others are by the drain that follows.
    pub fn run(self, mut early: Vec<u8>) -> impl Future<Output = ()> + Send {
        self.live(Box::new(move |exchange| exchange.greet(&mut early)))
    }

    /// Serves a client that another process has served, and that is owed this.
    pub fn go_on(self, owed: Option<Owed>) -> impl Future<Output = ()> + Send {
        self.live(Box::new(move |exchange| exchange.pay(owed)))
    }

    /// There are as many of these futures as clients. So it is one, without others in boxes, of which each has an
    /// allocation of its own; what comes at the end is in boxes.
    #[expect(clippy::manual_async_fn, reason = "an async function holds what it is given twice")]
    fn live(mut self, begin: Begin<C>) -> impl Future<Output = ()> + Send {
        async move {
            if AssertUnwindSafe(self.serve(begin)).catch_unwind().await.is_err() {
                Box::pin(self.say_failed()).await;
            }
        }
    }

    /// Says that the server has failed.
    async fn say_failed(&mut self) {
        if let Some(Exchange { link, state, .. }) = &mut self.exchange {
            let code = CloseCode::SERVER_ERROR;
            // If it cannot be written now, it never can: the process is about to end.
            let _ = link.close(Some(code.0), code.reason());
            link.hang_up(&state.fairness).await;
        }
    }

    async fn serve(&mut self, begin: Begin<C>) {
        let Some(state) = self.exchange.as_ref().map(|exchange| Arc::clone(&exchange.state)) else {
            return;
        };
        let talking = state.collection.talk();
        let mut end = match &mut self.exchange {
            Some(exchange) if !self.crowded => match begin(exchange) {
                Some(end) => end,
                None => talk(exchange, &state).await,
            },
            _ => End::Refused(CloseCode::TOO_MANY),
        };
        if end == End::HandedOver {
            if self.hand_over() {
                return;
            }
            end = End::Going(CloseCode::RESTARTED);
        }
        let Some(exchange) = &mut self.exchange else { return };
        // The others need not wait for the goodbye.
        let unsent = if end.keeps_unsent() { exchange.link.take_unsent() } else { Vec::new() };
        exchange.conversation.leave(end.parting(), unsent);
        drop(talking);
        Box::pin(self.leave(end)).await;
    }

    /// Gives the client back, so that the next process goes on with it. False where it can't be carried.
    fn hand_over(&mut self) -> bool {
        let Some(exchange) = self.exchange.take_if(|exchange| exchange.link.is_plain()) else {
            return false;
        };
        let state = Arc::clone(&exchange.state);
        if let Some((tcp, carried)) = exchange.carry(Instant::now()) {
            state.collection.give(tcp, &carried);
        }
        self.slot = None;
        true
    }

    /// Ends the connection the way `end` asks for: a close frame, then the end of our side of TCP, then
    /// reading on until the client has ended its own.
    async fn leave(&mut self, end: End) {
        let Some((code, reason)) = end.close_frame() else { return };
        self.ended = end;
        let Some(Exchange { link, state, .. }) = &mut self.exchange else { return };
        let is_gone = link.close(code, reason).is_err();
        // A reader that is slow gets its time to come to the close frame.
        let patience = if link.is_flushed() { LINGER } else { SLOW_GOODBYE };
        let goodbye = async { !is_gone && link.flush().await.is_ok() };
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
        link.hang_up(&state.fairness).await;
    }

    /// Lets a client go that was sent its close frame. From when it has acknowledged everything, it is not cut off, even if
    /// the grace period ends.
    async fn go(&mut self) {
        let Some(Exchange { link, state, .. }) = &mut self.exchange else { return };
        let State { shutdown, fairness, studio, .. } = &**state;
        let mut told = None;
        let tell = || {
            told.get_or_insert_with(|| shutdown.tell());
        };
        let goodbye = link.await_close(studio.config.shutdown_grace, fairness, tell).await;
        // Nobody waits for this one any longer.
        self.slot = None;
        drop(told);
        match goodbye {
            Goodbye::Silent => link.end(),
            Goodbye::Said => link.hang_up(fairness).await,
        }
    }
}

/// What a session is woken for.
enum Woken {
    /// All sessions end.
    Ending,
    /// There is something to read, to write or to say.
    Ready(io::Result<Ready>),
    /// It is time for the heartbeat.
    Heartbeat,
}

/// Talks with the client until that has an end.
async fn talk<C: Conversation>(exchange: &mut Exchange<C>, state: &State) -> End {
    let mut ending = std::pin::pin!(state.shutdown.ending());
    let first_beat = exchange.heartbeat.first_beat(state.studio.config.heartbeat);
    let mut heartbeat = std::pin::pin!(sleep_until(first_beat));
    let mut alarms = Alarms::new(ending.as_mut(), heartbeat.as_mut());
    loop {
        let mut has_waited = false;
        let woken = poll_fn(|cx| {
            alarms.wake(cx);
            // A change that is on its way is made, and has its answer.
            if state.shutdown.is_ending() && !exchange.conversation.awaits_turn() {
                return Poll::Ready(Woken::Ending);
            }
            // Whatever it is woken for, a turn finds it: it need not be asked for first.
            if std::mem::replace(&mut has_waited, true) && !exchange.conversation.is_contesting() {
                return Poll::Ready(Woken::Ready(Ok(Ready::Usual)));
            }
            match exchange.poll_ready(cx) {
                Poll::Ready(ready) => Poll::Ready(Woken::Ready(ready)),
                // The heartbeat comes last: bytes that wait to be read are an answer.
                Poll::Pending if alarms.is_time() => Poll::Ready(Woken::Heartbeat),
                Poll::Pending => Poll::Pending,
            }
        });
        let end = match woken.await {
            Woken::Ending if state.shutdown.phase() == Phase::HandingOver => {
                Some(exchange.last_end().unwrap_or(End::HandedOver))
            }
            Woken::Ending => {
                exchange.deliver();
                Some(End::Going(parting_code(state)))
            }
            Woken::Ready(Err(_)) => Some(End::Gone),
            Woken::Ready(Ok(ready)) => match exchange.turn(ready) {
                Turn::End(end) => Some(end),
                // The next wait is one.
                Turn::Paused => None,
                Turn::Busy => {
                    Turn::Busy.give_way(&state.fairness).await;
                    None
                }
            },
            Woken::Heartbeat => exchange.beat(&mut alarms),
        };
        if let Some(end) = end {
            return end;
        }
    }
}

fn parting_code(state: &State) -> CloseCode {
    match state.shutdown.has_failed() {
        true => CloseCode::SERVER_ERROR,
        false => CloseCode::GOING_AWAY,
    }
}

impl<C> Drop for Session<C> {
    fn drop(&mut self) {
        // Whoever reads that the client has gone can count on its place.
        self.slot = None;
        // Of one that was handed over, the next process has that to say.
        let Some(Exchange { state, tally, link, ip, client, .. }) = &self.exchange else { return };
        let (close_code, closed_by) = self.ended.recorded();
        state.studio.metrics.closed(close_code);
        if self.crowded {
            return;
        }
        let (bytes_in, bytes_out) = link.bytes();
        state.studio.journal.log(Event::ClientDisconnected {
            client_ip: *ip,
            client_id: *client,
            close_code,
            closed_by,
            seconds: tally.since.elapsed().as_secs(),
            messages_in: tally.messages_in,
            messages_out: tally.messages_out,
            bytes_in,
            bytes_out,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown as Direction;

    use tokio::time::Instant;

    use super::*;
    use crate::server::session::link::tests::connected;
    use crate::signaling::broadcast::News;
    use crate::signaling::command::{Action, Command};
    use crate::signaling::conversation::{Message, Replies};
    use crate::signaling::handler::Signaling;
    use crate::signaling::studio::Studio;
    use crate::wire::frame::{Opcode, encode};
    use crate::wire::ids::{Identity, PeerId, RoomId};

    fn identity() -> Identity {
        Identity::from_bytes([1; 16])
    }

    fn session<C: Conversation>(socket: Socket) -> Session<C> {
        let state = Arc::new(State::without_settings());
        let slot = state.clients.admit([127, 0, 0, 1].into()).unwrap();
        let identified = Identified { identity: identity(), is_check: false };
        Session::new(state, slot, [127, 0, 0, 1].into(), identified, socket)
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
            session::<Signaling>(socket).run(Vec::new()).await;
            first.lock().unwrap().push("flooded");
        });
        let other = tokio::spawn(async move { second.lock().unwrap().push("other") });
        flooded.await.unwrap();
        other.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["other", "flooded"]);
    }

    #[tokio::test]
    async fn an_idle_client_has_one_small_future() {
        let (_client, socket) = connected().await;
        let future = session::<Signaling>(socket).run(Vec::new());
        let (all, session) = (size_of_val(&future), size_of::<Session<Signaling>>());
        // The cell of a task has some 100 bytes more, and is a multiple of 128.
        assert!(all <= 1024, "{all}, of which the session has {session}");
        assert!(session >= all / 2, "{all}, of which the session has {session}");
    }

    #[tokio::test]
    async fn a_stop_does_not_keep_back_what_waits_for_a_client() {
        let (mut client, socket) = connected().await;
        let mut session = session::<Signaling>(socket);
        let exchange = session.exchange.as_mut().unwrap();
        let state = Arc::clone(&exchange.state);
        let id = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
        let mut early = Vec::new();
        let register = format!(r#"{{"type":"register","peerId":"{id}"}}"#);
        encode(&mut early, Opcode::Text, register.as_bytes(), Some([0; 4]));
        assert_eq!(exchange.greet(&mut early), None);
        // Somebody says something in the moment in which the server is told to stop.
        let peer = PeerId::parse(id).unwrap();
        let room = RoomId::from("show");
        for action in [Action::CreateRoom { room }, Action::Recording { recording: true }] {
            state.studio.hub.propose(Command::Act { peer, identity: identity(), action }, None);
        }
        state.shutdown.enter(Phase::Draining);
        assert_eq!(talk(exchange, &state).await, End::Going(CloseCode::GOING_AWAY));
        session.leave(End::Refused(CloseCode::GOING_AWAY)).await;
        let mut heard = Vec::new();
        std::io::Read::read_to_end(&mut client, &mut heard).unwrap();
        let heard = String::from_utf8_lossy(&heard);
        assert!(
            heard.contains("recording-state") && heard.ends_with("Server is stopping"),
            "{heard}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_has_time_to_come_to_the_close_frame() {
        let (mut client, mut socket) = connected().await;
        // The socket has taken all that was to be written, and takes nothing more.
        while socket.write(&[0; 4096]).unwrap() > 0 {}
        let mut session = session::<Signaling>(socket);
        assert!(session.exchange.as_ref().unwrap().link.is_flushed());
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
        fn new(_studio: Arc<Studio>, _info: ClientInfo) -> Self {
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
        session::<Panics>(socket).run(Vec::new()).await;
        let heard = client.join().unwrap();
        assert_eq!(heard[..4], [0x88, 15, 0x03, 0xF3]);
        assert_eq!(heard[4..], *b"Server failed");
    }
}
