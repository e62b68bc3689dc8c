//! How a client registers, and the contest for an id or a place that another client has.
//!
//! Owns what a proof is worth to a client, and what comes of a contest. It deliberately knows neither frames nor the
//! socket.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::signaling::budget::ClientBudget;
use crate::signaling::client::{Client, Registered};
use crate::signaling::contest::{Contest, Settled, answer};
use crate::signaling::hub::Registration;
use crate::signaling::member::unix_s;
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::{Arrival, TakeOver};
use crate::signaling::studio::Studio;
use crate::telemetry::events::Event;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::{Identity, PeerId};
use crate::wire::request::{Envelope, RegisterProofs};

impl Client {
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
                    self.studio.on_air.lose(rival);
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
        self.has_registered(id);
        Some(Settled::Registered { id: Ok(id), request_id })
    }

    /// The id, or nothing where it has to be found out first whether its holder lives.
    pub(super) fn register(&mut self, envelope: &Envelope) -> Result<Option<PeerId>, Refusal> {
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
        self.has_registered(id);
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

    pub(super) fn has_registered(&self, id: PeerId) {
        let Studio { hub, on_air, metrics, .. } = &*self.studio;
        metrics.registered(self.since.elapsed());
        on_air.register((id, self.identity), self.client, hub.role_and_room(id).is_ok());
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

fn taken(id: PeerId) -> Refusal {
    Refusal::new(
        ErrorCode::AlreadyRegistered,
        format_args!(r#"Peer ID "{id}" is already registered"#),
    )
}
