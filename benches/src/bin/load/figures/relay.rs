//! Offers from peer to peer, with few and with many registered.
//!
//! Owns the offer. It deliberately does not know answers and candidates, which go the same way.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{peer_id, register};
use crate::client::Event;
use crate::measure::{Span, Window, window};
use crate::pool::{Pool, unexpected};
use crate::process::Process;
use crate::{frame, say};

/// Bytes of an SDP: what a browser offers for one audio track, without candidates.
const SDP: usize = 1_400;
/// Offers under way at the same time, however many peers there are.
const AT_ONCE: usize = 32;

/// Which pairs an offer under way goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Back to the same pair: few talk while many are there, so that the number of those is all that grows.
    Same,
    /// On to another pair, until all have had their turn: what cold caches cost comes on top, in the kernel, too.
    Other,
}

/// Half of the peers send offers to the other half.
pub fn relay(pool: &mut Pool, server: &Process, totals: &[usize], span: Span) -> Result<()> {
    let mut registered = 0;
    for &total in totals {
        register(pool, registered, total)?;
        registered = total;
        let few = talk(pool, server, total, span, Next::Same)?;
        say(&format!("relay_cpu_us/{total}"), few.cpu());
        say(&format!("relay_rate/{total}"), few.rate());
        say(&format!("relay_p99_us/{total}"), few.percentile(0.99));
        if let Span::Exchanges(_) = span {
            continue;
        }
        let all = talk(pool, server, total, span, Next::Other)?;
        say(&format!("relay_all_cpu_us/{total}"), all.cpu());
    }
    Ok(())
}

/// Keeps as many offers under way as there may be. Client 2k of pair k sends, client 2k + 1 receives.
fn talk(pool: &mut Pool, server: &Process, total: usize, span: Span, next: Next) -> Result<Window> {
    let pairs = total / 2;
    ensure!(pairs >= AT_ONCE, "at least {} peers are needed", 2 * AT_ONCE);
    let offers: Vec<String> = (0..pairs).map(offer).collect();
    let frames: Vec<Vec<u8>> = offers.iter().map(|offer| frame::text(offer)).collect();
    let send = |pool: &mut Pool, pair: usize| {
        pool.expect(2 * pair + 1, "an offer");
        pool.send(2 * pair, &frames[pair])
    };
    for slot in 0..AT_ONCE {
        // Who talks is spread over the order in which all registered.
        send(pool, if next == Next::Same { slot * (pairs / AT_ONCE) } else { slot })?;
    }
    let window = window(pool, server, span, |pool, id, event| match event {
        Event::Text(text) => {
            let pair = id / 2;
            let right = id % 2 == 1 && text == offers[pair].as_bytes();
            ensure!(right, "client {id} got no offer but {:?}", String::from_utf8_lossy(text));
            let time = pool.came(id)?;
            match next {
                Next::Same => send(pool, pair)?,
                // Each offer under way has pairs of its own, so that none is in two at once.
                Next::Other if pair + AT_ONCE < pairs => send(pool, pair + AT_ONCE)?,
                Next::Other => send(pool, pair % AT_ONCE)?,
            }
            Ok(Some(time))
        }
        Event::Ping => Ok(None),
        other => unexpected(id, other).map(|()| None),
    })?;
    settle(pool)?;
    Ok(window)
}

/// Lets the offers arrive that are still under way.
fn settle(pool: &mut Pool) -> Result<()> {
    let mut left = AT_ONCE;
    while left > 0 {
        pool.turn(Duration::from_secs(1), |pool, id, event| match event {
            Event::Text(_) => {
                left -= 1;
                pool.came(id).map(drop)
            }
            Event::Ping => Ok(()),
            other => unexpected(id, other),
        })?;
    }
    Ok(())
}

fn offer(pair: usize) -> String {
    let mut sdp = String::from(r"v=0\r\n");
    while sdp.len() < SDP {
        sdp.push_str(r"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
    }
    let (from, to) = (peer_id(2 * pair), peer_id(2 * pair + 1));
    format!(r#"{{"type":"offer","from":"{from}","to":"{to}","sdp":"{sdp}"}}"#)
}
