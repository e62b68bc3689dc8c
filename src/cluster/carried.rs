//! A node on its way to the process that follows this one.
//!
//! Owns what of it crosses: it is the same node there, at the same place in the log. It deliberately does not carry what
//! other nodes send again when they are asked.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::clock::Clock;
use crate::cluster::entry::{About, What};
use crate::cluster::handle::Handle;
use crate::cluster::members::{Members, SharedMember};
use crate::cluster::node::Node;
use crate::cluster::window::CarriedSent;
use crate::signaling::command::Command;
use crate::signaling::entry::RoomLimits;
use crate::signaling::hub::Hub;
use crate::telemetry::journal::Journal;
use crate::wire::ids::NodeId;

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CarriedNode {
    id: NodeId,
    cluster: String,
    /// How many entries have come back, and those that have not.
    counter: u64,
    sent_entries: Vec<CarriedSent>,
    position: u64,
    latest: u64,
    digest: u64,
    founded: u64,
    #[serde(default)]
    epoch: u32,
    members: Vec<SharedMember>,
    /// What rooms may be, and may be by its own settings.
    limits: RoomLimits,
    own_limits: RoomLimits,
    created: Option<String>,
    replicas: u32,
    /// How much it has sent to each node, and what is next from each.
    sent: Vec<(NodeId, u64)>,
    expected: Vec<(NodeId, u64)>,
    /// The moment to which peers and rooms are relative, by both clocks.
    unix: u64,
    #[serde(skip)]
    moment: Option<Instant>,
}

impl CarriedNode {
    /// The moment to which peers and rooms are carried: one that the log has, so that none is a part of a ms off.
    pub fn moment(&self) -> Option<Instant> {
        self.moment
    }

    /// Whether it is a node of that cluster.
    pub fn is_of(&self, cluster: &str) -> bool {
        self.cluster == cluster
    }
}

impl Node {
    /// It is carried at `now`; `None` where it is no member.
    pub fn carry(&self, now: Instant) -> Option<CarriedNode> {
        if self.joining.is_some() {
            return None;
        }
        let sent_entries = self.window.carry();
        let unix = self.clock.unix(now);
        let (sent, expected) = self.links.carry();
        Some(CarriedNode {
            id: self.id,
            cluster: self.cluster.clone(),
            counter: self.window.next() - 1 - sent_entries.len() as u64,
            sent_entries,
            position: self.log.position(),
            latest: self.latest,
            digest: self.digest,
            founded: self.founded,
            epoch: self.epoch,
            members: self.members.share(),
            limits: self.hub.limits(),
            own_limits: self.about.limits,
            created: self.created.clone(),
            replicas: self.replicas,
            sent,
            expected,
            unix,
            moment: Some(self.clock.instant(unix)),
        })
    }

    /// It goes on; peers and rooms were carried to the moment `packed`.
    pub fn resume(
        carried: CarriedNode,
        about: About,
        (hub, journal, handle): (Hub, Journal, Handle),
        rate_limit: Option<u32>,
        packed: Instant,
    ) -> Self {
        let now = Instant::now();
        let CarriedNode { id, limits, .. } = carried;
        let mut node = Self::empty(&carried.cluster, about, hub, journal, handle, rate_limit, now);
        node.clock = Clock::new(packed, carried.unix);
        node.be(id);
        node.window.go_on(carried.counter);
        node.window.push_carried(carried.sent_entries, now);
        node.log.reset(carried.position);
        (node.latest, node.digest) = (carried.latest, carried.digest);
        (node.founded, node.epoch) = (carried.founded, carried.epoch);
        node.members = Members::adopt(carried.members, now);
        (node.created, node.replicas) = (carried.created, carried.replicas);
        node.links.go_on(carried.sent, carried.expected);
        node.hub.be(id, limits);
        if node.about.limits != carried.own_limits {
            let limit = Command::Limit(node.about.limits);
            node.say(What::Do(limit), now);
        }
        node
    }
}
