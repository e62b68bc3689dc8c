//! What others want a client to hear, until its session sends it.
//!
//! Owns the queue and its bound. It deliberately knows no socket: who pushes never waits.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::config::table::OUTBOX_PLACE;
use crate::signaling::budget::ClientBudget;
use crate::wire::carried::{Bytes, is_default};
use crate::wire::codes::CloseCode;

/// A frame that is ready for the socket. One buffer is shared by all who get the same; it is the one that it was written
/// into.
pub type Frame = Arc<Vec<u8>>;

/// How many may wait to hear whether a client lives: tabs and devices of one person, who has one id.
const MAX_CHALLENGES: usize = 8;

/// How much a client may have said by a connection that is to yield, in bytes: as much as sockets hold, usually.
const LAST_WORDS: usize = 4 * 1024 * 1024;

/// A room, told apart from another one that had the same id before.
pub type RoomNumber = u64;

/// A queue that is bounded by bytes, those of its own books and those that its session took out and still holds
/// included. When a frame does not fit, all of it is dropped and nothing more is taken: the client reads too slowly,
/// and its session ends it with 4102.
#[derive(Debug)]
pub struct Outbox {
    /// Written by whoever sends to this client, taken by its session; held for a push or a take only.
    queue: Mutex<Queue>,
    /// Whether the queue has nothing for the session: it asks several times a message, and then takes no lock.
    is_idle: AtomicBool,
    /// The session that waits for something to take.
    reader: AtomicWaker,
    /// In bytes.
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each with the room that it is about, if it is about one.
    frames: VecDeque<(Frame, Option<RoomNumber>)>,
    /// Of the frames.
    bytes: usize,
    /// What the session holds that the socket has not taken.
    held: usize,
    /// Where the client is. What is about another room is not for it any longer.
    room: Option<RoomNumber>,
    /// Why the session is to end the client, once it is.
    closed: Option<CloseCode>,
    /// Who wants to know whether the client lives; at most [`MAX_CHALLENGES`].
    challenges: Vec<oneshot::Sender<()>>,
    /// The session knows of the challenge.
    asked: bool,
    /// The outbox that follows this one: what is pushed here goes there.
    successor: Option<Arc<Outbox>>,
    /// Who waits for what the session leaves behind.
    heir: Option<oneshot::Sender<ClientBudget>>,
    /// How much has been read since, in bytes.
    last_words: usize,
}

/// What waits for a client, on its way to the process that follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CarriedOutbox {
    #[serde(default, skip_serializing_if = "is_default")]
    frames: Vec<(Bytes, Option<RoomNumber>)>,
    #[serde(default, skip_serializing_if = "is_default")]
    room: Option<RoomNumber>,
    #[serde(default, skip_serializing_if = "is_default")]
    closed: Option<u16>,
}

impl Outbox {
    /// What waits here. Who waits for something of its session waits in vain.
    pub fn carry(&self) -> CarriedOutbox {
        let queue = self.lock();
        let frames = queue.frames.iter().map(|(frame, room)| (Bytes(frame.to_vec()), *room));
        let closed = queue.closed.map(|code| code.0);
        CarriedOutbox { frames: frames.collect(), room: queue.room, closed }
    }

    /// An outbox for at most `limit` bytes, in which that waits.
    pub fn go_on(carried: CarriedOutbox, limit: usize) -> Self {
        let CarriedOutbox { frames, room, closed } = carried;
        let frames: VecDeque<_> =
            frames.into_iter().map(|(frame, room)| (Frame::from(frame.0), room)).collect();
        let bytes = frames.iter().map(|(frame, _)| frame.len()).sum();
        let closed = closed.map(CloseCode);
        let queue = Queue { frames, bytes, room, closed, ..Queue::default() };
        let is_idle = AtomicBool::new(queue.is_idle());
        Self { queue: Mutex::new(queue), is_idle, reader: AtomicWaker::new(), limit }
    }

    /// An outbox for at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let is_idle = AtomicBool::new(true);
        Self { queue: Mutex::default(), is_idle, reader: AtomicWaker::new(), limit }
    }

    /// Adds a frame that is about `room`, or about none, or marks the overflow. Whoever collected the receivers
    /// of a room sends to them later: one that has left it meanwhile does not get the frame.
    /// Returns whether the client is to get it.
    pub fn push(&self, frame: &Frame, room: Option<RoomNumber>) -> bool {
        let mut queue = self.lock();
        if let Some(successor) = queue.successor.clone() {
            drop(queue);
            return successor.push(frame, room);
        }
        if queue.closed.is_some() || (room.is_some() && room != queue.room) {
            return false;
        }
        if queue.held + queue.bytes + queue.frames.len() * OUTBOX_PLACE + frame.len() > self.limit {
            queue.close(CloseCode::TOO_SLOW);
        } else {
            queue.bytes += frame.len();
            queue.frames.push_back((Arc::clone(frame), room));
        }
        let is_taken = queue.closed.is_none();
        drop(queue);
        self.reader.wake();
        is_taken
    }

    /// Adds a frame about the end of `room`, if the client has not been told to be elsewhere since; it is in
    /// none from here on. Returns whether the client is to get it.
    pub fn push_last(&self, frame: &Frame, room: RoomNumber) -> bool {
        let mut queue = self.lock();
        if let Some(successor) = queue.successor.clone() {
            drop(queue);
            return successor.push_last(frame, room);
        }
        drop(queue);
        let is_taken = self.push(frame, Some(room));
        queue = self.lock();
        if queue.room == Some(room) {
            queue.room = None;
        }
        is_taken
    }

    /// The client is in `room` from here on, or in none: what waits about the room before is dropped.
    pub fn enter(&self, room: Option<RoomNumber>) {
        let mut queue = self.lock();
        queue.room = room;
        queue.frames.retain(|(_, about)| about.is_none() || *about == room);
        queue.bytes = queue.frames.iter().map(|(frame, _)| frame.len()).sum();
    }

    /// An outbox with the same bound for whoever follows, which takes what waits here and where the client is.
    pub fn successor(&self) -> Arc<Self> {
        let successor = Arc::new(Self::new(self.limit));
        successor.follow(self);
        successor
    }

    /// Takes what waits in the outbox of a connection that this one follows, with where its client is. What others push
    /// there from now on comes here.
    pub fn follow(self: &Arc<Self>, before: &Self) {
        let mut before = before.lock();
        let (frames, room) = (std::mem::take(&mut before.frames), before.room);
        let bytes = std::mem::take(&mut before.bytes);
        // Both locks: what is pushed meanwhile comes behind what was there.
        let mut queue = self.lock();
        (queue.frames, queue.bytes, queue.room) = (frames, bytes, room);
        before.successor = Some(Arc::clone(self));
    }

    /// Has the session, which lives, end its client in favour of the outbox that follows, once it has handled what had
    /// come. The receiver gets what the client may still send, and an error where the session ends otherwise.
    pub fn ask_to_yield(&self) -> oneshot::Receiver<ClientBudget> {
        let (heir, left) = oneshot::channel();
        self.lock().heir = Some(heir);
        self.reader.wake();
        left
    }

    /// Whether the session is to yield to a connection of its own client.
    pub fn is_to_yield(&self) -> bool {
        !self.is_idle() && self.lock().heir.is_some()
    }

    /// The session, which is to yield, has read so many bytes: whether it may read on.
    pub fn may_read_on(&self, bytes: usize) -> bool {
        let mut queue = self.lock();
        queue.last_words += bytes;
        queue.last_words < LAST_WORDS
    }

    /// The session has ended: what it could not send goes to the outbox that follows, before all else, and what the
    /// client may still send to whoever waits for it.
    pub fn leave_behind(&self, unsent: Vec<u8>, budget: &ClientBudget) {
        let mut queue = self.lock();
        let (successor, heir) = (queue.successor.clone(), queue.heir.take());
        drop(queue);
        match successor {
            Some(successor) => successor.put_first(unsent),
            // Whoever follows takes it from here.
            None => self.put_first(unsent),
        }
        if let Some(heir) = heir {
            // Who waited may have gone.
            let _ = heir.send(*budget);
        }
    }

    /// Puts whole frames before all others. Where they do not fit any longer, it is as with any other frame.
    pub fn put_first(&self, frames: Vec<u8>) {
        let mut queue = self.lock();
        if let Some(successor) = queue.successor.clone() {
            drop(queue);
            return successor.put_first(frames);
        }
        if frames.is_empty() || queue.closed.is_some() {
            return;
        }
        queue.bytes += frames.len();
        queue.frames.push_front((Frame::from(frames), None));
        if queue.bytes + queue.frames.len() * OUTBOX_PLACE > self.limit {
            queue.close(CloseCode::TOO_SLOW);
        }
        drop(queue);
        self.reader.wake();
    }

    /// How much waits, in bytes, in the queue or in the session's hands.
    pub fn bytes(&self) -> usize {
        let queue = self.lock();
        queue.bytes + queue.held
    }

    /// The session holds so many bytes that the socket has not taken.
    pub fn hold(&self, bytes: usize) {
        self.lock().held = bytes;
    }

    /// Whether the client is being ended, so that what it says no longer counts.
    pub fn is_closed(&self) -> bool {
        !self.is_idle() && self.lock().closed.is_some()
    }

    /// Has the session end the client.
    pub fn close(&self, code: CloseCode) {
        self.lock().close(code);
        self.reader.wake();
    }

    /// Has the session find out whether the client lives. The receiver gets an answer when it does, and an
    /// error when its session has ended; `None` where too many ask already.
    pub fn challenge(&self) -> Option<oneshot::Receiver<()>> {
        let mut queue = self.lock();
        queue.challenges.retain(|asks| !asks.is_closed());
        if queue.closed.is_some() || queue.challenges.len() == MAX_CHALLENGES {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        queue.challenges.push(answer);
        queue.asked = false;
        drop(queue);
        self.reader.wake();
        Some(answered)
    }

    /// Whether the session has to find out now whether the client lives; true once for each question.
    pub fn is_challenged(&self) -> bool {
        if self.is_idle() {
            return false;
        }
        let mut queue = self.lock();
        let news = !queue.challenges.is_empty() && !queue.asked;
        queue.asked |= news;
        news
    }

    /// The client lives.
    pub fn answer_challenge(&self) {
        for answer in std::mem::take(&mut self.lock().challenges) {
            // Who asked may have gone.
            let _ = answer.send(());
        }
    }

    /// Moves frames behind `out` until that holds `enough` bytes or nothing is left: how many.
    ///
    /// # Errors
    ///
    /// The close code, when the client is to be ended.
    pub fn take(&self, out: &mut Vec<u8>, enough: usize) -> Result<u64, CloseCode> {
        if self.is_idle() {
            return Ok(0);
        }
        let mut queue = self.lock();
        if let Some(code) = queue.closed {
            return Err(code);
        }
        let mut taken = 0;
        while out.len() < enough {
            let Some((frame, _)) = queue.frames.pop_front() else {
                break;
            };
            queue.bytes -= frame.len();
            out.extend_from_slice(&frame);
            taken += 1;
        }
        if taken > 0 && queue.frames.is_empty() {
            // An idle client owns no queue.
            queue.frames = VecDeque::new();
        }
        Ok(taken)
    }

    /// Whether there is something to do, an end and a question included; else the task is woken when there is. One
    /// task waits, and it stores nothing for that.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, |queue| !queue.frames.is_empty() || queue.is_urgent())
    }

    /// Whether there is something to do that does not wait for room in the socket.
    pub fn poll_urgent(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, Queue::is_urgent)
    }

    fn poll(&self, cx: &mut Context<'_>, done: impl FnOnce(&Queue) -> bool) -> Poll<()> {
        // Before the look, so that what comes between both is not missed.
        self.reader.register(cx.waker());
        if !self.is_idle() && done(&self.lock()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether there was nothing for the session when the queue was last unlocked. Whoever puts something there wakes the
    /// session behind that.
    fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Acquire)
    }

    /// Each change to the queue is whole before anything could panic.
    fn lock(&self) -> Locked<'_> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { queue, is_idle: &self.is_idle }
    }
}

/// The queue while nobody else has it.
struct Locked<'o> {
    queue: MutexGuard<'o, Queue>,
    is_idle: &'o AtomicBool,
}

impl Deref for Locked<'_> {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.is_idle.store(self.queue.is_idle(), Ordering::Release);
    }
}

impl Queue {
    fn close(&mut self, code: CloseCode) {
        if self.closed.is_none() {
            let (successor, heir) = (self.successor.take(), self.heir.take());
            *self = Self { closed: Some(code), successor, heir, ..Self::default() };
        }
    }

    fn is_idle(&self) -> bool {
        self.frames.is_empty() && !self.is_urgent()
    }

    fn is_urgent(&self) -> bool {
        let is_asked = !self.challenges.is_empty() && !self.asked;
        self.closed.is_some() || self.heir.is_some() || is_asked
    }
}
