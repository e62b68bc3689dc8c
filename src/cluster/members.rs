//! Who is a node of the cluster, and who is so no longer.
//!
//! Owns when a node that nobody hears of is given up. It is pure: the time is an argument. It deliberately does not know
//! what becomes of its clients.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::entry::About;
use crate::wire::ids::NodeId;

/// How often a node says that it lives.
pub const LEASE: Duration = Duration::from_secs(3);

/// How long a node may be silent before it is given up, and how long a node may be out of touch before it says so.
pub const SILENCE: Duration = Duration::from_secs(10);

/// How long the log may stand still before a node does not know whether others could write to it.
pub const UNSURE: Duration = Duration::from_secs(5);

/// A node.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it says of itself.
    pub about: About,
    /// Its last entry, as its counter.
    pub counter: u64,
    /// When that was made here.
    heard: Instant,
}

/// A node on its way to another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SharedMember {
    node: NodeId,
    about: About,
    counter: u64,
}

impl SharedMember {
    /// Whether it is that node.
    pub fn is(&self, node: NodeId) -> bool {
        self.node == node
    }
}

/// All nodes, in the order of their ids.
#[derive(Debug, Default)]
pub struct Members {
    all: BTreeMap<NodeId, Member>,
}

impl Members {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// A node.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.all.get(&node)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.all.iter().map(|(node, member)| (*node, member))
    }

    /// As other nodes get them.
    pub fn share(&self) -> Vec<SharedMember> {
        let shared = self.all.iter().map(|(node, Member { about, counter, .. })| SharedMember {
            node: *node,
            about: about.clone(),
            counter: *counter,
        });
        shared.collect()
    }

    /// As another node has them; each has its time from `now`.
    pub fn adopt(shared: Vec<SharedMember>, now: Instant) -> Self {
        let all = shared.into_iter().map(|SharedMember { node, about, counter }| {
            (node, Member { about, counter, heard: now })
        });
        Self { all: all.collect() }
    }

    /// A node is a member from here on, unless it was; it has written so many entries before.
    pub fn enter(&mut self, node: NodeId, about: About, before: u64, now: Instant) {
        self.all.entry(node).or_insert(Member { about, counter: before, heard: now });
    }

    /// A node is a member no longer.
    pub fn leave(&mut self, node: NodeId) -> Option<Member> {
        self.all.remove(&node)
    }

    /// The entry `counter` of a node is made at `now`, if it is that node's next one.
    pub fn count_entry(&mut self, node: NodeId, counter: u64, now: Instant) -> bool {
        let Some(member) = self.all.get_mut(&node) else { return false };
        let is_next = counter == member.counter + 1;
        if is_next {
            (member.counter, member.heard) = (counter, now);
        }
        is_next
    }

    /// The nodes of which nothing was heard for too long, with their last entry; nobody, unless this node itself was in
    /// touch all the time, from the first to the second of `touched`.
    pub fn silent(
        &self,
        own: NodeId,
        (since, touched): (Instant, Instant),
        now: Instant,
    ) -> Vec<(NodeId, u64)> {
        if now < since + SILENCE || now >= touched + UNSURE {
            return Vec::new();
        }
        let silent =
            self.all.iter().filter(|(node, member)| **node != own && now >= member.heard + SILENCE);
        silent.map(|(node, member)| (*node, member.counter)).collect()
    }

    /// A node has its time from `now`.
    pub fn excuse_one(&mut self, node: NodeId, now: Instant) {
        if let Some(member) = self.all.get_mut(&node) {
            member.heard = now;
        }
    }

    /// Everybody has its time from `now`: this node did not hear anybody.
    pub fn excuse(&mut self, now: Instant) {
        for member in self.all.values_mut() {
            member.heard = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_entry_counts_once_and_in_order() {
        let (mut members, now) = (Members::default(), Instant::now());
        let node = NodeId(1);
        assert!(!members.count_entry(node, 1, now), "it is no member");
        members.enter(node, About::default(), 0, now);
        for (counter, counts) in [(1, true), (1, false), (3, false), (2, true), (3, true)] {
            assert_eq!(members.count_entry(node, counter, now), counts, "{counter}");
        }
        members.enter(node, About::default(), 7, now);
        assert_eq!(members.get(node).unwrap().counter, 3, "it was one");
        assert_eq!(Members::adopt(members.share(), now).get(node).unwrap().counter, 3);
        assert!(members.leave(node).is_some() && members.count() == 0);
    }

    #[test]
    fn who_is_silent_for_too_long_is_given_up_by_who_was_in_touch() {
        let (mut members, start) = (Members::default(), Instant::now());
        let [own, other, late] = [1, 2, 3].map(NodeId);
        for node in [own, other] {
            members.enter(node, About::default(), 0, start);
        }
        members.enter(late, About::default(), 0, start + SILENCE / 2);
        let end = start + SILENCE;
        let silent = |members: &Members, since, now| members.silent(own, (since, now), now);
        assert_eq!(silent(&members, start, end - MS), []);
        assert_eq!(members.silent(own, (start, end - UNSURE), end), [], "it is out of touch");
        assert_eq!(silent(&members, start + MS, end), [], "it was, a moment ago");
        assert_eq!(silent(&members, start, end), [(other, 0)]);
        members.count_entry(other, 1, end);
        assert_eq!(silent(&members, start, end), []);
        assert_eq!(silent(&members, start, end + SILENCE / 2), [(late, 0)]);
        members.excuse(end + SILENCE / 2);
        assert_eq!(silent(&members, start, end + SILENCE), []);
    }
}
