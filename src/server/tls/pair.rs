//! Both ends of a connection without a socket.
//!
//! Owns what is on the way between them. It deliberately does not know what is tested with it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, ServerConfig, SupportedProtocolVersion};

use super::peer::{certified, client, clients};
use super::records::{HELD, RECORD, Records};
use crate::station::tls::Tls;

/// One direction of a connection: what is on the way, and how much of it passes at once.
pub struct Wire {
    pub bytes: VecDeque<u8>,
    pub piece: usize,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.len().min(self.piece).min(buffer.len()) {
            0 => Err(ErrorKind::WouldBlock.into()),
            some => self.bytes.read(&mut buffer[..some]),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.len().min(self.piece) {
            0 => Err(ErrorKind::WouldBlock.into()),
            some => self.bytes.write(&bytes[..some]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of what has come.
pub struct Ended;

impl Read for Ended {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

/// A server's records, and a client of rustls.
pub struct Pair {
    pub server: Records,
    pub client: ClientConnection,
    pub up: Wire,
    pub down: Wire,
}

impl Pair {
    pub fn new(config: Arc<ServerConfig>, client: ClientConnection, piece: usize) -> Self {
        let wire = || Wire { bytes: VecDeque::new(), piece };
        Self { server: Records::new(config).unwrap(), client, up: wire(), down: wire() }
    }

    /// A pair that has agreed upon TLS, and has nothing on the way.
    pub fn agreed(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair =
            Self::new(Tls::new(certified()).config(), client(&clients(version)), usize::MAX);
        assert_eq!(pair.run(), [b""; 2]);
        assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
        pair.is_idle();
        pair
    }

    /// Moves everything that can be moved. What arrives at the server, and at the client.
    pub fn run(&mut self) -> [Vec<u8>; 2] {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        loop {
            self.send_client();
            let before = up.len() + down.len();
            let moved = self.up.bytes.len() + self.down.bytes.len();
            up.extend(self.receive().unwrap());
            self.server.flush(&mut self.down).unwrap();
            down.extend(self.receive_client());
            if moved == 0 && up.len() + down.len() == before && !self.client.wants_write() {
                return [up, down];
            }
        }
    }

    pub fn send_client(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.up.bytes).unwrap();
        }
    }

    /// What the server has to read now.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            let read = match self.server.take(&mut buffer) {
                Some(Ok(0)) => return Ok(all),
                Some(taken) => taken?,
                None => match self.server.receive(&mut self.up, &mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                    read => read?,
                },
            };
            self.is_bounded();
            all.extend_from_slice(&buffer[..read]);
        }
    }

    pub fn receive_client(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.client.read_tls(&mut self.down) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return all,
                // Behind a goodbye, rustls reads nothing.
                Ok(0) => return all,
                read => read.unwrap(),
            };
            let state = self.client.process_new_packets().unwrap();
            let from = all.len();
            all.resize(from + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut all[from..]).unwrap();
        }
    }

    pub fn is_bounded(&self) {
        let [incoming, plain, outgoing] = self.server.held();
        assert!(incoming <= HELD && plain <= HELD, "{incoming} {plain}");
        // One record, or what a handshake says at once.
        assert!(outgoing <= RECORD + 1000, "{outgoing}");
    }

    pub fn is_idle(&self) {
        assert_eq!(self.server.held(), [0; 3], "an idle connection has no buffer");
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).unwrap();
        self.send_client();
    }
}
