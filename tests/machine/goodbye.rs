//! What a client is told when the service ends its connection.
//!
//! Owns that it waits for that while the test goes on. It deliberately does not know why the service ends it.

use std::io::{Read, Write};
use std::thread::JoinHandle;

use crate::support::Client;

/// Waits for the service's goodbye, and answers it: the close code.
pub fn goodbye<S: Read + Write + Send + 'static>(mut client: Client<S>) -> JoinHandle<Option<u16>> {
    std::thread::spawn(move || {
        let code = client.close_code();
        client.leave(1001);
        code
    })
}
