//! Clients that want the same ids and rooms everywhere, and come back with their proofs.
//!
//! Owns which answers they expect. It deliberately does not know what fails.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::seen::{Held, Seen, id};
use crate::support::{UPGRADE, head};
use crate::talk::frame;

const IDS: u64 = 40;
const ROOMS: u64 = 8;

/// Within this time, an owner surely finds its seat where no node fails.
const SURELY: Duration = Duration::from_secs(6);

/// How long a client waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(40);

/// Numbers that look random and are the same for each seed (SplitMix64, Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn time(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least))
    }
}

/// A client that answers pings while it waits, and what it has said and heard.
struct Caller(TcpStream, Vec<String>);

impl Caller {
    /// A client with an address of its own.
    fn open(port: u16, address: u64) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let address = format!("X-Forwarded-For: 192.0.2.{address}");
        stream.write_all(&head(&[UPGRADE, &[&*address]].concat())).ok()?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            answer.push(byte[0]);
        }
        let mut caller = Self(stream, Vec::new());
        answer.starts_with(b"HTTP/1.1 101").then_some(())?;
        caller.text().ok()??;
        Some(caller)
    }

    /// The next message, or `None` at the end; an error where neither comes.
    fn text(&mut self) -> Result<Option<String>, ErrorKind> {
        match self.read() {
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                Err(error.kind())
            }
            Err(_) => Ok(None),
            Ok(text) => Ok(text),
        }
    }

    fn read(&mut self) -> std::io::Result<Option<String>> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head)?;
            let length = match head[1] {
                126 => {
                    let mut bytes = [0; 2];
                    self.0.read_exact(&mut bytes)?;
                    usize::from(u16::from_be_bytes(bytes))
                }
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload)?;
            match head[0] & 15 {
                1 => return Ok(String::from_utf8(payload).ok()),
                9 => self.0.write_all(&frame(0x8A, &payload))?,
                8 => return Ok(None),
                _ => {}
            }
        }
    }

    /// The answer to a message; what others say meanwhile is passed over.
    fn ask(&mut self, text: &str, number: u64) -> Option<String> {
        let text = text.replacen('{', &format!(r#"{{"requestId":"{number}","#), 1);
        self.0.write_all(&frame(0x81, text.as_bytes())).ok()?;
        let own = format!(r#""requestId":"{number}""#);
        self.1.push(text);
        loop {
            let answer = self.text().ok()??;
            self.1.push(answer.clone());
            if answer.contains(&own) {
                return Some(answer);
            }
        }
    }

    /// Whether its connection is ended by the server.
    fn ends(&mut self) -> bool {
        loop {
            match self.text() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.split(&format!(r#""{name}":""#)).nth(1)?.split('"').next()
}

fn kind(answer: &str) -> &str {
    field(answer, "code").or_else(|| field(answer, "type")).unwrap_or_default()
}

/// Somebody who comes again and again.
pub struct Visitor<'a> {
    /// What it does.
    pub random: Random,
    /// The last part of its address.
    pub address: u64,
    /// Where the nodes are.
    pub ports: &'a [AtomicU16],
    /// What it sees.
    pub seen: &'a Seen,
}

/// A client that has an id.
struct Stay {
    caller: Caller,
    node: usize,
    id: u64,
    resume: String,
    from: Instant,
    /// When it asked last for something that it got.
    to: Instant,
    /// Where it has to find its seat, as it came back in time: by which nodes, and since when.
    surely: Option<([usize; 2], Instant)>,
}

impl Visitor<'_> {
    /// Registers, comes into rooms and goes, on any node, until it is to stop.
    pub fn come_and_go(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if let Some(mut stay) = self.register() {
                for _ in 0..self.random.below(4) {
                    let room = format!("room {}", self.random.below(ROOMS));
                    self.seen.enters(stay.id, &room);
                    let goes_on = self.enter_and_leave(&mut stay, &room);
                    self.seen.leaves(stay.id, &room);
                    self.note(&stay, &format!("is done with {room}, and goes on: {goes_on}"));
                    if !goes_on {
                        break;
                    }
                }
                self.end(&stay);
                if self.random.below(3) > 0 {
                    let _ = stay.caller.0.write_all(&frame(0x88, &1000u16.to_be_bytes()));
                }
            }
        }
    }

    fn note(&self, Stay { id, node, .. }: &Stay, what: &str) {
        self.seen.note(*id, &format!("client {} on node {node} {what}", self.address));
    }

    fn open(&mut self) -> Option<(usize, Caller)> {
        let node = self.random.below(self.ports.len() as u64) as usize;
        let caller = Caller::open(self.ports[node].load(Ordering::Relaxed), self.address);
        if caller.is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Some((node, caller?))
    }

    fn ask(&mut self, caller: &mut Caller, text: &str) -> Option<String> {
        let answer = caller.ask(text, self.random.next())?;
        self.seen.answer(kind(&answer));
        Some(answer)
    }

    fn register(&mut self) -> Option<Stay> {
        let (node, mut caller) = self.open()?;
        // Others may have kept a seat under an id that all use, and an id has one.
        let is_own = self.random.below(3) == 0;
        let id = if is_own { IDS + self.address } else { self.random.below(IDS) };
        let register = format!(r#"{{"type":"register","peerId":"{}"}}"#, self::id(id));
        let answer = self.ask(&mut caller, &register)?;
        if kind(&answer) != "registered" {
            let expected = ["already-registered", "cluster-unavailable"];
            assert!(expected.contains(&kind(&answer)), "{answer}");
            return None;
        }
        let resume = field(&answer, "resume").unwrap().to_owned();
        let from = Instant::now();
        Some(Stay { caller, node, id, resume, from, to: from, surely: None })
    }

    /// What it had with this connection is written down.
    fn end(&self, stay: &Stay) {
        let Stay { id, node, from, to, .. } = *stay;
        self.seen.held(Held { id, node, from, to });
    }

    /// Whether it goes on.
    fn enter_and_leave(&mut self, stay: &mut Stay, room: &str) -> bool {
        let enter = format!(r#"{{"type":"create-or-join-room","roomId":"{room}","role":"guest"}}"#);
        let before = Instant::now();
        let Some(answer) = self.ask(&mut stay.caller, &enter) else {
            self.seen.may_be_kept(stay.id, room);
            return false;
        };
        match kind(&answer) {
            "room-created" => {}
            "room-joined" => {
                let own = id(stay.id);
                let list = answer.split(r#""participants":["#).nth(1).unwrap();
                let list = list.split(']').next().unwrap();
                assert_eq!(list.matches(&own).count(), 1, "{answer}");
                assert!(list.rsplit('{').next().unwrap().contains(&own), "last: {answer}");
            }
            "cluster-unavailable" => {
                // It may be made, and its client gone before it is undone.
                self.seen.may_be_kept(stay.id, room);
                self.note(stay, &format!("may be in {room}"));
                return true;
            }
            "already-in-room"
                if answer.contains(room) && self.seen.is_kept(stay.id, Some(room)) =>
            {
                return true;
            }
            other => return self.surprise(stay, room, other),
        }
        stay.to = before;
        self.note(stay, &format!("is in {room}"));
        std::thread::sleep(self.random.time(0, 30));
        let way = self.random.below(8);
        let is_back = way < 2;
        if is_back && !self.come_back(stay, room, way == 0) {
            self.seen.may_be_kept(stay.id, room);
            return false;
        }
        let before = Instant::now();
        let Some(answer) = self.ask(&mut stay.caller, r#"{"type":"leave-room"}"#) else {
            self.seen.may_be_kept(stay.id, room);
            return false;
        };
        self.note(stay, &format!("hears to its leave of {room}: {}", kind(&answer)));
        match kind(&answer) {
            "room-left" => {
                stay.to = before;
                if stay.id >= IDS {
                    self.seen.is_back(stay.id, room);
                }
                true
            }
            "cluster-unavailable" => {
                self.seen.may_be_kept(stay.id, room);
                false
            }
            "not-in-room" if is_back => {
                if let Some((nodes, begun)) = stay.surely {
                    self.seen.odd(
                        &format!("has lost its seat: {:#?}", stay.caller.1),
                        stay.id,
                        nodes,
                        begun,
                    );
                }
                true
            }
            other => self.surprise(stay, room, other),
        }
    }

    /// Takes its place in a room by another connection with its proof, while the first one lives or when it broke.
    fn come_back(&mut self, stay: &mut Stay, room: &str, lives: bool) -> bool {
        let begun = Instant::now();
        // The owner of an earlier seat may come back meanwhile.
        let has_seat = !self.seen.is_kept(stay.id, None);
        if !lives {
            let _ = stay.caller.0.shutdown(Shutdown::Both);
            self.seen.may_be_kept(stay.id, room);
            std::thread::sleep(self.random.time(0, 2000));
        }
        self.end(stay);
        stay.from = stay.to;
        let Some((node, mut caller)) = self.open() else { return false };
        let nodes = [stay.node, node];
        let (id, resume) = (id(stay.id), &stay.resume);
        let register = format!(r#"{{"type":"register","peerId":"{id}","resume":"{resume}"}}"#);
        let Some(answer) = self.ask(&mut caller, &register) else { return false };
        self.note(stay, &format!("hears on node {node} to its proof: {}", kind(&answer)));
        match kind(&answer) {
            "registered" => self.seen.answer("back"),
            "cluster-unavailable" => return false,
            other => {
                if has_seat {
                    self.seen.odd(&format!("hears {other}"), stay.id, nodes, begun);
                }
                return false;
            }
        }
        let is_early = begun.elapsed() < SURELY;
        let mut old = std::mem::replace(&mut stay.caller, caller);
        // What it said and heard before tells where its seat is.
        stay.caller.1.splice(0..0, std::mem::take(&mut old.1));
        let from = Instant::now();
        (stay.node, stay.from, stay.to) = (node, from, from);
        stay.surely = (has_seat && is_early).then_some((nodes, begun));
        if lives && !old.ends() {
            self.seen.odd("has two connections", stay.id, nodes, begun);
        }
        true
    }

    /// An answer that comes only where a node fails: the client has lost its id, and its connection ends.
    fn surprise(&mut self, stay: &mut Stay, room: &str, kind: &str) -> bool {
        let (id, nodes, from) = (stay.id, [stay.node; 2], stay.from);
        if kind != "not-registered" {
            let what = format!("hears {kind} on node {}: {:#?}", stay.node, stay.caller.1);
            self.seen.wrong(&what, id);
            return false;
        }
        // Its owner may be back.
        if !self.seen.is_kept(id, None) {
            self.seen.odd(&format!("is lost: {:#?}", stay.caller.1), id, nodes, from);
        }
        if !stay.caller.ends() {
            self.seen.odd("goes on without its id", id, nodes, from);
        }
        // It may have been in the room when it lost its id.
        self.seen.may_be_kept(id, room);
        false
    }
}
