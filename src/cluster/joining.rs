//! How a node becomes a member.
//!
//! Owns where it gets peers and rooms from, and when it founds the cluster because there is nobody. It deliberately does
//! not know what is in them.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::entry::{What, what};
use crate::cluster::letter::Letter;
use crate::cluster::members::{Members, SILENCE};
use crate::cluster::node::Node;
use crate::cluster::transfer::{Parts, Shared};
use crate::telemetry::events::Event;
use crate::wire::ids::NodeId;

/// How often a newcomer asks the members for peers and rooms.
const ASK: Duration = Duration::from_millis(500);

/// How far a node is on its way to be a member.
#[derive(Debug)]
pub(super) struct Joining {
    /// Since when.
    pub(super) since: Instant,
    /// Whether it knows where the log ends, and writes behind that.
    pub(super) has_begun: bool,
    /// Where its hello is in the log, once it is.
    pub(super) hello: Option<u64>,
    /// When the hello and the entry before it were written, by the server's clock in ms since 1970.
    pub(super) times: [Option<u64>; 2],
    /// When it last asked for peers and rooms.
    pub(super) asked: Option<Instant>,
    /// Of whom it takes them, and since when.
    pub(super) taking: Option<(NodeId, Instant)>,
    pub(super) parts: Parts,
    /// When a member was last heard of in the log.
    pub(super) heard: Instant,
    /// Whether it has proposed to found the cluster.
    pub(super) founds: bool,
}

impl Joining {
    /// It begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            has_begun: false,
            hello: None,
            times: [None; 2],
            asked: None,
            taking: None,
            parts: Parts::default(),
            heard: now,
            founds: false,
        }
    }
}

impl Node {
    /// A newcomer looks at when the entry before its hello was written: there is no member where that is too long ago, or
    /// where it was the last word of the last one.
    pub(super) fn see_time(&mut self, position: u64, message: &Value, now: Instant) {
        let Some(joining) = &mut self.joining else { return };
        let Some(hello) = joining.hello else { return };
        let time = message["time"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok());
        let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let time = time.map(|time| time.as_millis() as u64);
        if position == hello {
            joining.times[1] = time;
        } else if position + 1 == hello {
            joining.times[0] = time;
            let data = message["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
            if let Some(What::Away { left: 0 }) = data.as_deref().and_then(what) {
                joining.times[0] = Some(0);
            }
        }
        if let [Some(before), Some(own)] = joining.times {
            if own.saturating_sub(before) >= SILENCE.as_millis() as u64 {
                joining.heard = now.checked_sub(SILENCE).unwrap_or(joining.heard);
            }
        }
    }

    /// A newcomer asks for peers and rooms, and founds the cluster where there is nobody.
    pub(super) fn join(&mut self, now: Instant) {
        let (last, position) = (self.log.last(), self.log.position());
        let Some(joining) = &mut self.joining else { return };
        let Some(hello) = joining.hello else { return };
        if joining.taking.is_some_and(|(_, since)| now >= since + 2 * ASK) {
            joining.taking = None;
        }
        let is_alone = now >= joining.heard + SILENCE && position >= last;
        if is_alone && !joining.founds {
            joining.founds = true;
            self.say(What::Found { seen: position }, now);
            return;
        }
        if joining.taking.is_none() && joining.asked.is_none_or(|asked| now >= asked + ASK) {
            joining.asked = Some(now);
            let all = self.names.all.clone();
            self.letter_on(all, Letter::Wanted { position: hello });
        }
    }

    /// It takes the state of another node, and is a member.
    pub(super) fn take_state(&mut self, shared: Shared, now: Instant) {
        let hello = self.joining.as_ref().and_then(|joining| joining.hello);
        if hello.is_none_or(|hello| shared.position < hello) {
            return;
        }
        let Shared { position, clock, digest, founded, members, registry } = shared;
        (self.latest, self.digest, self.founded) = (clock, digest, founded);
        self.members = Members::adopt(members, now);
        let moment = self.moment(clock);
        self.hub.adopt(self.id, registry, moment);
        self.log.skip_to(position);
        self.is_member(now);
    }

    pub(super) fn is_member(&mut self, now: Instant) {
        let since = self.joining.take().map_or(now, |joining| joining.since);
        (self.leased, self.touched_since) = (None, now);
        // All that it has written as a newcomer is made.
        let written = self.members.get(self.id).map_or(0, |member| member.counter);
        for counter in 1..=written {
            drop(self.window.take(counter, now));
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
    pub(super) fn found(&mut self, position: u64, counter: u64, now: Instant) {
        let about = self.about.clone();
        self.members.enter(self.id, about, now);
        // All up to this one are made.
        for own in 1..=counter {
            self.members.count_entry(self.id, own, now);
        }
        self.founded = position;
        self.is_member(now);
    }
}
