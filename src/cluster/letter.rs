//! What one node says to another one.
//!
//! Owns the form: a line of JSON, and behind it bytes as they are. It deliberately does not know what becomes of it.

use serde::{Deserialize, Serialize};

use crate::signaling::budget::CarriedBudget;
use crate::signaling::outbox::RoomNumber;
use crate::wire::carried::is_default;
use crate::wire::ids::{ClientId, Holder, NodeId, PeerId};

/// What is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Letter {
    /// One of the things that arrive once and in order.
    Thing {
        /// Its number.
        number: u64,
        /// What tells the log from another one.
        #[serde(default)]
        epoch: u32,
        /// The position in the log that it follows.
        position: u64,
        /// It.
        thing: Thing,
    },
    /// All things from that number on are wanted again.
    Again {
        /// The number.
        from: u64,
    },
    /// There is nothing before that number any longer.
    Skip {
        /// The number.
        to: u64,
    },
    /// The thing with that number was for somebody who is not there.
    Refused {
        /// The number.
        number: u64,
    },
    /// Does this client live, which has the id `peer`?
    Challenge {
        /// For the answer.
        number: u64,
        /// Its id.
        peer: PeerId,
        /// It.
        holder: Holder,
    },
    /// It does.
    Lives {
        /// Of the question.
        number: u64,
    },
    /// The peers and rooms are wanted, as of `position` or later.
    Wanted {
        /// The position in the log.
        position: u64,
        /// What tells the log from another one, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u32>,
    },
    /// The node has them, as of `position`.
    Offered {
        /// The position in the log.
        position: u64,
    },
    /// A part of them is wanted of the node that has offered them: the next one comes when this one is there.
    Take {
        /// Which part, from 0.
        part: usize,
    },
    /// A part of them.
    Part {
        /// The position in the log.
        position: u64,
        /// Which part, from 0.
        part: usize,
        /// Of how many.
        parts: usize,
    },
}

/// What arrives once and in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// A message from one peer to another one.
    Relay {
        /// Its type.
        kind: String,
        /// Who sends it.
        from: PeerId,
        /// Who is to get it.
        to: PeerId,
        /// The room in which both are.
        #[serde(default, skip_serializing_if = "is_default")]
        room: Option<RoomNumber>,
    },
    /// What waited for a client that is on the other node now; it comes first.
    Rest {
        /// Its id.
        peer: PeerId,
        /// It.
        client: ClientId,
        /// Whether that was not all.
        more: bool,
        /// Whether it came too late to come first.
        late: bool,
        /// What it may still send.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<CarriedBudget>,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    /// Who says it.
    #[serde(rename = "n")]
    node: NodeId,
    #[serde(rename = "m")]
    letter: Letter,
}

/// A letter of `node` as it is sent, with these bytes behind it.
pub fn write(node: NodeId, letter: Letter, bytes: &[u8]) -> Vec<u8> {
    let mut written =
        serde_json::to_vec(&Head { node, letter }).expect("a letter is written as JSON");
    written.push(b'\n');
    written.extend_from_slice(bytes);
    written
}

/// A letter and what is behind it; `None` where it is none that this program knows.
pub fn read(written: &[u8]) -> Option<(NodeId, Letter, &[u8])> {
    let end = written.iter().position(|byte| *byte == b'\n')?;
    let (head, bytes) = written.split_at(end);
    let Head { node, letter } = serde_json::from_slice(head).ok()?;
    Some((node, letter, &bytes[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_behind_a_letter_as_they_were() {
        let letter = Letter::Again { from: 7 };
        let written = write(NodeId(5), letter, b"a\n\0{");
        let (node, Letter::Again { from: 7 }, bytes) = read(&written).unwrap() else { panic!() };
        assert_eq!((node, bytes), (NodeId(5), &b"a\n\0{"[..]));
        for bad in [&b""[..], b"{}\n", b"{\"n\":\"5\"}\n", b"\n"] {
            assert!(read(bad).is_none());
        }
    }
}
