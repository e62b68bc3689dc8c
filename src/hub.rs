//! Who is connected, who they are, and who is in a room with whom.
//!
//! Owns clients, peers and rooms. It deliberately knows no socket and no session: what it has to say to a
//! client goes to that client's outbox.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::frame::{Opcode, encode};
use crate::outbox::{Frame, Outbox};
use crate::protocol::{
    self, Authority, ClientId, CloseCode, Participant, PeerId, Role, RoomId, ServerMessage,
};
use crate::room::{MuteError, Muting, Room};

/// How long nobody must have been turned away for the next one to be news.
const FULL_QUIET: Duration = Duration::from_secs(60);

/// The shared handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// How many seats are taken. Written under the channel's own lock when a seat is taken or given back;
    /// read by the status line, the drain and the watchdog.
    clients: watch::Sender<usize>,
    /// The number of the client that comes next.
    next: AtomicU64,
    limit: usize,
    /// When somebody was last turned away. Written and read by [`Hub::admit`] only.
    full: Mutex<Option<Instant>>,
    /// Peers and rooms have one lock, because they must agree. Sessions write and read it by the methods
    /// below; nobody sends while it is held.
    studio: Mutex<Studio>,
}

#[derive(Debug, Default)]
struct Studio {
    peers: HashMap<PeerId, Peer>,
    /// Every room has somebody in it.
    rooms: HashMap<RoomId, Room>,
}

/// A registered client.
#[derive(Debug)]
struct Peer {
    client: ClientId,
    outbox: Arc<Outbox>,
    room: Option<RoomId>,
}

/// What `register` comes to.
#[derive(Debug)]
pub enum Registration {
    /// The id is the client's.
    Done,
    /// Somebody has the id.
    Held {
        /// Who.
        by: ClientId,
        /// Resolves when the holder shows a sign of life, and fails when its session ends.
        alive: oneshot::Receiver<()>,
    },
    /// Somebody has the id, and somebody else is finding out whether they live.
    Contested,
}

/// Why a message does not reach its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError {
    /// Nobody with that id is connected.
    NotConnected,
    /// They are not in the same room, nor both in none.
    DifferentRoom,
}

/// Why a room is not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// There is no such room.
    NoSuchRoom,
    /// The peer is in this room.
    AlreadyIn(RoomId),
}

/// The peer is in no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRoom;

/// All seats are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Whether nobody was turned away in the minute before: worth a line in the log.
    pub is_news: bool,
}

/// A client's place in the hub, given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    hub: Hub,
    /// Whose place it is.
    pub client: ClientId,
}

impl Hub {
    /// A hub for at most `limit` clients.
    pub fn new(limit: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                clients: watch::Sender::new(0),
                next: AtomicU64::new(1),
                limit,
                full: Mutex::new(None),
                studio: Mutex::default(),
            }),
        }
    }

    /// How many clients there may be.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// How many clients there are, those whose handshake is being answered included.
    pub fn clients(&self) -> usize {
        *self.inner.clients.borrow()
    }

    /// A receiver that follows the number of clients.
    pub fn follow(&self) -> watch::Receiver<usize> {
        self.inner.clients.subscribe()
    }

    /// Gives the next client a seat.
    ///
    /// # Errors
    ///
    /// When all are taken.
    pub fn admit(&self) -> Result<Seat, Full> {
        let limit = self.inner.limit;
        let admitted = self.inner.clients.send_if_modified(|clients| {
            let free = *clients < limit;
            *clients += usize::from(free);
            free
        });
        if !admitted {
            return Err(self.turn_away());
        }
        Ok(Seat {
            hub: self.clone(),
            client: ClientId(self.inner.next.fetch_add(1, Ordering::Relaxed)),
        })
    }

    /// Gives `client` the id `peer`, if nobody has it; else whoever has it is asked for a sign of life.
    pub fn register(&self, peer: PeerId, client: ClientId, outbox: Arc<Outbox>) -> Registration {
        let mut studio = self.studio();
        let Some(holder) = studio.peers.get(&peer) else {
            studio.peers.insert(peer, Peer { client, outbox, room: None });
            return Registration::Done;
        };
        let holder = (holder.client, Arc::clone(&holder.outbox));
        drop(studio);
        match holder.1.challenge() {
            Some(alive) => Registration::Held { by: holder.0, alive },
            None => Registration::Contested,
        }
    }

    /// Gives `client` the id `peer` and its seat in the room, if `holder` still has it or nobody has; false
    /// where somebody else was faster. The others in the room see nothing; the holder is ended with 4010.
    pub fn take_over(
        &self,
        peer: PeerId,
        holder: ClientId,
        client: ClientId,
        outbox: Arc<Outbox>,
    ) -> bool {
        let mut studio = self.studio();
        let Some(found) = studio.peers.get_mut(&peer) else {
            studio.peers.insert(peer, Peer { client, outbox, room: None });
            return true;
        };
        if found.client != holder {
            return false;
        }
        found.client = client;
        let old = std::mem::replace(&mut found.outbox, outbox);
        drop(studio);
        old.close(CloseCode::REPLACED);
        true
    }

    /// Takes `peer` out, and out of its room, if it is still `client` that has the id. Returns the room.
    pub fn unregister(&self, peer: PeerId, client: ClientId) -> Option<RoomId> {
        let mut studio = self.studio();
        studio.peers.get(&peer).filter(|found| found.client == client)?;
        let left = studio.leave(peer);
        studio.peers.remove(&peer);
        drop(studio);
        let (room, others) = left?;
        tell(&others, &ServerMessage::PeerLeft { peer_id: peer });
        Some(room)
    }

    /// Passes `text` on from `from` to the peer that `to` names, as it is.
    ///
    /// # Errors
    ///
    /// When that peer is not there, or not in the same room.
    pub fn relay(&self, from: PeerId, to: &str, text: &str) -> Result<(), RelayError> {
        let outbox = {
            let studio = self.studio();
            let receiver = PeerId::parse(to).and_then(|to| studio.peers.get(&to));
            let receiver = receiver.ok_or(RelayError::NotConnected)?;
            let sender = studio.peers.get(&from).ok_or(RelayError::NotConnected)?;
            if sender.room != receiver.room {
                return Err(RelayError::DifferentRoom);
            }
            Arc::clone(&receiver.outbox)
        };
        let mut frame = Vec::with_capacity(text.len() + 10);
        encode(&mut frame, Opcode::Text, text.as_bytes(), None);
        outbox.push(&Frame::from(frame));
        Ok(())
    }

    /// Makes a room with `peer` as its host.
    ///
    /// # Errors
    ///
    /// The room that the peer is in already.
    pub fn create_room(&self, peer: PeerId) -> Result<RoomId, RoomId> {
        let mut studio = self.studio();
        if let Some(room) = studio.room_of(peer) {
            return Err(room);
        }
        let id = RoomId::random();
        studio.enter(peer, &id, Role::Host);
        Ok(id)
    }

    /// Takes `peer` into a room that there is; the others are told. Returns who is in it now.
    ///
    /// # Errors
    ///
    /// When there is no such room, or the peer is in one already.
    pub fn join_room(
        &self,
        peer: PeerId,
        room: &str,
    ) -> Result<(RoomId, Vec<Participant>), JoinError> {
        let id = RoomId::from(room);
        let mut studio = self.studio();
        if !studio.rooms.contains_key(&id) {
            return Err(JoinError::NoSuchRoom);
        }
        if let Some(room) = studio.room_of(peer) {
            return Err(JoinError::AlreadyIn(room));
        }
        let others = studio.outboxes(&id);
        let participants = studio.enter(peer, &id, Role::Caller);
        drop(studio);
        tell(
            &others,
            &ServerMessage::PeerJoined(Participant { peer_id: peer, role: Role::Caller }),
        );
        Ok((id, participants))
    }

    /// Takes `peer` out of its room; the others are told.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub fn leave_room(&self, peer: PeerId) -> Result<RoomId, NotInRoom> {
        let (room, others) = self.studio().leave(peer).ok_or(NotInRoom)?;
        tell(&others, &ServerMessage::PeerLeft { peer_id: peer });
        Ok(room)
    }

    /// Whether `peer` is in a room.
    pub fn is_in_room(&self, peer: PeerId) -> bool {
        self.studio().room_of(peer).is_some()
    }

    /// Mutes `target` in the room of `from`, or ends that, and tells everyone in it.
    ///
    /// # Errors
    ///
    /// When the target is not in that room, or `from` has not the right.
    pub fn mute(
        &self,
        from: PeerId,
        target: PeerId,
        muted: bool,
        authority: Authority,
    ) -> Result<(), MuteError> {
        let everyone = {
            let mut studio = self.studio();
            let id = studio.room_of(from).ok_or(MuteError::NotHere)?;
            let room = studio.rooms.get_mut(&id).ok_or(MuteError::NotHere)?;
            match room.mute(from, target, muted, authority)? {
                Muting::Changed => studio.outboxes(&id),
                Muting::Unchanged => return Ok(()),
            }
        };
        tell(&everyone, &ServerMessage::Mute { peer_id: target, muted, authority, from });
        Ok(())
    }

    /// Tells everyone in the room of `from`, itself too.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub fn tell_room(&self, from: PeerId, message: &ServerMessage) -> Result<(), NotInRoom> {
        let everyone = {
            let studio = self.studio();
            let room = studio.room_of(from).ok_or(NotInRoom)?;
            studio.outboxes(&room)
        };
        tell(&everyone, message);
        Ok(())
    }

    /// A panic elsewhere ends the process; until then what is there is told goodbye.
    fn studio(&self) -> MutexGuard<'_, Studio> {
        self.inner.studio.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_away(&self) -> Full {
        let mut last = self.inner.full.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(Instant::now());
        Full { is_news: before.is_none_or(|before| before.elapsed() >= FULL_QUIET) }
    }
}

impl Studio {
    fn room_of(&self, peer: PeerId) -> Option<RoomId> {
        self.peers.get(&peer)?.room.clone()
    }

    /// Puts a peer into a room, which is made where it is not there: who is in it now.
    fn enter(&mut self, peer: PeerId, id: &RoomId, role: Role) -> Vec<Participant> {
        if let Some(found) = self.peers.get_mut(&peer) {
            found.room = Some(id.clone());
        }
        let room = self.rooms.entry(id.clone()).or_default();
        room.enter(peer, role);
        room.participants().collect()
    }

    /// Takes a peer out of its room: which, and whom to tell. The last one out ends the room.
    fn leave(&mut self, peer: PeerId) -> Option<(RoomId, Vec<Arc<Outbox>>)> {
        let id = self.peers.get_mut(&peer)?.room.take()?;
        if self.rooms.get_mut(&id)?.leave(peer) {
            self.rooms.remove(&id);
        }
        let others = self.outboxes(&id);
        Some((id, others))
    }

    fn outboxes(&self, room: &RoomId) -> Vec<Arc<Outbox>> {
        let participants = self.rooms.get(room).into_iter().flat_map(Room::participants);
        let peers = participants.filter_map(|p| self.peers.get(&p.peer_id));
        peers.map(|peer| Arc::clone(&peer.outbox)).collect()
    }
}

/// Sends one message to many: written once, shared by all.
fn tell(outboxes: &[Arc<Outbox>], message: &ServerMessage) {
    if outboxes.is_empty() {
        return;
    }
    let mut text = Vec::new();
    protocol::write(&mut text, message);
    let mut frame = Vec::with_capacity(text.len() + 10);
    encode(&mut frame, Opcode::Text, &text, None);
    let frame = Frame::from(frame);
    for outbox in outboxes {
        outbox.push(&frame);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.inner.clients.send_modify(|clients| *clients -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_and_given_back() {
        let hub = Hub::new(2);
        let first = hub.admit().unwrap();
        let second = hub.admit().unwrap();
        assert_ne!(first.client, second.client);
        assert_eq!(hub.admit().unwrap_err(), Full { is_news: true });
        assert_eq!(hub.admit().unwrap_err(), Full { is_news: false });
        assert_eq!(hub.clients(), 2);
        drop(first);
        assert_eq!(hub.clients(), 1);
        assert!(hub.admit().is_ok());
    }
}
