//! How a node becomes a member.
//!
//! Owns where it gets peers and rooms from, and when it founds the cluster because there is nobody. It deliberately does
//! not know what is in them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::entry::{Head, What, what};
use crate::cluster::letter::Letter;
use crate::cluster::members::{Members, SILENCE, UNSURE};
use crate::cluster::node::Node;
use crate::cluster::transfer::{Parts, Shared};
use crate::cluster::window::Sent;
use crate::signaling::command::Command;
use crate::signaling::registry::parting::Parting;
use crate::signaling::sequencer::Proposal;
use crate::telemetry::events::Event;
use crate::wire::ids::NodeId;

/// How often a newcomer asks the members for peers and rooms.
const ASK: Duration = Duration::from_millis(500);

/// How long a node waits at most until it founds the cluster anew with what it has.
const MOST_PAUSE: Duration = Duration::from_millis(300);

/// How long the first one in a log waits for nodes that had another one.
const FIRST: Duration = Duration::from_secs(4);

/// How far a node is on its way to be a member.
#[derive(Debug)]
pub(super) struct Joining {
    /// Since when.
    pub(super) since: Instant,
    /// Whether it knows where the log ends, and writes behind that.
    pub(super) has_begun: bool,
    /// Its entries in the log: where they are, and their counters.
    pub(super) own: Vec<(u64, u64)>,
    /// Where its hello is in the log, once it is.
    pub(super) hello: Option<u64>,
    /// When it last asked for peers and rooms.
    pub(super) asked: Option<Instant>,
    /// Of whom it takes them, and since when.
    pub(super) taking: Option<(NodeId, Instant)>,
    pub(super) parts: Parts,
    /// When a member was last heard of in the log.
    pub(super) heard: Instant,
    /// Whether it has proposed to found the cluster.
    pub(super) founds: bool,
    /// Where the log was lost, and the node has peers and rooms of before: when it proposes to found the cluster with them,
    /// and who did.
    pub(super) keeps: Option<Instant>,
    pub(super) founder: Option<NodeId>,
    /// Where the cluster was last founded, as far as the node has read, and what tells that from other times.
    pub(super) founded: Option<(u64, u32)>,
    /// What it had written to that log, and did not see come back.
    pub(super) lost: Vec<Sent>,
}

impl Joining {
    /// It begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            has_begun: false,
            own: Vec::new(),
            hello: None,
            asked: None,
            taking: None,
            parts: Parts::default(),
            heard: now,
            founds: false,
            keeps: None,
            founder: None,
            founded: None,
            lost: Vec::new(),
        }
    }
}

impl Node {
    /// A newcomer looks at the entry before its hello: there is no member where that was the last word of the last one.
    pub(super) fn see_before(&mut self, position: u64, entry: &[u8], now: Instant) {
        let Some(joining) = &mut self.joining else { return };
        if joining.hello != Some(position + 1) {
            return;
        }
        if let Some(What::Away { left: 0 }) = what(entry) {
            joining.heard = now.checked_sub(SILENCE).unwrap_or(joining.heard);
        }
    }

    /// It is the turn of an entry, and the node is no member.
    pub(super) fn turn_of_newcomer(
        &mut self,
        position: u64,
        head: Head,
        what: Option<What>,
        now: Instant,
    ) {
        let is_own = head.node == self.id;
        let Some(joining) = &mut self.joining else { return };
        if is_own {
            joining.own.push((position, head.counter));
        }
        match what {
            Some(What::Hello(_)) if is_own && joining.hello.is_none() => {
                joining.hello = Some(position);
                joining.heard = now;
                drop(self.window.take(head.counter, now));
                if position == 1 {
                    // Nodes that had another log before say so by then.
                    joining.heard = now.checked_sub(SILENCE - FIRST).unwrap_or(now);
                } else {
                    self.want([position - 1]);
                }
            }
            // Only members say that they live.
            Some(What::Lease { .. }) if !is_own => joining.heard = now,
            // Who has peers and rooms does not take those of somebody who has none.
            Some(What::Found { over, .. })
                if joining.keeps.is_some()
                    && (over.is_none() || self.members.get(head.node).is_none()) => {}
            Some(What::Found { seen, .. })
                if joining.founded.is_none_or(|(since, _)| seen >= since) =>
            {
                joining.founder = Some(head.node);
                joining.founded = Some((position, epoch(position, head)));
                if is_own {
                    self.found(position, head, now);
                } else if joining.keeps.is_some() {
                    joining.hello = Some(position);
                } else {
                    // The founder did not know of it.
                    (joining.heard, joining.hello) = (now, None);
                    self.say(What::Hello(self.about.clone()), now);
                }
            }
            Some(What::Found { .. }) if is_own => drop(self.window.take(head.counter, now)),
            _ => {}
        }
    }

    /// The log was lost, or has gone back, and is read again behind `position`. The nodes go on with what they have: with
    /// that of the first who says so.
    pub(super) fn lose_log(&mut self, position: u64, now: Instant) {
        self.journal.log(Event::ClusterLogLost { stream: self.names.stream.clone() });
        let written = self.members.get(self.id).map_or(0, |member| member.counter);
        let mut lost = self.joining.take().map(|joining| joining.lost).unwrap_or_default();
        lost.extend(self.window.take_all(written));
        self.links.forget_positions();
        self.log.read_again(position, self.ends.1);
        self.asked_at = position;
        self.shorter.end();
        self.digests.clear();
        // Not all at once.
        let pause = MOST_PAUSE.mul_f64(self.id.0 as f64 / u64::MAX as f64);
        let keeps = Some(now + pause);
        let joining = Joining { has_begun: true, keeps, lost, ..Joining::new(now) };
        self.joining = Some(joining);
    }

    /// All these are to be written anew, but the first ones, of which so many are made.
    fn hold_again(&mut self, sent: impl IntoIterator<Item = Sent>, made: u64) {
        for sent in sent {
            if sent.counter <= made {
                // What it came to is not known, so that its client hears that it can't be made.
                self.undoing.extend(sent.undo);
                continue;
            }
            if sent.is_unsure && sent.undo.is_some() {
                // Its client was told that it could not be made.
                continue;
            }
            let Some(What::Do(command)) = what(&sent.bytes) else { continue };
            if sent.is_unsure {
                self.undoing.push(command);
                continue;
            }
            let outcome = sent.outcome.unwrap_or_else(|| oneshot::channel().0);
            self.held.push(Proposal { command, outbox: sent.outbox, outcome });
        }
    }

    /// A newcomer asks for peers and rooms, and founds the cluster where there is nobody.
    pub(super) fn join(&mut self, now: Instant) {
        let (last, position) = (self.log.last(), self.log.position());
        // What it has not read, it can't judge.
        let is_sure = self.seen.is_some_and(|seen| now < seen + UNSURE) && position >= last;
        let Some(joining) = &mut self.joining else { return };
        if joining.founder.is_some() && now >= joining.heard + SILENCE {
            // Who founded it has gone, and nobody else has peers and rooms.
            (joining.founder, joining.founds) = (None, false);
            joining.keeps = joining.keeps.map(|_| now);
            joining.heard = now;
        }
        if joining.keeps.is_some_and(|then| now >= then)
            && joining.founder.is_none()
            && !joining.founds
            && is_sure
        {
            joining.founds = true;
            let over = self.log.before();
            self.say(What::Found { seen: position, over }, now);
            return;
        }
        if joining.keeps.is_some() && joining.founder.is_none() {
            return;
        }
        let Some(hello) = joining.hello else { return };
        if joining.taking.is_some_and(|(_, since)| now >= since + 2 * ASK) {
            joining.taking = None;
        }
        let is_alone = now >= joining.heard + SILENCE && is_sure;
        if is_alone && !joining.founds {
            joining.founds = true;
            self.say(What::Found { seen: position, over: None }, now);
            return;
        }
        if joining.taking.is_none() && joining.asked.is_none_or(|asked| now >= asked + ASK) {
            joining.asked = Some(now);
            let all = self.names.all.clone();
            let epoch = joining.founded.map(|(_, epoch)| epoch);
            self.letter_on(all, Letter::Wanted { position: hello, epoch });
        }
    }

    /// It takes the state of another node, and is a member.
    pub(super) fn take_state(&mut self, shared: Shared, now: Instant) {
        let Some(Joining { hello, founded, .. }) = &self.joining else { return };
        let is_other = founded.is_some_and(|(_, epoch)| epoch != shared.epoch);
        if is_other || hello.is_none_or(|hello| shared.position < hello) {
            return;
        }
        let Shared { position, clock, digest, founded, epoch, members, limits, registry } = shared;
        if !members.iter().any(|member| member.is(self.id)) {
            // The others have given it up meanwhile.
            if let Some(joining) = &mut self.joining {
                (joining.hello, joining.taking) = (None, None);
            }
            self.say(What::Hello(self.about.clone()), now);
            return;
        }
        (self.latest, self.digest) = (clock, digest);
        (self.founded, self.epoch) = (founded, epoch);
        self.members = Members::adopt(members, now);
        let moment = self.moment(clock);
        let keeps = self.joining.as_ref().is_some_and(|joining| joining.keeps.is_some());
        let ghosts = self.hub.adopt(self.id, (registry, limits), keeps, moment);
        self.log.skip_to(position);
        let parting = Parting::Broken;
        let part = |(peer, client)| Command::Part { peer, client, parting, budget: None };
        let first = ghosts.into_iter().map(part).collect();
        let made = self.members.get(self.id).map_or(0, |member| member.counter);
        self.is_member(first, made, now);
    }

    /// It is a member, and wants these changes first. Of what it wrote to a log that was lost, so many are made.
    fn is_member(&mut self, first: Vec<Command>, made: u64, now: Instant) {
        let Some(joining) = self.joining.take() else { return };
        let since = joining.since;
        (self.leased, self.touched_since) = (None, now);
        // All that it has written as a newcomer is made.
        let written = self.members.get(self.id).map_or(0, |member| member.counter);
        for counter in 1..=written {
            drop(self.window.take(counter, now));
        }
        self.log.forget_before();
        // Of its entries behind that, those count that follow the last one that does.
        let position = self.log.position();
        let behind = joining.own.into_iter().filter(|(found, _)| *found > position);
        let known = behind.fold(
            written,
            |known, (_, counter)| {
                if counter == known + 1 { counter } else { known }
            },
        );
        if self.window.base() != known {
            // Others have not heard of the last ones, or of others: all after those that they know are written anew.
            let sent = self.window.take_all(known);
            self.hold_again(sent, 0);
        }
        self.hold_again(joining.lost, made);
        for command in first {
            self.say(What::Do(command), now);
        }
        for command in std::mem::take(&mut self.undoing) {
            self.undo(command, now);
        }
        for proposal in std::mem::take(&mut self.held) {
            let what = What::Do(proposal.command.clone());
            self.write(what, Some(proposal), now);
        }
        self.touch(now);
        self.journal.log(Event::ClusterJoined {
            cluster: self.cluster.clone(),
            node: self.id.to_string(),
            nodes: self.members.count(),
            milliseconds: now.saturating_duration_since(since).as_millis() as u64,
        });
    }

    /// The cluster begins with this node.
    pub(super) fn found(&mut self, position: u64, head: Head, now: Instant) {
        let about = self.about.clone();
        self.members.enter(self.id, about, 0, now);
        // All up to this one are made.
        for own in 1..=head.counter {
            self.members.count_entry(self.id, own, now);
        }
        self.begin_epoch(position, head);
        self.is_member(Vec::new(), 0, now);
    }

    /// The cluster was founded by that entry.
    pub(super) fn begin_epoch(&mut self, position: u64, head: Head) {
        (self.founded, self.epoch) = (position, epoch(position, head));
    }
}

/// What tells a founding from others.
fn epoch(position: u64, head: Head) -> u32 {
    let parts = [position, head.node.0, head.counter];
    let mixed = parts.iter().fold(0, |mixed: u64, part| {
        (mixed ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31)
    });
    mixed as u32
}
