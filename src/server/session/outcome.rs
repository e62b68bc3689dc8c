//! The result of one turn of a session, and how a session ends.
//!
//! Owns [`Turn`], [`End`] with its close frame, [`Goodbye`], [`Ready`] and [`Tally`]. It deliberately does not know what leads to
//! each of them.

use tokio::task::consume_budget;
use tokio::time::Instant;

use crate::server::limits::fairness::Fairness;
use crate::signaling::registry::parting::Parting;
use crate::wire::codes::CloseCode;

/// Why the talking stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client sent a close frame.
    Closed(Option<u16>),
    /// The client broke the protocol, or is dead.
    Refused(CloseCode),
    /// The server goes: the client has until the end of the grace period to answer.
    Going(CloseCode),
    /// The connection broke off.
    Gone,
    /// The next process goes on with it.
    HandedOver,
}

impl End {
    /// The code of the close frame that is sent, if one is, and why for a person.
    pub fn close_frame(self) -> Option<(Option<u16>, &'static str)> {
        match self {
            Self::Gone | Self::HandedOver => None,
            Self::Closed(code) => Some((code, "")),
            Self::Refused(code) | Self::Going(code) => Some((Some(code.0), code.reason())),
        }
    }

    /// How the client goes, for the others.
    pub fn parting(self) -> Parting {
        match self {
            // A page that is closed or loaded again says 1001 (RFC 6455 section 7.4.1).
            Self::Closed(None | Some(1000)) => Parting::Left,
            Self::Closed(_) => Parting::Away,
            Self::Refused(_) | Self::Gone => Parting::Broken,
            Self::Going(CloseCode::RESTARTED) => Parting::Restarting,
            Self::HandedOver | Self::Going(_) => Parting::Stopping,
        }
    }

    /// Whether what the client did not get is for another connection of its own: where this one has ended, is dead, or is
    /// replaced.
    pub fn keeps_unsent(self) -> bool {
        matches!(
            self,
            Self::Gone
                | Self::Refused(CloseCode::REPLACED | CloseCode::DEAD)
                | Self::Going(CloseCode::RESTARTED)
        )
    }

    /// The code for the log, and whose it was.
    pub fn recorded(self) -> (CloseCode, &'static str) {
        match self {
            Self::Gone | Self::HandedOver => (CloseCode::ABNORMAL, "nobody"),
            // 1005 stands for a close frame without a code (RFC 6455 section 7.1.5).
            Self::Closed(code) => (CloseCode(code.unwrap_or(1005)), "client"),
            Self::Refused(code) | Self::Going(code) => (code, "server"),
        }
    }
}

/// What a turn on a ready socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The socket has nothing more now.
    Paused,
    /// The client has said more than a turn reads or answers.
    Busy,
    /// The talking stops.
    End(End),
}

impl Turn {
    /// The turn after a read behind which there may be more.
    pub fn after(has_more: bool) -> Self {
        if has_more { Self::Busy } else { Self::Paused }
    }

    /// Lets others have the thread. A socket that is always ready would keep it for ever: waiting for a
    /// ready socket is no pause, but that tokio counts such waits (coop).
    pub async fn give_way(self, fairness: &Fairness) {
        match self {
            // In a box: few need it, and none for long.
            Self::Busy => Box::pin(fairness.talk()).await,
            _ => consume_budget().await,
        }
    }
}

/// What the log says when the client has gone, beside the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// When it connected.
    pub since: Instant,
    /// How many messages it sent.
    pub messages_in: u64,
    /// How many it was sent.
    pub messages_out: u64,
}

/// How a client that was told to go did so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// It answered, or has gone, or makes no sense.
    Said,
    /// It has its close frame, and says nothing.
    Silent,
}

/// What a turn is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The socket or the outbox.
    Usual,
    /// A contest is over: whether the holder of what was wanted lives.
    Settled {
        /// Whether it does.
        holder_lives: bool,
    },
}
