//! The links between nodes: messages from one node to another, each once and in order.
//!
//! Owns what is sent again, what is held until the receiver has made the changes that it follows, and what is given up. It
//! is pure: the time is an argument, and it deliberately knows no connection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::ids::{ClientId, NodeId, PeerId};

/// How much of what was sent is kept for a node that asks for it again: in time, and in bytes.
pub(super) const MOST_TIME: Duration = Duration::from_secs(10);
pub(super) const MOST_BYTES: usize = 1024 * 1024;

/// How long something may be missing behind which other things have come, before it is asked for; and how long an answer
/// may take to that.
pub(super) const PATIENCE: Duration = Duration::from_millis(25);
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// How often a node is tried that nobody answers for, and for how long: a node that is restarted is back by then.
pub(super) const TRY: Duration = Duration::from_millis(200);
pub(super) const GIVE_UP: Duration = Duration::from_secs(2);

/// How many things that are early are held of a node.
const MOST_EARLY: usize = 4096;

/// What the sender of a relay hears where it does not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its client on this node.
    pub client: ClientId,
    /// Its id.
    pub from: PeerId,
    /// Who did not get it.
    pub to: PeerId,
    /// Of the relay.
    pub request_id: Option<String>,
}

/// Something that was sent to a node.
#[derive(Clone, Debug)]
struct Kept {
    number: u64,
    at: Instant,
    bytes: Arc<[u8]>,
    sender: Option<Sender>,
    /// Whether there was no connection by which it could go.
    waits: bool,
}

/// What goes to a node.
#[derive(Debug, Default)]
struct Outgoing {
    /// How many there have been.
    number: u64,
    kept: VecDeque<Kept>,
    bytes: usize,
    down: Option<Down>,
    /// Whether it was given up, and has not been heard of since.
    is_dead: bool,
}

/// Nobody answers for a node.
#[derive(Clone, Copy, Debug)]
struct Down {
    since: Instant,
    /// The first thing that has not arrived.
    first: u64,
    tried: Instant,
    /// Whether the try has failed.
    has_failed: bool,
}

/// What comes from a node.
#[derive(Debug)]
struct Incoming<T> {
    /// The number of the next thing.
    next: u64,
    /// What has come, each with the position that it follows.
    early: BTreeMap<u64, (u64, T)>,
    missing: Option<Instant>,
    asked: Option<Instant>,
}

impl<T> Default for Incoming<T> {
    fn default() -> Self {
        Self { next: 1, early: BTreeMap::new(), missing: None, asked: None }
    }
}

/// Something to be sent to a node, with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Which node.
    pub to: NodeId,
    /// Its number.
    pub number: u64,
    /// As it is sent.
    pub bytes: Arc<[u8]>,
}

/// A number for each node.
pub type Numbers = Vec<(NodeId, u64)>;

/// All links of this node. What comes is a `T`.
#[derive(Debug)]
pub struct Links<T> {
    outgoing: HashMap<NodeId, Outgoing>,
    incoming: HashMap<NodeId, Incoming<T>>,
    /// Whether there is a connection.
    is_up: bool,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self { outgoing: HashMap::new(), incoming: HashMap::new(), is_up: true }
    }
}

impl<T> Links<T> {
    /// The number of the next thing for a node.
    pub fn next(&self, to: NodeId) -> u64 {
        self.outgoing.get(&to).map_or(1, |link| link.number + 1)
    }

    /// Keeps something for a node, with that number. Returns it where it can be sent at once.
    pub fn send(
        &mut self,
        to: NodeId,
        bytes: Arc<[u8]>,
        sender: Option<Sender>,
        now: Instant,
    ) -> Option<Send> {
        let link = self.outgoing.entry(to).or_default();
        link.number += 1;
        link.bytes += bytes.len();
        let number = link.number;
        let waits = !self.is_up;
        link.kept.push_back(Kept { number, at: now, bytes: Arc::clone(&bytes), sender, waits });
        while link.kept.len() > 1 {
            let Some(oldest) = link.kept.front() else { break };
            if link.bytes <= MOST_BYTES && now < oldest.at + MOST_TIME {
                break;
            }
            link.bytes -= oldest.bytes.len();
            link.kept.pop_front();
        }
        link.down.is_none().then_some(Send { to, number, bytes })
    }

    /// Nobody answered for a node that was sent that. Returns who hears that theirs did not arrive.
    pub fn failed(&mut self, to: NodeId, number: u64, now: Instant) -> Vec<Sender> {
        let Some(link) = self.outgoing.get_mut(&to) else { return Vec::new() };
        if link.is_dead {
            return link.give_up(number);
        }
        match &mut link.down {
            Some(down) => {
                down.first = down.first.min(number);
                down.has_failed = true;
            }
            None => {
                link.down = Some(Down { since: now, first: number, tried: now, has_failed: true });
            }
        }
        Vec::new()
    }

    /// A node did not know whom something was for. Returns whose it was.
    pub fn refused(&mut self, by: NodeId, number: u64) -> Option<Sender> {
        let link = self.outgoing.get_mut(&by)?;
        link.kept.iter_mut().find(|kept| kept.number == number)?.sender.take()
    }

    /// A node asks for all from that number on. Returns that, and from where it is kept where some of it is not.
    pub fn again(&mut self, to: NodeId, from: u64) -> (Vec<Send>, Option<u64>) {
        let Some(link) = self.outgoing.get_mut(&to) else { return (Vec::new(), None) };
        (link.down, link.is_dead) = (None, false);
        let first = link.kept.front().map_or(link.number + 1, |kept| kept.number);
        let kept = link.kept.iter().filter(|kept| kept.number >= from);
        let send = kept.map(|Kept { number, bytes, .. }| Send {
            to,
            number: *number,
            bytes: Arc::clone(bytes),
        });
        (send.collect(), (first > from).then_some(first))
    }

    /// The log is another one: what has come follows nothing in it.
    pub fn forget_positions(&mut self) {
        for link in self.incoming.values_mut() {
            link.early.values_mut().for_each(|(position, _)| *position = 0);
        }
    }

    /// Something came from a node: it lives.
    pub fn lives(&mut self, node: NodeId) {
        if let Some(link) = self.outgoing.get_mut(&node) {
            link.is_dead = false;
        }
    }

    /// What is to be sent at `now` to nodes that nobody answered for, and who hears that theirs did not arrive.
    pub fn try_again(&mut self, now: Instant) -> (Vec<Send>, Vec<Sender>) {
        let (mut send, mut lost) = (Vec::new(), Vec::new());
        for (to, link) in &mut self.outgoing {
            let Some(down) = &mut link.down else { continue };
            if now < down.tried + TRY {
                continue;
            }
            if now >= down.since + GIVE_UP && down.has_failed {
                let first = down.first;
                (link.down, link.is_dead) = (None, true);
                lost.extend(link.give_up(first));
                continue;
            }
            let is_up = !down.has_failed;
            let first = down.first;
            let kept = link.kept.iter().filter(|kept| kept.number >= first);
            let sends = kept.map(|Kept { number, bytes, .. }| Send {
                to: *to,
                number: *number,
                bytes: Arc::clone(bytes),
            });
            if is_up {
                // The one that was tried has arrived.
                send.extend(sends.skip(1));
                link.down = None;
            } else {
                (down.tried, down.has_failed) = (now, false);
                send.extend(sends.take(1));
            }
        }
        (send, lost)
    }

    /// There is no connection.
    pub fn lose_connection(&mut self) {
        self.is_up = false;
    }

    /// There is one. What may not have arrived by the one before: all that is not too old.
    pub fn all_again(&mut self, now: Instant) -> Vec<Send> {
        self.is_up = true;
        let mut all = Vec::new();
        for (to, link) in self.outgoing.iter_mut().filter(|(_, link)| link.down.is_none()) {
            let kept = link.kept.iter_mut().filter(|kept| now < kept.at + MOST_TIME);
            all.extend(kept.map(|kept| {
                kept.waits = false;
                Send { to: *to, number: kept.number, bytes: Arc::clone(&kept.bytes) }
            }));
        }
        all
    }

    /// What waits for a connection does so for too long: it is not sent. Returns whose it was.
    pub fn drop_waiting(&mut self) -> Vec<Sender> {
        let mut late = Vec::new();
        for link in self.outgoing.values_mut() {
            // They are the last ones, and nobody knows of them.
            while link.kept.back().is_some_and(|kept| kept.waits) {
                let Some(kept) = link.kept.pop_back() else { break };
                link.bytes -= kept.bytes.len();
                link.number -= 1;
                late.extend(kept.sender);
            }
        }
        late.reverse();
        late
    }

    /// Something came from a node, which follows what the log has up to `position`.
    pub fn receive(&mut self, from: NodeId, number: u64, position: u64, thing: T) {
        let link = self.incoming.entry(from).or_default();
        if number >= link.next && (link.early.len() < MOST_EARLY || number == link.next) {
            link.early.insert(number, (position, thing));
        }
    }

    /// A node has nothing before that number any longer.
    pub fn skip(&mut self, from: NodeId, to: u64) {
        let link = self.incoming.entry(from).or_default();
        if to > link.next {
            link.next = to;
            link.early = link.early.split_off(&to);
            (link.missing, link.asked) = (None, None);
        }
    }

    /// The next thing whose turn it is, where the changes up to `position` are made.
    pub fn ready(&mut self, position: u64) -> Option<(NodeId, u64, T)> {
        self.incoming.iter_mut().find_map(|(from, link)| {
            let first = link.early.first_entry()?;
            if *first.key() != link.next || first.get().0 > position {
                return None;
            }
            let (number, (_, thing)) = first.remove_entry();
            link.next = number + 1;
            (link.missing, link.asked) = (None, None);
            Some((*from, number, thing))
        })
    }

    /// From which nodes something is missing at `now`, and from which number on.
    pub fn wanted(&mut self, now: Instant) -> Vec<(NodeId, u64)> {
        let mut wanted = Vec::new();
        for (from, link) in &mut self.incoming {
            let has_gap =
                link.early.first_key_value().is_some_and(|(number, _)| *number != link.next);
            if !has_gap {
                link.missing = None;
                continue;
            }
            let since = *link.missing.get_or_insert(now);
            let is_due = match link.asked {
                Some(asked) => now >= asked + AGAIN,
                None => now >= since + PATIENCE,
            };
            if is_due {
                link.asked = Some(now);
                wanted.push((*from, link.next));
            }
        }
        wanted
    }

    /// What is next from a node.
    pub fn expected(&self, from: NodeId) -> u64 {
        self.incoming.get(&from).map_or(1, |link| link.next)
    }

    /// A node has gone. Returns who hears that theirs did not arrive.
    pub fn end(&mut self, node: NodeId) -> Vec<Sender> {
        self.incoming.remove(&node);
        let down = self.outgoing.remove(&node).and_then(|mut link| {
            let first = link.down?.first;
            Some(link.give_up(first))
        });
        down.unwrap_or_default()
    }

    /// How much was sent to each node, and what is next from each.
    pub fn carry(&self) -> (Numbers, Numbers) {
        let sent = self.outgoing.iter().map(|(to, link)| (*to, link.number));
        let expected = self.incoming.iter().map(|(from, link)| (*from, link.next));
        (sent.collect(), expected.collect())
    }

    /// It goes on from there.
    pub fn go_on(&mut self, sent: Numbers, expected: Numbers) {
        for (to, number) in sent {
            self.outgoing.entry(to).or_default().number = number;
        }
        for (from, next) in expected {
            self.incoming.entry(from).or_default().next = next;
        }
    }

    /// Whether something waits that time alone moves.
    pub fn is_busy(&self) -> bool {
        self.outgoing.values().any(|link| link.down.is_some())
            || self.incoming.values().any(|link| !link.early.is_empty())
    }
}

impl Outgoing {
    /// All from that number on did not arrive. Returns whose it was.
    fn give_up(&mut self, from: u64) -> Vec<Sender> {
        let lost = self.kept.iter_mut().filter(|kept| kept.number >= from);
        lost.filter_map(|kept| kept.sender.take()).collect()
    }
}
