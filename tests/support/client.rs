//! A WebSocket client made by hand, so that it can misbehave: it shakes hands and reads.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{Answer, head};

pub const WELCOME: &str =
    r#"{"type":"welcome","message":"Connected to OpenStudio signaling server"}"#;

/// The handshake of RFC 6455 section 1.2, as lines.
pub const UPGRADE: &[&str] = &[
    "GET / HTTP/1.1",
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// A WebSocket client made by hand, over TCP or what is on it.
pub struct Client<S = TcpStream> {
    pub stream: S,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    /// Shakes hands on a connection, and leaves the welcome to be read.
    pub fn over(mut stream: S) -> Self {
        stream.write_all(&head(UPGRADE)).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, 101, "{answer:?}");
        Self { stream }
    }

    /// The next frame, or `None` at the end of TCP.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("the connection broke: {error}"),
        }
        assert_eq!(head[0] & 0xF0, 0x80, "the server sends whole frames");
        let length = match head[1] {
            126 => {
                let mut bytes = [0; 2];
                self.stream.read_exact(&mut bytes).unwrap();
                usize::from(u16::from_be_bytes(bytes))
            }
            short if short < 126 => usize::from(short),
            _ => panic!("masked or too long"),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        Some(Frame { opcode: head[0] & 0x0F, payload })
    }

    pub fn text(&mut self) -> String {
        let frame = self.frame().expect("a text frame");
        assert_eq!(frame.opcode, 1, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }
}
