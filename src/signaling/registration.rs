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
use crate::signaling::command::{Command, Newcomer};
use crate::signaling::contest::{Contest, Pending, Settled, Then, answer};
use crate::signaling::member::unix_s;
use crate::signaling::outbox::Outbox;
use crate::signaling::place::Place;
use crate::signaling::registry::{Registered as Registration, TakeOver};
use crate::signaling::sequencer::Proposed;
use crate::signaling::studio::Studio;
use crate::telemetry::events::Event;
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::{Holder, Identity, PeerId};
use crate::wire::request::{Envelope, MessageType, RegisterProofs};

impl Client {
    /// Whether a `register` waits for its answer. Until it has it, the client is not listened to: its
    /// messages are handled in order.
    pub fn is_contesting(&self) -> bool {
        self.contest.is_some()
    }

    /// Whether a change waits for its turn among all nodes.
    pub fn awaits_turn(&self) -> bool {
        matches!(self.contest.as_deref(), Some(Contest::Turn { .. }))
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
            Some(Contest::Turn { made, outcome, .. }) => made.poll_unpin(cx).map(|made| {
                *outcome = made.ok();
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
        Some(match *self.contest.take()? {
            Contest::Id { id, request_id, .. } if holder_lives => {
                Settled::Registered { id: Err(taken(id)), request_id }
            }
            Contest::Id { id, holder, request_id, .. } => {
                let outbox = self.new_outbox();
                let command = Command::TakeOver { peer: id, holder, newcomer: self.newcomer() };
                let then = Then::TakeOver(id, Arc::clone(&outbox), holder);
                let pending = Pending { kind: MessageType::Register, request_id, then };
                match self.studio.hub.propose(command, Some(outbox)) {
                    Proposed::Made(outcome) => Settled::Turn { pending, outcome: Some(outcome) },
                    Proposed::Unavailable => Settled::Turn { pending, outcome: None },
                    Proposed::Waits(made) => {
                        self.contest =
                            Some(Box::new(Contest::Turn { pending, made, outcome: None }));
                        return None;
                    }
                }
            }
            Contest::Place { id, request_id, .. } => Settled::Registered { id: Ok(id), request_id },
            Contest::Role { text, peer, rival, .. } => {
                self.rival_lives = holder_lives;
                if !holder_lives {
                    let hub = &self.studio.hub;
                    hub.propose(Command::Silence { peer, holder: rival }, None);
                    if rival == hub.holder(rival.client) {
                        self.studio.on_air.lose(rival.client);
                    }
                }
                Settled::Rival { text }
            }
            Contest::Turn { pending, outcome, .. } => Settled::Turn { pending, outcome },
        })
    }

    /// What the client wants an id with.
    pub(super) fn register(&mut self, envelope: &Envelope) -> Result<(Command, Then), Refusal> {
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
        self.studio.hub.end_full_seat(id, self.identity);
        let command = Command::Register { peer: id, newcomer: self.newcomer() };
        Ok((command, Then::Register(id, self.new_outbox())))
    }

    /// The id, or nothing where it has to be found out first whether its holder lives, or what an earlier connection
    /// leaves.
    pub(super) fn has_wanted(
        &mut self,
        id: PeerId,
        outbox: Arc<Outbox>,
        registered: Registration,
        request_id: Option<String>,
    ) -> Result<Option<PeerId>, Refusal> {
        let (client_ip, client_id, peer_id) = (self.ip, self.client, id);
        let hub = &self.studio.hub;
        let resumed = |holder: Holder| Event::Resumed {
            client_ip,
            client_id,
            peer_id,
            holder: holder.client,
        };
        let (event, left) = match registered {
            Registration::Done => (Event::Registered { client_ip, client_id, peer_id }, None),
            Registration::Back(before, budget) => {
                self.budget = budget.map(Box::new);
                let left = (before.node != hub.holder(before.client).node)
                    .then(|| hub.succeed(id, self.client, &Place::Elsewhere(before.node)));
                (resumed(before), left.flatten())
            }
            Registration::Yielding(before, place) => {
                (resumed(before), hub.succeed(id, self.client, &place))
            }
            Registration::Held(holder, place, time) => {
                let alive = hub.challenge(id, holder, &place).ok_or_else(|| taken(id))?;
                let alive = answer(alive, time);
                self.contest = Some(Box::new(Contest::Id { id, holder, request_id, alive }));
                return Ok(None);
            }
            Registration::Refused => return Err(taken(id)),
        };
        self.studio.journal.log(event);
        self.registered = Some(Registered { id, outbox });
        self.has_registered(id);
        Ok(match left {
            Some(left) => {
                self.contest = Some(Box::new(Contest::Place { id, request_id, left }));
                None
            }
            None => Some(id),
        })
    }

    /// The id, if its holder is silent still.
    pub(super) fn has_taken(
        &mut self,
        id: PeerId,
        outbox: Arc<Outbox>,
        holder: Holder,
        taken_over: TakeOver,
    ) -> Result<Option<PeerId>, Refusal> {
        let (client_ip, client_id, peer_id) = (self.ip, self.client, id);
        let holder = holder.client;
        self.studio.journal.log(match taken_over {
            TakeOver::Replaced => Event::TakenOver { client_ip, client_id, peer_id, holder },
            TakeOver::Free => Event::Registered { client_ip, client_id, peer_id },
            TakeOver::Held => return Err(taken(id)),
        });
        self.registered = Some(Registered { id, outbox });
        self.has_registered(id);
        Ok(Some(id))
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

    fn newcomer(&self) -> Newcomer {
        let Self { client, identity, ip, is_check, .. } = *self;
        Newcomer { client, identity, ip, is_check }
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
