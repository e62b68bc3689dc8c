//! A client: which messages it may send, and how it registers.
//!
//! Owns [`Client`]: the peer id of a client, how it registers, and the contest for an id that another client has.
//! [`Client::hear`] dispatches every message by its type. It deliberately knows neither frames nor the socket.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::signaling::broadcast::News;
use crate::signaling::budget::{AddressBudget, ClientBudget};
use crate::signaling::contest::{Contest, Settled, answer};
use crate::signaling::conversation::ClientInfo;
use crate::signaling::hub::{Challenged, Registration};
use crate::signaling::identity::absence::SEAT_TIME;
use crate::signaling::identity::holding::SIGN_OF_LIFE;
use crate::signaling::member::{Member, not_in_room, unix_ms, unix_s};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::parting::{Parting, Remains};
use crate::signaling::registry::{Arrival, NotInRoom, TakeOver};
use crate::signaling::studio::Studio;
use crate::telemetry::events::Event;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::{ClientId, Identity, PeerId};
use crate::wire::reply::ServerMessage;
use crate::wire::request::{Envelope, MessageType, RegisterProofs};

/// What `start-stream` is told: feeding Icecast is another service's work.
const NO_STREAMING: &str = "Streaming is not available on this server";

/// What `stop-stream` is told.
const STREAM_STOPPED: &str = "Stream stopped successfully";

/// The client as others see it. When it is dropped, the others see it leave.
#[derive(Debug)]
pub struct Client {
    studio: Arc<Studio>,
    client: ClientId,
    ip: IpAddr,
    /// Who is behind it.
    identity: Identity,
    /// Whether nothing is kept for it when it goes.
    is_check: bool,
    /// What all clients of its address may do, if that is bounded.
    address_budget: Option<Arc<AddressBudget>>,
    /// When it was welcomed.
    since: Instant,
    /// From `register` on.
    registered: Option<Registered>,
    /// While a message waits for its answer. Few have one, and none for long.
    contest: Option<Box<Contest>>,
    /// Whether the other client of its identity has answered, so that this one is as anybody.
    rival_lives: bool,
    /// What it may send still, where it is back.
    budget: Option<Box<ClientBudget>>,
}

#[derive(Debug)]
struct Registered {
    id: PeerId,
    outbox: Arc<Outbox>,
}

impl Client {
    /// A client that has not registered.
    pub fn new(studio: Arc<Studio>, info: ClientInfo) -> Self {
        let ClientInfo { client, ip, identity, is_check } = info;
        let since = Instant::now();
        let address_budget = studio.budgets.of(ip, since);
        Self {
            studio,
            client,
            ip,
            identity,
            is_check,
            address_budget,
            since,
            registered: None,
            contest: None,
            rival_lives: false,
            budget: None,
        }
    }

    /// What all clients of its address may do, if that is bounded.
    pub fn address_budget(&self) -> Option<&AddressBudget> {
        self.address_budget.as_deref()
    }

    /// How many other peers are in its room.
    pub fn others_in_room(&self) -> usize {
        let registered = self.registered.as_ref();
        registered.map_or(0, |registered| self.studio.hub.others(registered.id))
    }

    /// What all clients share.
    pub fn studio(&self) -> &Studio {
        &self.studio
    }

    /// Where the client connects from, and its number.
    pub fn address(&self) -> (IpAddr, ClientId) {
        (self.ip, self.client)
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
        envelope: &Envelope<'_>,
        text: &str,
        mut say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let request_id = envelope.request_id();
        match kind {
            MessageType::Ping => say(&ServerMessage::Pong { timestamp: unix_ms(), request_id }),
            MessageType::Register => {
                if let Some(peer_id) = self.register(envelope)? {
                    let resume = &self.resume();
                    say(&ServerMessage::Registered { peer_id, resume, request_id });
                }
            }
            MessageType::Offer | MessageType::Answer => {
                let otherwise = "Peer must register before sending offer/answer messages";
                self.relaying_member(otherwise)?.relay(kind, envelope, text)?;
            }
            MessageType::IceCandidate => {
                let otherwise = "Peer must register before sending ICE candidate messages";
                self.relaying_member(otherwise)?.relay(kind, envelope, text)?;
            }
            MessageType::CreateRoom => {
                self.member("Must register before creating a room")?
                    .create_room(request_id, say)?;
            }
            MessageType::JoinRoom => {
                let me = self.member("Must register before joining a room")?;
                return me.join_room(envelope, say);
            }
            MessageType::CreateOrJoinRoom => return self.create_or_join_room(envelope, text, say),
            MessageType::RequestInvite => {
                self.member("Must register first")?.invite(envelope, say)?;
            }
            MessageType::RequestIce => {
                self.member("Must register first")?.request_ice(request_id, say)?;
            }
            MessageType::LeaveRoom => {
                let me = self.member("").map_err(|_| not_in_room(NotInRoom))?;
                me.leave_room(request_id, say)?;
            }
            MessageType::Mute => {
                self.member("Must register before sending mute messages")?.mute(envelope)?;
            }
            MessageType::RecordingState => {
                let me = self.member("Must register before sending recording state")?;
                me.recording_state(envelope)?;
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

    /// Takes the client into a room. Where its identity has a role there that another client seems to sit on, that one is
    /// asked first whether it lives.
    fn create_or_join_room(
        &mut self,
        envelope: &Envelope<'_>,
        text: &str,
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let me = self.member("Must register before creating or joining a room")?;
        let rival = if self.rival_lives { None } else { me.challenge_rival(envelope) };
        let Some(Challenged { peer, client, alive }) = rival else {
            let entered = me.create_or_join_room(envelope, say);
            self.rival_lives = false;
            return entered;
        };
        self.contest = Some(Box::new(Contest::Role {
            text: text.to_owned(),
            peer,
            rival: client,
            alive: answer(alive, SIGN_OF_LIFE),
        }));
        Ok(News::default())
    }

    /// Gives the id back, as it befits this parting. It can say nothing after that.
    pub fn leave(&mut self, parting: Parting, unsent: Vec<u8>, budget: &ClientBudget) {
        let Some(Registered { id, outbox }) = self.registered.take() else { return };
        let remains = self.studio.hub.part(id, self.client, parting, *budget);
        outbox.leave_behind(unsent, budget);
        let Some(Remains { room, has_seat, role, is_full }) = remains else { return };
        let (client_ip, client_id, peer_id) = (self.ip, self.client, id);
        let journal = &self.studio.journal;
        if is_full {
            journal.log(Event::AbsencesFull { client_ip });
        }
        if has_seat {
            let (room_id, seconds) = (room.clone(), SEAT_TIME.as_secs());
            journal.log(Event::SeatKept { client_ip, client_id, peer_id, room_id, seconds });
        }
        if let Some(role) = role {
            let reserve_ms = self.studio.config.role_reserve.as_millis() as u64;
            let room_id = room;
            journal.log(Event::RoleReserved {
                client_ip,
                client_id,
                peer_id,
                room_id,
                role,
                reserve_ms,
            });
        }
    }

    /// The client among others, or a refusal with this text in the words that a wrong relay is refused with.
    fn relaying_member(&self, otherwise: &str) -> Result<Member<'_>, Refusal> {
        let as_invalid = |_| Refusal {
            code: ErrorCode::NotRegistered,
            message: Refusal::invalid(otherwise).message,
        };
        self.member(otherwise).map_err(as_invalid)
    }

    /// The client among others, or a refusal with this text.
    fn member(&self, otherwise: &str) -> Result<Member<'_>, Refusal> {
        // A client that was replaced may have spoken on before it heard of that.
        let registered = self.registered.as_ref().filter(|found| !found.outbox.is_closed());
        let id = registered.map(|registered| registered.id);
        let id = id.ok_or_else(|| Refusal::new(ErrorCode::NotRegistered, otherwise))?;
        let budget = self.address_budget();
        let identity = self.identity;
        Ok(Member { studio: &self.studio, client: self.client, ip: self.ip, id, identity, budget })
    }

    /// Whether a `register` waits for its answer. Until it has it, the client is not listened to: its
    /// messages are handled in order.
    pub fn is_contesting(&self) -> bool {
        self.contest.is_some()
    }

    /// Whether the contest is over, and if so whether the other side lives.
    pub fn poll_contest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.contest.as_deref_mut() {
            Some(Contest::Id { alive, .. } | Contest::Role { alive, .. }) => {
                alive.as_mut().poll(cx)
            }
            Some(Contest::Place { left, .. }) => left.poll_unpin(cx).map(|left| {
                self.budget = left.ok().map(Box::new);
                false
            }),
            None => Poll::Pending,
        }
    }

    /// What the client may send still, where it is back; once.
    pub fn take_budget(&mut self) -> Option<ClientBudget> {
        self.budget.take().map(|budget| *budget)
    }

    /// Ends the contest: a holder that lives keeps what it has, else it is this client's.
    pub fn settle(&mut self, holder_lives: bool) -> Option<Settled> {
        let (id, holder, request_id) = match *self.contest.take()? {
            Contest::Id { id, holder, request_id, .. } => (id, holder, request_id),
            Contest::Place { id, request_id, .. } => {
                return Some(Settled::Registered { id: Ok(id), request_id });
            }
            Contest::Role { text, peer, rival, .. } => {
                self.rival_lives = holder_lives;
                if !holder_lives {
                    self.studio.hub.silence(peer, rival);
                }
                return Some(Settled::Rival { text });
            }
        };
        let outbox = self.new_outbox();
        let taken_over = if holder_lives {
            TakeOver::Held
        } else {
            self.studio.hub.take_over(id, holder, self.arrival(&outbox))
        };
        let (client_ip, client_id, peer_id) = (self.ip, self.client, id);
        let event = match taken_over {
            TakeOver::Replaced => Some(Event::TakenOver { client_ip, client_id, peer_id, holder }),
            TakeOver::Free => Some(Event::Registered { client_ip, client_id, peer_id }),
            TakeOver::Held => None,
        };
        let Some(event) = event else {
            return Some(Settled::Registered { id: Err(taken(id)), request_id });
        };
        self.studio.journal.log(event);
        self.registered = Some(Registered { id, outbox });
        self.studio.metrics.registered(self.since.elapsed());
        Some(Settled::Registered { id: Ok(id), request_id })
    }

    /// The id, or nothing where it has to be found out first whether its holder lives.
    fn register(&mut self, envelope: &Envelope) -> Result<Option<PeerId>, Refusal> {
        let id = envelope.peer_id()?;
        let RegisterProofs { resume, token } = envelope.proofs()?;
        // A second id would strand the first.
        if self.registered.is_some() {
            return Err(taken(id));
        }
        if self.address_budget().is_some_and(|budget| !budget.take_registration(Instant::now())) {
            return Err(Refusal::RATE_LIMIT);
        }
        // Either suffices, and a wrong one is as none.
        let resume = resume.and_then(|resume| self.studio.proofs.check(&resume));
        let access = self.studio.config.room_access;
        let token = token.and_then(|token| self.studio.tokens.check_room(&token, unix_s()));
        let token = token.filter(|token| token.counts(access));
        let token = token.map(|token| (token.identity, token.made));
        if let Some(proved) =
            [resume, token].into_iter().flatten().find_map(|said| self.proved(said))
        {
            self.identity = proved;
        }
        let (client_ip, client_id, peer_id) = (self.ip, self.client, id);
        let outbox = self.new_outbox();
        let request_id = envelope.request_id().map(str::to_owned);
        let resumed = |holder| Event::Resumed { client_ip, client_id, peer_id, holder };
        let contest = match self.studio.hub.register(id, self.arrival(&outbox)) {
            Registration::Done => {
                self.studio.journal.log(Event::Registered { client_ip, client_id, peer_id });
                None
            }
            Registration::Back(before, budget) => {
                self.studio.journal.log(resumed(before));
                self.budget = budget.map(Box::new);
                None
            }
            Registration::Yielding { by, left } => {
                self.studio.journal.log(resumed(by));
                Some(Contest::Place { id, request_id, left })
            }
            Registration::Held { by, alive, time } => {
                let alive = answer(alive, time);
                self.contest = Some(Box::new(Contest::Id { id, holder: by, request_id, alive }));
                return Ok(None);
            }
            Registration::Refused => return Err(taken(id)),
        };
        self.registered = Some(Registered { id, outbox });
        self.studio.metrics.registered(self.since.elapsed());
        self.contest = contest.map(Box::new);
        Ok(self.contest.is_none().then_some(id))
    }

    /// The identity of a proof that was made then, in seconds since 1970, if it counts now.
    fn proved(&self, (identity, made): (Identity, u64)) -> Option<Identity> {
        let age = Duration::from_secs(unix_s().saturating_sub(made));
        self.studio.hub.counts(identity, age).then_some(identity)
    }

    /// What proves later who is behind the client.
    pub fn resume(&self) -> String {
        self.studio.proofs.resume(self.identity, unix_s())
    }

    fn arrival(&self, outbox: &Arc<Outbox>) -> Arrival {
        Arrival {
            client: self.client,
            identity: self.identity,
            ip: self.ip,
            is_check: self.is_check,
            outbox: Arc::clone(outbox),
        }
    }

    fn new_outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::new(self.studio.config.max_outbox_bytes))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let budget = ClientBudget::new(self.studio.config.rate_limit, Instant::now());
        self.leave(Parting::Broken, Vec::new(), &budget);
    }
}

fn taken(id: PeerId) -> Refusal {
    Refusal::new(
        ErrorCode::AlreadyRegistered,
        format_args!(r#"Peer ID "{id}" is already registered"#),
    )
}
