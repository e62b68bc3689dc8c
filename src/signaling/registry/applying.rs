//! How a change is made to peers and rooms.
//!
//! Owns which rule a change goes by. All that the outcome depends on is in the change, in the time and in what was there
//! before, so that nodes which make the same changes in the same order agree. It deliberately does not know in which
//! order changes are made.

use tokio::time::Instant;

use crate::signaling::broadcast::News;
use crate::signaling::command::{
    Action, AiredBy, BusyElsewhere, Command, Newcomer, Outcome, Proposer,
};
use crate::signaling::place::Place;
use crate::signaling::registry::parting::{Aftermath, Parting};
use crate::signaling::registry::{Aired, Arrival, Registry};
use crate::wire::ids::{Holder, Identity, NodeId, PeerId, RoomId};
use crate::wire::reply::ServerMessage;

impl Registry {
    /// Makes a change that `proposer` wants, at `now`: what it came to, and what is left to be done.
    pub(in crate::signaling) fn apply(
        &mut self,
        command: Command,
        proposer: Proposer,
        now: Instant,
    ) -> (Outcome, Aftermath) {
        let node = proposer.node;
        let mut after = Aftermath::default();
        let outcome = match command {
            Command::Register { peer, newcomer } => {
                let arrival = self.arrival(newcomer, proposer);
                let registered;
                (registered, after) = self.register(peer, arrival, now);
                Outcome::Registered(registered)
            }
            Command::TakeOver { peer, holder, newcomer } => {
                let arrival = self.arrival(newcomer, proposer);
                let taken;
                (taken, after) = self.take_over(peer, holder, arrival, now);
                Outcome::TakenOver(taken)
            }
            Command::Part { peer, client, parting, budget } => {
                after = self.part(peer, Holder { node, client }, parting, budget, now);
                if parting == Parting::Stopping {
                    // Everybody goes: no call has to end for it.
                    after.left.iter_mut().for_each(|left| left.others.receivers.clear());
                }
                Outcome::Done
            }
            Command::Silence { peer, holder } => {
                after = self.silence(peer, holder, now);
                Outcome::Done
            }
            Command::EndSeat { peer, identity } => {
                after = self.end_seat(peer, identity, now);
                Outcome::Done
            }
            Command::Act { peer, identity, action } => {
                let found = self.peers.get(&peer);
                if found.is_none_or(|found| found.arrival.identity != identity) {
                    // Who leaves a room leaves the seat, too, that is kept since it has gone.
                    if matches!(action, Action::LeaveRoom) {
                        after = self.end_seat(peer, identity, now);
                    }
                    return (Outcome::NotRegistered, after);
                }
                let outcome;
                (outcome, after) = self.act((peer, identity), node, action, now);
                outcome
            }
            Command::GoOffAir => {
                self.go_off_air(node);
                Outcome::Done
            }
            Command::Expire { on_air } => {
                after = self.expire(now, on_air.as_ref());
                Outcome::Done
            }
            Command::Limit(limits) => {
                self.limit(limits);
                Outcome::Done
            }
            Command::Gone(gone) => {
                after = self.lose_node(gone, now);
                Outcome::Done
            }
        };
        (outcome, after)
    }

    /// What a client does among others, by way of `node`.
    fn act(
        &mut self,
        (peer, identity): (PeerId, Identity),
        node: NodeId,
        action: Action,
        now: Instant,
    ) -> (Outcome, Aftermath) {
        let mut after = Aftermath::default();
        let outcome = match action {
            Action::CreateRoom { room } => Outcome::Created(self.create_room(peer, room, now)),
            Action::JoinRoom { room } => Outcome::Joined(self.join_room(peer, &room, now)),
            Action::CreateOrJoinRoom { room, token, entry } => {
                let entered = self.create_or_join_room(peer, &room, token, entry, now);
                Outcome::Entered(entered.map(|(entered, left)| {
                    after = left;
                    entered
                }))
            }
            Action::Reclaim => {
                let reclaimed = self.reclaim(peer, now);
                Outcome::Reclaimed(reclaimed.map(|(entered, left)| {
                    after = left;
                    entered
                }))
            }
            Action::LeaveRoom => Outcome::Left(self.leave_room(peer, &mut after, now)),
            Action::Mute { target, muted, authority } => {
                let muting = self.mute(peer, target, muted, authority);
                Outcome::Muted(muting.map(|changed| {
                    let mute =
                        ServerMessage::Mute { peer_id: target, muted, authority, from: peer };
                    after.news.extend(changed.map(|everyone| News::new(everyone, &mute)));
                }))
            }
            Action::Recording { recording } => {
                let everyone = self.everyone(peer);
                Outcome::Told(everyone.map(|everyone| {
                    let message = ServerMessage::RecordingState { recording, from: peer };
                    after.news.push(News::new(everyone, &message));
                }))
            }
            Action::GoOnAir => Outcome::OnAir(self.go_on_air(peer, identity, node)),
        };
        (outcome, after)
    }

    fn arrival(&self, newcomer: Newcomer, proposer: Proposer) -> Arrival {
        let Newcomer { client, identity, ip, is_check } = newcomer;
        let Proposer { node, outbox } = proposer;
        let place = match outbox.filter(|_| node == self.node) {
            Some(outbox) => Place::Here(outbox),
            None => Place::Elsewhere(node),
        };
        Arrival { client, identity, ip, is_check, place }
    }

    /// A node goes on air with `peer`, or goes on with another one. Where another node holds the programme of somebody who
    /// has gone, this one goes on with it, and the other one ends it. Returns whether the node was not on air before. Who
    /// lives keeps the air; on its own node, the programme itself refuses the other one.
    ///
    /// # Errors
    ///
    /// Who is, by way of another node.
    fn go_on_air(
        &mut self,
        peer: PeerId,
        identity: Identity,
        node: NodeId,
    ) -> Result<bool, BusyElsewhere> {
        // It may have left meanwhile, and hears that.
        let Some(room) = self.room_of(peer) else { return Ok(false) };
        let own = self.air.as_ref().filter(|air| (air.peer, air.identity) == (peer, identity));
        if let (Some(air), None) = (&self.air, own) {
            let found = self.peers.get(&air.peer).map(|found| &found.arrival);
            let owner = found.filter(|found| found.identity == air.identity);
            let rival =
                owner.map(|owner| self.holder(owner)).filter(|owner| owner.node == air.node);
            // As on one node: an id proves nothing.
            let gains = air.identity == identity || air.room == room;
            if rival.is_some() || !gains {
                let busy = BusyElsewhere { peer: air.peer, rival: rival.filter(|_| gains) };
                return if air.node == node { Ok(false) } else { Err(busy) };
            }
        }
        let is_new = self.air.as_ref().is_none_or(|air| air.node != node);
        self.air = Some(Aired { node, peer, identity, room });
        Ok(is_new)
    }

    fn go_off_air(&mut self, node: NodeId) {
        self.air.take_if(|air| air.node == node);
    }

    /// Whether `peer` is on air by way of this node.
    pub(in crate::signaling) fn is_aired(&self, peer: PeerId) -> bool {
        self.air.as_ref().is_some_and(|air| (air.node, air.peer) == (self.node, peer))
    }

    /// Who is on air.
    pub(in crate::signaling) fn aired_by(&self) -> AiredBy {
        match &self.air {
            None => AiredBy::Nobody,
            Some(air) if air.node == self.node => AiredBy::Here(air.peer),
            Some(_) => AiredBy::Elsewhere,
        }
    }

    /// The room that is on air by way of another node.
    pub(in crate::signaling) fn aired_elsewhere(&self) -> Option<RoomId> {
        let air = self.air.as_ref().filter(|air| air.node != self.node)?;
        Some(air.room.clone())
    }

    /// All clients of a node have gone, and the seats that it kept have ended: nobody has heard of it for long enough.
    fn lose_node(&mut self, gone: NodeId, now: Instant) -> Aftermath {
        self.go_off_air(gone);
        let mut after = Aftermath::default();
        let is_there = |place: &Place| place.elsewhere() == Some(gone);
        let kept = self.kept.iter().filter(|(_, kept)| is_there(&kept.arrival.place));
        let mut seats: Vec<_> = kept.map(|(peer, kept)| (*peer, kept.arrival.identity)).collect();
        // Everywhere in the same order.
        seats.sort_unstable_by_key(|(peer, _)| *peer);
        for (peer, identity) in seats {
            after.append(self.end_seat(peer, identity, now));
        }
        let peers = self.peers.iter().filter(|(_, found)| is_there(&found.arrival.place));
        let mut peers: Vec<_> = peers.map(|(peer, found)| (*peer, found.arrival.client)).collect();
        peers.sort_unstable();
        for (peer, client) in peers {
            let holder = Holder { node: gone, client };
            after.append(self.part(peer, holder, Parting::Gone, None, now));
        }
        after
    }
}
