//! Clients that want the same ids and rooms everywhere, and a model of what they may see.
//!
//! Owns what is no fault of the nodes', as a fault was made there. It deliberately makes none.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::support::{UPGRADE, head};
use crate::talk::frame;

const IDS: u64 = 40;
const ROOMS: u64 = 8;

/// How long a seat is kept at most, with the longest time for which a node stands still, and until the others notice.
const KEPT: Duration = Duration::from_secs(10 + 15 + 15);

/// Within this time, an owner surely finds its seat where no node fails.
const SURELY: Duration = Duration::from_secs(6);

/// How long after a fault what it has done may be seen still: the nodes give one up after 10 s.
const AFTER: Duration = Duration::from_secs(15);

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

/// From when to when a client surely had an id.
#[derive(Clone, Debug)]
struct Held {
    id: u64,
    node: usize,
    from: Instant,
    to: Instant,
}

/// When a node did not run, or not for sure: what its clients had then is not sure either.
pub struct Fault {
    /// The node.
    pub node: usize,
    /// When it began.
    pub from: Instant,
    /// When it was over.
    pub to: Instant,
}

/// What a client sees only where a node fails.
struct Odd {
    what: String,
    nodes: [usize; 2],
    from: Instant,
    to: Instant,
}

/// What all clients have seen, and what was done to the nodes.
#[derive(Default)]
pub struct Seen {
    held: Mutex<Vec<Held>>,
    odd: Mutex<Vec<Odd>>,
    faults: Mutex<Vec<Fault>>,
    answers: Mutex<BTreeMap<String, usize>>,
    /// When a client was last in a room under an id, or may have been, and went without a word: its seat is kept.
    kept: Mutex<HashMap<(u64, String), Instant>>,
}

impl Seen {
    /// A fault is over.
    pub fn fault(&self, node: usize, from: Instant) {
        self.faults.lock().unwrap().push(Fault { node, from, to: Instant::now() });
    }

    fn may_be_kept(&self, id: u64, room: &str) {
        self.kept.lock().unwrap().insert((id, room.to_owned()), Instant::now());
    }

    fn is_kept(&self, id: u64, room: Option<&str>) -> bool {
        let kept = self.kept.lock().unwrap();
        kept.iter().any(|((held, place), since)| {
            *held == id && room.is_none_or(|room| room == place) && since.elapsed() < KEPT
        })
    }

    fn odd(&self, what: String, nodes: [usize; 2], from: Instant) {
        self.odd.lock().unwrap().push(Odd { what, nodes, from, to: Instant::now() });
    }

    /// No id was held twice at one time, and what is odd has a fault that explains it. How many answers there were.
    pub fn judge(&self) -> usize {
        let faults = self.faults.lock().unwrap();
        let mut held = self.held.lock().unwrap().clone();
        let (all, answers) = (held.len(), self.answers.lock().unwrap());
        for one in &mut held {
            // A node that does not answer can't speak for its clients: these may be taken over.
            let own = faults.iter().filter(|fault| fault.node == one.node);
            if let Some(fault) = own
                .filter(|fault| fault.from < one.to && one.from < fault.to)
                .min_by_key(|fault| fault.from)
            {
                one.to = fault.from.max(one.from);
            }
        }
        held.sort_by_key(|one| (one.id, one.from));
        let twice =
            held.windows(2).filter(|pair| pair[0].id == pair[1].id && pair[1].from < pair[0].to);
        let twice: Vec<_> = twice.collect();
        let odd = self.odd.lock().unwrap();
        let is_explained = |odd: &&Odd| {
            faults.iter().any(|fault| {
                odd.nodes.contains(&fault.node)
                    && fault.from < odd.to
                    && odd.from < fault.to + AFTER
            })
        };
        let (explained, unexplained): (Vec<_>, Vec<_>) = odd.iter().partition(is_explained);
        eprintln!(
            "{all} times an id was held, {} times something odd, {answers:?}",
            explained.len()
        );
        assert!(twice.is_empty(), "{twice:#?}");
        for Fault { node, from, to } in faults.iter() {
            eprintln!("node {node} failed from {:?} to {:?} ago", from.elapsed(), to.elapsed());
        }
        for Odd { what, nodes, from, to } in &unexplained {
            eprintln!(
                "{what}, nodes {nodes:?}, from {:?} to {:?} ago",
                from.elapsed(),
                to.elapsed()
            );
        }
        assert!(unexplained.is_empty(), "no fault explains this");
        all
    }

    /// How often clients got this answer.
    pub fn answers(&self, kind: &str) -> usize {
        self.answers.lock().unwrap().get(kind).copied().unwrap_or_default()
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

fn id(number: u64) -> String {
    format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}")
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
                    if !self.enter_and_leave(&mut stay, &room) {
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
        let mut answers = self.seen.answers.lock().unwrap();
        *answers.entry(kind(&answer).to_owned()).or_default() += 1;
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
        let (from, to) = (Instant::now(), Instant::now());
        Some(Stay { caller, node, id, resume, from, to, surely: None })
    }

    /// What it had with this connection is written down.
    fn end(&self, stay: &Stay) {
        let Stay { id, node, from, to, .. } = *stay;
        self.seen.held.lock().unwrap().push(Held { id, node, from, to });
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
                return true;
            }
            "already-in-room"
                if answer.contains(room) && self.seen.is_kept(stay.id, Some(room)) =>
            {
                return true;
            }
            other => return self.surprise(stay, other),
        }
        stay.to = before;
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
        match kind(&answer) {
            "room-left" => {
                stay.to = before;
                if stay.id >= IDS {
                    self.seen.kept.lock().unwrap().remove(&(stay.id, room.to_owned()));
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
                        format!("{} has lost its seat, way {way}", id(stay.id)),
                        nodes,
                        begun,
                    );
                }
                true
            }
            other => self.surprise(stay, other),
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
        match kind(&answer) {
            "registered" => {
                *self.seen.answers.lock().unwrap().entry("back".to_owned()).or_default() += 1
            }
            "cluster-unavailable" => return false,
            other => {
                if has_seat {
                    self.seen.odd(format!("{other} for {id} with its proof"), nodes, begun);
                }
                return false;
            }
        }
        let is_early = begun.elapsed() < SURELY;
        let mut old = std::mem::replace(&mut stay.caller, caller);
        (stay.node, stay.from, stay.to) = (node, Instant::now(), Instant::now());
        stay.surely = (has_seat && is_early).then_some((nodes, begun));
        if lives && !old.ends() {
            self.seen.odd(format!("two connections with {id}"), nodes, begun);
        }
        true
    }

    /// An answer that comes only where a node fails: the client has lost its id, and its connection ends.
    fn surprise(&mut self, stay: &mut Stay, kind: &str) -> bool {
        let from = stay.from;
        assert_eq!(kind, "not-registered", "on node {}: {:#?}", stay.node, stay.caller.1);
        // Its owner may be back.
        if !self.seen.is_kept(stay.id, None) {
            self.seen.odd(format!("{} is lost", id(stay.id)), [stay.node; 2], from);
        }
        if !stay.caller.ends() {
            self.seen.odd(format!("{} goes on without its id", id(stay.id)), [stay.node; 2], from);
        }
        false
    }
}
