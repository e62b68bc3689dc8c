//! Whether a client is served still.

use crate::support::Client;

pub fn is_alive(client: &mut Client) {
    let answer = client.ask(r#"{"type":"ping"}"#);
    assert!(answer.contains("pong"), "{answer}");
}
