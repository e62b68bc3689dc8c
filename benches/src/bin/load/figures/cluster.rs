//! Three nodes of a cluster: what a peer elsewhere costs, relays and joins that span nodes, and a node that dies.
//!
//! Owns who is on which node. It deliberately does not know how nodes find each other.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{peer_id, register};
use crate::client::Event;
use crate::measure::percentile;
use crate::pool::{Pool, unexpected};
use crate::process::Process;
use crate::{frame, say};

/// How long nodes may take until they know each other.
const TOGETHER: Duration = Duration::from_secs(60);
/// What a node may still be doing after the last peer came.
const SETTLE: Duration = Duration::from_secs(2);
/// Bytes of the SDP of an offer.
const SDP: usize = 2_000;
/// The room that spans the nodes.
const ENTER: &str = r#"{"type":"create-or-join-room","roomId":"cluster","role":"guest"}"#;

/// A node: where it listens, and its process.
pub type Node = (SocketAddrV4, Process);

/// All figures, with `peers` of other nodes, and for this time each.
pub fn cluster(pool: &mut Pool, nodes: &[Node], peers: usize, time: Duration) -> Result<()> {
    let [first, second, third] = nodes else { anyhow::bail!("a cluster has three nodes here") };
    for (address, _) in nodes {
        wait_for_nodes(*address, nodes.len())?;
    }
    // Half of them are on each of the others, and the first one only knows them.
    let before = first.1.resident()?;
    pool.connect_to(second.0);
    register(pool, 0, peers / 2)?;
    pool.connect_to(third.0);
    register(pool, peers / 2, peers)?;
    pool.rest(SETTLE)?;
    let grown = first.1.resident()?.saturating_sub(before);
    say(&format!("cluster_peer_kib/{peers}"), grown as f64 / peers as f64);
    // Then one on the third node, and one on the first.
    let (far, own) = (peers, peers + 1);
    register(pool, far, far + 1)?;
    pool.connect_to(first.0);
    pool.open(own + 1)?;
    let ask = format!(r#"{{"type":"register","peerId":"{}"}}"#, peer_id(own));
    let (registered, _) = say_and_hear(pool, own, &ask, own, is_registered)?;
    for (name, to) in [("near", 1), ("far", far)] {
        let times = relay(pool, to, time)?;
        say(&format!("cluster_{name}_p50_us"), percentile(&times, 0.5));
        say(&format!("cluster_{name}_p99_us"), percentile(&times, 0.99));
    }
    for id in [0, far] {
        say_and_hear(pool, id, ENTER, id, is_in_room)?;
    }
    let times = join(pool, own, time)?;
    say("cluster_join_p50_ms", percentile(&times, 0.5) / 1e3);
    say("cluster_join_p99_ms", percentile(&times, 0.99) / 1e3);
    say(
        "cluster_back_ms",
        back(pool, first, third.0, (own, &ask, &registered))?.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Waits until a node knows of so many.
pub fn wait_for_nodes(address: SocketAddrV4, nodes: usize) -> Result<()> {
    let (began, right) = (Instant::now(), format!(r#""state":"in-touch","nodes":{nodes},"#));
    loop {
        let answer = get(address, "/health")?;
        if answer.contains(&right) {
            return Ok(());
        }
        ensure!(began.elapsed() < TOGETHER, "{TOGETHER:?} after the start: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a node answers to an HTTP request, with its head.
pub fn get(address: SocketAddrV4, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("a node")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Client 0 offers to `to`, one offer after the other: how long each takes.
fn relay(pool: &mut Pool, to: usize, time: Duration) -> Result<Vec<Duration>> {
    let offer = offer(to);
    repeat(time, || send_offer(pool, to, &offer))
}

/// An offer of client 0 to `to`.
pub fn offer(to: usize) -> String {
    let mut sdp = String::from(r"v=0\r\n");
    while sdp.len() < SDP {
        sdp.push_str(r"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
    }
    let (from, peer) = (peer_id(0), peer_id(to));
    format!(r#"{{"type":"offer","from":"{from}","to":"{peer}","sdp":"{sdp}"}}"#)
}

/// Client 0 sends this offer to `to`: how long that takes.
pub fn send_offer(pool: &mut Pool, to: usize, offer: &str) -> Result<Duration> {
    Ok(say_and_hear(pool, 0, offer, to, |text| text == offer)?.1)
}

/// Comes into the room and leaves it, again and again: how long each way in takes.
fn join(pool: &mut Pool, id: usize, time: Duration) -> Result<Vec<Duration>> {
    repeat(time, || {
        let came = |text: &str| text.starts_with(r#"{"type":"room-joined""#);
        let left = |text: &str| text.starts_with(r#"{"type":"room-left""#);
        let (_, taken) = say_and_hear(pool, id, ENTER, id, came)?;
        say_and_hear(pool, id, r#"{"type":"leave-room"}"#, id, left)?;
        Ok(taken)
    })
}

/// Does something again and again, first for a third of `time` to warm up: how long each took, in order.
fn repeat(time: Duration, mut once: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    let (mut times, began) = (Vec::new(), Instant::now());
    while began.elapsed() < time + time / 3 {
        let taken = once()?;
        if began.elapsed() > time / 3 {
            times.push(taken);
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// Kills a node; its client, which was registered so, takes its place back at another one. How long that takes, from the kill on.
fn back(
    pool: &mut Pool,
    node: &Node,
    other: SocketAddrV4,
    (id, ask, registered): (usize, &str, &str),
) -> Result<Duration> {
    let resume = registered.split(r#""resume":""#).nth(1).and_then(|rest| rest.split('"').next());
    let resume = resume.context("there is a resume")?;
    let again = ask.replace('}', &format!(r#","resume":"{resume}"}}"#));
    say_and_hear(pool, id, ENTER, id, is_in_room)?;
    let began = Instant::now();
    node.1.kill()?;
    wait_for(pool, id, |event| matches!(event, Event::End))?;
    pool.connect_to(other);
    pool.replace(id)?;
    wait_for(pool, id, |event| matches!(event, Event::Open))?;
    pool.came(id)?;
    say_and_hear(pool, id, &again, id, is_registered)?;
    let time = began.elapsed();
    // It is where it was.
    say_and_hear(pool, id, ENTER, id, |text| text.starts_with(r#"{"type":"room-joined""#))?;
    Ok(time)
}

fn is_registered(text: &str) -> bool {
    text.starts_with(r#"{"type":"registered""#)
}

fn is_in_room(text: &str) -> bool {
    text.contains(r#""roomId":"cluster""#)
}

/// Waits until this happens to a client; what others hear is passed over.
fn wait_for(pool: &mut Pool, id: usize, is_it: impl Fn(&Event<'_>) -> bool) -> Result<()> {
    let mut has_come = false;
    while !has_come {
        pool.turn(Duration::from_secs(1), |_, who, event| match event {
            event if who == id && is_it(&event) => {
                has_come = true;
                Ok(())
            }
            Event::Text(_) | Event::Ping => Ok(()),
            other => unexpected(who, other),
        })?;
    }
    Ok(())
}

/// A client says something, and `to` hears something of this kind: what, and after which time. What others hear is passed
/// over, and who comes and goes.
fn say_and_hear(
    pool: &mut Pool,
    from: usize,
    message: &str,
    to: usize,
    is_right: impl Fn(&str) -> bool,
) -> Result<(String, Duration)> {
    pool.expect(to, "an answer");
    pool.send(from, &frame::text(message))?;
    let mut heard = None;
    while heard.is_none() {
        pool.turn(Duration::from_secs(1), |pool, who, event| match event {
            Event::Text(text) if who == to && !text.starts_with(br#"{"type":"peer-"#) => {
                let text = String::from_utf8_lossy(text).into_owned();
                ensure!(is_right(&text), "client {to} got {text:?} for {message:?}");
                heard = Some((text, pool.came(to)?));
                Ok(())
            }
            Event::Text(_) | Event::Ping => Ok(()),
            other => unexpected(who, other),
        })?;
    }
    heard.context("there is something")
}
