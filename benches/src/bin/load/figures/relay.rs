//! Offers from peer to peer, with few and with many registered.
//!
//! Owns the offer. It deliberately does not know answers and candidates, which go the same way.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{peer_id, register};
use crate::client::Event;
use crate::measure::window;
use crate::pool::{Pool, unexpected};
use crate::process::Process;
use crate::{frame, say};

/// Bytes of an SDP: what a browser offers for one audio track, without candidates.
const SDP: usize = 1_400;
/// Offers under way at the same time, however many peers there are.
const AT_ONCE: usize = 32;

/// Half of the peers send an offer to the other half. All pairs have their turn, so that a server that has to
/// find a peer among many has to find another one each time.
pub fn relay(pool: &mut Pool, server: &Process, totals: &[usize], time: Duration) -> Result<()> {
    let mut registered = 0;
    for &total in totals {
        register(pool, registered, total)?;
        registered = total;
        // The even send to the odd: the client of pair k that sends is 2k.
        let pairs = total / 2;
        ensure!(pairs >= AT_ONCE, "at least {} peers are needed", 2 * AT_ONCE);
        let offers: Vec<String> = (0..pairs).map(offer).collect();
        let frames: Vec<Vec<u8>> = offers.iter().map(|offer| frame::text(offer)).collect();
        let send = |pool: &mut Pool, pair: usize| {
            pool.expect(2 * pair + 1, "an offer");
            pool.send(2 * pair, &frames[pair])
        };
        for pair in 0..AT_ONCE {
            send(pool, pair)?;
        }
        let mut next = AT_ONCE % pairs;
        let window = window(pool, server, time, |pool, id, event| match event {
            Event::Text(text) => {
                let right = id % 2 == 1 && text == offers[id / 2].as_bytes();
                ensure!(right, "not the offer but {:?}", String::from_utf8_lossy(text));
                let time = pool.came(id)?;
                send(pool, next)?;
                next = (next + 1) % pairs;
                Ok(Some(time))
            }
            Event::Ping => Ok(None),
            other => unexpected(id, other).map(|()| None),
        })?;
        say(&format!("relay_cpu_us/{total}"), window.cpu());
        say(&format!("relay_rate/{total}"), window.rate());
        say(&format!("relay_p99_us/{total}"), window.percentile(0.99));
        settle(pool)?;
    }
    Ok(())
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
