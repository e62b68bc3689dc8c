//! Ten clients that talk while others want much, and what those cost.
//!
//! Owns the attacks and what is measured of each. It deliberately judges nothing: whether the ten may wait so long is
//! the reader's to say.

use std::io::Write;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::{ClientConfig, ClientConnection};

use super::{peer_id, ping};
use crate::client::{Event, Wire};
use crate::crowd::{Blocking, Nuisance, clients, connect};
use crate::pool::{Pool, unexpected};
use crate::process::Process;
use crate::{frame, say};

/// How many clients talk beside the attack.
const TALKERS: usize = 10;

/// What a server may still be doing for an attack that is over.
const SETTLE: Duration = Duration::from_secs(1);

/// More than the ten and the server need, and less than a hoard wants.
const DESCRIPTORS: u64 = 100;

/// An answer or a stop that takes longer than this never comes.
const PATIENCE: Duration = Duration::from_secs(120);

const PING: &str = r#"{"type":"ping"}"#;

/// What the server is, beside its wire.
pub struct Kind {
    /// Whether it has rooms and answers HTTP as the signaling server does.
    pub ours: bool,
    /// Whether it gives anybody an answer while 20 flood it.
    pub bears_crowds: bool,
    pub tls: Option<Arc<ClientConfig>>,
}

/// How long ten clients wait for their pongs, in 99 of 100 cases: alone, and under each attack. Of the signaling server
/// also what some attacks cost, and how long its end takes in the middle of them.
pub fn attack(
    pool: &mut Pool,
    server: &Process,
    address: SocketAddrV4,
    kind: &Kind,
    time: Duration,
) -> Result<()> {
    let wire = pool.wire();
    // How long they wait is the figure; only who waits in vain is an error.
    pool.wait_up_to(PATIENCE);
    pool.open(TALKERS)?;
    waits(pool, time, "quiet")?;
    if let Some(tls) = &kind.tls {
        let handshakes = Nuisance::handshakes(address, hello(tls)?);
        return under(handshakes, pool, time, "handshakes");
    }
    let messages = frame::text(PING).repeat(500);
    let one = |bytes| Ok::<_, anyhow::Error>(Nuisance::hammer(clients(address, wire, 1)?, bytes));
    under(Nuisance::half_open(address, 2_000), pool, time, "half_open")?;
    under(one(messages.clone())?, pool, time, "flood")?;
    if kind.bears_crowds {
        let crowd = Nuisance::hammer(clients(address, wire, 20)?, messages.clone());
        under(crowd, pool, time, "crowd")?;
    }
    if wire == Wire::WebSocket {
        under(one(frame::ping(&[b'x'; 125]).repeat(500))?, pool, time, "pings")?;
    }
    if !kind.ours {
        return Ok(());
    }

    let requests = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let asking = (0..200).map(|_| connect(address)).collect::<Result<Vec<_>>>()?;
    under(Nuisance::hammer(asking, requests), pool, time, "requests")?;
    let keys = [r#"{"type":"ping""#, &r#","\n":0"#.repeat(4_000), "}"].concat();
    let crowd = Nuisance::hammer(clients(address, wire, 100)?, frame::text(&keys));
    under(crowd, pool, time, "keys")?;
    let news = frame::text(r#"{"type":"recording-state","recording":true}"#).repeat(97);
    under(Nuisance::hammer(room(address, 100)?, news), pool, time, "broadcasts")?;

    work(address, server)?;
    idle(pool, address, server, time)?;
    stop(pool, address, server, messages)
}

fn under(nuisance: Nuisance, pool: &mut Pool, time: Duration, name: &str) -> Result<()> {
    waits(pool, time, name).with_context(|| format!("under attack: {name}"))?;
    nuisance.end().with_context(|| name.to_owned())?;
    pool.rest(SETTLE).map(drop)
}

/// Each of the ten sends its next ping when it has its pong, for `time` and until each has had one: under attack some
/// servers have none for anybody within that time.
fn waits(pool: &mut Pool, time: Duration, name: &str) -> Result<()> {
    let ping = frame::text(PING);
    for id in 0..TALKERS {
        pool.ask(id, &ping, "a pong")?;
    }
    let end = Instant::now() + time;
    let (mut times, mut answered, mut left) = (Vec::new(), [false; TALKERS], TALKERS);
    while left > 0 {
        pool.turn(Duration::from_secs(1), |pool, id, event| match event {
            Event::Text(text) => {
                ping::check(pool.wire(), text, &ping)?;
                times.push(pool.came(id)?);
                answered[id] = true;
                if Instant::now() < end || answered.contains(&false) {
                    pool.ask(id, &ping, "a pong")
                } else {
                    left -= 1;
                    Ok(())
                }
            }
            Event::Ping => Ok(()),
            other => unexpected(id, other),
        })?;
    }
    times.sort_unstable();
    let p99 = times[(times.len() - 1) * 99 / 100];
    say(&format!("attack_{name}_p99_us"), p99.as_secs_f64() * 1e6);
    Ok(())
}

/// The first that a client of TLS says.
fn hello(tls: &Arc<ClientConfig>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut client = ClientConnection::new(Arc::clone(tls), "localhost".try_into()?)?;
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// Clients who are in a room together. They do not read what they are told about it.
fn room(address: SocketAddrV4, number: usize) -> Result<Vec<std::net::TcpStream>> {
    let mut streams = clients(address, Wire::WebSocket, number)?;
    for (number, stream) in streams.iter_mut().enumerate() {
        let register = format!(r#"{{"type":"register","peerId":"{}"}}"#, peer_id(number));
        stream.write_all(&frame::text(&register))?;
        stream.write_all(&frame::text(r#"{"type":"create-or-join-room","roomId":"loud"}"#))?;
    }
    Ok(streams)
}

/// Whether what is four times as long is four times the work, and deep JSON is no more work than flat JSON.
fn work(address: SocketAddrV4, server: &Process) -> Result<()> {
    let mut client = Blocking::open(address, Wire::WebSocket)?;
    // ns of the server's for bytes that have one answer: the least of five tries.
    let mut cost = |bytes: &[u8]| {
        let mut least = u64::MAX;
        for _ in 0..5 {
            let before = server.cpu()?;
            client.stream.write_all(bytes)?;
            client.next()?;
            least = least.min(server.cpu()? - before);
        }
        Ok::<_, anyhow::Error>(least as f64)
    };
    let single = |length: usize| {
        let text = format!(r#"{{"type":"ping","x":"{}"}}"#, "y".repeat(length));
        frame::in_pieces(text.as_bytes().chunks(1))
    };
    say("attack_single_ratio", cost(&single(64_000))? / cost(&single(16_000))?);
    let empty = |number: usize| {
        let pieces = std::iter::repeat_n(&b""[..], number);
        frame::in_pieces(pieces.chain([PING.as_bytes()]))
    };
    say("attack_empty_ratio", cost(&empty(1_000_000))? / cost(&empty(250_000))?);
    let flat = frame::text(&format!(r#"{{"type":"ping","x":"{}"}}"#, "y".repeat(64_000)));
    let deep = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(32_000), "]".repeat(32_000));
    say("attack_deep_ratio", cost(&frame::text(&deep))? / cost(&flat)?);
    Ok(())
}

/// What the server does while it can do nothing: 200 clients want answers and read none, and then there are more
/// connections than descriptors.
fn idle(pool: &mut Pool, address: SocketAddrV4, server: &Process, time: Duration) -> Result<()> {
    let pings = frame::ping(&[b'x'; 125]).repeat(500);
    let mut deaf = Vec::new();
    for _ in 0..200 {
        let mut client = Blocking::open(address, Wire::WebSocket)?;
        client.fill(&pings)?;
        deaf.push(client);
    }
    say("attack_deaf_percent", share(pool, server, time)?);
    drop(deaf);
    pool.rest(SETTLE)?;
    let before = server.limit_descriptors(DESCRIPTORS)?;
    let hoard = (0..500).map(|_| connect(address)).collect::<Result<Vec<_>>>()?;
    say("attack_exhausted_percent", share(pool, server, time)?);
    server.limit_descriptors(before)?;
    drop(hoard);
    pool.rest(SETTLE).map(drop)
}

/// How much of a core the server takes while nobody says anything, in percent.
fn share(pool: &mut Pool, server: &Process, time: Duration) -> Result<f64> {
    pool.rest(SETTLE)?;
    let (cpu, began) = (server.cpu()?, Instant::now());
    pool.rest(time)?;
    Ok((server.cpu()? - cpu) as f64 / began.elapsed().as_nanos() as f64 * 100.0)
}

/// SIGTERM in the middle of it: how long until the ten have their close frame, and until the process has ended once
/// the attackers go.
fn stop(pool: &mut Pool, address: SocketAddrV4, server: &Process, messages: Vec<u8>) -> Result<()> {
    let crowd = [
        Nuisance::half_open(address, 500),
        Nuisance::hammer(clients(address, Wire::WebSocket, 20)?, messages),
    ];
    pool.rest(SETTLE)?;
    let reply = frame::close(1001);
    server.terminate()?;
    let began = Instant::now();
    let mut left = TALKERS;
    let mut told = Duration::ZERO;
    let mut was_told = [false; TALKERS];
    while left > 0 {
        ensure!(began.elapsed() < PATIENCE, "{left} are there {PATIENCE:?} after SIGTERM");
        pool.turn(Duration::from_secs(1), |pool, id, event| match event {
            Event::Close(1001) => {
                was_told[id] = true;
                told = began.elapsed();
                pool.send(id, &reply)
            }
            Event::End if was_told[id] => {
                left -= 1;
                Ok(())
            }
            Event::Ping => Ok(()),
            other => unexpected(id, other),
        })?;
    }
    say("attack_told_ms", told.as_secs_f64() * 1e3);
    let began = Instant::now();
    for nuisance in crowd {
        nuisance.end()?;
    }
    ensure!(
        server.ended(PATIENCE)?,
        "the process has not ended {PATIENCE:?} after its last client"
    );
    say("attack_ended_ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
