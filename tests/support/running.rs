//! A process beside the server: a tool, a proxy, a browser.

use std::process::{Child, Command};

/// A process that is ended and waited for, whatever the test comes to.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(
            child.unwrap_or_else(|e| panic!("{command:?}: {e}; tests/run installs what is needed")),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
