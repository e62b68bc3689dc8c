//! What others want a client to hear, until its session sends it.
//!
//! Owns the queue and its bound. It deliberately knows no socket: who pushes never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// A frame that is ready for the socket. One buffer is shared by all who get the same.
pub type Frame = Arc<[u8]>;

/// A queue that is bounded by bytes. When a frame does not fit, all of it is dropped and nothing more is
/// taken: the client reads too slowly, and its session ends it.
#[derive(Debug)]
pub struct Outbox {
    /// Written by whoever sends to this client, taken by its session; held for a push or a take only.
    queue: Mutex<Queue>,
    /// The session that waits for something to take.
    reader: AtomicWaker,
    /// In bytes.
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    overflowed: bool,
}

/// More was waiting than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl Outbox {
    /// An outbox for at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), reader: AtomicWaker::new(), limit }
    }

    /// Adds a frame, or marks the overflow.
    pub fn push(&self, frame: &Frame) {
        let mut queue = self.lock();
        if queue.overflowed {
            return;
        }
        if queue.bytes + frame.len() > self.limit {
            *queue = Queue { overflowed: true, ..Queue::default() };
        } else {
            queue.bytes += frame.len();
            queue.frames.push_back(Arc::clone(frame));
        }
        drop(queue);
        self.reader.wake();
    }

    /// Moves frames behind `out` until that holds `enough` bytes or nothing is left: how many.
    ///
    /// # Errors
    ///
    /// When there was an overflow.
    pub fn take(&self, out: &mut Vec<u8>, enough: usize) -> Result<u64, Overflow> {
        let mut queue = self.lock();
        if queue.overflowed {
            return Err(Overflow);
        }
        let mut taken = 0;
        while out.len() < enough {
            let Some(frame) = queue.frames.pop_front() else {
                // An idle client owns no queue.
                queue.frames = VecDeque::new();
                break;
            };
            queue.bytes -= frame.len();
            out.extend_from_slice(&frame);
            taken += 1;
        }
        Ok(taken)
    }

    /// Whether there is something to take, an overflow included; else the task is woken when there is. One
    /// task waits, and it stores nothing for that.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, |queue| !queue.frames.is_empty() || queue.overflowed)
    }

    /// Whether there was an overflow; else the task is woken when there is news.
    pub fn poll_overflowed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, |queue| queue.overflowed)
    }

    fn poll(&self, cx: &mut Context<'_>, done: impl FnOnce(&Queue) -> bool) -> Poll<()> {
        // Before the look, so that what comes between both is not missed.
        self.reader.register(cx.waker());
        if done(&self.lock()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Each change to the queue is whole before anything could panic.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn bytes_are_bounded_on_both_sides() {
        let outbox = Outbox::new(10);
        outbox.push(&Frame::from([1; 6]));
        outbox.push(&Frame::from([2; 4]));
        let mut out = Vec::new();
        assert_eq!(outbox.take(&mut out, 1), Ok(1));
        assert_eq!(out, [1; 6], "a frame is never cut");
        outbox.push(&Frame::from([3; 6]));
        assert_eq!(outbox.take(&mut out, usize::MAX), Ok(2));
        assert_eq!(out.len(), 16, "what was taken does not count any longer");
        outbox.push(&Frame::from([4; 11]));
        assert_eq!(outbox.take(&mut out, usize::MAX), Err(Overflow));
        outbox.push(&Frame::from([5; 1]));
        assert_eq!(outbox.take(&mut out, usize::MAX), Err(Overflow), "and that is final");
    }

    #[tokio::test]
    async fn a_push_wakes_who_waits_and_one_before_is_not_missed() {
        let outbox = Arc::new(Outbox::new(10));
        let waiting = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { poll_fn(|cx| outbox.poll_ready(cx)).await }
        });
        tokio::task::yield_now().await;
        outbox.push(&Frame::from([1; 2]));
        waiting.await.unwrap();
        poll_fn(|cx| outbox.poll_ready(cx)).await;
        assert!(poll_fn(|cx| Poll::Ready(outbox.poll_overflowed(cx))).await.is_pending());
        outbox.push(&Frame::from([1; 9]));
        poll_fn(|cx| outbox.poll_overflowed(cx)).await;
    }
}
