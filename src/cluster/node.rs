//! A node of a cluster: what it knows, and what it says to the others.
//!
//! Owns how it becomes a member, what it writes to the log, and how it notices that it has lost its place. The time is an
//! argument, and what it says is collected: it deliberately knows no connection.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::cluster::asks::Open;
use crate::cluster::clock::Clock;
use crate::cluster::entry::{About, What};
use crate::cluster::handle::{Ask, Handle};
use crate::cluster::joining::Joining;
use crate::cluster::letter::Letter;
use crate::cluster::links::Links;
use crate::cluster::log::{Doubt, Log};
use crate::cluster::members::{LEASE, Members, SILENCE};
use crate::cluster::names::Names;
use crate::cluster::nats::protocol::{Message, Publish};
use crate::cluster::post::Post;
use crate::cluster::transfer::Giving;
use crate::cluster::window::Window;
use crate::signaling::command::Command;
use crate::signaling::hub::Hub;
use crate::signaling::sequencer::Proposal;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::wire::ids::NodeId;

/// How often the stream is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// How often the stream is looked at that can't be used.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The node.
#[derive(Debug)]
pub struct Node {
    pub(super) names: Names,
    /// The cluster's name.
    pub(super) cluster: String,
    pub(super) id: NodeId,
    pub(super) hub: Hub,
    pub(super) journal: Journal,
    pub(super) handle: Handle,
    pub(super) about: About,
    /// `RATE_LIMIT` of clients that come from other nodes.
    pub(super) rate_limit: Option<u32>,
    pub(super) clock: Clock,
    /// Changes that are wanted while it is no member.
    pub(super) held: Vec<Proposal>,
    /// What undoes changes that clients were told to be impossible, while it is no member.
    pub(super) undoing: Vec<Command>,
    pub(super) window: Window,
    pub(super) log: Log,
    pub(super) members: Members,
    /// The latest time of an entry, in ms since 1970.
    pub(super) latest: u64,
    pub(super) digest: u64,
    /// Where the cluster was last founded.
    pub(super) founded: u64,
    /// What tells that from other times.
    pub(super) epoch: u32,
    pub(super) joining: Option<Joining>,
    pub(super) links: Links<Post>,
    pub(super) open: Open,
    /// The last proof that the log goes on, and since when there was never none for too long.
    pub(super) touched: Instant,
    pub(super) touched_since: Instant,
    /// Since when it is out of touch, where the log has a line about that.
    pub(super) out_since: Option<Instant>,
    /// The fix in the last line about that.
    pub(super) advised: Option<&'static str>,
    pub(super) leased: Option<Instant>,
    /// The log at earlier positions, to be compared with other nodes'.
    pub(super) digests: std::collections::VecDeque<(u64, u64)>,
    pub(super) looked: Option<Instant>,
    /// When it was last seen.
    pub(super) seen: Option<Instant>,
    /// The position when it was looked at.
    pub(super) asked_at: u64,
    /// When the stream was made, as the server says it, and the first and the last entry that it has.
    pub(super) created: Option<String>,
    pub(super) ends: (u64, u64),
    pub(super) replicas: u32,
    pub(super) trouble: Option<(String, &'static str)>,
    /// Whether it needs a new connection, because it has another id.
    pub(super) is_new: bool,
    /// Whether it says nothing more.
    pub(super) has_left: bool,
    pub(super) out: Vec<Publish>,
    /// What the server says of the log: that it is shorter than it was, and that entries are missing.
    pub(super) shorter: Doubt,
    pub(super) gap: Doubt,
    /// What a newcomer gets, while it gets it.
    pub(super) giving: Option<Giving>,
}

impl Node {
    /// A node that is no member yet, at `now`, which is `unix` in ms since 1970.
    pub fn new(
        cluster: &str,
        about: About,
        (hub, journal, handle): (Hub, Journal, Handle),
        rate_limit: Option<u32>,
        (now, unix): (Instant, u64),
    ) -> Self {
        let mut node = Self::empty(cluster, about, hub, journal, handle, rate_limit, now);
        node.clock = Clock::new(now, unix);
        node.begin(NodeId::random(), now);
        node
    }

    /// A node that knows nothing.
    pub(super) fn empty(
        cluster: &str,
        about: About,
        hub: Hub,
        journal: Journal,
        handle: Handle,
        rate_limit: Option<u32>,
        now: Instant,
    ) -> Self {
        let id = NodeId::default();
        Self {
            names: Names::new(cluster, id),
            cluster: cluster.to_owned(),
            id,
            hub,
            journal,
            handle,
            about,
            rate_limit,
            clock: Clock::new(now, 0),
            held: Vec::new(),
            undoing: Vec::new(),
            window: Window::default(),
            log: Log::default(),
            members: Members::default(),
            latest: 0,
            digest: 0,
            founded: 0,
            epoch: 0,
            joining: None,
            links: Links::default(),
            open: Open::default(),
            touched: now,
            touched_since: now,
            out_since: None,
            advised: None,
            leased: None,
            digests: Default::default(),
            looked: None,
            seen: None,
            asked_at: 0,
            created: None,
            ends: (1, 0),
            replicas: 0,
            trouble: None,
            is_new: false,
            has_left: false,
            out: Vec::new(),
            shorter: Doubt::default(),
            gap: Doubt::default(),
            giving: None,
        }
    }

    /// It is called `id` from here on.
    pub(super) fn be(&mut self, id: NodeId) {
        self.id = id;
        self.names = Names::new(&self.cluster, id);
    }

    /// It begins as `id`, with nobody.
    fn begin(&mut self, id: NodeId, now: Instant) {
        self.be(id);
        self.window.clear();
        (self.log, self.asked_at) = (Log::default(), 0);
        self.members = Members::default();
        self.links = Links::default();
        self.open = Open::default();
        self.digests.clear();
        (self.touched, self.touched_since) = (now, now);
        self.joining = Some(Joining::new(now));
        (self.held, self.undoing) = (Vec::new(), Vec::new());
        self.hub.begin_as(id, self.about.limits);
        self.say(What::Hello(self.about.clone()), now);
    }

    /// The others have given it up, or it can't follow them: its clients come back, and it begins anew.
    pub(super) fn lose_place(&mut self, reason: &'static str, now: Instant) {
        let clients = self.hub.count().peers;
        self.journal.log(Event::ClusterLost { reason, clients });
        self.begin(NodeId::random(), now);
        self.is_new = true;
    }

    /// What it calls itself.
    pub fn name(&self) -> String {
        self.id.to_string()
    }

    /// Whether it needs a new connection; once.
    pub fn takes_new_connection(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// What it says.
    pub fn take_out(&mut self) -> Vec<Publish> {
        std::mem::take(&mut self.out)
    }

    /// What it wants to hear.
    pub fn subjects(&self) -> [String; 4] {
        let own = self.names.own.clone();
        [self.names.events.clone(), self.names.all.clone(), format!("{own}.>"), own]
    }

    /// There is a connection.
    pub fn connected(&mut self, now: Instant) {
        self.looked = None;
        self.is_new = false;
        // The log may have gone back meanwhile, and grown past what was taken of it.
        if self.log.hash_at(self.log.position()).is_some() {
            self.log.doubt();
        }
        self.write_again(true, now);
        // What was on its way by the other one may be lost.
        for send in self.links.all_again(now) {
            self.send(send);
        }
        let others: Vec<_> = self.others().collect();
        for node in others {
            let from = self.links.expected(node);
            self.letter(node, Letter::Again { from });
        }
    }

    /// The members but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|(node, _)| node).filter(|node| *node != self.id)
    }

    pub(super) fn publish(&mut self, subject: String, reply: Option<String>, payload: Vec<u8>) {
        self.out.push(Publish { subject, reply, payload });
    }

    /// A moment of the log.
    pub(super) fn moment(&self, unix: u64) -> Instant {
        self.clock.instant(unix)
    }

    /// Something is asked of it.
    pub fn ask(&mut self, ask: Ask, now: Instant) {
        match ask {
            Ask::Propose(proposal) => {
                // A session may ask before it sees that the gate is closed.
                let takes_more = self.window.has_room() && !self.is_unsure();
                if self.has_left || !(proposal.command.is_end() || takes_more) {
                    return;
                }
                if self.joining.is_some() {
                    self.held.push(proposal);
                    return;
                }
                let what = What::Do(proposal.command.clone());
                self.write(what, Some(proposal), now);
            }
            ask => self.post(ask, now),
        }
    }

    /// Something was said.
    pub fn hear(&mut self, message: &Message, now: Instant) {
        let Message { subject, payload, .. } = message;
        if *subject == self.names.events {
            let position = message.header("Nats-Sequence").and_then(|text| text.parse().ok());
            if let Some(position) = position {
                self.log.take(position, payload.clone());
            }
        } else if *subject == self.names.all || *subject == self.names.own {
            self.hear_letter(payload, now);
        } else if let Some(to) = subject.strip_prefix(&format!("{}.", self.names.own)) {
            let to = to.to_owned();
            self.hear_answer(&to, message, now);
        }
        self.go_on(now);
    }

    fn hear_answer(&mut self, to: &str, message: &Message, now: Instant) {
        let is_refused = message.status() == Some(503);
        match to.split_once('.') {
            None if to == "a" => {
                let is_error = message.payload.windows(8).any(|part| part == b"\"error\":");
                if is_refused || is_error {
                    self.window.refuse();
                }
            }
            None if to == "info" || to == "create" => {
                if is_refused {
                    self.trouble = Some((
                        "JetStream does not answer".to_owned(),
                        "switch JetStream on in nats-server.conf (jetstream {}), or wait for its leader",
                    ));
                } else if let Ok(answer) = serde_json::from_slice(&message.payload) {
                    self.see_stream(&answer, to == "info", now);
                }
            }
            Some(("get", position)) => {
                if let Ok(position) = position.parse() {
                    self.get(position, &message.payload, now);
                }
            }
            // Nobody answers for a node.
            Some(("r", rest)) if is_refused => {
                let Some((node, number)) = rest.split_once('.') else { return };
                if let (Some(node), Ok(number)) = (NodeId::parse(node), number.parse()) {
                    let lost = self.links.failed(node, number, now);
                    self.tell_lost(lost);
                }
            }
            _ => {}
        }
    }

    /// Asks for entries.
    pub(super) fn want(&mut self, positions: impl IntoIterator<Item = u64>) {
        for position in positions {
            let subject = self.names.request("MSG.GET");
            let reply = self.names.answer(&format!("get.{position}"));
            self.publish(subject, Some(reply), json!({ "seq": position }).to_string().into_bytes());
        }
    }

    /// Makes all changes whose turn it is, and delivers what follows them.
    pub(super) fn go_on(&mut self, now: Instant) {
        while let Some((position, entry)) = self.log.take_next() {
            self.turn(position, &entry, now);
        }
        self.write_due();
        if self.joining.is_none() {
            self.deliver(now);
        }
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Instant) {
        self.write_again(false, now);
        let is_other = self.log.has_gone_back() || self.log.is_doubted();
        let is_bad = self.trouble.is_some() || self.created.is_none() || is_other;
        let pause = if is_bad { LOOK_AGAIN } else { LOOK };
        if self.looked.is_none_or(|looked| now >= looked + pause) {
            (self.looked, self.asked_at) = (Some(now), self.log.position());
            let (subject, reply) = (self.names.request("INFO"), self.names.answer("info"));
            self.publish(subject, Some(reply), Vec::new());
        }
        let wanted = self.log.wanted(now);
        self.want(wanted);
        if self.joining.is_some() {
            self.join(now);
        } else if !self.has_left {
            if self.leased.is_none_or(|leased| now >= leased + LEASE) && self.window.len() < 100 {
                self.leased = Some(now);
                let (position, digest) = (self.log.position(), self.digest);
                self.say(What::Lease { position, digest }, now);
            }
            let touched = (self.touched_since, self.touched);
            for (node, heard) in self.members.silent(self.id, touched, now) {
                self.say(What::Gone { node, heard }, now);
                // It has its time again, until that is made.
                self.members.excuse_one(node, now);
            }
        }
        if now >= self.touched + SILENCE {
            // What they wanted may be made later: it is undone then.
            self.window.give_up(now.checked_sub(SILENCE / 2).unwrap_or(now));
            self.held.retain(|proposal| proposal.command.is_end());
            let late = self.links.drop_waiting();
            self.tell_unavailable(late);
        }
        self.tick_post(now);
        self.go_on(now);
    }

    /// How soon it has to do something.
    pub fn pause(&self) -> Duration {
        let is_busy = self.log.is_missing()
            || self.links.is_busy()
            || self.open.is_busy()
            || self.joining.is_some()
            || !self.window.is_empty();
        if is_busy { Duration::from_millis(25) } else { Duration::from_millis(250) }
    }

    /// It stops: nobody waits for it.
    pub fn leave(&mut self, now: Instant) {
        if self.joining.is_none() && !self.has_left {
            let left = self.members.count().saturating_sub(1);
            self.say(What::Away { left }, now);
            self.write_rest();
        }
        self.has_left = true;
    }

    /// Whether all that it has written has come back.
    pub fn is_done(&self) -> bool {
        self.window.is_empty()
    }
}
