//! What a node does with what another one says to it.
//!
//! Owns the messages of peers on their way from node to node, questions, and what moves with a client. It deliberately
//! does not know what the log is.

use tokio::time::Instant;

use crate::cluster::handle::{Ask, Outgoing, Rest, answer};
use crate::cluster::letter::{Letter, Thing, read, write};
use crate::cluster::links::{Send, Sender};
use crate::cluster::node::Node;
use crate::cluster::transfer::{Giving, Shared};
use crate::signaling::budget::ClientBudget;
use crate::signaling::identity::holding::SIGN_OF_LIFE_IN_ROOM;
use crate::signaling::outbox::{Frame, RoomNumber};
use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::ids::{ClientId, Holder, NodeId, PeerId};
use crate::wire::reply::ServerMessage;

/// A thing that has come, with the bytes behind it.
pub type Post = (Thing, Vec<u8>);

/// How long a thing may be with its head, in bytes: what a server takes by itself is 1 MiB.
const MOST_THING: usize = 1024 * 1024;

impl Node {
    /// Says something to a node.
    pub(super) fn letter(&mut self, to: NodeId, letter: Letter) {
        let subject = self.names.node(to);
        self.letter_on(subject, letter);
    }

    pub(super) fn letter_on(&mut self, subject: String, letter: Letter) {
        let written = write(self.id, letter, b"");
        self.publish(subject, None, written);
    }

    /// Sends something that arrives once and in order.
    fn thing(
        &mut self,
        to: NodeId,
        (thing, bytes): (Thing, &[u8]),
        sender: Option<Sender>,
        now: Instant,
    ) {
        let (number, position) = (self.links.next(to), self.log.position());
        let epoch = self.epoch;
        let written = write(self.id, Letter::Thing { number, epoch, position, thing }, bytes);
        if written.len() > MOST_THING {
            // The server would end the connection.
            self.tell_lost(sender.into_iter().collect());
            return;
        }
        if let Some(send) = self.links.send(to, written.into(), sender, now) {
            self.send(send);
        }
    }

    pub(super) fn send(&mut self, send: Send) {
        let Send { to, number, bytes } = send;
        let (subject, reply) =
            (self.names.node(to), self.names.answer(&format!("r.{to}.{number}")));
        self.publish(subject, Some(reply), bytes.to_vec());
    }

    /// Something is asked of it that is no change.
    pub(super) fn post(&mut self, ask: Ask, now: Instant) {
        match ask {
            Ask::Propose(_) => {}
            Ask::Relay(to, Outgoing { kind, sender, room, text }) => {
                let Sender { from, to: receiver, .. } = sender;
                let kind = kind.name().to_owned();
                let thing = Thing::Relay { kind, from, to: receiver, room };
                self.thing(to, (thing, text.as_bytes()), Some(sender), now);
            }
            Ask::Challenge(peer, holder, answer) => {
                let put = self.open.ask(peer, holder, answer, now);
                self.put(put.number, peer, holder);
            }
            Ask::Lives(node, number) => {
                self.open.end(node, number);
                self.letter(node, Letter::Lives { number });
            }
            Ask::Silent(node, number) => self.open.end(node, number),
            Ask::Rest(Rest { peer, to, frames, more, late, budget }) => {
                let Holder { node, client } = to;
                if node == self.id {
                    // It has come back meanwhile.
                    self.take_rest((peer, client), &frames, (more, late), budget);
                    return;
                }
                let budget = budget.map(|budget| budget.carry(now));
                let thing = Thing::Rest { peer, client, more, late, budget };
                self.thing(node, (thing, &frames), None, now);
            }
            Ask::Await(peer, client, rest) => self.open.wait((peer, client), rest),
        }
    }

    fn put(&mut self, number: u64, peer: PeerId, holder: Holder) {
        self.letter(holder.node, Letter::Challenge { number, peer, holder });
    }

    /// Does what is due at `now`.
    pub(super) fn tick_post(&mut self, now: Instant) {
        for put in self.open.again(now, |peer, holder| self.hub.is_there(peer, holder)) {
            self.put(put.number, put.peer, put.holder);
        }
        self.open.expire(None, now);
        for (node, from) in self.links.wanted(now) {
            self.letter(node, Letter::Again { from });
        }
        let (sends, lost) = self.links.try_again(now);
        for send in sends {
            self.send(send);
        }
        self.tell_lost(lost);
    }

    /// Tells those whose messages did not arrive.
    pub(super) fn tell_lost(&mut self, lost: Vec<Sender>) {
        for sender in lost {
            let message = format!(r#"Target peer "{}" is not connected"#, sender.to);
            self.tell_refusal(&sender, &message, ErrorCode::PeerNotConnected);
        }
    }

    /// Tells those whose messages can't be sent now.
    pub(super) fn tell_unavailable(&mut self, late: Vec<Sender>) {
        for sender in late {
            let Refusal { code, message } = Refusal::UNAVAILABLE;
            self.tell_refusal(&sender, &message, code);
        }
    }

    fn tell_refusal(&self, sender: &Sender, message: &str, code: ErrorCode) {
        let request_id = sender.request_id.as_deref();
        // An error would stop the page of the one on air.
        let said = match self.hub.is_aired(sender.from) {
            true => ServerMessage::Notice { message, code, request_id },
            false => ServerMessage::Error { message, code, request_id },
        };
        self.hub.tell_client(sender.from, sender.client, &said);
    }

    /// Another node says something.
    pub(super) fn hear_letter(&mut self, written: &[u8], now: Instant) {
        let Some((from, letter, bytes)) = read(written) else { return };
        if from == self.id {
            return;
        }
        self.links.lives(from);
        match letter {
            // The last words of a node that was given up.
            Letter::Thing { position, .. }
                if self.joining.is_none()
                    && self.members.get(from).is_none()
                    && position <= self.log.position() => {}
            Letter::Thing { number, epoch, position, thing } => {
                // Of another log, it follows nothing in this one.
                let position = if epoch == self.epoch { position } else { 0 };
                self.links.receive(from, number, position, (thing, bytes.to_vec()));
            }
            Letter::Again { from: number } => {
                let (sends, skip) = self.links.again(from, number);
                if let Some(to) = skip {
                    self.letter(from, Letter::Skip { to });
                }
                for send in sends {
                    self.send(send);
                }
            }
            Letter::Skip { to } => self.links.skip(from, to),
            Letter::Refused { number } => {
                let lost = self.links.refused(from, number);
                self.tell_lost(lost.into_iter().collect());
            }
            Letter::Challenge { number, peer, holder } => {
                self.challenge(from, number, peer, holder);
            }
            Letter::Lives { number } => self.open.lives(number),
            Letter::Wanted { position, epoch } => {
                // As of a log that was lost, they are of no use.
                let has_them =
                    self.joining.is_none() && epoch.is_none_or(|epoch| epoch == self.epoch);
                let is_free = self.giving.as_ref().is_none_or(|giving| giving.is_for(from, now));
                if has_them && is_free && self.log.position() >= position {
                    let position = self.log.position();
                    self.letter(from, Letter::Offered { position });
                }
            }
            Letter::Offered { position } => self.take_offer(from, position, now),
            Letter::Take { part } => self.give_state(from, part, now),
            Letter::Part { position, part, parts } => {
                let Some(joining) = &mut self.joining else { return };
                if joining.taking.is_none_or(|(taken, _)| taken != from) {
                    return;
                }
                joining.taking = Some((from, now));
                if let Some(shared) = joining.parts.take(position, part, parts, bytes) {
                    self.take_state(shared, now);
                } else if let Some(part) = joining.parts.next(position) {
                    self.letter(from, Letter::Take { part });
                }
            }
        }
    }

    /// Another node wants to know whether a client of this one lives.
    fn challenge(&mut self, from: NodeId, number: u64, peer: PeerId, holder: Holder) {
        if holder.node != self.id || !self.open.begin(from, number) {
            return;
        }
        match self.hub.challenge_client(peer, holder) {
            Some(asked) => {
                let handle = self.handle.clone();
                tokio::spawn(answer(handle, from, number, asked.alive, SIGN_OF_LIFE_IN_ROOM));
            }
            // Where too many ask already, it keeps what it has.
            None => {
                self.open.end(from, number);
                if self.hub.outbox_of(peer, holder.client).is_some() {
                    self.letter(from, Letter::Lives { number });
                }
            }
        }
    }

    fn take_offer(&mut self, from: NodeId, position: u64, now: Instant) {
        let Some(joining) = &mut self.joining else { return };
        let is_late_enough = joining.hello.is_some_and(|hello| position >= hello);
        if is_late_enough && joining.taking.is_none() {
            joining.taking = Some((from, now));
            self.letter(from, Letter::Take { part: 0 });
        }
    }

    /// A newcomer gets a part of peers and rooms: one at a time, as many do not fit into a connection.
    fn give_state(&mut self, to: NodeId, part: usize, now: Instant) {
        if self.giving.as_ref().is_some_and(|giving| !giving.is_for(to, now)) {
            return;
        }
        if part == 0 {
            if self.joining.is_some() {
                return;
            }
            let (position, clock) = (self.log.position(), self.latest);
            let registry = self.hub.share(self.moment(clock));
            let (digest, founded, members) = (self.digest, self.founded, self.members.share());
            let (limits, epoch) = (self.hub.limits(), self.epoch);
            let shared =
                Shared { position, clock, digest, founded, epoch, limits, members, registry };
            self.giving = Some(Giving::new(to, &shared, now));
        }
        let Some(giving) = &mut self.giving else { return };
        let Some((letter, bytes, is_last)) = giving.part(part, now) else { return };
        let written = write(self.id, letter, bytes);
        self.publish(self.names.node(to), None, written);
        if is_last {
            self.giving = None;
        }
    }

    /// Delivers what has come and follows what is made.
    pub(super) fn deliver(&mut self, now: Instant) {
        let position = self.log.position();
        while let Some((from, number, (thing, bytes))) = self.links.ready(position) {
            match thing {
                Thing::Relay { to, room, .. } => match self.hub.deliver(to, room, &bytes) {
                    Some(_) => {}
                    None => self.pass_on(from, number, (to, room), &bytes, now),
                },
                Thing::Rest { peer, client, more, late, budget } => {
                    let limit = self.rate_limit;
                    let budget = budget.map(|budget| ClientBudget::go_on(&budget, limit, now));
                    self.take_rest((peer, client), &bytes, (more, late), budget);
                }
            }
        }
    }

    /// The peer for whom a relay came is not here. Where it has moved to another node, the relay follows it.
    fn pass_on(
        &mut self,
        from: NodeId,
        number: u64,
        (to, room): (PeerId, Option<RoomNumber>),
        bytes: &[u8],
        now: Instant,
    ) {
        match self.hub.elsewhere(to, room).filter(|node| *node != from) {
            Some(node) => {
                let thing = Thing::Relay { kind: String::new(), from: to, to, room };
                self.thing(node, (thing, bytes), None, now);
            }
            None => self.letter(from, Letter::Refused { number }),
        }
    }

    /// What waited for a client at another node has come.
    fn take_rest(
        &mut self,
        whose: (PeerId, ClientId),
        frames: &[u8],
        (more, late): (bool, bool),
        budget: Option<ClientBudget>,
    ) {
        let Some(outbox) = self.hub.outbox_of(whose.0, whose.1) else { return };
        if late {
            outbox.push(&Frame::from(frames.to_vec()), None);
            return;
        }
        if !self.open.expects(whose) {
            // It waited too long for that.
            outbox.push(&Frame::from(frames.to_vec()), None);
            return;
        }
        if let Some(all) = self.open.came(whose, frames, more, budget) {
            outbox.put_first(all);
            self.open.finish(whose);
        }
    }
}
