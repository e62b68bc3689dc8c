//! Registered clients.

use crate::support::{Client, Server};

pub const A: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";

/// A client that has registered.
pub fn peer(server: &Server, id: &str) -> Client {
    let mut client = server.client();
    let registered = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    resume_of(&registered, id);
    client
}

/// What proves who is behind a client, in the answer to its `register`.
pub fn resume_of(registered: &str, id: &str) -> String {
    let start = format!(r#"{{"type":"registered","peerId":"{id}","resume":""#);
    let rest = registered.strip_prefix(&start).unwrap_or_else(|| panic!("{registered}"));
    let (resume, end) = rest.split_once('"').unwrap();
    assert!(end == "}" || end.starts_with(r#","requestId":""#), "{registered}");
    resume.to_owned()
}
