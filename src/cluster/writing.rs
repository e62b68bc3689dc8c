//! What a node writes to the log.
//!
//! Owns when an entry goes out. It deliberately does not know what becomes of it there.

use std::sync::Arc;

use tokio::time::Instant;

use crate::cluster::entry::{Head, VERSION, What, write};
use crate::cluster::node::Node;
use crate::cluster::undo::undo;
use crate::signaling::sequencer::Proposal;

impl Node {
    /// Writes an entry that nobody waits for.
    pub(super) fn say(&mut self, what: What, now: Instant) {
        self.write(what, None, now);
    }

    pub(super) fn write(&mut self, what: What, proposal: Option<Proposal>, now: Instant) {
        let (node, counter) = (self.id, self.window.next());
        let time = self.clock.unix(now);
        let head = Head { version: VERSION, node, counter, time };
        let bytes: Arc<[u8]> = write(head, &what).into();
        let undo = match &what {
            What::Do(command) => undo(command),
            _ => None,
        };
        let (outbox, outcome) = proposal
            .map_or((None, None), |Proposal { outbox, outcome, .. }| (outbox, Some(outcome)));
        self.window.push(bytes, outbox, outcome, undo, now);
        self.write_due();
    }

    /// Whether its first entry is behind all that it does not know.
    fn may_write(&self) -> bool {
        self.joining.as_ref().is_none_or(|joining| joining.has_begun)
    }

    fn publish_entry(&mut self, bytes: &[u8]) {
        let (subject, reply) = (self.names.log.clone(), self.names.answer("a"));
        self.publish(subject, Some(reply), bytes.to_vec());
    }

    /// Writes what waits until those before it have come back.
    pub(super) fn write_due(&mut self) {
        if self.may_write() {
            for bytes in self.window.due() {
                self.publish_entry(&bytes);
            }
        }
    }

    /// Writes all that there is, because the node stops.
    pub(super) fn write_rest(&mut self) {
        for bytes in self.window.rest() {
            self.publish_entry(&bytes);
        }
    }

    /// Writes again what has not come back in time, or may be lost with the connection before this one.
    pub(super) fn write_again(&mut self, is_new: bool, now: Instant) {
        if !self.may_write() {
            return;
        }
        for bytes in self.window.again(is_new, now) {
            self.publish_entry(&bytes);
        }
    }
}
