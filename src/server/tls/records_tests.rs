//! What holds for records, whatever comes and however it is split.
//!
//! Owns both ends of a connection without a socket. It deliberately does not know a task: see `stream`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, HandshakeKind, SupportedProtocolVersion};

use super::peer::{certified, client, clients};
use super::records::{HELD, RECORD, Records};
use crate::station::tls::Tls;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// One direction of a connection: what is on the way, and how much of it passes at once.
struct Wire {
    bytes: VecDeque<u8>,
    piece: usize,
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
struct Ended;

impl Read for Ended {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

struct Pair {
    server: Records,
    client: ClientConnection,
    up: Wire,
    down: Wire,
}

impl Pair {
    fn new(tls: &Tls, client: ClientConnection, piece: usize) -> Self {
        let wire = || Wire { bytes: VecDeque::new(), piece };
        Self { server: Records::new(tls.config()).unwrap(), client, up: wire(), down: wire() }
    }

    /// A pair that has agreed upon TLS, and has nothing on the way.
    fn agreed(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair = Self::new(&Tls::new(certified()), client(&clients(version)), usize::MAX);
        assert_eq!(pair.run(), [b""; 2]);
        assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
        pair.is_idle();
        pair
    }

    /// Moves everything that can be moved. What arrives at the server, and at the client.
    fn run(&mut self) -> [Vec<u8>; 2] {
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

    fn send_client(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.up.bytes).unwrap();
        }
    }

    /// What the server has to read now.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
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

    fn receive_client(&mut self) -> Vec<u8> {
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

    fn is_bounded(&self) {
        let [incoming, plain, outgoing] = self.server.held();
        assert!(incoming <= HELD && plain <= HELD, "{incoming} {plain}");
        // One record, or what a handshake says at once.
        assert!(outgoing <= RECORD + 1000, "{outgoing}");
    }

    fn is_idle(&self) {
        assert_eq!(self.server.held(), [0; 3], "an idle connection has no buffer");
    }

    fn say(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).unwrap();
        self.send_client();
    }
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn records_arrive_however_they_are_split() {
    let tls = Tls::new(certified());
    for version in VERSIONS {
        for piece in [1, 2, 3, 5, 100, 4095, 4096, 4097, usize::MAX] {
            let mut pair = Pair::new(&tls, client(&clients(version)), piece);
            assert_eq!(pair.run(), [b""; 2]);
            let large = [RECORD - 1, RECORD, RECORD + 1, 50_000];
            let large = if piece < 100 { &large[..0] } else { &large };
            for length in [1, 0, 2, 500].iter().chain(large).copied() {
                pair.client.writer().write_all(&text(length)).unwrap();
                assert_eq!(pair.run(), [text(length), Vec::new()]);
                let mut rest = &text(length)[..];
                let mut arrived: Vec<u8> = Vec::new();
                while !rest.is_empty() {
                    let written = pair.server.write(&mut pair.down, rest).unwrap();
                    rest = &rest[written..];
                    pair.is_bounded();
                    arrived.extend(pair.run()[1].iter());
                }
                assert!(arrived == text(length));
                pair.is_idle();
            }
        }
    }
}

#[test]
fn what_is_cut_anywhere_is_whole_with_its_rest() {
    for version in VERSIONS {
        let mut pair = Pair::agreed(version);
        for cut in 0..150 {
            pair.client.writer().write_all(b"one").unwrap();
            pair.client.writer().write_all(&text(100)).unwrap();
            pair.send_client();
            let rest = pair.up.bytes.split_off(cut.min(pair.up.bytes.len()));
            let mut arrived = pair.receive().unwrap();
            // Writing in between neither loses nor repeats anything.
            pair.server.write(&mut pair.down, b"between").unwrap();
            pair.up.bytes = rest;
            arrived.extend(pair.receive().unwrap());
            assert_eq!(arrived, [b"one", &text(100)[..]].concat());
            assert_eq!(pair.receive_client(), b"between");
            pair.is_idle();
        }
    }
}

#[test]
fn a_change_of_keys_is_answered_before_the_next_bytes() {
    let mut pair = Pair::agreed(&TLS13);
    for _ in 0..5 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.say(b"with new keys");
        // In pieces, with a write while the message about the keys is not whole.
        let rest = pair.up.bytes.split_off(7);
        assert_eq!(pair.receive().unwrap(), b"");
        pair.server.write(&mut pair.down, b"old").unwrap();
        pair.up.bytes = rest;
        assert_eq!(pair.receive().unwrap(), b"with new keys");
        assert_eq!(pair.receive_client(), b"old");
        pair.server.write(&mut pair.down, b"new").unwrap();
        assert_eq!(types(&pair.down.bytes), [23, 23], "the answer, and the bytes");
        pair.server.write(&mut pair.down, b"newer").unwrap();
        assert_eq!(types(&pair.down.bytes), [23, 23, 23], "it is one answer");
        assert_eq!(pair.receive_client(), b"newnewer");
        pair.is_idle();
    }
}

/// The types of the records of a direction, which have to be whole.
fn types(bytes: &VecDeque<u8>) -> Vec<u8> {
    let (bytes, mut types) = (bytes.iter().copied().collect::<Vec<_>>(), Vec::new());
    let mut rest = &bytes[..];
    while let [kind, _, _, high, low, ..] = rest {
        types.push(*kind);
        rest = &rest[5 + usize::from(u16::from_be_bytes([*high, *low]))..];
    }
    types
}

#[test]
fn a_goodbye_ends_one_direction_only() {
    for version in VERSIONS {
        let mut pair = Pair::agreed(version);
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        pair.send_client();
        // "Any data received after a closure alert has been received MUST be ignored." (RFC 8446 section 6.1)
        pair.up.bytes.extend([0x17, 3, 3, 0, 4, 1, 2, 3, 4, 99, 99, 99, 99, 99, 99]);
        assert_eq!(pair.receive().unwrap(), b"last");
        assert!(pair.server.has_more());
        assert_eq!(pair.server.take(&mut [0; 9]).unwrap().unwrap(), 0);
        pair.server.write(&mut pair.down, b"an answer").unwrap();
        assert_eq!(pair.receive_client(), b"an answer");
        pair.is_idle();
        pair.server.end();
        pair.server.end();
        pair.server.flush(&mut pair.down).unwrap();
        assert_eq!(types(&pair.down.bytes).len(), 1, "it is said once");
        pair.server.end();
        pair.is_idle();
        assert_eq!(pair.receive_client(), b"");
        assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0);
        let refused = pair.server.write(&mut pair.down, b"more").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn who_has_heard_our_goodbye_may_speak_on() {
    for version in VERSIONS {
        let mut pair = Pair::agreed(version);
        pair.server.end();
        pair.server.flush(&mut pair.down).unwrap();
        pair.receive_client();
        pair.say(b"and yet");
        assert_eq!(pair.receive().unwrap(), b"and yet");
        pair.is_idle();
    }
}

#[test]
fn an_end_without_a_goodbye_is_told_from_one_with_it() {
    for version in VERSIONS {
        let mut pair = Pair::agreed(version);
        pair.say(b"cut");
        pair.up.bytes.truncate(10);
        assert_eq!(pair.receive().unwrap(), b"");
        let cut = pair.server.receive(&mut Ended, &mut [0; 9]).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn what_is_wrong_is_told_by_an_alert_behind_what_was_right() {
    for version in VERSIONS {
        let mut pair = Pair::agreed(version);
        pair.say(b"right");
        let from = pair.up.bytes.len();
        pair.say(b"changed on the way");
        *pair.up.bytes.get_mut(from + 9).unwrap() ^= 1;
        pair.say(b"never looked at");
        let mut buffer = [0; 100];
        assert_eq!(pair.server.receive(&mut pair.up, &mut buffer).unwrap(), 5);
        for _ in 0..2 {
            let error = pair.server.take(&mut buffer).unwrap().unwrap_err();
            assert_eq!((error.kind(), error.to_string()), {
                (ErrorKind::InvalidData, "cannot decrypt peer's message".to_owned())
            });
        }
        let refused = pair.server.write(&mut pair.down, b"more").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
        pair.server.end();
        pair.server.flush(&mut pair.down).unwrap();
        assert_eq!(types(&pair.down.bytes).len(), 1);
        pair.client.read_tls(&mut pair.down).unwrap();
        let alert = pair.client.process_new_packets().unwrap_err();
        assert_eq!(alert.to_string(), "received fatal alert: BadRecordMac");
        pair.is_idle();
    }
}

#[test]
fn an_alert_of_the_client_ends_it() {
    for version in VERSIONS {
        let mut pair = Pair::agreed(version);
        // Records of the server's that the client can't decrypt make it send one.
        pair.down.bytes.extend([0x17, 3, 3, 0, 40]);
        pair.down.bytes.extend([7; 40]);
        pair.client.read_tls(&mut pair.down).unwrap();
        pair.client.process_new_packets().unwrap_err();
        pair.send_client();
        let error = pair.receive().unwrap_err();
        assert_eq!(error.to_string(), "received fatal alert: BadRecordMac");
        assert!(pair.server.is_flushed(), "an alert is not answered");
    }
}

#[test]
fn who_does_not_read_is_held_one_record() {
    for version in VERSIONS {
        let mut pair = Pair::agreed(version);
        pair.down.piece = 0;
        assert_eq!(pair.server.write(&mut pair.down, &text(100_000)).unwrap(), RECORD);
        for _ in 0..3 {
            assert_eq!(pair.server.write(&mut pair.down, b"more").unwrap(), 0);
            pair.is_bounded();
        }
        assert!(!pair.server.is_flushed());
        pair.down.piece = usize::MAX;
        pair.server.flush(&mut pair.down).unwrap();
        assert!(pair.receive_client() == text(RECORD));
        pair.is_idle();
    }
}

#[test]
fn the_longest_part_of_a_record_is_held_and_no_longer_one() {
    for version in VERSIONS {
        // A whole record of the longest kind that there is, but for its last byte.
        let mut pair = Pair::agreed(version);
        pair.say(&text(RECORD));
        let last = pair.up.bytes.pop_back().unwrap();
        assert_eq!(pair.receive().unwrap(), b"");
        assert!(pair.server.held()[0] > RECORD);
        pair.up.bytes.push_back(last);
        assert!(pair.receive().unwrap() == text(RECORD));
        pair.is_idle();
        // As much as a record may have, but for a byte, and then one that says it had more.
        for (length, is_wrong) in [(HELD - 5, false), (HELD - 4, true)] {
            let mut pair = Pair::agreed(version);
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            pair.up.bytes.extend([0x17, 3, 3, high, low]);
            pair.up.bytes.extend(vec![0; length - 1]);
            assert_eq!(pair.receive().is_err(), is_wrong);
            assert_eq!(pair.server.held()[0], if is_wrong { 0 } else { HELD });
        }
    }
}

#[test]
fn a_handshake_message_is_held_up_to_the_same_bound() {
    for (length, is_wrong) in [(8_000, false), (40_000, true)] {
        let mut pair = Pair::new(&Tls::new(certified()), client(&clients(&TLS13)), usize::MAX);
        // The head of a hello of this length (RFC 8446 section 4), in records of 1,000 bytes each.
        let [_, high, middle, low] = u32::try_from(length).unwrap().to_be_bytes();
        let hello = [&[1, high, middle, low], &vec![0; length - 1][..]].concat();
        for part in hello.chunks(1000) {
            let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            pair.up.bytes.extend([0x16, 3, 3, high, low]);
            pair.up.bytes.extend(part);
        }
        assert_eq!(pair.receive().is_err(), is_wrong);
        assert_eq!(pair.server.held()[0] > length, !is_wrong);
    }
}

#[test]
fn who_comes_back_goes_on_without_early_data() {
    for version in VERSIONS {
        let (tls, config) = (Tls::new(certified()), clients(version));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut pair = Pair::new(&tls, client(&config), usize::MAX);
            assert!(pair.client.early_data().is_none(), "no ticket of ours allows it");
            pair.run();
            assert_eq!(pair.client.handshake_kind(), Some(kind));
            pair.say(b"again");
            assert_eq!(pair.receive().unwrap(), b"again");
        }
    }
}

#[test]
fn a_renewed_certificate_is_for_those_who_come_later() {
    let with = |name: u8| {
        let mut certified = (*certified()).clone();
        certified.cert = vec![CertificateDer::from(vec![name])];
        std::sync::Arc::new(certified)
    };
    let tls = Tls::new(with(1));
    let mut before = Pair::new(&tls, client(&clients(&TLS13)), usize::MAX);
    before.run();
    tls.replace(with(2));
    let mut after = Pair::new(&tls, client(&clients(&TLS13)), usize::MAX);
    after.run();
    for (pair, name) in [(&mut before, 1), (&mut after, 2)] {
        assert_eq!(pair.client.peer_certificates().unwrap()[0].as_ref(), [name]);
        pair.say(b"on it goes");
        assert_eq!(pair.receive().unwrap(), b"on it goes");
    }
}
