//! Fragmented messages and what goes wrong with them, with another process in the middle: each case ends as it does
//! without. The cases are those of section 5 of the Autobahn test suite.

use std::io::Write;

use rustix::process::Signal;

use crate::handover::offer;
use crate::peers::peer;
use crate::process::binary;
use crate::rooms::B;
use crate::settle::is_silent;
use crate::support::{Client, Frame, Server, wait_until};
use crate::talk::frame;

const TEXT: u8 = 0x01;
const CONTINUATION: u8 = 0x00;
const FIN: u8 = 0x80;
const PING: u8 = FIN | 0x09;
const PONG: u8 = FIN | 0x0A;

/// The last that a client says, where it still can.
const LAST: &[u8] = b"the end";

/// The frames of a case: the first byte of each, and its payload.
type Case = Vec<(u8, Vec<u8>)>;

fn id(number: usize) -> String {
    format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}")
}

/// The cases, with messages from this peer.
fn cases(from: &str) -> Vec<(&'static str, Case)> {
    let text = offer(from, B, "fragmented");
    let (first, second) = text.as_bytes().split_at(40);
    let (first, second) = (first.to_vec(), second.to_vec());
    let whole = text.clone().into_bytes();
    let ping = || (PING, b"in between".to_vec());
    let five: Vec<_> = text.as_bytes().chunks(text.len().div_ceil(5)).map(<[u8]>::to_vec).collect();
    let nothing_to_continue =
        |first_byte: u8| [(first_byte, b"non-continuation".to_vec()), (FIN | TEXT, whole.clone())];
    let unfinished = nothing_to_continue(CONTINUATION).to_vec();
    let finished = nothing_to_continue(FIN | CONTINUATION).to_vec();
    let in_two = vec![(TEXT, first.clone()), (FIN | CONTINUATION, second.clone())];
    vec![
        ("a ping in two fragments", vec![(0x09, first.clone()), (FIN, second.clone())]),
        ("a pong in two fragments", vec![(0x0A, first.clone()), (FIN, second.clone())]),
        ("a text in two fragments", in_two.clone()),
        ("a ping in between", vec![in_two[0].clone(), ping(), in_two[1].clone()]),
        ("a last fragment of nothing", finished.clone()),
        ("a fragment of nothing", unfinished.clone()),
        ("a fragment of nothing behind a text", [in_two.clone(), unfinished.clone()].concat()),
        ("fragments of nothing, twice", [unfinished.clone(), unfinished].concat()),
        ("last fragments of nothing, twice", [finished.clone(), finished].concat()),
        ("both fragments are texts", vec![(TEXT, first), (FIN | TEXT, second)]),
        (
            "five fragments, with pings",
            vec![
                (TEXT, five[0].clone()),
                (CONTINUATION, five[1].clone()),
                ping(),
                (CONTINUATION, five[2].clone()),
                (CONTINUATION, five[3].clone()),
                ping(),
                (FIN | CONTINUATION, five[4].clone()),
            ],
        ),
    ]
}

/// Another program in the process of the server.
fn hand_over(server: &Server) {
    let before = server.log.count("Took over ");
    server.signal(Signal::USR2);
    wait_until(|| server.log.count("Took over ") > before, || "it does not take over".into());
}

/// What a new client hears who says a case, and what the other does, with a handover behind so many bytes. `is_closed` says
/// whether the case ends with a close frame.
fn outcome(
    server: &Server,
    other: &mut Client,
    number: usize,
    case: usize,
    cut: Option<usize>,
    is_closed: bool,
) -> (Vec<Frame>, Vec<String>) {
    let from = id(number);
    let mut client = peer(server, &from);
    let frames = cases(&from).swap_remove(case).1;
    let mut bytes =
        frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect::<Vec<_>>();
    bytes.extend(frame(PING, LAST));
    let mut texts = Vec::new();
    // A connection that the server has ended takes nothing more.
    if let Some(cut) = cut {
        let _ = client.stream.write_all(&bytes[..cut]);
        hear(other, &from, &mut texts);
        // Where it has ended, the server waits for the end of the client, and there is nothing to hand over.
        if is_silent(&client.stream) || !is_closed {
            hand_over(server);
        }
        let _ = client.stream.write_all(&bytes[cut..]);
    } else {
        let _ = client.stream.write_all(&bytes);
    }
    let mut heard = Vec::new();
    while let Some(frame) = client.frame() {
        let is_last = frame.opcode == 8 || frame.opcode == PONG & 0x0F && frame.payload == LAST;
        heard.push(frame);
        if is_last {
            break;
        }
    }
    hear(other, &from, &mut texts);
    (heard, texts)
}

/// What has come from a peer by now. Whose number it is does not matter.
fn hear(other: &mut Client, from: &str, texts: &mut Vec<String>) {
    other.say(r#"{"type":"ping"}"#);
    loop {
        let text = other.text();
        if text.contains(r#""type":"pong""#) {
            return;
        }
        texts.push(text.replace(from, "the peer"));
    }
}

#[test]
fn each_case_ends_as_without_a_handover() {
    let mut command = binary();
    let server = Server::spawn(command.env("RATE_LIMIT", "0"));
    let mut other = peer(&server, B);
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    let mut handovers = 0;
    for (case, (name, frames)) in cases(&id(0)).into_iter().enumerate() {
        let expected = outcome(&server, &mut other, next(), case, None, false);
        let is_closed = expected.0.last().is_some_and(|frame| frame.opcode == 8);
        // In the middle of each frame, and behind it.
        let mut end = 0;
        for (first, payload) in frames {
            let length = frame(first, &payload).len();
            for cut in [end + 1, end + length / 2, end + length] {
                let found = outcome(&server, &mut other, next(), case, Some(cut), is_closed);
                assert_eq!(found, expected, "{name}, cut at {cut}");
                handovers += 1;
            }
            end += length;
        }
    }
    assert!(handovers > 90, "{handovers}");
}
