//! Registered clients, and rooms of them.

use crate::support::{Client, Server};

pub const A: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4aa";
pub const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4bb";
pub const C: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4cc";

pub fn error(message: &str, code: &str) -> String {
    let message = message.replace('"', "\\\"");
    format!(r#"{{"type":"error","message":"{message}","code":"{code}"}}"#)
}

/// A client that has registered.
pub fn peer(server: &Server, id: &str) -> Client {
    let mut client = server.client();
    let registered = client.ask(&format!(r#"{{"type":"register","peerId":"{id}"}}"#));
    assert_eq!(registered, format!(r#"{{"type":"registered","peerId":"{id}"}}"#));
    client
}

/// A room of `host` with `guests` in it; all have heard who came.
pub fn room(host: (&mut Client, &str), guests: &mut [(&mut Client, &str)]) -> String {
    let created = host.0.ask(r#"{"type":"create-room"}"#);
    let room = created.split('"').nth(7).unwrap().to_owned();
    let expected = format!(r#"{{"type":"room-created","roomId":"{room}","hostId":"{}"}}"#, host.1);
    assert_eq!(created, expected);
    for index in 0..guests.len() {
        let id = guests[index].1;
        let joined = guests[index].0.ask(&format!(r#"{{"type":"join-room","roomId":"{room}"}}"#));
        let start = format!(
            r#"{{"type":"room-joined","roomId":"{room}","participants":[{{"peerId":"{}","role":"host"}},"#,
            host.1
        );
        let end = format!(r#"{{"peerId":"{id}","role":"caller"}}]}}"#);
        assert!(joined.starts_with(&start) && joined.ends_with(&end), "{joined}");
        let came = format!(r#"{{"type":"peer-joined","peerId":"{id}","role":"caller"}}"#);
        assert_eq!(host.0.text(), came);
        for (earlier, _) in &mut guests[..index] {
            assert_eq!(earlier.text(), came);
        }
    }
    room
}
