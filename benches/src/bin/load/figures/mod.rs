//! The figures, and what several of them send.
//!
//! Owns the messages and ids of clients. It deliberately does not know how time is measured.

pub mod attack;
pub mod broadcast;
pub mod cluster;
pub mod idle;
pub mod large;
pub mod ping;
pub mod relay;
pub mod restart;
pub mod start;

use anyhow::{Result, bail};

use crate::client::Event;
use crate::frame;
use crate::pool::{Pool, unexpected};

/// How many set-up messages are under way at the same time.
const AT_ONCE: usize = 64;

/// The peer id of a client: a UUID v4 (RFC 9562) in form.
fn peer_id(number: usize) -> String {
    format!("be4c4000-0000-4000-8000-{number:012x}")
}

/// Brings the number of registered clients up to `total`, who so far are `registered`.
fn register(pool: &mut Pool, registered: usize, total: usize) -> Result<()> {
    pool.open(total)?;
    ask_each(pool, registered..total, |id| {
        let request = format!(r#"{{"type":"register","peerId":"{}"}}"#, peer_id(id));
        (request, format!(r#"{{"type":"registered","peerId":"{}""#, peer_id(id)))
    })
}

/// Sends each of these clients' question and waits until each has its answer, which begins with the second text.
/// Other answers that begin with a text of `peer-joined` are none of its business.
fn ask_each(
    pool: &mut Pool,
    clients: impl ExactSizeIterator<Item = usize>,
    texts: impl Fn(usize) -> (String, String),
) -> Result<()> {
    let mut left = clients.len();
    let mut clients = clients;
    let ask = |pool: &mut Pool, id: usize| {
        pool.ask(id, &frame::text(&texts(id).0), "the answer to a question of the set-up")
    };
    for id in clients.by_ref().take(AT_ONCE) {
        ask(pool, id)?;
    }
    while left > 0 {
        pool.turn(std::time::Duration::from_secs(1), |pool, id, event| match event {
            Event::Ping => Ok(()),
            Event::Text(text) if text.starts_with(br#"{"type":"peer-joined""#) => Ok(()),
            Event::Text(text) => {
                let expected = texts(id).1;
                if !text.starts_with(expected.as_bytes()) {
                    bail!("client {id} got {:?} for {expected:?}", String::from_utf8_lossy(text));
                }
                pool.came(id)?;
                left -= 1;
                clients.next().map_or(Ok(()), |next| ask(pool, next))
            }
            other => unexpected(id, other),
        })?;
    }
    Ok(())
}
