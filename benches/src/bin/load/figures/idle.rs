//! Clients that say nothing: their memory, their heartbeats, how they go.
//!
//! Owns what is asked of a server with many of them. It deliberately does not know messages.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::client::Event;
use crate::pool::{Pool, unexpected};
use crate::process::Process;
use crate::{frame, say};

/// What a server may still be doing after the last client came or went: shrinking a table, collecting garbage.
const SETTLE: Duration = Duration::from_secs(1);
/// A drain, or the departure of all clients, that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Resident memory with ever more clients that have their welcome, against none.
pub fn memory(pool: &mut Pool, server: &Process, totals: &[usize]) -> Result<()> {
    let empty = server.resident()?;
    say("empty_kib", empty as f64);
    say("resident_kib/0", empty as f64);
    for &total in totals {
        pool.open(total)?;
        pool.rest(SETTLE)?;
        let full = server.resident()?;
        say(&format!("resident_kib/{total}"), full as f64);
        say(&format!("memory_kib/{total}"), full.saturating_sub(empty) as f64 / total as f64);
    }
    Ok(())
}

/// CPU of a server that does nothing but find out whether its clients are alive.
pub fn heartbeat(pool: &mut Pool, server: &Process, clients: usize, time: Duration) -> Result<()> {
    pool.open(clients)?;
    pool.rest(SETTLE)?;
    let (cpu, began) = (server.cpu()?, Instant::now());
    let pings = pool.rest(time)?;
    let (cpu, wall) = (server.cpu()? - cpu, began.elapsed());
    ensure!(pings >= clients, "{clients} clients got {pings} pings in {time:?}");
    say(&format!("heartbeat_percent/{clients}"), cpu as f64 / wall.as_nanos() as f64 * 100.0);
    say(&format!("heartbeat_pings/{clients}"), pings as f64 / clients as f64);
    Ok(())
}

/// SIGTERM: how long until every client has close frame 1001, and until the process has ended.
pub fn drain(pool: &mut Pool, server: &Process, clients: usize) -> Result<()> {
    let reply = frame::close(1001);
    pool.open(clients)?;
    pool.rest(SETTLE)?;
    let mut told = vec![false; clients];
    let (mut last_told, mut left) = (Duration::ZERO, clients);
    server.terminate()?;
    let began = Instant::now();
    while left > 0 {
        ensure!(
            began.elapsed() < PATIENCE,
            "{left} of {clients} clients are there {PATIENCE:?} after SIGTERM"
        );
        pool.turn(Duration::from_secs(1), |pool, id, event| match event {
            Event::Close(1001) => {
                told[id] = true;
                last_told = began.elapsed();
                pool.send(id, &reply)
            }
            Event::End if told[id] => {
                left -= 1;
                Ok(())
            }
            Event::Ping => Ok(()),
            other => unexpected(id, other),
        })?;
    }
    ensure!(
        server.ended(PATIENCE)?,
        "the process has not ended {PATIENCE:?} after its last client"
    );
    say(&format!("drain_told_ms/{clients}"), last_told.as_secs_f64() * 1e3);
    say(&format!("drain_ms/{clients}"), began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// Resident memory after many clients came and went, again and again.
pub fn churn(pool: &mut Pool, server: &Process, clients: usize, times: usize) -> Result<()> {
    ensure!(times >= 2, "--times is 2 or more");
    let close = frame::close(1000);
    let descriptors = server.descriptors()?;
    let mut after = Vec::new();
    for _ in 0..times {
        pool.open(clients)?;
        for id in 0..clients {
            pool.leave(id, &close)?;
        }
        let mut left = clients;
        while left > 0 {
            pool.turn(Duration::from_secs(1), |pool, id, event| match event {
                Event::Close(1000) | Event::Ping => Ok(()),
                Event::End => {
                    left -= 1;
                    pool.came(id).map(drop)
                }
                other => unexpected(id, other),
            })?;
        }
        pool.clear();
        forgotten(pool, server, descriptors)?;
        pool.rest(SETTLE)?;
        after.push(server.resident()? as f64);
    }
    let [first, .., last] = after[..] else { bail!("--times is 2 or more") };
    say(&format!("churn_first_kib/{clients}"), first);
    say(&format!("churn_last_kib/{clients}"), last);
    say(&format!("churn_ratio/{clients}"), last / first);
    Ok(())
}

/// Waits until the server has closed the descriptors of those who went. A few more than before are none of a client:
/// a runtime may have opened some of its own.
fn forgotten(pool: &mut Pool, server: &Process, before: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        let now = server.descriptors()?;
        if now <= before + 8 {
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{now} descriptors are open after all went, {before} before"
        );
        pool.rest(Duration::from_millis(20))?;
    }
}
