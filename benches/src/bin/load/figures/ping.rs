//! A message and a handshake: ping and pong, come and go.
//!
//! Owns what a right pong is. It deliberately does not know which server answers.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::client::{Event, Wire};
use crate::measure::{Span, Window, window};
use crate::pool::{Pool, unexpected};
use crate::process::Process;
use crate::{frame, say};

const PING: &str = r#"{"type":"ping"}"#;
const PONG: &[u8] = br#"{"type":"pong","timestamp":"#;
/// Bytes of a ping on the wire (2 of the head, 4 of the mask), which an echo gives back.
pub const UNIT: usize = 6 + PING.len();

/// Every client sends its next ping when it has its pong.
pub fn ping(pool: &mut Pool, server: &Process, clients: usize, span: Span) -> Result<()> {
    let ping = frame::text(PING);
    pool.open(clients)?;
    for id in 0..clients {
        pool.ask(id, &ping, "a pong")?;
    }
    let window = window(pool, server, span, |pool, id, event| match event {
        Event::Text(text) => {
            check(pool.wire(), text, &ping)?;
            let time = pool.came(id)?;
            pool.ask(id, &ping, "a pong")?;
            Ok(Some(time))
        }
        Event::Ping => Ok(None),
        other => unexpected(id, other).map(|()| None),
    })?;
    say(&format!("ping_cpu_us/{clients}"), window.cpu());
    say(&format!("ping_rate/{clients}"), window.rate());
    say(&format!("ping_p50_us/{clients}"), window.percentile(0.5));
    say(&format!("ping_p99_us/{clients}"), window.percentile(0.99));
    say(&format!("ping_p999_us/{clients}"), window.percentile(0.999));
    say(&format!("ping_load_us/{clients}"), window.own());
    Ok(())
}

pub fn check(wire: Wire, text: &[u8], ping: &[u8]) -> Result<()> {
    let right = match wire {
        Wire::Echo(_) => text == ping,
        // ms since 1970 have 13 digits until the year 2286.
        Wire::WebSocket => text.strip_prefix(PONG).is_some_and(|rest| {
            rest.len() == 14 && rest[13] == b'}' && rest[..13].iter().all(u8::is_ascii_digit)
        }),
    };
    if !right {
        bail!("no pong but {:?}", String::from_utf8_lossy(text));
    }
    Ok(())
}

/// Every client comes, gets its welcome, leaves with a close frame, and is followed by the next when TCP has ended.
pub fn handshakes(pool: &mut Pool, server: &Process, clients: usize, time: Duration) -> Result<()> {
    let close = frame::close(1000);
    for _ in 0..clients {
        pool.add()?;
    }
    let window: Window = window(pool, server, Span::Time(time), |pool, id, event| match event {
        Event::Open => {
            let time = pool.came(id)?;
            pool.leave(id, &close)?;
            Ok(Some(time))
        }
        Event::Close(1000) => Ok(None),
        Event::End => {
            pool.came(id)?;
            pool.replace(id).map(|()| None)
        }
        other => unexpected(id, other).map(|()| None),
    })?;
    say("handshake_rate", window.rate());
    say("handshake_cpu_us", window.cpu());
    say("handshake_p99_us", window.percentile(0.99));
    say("handshake_load_us", window.own());
    Ok(())
}
