//! Whose turn it is on the one thread that everybody shares.
//!
//! Owns how much of what is asked for goes on before all others had their turn. It deliberately does not know what is
//! asked for.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// How many connections begin to be read: a crowd that comes at once has read buffers for these, and not for all.
const ARRIVALS: usize = 16;

/// How many requests are begun: at a tenth of a millisecond each, the studio hardly notices a flood of them, and a
/// thousand clients that come back at once are back within a second.
const REQUESTS: usize = 16;

/// How many TLS handshakes begin, and how many go on: a signature takes up to a millisecond.
const HANDSHAKES: usize = 2;

/// How many clients go on that have more to say than fits into a turn: four turns are half a millisecond, beside which
/// a look for what others want costs nothing.
const TALKERS: usize = 4;

/// Keeps those who want much from keeping the others waiting, however many they are.
#[derive(Debug)]
pub struct Fairness {
    arrivals: Semaphore,
    requests: Semaphore,
    handshakes: Semaphore,
    begun: Semaphore,
    talkers: Semaphore,
}

impl Default for Fairness {
    fn default() -> Self {
        Self {
            arrivals: Semaphore::new(ARRIVALS),
            requests: Semaphore::new(REQUESTS),
            handshakes: Semaphore::new(HANDSHAKES),
            begun: Semaphore::new(HANDSHAKES),
            talkers: Semaphore::new(TALKERS),
        }
    }
}

impl Fairness {
    /// Waits until a connection that has begun to speak may be read.
    pub async fn arrive(&self) {
        wait(&self.arrivals).await;
    }

    /// Waits until a request may be answered.
    pub async fn request(&self) {
        wait(&self.requests).await;
    }

    /// Waits until a client that has more to say may go on.
    pub async fn talk(&self) {
        wait(&self.talkers).await;
    }

    /// Whether nobody who has come waits for the server.
    pub fn are_free(&self) -> bool {
        let all = [&self.arrivals, &self.requests, &self.handshakes, &self.begun];
        all.iter().all(|turns| turns.available_permits() > 0)
    }

    /// Goes through a handshake, and waits each time that it could go on: which piece of it costs a signature is the
    /// client's choice.
    pub async fn handshake<T>(&self, handshake: impl Future<Output = T>) -> T {
        let mut handshake = pin!(handshake);
        wait(&self.handshakes).await;
        loop {
            if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await
            {
                return done;
            }
            // What the handshake waits for wakes this task.
            let mut is_woken = false;
            poll_fn(|_| match std::mem::replace(&mut is_woken, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            // Not behind all those who have just come.
            wait(&self.begun).await;
        }
    }
}

/// Waits in a queue until there is a free place, and lets everybody else have a turn first.
async fn wait(turns: &Semaphore) {
    // It is never closed; who waits in vain would be served all the same.
    let turn = turns.acquire().await;
    yield_now().await;
    drop(turn);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// How many of a hundred have gone on after each time that everybody had a turn.
    async fn course<F: Future<Output = ()> + Send + 'static>(
        go: impl Fn(Arc<Fairness>, Arc<AtomicUsize>) -> F,
    ) -> Vec<usize> {
        let (turns, gone) = (Arc::new(Fairness::default()), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..100).map(|_| tokio::spawn(go(Arc::clone(&turns), Arc::clone(&gone))));
        let tasks: Vec<_> = tasks.collect();
        let mut course = vec![0];
        while !tasks.iter().all(|task| task.is_finished()) {
            yield_now().await;
            course.push(gone.load(Ordering::Relaxed));
        }
        course
    }

    fn most_at_once(course: &[usize]) -> usize {
        course.windows(2).map(|two| two[1] - two[0]).max().unwrap()
    }

    #[tokio::test]
    async fn some_go_on_before_everybody_else_has_a_turn() {
        let talk = |turns: Arc<Fairness>, gone: Arc<AtomicUsize>| async move {
            turns.talk().await;
            gone.fetch_add(1, Ordering::Relaxed);
        };
        let course = course(talk).await;
        assert_eq!(most_at_once(&course), TALKERS, "{course:?}");
        assert_eq!(course.last(), Some(&100));
    }

    #[tokio::test]
    async fn each_piece_of_a_handshake_has_a_turn() {
        let handshake = |turns: Arc<Fairness>, gone: Arc<AtomicUsize>| async move {
            let piece = Notify::new();
            let handshake = async {
                for _ in 0..3 {
                    gone.fetch_add(1, Ordering::Relaxed);
                    // The next piece is there at once.
                    piece.notify_one();
                    piece.notified().await;
                    yield_now().await;
                }
            };
            turns.handshake(handshake).await;
        };
        let course = course(handshake).await;
        assert_eq!(most_at_once(&course), 2 * HANDSHAKES, "first and further pieces: {course:?}");
        assert_eq!(course.last(), Some(&300));
    }
}
