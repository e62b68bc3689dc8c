//! What wakes a session beside its client and the others: the end of all sessions, and its heartbeat.
//!
//! Owns that both cost a message nothing while nothing happens: they are polled once, learn there whom to wake, and are
//! only looked at from then on. It deliberately does not know what a session does when it is woken.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::sync::futures::Notified;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

/// Both alarms of a session.
#[derive(Debug)]
pub struct Alarms<'a, 's> {
    ending: Pin<&'a mut Notified<'s>>,
    heartbeat: Pin<&'a mut Sleep>,
    /// Whom both wake, once they know it.
    wakes: Option<Waker>,
}

impl<'a, 's> Alarms<'a, 's> {
    /// `ending` is [`crate::server::shutdown::Shutdown::ending`], and `heartbeat` the time of the first one.
    pub fn new(ending: Pin<&'a mut Notified<'s>>, heartbeat: Pin<&'a mut Sleep>) -> Self {
        Self { ending, heartbeat, wakes: None }
    }

    /// From here on both wake the task of this context.
    pub fn wake(&mut self, cx: &Context<'_>) {
        if self.wakes.as_ref().is_some_and(|wakes| wakes.will_wake(cx.waker())) {
            return;
        }
        self.wakes = Some(cx.waker().clone());
        let mut cx = Context::from_waker(cx.waker());
        // What they say is seen by who looks. A task that has used up its turn (tokio's coop) must not keep them from
        // learning whom to wake.
        let _ = self.ending.as_mut().poll(&mut cx);
        let _ = Pin::new(&mut unconstrained(self.heartbeat.as_mut())).poll(&mut cx);
    }

    /// Whether the time of the heartbeat has come, after [`Self::wake`].
    pub fn is_time(&self) -> bool {
        self.heartbeat.is_elapsed()
    }

    /// The next heartbeat is at `time`.
    pub fn set(&mut self, time: Instant) {
        self.heartbeat.as_mut().reset(time);
        // It has forgotten whom to wake.
        self.wakes = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::task::consume_budget;
    use tokio::task::coop::has_budget_remaining;
    use tokio::time::sleep_until;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_heartbeat_wakes_and_is_seen() {
        let start = Instant::now();
        let (notify, mut heartbeat) = (Notify::new(), pin!(sleep_until(start + SECOND)));
        let mut ending = pin!(notify.notified());
        let mut alarms = Alarms::new(ending.as_mut(), heartbeat.as_mut());
        for beat in 1..4 {
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                alarms.wake(cx);
                if alarms.is_time() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert_eq!((start.elapsed(), polls), (beat * SECOND, 2));
            alarms.set(start + (beat + 1) * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_wakes_once_it_comes_even_a_task_that_has_used_up_its_turn() {
        let (notify, mut heartbeat) = (Notify::new(), pin!(sleep_until(Instant::now() + SECOND)));
        let mut ending = pin!(notify.notified());
        let mut alarms = Alarms::new(ending.as_mut(), heartbeat.as_mut());
        let mut polls = 0;
        let waiting = poll_fn(|cx| {
            polls += 1;
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            alarms.wake(cx);
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        });
        // The first is woken by tokio, for having used up its turn.
        let ends = async {
            tokio::task::yield_now().await;
            notify.notify_waiters();
        };
        tokio::join!(waiting, ends);
    }
}
