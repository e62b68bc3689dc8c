//! The programme on its way to the process that follows this one.
//!
//! Owns what of it crosses, and what becomes of its connection. It deliberately carries no news: who is to hear them has
//! heard them before.

use std::mem::take;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::programme::account::Account;
use crate::programme::air::Air;
use crate::programme::playout::Outlets;
use crate::programme::programme::{Link, Programme};
use crate::programme::returning::Returning;

/// What of it crosses to the process that follows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CarriedAir {
    programme: Option<Programme>,
    returning: Returning,
    out: Outlets,
    account: Account,
}

impl Air {
    /// What crosses; here nobody is on air any longer.
    pub fn carry(&mut self) -> CarriedAir {
        CarriedAir {
            programme: self.programme.take(),
            returning: take(&mut self.returning),
            out: take(&mut self.out),
            account: self.account,
        }
    }

    /// It goes on at `now`, through the connection that was there, or through another one.
    pub fn go_on(&mut self, carried: CarriedAir, has_connection: bool, now: Instant) {
        let CarriedAir { programme, returning, out, account } = carried;
        (self.programme, self.returning, self.account) = (programme, returning, account);
        self.out.icecast = out.icecast;
        self.out.recording.go_on(out.recording);
        if !self.is_set_up {
            self.programme = None;
        }
        let Some(programme) = &mut self.programme else { return };
        match programme.link {
            Link::Up { .. } if has_connection => programme.link = Link::Up { moved: now },
            Link::Refused => {}
            _ => {
                // A connection was being made, or can't be carried.
                programme.playout.disconnect();
                self.out.icecast.clear();
                programme.link = Link::Down { failures: 0, next: now };
            }
        }
    }
}
