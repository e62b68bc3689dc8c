//! A client: which messages it may send, and how it goes.
//!
//! Owns [`Client`]: the peer id of a client. [`Client::hear`] dispatches every message by its type. It deliberately knows
//! neither frames nor the socket.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::signaling::broadcast::News;
use crate::signaling::budget::{AddressBudget, ClientBudget};
use crate::signaling::command::{Action, BusyElsewhere, Command};
use crate::signaling::contest::{Challenged, Contest, Then, answer};
use crate::signaling::conversation::ClientInfo;
use crate::signaling::identity::holding::{SIGN_OF_LIFE, SIGN_OF_LIFE_IN_ROOM};
use crate::signaling::member::{Member, not_in_room, unix_ms};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::NotInRoom;
use crate::signaling::registry::parting::Parting;
use crate::signaling::streaming::on_air;
use crate::signaling::studio::Studio;
use crate::signaling::way_in::WayIn;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::{ClientId, Identity, PeerId};
use crate::wire::reply::ServerMessage;
use crate::wire::request::{Envelope, MessageType};

/// What `stop-stream` is told.
const STREAM_STOPPED: &str = "Stream stopped successfully";

/// The client as others see it. When it is dropped, the others see it leave.
#[derive(Debug)]
pub struct Client {
    pub(super) studio: Arc<Studio>,
    pub(super) client: ClientId,
    pub(super) ip: IpAddr,
    /// Who is behind it.
    pub(super) identity: Identity,
    /// Whether nothing is kept for it when it goes.
    pub(super) is_check: bool,
    /// What all clients of its address may do, if that is bounded.
    pub(super) address_budget: Option<Arc<AddressBudget>>,
    /// When it was welcomed.
    pub(super) since: Instant,
    /// From `register` on.
    pub(super) registered: Option<Registered>,
    /// While a message waits for its answer. Few have one, and none for long.
    pub(super) contest: Option<Box<Contest>>,
    /// Whether the other client of its identity has answered, so that this one is as anybody.
    pub(super) rival_lives: bool,
    /// Whether it has gone on air, and not stopped.
    pub(super) is_streaming: bool,
    /// Whether it knows that it is not on air.
    pub(super) is_told_off_air: bool,
    /// What it may send still, where it is back.
    pub(super) budget: Option<Box<ClientBudget>>,
}

#[derive(Debug)]
pub(super) struct Registered {
    pub(super) id: PeerId,
    pub(super) outbox: Arc<Outbox>,
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
            is_streaming: false,
            is_told_off_air: false,
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

    /// Its id, once it is registered.
    pub fn id(&self) -> Option<PeerId> {
        self.registered.as_ref().map(|registered| registered.id)
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
                let wanted = self.register(envelope)?;
                return self.change((kind, envelope), wanted, say);
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
                let action = self.member("Must register before creating a room")?.create_room()?;
                return self.act((kind, envelope), (action, Then::Answer), say);
            }
            MessageType::JoinRoom => {
                let me = self.member("Must register before joining a room")?;
                let action = me.join_room(envelope)?;
                return self.act((kind, envelope), (action, Then::Answer), say);
            }
            MessageType::CreateOrJoinRoom => return self.create_or_join_room(envelope, text, say),
            MessageType::RequestInvite => {
                self.member("Must register first")?.invite(envelope, say)?;
            }
            MessageType::RequestIce => {
                self.member("Must register first")?.request_ice(request_id, say)?;
            }
            MessageType::LeaveRoom => {
                self.member("").map_err(|_| not_in_room(NotInRoom))?;
                return self.act((kind, envelope), (Action::LeaveRoom, Then::Answer), say);
            }
            MessageType::Mute => {
                let me = self.member("Must register before sending mute messages")?;
                let action = me.mute(envelope)?;
                return self.act((kind, envelope), (action, Then::Answer), say);
            }
            MessageType::RecordingState => {
                let me = self.member("Must register before sending recording state")?;
                let action = me.recording_state(envelope)?;
                return self.act((kind, envelope), (action, Then::Answer), say);
            }
            MessageType::StartStream => return self.start_stream(envelope, text, say),
            MessageType::StreamChunk => {
                let mut is_told = self.is_told_off_air;
                let me = self.member("You are off air: register and join a room first");
                let heard = match me {
                    Ok(me) => me.stream_chunk(envelope, &mut is_told, say),
                    // What it has to do first, it was told.
                    Err(_) => Ok(()),
                };
                self.is_told_off_air = is_told;
                heard?;
            }
            MessageType::StopStream => {
                self.is_streaming = false;
                self.stop_programme("its host stopped it");
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
        let rival_lives = std::mem::take(&mut self.rival_lives);
        let me = self.member("Must register before creating or joining a room")?;
        // Whoever is asked could not be ended.
        if !self.studio.hub.takes_changes() {
            return Err(Refusal::UNAVAILABLE);
        }
        let rival = if rival_lives { None } else { me.challenge_rival(envelope) };
        let Some(Challenged { peer, holder, alive }) = rival else {
            let wanted = match me.create_or_join_room(envelope)? {
                WayIn::IsThere(present) => {
                    return Ok(me.tell_entered(present, envelope.request_id(), say));
                }
                WayIn::Wants(action, then) => (action, then),
            };
            let kind = MessageType::CreateOrJoinRoom;
            return self.act((kind, envelope), wanted, say);
        };
        self.contest = Some(Box::new(Contest::Role {
            text: text.to_owned(),
            peer,
            rival: holder,
            alive: answer(alive, SIGN_OF_LIFE),
        }));
        Ok(News::default())
    }

    /// Puts the client on air, unless another node is.
    fn start_stream(
        &mut self,
        envelope: &Envelope<'_>,
        text: &str,
        say: impl FnMut(&ServerMessage),
    ) -> Result<News, Refusal> {
        let may_ask = !std::mem::take(&mut self.rival_lives);
        let me = self.member("Must register before starting stream")?;
        let may = me.may_stream();
        // What it has to do first, it is told.
        self.is_told_off_air |= may.is_err();
        may?;
        let text = text.to_owned();
        if self.studio.on_air.icecast().is_none() {
            self.go_on_air(text, may_ask)?;
            return Ok(News::default());
        }
        let wanted = (Action::GoOnAir, Then::Stream(text, may_ask));
        self.act((MessageType::StartStream, envelope), wanted, say)
    }

    /// Puts the client on air. Where somebody else seems to be, and `may_ask`, that one is asked first whether it lives.
    pub(super) fn go_on_air(&mut self, text: String, may_ask: bool) -> Result<(), Refusal> {
        let me = self.member("Must register before starting stream")?;
        let started = me.start_stream(may_ask);
        // What it has to do first, it is told.
        self.is_told_off_air = started.is_err();
        match started? {
            Some(asked) => self.await_streamer(text, asked),
            None => self.is_streaming = self.studio.on_air.icecast().is_some(),
        }
        Ok(())
    }

    /// As [`Self::go_on_air`], where another node is on air.
    pub(super) fn ask_elsewhere(
        &mut self,
        text: String,
        may_ask: bool,
        busy: BusyElsewhere,
    ) -> Result<(), Refusal> {
        let peer = busy.peer;
        let rival = busy.rival.filter(|_| may_ask);
        self.is_told_off_air = rival.is_none();
        let holder = rival.ok_or_else(|| on_air(peer))?;
        // One that has gone meanwhile does not answer.
        let gone = || Challenged { peer, holder, alive: oneshot::channel().1 };
        let asked = self.studio.hub.challenge_client(peer, holder).unwrap_or_else(gone);
        self.await_streamer(text, asked);
        Ok(())
    }

    /// Waits until whoever is on air has answered.
    fn await_streamer(&mut self, text: String, asked: Challenged) {
        let Challenged { peer, holder, alive } = asked;
        // A piece of the programme may take its time.
        let alive = answer(alive, SIGN_OF_LIFE_IN_ROOM);
        self.contest = Some(Box::new(Contest::Role { text, peer, rival: holder, alive }));
    }

    /// Ends the programme, if it is the client's. All nodes know it before they hear of the next one.
    pub(super) fn stop_programme(&self, why: &'static str) {
        if self.studio.on_air.stop(self.client, why) {
            self.studio.hub.propose(Command::GoOffAir, None);
        }
    }

    /// A piece of the programme was lost on the way.
    pub fn lose_chunk(&self) {
        if self.is_streaming {
            self.studio.on_air.hear(self.client, None);
        }
    }

    /// Whether it is on air.
    pub fn is_on_air(&self) -> bool {
        self.is_streaming && self.studio.on_air.is_on_air(self.client)
    }

    /// Whether it has gone on air, and not stopped.
    pub fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    /// Gives the id back, as it befits this parting. It can say nothing after that.
    pub fn leave(&mut self, parting: Parting, unsent: Vec<u8>, budget: &ClientBudget) {
        let Some(Registered { id, outbox }) = self.registered.take() else {
            // It may be about to get an id.
            if let Some(id) = self.contest.take().and_then(|contest| contest.id()) {
                self.studio.hub.part(id, self.client, parting, *budget);
            }
            return;
        };
        self.studio.hub.part(id, self.client, parting, *budget);
        match parting {
            Parting::Left => self.stop_programme("its host left"),
            Parting::Stopping => {}
            _ => self.studio.on_air.lose(self.client),
        }
        outbox.leave_behind(unsent, budget);
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
    pub(super) fn member(&self, otherwise: &str) -> Result<Member<'_>, Refusal> {
        // A client that was replaced may have spoken on before it heard of that.
        let registered = self.registered.as_ref().filter(|found| !found.outbox.is_closed());
        let id = registered.map(|registered| registered.id);
        let id = id.ok_or_else(|| Refusal::new(ErrorCode::NotRegistered, otherwise))?;
        let budget = self.address_budget();
        let identity = self.identity;
        Ok(Member { studio: &self.studio, client: self.client, ip: self.ip, id, identity, budget })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let budget = ClientBudget::new(self.studio.config.rate_limit, Instant::now());
        self.leave(Parting::Broken, Vec::new(), &budget);
    }
}
