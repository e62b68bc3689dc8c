//! Questions of this node to another one, and what is to come from one, until there is an answer.
//!
//! Owns how long that may take. It is pure: the time is an argument, and it deliberately knows no connection.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::signaling::budget::ClientBudget;
use crate::wire::ids::{ClientId, Holder, NodeId, PeerId};

/// How often a node is asked whether a client lives, while somebody waits for the answer.
const PAUSE: Duration = Duration::from_millis(500);

/// How long what waited for a client may take to come from the node where it was: less than a host waits to be back.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many questions another node may have.
const MOST: usize = 4096;

/// Whether a client of another node lives.
#[derive(Debug)]
struct Question {
    peer: PeerId,
    holder: Holder,
    answer: oneshot::Sender<()>,
    asked: Instant,
}

/// What is to come for a client.
#[derive(Debug)]
struct Awaited {
    from: NodeId,
    /// What has come, while there is more.
    frames: Vec<u8>,
    /// What the client may send still, once all has come; nothing where nobody knows.
    came: Option<Option<ClientBudget>>,
    /// Who waits for that.
    rest: Option<oneshot::Sender<ClientBudget>>,
    until: Instant,
}

/// All that is open.
#[derive(Debug, Default)]
pub struct Open {
    number: u64,
    questions: HashMap<u64, Question>,
    /// What other nodes have asked.
    answering: HashSet<(NodeId, u64)>,
    awaited: HashMap<(PeerId, ClientId), Awaited>,
}

/// A question to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Its number.
    pub number: u64,
    /// The id of the client.
    pub peer: PeerId,
    /// The client.
    pub holder: Holder,
}

impl Open {
    /// A question for another node.
    pub fn ask(
        &mut self,
        peer: PeerId,
        holder: Holder,
        answer: oneshot::Sender<()>,
        now: Instant,
    ) -> Put {
        self.number += 1;
        self.questions.insert(self.number, Question { peer, holder, answer, asked: now });
        Put { number: self.number, peer, holder }
    }

    /// The client lives.
    pub fn lives(&mut self, number: u64) {
        if let Some(question) = self.questions.remove(&number) {
            // Who asked may have gone.
            let _ = question.answer.send(());
        }
    }

    /// The questions that are to be put again at `now`. Those that nobody waits for any longer are dropped, and those about
    /// a client that is not there any longer: it does not live.
    pub fn again(&mut self, now: Instant, is_there: impl Fn(PeerId, Holder) -> bool) -> Vec<Put> {
        self.questions.retain(|_, question| {
            !question.answer.is_closed() && is_there(question.peer, question.holder)
        });
        let due = self.questions.iter_mut().filter(|(_, question)| now >= question.asked + PAUSE);
        let put = due.map(|(number, question)| {
            question.asked = now;
            Put { number: *number, peer: question.peer, holder: question.holder }
        });
        put.collect()
    }

    /// Another node asks. False where it is being answered.
    pub fn begin(&mut self, node: NodeId, number: u64) -> bool {
        self.answering.len() < MOST && self.answering.insert((node, number))
    }

    /// It has its answer, or none.
    pub fn end(&mut self, node: NodeId, number: u64) {
        self.answering.remove(&(node, number));
    }

    /// Something is to come for a client from another node.
    pub fn expect(&mut self, whose: (PeerId, ClientId), from: NodeId, now: Instant) {
        let (frames, until) = (Vec::new(), now + PATIENCE);
        self.awaited.insert(whose, Awaited { from, frames, came: None, rest: None, until });
    }

    /// Whether something is to come for a client still.
    pub fn expects(&self, whose: (PeerId, ClientId)) -> bool {
        self.awaited.contains_key(&whose)
    }

    /// Its session waits for that.
    pub fn wait(&mut self, whose: (PeerId, ClientId), rest: oneshot::Sender<ClientBudget>) {
        // Without an entry, it has come too late.
        let Some(awaited) = self.awaited.get_mut(&whose) else { return };
        awaited.rest = Some(rest);
        self.finish(whose);
    }

    /// Some of it has come; all of it where there is no `more`. Returns all frames then, which come before all others.
    pub fn came(
        &mut self,
        whose: (PeerId, ClientId),
        frames: &[u8],
        more: bool,
        budget: Option<ClientBudget>,
    ) -> Option<Vec<u8>> {
        let awaited = self.awaited.get_mut(&whose)?;
        awaited.frames.extend_from_slice(frames);
        if more {
            return None;
        }
        awaited.came = Some(budget);
        Some(std::mem::take(&mut awaited.frames))
    }

    /// The session goes on if all has come, and is in the client's hands.
    pub fn finish(&mut self, whose: (PeerId, ClientId)) {
        let is_done = |awaited: &Awaited| awaited.came.is_some() && awaited.rest.is_some();
        if !self.awaited.get(&whose).is_some_and(is_done) {
            return;
        }
        let Some(Awaited { came, rest, .. }) = self.awaited.remove(&whose) else { return };
        if let (Some(Some(budget)), Some(rest)) = (came, rest) {
            // It may have gone.
            let _ = rest.send(budget);
        }
    }

    /// Nobody waits any longer for what did not come by `now`, or comes from a node that has gone.
    pub fn expire(&mut self, gone: Option<NodeId>, now: Instant) {
        self.awaited.retain(|_, awaited| {
            now < awaited.until && (Some(awaited.from) != gone || awaited.came.is_some())
        });
    }

    /// Whether anything is open.
    pub fn is_busy(&self) -> bool {
        !(self.questions.is_empty() && self.awaited.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn peer() -> PeerId {
        PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap()
    }

    #[test]
    fn a_question_is_put_again_until_somebody_answers_or_nobody_waits() {
        let (mut open, start) = (Open::default(), Instant::now());
        let holder = Holder { node: NodeId(1), client: ClientId(2) };
        let (answer, mut answered) = oneshot::channel();
        let put = open.ask(peer(), holder, answer, start);
        assert_eq!(open.again(start, |_, _| true), []);
        assert_eq!(open.again(start + PAUSE, |_, _| true), [put]);
        open.lives(put.number);
        assert_eq!(answered.try_recv(), Ok(()));
        let (answer, answered) = oneshot::channel();
        open.ask(peer(), holder, answer, start);
        drop(answered);
        assert_eq!(open.again(start + PAUSE, |_, _| true), []);
        assert!(!open.is_busy());
        // The client has gone meanwhile.
        let (answer, mut answered) = oneshot::channel();
        open.ask(peer(), holder, answer, start);
        assert_eq!(open.again(start, |id, client| (id, client) != (peer(), holder)), []);
        assert!(answered.try_recv().is_err_and(|error| error == TryRecvError::Closed));
        assert!(open.begin(NodeId(1), 7) && !open.begin(NodeId(1), 7));
        open.end(NodeId(1), 7);
        assert!(open.begin(NodeId(1), 7));
    }

    #[test]
    fn what_comes_in_parts_is_one_and_what_does_not_come_is_not_waited_for() {
        let (mut open, start) = (Open::default(), Instant::now());
        let whose = (peer(), ClientId(1));
        let budget = ClientBudget::new(Some(7), start);
        // The session waits before or behind that.
        for early in [true, false] {
            let (rest, mut came) = oneshot::channel();
            let mut rest = Some(rest);
            open.expect(whose, NodeId(1), start);
            if early {
                open.wait(whose, rest.take().unwrap());
            }
            assert!(open.came((peer(), ClientId(2)), b"x", false, None).is_none(), "another's");
            assert!(open.came(whose, b"a", true, None).is_none());
            assert_eq!(open.came(whose, b"b", false, Some(budget)).unwrap(), b"ab");
            open.finish(whose);
            if let Some(rest) = rest {
                open.wait(whose, rest);
            }
            assert!(came.try_recv().is_ok() && !open.is_busy());
        }
        let (rest, mut came) = oneshot::channel();
        open.expect(whose, NodeId(1), start);
        open.wait(whose, rest);
        open.expire(None, start);
        assert!(open.is_busy());
        open.expire(Some(NodeId(1)), start);
        assert!(!open.is_busy() && came.try_recv().is_err());
        open.expect(whose, NodeId(1), start);
        open.expire(None, start + PATIENCE);
        assert!(!open.is_busy());
    }
}
