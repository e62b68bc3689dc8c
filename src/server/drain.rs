//! The drain: how the server stops.
//!
//! Owns the order in which everything ends, and how long that may take. It deliberately does not know what a client is
//! told.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::server::systemd::Notifier;
use crate::telemetry::counted::counted;
use crate::telemetry::events::Event;

/// How long a drain may take after a panic: long enough for close frames on a healthy network.
const FAILED_GRACE: Duration = Duration::from_secs(2);

/// How often systemd hears of a drain, and how much time each of these asks for.
const DRAIN_REPORT: Duration = Duration::from_secs(1);

const DRAIN_EXTENSION: Duration = Duration::from_secs(5);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everybody has gone.
    Clean,
    /// Somebody was cut off.
    Forced,
    /// The drain was caused by a panic.
    Failed,
}

/// Waits until all clients, and then all connections, have gone, as long as the grace period lasts.
pub async fn drain(state: &State, notifier: &Notifier) -> Outcome {
    let start = Instant::now();
    let shutdown = &state.shutdown;
    let failed = shutdown.has_failed();
    let grace = state.studio.config.shutdown_grace;
    let grace = if failed { grace.min(FAILED_GRACE) } else { grace };
    state.studio.journal.log(Event::Draining {
        clients: state.clients.taken(),
        grace_ms: grace.as_millis() as u64,
    });
    let mut clients = state.clients.follow();
    let everybody = async {
        // The slots live as long as the state.
        let _ = clients.wait_for(|clients| *clients == 0).await;
        shutdown.enter(Phase::Closing);
        shutdown.tasks.close();
        shutdown.tasks.wait().await;
    };
    let reason = tokio::select! {
        biased;
        () = everybody => None,
        () = shutdown.reached(Phase::Cut) => Some("a second signal came"),
        () = sleep(grace) => Some("the grace period is over"),
        never = report(state, notifier) => match never {},
    };
    // Who has everything is not cut off, and a connection that is none of a client was given its time.
    let clients = state.clients.taken().saturating_sub(shutdown.told());
    if let (Some(reason), 1..) = (reason, clients) {
        let connections = shutdown.tasks.len().saturating_sub(clients);
        state.studio.journal.log(Event::Forced { clients, connections, reason });
        return Outcome::Forced;
    }
    let milliseconds = start.elapsed().as_millis();
    state.studio.journal.log(Event::Stopped { milliseconds });
    if shutdown.has_failed() { Outcome::Failed } else { Outcome::Clean }
}

/// Tells systemd how the drain goes, and never ends.
async fn report(state: &State, notifier: &Notifier) -> Infallible {
    loop {
        notifier.extend(DRAIN_EXTENSION, &status("Draining", state.clients.taken()));
        sleep(DRAIN_REPORT).await;
    }
}

/// The one line for `systemctl status`.
pub fn status(doing: &str, clients: usize) -> String {
    format!("{doing} {}", counted(clients, "client"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_counts_in_english() {
        assert_eq!(status("Serving", 12), "Serving 12 clients");
        assert_eq!(status("Draining", 1), "Draining 1 client");
    }
}
