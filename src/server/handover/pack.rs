//! All that crosses, in JSON: a field that one side does not know is left out.
//!
//! Owns what the state has, how old it may be, and which socket belongs to whom. It deliberately does not know what the
//! parts mean.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::socket_cookie;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::cluster::carried::CarriedNode;
use crate::config::config::Secret;
use crate::programme::carried::CarriedAir;
use crate::server::handover::collection::{GivenConnection, GivenListener};
use crate::server::handover::queue::{Contents, Received};
use crate::server::handover::records::{Record, records};
use crate::server::session::carried::CarriedClient;
use crate::server::state::State;
use crate::signaling::budget::CarriedAddress;
use crate::signaling::registry::carried::CarriedRegistry;
use crate::station::archive::CarriedPart;
use crate::wire::carried::{Bytes, relative_to};
use crate::wire::ids::ClientId;

/// The oldest state that counts: a queue may lie in a unit that was stopped.
const OLDEST: Duration = Duration::from_secs(60);

/// What is said of a state that is cut.
const CUT: &str = "it can't be read (it is cut)";

/// When it was packed, which is known first.
#[derive(Debug, Deserialize)]
struct Packed {
    packed: u64,
}

/// What crosses.
#[derive(Debug, Serialize, Deserialize)]
pub struct Carried {
    /// When it was packed, in us of the system's monotonic clock.
    packed: u64,
    /// How long the service has been up, in ms.
    uptime_ms: u64,
    /// The number of the next client.
    next_client: u64,
    /// What signs tokens, where no file and no setting has it.
    #[serde(default)]
    secret: Option<Bytes>,
    /// By the names of their series.
    #[serde(default)]
    counters: HashMap<String, u64>,
    #[serde(default)]
    addresses: Vec<CarriedAddress>,
    #[serde(default)]
    programme: Option<CarriedProgramme>,
    #[serde(default)]
    listeners: Vec<CarriedListener>,
    #[serde(default)]
    connections: Vec<CarriedConnection>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<CarriedNode>,
}

/// A connection on which a head is waited for.
#[derive(Debug, Serialize, Deserialize)]
struct CarriedConnection {
    ip: IpAddr,
    /// The cookie of its socket.
    socket: u64,
    head: Bytes,
    #[serde(default)]
    is_kept: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedProgramme {
    air: CarriedAir,
    /// Where it goes.
    url: String,
    /// The cookie of the connection, and what that has not taken.
    connection: Option<(u64, Bytes)>,
    /// The file of the archive.
    part: Option<CarriedPart>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedListener {
    ip: IpAddr,
    /// The cookies of its own connection, and of that to Icecast.
    sockets: (u64, u64),
    unsent: Bytes,
}

/// The programme, with its connection in its place.
#[derive(Debug)]
pub struct TakenProgramme {
    /// See [`CarriedAir`].
    pub air: CarriedAir,
    /// Where it goes.
    pub url: String,
    /// To Icecast, with what that has not taken.
    pub connection: Option<(OwnedFd, Vec<u8>)>,
    /// The file of the archive.
    pub part: Option<CarriedPart>,
}

/// A client that waits for its session.
#[derive(Debug)]
pub enum Waiting {
    /// It can go on.
    Client(Box<CarriedClient>),
    /// It makes no sense, and has not taken this.
    Nonsense(ClientId, Vec<u8>),
}

impl Waiting {
    /// The client of a record.
    pub fn of(record: &Record<'_>) -> Self {
        record.read().map_or_else(
            || Self::Nonsense(record.client, record.unsent()),
            |client| Self::Client(Box::new(client)),
        )
    }

    /// Its number.
    pub fn client(&self) -> ClientId {
        match self {
            Self::Client(client) => client.client,
            Self::Nonsense(client, _) => *client,
        }
    }
}

/// What was taken, with the sockets in their places.
#[derive(Debug)]
pub struct Taken {
    /// The moment to which all others are relative.
    pub packed: Instant,
    uptime: Duration,
    /// See [`Carried`].
    pub next_client: u64,
    /// See [`Carried`].
    pub secret: Option<Secret>,
    /// See [`Carried`].
    pub counters: HashMap<String, u64>,
    /// Peers and rooms.
    pub registry: CarriedRegistry,
    /// See [`Carried`].
    pub addresses: Vec<CarriedAddress>,
    /// Each with its socket, where it has one: the process before may have ended while it gave them away.
    pub clients: Vec<(Option<OwnedFd>, Waiting)>,
    /// The programme, if there is an Icecast.
    pub programme: Option<TakenProgramme>,
    /// Who listens.
    pub listeners: Vec<GivenListener>,
    /// Who is no client yet.
    pub connections: Vec<GivenConnection>,
    /// The node of a cluster, where the process was one.
    pub node: Option<CarriedNode>,
}

impl Taken {
    /// When the service started, which was another process.
    pub fn started(&self) -> std::time::Instant {
        let now = std::time::Instant::now();
        now.checked_sub(self.uptime).unwrap_or(now)
    }
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// The state at `now`, with what sessions and others have given back, and the sockets of all.
///
/// # Errors
///
/// When it can't be written.
pub fn pack(state: &State, now: Instant) -> Result<Contents<TcpStream>, serde_json::Error> {
    // One without a cookie has gone.
    fn put(sockets: &mut Vec<OwnedFd>, socket: OwnedFd) -> Option<u64> {
        let cookie = socket_cookie(&socket).ok()?;
        sockets.push(socket);
        Some(cookie)
    }
    let (mut others, mut connected) = (Vec::new(), Vec::new());
    let mut other = |socket| put(&mut others, socket);
    let collection = &state.collection;
    let (clients, records) = collection.take();
    let listeners = collection.take_listeners().into_iter();
    let listeners = listeners.filter_map(|GivenListener { ip, socket, icecast, unsent }| {
        let sockets = (other(socket.into())?, other(icecast)?);
        Some(CarriedListener { ip, sockets, unsent: Bytes(unsent) })
    });
    let listeners = listeners.collect();
    let connections = collection.take_connections().into_iter();
    let connections = connections.filter_map(|GivenConnection { ip, socket, head, is_kept }| {
        let socket = put(&mut connected, socket.into())?;
        Some(CarriedConnection { ip, socket, head: Bytes(head), is_kept })
    });
    let connections = connections.collect();
    let on_air = &state.studio.on_air;
    if collection.is_writing() {
        // The disk hangs, and the end of its file can't be carried.
        on_air.air().recording().fail();
    }
    let programme = on_air.icecast().map(|icecast| CarriedProgramme {
        air: on_air.air().carry(),
        url: icecast.url.to_string(),
        connection: collection
            .take_source()
            .and_then(|(socket, unsent)| Some((other(socket)?, Bytes(unsent)))),
        part: collection.take_part(),
    });
    let carried = Carried {
        packed: monotonic_us(),
        uptime_ms: state.started.elapsed().as_millis() as u64,
        next_client: state.clients.next(),
        secret: state.secret.as_ref().map(|secret| Bytes(secret.bytes().to_vec())),
        counters: state.studio.metrics.carry(),
        addresses: state.studio.budgets.carry(now),
        programme,
        listeners,
        connections,
        node: collection.take_node(),
    };
    let moment = carried.node.as_ref().and_then(CarriedNode::moment).unwrap_or(now);
    let registry = serde_json::to_vec(&state.studio.hub.carry(moment))?;
    let carried = relative_to(now, || serde_json::to_vec(&carried))?;
    let length = |part: &[u8]| (part.len() as u32).to_le_bytes();
    let (first, second) = (length(&carried), length(&registry));
    let state = [&first[..], &carried, &second, &registry, &records.into_bytes()].concat();
    Ok(Contents { state, clients, others, connected })
}

/// The parts of a state: what there is one of, peers and rooms, and clients. `None` where it is cut.
fn split(state: &[u8]) -> Option<[&[u8]; 3]> {
    fn part(state: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, state) = state.split_first_chunk()?;
        state.split_at_checked(u32::from_le_bytes(*length) as usize)
    }
    let (first, state) = part(state)?;
    let (second, clients) = part(state)?;
    Some([first, second, clients])
}

/// The clients in a state, whatever its version.
pub fn records_of(state: &[u8]) -> Vec<Record<'_>> {
    split(state).map_or_else(Vec::new, |[.., clients]| records(clients))
}

/// The peers and rooms in a state.
///
/// # Errors
///
/// Why they are of no use.
pub fn registry_of(state: &[u8]) -> Result<CarriedRegistry, String> {
    let [_, registry, _] = split(state).ok_or(CUT)?;
    serde_json::from_slice(registry).map_err(bad)
}

fn bad(error: serde_json::Error) -> String {
    format!("it can't be read ({error})")
}

/// Reads of a state what there is one of.
///
/// # Errors
///
/// Why it is of no use.
pub fn read(state: &[u8]) -> Result<Carried, String> {
    let [state, ..] = split(state).ok_or(CUT)?;
    let Packed { packed } = serde_json::from_slice(state).map_err(bad)?;
    let age = Duration::from_micros(monotonic_us().saturating_sub(packed));
    if age > OLDEST {
        return Err(format!("it is {} s old", age.as_secs()));
    }
    let now = Instant::now();
    let then = now.checked_sub(age).unwrap_or(now);
    let carried = relative_to(then, || serde_json::from_slice(state)).map_err(bad)?;
    Ok(carried)
}

impl Carried {
    /// Whether it is of a node of that cluster, or of no node where that is none.
    pub fn is_of(&self, cluster: Option<&str>) -> bool {
        match (&self.node, cluster) {
            (None, None) => true,
            (Some(node), Some(cluster)) => node.is_of(cluster),
            _ => false,
        }
    }

    /// How many sockets belong to it, beside those of clients, and those of connections that may as well come again.
    pub fn sockets(&self) -> usize {
        let programme = self.programme.as_ref().filter(|found| found.connection.is_some());
        2 * self.listeners.len() + usize::from(programme.is_some())
    }

    /// How long ago it was packed.
    pub fn age(&self) -> Duration {
        Duration::from_micros(monotonic_us().saturating_sub(self.packed))
    }

    /// Puts each socket into its place. Those that are nobody's are closed.
    pub fn with(
        self,
        registry: CarriedRegistry,
        clients: Vec<Waiting>,
        received: Received,
        now: Instant,
    ) -> Taken {
        let places = received.clients.into_iter().chain(std::iter::repeat_with(|| None));
        let clients = places.zip(clients).collect();
        let cookie = |socket: &BorrowedFd<'_>| socket_cookie(socket).ok();
        let known = received.others.into_iter();
        let mut sockets: HashMap<u64, _> =
            known.filter_map(|socket| Some((cookie(&socket.as_fd())?, socket))).collect();
        let age = self.age();
        let listeners = self.listeners.into_iter().filter_map(|listener| {
            let CarriedListener { ip, sockets: (own, icecast), unsent } = listener;
            let (own, icecast) = (sockets.remove(&own)?, sockets.remove(&icecast)?);
            Some(GivenListener { ip, socket: own.into(), icecast, unsent: unsent.0 })
        });
        let listeners = listeners.collect();
        let connections = self.connections.into_iter();
        let connections =
            connections.filter_map(|CarriedConnection { ip, socket, head, is_kept }| {
                let socket = sockets.remove(&socket)?.into();
                Some(GivenConnection { ip, socket, head: head.0, is_kept })
            });
        let connections = connections.collect();
        let programme = self.programme.map(|CarriedProgramme { air, url, connection, part }| {
            let connection =
                connection.and_then(|(cookie, unsent)| Some((sockets.remove(&cookie)?, unsent.0)));
            TakenProgramme { air, url, connection, part }
        });
        Taken {
            packed: now.checked_sub(age).unwrap_or(now),
            uptime: Duration::from_millis(self.uptime_ms) + age,
            next_client: self.next_client,
            secret: self
                .secret
                .and_then(|secret| String::from_utf8(secret.0).ok())
                .map(|secret| Secret::new(&secret)),
            counters: self.counters,
            registry,
            addresses: self.addresses,
            clients,
            programme,
            listeners,
            connections,
            node: self.node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state without clients, packed so long ago.
    fn packed(age: Duration) -> Vec<u8> {
        let packed = monotonic_us() - age.as_micros() as u64;
        let header = format!(r#"{{"packed":{packed},"uptime_ms":1,"next_client":1,"new":[1]}}"#);
        let registry = serde_json::to_vec(&CarriedRegistry::default()).unwrap();
        let length = |part: &[u8]| (part.len() as u32).to_le_bytes();
        let (first, second) = (length(header.as_bytes()), length(&registry));
        [&first[..], header.as_bytes(), &second, &registry].concat()
    }

    #[test]
    fn an_old_state_is_of_no_use() {
        assert!(read(&packed(OLDEST - Duration::from_secs(1))).is_ok());
        let reason = read(&packed(OLDEST + Duration::from_secs(1))).unwrap_err();
        assert_eq!(reason, "it is 61 s old");
    }

    #[test]
    fn one_that_is_cut_is_of_no_use() {
        let state = packed(Duration::ZERO);
        assert!(read(&state).is_ok() && registry_of(&state).is_ok());
        for end in 0..state.len() {
            let state = &state[..end];
            assert!(read(state).is_err() || registry_of(state).is_err(), "{end} bytes");
            assert!(records_of(state).is_empty());
        }
    }
}
