//! The process that comes: it takes everything out of the queue.
//!
//! Owns in which order that is done, and what clients are told that can't go on. It deliberately does not know who put it
//! there.

use std::collections::HashSet;
use std::io;
use std::net::TcpStream as StdStream;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::server::handover::collection::{GivenConnection, GivenListener};
use crate::server::handover::farewell::{Leaver, leavers, say_goodbye};
use crate::server::handover::pack::{
    Carried, Taken, TakenProgramme, Waiting, read, records_of, registry_of,
};
use crate::server::handover::queue::{Received, Receiver};
use crate::server::limits::clients::Full;
use crate::server::listener::Hearing;
use crate::server::on_air::Source;
use crate::server::session::carried::NoWayOn;
use crate::server::session::exchange::Exchange;
use crate::server::session::session::Session;
use crate::server::state::State;
use crate::signaling::budget::ClientBudget;
use crate::signaling::conversation::Conversation;
use crate::signaling::registry::carried::CarriedRegistry;
use crate::signaling::registry::parting::Parting;
use crate::station::archive::CarriedPart;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::wire::codes::CloseCode;

/// Takes what lies in the queue, if it is of use and there is room for so many descriptors. `cluster` is of which this
/// process is to be a node.
pub fn take(
    queue: &Receiver,
    room: usize,
    cluster: Option<&str>,
    journal: &Journal,
) -> Option<Taken> {
    let (received, reason) = match look(queue, room, cluster) {
        Ok((state, carried)) => match read_all(queue, &state) {
            (received, Ok((registry, clients))) => {
                return Some(carried.with(registry, clients, received, Instant::now()));
            }
            (received, Err(reason)) => (Received { state, ..received }, reason),
        },
        Err(reason) => (queue.take(None), reason),
    };
    let leavers = leavers(received, CloseCode::RESTARTED);
    journal.log(Event::TakeOverFailed { clients: leavers.len(), reason });
    // Their descriptors are wanted, and nobody else is served yet.
    say_goodbye(leavers);
    None
}

/// Looks whether what lies in the queue is of use, and leaves it there.
fn look(
    queue: &Receiver,
    room: usize,
    cluster: Option<&str>,
) -> Result<(Vec<u8>, Carried), String> {
    let state = queue.peek().map_err(|error| error.to_string())?;
    let state = state.ok_or("it is empty, because that process ended before its time")?;
    let carried = read(&state)?;
    if !carried.is_of(cluster) {
        return Err(
            "that process was a node of another cluster, or of none (NATS_URL, CLUSTER_NAME)"
                .to_owned(),
        );
    }
    let sockets = carried.sockets() + records_of(&state).len();
    match sockets <= room {
        true => Ok((state, carried)),
        false => Err(format!(
            "it has {sockets} sockets, and the limit of open files leaves room for {room}"
        )),
    }
}

/// Takes the sockets, and reads peers, rooms and clients: on two threads, because everybody waits for it.
fn read_all(
    queue: &Receiver,
    state: &[u8],
) -> (Received, Result<(CarriedRegistry, Vec<Waiting>), String>) {
    std::thread::scope(|scope| {
        let registry = scope.spawn(|| registry_of(state));
        let received = queue.take(Some(Vec::new()));
        let clients = records_of(state).iter().map(Waiting::of).collect();
        let registry = registry.join().unwrap_or_else(|_| Err("its reader panicked".to_owned()));
        (received, registry.map(|registry| (registry, clients)))
    })
}

/// What is left to others, of what was taken.
#[derive(Default)]
pub struct Left {
    /// To whoever feeds Icecast.
    pub source: Option<Source>,
    /// To the archive.
    pub part: Option<CarriedPart>,
    /// To whoever accepts connections.
    pub connections: Vec<GivenConnection>,
}

/// Everything goes on as it was.
pub fn go_on<C: Conversation>(state: &Arc<State>, taken: Taken) -> Left {
    let Taken { packed, counters, registry, addresses, mut clients, next_client, .. } = taken;
    let (programme, listeners) = (taken.programme, taken.listeners);
    let studio = &state.studio;
    let config = &studio.config;
    studio.metrics.go_on(&counters);
    studio.budgets.go_on(&addresses, packed);
    studio.hub.go_on(registry, config.max_outbox_bytes, config.rate_limit, packed);
    let (source, part) = programme.map_or((None, None), |programme| on_air(state, programme));
    for listener in listeners {
        // One that can't go on hears the end, as where Icecast ends.
        let _ = listen(state, listener);
    }
    // Where there is no room for all of them, the youngest go, and never who is on air.
    let on_air = studio.on_air.air().on_air().map(|(owner, _)| owner.client);
    clients.sort_unstable_by_key(|(_, waiting)| {
        let client = waiting.client();
        (Some(client) != on_air, client)
    });
    let all = clients.len();
    let (mut seated, mut leavers) = (HashSet::with_capacity(all), Vec::new());
    for (socket, waiting) in clients {
        let client = waiting.client();
        // One without a socket was still the other process' when that ended.
        let Some(socket) = socket else { continue };
        match seat::<C>(state, socket.into(), waiting, packed) {
            Ok(()) => drop(seated.insert(client)),
            Err(leaver) => leavers.extend(leaver),
        }
    }
    if state.clients.taken() == state.clients.limit() && !leavers.is_empty() {
        let (clients, limit) = (leavers.len(), state.clients.limit());
        studio.journal.log(Event::TookOverTooMany { clients, limit });
    }
    spawn_blocking(move || say_goodbye(leavers));
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
    Left { source, part, connections: taken.connections }
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
    state.shutdown.tasks.spawn(hearing.pass_on(stream, Arc::clone(state)));
    Ok(())
}

/// Gives a client its session back. Where there is no place for it, or it makes no sense, it has to leave; unless it has
/// gone.
fn seat<C: Conversation>(
    state: &Arc<State>,
    socket: StdStream,
    waiting: Waiting,
    packed: Instant,
) -> Result<(), Option<Leaver>> {
    let leave = |socket, unsent| Some(Leaver::new(socket, unsent, CloseCode::RESTARTED));
    let client = match waiting {
        Waiting::Client(client) => *client,
        Waiting::Nonsense(_, unsent) => return Err(leave(socket, unsent)),
    };
    let slot = match state.clients.admit_again(client.ip, client.client) {
        Ok(slot) => slot,
        Err(Full) => return Err(leave(socket, client.into_unsent())),
    };
    // It does not block: that goes along with it (open(2), on file status flags).
    let stream = TcpStream::from_std(socket).map_err(|_| None)?;
    let shared = Arc::clone(state);
    let (exchange, owed) = Exchange::<C>::go_on(shared, stream, client, packed)
        .map_err(|NoWayOn { tcp, unsent }| leave(tcp?.into_std().ok()?, unsent))?;
    state.shutdown.tasks.spawn(Session::carried(exchange, slot).go_on(owed));
    Ok(())
}
