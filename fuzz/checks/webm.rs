//! What must hold for whatever a browser, or somebody else, sends as a recording.

use openstudio_signaling::programme::webm::Reader;

/// One element: its head, and the longest body that is read.
const MOST_HELD: usize = 12 + 8192;

/// All packets, when the recording comes in pieces that end where `ends` says.
fn packets(data: &[u8], ends: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
    let (mut reader, mut packets, mut start) = (Reader::default(), Vec::new(), 0);
    for end in ends.map(|end| end.min(data.len())).chain([data.len()]) {
        let _ =
            reader.push(&data[start..end.max(start)], &mut |packet| packets.push(packet.to_vec()));
        assert!(reader.held() <= MOST_HELD);
        start = end.max(start);
    }
    packets
}

/// It ends, holds little, and gives the same packets however the recording is cut.
pub fn check(data: &[u8]) {
    let whole = packets(data, std::iter::empty());
    let step = usize::from(*data.first().unwrap_or(&1) % 7) + 1;
    assert_eq!(packets(data, (1..=data.len() / step).map(|piece| piece * step)), whole);
    assert!(whole.iter().map(Vec::len).sum::<usize>() <= data.len());
    // A lost piece is not the end.
    let mut reader = Reader::default();
    let _ = reader.push(data, &mut |_| ());
    reader.lose();
    let _ = reader.push(data, &mut |_| ());
    assert!(reader.held() <= MOST_HELD);
}
