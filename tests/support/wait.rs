//! Waiting for what nothing tells of.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Nothing waits that long when all is well, however busy the machine
/// is: this only ends a test that has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again, until it is so.
pub fn wait_until(done: impl FnMut() -> bool, what: impl Fn() -> String) {
    wait_every(Duration::from_millis(5), done, what);
}

/// The same, with a pause of its own before each further look.
pub fn wait_every(pause: Duration, mut done: impl FnMut() -> bool, what: impl Fn() -> String) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {}", what());
        std::thread::sleep(pause);
    }
}
