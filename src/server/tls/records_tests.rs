//! What holds for records, whatever comes and however it is split.
//!
//! Owns what is asked of them. It deliberately does not know a task: see `stream`.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuiteCommon, HandshakeKind, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    Tls12CipherSuite, Tls13CipherSuite,
};

use super::pair::{Ended, Pair};
use super::peer::{certified, client, clients};
use super::records::{HELD, RECORD};
use crate::station::tls::Tls;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn records_arrive_however_they_are_split() {
    let tls = Tls::new(certified());
    for version in VERSIONS {
        for piece in [1, 2, 3, 5, 100, 4095, 4096, 4097, usize::MAX] {
            let mut pair = Pair::new(tls.config(), client(&clients(version)), piece);
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
        let mut pair =
            Pair::new(Tls::new(certified()).config(), client(&clients(&TLS13)), usize::MAX);
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
            let mut pair = Pair::new(tls.config(), client(&config), usize::MAX);
            assert!(pair.client.early_data().is_none(), "no ticket of ours allows it");
            pair.run();
            assert_eq!(pair.client.handshake_kind(), Some(kind));
            pair.say(b"again");
            assert_eq!(pair.receive().unwrap(), b"again");
        }
    }
}

/// A server of another one's making.
fn config(version: &'static SupportedProtocolVersion, provider: CryptoProvider) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[version]).unwrap().with_no_client_auth();
    builder.with_cert_resolver(Arc::new(SingleCertAndKey::from((*certified()).clone())))
}

/// A client may have a ticket of a server that takes early data. What it sends ahead is passed over, and it says it again.
#[test]
fn early_data_is_passed_over() {
    let (tls, clients) = (Tls::new(certified()), clients(&TLS13));
    let mut other = config(&TLS13, default_provider());
    other.max_early_data_size = 1000;
    let other = Arc::new(other);
    for piece in [usize::MAX, 1] {
        Pair::new(Arc::clone(&other), client(&clients), usize::MAX).run();
        let mut pair = Pair::new(tls.config(), client(&clients), piece);
        let mut early = pair.client.early_data().expect("the ticket allows it");
        early.write_all(&text(900)).unwrap();
        assert_eq!(pair.run(), [b""; 2]);
        assert!(!pair.client.is_early_data_accepted());
        pair.say(b"once more");
        assert_eq!(pair.run(), [&b"once more"[..], b""]);
        pair.is_idle();
    }
}

/// Keys are for so many records, 2^24 mostly (rustls's `confidentiality_limit`): here for a hundred.
fn soon_worn_out() -> CryptoProvider {
    let mut provider = default_provider();
    for suite in &mut provider.cipher_suites {
        *suite = match *suite {
            SupportedCipherSuite::Tls12(of) => {
                let common = CipherSuiteCommon { confidentiality_limit: 100, ..of.common };
                SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite { common, ..*of })))
            }
            SupportedCipherSuite::Tls13(of) => {
                let common = CipherSuiteCommon { confidentiality_limit: 100, ..of.common };
                SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite { common, ..*of })))
            }
        };
    }
    provider
}

#[test]
fn keys_that_are_worn_out_are_changed_where_they_can_be() {
    let server = Arc::new(config(&TLS13, soon_worn_out()));
    let mut pair = Pair::new(server, client(&clients(&TLS13)), usize::MAX);
    pair.run();
    for _ in 0..500 {
        assert_eq!(pair.server.write(&mut pair.down, b"down").unwrap(), 4);
        pair.say(b"up");
        assert_eq!(pair.run(), [&b"up"[..], b"down"]);
    }
    pair.is_idle();
}

#[test]
fn keys_of_tls_1_2_end_with_a_goodbye() {
    let server = Arc::new(config(&TLS12, soon_worn_out()));
    let mut pair = Pair::new(server, client(&clients(&TLS12)), usize::MAX);
    pair.run();
    let error = (0..200).find_map(|record| {
        let written = pair.server.write(&mut pair.down, b"down");
        let arrived = pair.receive_client();
        assert_eq!(arrived, if written.is_ok() { &b"down"[..] } else { b"" });
        written.err().map(|error| (error.kind(), (50..=100).contains(&record)))
    });
    assert_eq!(error, Some((ErrorKind::BrokenPipe, true)));
    assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
    assert!(pair.server.write(&mut pair.down, b"down").is_err());
    assert_eq!(pair.receive().unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn a_renewed_certificate_is_for_those_who_come_later() {
    let with = |name: u8| {
        let mut certified = (*certified()).clone();
        certified.cert = vec![CertificateDer::from(vec![name])];
        std::sync::Arc::new(certified)
    };
    let tls = Tls::new(with(1));
    let mut before = Pair::new(tls.config(), client(&clients(&TLS13)), usize::MAX);
    before.run();
    tls.replace(with(2));
    let mut after = Pair::new(tls.config(), client(&clients(&TLS13)), usize::MAX);
    after.run();
    for (pair, name) in [(&mut before, 1), (&mut after, 2)] {
        assert_eq!(pair.client.peer_certificates().unwrap()[0].as_ref(), [name]);
        pair.say(b"on it goes");
        assert_eq!(pair.receive().unwrap(), b"on it goes");
    }
}
