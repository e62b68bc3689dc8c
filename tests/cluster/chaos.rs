//! Faults in any order, by a seed, while clients want the same ids and rooms everywhere.
//!
//! What clients saw is held against a model: no id is held twice, answers fit the questions, nobody stays as a ghost, and
//! all nodes agree. `CHAOS_SECONDS` and `CHAOS_SEED` make a longer run, and another one:
//!
//!     CHAOS_SECONDS=600 CHAOS_SEED=7 tests/run cluster

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fetch::get;
use crate::nats::Nats;
use crate::nodes::{agree, health, start, wait_for};
use crate::support::{Server, UPGRADE, head, wait_until};
use crate::talk::frame;
use crate::ways::Ways;

const NODES: usize = 3;
const CLIENTS: usize = 30;
const IDS: u64 = 40;
const ROOMS: u64 = 8;

/// Numbers that look random and are the same for each seed (SplitMix64, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn time(&mut self, least: u64, most: u64) -> Duration {
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
#[derive(Clone, Debug)]
struct Fault {
    node: usize,
    from: Instant,
    to: Instant,
}

#[derive(Default)]
struct Seen {
    held: Mutex<Vec<Held>>,
    faults: Mutex<Vec<Fault>>,
    answers: Mutex<BTreeMap<String, usize>>,
    /// When a client was last in a room under an id, or may have been, and went without a word: its seat is kept.
    kept: Mutex<HashMap<(u64, String), Instant>>,
}

impl Seen {
    fn may_be_kept(&self, id: u64, room: &str) {
        self.kept.lock().unwrap().insert((id, room.to_owned()), Instant::now());
    }

    fn is_kept(&self, id: u64, room: &str) -> bool {
        let kept = self.kept.lock().unwrap().get(&(id, room.to_owned())).copied();
        kept.is_some_and(|since| since.elapsed() < KEPT)
    }
}

/// How long a seat is kept at most, with the longest time for which a node stands still, and until the others notice.
const KEPT: Duration = Duration::from_secs(10 + 15 + 15);

/// A client that answers pings while it waits, and what it has said and heard.
struct Caller(TcpStream, Vec<String>);

impl Caller {
    fn open(port: u16) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(40))).ok()?;
        stream.write_all(&head(UPGRADE)).ok()?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            answer.push(byte[0]);
        }
        let mut caller = Self(stream, Vec::new());
        answer.starts_with(b"HTTP/1.1 101").then_some(())?;
        caller.text()?;
        Some(caller)
    }

    /// The next message, or `None` at the end.
    fn text(&mut self) -> Option<String> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).ok()?;
            let length = match head[1] {
                126 => {
                    let mut bytes = [0; 2];
                    self.0.read_exact(&mut bytes).ok()?;
                    usize::from(u16::from_be_bytes(bytes))
                }
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).ok()?;
            match head[0] & 15 {
                1 => return String::from_utf8(payload).ok(),
                9 => self.0.write_all(&frame(0x8A, &payload)).ok()?,
                8 => return None,
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
            let answer = self.text()?;
            self.1.push(answer.clone());
            if answer.contains(&own) {
                return Some(answer);
            }
        }
    }
}

fn id(number: u64) -> String {
    format!("f47ac10b-58cc-4372-a567-0e02b2c3{number:04x}")
}

fn kind(answer: &str) -> String {
    let part = |name: &str| answer.split(&format!(r#""{name}":""#)).nth(1)?.split('"').next();
    part("code").or_else(|| part("type")).unwrap_or_default().to_owned()
}

/// Registers, comes into a room and goes, again and again.
fn call(mut random: Random, ports: &[AtomicU16], seen: &Seen, stop: &AtomicBool) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let node = random.below(NODES as u64) as usize;
        let wanted = random.below(IDS);
        let Some(mut caller) = Caller::open(ports[node].load(Ordering::Relaxed)) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let mut ask = |caller: &mut Caller, text: &str| {
            number += 1;
            let answer = caller.ask(text, number)?;
            *seen.answers.lock().unwrap().entry(kind(&answer)).or_default() += 1;
            Some(answer)
        };
        let register = format!(r#"{{"type":"register","peerId":"{}"}}"#, id(wanted));
        let Some(answer) = ask(&mut caller, &register) else { continue };
        if kind(&answer) != "registered" {
            assert!(
                ["already-registered", "cluster-unavailable"].contains(&&*kind(&answer)),
                "{answer}"
            );
            continue;
        }
        let (from, mut to) = (Instant::now(), Instant::now());
        for _ in 0..random.below(4) {
            let room = format!("room {}", random.below(ROOMS));
            let enter =
                format!(r#"{{"type":"create-or-join-room","roomId":"{room}","role":"guest"}}"#);
            let before = Instant::now();
            let Some(answer) = ask(&mut caller, &enter) else {
                seen.may_be_kept(wanted, &room);
                break;
            };
            to = before;
            match &*kind(&answer) {
                "room-created" => {}
                "room-joined" => {
                    let list = answer.split(r#""participants":["#).nth(1).unwrap();
                    let list = list.split(']').next().unwrap();
                    assert_eq!(list.matches(&id(wanted)).count(), 1, "{answer}");
                    assert!(
                        list.rsplit('{').next().unwrap().contains(&id(wanted)),
                        "last: {answer}"
                    );
                }
                "cluster-unavailable" => {
                    // It may be made, and its client gone before it is undone.
                    seen.may_be_kept(wanted, &room);
                    continue;
                }
                "already-in-room" if answer.contains(&room) && seen.is_kept(wanted, &room) => {
                    continue;
                }
                "not-registered" => break,
                other => panic!("{other}, on node {node}: {:#?}", caller.1),
            }
            std::thread::sleep(random.time(0, 30));
            let before = Instant::now();
            let Some(answer) = ask(&mut caller, r#"{"type":"leave-room"}"#) else {
                seen.may_be_kept(wanted, &room);
                break;
            };
            to = before;
            match &*kind(&answer) {
                "room-left" => {}
                "cluster-unavailable" | "not-registered" => {
                    seen.may_be_kept(wanted, &room);
                    break;
                }
                other => panic!("{other}, on node {node}: {:#?}", caller.1),
            }
        }
        seen.held.lock().unwrap().push(Held { id: wanted, node, from, to });
        if random.below(3) > 0 {
            let _ = caller.0.write_all(&frame(0x88, &1000u16.to_be_bytes()));
        }
    }
}

#[test]
fn faults_in_any_order_break_no_promise() {
    let seconds = std::env::var("CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let (seconds, seed) = (seconds.unwrap_or(40), seed.unwrap_or(1));
    eprintln!("CHAOS_SECONDS={seconds} CHAOS_SEED={seed}");
    let mut nats = Nats::three();
    let ways: Vec<Ways> = (0..NODES).map(|_| Ways::to(&nats.ports())).collect();
    let run = |nats: &Nats, index: usize| {
        let urls = ways[index].urls(index);
        start(nats, index, &[SETTINGS, &[("NATS_URL", &*urls)]].concat())
    };
    let mut nodes: Vec<Server> = (0..NODES).map(|index| run(&nats, index)).collect();
    wait_for(&nodes.iter().collect::<Vec<_>>(), NODES);
    let ports: Arc<Vec<AtomicU16>> =
        Arc::new(nodes.iter().map(|node| AtomicU16::new(node.port)).collect());
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..CLIENTS as u64)
        .map(|number| {
            let (ports, seen, stop) = (Arc::clone(&ports), Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || call(Random(seed * 1000 + number), &ports, &seen, &stop))
        })
        .collect();
    let mut random = Random(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::sleep(random.time(500, 3000));
        let (what, which) = (random.below(7), random.below(NODES as u64) as usize);
        let from = Instant::now();
        let fault = |from| {
            let to = Instant::now();
            seen.faults.lock().unwrap().push(Fault { node: which, from, to });
        };
        match what {
            0 => {
                eprintln!("nats {which} is killed");
                nats.kill(which);
                std::thread::sleep(random.time(500, 5000));
                nats.start_again(which);
                nats.wait_for(which);
            }
            1 => {
                eprintln!("nats {which} stands still");
                nats.signal(which, Signal::STOP);
                std::thread::sleep(random.time(500, 12_000));
                nats.signal(which, Signal::CONT);
            }
            2 => {
                eprintln!("node {which} is killed");
                nodes[which].child.kill().unwrap();
                nodes[which].wait();
                std::thread::sleep(random.time(100, 3000));
                nodes[which] = run(&nats, which);
                ports[which].store(nodes[which].port, Ordering::Relaxed);
                fault(from);
            }
            3 => {
                eprintln!("node {which} stands still");
                nodes[which].signal(Signal::STOP);
                std::thread::sleep(random.time(500, 15_000));
                nodes[which].signal(Signal::CONT);
                std::thread::sleep(Duration::from_secs(1));
                fault(from);
            }
            4 => {
                eprintln!("node {which} is cut off");
                ways[which].cut();
                std::thread::sleep(random.time(100, 15_000));
                ways[which].mend();
                std::thread::sleep(Duration::from_secs(1));
                fault(from);
            }
            5 => {
                eprintln!("node {which} is restarted");
                nodes[which].signal(Signal::USR2);
            }
            _ => {
                eprintln!("node {which} stops");
                nodes[which].signal(Signal::TERM);
                nodes[which].wait();
                nodes[which] = run(&nats, which);
                ports[which].store(nodes[which].port, Ordering::Relaxed);
                fault(from);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    let nodes: Vec<_> = nodes.iter().collect();
    wait_for(&nodes, NODES);
    // Nobody stays, when all that was kept has ended.
    for node in &nodes {
        let is_empty = || {
            let metrics = get(node.port, "/metrics").body;
            ["peers 0", "rooms 0", "seats_kept 0"]
                .iter()
                .all(|line| metrics.contains(&format!("\nopenstudio_signaling_{line}\n")))
        };
        wait_until(is_empty, || format!("{}\n{}", health(node), get(node.port, "/metrics").body));
    }
    agree(&nodes);
    for node in &nodes {
        node.log.find("a line about that", |lines| {
            let diverged = lines.iter().find(|line| line.contains("do not agree"));
            assert_eq!(diverged, None);
            Some(())
        });
    }
    judge(&seen);
}

const SETTINGS: &[(&str, &str)] = &[("ROLE_RESERVE_MS", "0"), ("MAX_CONNECTIONS_PER_IP", "0")];

/// No id was held twice at one time.
fn judge(seen: &Seen) {
    let faults = seen.faults.lock().unwrap();
    let mut held = seen.held.lock().unwrap().clone();
    let all = held.len();
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
    eprintln!("{all} times an id was held, {:?}", seen.answers.lock().unwrap());
    assert!(twice.is_empty(), "{twice:#?}");
    assert!(all > 50, "there was something to judge");
}
