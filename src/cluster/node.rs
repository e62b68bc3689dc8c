//! A node of a cluster: what it knows, and what it says to the others.
//!
//! Owns how it becomes a member, what it writes to the log, and how it notices that it has lost its place. The time is an
//! argument, and what it says is collected: it deliberately knows no connection.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::asks::Open;
use crate::cluster::entry::{About, Head, VERSION, What, what, write};
use crate::cluster::handle::{Ask, Handle, Shared as Gate};
use crate::cluster::letter::Letter;
use crate::cluster::links::Links;
use crate::cluster::log::Log;
use crate::cluster::members::{LEASE, Members, SILENCE, UNSURE};
use crate::cluster::names::Names;
use crate::cluster::nats::protocol::{Message, Publish};
use crate::cluster::post::Post;
use crate::cluster::standing::Standing;
use crate::cluster::transfer::{Parts, Shared};
use crate::cluster::window::Window;
use crate::signaling::command::Command;
use crate::signaling::hub::Hub;
use crate::signaling::sequencer::Proposal;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::wire::ids::NodeId;

/// How often a newcomer asks the members for peers and rooms.
const ASK: Duration = Duration::from_millis(500);

/// How often the stream is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// How often the stream is looked at that can't be used.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One moment by both clocks: entries have the time of day, rooms an instant.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    /// In ms since 1970.
    unix: u64,
}

impl Clock {
    /// Both clocks now.
    pub fn new(instant: Instant, unix: u64) -> Self {
        Self { instant, unix }
    }

    /// The instant of a time of day.
    pub fn instant(self, unix: u64) -> Instant {
        let later = Duration::from_millis(unix.saturating_sub(self.unix));
        let earlier = Duration::from_millis(self.unix.saturating_sub(unix));
        (self.instant + later).checked_sub(earlier).unwrap_or(self.instant)
    }

    /// The time of day of an instant.
    pub fn unix(self, instant: Instant) -> u64 {
        self.unix + instant.saturating_duration_since(self.instant).as_millis() as u64
    }
}

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

/// The node.
#[derive(Debug)]
pub struct Node {
    pub(super) names: Names,
    /// The cluster's name.
    cluster: String,
    pub(super) id: NodeId,
    pub(super) hub: Hub,
    pub(super) journal: Journal,
    pub(super) handle: Handle,
    pub(super) about: About,
    /// `RATE_LIMIT` of clients that come from other nodes.
    pub(super) rate_limit: Option<u32>,
    clock: Clock,
    /// Changes that are wanted while it is no member.
    held: Vec<Proposal>,
    pub(super) window: Window,
    pub(super) log: Log,
    pub(super) members: Members,
    /// The latest time of an entry, in ms since 1970.
    pub(super) latest: u64,
    pub(super) digest: u64,
    /// Where the cluster was last founded.
    pub(super) founded: u64,
    pub(super) joining: Option<Joining>,
    pub(super) links: Links<Post>,
    pub(super) open: Open,
    /// The last proof that the log goes on, and since when there was never none for too long.
    touched: Instant,
    touched_since: Instant,
    /// Since when it is out of touch, where the log has a line about that.
    out_since: Option<Instant>,
    leased: Option<Instant>,
    /// The log at earlier positions, to be compared with other nodes'.
    pub(super) digests: std::collections::VecDeque<(u64, u64)>,
    looked: Option<Instant>,
    /// The position then.
    asked_at: u64,
    /// When the stream was made, as the server says it.
    created: Option<String>,
    replicas: u32,
    pub(super) trouble: Option<(String, &'static str)>,
    /// Whether it needs a new connection, because it has another id.
    pub(super) is_new: bool,
    /// Whether it says nothing more.
    pub(super) has_left: bool,
    pub(super) out: Vec<Publish>,
}

impl Node {
    /// A node that is no member yet, at `now`, which is `unix` in ms since 1970.
    pub fn new(
        cluster: &str,
        about: About,
        hub: Hub,
        journal: Journal,
        handle: Handle,
        rate_limit: Option<u32>,
        (now, unix): (Instant, u64),
    ) -> Self {
        let id = NodeId::random();
        let mut node = Self {
            names: Names::new(cluster, id),
            cluster: cluster.to_owned(),
            id,
            hub,
            journal,
            handle,
            about,
            rate_limit,
            clock: Clock::new(now, unix),
            held: Vec::new(),
            window: Window::default(),
            log: Log::default(),
            members: Members::default(),
            latest: 0,
            digest: 0,
            founded: 0,
            joining: None,
            links: Links::default(),
            open: Open::default(),
            touched: now,
            touched_since: now,
            out_since: None,
            leased: None,
            digests: Default::default(),
            looked: None,
            asked_at: 0,
            created: None,
            replicas: 0,
            trouble: None,
            is_new: false,
            has_left: false,
            out: Vec::new(),
        };
        node.begin(id, now);
        node
    }

    /// It begins as `id`, with nobody.
    fn begin(&mut self, id: NodeId, now: Instant) {
        self.id = id;
        self.names = Names::new(&self.cluster, id);
        self.window.clear();
        (self.log, self.asked_at) = (Log::default(), 0);
        self.members = Members::default();
        self.links = Links::default();
        self.open = Open::default();
        self.digests.clear();
        (self.touched, self.touched_since) = (now, now);
        self.joining = Some(Joining {
            since: now,
            has_begun: false,
            hello: None,
            times: [None; 2],
            asked: None,
            taking: None,
            parts: Parts::default(),
            heard: now,
            founds: false,
        });
        self.held.clear();
        self.hub.begin_as(id);
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

    /// There is no connection, for this reason.
    pub fn fails(&mut self, problem: String, fix: &'static str) {
        self.links.lose_connection();
        self.trouble = Some((problem, fix));
    }

    /// There is one.
    pub fn reached(&mut self) {
        self.trouble = None;
    }

    /// Logs that it is out of touch, or in touch again, where that is so.
    pub fn log_touch(&mut self, now: Instant) {
        let silence = now.saturating_duration_since(self.touched);
        match self.out_since {
            None if silence >= SILENCE => {
                self.out_since = Some(self.touched);
                let (problem, fix) = self.trouble.clone().unwrap_or_else(|| {
                    ("the log does not go on".to_owned(), "see the log of nats-server")
                });
                self.journal.log(Event::ClusterTrouble { problem, fix });
            }
            Some(since) if silence < SILENCE && self.joining.is_none() => {
                self.out_since = None;
                let seconds = now.saturating_duration_since(since).as_secs();
                self.journal.log(Event::ClusterInTouch { seconds });
            }
            _ => {}
        }
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

    /// Writes an entry that nobody waits for.
    pub(super) fn say(&mut self, what: What, now: Instant) {
        self.write(what, None, now);
    }

    fn write(&mut self, what: What, proposal: Option<Proposal>, now: Instant) {
        let (node, counter) = (self.id, self.window.next());
        let time = self.clock.unix(now);
        let head = Head { version: VERSION, node, counter, time };
        // What can't be written is about this node only, and nobody proposes it.
        let Some(bytes) = write(head, &what) else { return };
        let bytes: Arc<[u8]> = bytes.into();
        let undo = match &what {
            What::Do(command) => undo(command),
            _ => None,
        };
        let (outbox, outcome) = proposal
            .map_or((None, None), |Proposal { outbox, outcome, .. }| (outbox, Some(outcome)));
        self.window.push(Arc::clone(&bytes), outbox, outcome, undo, now);
        if self.may_write() {
            self.publish_entry(&bytes);
        }
    }

    /// Whether its first entry is behind all that it does not know.
    fn may_write(&self) -> bool {
        self.joining.as_ref().is_none_or(|joining| joining.has_begun)
    }

    fn publish_entry(&mut self, bytes: &[u8]) {
        let (subject, reply) = (self.names.log.clone(), self.names.answer("a"));
        self.publish(subject, Some(reply), bytes.to_vec());
    }

    fn write_again(&mut self, is_new: bool, now: Instant) {
        if !self.may_write() {
            return;
        }
        for bytes in self.window.again(is_new, now) {
            self.publish_entry(&bytes);
        }
    }

    /// Something is asked of it.
    pub fn ask(&mut self, ask: Ask, now: Instant) {
        match ask {
            Ask::Propose(proposal) => {
                let is_end = matches!(proposal.command, Command::Part { .. });
                if self.has_left || !(is_end || self.window.has_room()) {
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

    /// How the stream is, as it `was_asked` or made.
    fn see_stream(&mut self, answer: &Value, was_asked: bool, now: Instant) {
        if let Some(code) = answer["error"]["err_code"].as_u64() {
            let why = answer["error"]["description"].as_str().unwrap_or_default().to_owned();
            match code {
                // There is no stream.
                10_059 => self.create_stream(3),
                // Not where there is one server only.
                10_074 => self.create_stream(1),
                10_058 => {
                    self.trouble = Some((
                        format!(
                            "the stream {} has another configuration: {why}",
                            self.names.stream
                        ),
                        "set another CLUSTER_NAME, or delete the stream",
                    ));
                }
                10_039 | 10_076 => {
                    self.trouble = Some((
                        format!("JetStream is off: {why}"),
                        "switch JetStream on in nats-server.conf (jetstream {})",
                    ));
                }
                _ => self.trouble = Some((why, "see the log of nats-server")),
            }
            self.looked = Some(now);
            return;
        }
        self.trouble = None;
        let replicas = answer["config"]["num_replicas"].as_u64().unwrap_or_default() as u32;
        if replicas != self.replicas {
            self.replicas = replicas;
            self.journal.log(Event::ClusterStream { stream: self.names.stream.clone(), replicas });
        }
        if !was_asked {
            // What is there already, it says when it is asked.
            self.looked = None;
            return;
        }
        let created = answer["created"].as_str().map(str::to_owned);
        let last = answer["state"]["last_seq"].as_u64().unwrap_or_default();
        let is_other = self.created.is_some() && self.created != created;
        self.created = created;
        if is_other || last < self.asked_at {
            self.lose_place("the log was lost", now);
            return;
        }
        self.log.knows(last);
        if let Some(joining) = self.joining.as_mut().filter(|joining| !joining.has_begun) {
            joining.has_begun = true;
            // What was before is in the state that others have.
            self.log.reset(last);
            self.write_again(true, now);
        }
    }

    fn create_stream(&mut self, replicas: u32) {
        let config = self.names.stream_config(replicas).to_string().into_bytes();
        let (subject, reply) = (self.names.request("CREATE"), self.names.answer("create"));
        self.publish(subject, Some(reply), config);
    }

    /// The entry at a position that was asked for.
    fn get(&mut self, position: u64, answer: &[u8], now: Instant) {
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return };
        if answer["error"]["err_code"] == 10_037 && position <= self.log.last() {
            if position > self.log.position() {
                self.lose_place("entries of the log that it has missed are gone", now);
            }
            return;
        }
        self.see_time(position, &answer["message"], now);
        let data = answer["message"]["data"].as_str();
        if let Some(data) = data.and_then(|data| STANDARD.decode(data).ok()) {
            self.log.take(position, data);
        }
    }

    /// A newcomer looks at when the entry before its hello was written: there is no member where that is too long ago, or
    /// where it was the last word of the last one.
    fn see_time(&mut self, position: u64, message: &Value, now: Instant) {
        let Some(joining) = &mut self.joining else { return };
        let Some(hello) = joining.hello else { return };
        let time = message["time"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok());
        let time = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
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
        while let Some((position, entry)) = self.log.next() {
            self.turn(position, &entry, now);
        }
        if self.joining.is_none() {
            self.deliver(now);
        }
    }

    /// The log goes on.
    pub(super) fn touch(&mut self, now: Instant) {
        if now >= self.touched + UNSURE {
            self.touched_since = now;
            self.members.excuse(now);
        }
        self.touched = now;
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Instant) {
        self.write_again(false, now);
        let is_bad = self.trouble.is_some() || self.created.is_none();
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
            self.held.retain(|proposal| matches!(proposal.command, Command::Part { .. }));
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

    /// A newcomer asks for peers and rooms, and founds the cluster where there is nobody.
    fn join(&mut self, now: Instant) {
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

    /// It stops: nobody waits for it.
    pub fn leave(&mut self, now: Instant) {
        if self.joining.is_none() && !self.has_left {
            let left = self.members.count().saturating_sub(1);
            self.say(What::Away { left }, now);
        }
        self.has_left = true;
    }

    /// Whether all that it has written has come back.
    pub fn is_done(&self) -> bool {
        self.window.is_empty()
    }

    /// How it stands, and whether sessions may ask it for something.
    pub fn standing(&self, server: Option<&str>, gate: &Gate, now: Instant) -> Standing {
        use std::sync::atomic::Ordering::Relaxed;
        let is_late = now >= self.touched + SILENCE;
        gate.takes_changes.store(!is_late, Relaxed);
        gate.takes_relays.store(self.joining.is_none() && (server.is_some() || !is_late), Relaxed);
        Standing {
            nodes: self.members.count(),
            is_member: self.joining.is_none(),
            touched: Some(self.touched),
            server: server.map(str::to_owned),
            replicas: self.replicas,
            trouble: self.trouble.clone(),
            position: self.log.position(),
            digest: self.digest,
        }
    }
}

/// What undoes a change that its client does not know of.
fn undo(command: &Command) -> Option<Command> {
    use crate::signaling::registry::parting::Parting;
    Some(match command {
        Command::Register { peer, newcomer } | Command::TakeOver { peer, newcomer, .. } => {
            let (peer, client, parting) = (*peer, newcomer.client, Parting::Broken);
            Command::Part { peer, client, parting, budget: None }
        }
        Command::CreateRoom { peer, .. }
        | Command::JoinRoom { peer, .. }
        | Command::CreateOrJoinRoom { peer, .. } => Command::LeaveRoom { peer: *peer },
        _ => return None,
    })
}
