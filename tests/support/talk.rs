//! What a client says, and how the talk ends.

use std::io::{Read, Write};

use crate::support::{Client, connect};

impl Client {
    /// Shakes hands, and leaves the welcome to be read.
    pub fn open(port: u16) -> Self {
        Self::over(connect(port))
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).unwrap();
    }

    pub fn say(&mut self, text: &str) {
        self.send(0x81, text.as_bytes());
    }

    pub fn ask(&mut self, text: &str) -> String {
        self.say(text);
        self.text()
    }

    /// Reads up to the close frame: its code, `None` where it has none. Panics where TCP ends without.
    pub fn close_code(&mut self) -> Option<u16> {
        loop {
            let frame = self.frame().expect("a close frame before the end of TCP");
            if frame.opcode == 8 {
                return frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }

    /// Says goodbye, or answers the server's, and waits for the end of TCP.
    pub fn leave(mut self, code: u16) {
        self.send(0x88, &code.to_be_bytes());
        while let Some(frame) = self.frame() {
            assert_eq!(frame.opcode, 8, "{frame:?}");
        }
    }
}

/// A masked frame; `first` has FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xA1, 0xB2, 0xC3, 0xD4];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0xFE);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xFF);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}
