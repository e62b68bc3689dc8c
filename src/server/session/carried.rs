//! A client on its way to the process that follows this one.
//!
//! Owns what of its connection crosses. It deliberately does not know how it gets there.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::server::session::buffers::with_scratch;
use crate::server::session::exchange::Exchange;
use crate::server::session::heartbeat::{CarriedHeartbeat, Heartbeat};
use crate::server::session::link::Link;
use crate::server::session::outcome::{End, Tally, Turn};
use crate::server::session::socket::Socket;
use crate::server::state::State;
use crate::signaling::carried::{CarriedConversation, Owed};
use crate::signaling::conversation::{ClientInfo, Conversation};
use crate::wire::carried::{Bytes, Moment, is_default};
use crate::wire::decoder::{Bound, Decoder};
use crate::wire::head::Endpoint;
use crate::wire::ids::ClientId;

/// A client without its socket.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedClient {
    /// Its number.
    pub client: ClientId,
    /// Its address.
    pub ip: IpAddr,
    since: Moment,
    heartbeat: CarriedHeartbeat,
    #[serde(default, skip_serializing_if = "is_default")]
    messages_in: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    messages_out: u64,
    link: CarriedLink,
    conversation: CarriedConversation,
}

/// What waits on a socket, on its way to the process that follows.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedLink {
    /// Of the frame and message that are under way.
    #[serde(default, skip_serializing_if = "is_default")]
    begun: Bytes,
    #[serde(default, skip_serializing_if = "is_default")]
    is_skipping: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    unread: Bytes,
    #[serde(default, skip_serializing_if = "is_default")]
    pending: Bytes,
    #[serde(default, skip_serializing_if = "is_default")]
    cut: usize,
    #[serde(default, skip_serializing_if = "is_default")]
    bytes_in: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    bytes_out: u64,
}

/// A client that can't go on.
#[derive(Debug)]
pub struct NoWayOn {
    /// Its socket.
    pub tcp: Option<TcpStream>,
    /// What it has not taken.
    pub unsent: Vec<u8>,
}

impl CarriedClient {
    /// What it has not taken.
    pub fn into_unsent(self) -> Vec<u8> {
        self.link.pending.0
    }
}

impl Link {
    /// The socket and what waits on it, where it can be carried: not with TLS, whose state is in this process.
    pub fn carry(self) -> Option<(TcpStream, CarriedLink)> {
        let Self { socket, decoder, pending, cut, unread, bytes_in, bytes_out } = self;
        let tcp = socket.into_plain()?;
        let is_skipping = decoder.is_skipping();
        let (begun, unread) = (Bytes(decoder.into_unread()), Bytes(unread));
        let pending = Bytes(pending);
        Some((tcp, CarriedLink { begun, is_skipping, unread, pending, cut, bytes_in, bytes_out }))
    }

    /// It goes on, with messages of this size.
    ///
    /// # Errors
    ///
    /// Where what was carried makes no sense: what the client has not taken.
    fn go_on(socket: Socket, carried: CarriedLink, bound: Bound) -> Result<Self, NoWayOn> {
        let CarriedLink { begun, is_skipping, unread, pending, cut, bytes_in, bytes_out } = carried;
        let mut decoder = Decoder::new(Endpoint::Server, usize::MAX);
        if is_skipping {
            decoder.skip();
        }
        let mut begun = begun.0;
        // It is the beginning of something, and nothing whole.
        if decoder.next(&mut &mut begun[..]).is_err() {
            return Err(NoWayOn { tcp: socket.into_plain(), unsent: pending.0 });
        }
        decoder.bound_messages(bound);
        let cut = cut.min(pending.0.len());
        let (pending, unread) = (pending.0, unread.0);
        Ok(Self { socket, decoder, pending, cut, unread, bytes_in, bytes_out })
    }
}

impl<C: Conversation> Exchange<C> {
    /// The client and its socket, where it can be carried; else nothing has changed but that it hears nothing more.
    pub fn carry(mut self, now: Instant) -> Option<(TcpStream, CarriedClient)> {
        let conversation = self.conversation.carry(now)?;
        let (tcp, link) = self.link.carry()?;
        let Tally { since, messages_in, messages_out } = self.tally;
        let since = Moment::new(since, now);
        let heartbeat = self.heartbeat.carry(now);
        let (client, ip) = (self.client, self.ip);
        let carried = CarriedClient {
            client,
            ip,
            since,
            heartbeat,
            messages_in,
            messages_out,
            link,
            conversation,
        };
        Some((tcp, carried))
    }

    /// It goes on at `now`, and the client is owed this.
    ///
    /// # Errors
    ///
    /// Where it can't go on.
    pub fn go_on(
        state: Arc<State>,
        tcp: TcpStream,
        carried: CarriedClient,
        now: Instant,
    ) -> Result<(Self, Option<Owed>), NoWayOn> {
        let CarriedClient {
            client,
            ip,
            since,
            heartbeat,
            messages_in,
            messages_out,
            link,
            conversation,
        } = carried;
        let (identity, is_check) = conversation.identified();
        let info = ClientInfo { client, ip, identity, is_check };
        let studio = Arc::clone(&state.studio);
        let Some((conversation, owed)) = C::go_on(studio, info, conversation, now) else {
            return Err(NoWayOn { tcp: Some(tcp), unsent: link.pending.0 });
        };
        let bound = conversation.bound(state.studio.config.max_message_bytes);
        let link = Link::go_on(Socket::plain(tcp), link, bound)?;
        let tally = Tally { since: since.at(now), messages_in, messages_out };
        let heartbeat = Heartbeat::go_on(heartbeat, now);
        Ok((Self { client, ip, link, conversation, state, heartbeat, tally }, owed))
    }

    /// Says what the client was owed when it was carried.
    pub fn pay(&mut self, owed: Option<Owed>) -> Option<End> {
        with_scratch(|scratch| {
            let owed = owed?;
            let news = self
                .with_replies(&mut scratch.out, |conversation, out| conversation.pay(owed, out));
            self.spread(news, &mut scratch.out).or_else(|| self.flush(&mut scratch.out.frames))
        })
    }

    /// Why the client ends here, where the process hands over the others.
    pub fn last_end(&mut self) -> Option<End> {
        // What had come before is handled here; how much that may be is bounded.
        while self.conversation.is_to_yield() {
            if let Turn::End(end) = self.yield_place() {
                return Some(end);
            }
        }
        self.collect(&mut Vec::new(), 0)
    }
}
