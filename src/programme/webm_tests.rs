//! What the reader of recordings reads, refuses and survives.
//!
//! Owns nothing. It deliberately knows no browser: the recordings are made by hand.

use super::webm::*;

/// The longest head of an element: an id of 4 bytes and a size of 8.
const MOST_HEAD: usize = 12;

fn bytes_of(id: u64) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

fn element(id: u64, body: &[u8]) -> Vec<u8> {
    [&bytes_of(id), &[0x08][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

fn master(id: u64) -> Vec<u8> {
    [&bytes_of(id)[..], &[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]].concat()
}

fn header(track: u8, codec: &[u8]) -> Vec<u8> {
    [
        element(id::EBML, &element(id::DOC_TYPE, b"webm")),
        master(id::SEGMENT),
        // SeekHead, which is skipped.
        element(0x114D_9B74, &[0; 30]),
        master(id::TRACKS),
        master(id::TRACK_ENTRY),
        element(id::TRACK_NUMBER, &[track]),
        element(id::CODEC_ID, codec),
    ]
    .concat()
}

fn block(track: u8, packet: &[u8]) -> Vec<u8> {
    element(id::SIMPLE_BLOCK, &[&[0x80 | track, 0, 0, 0x80], packet].concat())
}

pub(super) fn recording(packets: &[&[u8]]) -> Vec<u8> {
    let mut all = header(1, b"A_OPUS");
    for packet in packets {
        all.extend([master(id::CLUSTER), element(0xE7, &[0]), block(1, packet)].concat());
    }
    all
}

fn read(reader: &mut Reader, bytes: &[u8]) -> (Vec<Vec<u8>>, Result<(), Damage>) {
    let mut packets = Vec::new();
    let result = reader.push(bytes, &mut |packet| packets.push(packet.to_vec()));
    (packets, result)
}

#[test]
fn packets_come_out_however_they_are_pushed() {
    let long = vec![7; 8000];
    let all = recording(&[b"one", b"", &long, b"two"]);
    let expected = [&b"one"[..], b"", &long, b"two"];
    for size in [1, 2, 3, 7, 100, 4096, all.len()] {
        let (mut reader, mut packets) = (Reader::default(), Vec::new());
        for piece in all.chunks(size) {
            let (some, result) = read(&mut reader, piece);
            assert_eq!(result, Ok(()));
            packets.extend(some);
            assert!(reader.held.len() <= MOST_BLOCK as usize + MOST_HEAD);
        }
        assert_eq!(packets, expected, "{size}");
    }
}

#[test]
fn other_tracks_and_groups_are_read_over() {
    let other = [master(id::TRACK_ENTRY), element(id::TRACK_NUMBER, &[2])].concat();
    let other = [other, element(id::CODEC_ID, b"V_VP8")].concat();
    let all = [
        header(1, b"A_OPUS"),
        other,
        master(id::CLUSTER),
        block(2, b"picture"),
        master(id::BLOCK_GROUP),
        element(id::BLOCK, &[0x81, 0, 0, 0, 9]),
    ]
    .concat();
    assert_eq!(read(&mut Reader::default(), &all), (vec![vec![9]], Ok(())));
}

#[test]
fn what_browsers_do_not_record_is_refused() {
    let cluster = master(id::CLUSTER);
    let with = |bad: Vec<u8>| [header(1, b"A_OPUS"), cluster.clone(), bad].concat();
    let encodings = [header(1, b"A_OPUS"), element(id::CONTENT_ENCODINGS, &[0]), cluster.clone()];
    for (all, damage) in [
        ([header(1, b"A_VORBIS"), cluster.clone()].concat(), Damage::NotOpus),
        (encodings.concat(), Damage::NotOpus),
        (with(element(id::SIMPLE_BLOCK, &[0x81, 0, 0, 0x82, 1])), Damage::NotOpus),
        (with(element(id::SIMPLE_BLOCK, &[0x81, 0])), Damage::NotWebm),
        (with(vec![0x00]), Damage::NotWebm),
        (with([&[0xEC], &master(0x1)[1..]].concat()), Damage::NotWebm),
        (block(1, b"x"), Damage::NotWebm),
        (element(id::EBML, &element(id::DOC_TYPE, b"avi")), Damage::NotWebm),
    ] {
        let mut reader = Reader::default();
        // A recording begins.
        let _ = read(&mut reader, &element(id::EBML, &[]));
        let (packets, result) = read(&mut reader, &all);
        assert_eq!((packets, result), (vec![], Err(damage)));
        let next = recording(&[b"next"]);
        assert_eq!(read(&mut reader, &next).0, [b"next"], "{damage:?}");
    }
}

#[test]
fn sizes_have_their_bounds() {
    let with = |size: usize| recording(&[&vec![1; size]]);
    // A block has four bytes before its packet.
    let (packets, result) = read(&mut Reader::default(), &with(MOST_BLOCK as usize - 4));
    assert_eq!((packets.len(), result), (1, Ok(())));
    let (packets, result) = read(&mut Reader::default(), &with(MOST_BLOCK as usize - 3));
    assert_eq!((packets.len(), result), (0, Err(Damage::TooLarge)));
    let before = header(1, b"A_OPUS");
    let with = |void: usize| {
        [before.clone(), element(0xEC, &vec![0; void]), master(id::CLUSTER), block(1, b"x")]
            .concat()
    };
    // The header's own elements and the Cluster's head count as well.
    let own = before.len() + 6 + 12;
    let most = MOST_HEADER as usize - own;
    assert_eq!(read(&mut Reader::default(), &with(most)), (vec![b"x".to_vec()], Ok(())));
    let (packets, result) = read(&mut Reader::default(), &with(most + 13));
    assert_eq!((packets.len(), result), (0, Err(Damage::TooLarge)));
}

#[test]
fn no_element_swallows_what_follows() {
    let void = |size: u64| [&[0xEC, 0x01][..], &size.to_be_bytes()[1..]].concat();
    let mut reader = Reader::default();
    assert_eq!(read(&mut reader, &recording(&[b"one"])).0.len(), 1);
    assert_eq!(read(&mut reader, &void(MOST_SKIPPED + 1)).1, Err(Damage::TooLarge));
    assert_eq!(read(&mut reader, &recording(&[b"two"])).0, [b"two"]);
    assert_eq!(read(&mut reader, &void(MOST_SKIPPED)).1, Ok(()));
    assert_eq!(reader.skip, MOST_SKIPPED);
}

#[test]
fn after_damage_it_goes_on_with_the_next_cluster() {
    let all = recording(&[b"one", b"two", b"three", b"four"]);
    let second = all.windows(4).enumerate().filter(|(_, four)| *four == [0x1F, 0x43, 0xB6, 0x75]);
    let second = second.map(|(at, _)| at).nth(1).unwrap();
    let mut reader = Reader::default();
    assert_eq!(read(&mut reader, &all[..second + 3]).0, [b"one"]);
    // A piece is lost, up to the middle of the third Cluster.
    reader.lose();
    let third = all.len() - (all.len() - second) / 3 * 2;
    assert_eq!(read(&mut reader, &all[third + 5..]).0, [b"four"]);
    // One is damaged.
    let mut bad = all.clone();
    bad[second + 12] = 0;
    let (packets, result) = read(&mut Reader::default(), &bad);
    assert_eq!(packets, [&b"one"[..], b"three", b"four"]);
    assert_eq!(result, Err(Damage::NotWebm));
    // Before the track is known, no Cluster helps.
    let mut reader = Reader::default();
    assert_eq!(read(&mut reader, &all[second..]).0.len(), 0);
    assert_eq!(read(&mut reader, &all).0.len(), 4);
}

#[test]
fn a_second_recording_begins_anew() {
    let all = [recording(&[b"one"]), recording(&[b"two"])].concat();
    assert_eq!(read(&mut Reader::default(), &all).0, [b"one", b"two"]);
}
