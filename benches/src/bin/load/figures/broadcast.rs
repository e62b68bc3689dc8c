//! What one says to everyone in its room.
//!
//! Owns the rooms and the recording states in them. It deliberately does not know other kinds of broadcast, which
//! go the same way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{ask_each, peer_id, register};
use crate::client::Event;
use crate::measure::{Span, window};
use crate::pool::{Pool, unexpected};
use crate::process::Process;
use crate::{frame, say};

/// Clients in all rooms together, so that a broadcast to few is measured on a server as busy as one to many.
const CLIENTS: usize = 100;

/// What a room waits for.
struct Room {
    recording: bool,
    left: usize,
}

/// Rooms of `size`, the first client of each of which tells all others whether it records, and then the contrary.
pub fn broadcast(pool: &mut Pool, server: &Process, size: usize, span: Span) -> Result<()> {
    ensure!((1..=CLIENTS).contains(&size), "a room has 1 to {CLIENTS} clients");
    let rooms = CLIENTS / size;
    register(pool, 0, rooms * size)?;
    // The hosts first, who make the rooms.
    let hosts = (0..rooms).map(|room| room * size);
    ask_each(pool, hosts, |id| (enter(id / size, "host"), r#"{"type":"room-created""#.into()))?;
    for guest in 1..size {
        let guests = (0..rooms).map(|room| room * size + guest);
        ask_each(pool, guests, |id| {
            (enter(id / size, "guest"), r#"{"type":"room-joined""#.into())
        })?;
    }
    swallow(pool)?;

    let mut states: Vec<Room> = (0..rooms).map(|_| Room { recording: false, left: 0 }).collect();
    let say_next = |pool: &mut Pool, room: usize, state: &mut Room| {
        *state = Room { recording: !state.recording, left: size };
        for id in room * size..(room + 1) * size {
            pool.expect(id, "a recording state");
        }
        pool.send(room * size, &frame::text(&recording(state.recording)))
    };
    for (room, state) in states.iter_mut().enumerate() {
        say_next(pool, room, state)?;
    }
    let window = window(pool, server, span, |pool, id, event| match event {
        Event::Text(text) => {
            let room = id / size;
            let state = &mut states[room];
            check(text, state.recording, &peer_id(room * size))?;
            let time = pool.came(id)?;
            state.left -= 1;
            if state.left > 0 {
                return Ok(None);
            }
            say_next(pool, room, state)?;
            Ok(Some(time))
        }
        Event::Ping => Ok(None),
        other => unexpected(id, other).map(|()| None),
    })?;
    say(&format!("broadcast_cpu_us/{size}"), window.cpu());
    say(&format!("broadcast_each_cpu_us/{size}"), window.cpu() / size as f64);
    say(&format!("broadcast_p99_us/{size}"), window.percentile(0.99));
    Ok(())
}

fn enter(room: usize, role: &str) -> String {
    format!(r#"{{"type":"create-or-join-room","roomId":"bench-{room}","role":"{role}"}}"#)
}

fn recording(on: bool) -> String {
    format!(r#"{{"type":"recording-state","recording":{on}}}"#)
}

/// In which order the keys come is the server's to choose.
fn check(text: &[u8], on: bool, from: &str) -> Result<()> {
    let text = std::str::from_utf8(text).context("a broadcast is no UTF-8")?;
    let right = text.contains(r#""type":"recording-state""#)
        && text.contains(&format!(r#""recording":{on}"#))
        && text.contains(&format!(r#""from":"{from}""#));
    ensure!(right, "not the recording state {on} from {from} but {text}");
    Ok(())
}

/// Lets those arrive who joined after others.
fn swallow(pool: &mut Pool) -> Result<()> {
    let mut quiet = false;
    while !quiet {
        quiet = true;
        pool.turn(Duration::from_millis(200), |_, id, event| match event {
            Event::Text(text) if text.starts_with(br#"{"type":"peer-joined""#) => {
                quiet = false;
                Ok(())
            }
            Event::Ping => Ok(()),
            other => unexpected(id, other),
        })?;
    }
    Ok(())
}
