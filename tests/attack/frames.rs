//! Messages in more frames than anybody needs.

use std::io::Write;
use std::time::Duration;

use crate::support::{Client, frame};
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

/// What the server's processor does for `bytes`, which end with a ping: the least of five tries.
fn cost(target: &Target, client: &mut Client, bytes: &[u8]) -> Duration {
    let tries = (0..5).map(|_| {
        let before = target.cpu();
        client.stream.write_all(bytes).unwrap();
        assert!(client.text().contains("pong"));
        target.cpu() - before
    });
    tries.min().unwrap()
}

/// The largest message, one byte a frame. Four times the bytes are four times the work, not sixteen times: at
/// most eight. And 100 clients that stop before the last byte cost what they have said, twice at most.
#[test]
fn the_largest_message_in_single_bytes_is_linear_work() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let mut client = target.server.client();
    let whole = in_single_bytes(&ping(65_536));
    let small = cost(&target, &mut client, &in_single_bytes(&ping(16_384)));
    let large = cost(&target, &mut client, &whole);
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    println!("16,384 bytes {small:?}, 65,536 bytes {large:?}: {ratio:.2} times");
    assert!(ratio < 8.0, "{ratio}");
    client.leave(1000);

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

/// A message of a million frames with nothing in them. It costs no memory, four times the frames are at most eight
/// times the work, and whoever else is there gets its answers in between.
#[test]
fn a_million_empty_continuations_cost_no_memory() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let (mut client, mut other) = (target.server.client(), target.server.client());
    let message = |frames: usize| {
        let start = frame(0x01, b"");
        let middle = frame(0x00, b"").repeat(frames - 2);
        let end = frame(0x80, br#"{"type":"ping"}"#);
        [start, middle, end].concat()
    };
    let before = target.memory();
    let small = cost(&target, &mut client, &message(250_000));
    let large = cost(&target, &mut client, &message(1_000_000));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    let grown = target.peak().saturating_sub(before);
    println!("250,000 frames {small:?}, a million {large:?}: {ratio:.2} times; {grown} bytes");
    assert!(ratio < 8.0, "{ratio}");
    assert!(grown < 1 << 20, "{grown} bytes");

    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&message(1_000_000)).unwrap());
    let mut answers = 0;
    while !writing.is_finished() {
        assert!(other.ask(r#"{"type":"ping"}"#).contains("pong"));
        answers += 1;
    }
    writing.join().unwrap();
    assert!(client.text().contains("pong"));
    println!("{answers} answers for another client meanwhile");
    assert!(answers >= 20, "{answers}");
    drop((client, other));
    target.survives();
}

/// JSON as deep as a message can be, where the server looks and where it does not. It must neither overflow the stack
/// nor take more time than some flat text: at most 30 times that.
#[test]
fn the_deepest_json_is_a_message_like_another() {
    let target = Target::start(&[("RATE_LIMIT", "0")]);
    let mut client = target.server.client();
    let flat = frame(0x81, &ping(65_536));
    let usual = cost(&target, &mut client, &flat);
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
        let (bytes, before) = (frame(0x81, nest.as_bytes()), target.cpu());
        client.stream.write_all(&bytes).unwrap();
        let answer = client.text();
        let cost = target.cpu() - before;
        println!("{:.20}… {cost:?}, a flat one {usual:?}: {answer:.60}", nest);
        assert!(answer.len() < 300, "{answer}");
        assert!(cost < 30 * usual.max(Duration::from_millis(1)), "{cost:?}, {nest:.40}");
    }
    client.leave(1000);
    target.survives();
}
