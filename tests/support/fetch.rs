//! Requests without a body.

use std::io::Write;

use crate::support::{Answer, connect, head};

/// Sends a request without a body on a connection of its own.
pub fn request(port: u16, lines: &[impl AsRef<str>]) -> Answer {
    let mut stream = connect(port);
    stream.write_all(&head(lines)).unwrap();
    Answer::read(&mut stream, !lines[0].as_ref().starts_with("HEAD"))
}

pub fn get(port: u16, path: &str) -> Answer {
    request(port, &[format!("GET {path} HTTP/1.1").as_str(), "Host: localhost"])
}
