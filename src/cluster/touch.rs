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
        if silence >= SILENCE {
            let unknown = ("the log does not go on".to_owned(), "see the log of nats-server");
            let unknown = self.out_since.is_none().then_some(unknown);
            self.out_since.get_or_insert(self.touched);
            let found = self.trouble.clone().or(unknown);
            if let Some((problem, fix)) = found.filter(|(_, fix)| self.advised != Some(fix)) {
                self.advised = Some(fix);
                self.journal.log(Event::ClusterTrouble { problem, fix });
            }
        } else if let Some(since) = self.out_since.filter(|_| self.joining.is_none()) {
            (self.out_since, self.advised) = (None, None);
            let seconds = now.saturating_duration_since(since).as_secs();
            self.journal.log(Event::ClusterInTouch { seconds });
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
