//! What is written to the log.
//!
//! Owns the form of an entry. It deliberately does not know what becomes of one.

use serde::{Deserialize, Serialize};

use crate::signaling::command::Command;
use crate::signaling::entry::RoomLimits;
use crate::wire::ids::NodeId;

/// The version of entries that this program writes and reads.
pub const VERSION: u32 = 1;

/// What every version of an entry begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// The version that it is written in.
    #[serde(rename = "v")]
    pub version: u32,
    /// Who wrote it.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// How many that node has written with it.
    #[serde(rename = "c")]
    pub counter: u64,
    /// When it did, in ms since 1970 by its own clock.
    #[serde(rename = "t")]
    pub time: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The machine's name.
    pub host: String,
    /// The program's version.
    pub program: String,
    /// The version of entries that it reads.
    pub reads: u32,
    /// What tells its secret from another one.
    pub secret: String,
    /// What tells its manifest from another one.
    pub manifest: String,
    /// What rooms may be, by its settings.
    pub limits: RoomLimits,
}

/// What an entry says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The node wants to be a member; its first entry.
    Hello(About),
    /// There was no member: the cluster begins with this node. It holds where nobody has founded it since the position
    /// `seen`.
    Found {
        /// As far as the node has read.
        seen: u64,
        /// Where it goes on with peers and rooms of a log that was lost, or has gone back: up to which position it had
        /// that, and what tells the entry there. It is void where the log has that entry still.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<(u64, u64)>,
    },
    /// The node lives.
    Lease {
        /// As far as it has made the changes.
        position: u64,
        /// What tells its peers and rooms then from others.
        digest: u64,
    },
    /// A node does not live; void where it has written something behind its entry `heard`.
    Gone {
        /// Which.
        node: NodeId,
        /// Its last entry, as its counter.
        heard: u64,
    },
    /// The node stops; its last entry.
    Away {
        /// How many members are left.
        left: usize,
    },
    /// A change to peers and rooms.
    Do(Command),
}

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    n: NodeId,
    c: u64,
    t: u64,
    e: &'a What,
}

#[derive(Deserialize)]
struct Body {
    e: What,
}

/// An entry as it is written.
pub fn write(head: Head, what: &What) -> Vec<u8> {
    let Head { version, node, counter, time } = head;
    let written = Written { v: version, n: node, c: counter, t: time, e: what };
    serde_json::to_vec(&written).expect("an entry is written as JSON")
}

/// The head of an entry; `None` where it is none.
pub fn head(bytes: &[u8]) -> Option<Head> {
    serde_json::from_slice(bytes).ok()
}

/// What an entry says; `None` where this program does not know it.
pub fn what(bytes: &[u8]) -> Option<What> {
    serde_json::from_slice(bytes).ok().map(|body: Body| body.e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::command::{Action, Newcomer};
    use crate::signaling::entry::Entry;
    use crate::signaling::registry::parting::Parting;
    use crate::wire::ids::{ClientId, Holder, Identity, PeerId, RoomId};
    use crate::wire::role::{Authority, Role};

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let peer = PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap();
        let node = NodeId(7);
        let holder = Holder { node, client: ClientId(3) };
        let identity = Identity::random();
        let ip = [192, 0, 2, 1].into();
        let newcomer = Newcomer { client: ClientId(1), identity, ip, is_check: false };
        let room = RoomId::from("Morgen \"Magazin\"");
        let act = |action| Command::Act { peer, identity, action };
        let enter = |entry| {
            act(Action::CreateOrJoinRoom { room: room.clone(), token: Some(identity), entry })
        };
        let commands = [
            Command::Register { peer, newcomer },
            Command::TakeOver { peer, holder, newcomer },
            Command::Part { peer, client: ClientId(1), parting: Parting::Broken, budget: None },
            Command::Silence { peer, holder },
            Command::EndSeat { peer, identity },
            act(Action::CreateRoom { room: room.clone() }),
            act(Action::JoinRoom { room: room.clone() }),
            enter(None),
            enter(Some(Entry::Asked(Ok(Role::Host)))),
            enter(Some(Entry::Asked(Err("boss".into())))),
            enter(Some(Entry::Invited { role: Role::Ops, end: 5 })),
            act(Action::Reclaim),
            act(Action::LeaveRoom),
            act(Action::Mute { target: peer, muted: true, authority: Authority::Own }),
            act(Action::Recording { recording: true }),
            act(Action::GoOnAir),
            Command::GoOffAir,
            Command::Expire { on_air: Some(room) },
            Command::Limit(RoomLimits::default()),
            Command::Gone(node),
        ];
        let mut all: Vec<_> = commands.into_iter().map(What::Do).collect();
        all.extend([
            What::Hello(About::default()),
            What::Found { seen: 1, over: None },
            What::Found { seen: 1, over: Some((7, u64::MAX)) },
            What::Lease { position: 2, digest: u64::MAX },
            What::Gone { node, heard: 3 },
            What::Away { left: 2 },
        ]);
        for (counter, said) in (1..).zip(&all) {
            let written = Head { version: VERSION, node, counter, time: 1_760_804_444_392 };
            let bytes = write(written, said);
            assert_eq!(head(&bytes), Some(written));
            assert_eq!(format!("{:?}", what(&bytes).unwrap()), format!("{said:?}"));
        }
    }

    #[test]
    fn what_is_not_known_is_told_from_what_is_no_entry() {
        let later = br#"{"v":2,"n":"0000000000000007","c":1,"t":5,"e":{"vote":{}},"x":1}"#;
        assert_eq!(head(later).unwrap().version, 2);
        assert!(what(later).is_none());
        let earlier = br#"{"v":1,"n":"0000000000000007","c":1,"t":5,"e":{"found":{"seen":3}}}"#;
        assert!(matches!(what(earlier), Some(What::Found { seen: 3, over: None })));
        for bad in [&b""[..], b"{}", b"x", br#"{"v":1,"n":"7","c":1,"t":5}"#] {
            assert_eq!(head(bad), None);
        }
    }
}
