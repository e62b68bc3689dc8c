//! The process that comes: it takes everything out of systemd's descriptor store.
//!
//! Owns in which order that is done, and what clients are told that can't go on. It deliberately does not know who put it
//! there.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::server::handover::collection::GivenListener;
use crate::server::handover::pack::{Taken, TakenProgramme, read};
use crate::server::handover::queue::Receiver;
use crate::server::limits::clients::Slot;
use crate::server::listener::Hearing;
use crate::server::on_air::Source;
use crate::server::session::carried::CarriedClient;
use crate::server::session::exchange::Exchange;
use crate::server::session::session::Session;
use crate::server::state::State;
use crate::signaling::budget::ClientBudget;
use crate::signaling::conversation::Conversation;
use crate::signaling::registry::parting::Parting;
use crate::station::archive::CarriedPart;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::wire::codes::CloseCode;
use crate::wire::frame::encode_close;

/// Takes what lies in the queue, if it is of use and there is room for so many descriptors.
pub fn take(queue: &Receiver, room: usize, journal: &Journal) -> Option<Taken> {
    let look = || -> Result<Option<Taken>, String> {
        let words = |error: io::Error| error.to_string();
        let Some(state) = queue.peek().map_err(words)? else { return Ok(None) };
        let carried = read(&state)?;
        let sockets = carried.sockets();
        if sockets > room {
            return Err(format!(
                "it has {sockets} sockets, and the limit of open files leaves room for {room}"
            ));
        }
        let contents = queue.take().map_err(words)?;
        Ok(Some(carried.with(contents, Instant::now())))
    };
    match look() {
        Ok(taken) => taken,
        Err(reason) => {
            let clients = part(queue);
            journal.log(Event::TakeOverFailed { clients, reason });
            None
        }
    }
}

/// Says goodbye to all clients in the queue: how many there were.
pub fn part(queue: &Receiver) -> usize {
    let sockets = queue.drain();
    let all = sockets.len();
    for socket in sockets {
        send_away(&mut StdStream::from(socket), CloseCode::RESTARTED);
    }
    all
}

fn send_away(socket: &mut StdStream, code: CloseCode) {
    let mut close = Vec::new();
    encode_close(&mut close, Some(code.0), code.reason(), None);
    // Who does not take it has gone, or reads too slowly.
    let _ = socket.write(&close);
    let _ = socket.shutdown(Shutdown::Write);
}

/// Everything goes on as it was. Returns what is left to whoever feeds Icecast, and to the archive.
pub fn go_on<C: Conversation>(
    state: &Arc<State>,
    taken: Taken,
) -> (Option<Source>, Option<CarriedPart>) {
    let Taken { packed, counters, registry, addresses, clients, next_client, .. } = taken;
    let (programme, listeners) = (taken.programme, taken.listeners);
    let studio = &state.studio;
    let config = &studio.config;
    studio.metrics.go_on(&counters);
    studio.budgets.go_on(&addresses, packed);
    studio.hub.go_on(registry, config.max_outbox_bytes, config.rate_limit, packed);
    let air = programme.map_or((None, None), |programme| on_air(state, programme));
    for listener in listeners {
        // One that can't go on hears the end, as where Icecast ends.
        let _ = listen(state, listener);
    }
    let all = clients.len();
    let mut seated = HashSet::new();
    for (socket, client) in clients {
        let number = client.client;
        if seat::<C>(state, socket, client, packed).is_some() {
            seated.insert(number);
        }
    }
    let lost = all - seated.len();
    // Whoever can't go on leaves as one whose connection broke: nobody stays as a ghost.
    for (peer, client) in studio.hub.peers() {
        if !seated.contains(&client) {
            let budget = ClientBudget::new(config.rate_limit, Instant::now());
            studio.hub.part(peer, client, Parting::Broken, budget);
            studio.on_air.lose(client);
        }
    }
    state.clients.go_on(next_client);
    studio.metrics.taken_over(all - lost);
    let rooms = studio.hub.count().rooms;
    studio.journal.log(Event::TookOver {
        clients: all - lost,
        rooms,
        lost,
        milliseconds: packed.elapsed().as_millis() as u64,
    });
    air
}

/// The programme goes on.
fn on_air(state: &State, programme: TakenProgramme) -> (Option<Source>, Option<CarriedPart>) {
    let TakenProgramme { air, url, connection, part } = programme;
    let now = state.studio.on_air.icecast();
    // To another Icecast there is no connection yet.
    let is_same = now.is_some_and(|icecast| icecast.url.to_string() == url);
    let connection = connection.filter(|_| is_same);
    let source =
        connection.and_then(|(socket, unsent)| Source::from_descriptor(socket, unsent).ok());
    state.studio.on_air.air().go_on(air, source.is_some(), Instant::now());
    (source, part)
}

/// A listener goes on.
fn listen(state: &Arc<State>, listener: GivenListener) -> io::Result<()> {
    let GivenListener { ip, socket, icecast, unsent } = listener;
    let full = |_| io::Error::other("there is no place");
    let place = state.listeners.admit(ip).map_err(full)?;
    socket.set_nonblocking(true)?;
    let stream = TcpStream::from_std(socket)?;
    let hearing = Hearing::go_on(icecast, unsent, place)?;
    state.shutdown.tasks.spawn(hearing.pass_on(ip, stream, Arc::clone(state)));
    Ok(())
}

/// Gives a client its session back.
fn seat<C: Conversation>(
    state: &Arc<State>,
    mut socket: StdStream,
    client: CarriedClient,
    packed: Instant,
) -> Option<()> {
    let slot: Slot = match state.clients.admit_again(client.ip, client.client) {
        Ok(slot) => slot,
        Err(_) => {
            send_away(&mut socket, CloseCode::RESTARTED);
            return None;
        }
    };
    socket.set_nonblocking(true).ok()?;
    let socket = TcpStream::from_std(socket).ok()?;
    let shared = Arc::clone(state);
    let (exchange, owed) = Exchange::<C>::go_on(shared, socket, client, packed).ok()?;
    state.shutdown.tasks.spawn(async move {
        Session::carried(exchange, slot).go_on(owed).await;
    });
    Some(())
}
