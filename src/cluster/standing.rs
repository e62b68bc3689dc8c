//! How a node stands with the others of its cluster.
//!
//! Owns what is shown of that. It deliberately does not know where.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::cluster::members::SILENCE;
use crate::telemetry::counted::counted;

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many nodes there are, this one included.
    pub nodes: usize,
    /// Whether this one is a member.
    pub is_member: bool,
    /// When it last had a proof that the log goes on.
    pub touched: Option<Instant>,
    /// The server that it is connected to.
    pub server: Option<String>,
    /// How many replicas the log has.
    pub replicas: u32,
    /// Why not all is well, and what helps.
    pub trouble: Option<(String, &'static str)>,
    /// How many changes wait for their turn.
    pub waiting: usize,
    /// As far as the changes are made, and what tells the peers and rooms then from others.
    pub position: u64,
    /// See [`Self::position`].
    pub digest: u64,
}

impl Standing {
    /// For how long the node has been out of touch, where that is too long.
    pub fn out_of_touch(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.touched?);
        (since >= SILENCE || !self.is_member).then_some(since)
    }

    /// How it stands in metrics: the nodes, whether it is in touch, and what waits.
    pub fn counts(&self, now: Instant) -> [usize; 3] {
        let is_in_touch = self.is_member && self.out_of_touch(now).is_none();
        [self.nodes, is_in_touch.into(), self.waiting]
    }

    /// As `systemctl status` has it.
    pub fn status(&self, now: Instant) -> String {
        match (self.is_member, self.out_of_touch(now)) {
            (false, _) => "joining the cluster".to_owned(),
            (true, Some(_)) => "out of touch with the cluster".to_owned(),
            (true, None) => counted(self.nodes, "node"),
        }
    }

    /// As `/health` has it.
    pub fn show(&self, now: Instant) -> Shown {
        let out = self.out_of_touch(now);
        Shown {
            state: match (self.is_member, out) {
                (false, _) => "joining",
                (true, None) => "in-touch",
                (true, Some(_)) => "out-of-touch",
            },
            nodes: self.nodes,
            replicas: self.replicas,
            server: self.server.clone(),
            out_of_touch_seconds: out.map(|time| time.as_secs()),
            problem: self.trouble.as_ref().map(|(why, _)| why.clone()),
            fix: self.trouble.as_ref().map(|(_, fix)| *fix),
            position: self.position,
            digest: format!("{:016x}", self.digest),
        }
    }
}

/// The cluster in `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    state: &'static str,
    nodes: usize,
    replicas: u32,
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_of_touch_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
    position: u64,
    digest: String,
}
