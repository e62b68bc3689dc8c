//! What a client may say now, and what comes of it.
//!
//! Owns a client's id and the order of the checks on each message. It deliberately knows neither frames
//! nor the socket.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout};

use crate::events::Event;
use crate::hub::{
    Entered, Entry, EntryError, JoinError, News, NotInRoom, Registration, RelayError,
};
use crate::ice::{wants_credentials, with_credentials};
use crate::invite::Invite;
use crate::message::{Envelope, MessageType};
use crate::outbox::Outbox;
use crate::protocol::{
    Access, ClientId, ErrorCode, PeerId, Refusal, Role, RoomId, ServerMessage, quoted,
};
use crate::room::MuteError;
use crate::state::State;

/// How long the holder of an id has to show that it lives, when somebody else wants the id.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

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
    /// When it was welcomed.
    since: Instant,
    /// From `register` on.
    registered: Option<Registered>,
    /// While it is found out whether the holder of the id lives.
    contest: Option<Contest>,
}

/// A `register` that waits for its answer.
struct Contest {
    id: PeerId,
    holder: ClientId,
    request_id: Option<String>,
    /// Whether the holder lives; ends within [`SIGN_OF_LIFE`].
    alive: Pin<Box<dyn Future<Output = bool> + Send>>,
}

impl fmt::Debug for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contest for {} with client {}", self.id, self.holder)
    }
}

#[derive(Debug)]
struct Registered {
    id: PeerId,
    outbox: Arc<Outbox>,
}

impl Peer {
    /// A client that has not registered.
    pub fn new(state: Arc<State>, client: ClientId, ip: IpAddr) -> Self {
        Self { state, client, ip, since: Instant::now(), registered: None, contest: None }
    }

    /// What others want it to hear, once it is registered.
    pub fn outbox(&self) -> Option<&Outbox> {
        self.registered.as_ref().map(|registered| &*registered.outbox)
    }

    /// Does what the message of type `kind` asks for. `text` is the message as it came, `say` takes the
    /// direct reply. Returns what others are to hear once that reply has been sent.
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
    ) -> Result<News, Refusal> {
        let request_id = envelope.request_id();
        let hub = &self.state.hub;
        match kind {
            MessageType::Ping => say(&ServerMessage::Pong { timestamp: unix_ms(), request_id }),
            MessageType::Register => {
                if let Some(peer_id) = self.register(envelope)? {
                    say(&ServerMessage::Registered { peer_id, request_id });
                }
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
                say(&ServerMessage::RoomCreated { room_id, host_id, access: None, request_id });
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
                self.log_entered(me, &joined.room_id, joined.role);
                return Ok(answer(me, joined, None, request_id, say));
            }
            MessageType::CreateOrJoinRoom => {
                let me = self.id("Must register before creating or joining a room")?;
                let entered = self.enter(me, envelope)?;
                self.log_entered(me, &entered.room_id, entered.role);
                let token = self.state.tokens.room(me, &entered.room_id, entered.role, unix_s());
                let ice = self.ice(me);
                let access = Access { role: entered.role, token: &token, ice: &ice };
                return Ok(answer(me, entered, Some(access), request_id, say));
            }
            MessageType::RequestInvite => {
                let me = self.id("Must register first")?;
                let (room_id, role) = &self.invite(me, envelope)?;
                let invite_token = &self.state.tokens.invite(room_id, *role, unix_s());
                self.state.journal.log(Event::InviteMade {
                    client_id: self.client,
                    peer_id: me,
                    room_id: room_id.clone(),
                    role: *role,
                });
                say(&ServerMessage::InviteToken { invite_token, room_id, role: *role, request_id });
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
                hub.seat_of(from).map_err(not_in_room)?;
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
        Ok(News::default())
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

    /// Whether a `register` waits for its answer. Until it has it, the client is not listened to: its
    /// messages are handled in order.
    pub fn is_contesting(&self) -> bool {
        self.contest.is_some()
    }

    /// Whether the contest is over, and if so whether the holder lives.
    pub fn poll_contest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.contest {
            Some(contest) => contest.alive.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Ends the contest: a holder that lives keeps the id, else it is this client's, with the seat. Returns
    /// the id or the refusal, for the reply to the `register`, and the `requestId` of that.
    pub fn settle(
        &mut self,
        holder_lives: bool,
    ) -> Option<(Result<PeerId, Refusal>, Option<String>)> {
        let Contest { id, holder, request_id, .. } = self.contest.take()?;
        let outbox = self.new_outbox();
        let hub = &self.state.hub;
        if !holder_lives && hub.take_over(id, holder, self.client, Arc::clone(&outbox)) {
            self.state.journal.log(Event::TakenOver {
                client_ip: self.ip,
                client_id: self.client,
                peer_id: id,
                holder,
            });
            self.registered = Some(Registered { id, outbox });
            self.state.metrics.registered(self.since.elapsed());
            return Some((Ok(id), request_id));
        }
        Some((Err(taken(id)), request_id))
    }

    /// The id, or nothing where it has to be found out first whether its holder lives.
    fn register(&mut self, envelope: &Envelope) -> Result<Option<PeerId>, Refusal> {
        let id = envelope.peer_id()?;
        // A second id would strand the first.
        if self.registered.is_some() {
            return Err(taken(id));
        }
        let outbox = self.new_outbox();
        match self.state.hub.register(id, self.client, Arc::clone(&outbox)) {
            Registration::Done => {}
            Registration::Contested => return Err(taken(id)),
            Registration::Held { by, alive } => {
                self.contest = Some(Contest {
                    id,
                    holder: by,
                    request_id: envelope.request_id().map(str::to_owned),
                    alive: Box::pin(async move {
                        matches!(timeout(SIGN_OF_LIFE, alive).await, Ok(Ok(())))
                    }),
                });
                return Ok(None);
            }
        }
        self.registered = Some(Registered { id, outbox });
        self.state.metrics.registered(self.since.elapsed());
        self.state.journal.log(Event::Registered {
            client_ip: self.ip,
            client_id: self.client,
            peer_id: id,
        });
        Ok(Some(id))
    }

    fn new_outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::new(self.state.config.max_outbox_bytes))
    }

    fn relay(
        &self,
        kind: MessageType,
        me: PeerId,
        envelope: &Envelope,
        text: &str,
    ) -> Result<(), Refusal> {
        let to = envelope.relay(kind, me)?;
        self.state.hub.relay(kind, me, &to, text).map_err(|error| match error {
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
        hub.seat_of(me).map_err(not_in_room)?;
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

    /// Takes the peer into the room that `create-or-join-room` names.
    fn enter(&self, me: PeerId, envelope: &Envelope) -> Result<Entered, Refusal> {
        let invite = envelope.invite_token().map(|token| self.state.tokens.check(&token, unix_s()));
        let invite = invite.transpose();
        let invite = invite.map_err(|why| Refusal::new(ErrorCode::InvalidInvite, why))?;
        let room = envelope.chosen_room();
        let (room, entry) = match invite {
            None => {
                let room = room.unwrap_or_else(|| Some(RoomId::random()));
                (room, Entry::Asked(envelope.role()))
            }
            Some(Invite { room_id, role }) => {
                // Who names no room is led into the one of the invite.
                let own = RoomId::from(&*room_id);
                if room.is_some_and(|room| room.as_ref() != Some(&own)) {
                    let why = "Invite token is for a different room";
                    return Err(Refusal::new(ErrorCode::InvalidInvite, why));
                }
                let role = Role::from_name(&role).ok_or_else(|| invalid_role(&quoted(&role)))?;
                (Some(own), Entry::Invited(role))
            }
        };
        self.state.hub.create_or_join_room(me, room, entry).map_err(|error| match error {
            EntryError::InvalidRole(role) => invalid_role(&role),
            EntryError::AlreadyIn(room) => already_in(room),
            EntryError::InvalidRoom => {
                Refusal::new(ErrorCode::InvalidMessage, r#"Invalid "roomId" field"#)
            }
        })
    }

    /// Where `request-invite` may let somebody in, and as what.
    fn invite(&self, me: PeerId, envelope: &Envelope) -> Result<(RoomId, Role), Refusal> {
        let (room, role) = self.state.hub.seat_of(me).map_err(not_in_room)?;
        if !role.leads() {
            let why = "Only hosts and ops can generate invite links";
            return Err(Refusal::new(ErrorCode::Forbidden, why));
        }
        let invalid = |role: String| {
            Refusal::new(ErrorCode::InvalidRole, format_args!(r#"Invalid invite role "{role}""#))
        };
        match envelope.invite_role().map_err(invalid)? {
            Role::Host => Err(invalid(Role::Host.to_string())),
            role => Ok((room, role)),
        }
    }

    /// The `ice` object for this peer.
    fn ice(&self, me: PeerId) -> Box<RawValue> {
        let station = self.state.manifest.station();
        match &self.state.config.turn_secret {
            Some(secret) if wants_credentials(&station.ice_value) => {
                let ttl = self.state.config.turn_ttl;
                let ice = with_credentials(&station.ice_value, secret, me, unix_s(), ttl);
                to_raw_value(&ice).expect("a JSON value is written as JSON")
            }
            _ => station.ice.clone(),
        }
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

/// Tells a peer where it is now: what the others are to hear then.
fn answer(
    me: PeerId,
    entered: Entered,
    access: Option<Access>,
    request_id: Option<&str>,
    mut say: impl FnMut(&ServerMessage),
) -> News {
    let room_id = &entered.room_id;
    say(&match &entered.joined {
        Some(participants) => {
            ServerMessage::RoomJoined { room_id, participants, access, request_id }
        }
        None => ServerMessage::RoomCreated { room_id, host_id: me, access, request_id },
    });
    entered.news
}

fn invalid_role(role: &str) -> Refusal {
    let why = format_args!(r#"Invalid role "{role}". Must be one of: host, ops, guest"#);
    Refusal::new(ErrorCode::InvalidRole, why)
}

fn taken(id: PeerId) -> Refusal {
    let why = format_args!(r#"Peer ID "{id}" is already registered"#);
    Refusal::new(ErrorCode::AlreadyRegistered, why)
}

fn already_in(room: RoomId) -> Refusal {
    let why = format_args!(r#"Peer is already in room "{room}""#);
    Refusal::new(ErrorCode::AlreadyInRoom, why)
}

fn not_in_room(_: NotInRoom) -> Refusal {
    Refusal::new(ErrorCode::NotInRoom, "Not in a room")
}

fn unix_s() -> u64 {
    unix_ms() / 1000
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
