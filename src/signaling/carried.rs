//! A conversation on its way to the process that follows this one.
//!
//! Owns what of a client crosses, and what its answer waits for. It deliberately knows no socket.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::signaling::budget::{CarriedBudget, ClientBudget};
use crate::signaling::client::{Client, Registered};
use crate::signaling::contest::Contest;
use crate::signaling::conversation::ClientInfo;
use crate::signaling::hub::Hub;
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::carried::CarriedRegistry;
use crate::signaling::studio::Studio;
use crate::wire::carried::{Moment, is_default};
use crate::wire::ids::{ClientId, Identity, PeerId};

/// What a client and the server have said.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedConversation {
    pub(super) client: CarriedClient,
    pub(super) budget: CarriedBudget,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) seen_types: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) seen_errors: u32,
}

/// The client as others see it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CarriedClient {
    identity: Identity,
    #[serde(default, skip_serializing_if = "is_default")]
    is_check: bool,
    since: Moment,
    #[serde(default, skip_serializing_if = "is_default")]
    id: Option<PeerId>,
    #[serde(default, skip_serializing_if = "is_default")]
    rival_lives: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    is_streaming: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    is_told_off_air: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    owed: Option<Owed>,
}

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owed {
    /// `registered`, with this `requestId`.
    Registered(Option<String>),
    /// The answer to this message, which is asked for anew.
    Answer(String),
    /// The answer that the cluster is unavailable, with this `requestId`.
    Unavailable(Option<String>),
}

impl Client {
    /// It is carried at `now`, and gone here without a word to others.
    pub(super) fn carry(&mut self, now: Instant) -> CarriedClient {
        let owed = self.contest.take().map(|contest| match *contest {
            Contest::Place { request_id, .. } => Owed::Registered(request_id),
            Contest::Role { text, .. } => Owed::Answer(text),
            // A handover waits until there is none of these.
            Contest::Turn { pending, .. } => Owed::Unavailable(pending.request_id),
            Contest::Id { id, request_id, .. } => {
                let mut message = json!({ "type": "register", "peerId": id });
                if let Some(request_id) = request_id {
                    message["requestId"] = request_id.into();
                }
                Owed::Answer(message.to_string())
            }
        });
        CarriedClient {
            identity: self.identity,
            is_check: self.is_check,
            since: Moment::new(self.since, now),
            id: self.registered.take().map(|registered| registered.id),
            rival_lives: self.rival_lives,
            is_streaming: self.is_streaming,
            is_told_off_air: self.is_told_off_air,
            owed,
        }
    }

    /// It goes on at `now`, and is owed this. `None` where peers and rooms do not know it.
    pub(super) fn go_on(
        studio: Arc<Studio>,
        info: ClientInfo,
        carried: CarriedClient,
        now: Instant,
    ) -> Option<(Self, Option<Owed>)> {
        let registered = match carried.id {
            None => None,
            Some(id) => Some(Registered { id, outbox: studio.hub.outbox_of(id, info.client)? }),
        };
        let (identity, is_check) = (carried.identity, carried.is_check);
        let mut client = Self::new(studio, ClientInfo { identity, is_check, ..info });
        client.since = carried.since.at(now);
        client.registered = registered;
        client.rival_lives = carried.rival_lives;
        client.is_streaming = carried.is_streaming;
        client.is_told_off_air = carried.is_told_off_air;
        Some((client, carried.owed))
    }
}

impl CarriedConversation {
    /// The budget, with the `RATE_LIMIT` in force.
    pub(super) fn budget(&self, limit: Option<u32>, now: Instant) -> ClientBudget {
        ClientBudget::go_on(&self.budget, limit, now)
    }

    /// Who is behind it, and whether it only checks the server.
    pub fn identified(&self) -> (Identity, bool) {
        (self.client.identity, self.client.is_check)
    }
}

impl Hub {
    /// All peers and rooms, as they are carried at `now`.
    pub fn carry(&self, now: Instant) -> CarriedRegistry {
        self.registry().carry(now)
    }

    /// Who is registered, and which client each is.
    pub fn peers(&self) -> Vec<(PeerId, ClientId)> {
        self.registry().clients()
    }

    /// They go on at `now`, with outboxes for at most `outbox` bytes, and this `RATE_LIMIT`.
    pub fn go_on(
        &self,
        carried: CarriedRegistry,
        outbox: usize,
        rate_limit: Option<u32>,
        now: Instant,
    ) {
        self.registry().go_on(carried, outbox, rate_limit, now);
        self.has_changed();
    }

    /// What `client` hears of others, if it has the id `peer`.
    pub fn outbox_of(&self, peer: PeerId, client: ClientId) -> Option<Arc<Outbox>> {
        self.registry().outbox_of(peer, client)
    }
}
