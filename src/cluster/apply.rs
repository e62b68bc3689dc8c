//! What becomes of an entry when it is its turn.
//!
//! Owns who is a member, and that each entry counts once; every node comes to the same. It deliberately does not know the
//! rules of rooms.

use std::sync::Arc;

use tokio::time::Instant;

use crate::cluster::entry::{About, Head, VERSION, What, head, what};
use crate::cluster::handle::tell;
use crate::cluster::node::Node;
use crate::signaling::command::{Command, Outcome, Proposer};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::Registered;
use crate::telemetry::events::Event;
use crate::wire::ids::{NodeId, PeerId};

/// How many positions a node remembers, to compare with others.
const REMEMBERED: usize = 4096;

impl Node {
    /// It is the turn of the entry at `position`.
    pub(super) fn turn(&mut self, position: u64, entry: &[u8], now: Instant) {
        // What is no entry is so for every node.
        let Some(head) = head(entry) else { return };
        if self.joining.is_some() {
            match self.log.repeats(position, entry) {
                Some(true) => return self.lose_place("the log is what it was after all", now),
                Some(false) => return,
                None => {}
            }
            self.turn_of_newcomer(position, head, what(entry), now);
            return;
        }
        let what = what(entry);
        if let Some(What::Hello(about)) = &what {
            self.members.enter(head.node, about.clone(), head.counter - 1, now);
        }
        if !self.members.count_entry(head.node, head.counter, now) {
            return;
        }
        let Some(what) = what else {
            let version = head.version;
            self.journal.log(Event::ClusterUnknownEntry { version, reads: VERSION });
            self.lose_place("another node writes entries that this version does not know", now);
            return;
        };
        self.latest = self.latest.max(head.time);
        let is_own = head.node == self.id;
        if is_own {
            self.touch(now);
        }
        let sent = is_own.then(|| self.window.take(head.counter, now)).flatten();
        let outbox = sent.as_ref().and_then(|sent| sent.outbox.clone());
        let outcome = self.make(position, head, what, outbox, now);
        if let Some(sent) = sent {
            self.expect_rest(&outcome, sent.bytes.as_ref(), now);
            let is_made = outcome.is_made();
            tell(outcome, sent.outcome);
            // Its client was told that it could not be made.
            if let Some(undo) = sent.undo.filter(|_| sent.is_unsure && is_made) {
                self.undo(undo, now);
            }
        }
    }

    /// Makes a change.
    fn make(
        &mut self,
        position: u64,
        head: Head,
        what: What,
        outbox: Option<Arc<Outbox>>,
        now: Instant,
    ) -> Outcome {
        let node = head.node;
        let mut outcome = Outcome::Done;
        match what {
            What::Hello(about) => self.welcome(node, about),
            // The founder has missed what there is.
            What::Found { over: Some((end, last)), .. } if self.log.hash_at(end) == Some(last) => {}
            What::Found { seen, .. } if seen >= self.founded && node != self.id => {
                self.lose_place("the others have begun anew without this node", now);
            }
            // Its own, when it has taken the state of a member meanwhile: that one begins anew.
            What::Found { seen, .. } if seen >= self.founded => self.begin_epoch(position, head),
            What::Found { .. } => {}
            What::Lease { position, digest } => self.compare(node, position, digest),
            What::Gone { node: gone, heard } => {
                if self.members.get(gone).is_some_and(|member| member.counter == heard) {
                    self.give_up_node(gone, now);
                }
            }
            What::Away { .. } => {
                let moment = self.moment(self.latest);
                self.hub.apply(Command::GoOffAir, Proposer { node, outbox }, moment);
                self.members.leave(node);
                let lost = self.links.end(node);
                self.tell_lost(lost);
                self.open.expire(Some(node), now);
                self.log_member(node, "stops", None);
            }
            What::Do(command) => {
                let moment = self.moment(self.latest);
                outcome = self.hub.apply(command, Proposer { node, outbox }, moment);
            }
        }
        self.digest = mix(self.digest, self.hub.sizes(), position, &outcome);
        self.digests.push_back((position, self.digest));
        if self.digests.len() > REMEMBERED {
            self.digests.pop_front();
        }
        outcome
    }

    fn welcome(&mut self, node: NodeId, about: About) {
        let moment = self.moment(self.latest);
        let proposer = Proposer { node, outbox: None };
        // Who comes last has the last word.
        self.hub.apply(Command::Limit(about.limits), proposer, moment);
        for (what, differs) in [
            ("JWT_SECRET", about.secret != self.about.secret),
            ("the station manifest", about.manifest != self.about.manifest),
            (
                "the limits of rooms (MAX_ROOM_PEERS, ROOM_TTL_MS, ROOM_ACCESS, ROLE_RESERVE_MS)",
                about.limits != self.about.limits,
            ),
        ] {
            if differs {
                let host = about.host.clone();
                self.journal.log(Event::ClusterDiffers { what, host });
            }
        }
        self.log_member(node, "joined", Some(about));
    }

    fn log_member(&self, node: NodeId, change: &'static str, about: Option<About>) {
        if node != self.id {
            let host = about.map(|about| about.host).unwrap_or_default();
            let (node, nodes) = (node.to_string(), self.members.count());
            self.journal.log(Event::ClusterMember { node, host, change, nodes });
        }
    }

    /// Nobody has heard of a node for too long.
    fn give_up_node(&mut self, gone: NodeId, now: Instant) {
        if gone == self.id {
            self.lose_place("the others have not heard of this node for 10 s", now);
            return;
        }
        let about = self.members.leave(gone).map(|member| member.about);
        let moment = self.moment(self.latest);
        let proposer = Proposer { node: gone, outbox: None };
        self.hub.apply(Command::Gone(gone), proposer, moment);
        let lost = self.links.end(gone);
        self.tell_lost(lost);
        self.open.expire(Some(gone), now);
        self.log_member(gone, "has not been heard of for 10 s", about);
    }

    /// Another node had this at that position.
    fn compare(&mut self, node: NodeId, position: u64, digest: u64) {
        let index = self.digests.partition_point(|(found, _)| *found < position);
        let own = self.digests.get(index).filter(|(found, _)| *found == position);
        if let Some((_, own)) = own.filter(|(_, own)| *own != digest) {
            let (own, other) = (format!("{own:016x}"), format!("{digest:016x}"));
            let node = node.to_string();
            self.journal.log(Event::ClusterDiverged { position, node, own, other });
        }
    }

    /// What waits for a client on the node where it was is to come from there.
    fn expect_rest(&mut self, outcome: &Outcome, entry: &[u8], now: Instant) {
        let Outcome::Registered(Registered::Back(before, _) | Registered::Yielding(before, _)) =
            outcome
        else {
            return;
        };
        let Some(What::Do(Command::Register { peer, newcomer })) = what(entry) else { return };
        let whose: (PeerId, _) = (peer, newcomer.client);
        if before.node != self.id && self.members.get(before.node).is_some() {
            self.open.expect(whose, before.node, now);
        }
    }
}

/// What tells peers and rooms from others: what they were before, how much there is now, and what each change came to.
pub(super) fn mix(digest: u64, sizes: [u64; 5], position: u64, outcome: &Outcome) -> u64 {
    let parts = sizes.into_iter().chain([position, kind(outcome)]);
    // FNV-1a's step, with the bits moved so that the high ones count.
    parts
        .fold(digest, |digest, part| (digest ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(29))
}

/// What an outcome is, in one number.
fn kind(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Registered(registered) => match registered {
            Registered::Done => 1,
            Registered::Back(..) => 2,
            Registered::Yielding(..) => 3,
            Registered::Held(..) => 4,
            Registered::Refused => 5,
        },
        Outcome::TakenOver(taken) => 6 + *taken as u64,
        Outcome::Created(created) => 9 + u64::from(created.is_ok()),
        Outcome::Joined(joined) => 11 + u64::from(joined.is_ok()),
        Outcome::Entered(entered) => 13 + u64::from(entered.is_ok()),
        Outcome::Reclaimed(reclaimed) => 15 + u64::from(reclaimed.is_some()),
        Outcome::Left(left) => 17 + u64::from(left.is_ok()),
        Outcome::Muted(muted) => 19 + u64::from(muted.is_ok()),
        Outcome::Told(told) => 21 + u64::from(told.is_ok()),
        Outcome::OnAir(on_air) => 23 + u64::from(on_air.is_ok()),
        Outcome::NotRegistered => 25,
        Outcome::Done => 0,
    }
}
