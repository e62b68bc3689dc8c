//! Messages in more frames than anybody needs.

use std::io::Write;

use crate::talk::frame;
use crate::target::Target;

/// A message of so many bytes that is answered by a pong.
fn ping(length: usize) -> Vec<u8> {
    let without = r#"{"type":"ping","x":""}"#.len();
    format!(r#"{{"type":"ping","x":"{}"}}"#, "y".repeat(length - without)).into_bytes()
}

/// A text message with one byte in each frame.
fn in_single_bytes(message: &[u8]) -> Vec<u8> {
    let last = message.len() - 1;
    let frames = message.iter().enumerate().map(|(at, byte)| {
        let fin = if at == last { 0x80 } else { 0 };
        frame(fin | u8::from(at == 0), &[*byte])
    });
    frames.collect::<Vec<_>>().concat()
}

/// The largest message, one byte a frame. 100 clients that stop before the last byte cost what they have said, twice
/// at most.
#[test]
fn the_largest_message_in_single_bytes_costs_its_bytes() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let whole = in_single_bytes(&ping(65_536));
    let before = target.memory();
    let mut clients: Vec<_> = (0..100).map(|_| target.server.client()).collect();
    for client in &mut clients {
        client.stream.write_all(&whole[..whole.len() - 7]).unwrap();
        // A ping between two fragments: when it is answered, all before it has been read.
        client.send(0x89, b"?");
        assert_eq!(client.frame().unwrap().opcode, 0xA);
    }
    let each = target.peak().saturating_sub(before) / 100;
    println!("{each} bytes for each message under way");
    assert!(each < 2 * 65_536, "{each} bytes each");
    for client in &mut clients {
        client.stream.write_all(&whole[whole.len() - 7..]).unwrap();
        assert!(client.text().contains("pong"));
    }
    drop(clients);
    target.survives();
}

/// A message of a million frames with nothing in them. It costs no memory, is a message like another in the end, and
/// whoever else is there gets its answers in between.
#[test]
fn a_million_empty_continuations_cost_no_memory() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let (mut client, mut other) = (target.server.client(), target.server.client());
    let message =
        [frame(0x01, b""), frame(0x00, b"").repeat(1_000_000), frame(0x80, br#"{"type":"ping"}"#)];
    let before = target.memory();
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&message.concat()).unwrap());
    let mut answers = 0;
    while answers < 20 || !writing.is_finished() {
        assert!(other.ask(r#"{"type":"ping"}"#).contains("pong"));
        answers += 1;
    }
    writing.join().unwrap();
    assert!(client.text().contains("pong"));
    let grown = target.peak().saturating_sub(before);
    println!("{answers} answers for another client meanwhile; {grown} bytes");
    assert!(grown < 1 << 20, "{grown} bytes");
    drop((client, other));
    target.survives();
}

/// JSON as deep as a message can be, where the server looks and where it does not. It must not overflow the stack, and
/// is answered in a few words.
#[test]
fn the_deepest_json_is_a_message_like_another() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let mut client = target.server.client();
    let deep = |open: &str, middle: &str, close: &str| {
        let depth = 65_000 / (open.len() + close.len());
        format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
    };
    let nests = [
        deep("[", "", "]"),
        deep(r#"{"a":"#, "1", "}"),
        format!(r#"{{"type":"ping","x":{}}}"#, deep("[", "", "]")),
        format!(r#"{{"type":{}}}"#, deep("[", "", "]")),
        format!(r#"{{"type":"ice-candidate","candidate":{}}}"#, deep(r#"{"a":"#, "1", "}")),
        "[".repeat(65_536),
        r#"{"type":"#.repeat(8_000),
        format!("{{{}}}", vec![r#""type":"ping""#; 4_500].join(",")),
        format!("{{{}}}", (0..6_000).map(|n| format!(r#""{n}":1"#)).collect::<Vec<_>>().join(",")),
        format!(r#"{{"type":"{}"}}"#, r"\u0041".repeat(10_000)),
    ];
    for nest in nests {
        let answer = client.ask(&nest);
        println!("{nest:.20}…: {answer:.60}");
        assert!(answer.len() < 300, "{answer}");
    }
    client.leave(1000);
    target.survives();
}
