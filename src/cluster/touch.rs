//! Whether a node is in touch with the others.
//!
//! Owns what counts as a proof of that, and what is refused without one. A connection to NATS is none: it shows only in
//! the log. It deliberately does not know why it is not.

use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use crate::cluster::handle::Shared as Gate;
use crate::cluster::members::{SILENCE, UNSURE};
use crate::cluster::node::Node;
use crate::cluster::standing::Standing;
use crate::telemetry::events::Event;

impl Node {
    /// There is no connection, for this reason.
    pub fn fails(&mut self, problem: String, fix: &'static str) {
        self.links.lose_connection();
        self.trouble = Some((problem, fix));
    }

    /// There is one.
    pub fn reached(&mut self) {
        self.trouble = None;
    }

    /// The log goes on.
    pub(super) fn touch(&mut self, now: Instant) {
        if now >= self.touched + UNSURE {
            self.touched_since = now;
            self.members.excuse(now);
        }
        self.touched = now;
    }

    /// Logs that it is out of touch, or in touch again, where that is so; and another cause of it, where the fix is another.
    pub fn log_touch(&mut self, now: Instant) {
        let silence = now.saturating_duration_since(self.touched);
        let advised = self.advised.filter(|(_, when)| now < *when + SILENCE);
        match self.out_since {
            _ if silence >= SILENCE && advised.is_none() => {
                self.out_since.get_or_insert(self.touched);
                let (problem, fix) = self.trouble.clone().unwrap_or_else(|| {
                    ("the log does not go on".to_owned(), "see the log of nats-server")
                });
                let before = self.advised.replace((fix, now));
                if before.is_none_or(|(said, _)| said != fix) {
                    self.journal.log(Event::ClusterTrouble { problem, fix });
                }
            }
            Some(since) if silence < SILENCE && self.joining.is_none() => {
                (self.out_since, self.advised) = (None, None);
                let seconds = now.saturating_duration_since(since).as_secs();
                self.journal.log(Event::ClusterInTouch { seconds });
            }
            _ => {}
        }
    }

    /// Nobody waits any longer for what has not come back.
    pub fn give_up(&mut self, now: Instant) {
        self.window.give_up(now);
    }

    /// Whether sessions may ask it for something, where it has a connection or not.
    pub fn open(&self, gate: &Gate, is_connected: bool, now: Instant) {
        let is_late = now >= self.touched + SILENCE;
        gate.takes_changes.store(!is_late && !self.is_unsure(), Relaxed);
        gate.takes_relays.store(self.joining.is_none() && (is_connected || !is_late), Relaxed);
    }

    /// How it stands, by way of this server.
    pub fn standing(&self, server: Option<&str>) -> Standing {
        Standing {
            nodes: self.members.count(),
            is_member: self.joining.is_none(),
            touched: Some(self.touched),
            server: server.map(str::to_owned),
            replicas: self.replicas,
            trouble: self.trouble.clone(),
            waiting: self.window.len(),
            position: self.log.position(),
            digest: self.digest,
        }
    }
}
