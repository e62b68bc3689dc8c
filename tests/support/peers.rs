//! Registered clients.

use crate::support::{Client, Server};

pub const A: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";

/// A client that has registered.
pub fn peer(server: &Server, id: &str) -> Client {
    let mut client = server.client();
    let registered = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    assert_eq!(registered, format!(r#"{{"type":"registered","peerId":"{id}"}}"#));
    client
}
