//! What holds for TLS at the server's end, whatever the client does and however its records are split.
//!
//! Owns the properties, and a client of rustls' that follows the fuzzer's script. It deliberately knows no fuzzer: a test
//! replays the corpus through it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, LazyLock};

use openstudio_signaling::server::tls::records::{HELD, RECORD, Records};
use openstudio_signaling::station::tls::Tls;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};

#[path = "../../src/server/tls/peer.rs"]
mod peer;

/// More than the server says at once beside a record: a handshake's flight with this certificate, or alerts.
const BESIDE: usize = 2000;

static SERVER: LazyLock<Tls> = LazyLock::new(|| Tls::new(peer::certified()));
static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> =
    LazyLock::new(|| [&TLS12, &TLS13].map(peer::clients));

/// Checks one input. Its first byte says which version is spoken and how much a read takes, each two further ones what
/// happens next, and how much of it.
pub fn check(data: &[u8]) {
    let [settings, script @ ..] = data else {
        return;
    };
    let config = &CLIENTS[usize::from(settings & 1)];
    let room = if settings & 2 == 0 { 100 } else { 16_384 };
    let mut both = Both::new(peer::client(config), room);
    for step in script.chunks_exact(2) {
        both.step(step[0] % 8, usize::from(step[1]));
        both.is_bounded();
    }
    both.settle();
}

/// Takes as much as it is told to, and then it is not ready.
struct Wire<'b> {
    bytes: &'b mut VecDeque<u8>,
    rest: usize,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let some = self.rest.min(self.bytes.len()).min(buffer.len());
        self.rest -= some;
        if some == 0 {
            Err(ErrorKind::WouldBlock.into())
        } else {
            self.bytes.read(&mut buffer[..some])
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = self.rest.min(bytes.len());
        self.rest -= some;
        if some == 0 { Err(ErrorKind::WouldBlock.into()) } else { self.bytes.write(&bytes[..some]) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Both {
    server: Records,
    client: ClientConnection,
    room: usize,
    /// On their way.
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    /// How much each has said, and the other has heard: what is said counts on from 0.
    client_said: usize,
    server_heard: usize,
    server_said: usize,
    client_heard: usize,
    /// The client has said its goodbye, the server its own.
    has_left: bool,
    has_ended: bool,
    changes_of_keys: usize,
    /// What the client sends was changed on the way.
    is_changed: bool,
    has_failed: bool,
}

impl Both {
    fn new(client: ClientConnection, room: usize) -> Self {
        Self {
            server: Records::new(SERVER.config()).expect("it holds for all connections"),
            client,
            room,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_said: 0,
            server_heard: 0,
            server_said: 0,
            client_heard: 0,
            has_left: false,
            has_ended: false,
            changes_of_keys: 0,
            is_changed: false,
            has_failed: false,
        }
    }

    fn step(&mut self, what: u8, amount: usize) {
        match what {
            0 if !self.has_left => {
                let text = said(self.client_said, amount * 70);
                match self.client.writer().write(&text) {
                    Ok(taken) => self.client_said += taken,
                    Err(error) => assert!(self.is_changed, "{error}"),
                }
            }
            1 if !self.has_ended && !self.server.is_handshaking() => {
                let text = said(self.server_said, amount * 70);
                let mut wire = Wire { bytes: &mut self.down, rest: amount * 50 };
                match self.server.write(&mut wire, &text) {
                    Ok(taken) => self.server_said += taken,
                    Err(error) => assert!(self.has_failed, "{error}"),
                }
            }
            2 => self.deliver_up(amount),
            3 => self.deliver_up(amount * 100),
            4 => self.deliver_down(amount * 100),
            // rustls takes 32 in a row.
            5 if !self.client.is_handshaking() && self.changes_of_keys < 30 => {
                self.changes_of_keys += 1;
                // Where it can't change its keys, it does not.
                let _ = self.client.refresh_traffic_keys();
            }
            6 if amount < 128 && !self.client.is_handshaking() => {
                self.client.send_close_notify();
                self.has_left = true;
            }
            // rustls takes it for a mistake of ours to send an alert behind a goodbye, where it looks for mistakes.
            6 if !self.is_changed && !self.server.is_handshaking() => {
                self.server.end();
                self.has_ended = true;
            }
            7 if !self.has_ended && !self.up.is_empty() => {
                let at = amount * self.up.len() / 256;
                self.up[at] ^= 1 << (amount % 8);
                self.is_changed = true;
            }
            _ => {}
        }
    }

    /// Gives the server so many bytes, and lets it say what it has to say.
    fn deliver_up(&mut self, amount: usize) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.up).expect("it takes all");
        }
        let mut wire = Wire { bytes: &mut self.up, rest: amount };
        let mut buffer = vec![0; self.room];
        loop {
            let read = match self.server.take(&mut buffer) {
                Some(Ok(0)) => break assert!(self.has_left || self.is_changed),
                Some(Ok(taken)) => taken,
                Some(Err(error)) => {
                    assert!(self.is_changed || self.client_failed(), "{error}");
                    self.has_failed = true;
                    break;
                }
                None => match self.server.receive(&mut wire, &mut buffer) {
                    Ok(read) => read,
                    Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
                },
            };
            assert_eq!(buffer[..read], said(self.server_heard, read), "nothing is lost or twice");
            self.server_heard += read;
            assert!(self.server_heard <= self.client_said);
        }
        self.server.flush(&mut Wire { bytes: &mut self.down, rest: amount }).expect("no error");
    }

    fn client_failed(&mut self) -> bool {
        self.client.process_new_packets().is_err()
    }

    /// Gives the client so many bytes.
    fn deliver_down(&mut self, amount: usize) {
        let mut wire = Wire { bytes: &mut self.down, rest: amount };
        self.server.flush(&mut wire).expect("no error");
        wire.rest = amount;
        while !matches!(self.client.read_tls(&mut wire), Err(_) | Ok(0)) {
            let Ok(state) = self.client.process_new_packets() else {
                return assert!(self.is_changed, "the server says what is right");
            };
            let mut heard = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut heard).expect("it is there");
            assert_eq!(heard, said(self.client_heard, heard.len()));
            self.client_heard += heard.len();
        }
    }

    /// Everything arrives in the end, if it was not changed.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.deliver_up(usize::MAX);
            self.deliver_down(usize::MAX);
        }
        if self.has_failed {
            assert_eq!(self.server.held()[0], 0, "nobody looks at it any more");
        }
        if self.is_changed {
            return;
        }
        assert!(!self.client.is_handshaking() && !self.server.is_handshaking());
        assert_eq!((self.server_heard, self.client_heard), (self.client_said, self.server_said));
        assert_eq!(self.server.held(), [0; 3], "an idle connection has no buffer");
    }

    fn is_bounded(&self) {
        let [incoming, plain, outgoing] = self.server.held();
        assert!(incoming <= HELD && plain <= HELD, "{incoming} {plain}");
        assert!(outgoing <= RECORD + BESIDE, "{outgoing}");
    }
}

/// So many bytes of what is said, from there on.
fn said(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|at| (at * 7 + at / 256) as u8).collect()
}
