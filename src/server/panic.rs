//! What the server does after a panic: it logs one critical event and starts the drain.
//!
//! Owns the panic hook, [`install_panic_hook`]. It deliberately does not end the process: the drain does.

use std::panic::PanicHookInfo;

use crate::server::shutdown::Shutdown;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// Makes any panic one critical event and the beginning of the end. What panics after the first is a
/// consequence, and not logged.
pub fn install_panic_hook(journal: Journal, shutdown: Shutdown) {
    std::panic::set_hook(Box::new(move |panic| {
        if shutdown.has_failed() {
            return;
        }
        let location =
            panic.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
        journal.log(Event::Panicked { reason: reason(panic), location });
        shutdown.fail();
    }));
}

fn reason(panic: &PanicHookInfo) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").replace('\n', " ")
}
