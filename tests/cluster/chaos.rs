//! Faults in any order, by a seed, while clients want the same ids and rooms everywhere.
//!
//! What clients saw is held against a model: no id is held twice, answers fit the questions, nobody stays as a ghost, and
//! all nodes agree. `CHAOS_SECONDS` and `CHAOS_SEED` make a longer run, and another one:
//!
//!     CHAOS_SECONDS=600 CHAOS_SEED=7 tests/run cluster

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::callers::{Random, Visitor};
use crate::fetch::get;
use crate::nats::Nats;
use crate::nodes::{agree, health, start, wait_for};
use crate::seen::Seen;
use crate::support::{Server, wait_until};
use crate::ways::Ways;

const NODES: usize = 3;
const CLIENTS: usize = 30;

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
    let mut logs = Vec::new();
    let mut nodes: Vec<Server> = (0..NODES).map(|index| run(&nats, index)).collect();
    wait_for(&nodes.iter().collect::<Vec<_>>(), NODES);
    let ports: Arc<Vec<AtomicU16>> =
        Arc::new(nodes.iter().map(|node| AtomicU16::new(node.port)).collect());
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..CLIENTS as u64)
        .map(|number| {
            let (ports, seen, stop) = (Arc::clone(&ports), Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                let random = Random(seed * 1000 + number);
                let visitor = Visitor { random, address: number, ports: &ports, seen: &seen };
                visitor.come_and_go(&stop);
            })
        })
        .collect();
    let mut random = Random(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    // Where something is wrong, the logs are short and tell of it.
    while Instant::now() < end && !seen.is_wrong() {
        std::thread::sleep(random.time(500, 3000));
        let (what, which) = (random.below(7), random.below(NODES as u64) as usize);
        let from = Instant::now();
        let fault = |from| seen.fault(which, from);
        match what {
            0 => {
                eprintln!("nats {which} is killed");
                nats.kill(which);
                std::thread::sleep(random.time(500, 5000));
                nats.bring_back(which);
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
                logs.push(std::mem::replace(&mut nodes[which], run(&nats, which)).log.clone());
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
                logs.push(std::mem::replace(&mut nodes[which], run(&nats, which)).log.clone());
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
    logs.extend(nodes.iter().map(|node| node.log.clone()));
    assert!(seen.judge(&logs) > 50, "there was something to judge");
    assert!(seen.answers("back") > 0, "somebody has come back");
}

const SETTINGS: &[(&str, &str)] =
    &[("ROLE_RESERVE_MS", "0"), ("MAX_CONNECTIONS_PER_IP", "0"), ("TRUSTED_PROXIES", "127.0.0.1")];
