//! What a client may say now, and what comes of it.
//!
//! Owns a client's id and the order of the checks on each message. It deliberately knows neither frames
//! nor the socket.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::events::Event;
use crate::hub::{JoinError, NotInRoom, RelayError};
use crate::message::{Envelope, MessageType};
use crate::outbox::Outbox;
use crate::protocol::{ClientId, ErrorCode, PeerId, Refusal, Role, RoomId, ServerMessage, quoted};
use crate::room::MuteError;
use crate::state::State;

/// What `start-stream` is told: feeding Icecast is another service's work.
const NO_STREAMING: &str = "Streaming is not available on this server";

/// What `stop-stream` is told.
const STREAM_STOPPED: &str = "Stream stopped successfully";

/// The client as others see it. When it is dropped, the others see it leave.
#[derive(Debug)]
pub struct Peer {
    state: Arc<State>,
    client: ClientId,
    ip: IpAddr,
    /// From `register` on.
    registered: Option<Registered>,
}

#[derive(Debug)]
struct Registered {
    id: PeerId,
    outbox: Arc<Outbox>,
}

impl Peer {
    /// A client that has not registered.
    pub fn new(state: Arc<State>, client: ClientId, ip: IpAddr) -> Self {
        Self { state, client, ip, registered: None }
    }

    /// What others want it to hear, once it is registered.
    pub fn outbox(&self) -> Option<&Outbox> {
        self.registered.as_ref().map(|registered| &*registered.outbox)
    }

    /// Does what the message of type `kind` asks for. `text` is the message as it came, `say` takes the
    /// direct reply.
    ///
    /// # Errors
    ///
    /// The refusal, which is the reply then.
    pub fn hear(
        &mut self,
        kind: MessageType,
        envelope: &Envelope,
        text: &str,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<(), Refusal> {
        let request_id = envelope.request_id();
        let hub = &self.state.hub;
        match kind {
            MessageType::Ping => say(&ServerMessage::Pong { timestamp: unix_ms(), request_id }),
            MessageType::Register => {
                let peer_id = self.register(envelope)?;
                say(&ServerMessage::Registered { peer_id, request_id });
            }
            MessageType::Offer | MessageType::Answer => {
                let me = self.id("Peer must register before sending offer/answer messages")?;
                self.relay(kind, me, envelope, text)?;
            }
            MessageType::IceCandidate => {
                let me = self.id("Peer must register before sending ICE candidate messages")?;
                self.relay(kind, me, envelope, text)?;
            }
            MessageType::CreateRoom => {
                let host_id = self.id("Must register before creating a room")?;
                let room_id = &hub.create_room(host_id).map_err(already_in)?;
                self.log_entered(host_id, room_id, Role::Host);
                say(&ServerMessage::RoomCreated { room_id, host_id, request_id });
            }
            MessageType::JoinRoom => {
                let me = self.id("Must register before joining a room")?;
                let room = envelope.room_id()?;
                let joined = hub.join_room(me, &room).map_err(|error| match error {
                    JoinError::AlreadyIn(room) => already_in(room),
                    JoinError::NoSuchRoom => {
                        let why = format_args!(r#"Room "{}" does not exist"#, quoted(&room));
                        Refusal::new(ErrorCode::RoomNotFound, why)
                    }
                })?;
                let (room_id, participants) = (&joined.0, &*joined.1);
                self.log_entered(me, room_id, Role::Caller);
                say(&ServerMessage::RoomJoined { room_id, participants, request_id });
            }
            MessageType::LeaveRoom => {
                let me = self.id("Not in a room").map_err(|_| not_in_room(NotInRoom))?;
                let room_id = &hub.leave_room(me).map_err(not_in_room)?;
                self.log_left(me, room_id);
                say(&ServerMessage::RoomLeft { room_id, request_id });
            }
            MessageType::Mute => {
                let me = self.id("Must register before sending mute messages")?;
                self.mute(me, envelope)?;
            }
            MessageType::RecordingState => {
                let from = self.id("Must register before sending recording state")?;
                if !hub.is_in_room(from) {
                    return Err(not_in_room(NotInRoom));
                }
                let recording = envelope.recording()?;
                let message = ServerMessage::RecordingState { recording, from };
                hub.tell_room(from, &message).map_err(not_in_room)?;
            }
            MessageType::StartStream => {
                say(&ServerMessage::StreamError { message: NO_STREAMING, request_id });
            }
            MessageType::StreamChunk => {}
            MessageType::StopStream => {
                say(&ServerMessage::StreamStopped { message: STREAM_STOPPED, request_id });
            }
        }
        Ok(())
    }

    /// Gives the id back: the others see the client leave. It can say nothing after that.
    pub fn leave(&mut self) {
        if let Some(Registered { id, .. }) = self.registered.take() {
            if let Some(room) = self.state.hub.unregister(id, self.client) {
                self.log_left(id, &room);
            }
        }
    }

    /// The client's id, or a refusal with this text.
    fn id(&self, otherwise: &str) -> Result<PeerId, Refusal> {
        let id = self.registered.as_ref().map(|registered| registered.id);
        id.ok_or_else(|| Refusal::new(ErrorCode::NotRegistered, otherwise))
    }

    fn register(&mut self, envelope: &Envelope) -> Result<PeerId, Refusal> {
        let id = envelope.peer_id()?;
        let taken = || {
            let why = format_args!(r#"Peer ID "{id}" is already registered"#);
            Refusal::new(ErrorCode::AlreadyRegistered, why)
        };
        // A second id would strand the first.
        if self.registered.is_some() {
            return Err(taken());
        }
        let outbox = Arc::new(Outbox::new(self.state.config.max_outbox_bytes));
        if !self.state.hub.register(id, self.client, Arc::clone(&outbox)) {
            return Err(taken());
        }
        self.registered = Some(Registered { id, outbox });
        self.state.journal.log(Event::Registered {
            client_ip: self.ip,
            client_id: self.client,
            peer_id: id,
        });
        Ok(id)
    }

    fn relay(
        &self,
        kind: MessageType,
        me: PeerId,
        envelope: &Envelope,
        text: &str,
    ) -> Result<(), Refusal> {
        let to = envelope.relay(kind, me)?;
        self.state.hub.relay(me, &to, text).map_err(|error| match error {
            RelayError::NotConnected => {
                let why = format_args!(r#"Target peer "{}" is not connected"#, quoted(&to));
                Refusal::new(ErrorCode::PeerNotConnected, why)
            }
            RelayError::DifferentRoom => {
                Refusal::new(ErrorCode::DifferentRoom, "Target peer is in a different room")
            }
        })
    }

    fn mute(&self, me: PeerId, envelope: &Envelope) -> Result<(), Refusal> {
        let hub = &self.state.hub;
        if !hub.is_in_room(me) {
            return Err(not_in_room(NotInRoom));
        }
        let (target, muted, authority) = envelope.mute()?;
        hub.mute(me, target, muted, authority).map_err(|error| match error {
            MuteError::NotHere => Envelope::not_a_participant(),
            MuteError::NotALeader => {
                let why = "Only hosts and ops can mute other participants";
                Refusal::new(ErrorCode::Forbidden, why)
            }
            MuteError::NotOneself => {
                let why = "Self authority can only be used on yourself";
                Refusal::new(ErrorCode::Forbidden, why)
            }
        })
    }

    fn log_entered(&self, peer_id: PeerId, room_id: &RoomId, role: Role) {
        self.state.journal.log(Event::RoomEntered {
            client_id: self.client,
            peer_id,
            room_id: room_id.clone(),
            role,
        });
    }

    fn log_left(&self, peer_id: PeerId, room_id: &RoomId) {
        self.state.journal.log(Event::RoomLeft {
            client_id: self.client,
            peer_id,
            room_id: room_id.clone(),
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.leave();
    }
}

fn already_in(room: RoomId) -> Refusal {
    let why = format_args!(r#"Peer is already in room "{room}""#);
    Refusal::new(ErrorCode::AlreadyInRoom, why)
}

fn not_in_room(_: NotInRoom) -> Refusal {
    Refusal::new(ErrorCode::NotInRoom, "Not in a room")
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
