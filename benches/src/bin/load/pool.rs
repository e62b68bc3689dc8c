//! All clients of a run on one epoll and one thread.
//!
//! Owns the loop, and that no client waits for ever. It deliberately does not know what is measured.

use std::mem;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::ClientConfig;

use crate::client::{Client, Event, Wire};

/// Longer than this, and an answer is late: far beyond what a scheduler does, and short enough to be waited for.
const LATE: Duration = Duration::from_secs(15);
/// How many clients shake hands at the same time while many are brought up.
const AT_ONCE: usize = 256;
/// Room for the largest message here (an offer of 1.5 KB) many times over.
const BUFFER: usize = 65_536;
/// Events that are taken from epoll at a time.
const EVENTS: usize = 256;

pub struct Pool {
    epoll: OwnedFd,
    server: SocketAddrV4,
    wire: Wire,
    tls: Option<Arc<ClientConfig>>,
    clients: Vec<Client>,
    open: usize,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
    looked: Instant,
    /// How long a client waits before its answer is late.
    patience: Duration,
}

impl Pool {
    pub fn new(server: SocketAddrV4, wire: Wire, tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).context("epoll")?,
            server,
            wire,
            tls,
            clients: Vec::new(),
            open: 0,
            buffer: vec![0; BUFFER],
            events: Vec::with_capacity(EVENTS),
            looked: Instant::now(),
            patience: LATE,
        })
    }

    /// Lets clients wait for so long.
    pub fn wait_up_to(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Clients that come from here on connect to this server.
    pub fn connect_to(&mut self, server: SocketAddrV4) {
        self.server = server;
    }

    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Brings the number of clients up to `total`, each with its welcome.
    pub fn open(&mut self, total: usize) -> Result<()> {
        while self.open < total {
            while self.clients.len() < total && self.clients.len() - self.open < AT_ONCE {
                self.add()?;
            }
            self.turn(LATE, |pool, id, event| match event {
                Event::Open => pool.came(id).map(drop),
                Event::Ping => Ok(()),
                other => unexpected(id, other),
            })?;
        }
        Ok(())
    }

    /// Another client, which starts to connect.
    pub fn add(&mut self) -> Result<()> {
        let id = self.clients.len();
        let client = self.dial(id)?;
        self.clients.push(client);
        Ok(())
    }

    /// Puts a new client in the place of one that has ended.
    pub fn replace(&mut self, id: usize) -> Result<()> {
        self.clients[id] = self.dial(id)?;
        Ok(())
    }

    fn dial(&self, id: usize) -> Result<Client> {
        let client = Client::dial(id, self.server, self.tls.as_ref());
        let client = client.with_context(|| format!("client {id}"))?;
        let data = EventData::new_u64(id as u64);
        epoll::add(&self.epoll, &client.stream, data, EventFlags::OUT).context("epoll")?;
        Ok(client)
    }

    /// Forgets all clients, who must have ended.
    pub fn clear(&mut self) {
        self.clients.clear();
        self.open = 0;
    }

    pub fn send(&mut self, id: usize, bytes: &[u8]) -> Result<()> {
        self.clients[id].send(bytes).with_context(|| format!("client {id}"))
    }

    /// Ends a connection as a client does: with a close frame, or an echo with the end of what is sent.
    pub fn leave(&mut self, id: usize, close: &[u8]) -> Result<()> {
        self.expect(id, "the end of its connection");
        match self.wire {
            Wire::WebSocket => self.send(id, close),
            Wire::Echo(_) => self.clients[id].finish(),
        }
    }

    /// From now on this client waits for something, and must not wait for long.
    pub fn expect(&mut self, id: usize, what: &'static str) {
        self.clients[id].waits = Some((Instant::now(), what));
    }

    /// It came: how long it took.
    pub fn came(&mut self, id: usize) -> Result<Duration> {
        let waited = self.clients[id].waits.take();
        let (since, _) =
            waited.with_context(|| format!("client {id} got what it did not ask for"))?;
        Ok(since.elapsed())
    }

    /// Sends and waits for the answer to it.
    pub fn ask(&mut self, id: usize, bytes: &[u8], what: &'static str) -> Result<()> {
        self.expect(id, what);
        self.send(id, bytes)
    }

    /// Nobody says anything for this long but pings, which are counted.
    pub fn rest(&mut self, time: Duration) -> Result<usize> {
        let end = Instant::now() + time;
        let mut pings = 0;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.turn(left, |_, id, event| match event {
                Event::Ping => {
                    pings += 1;
                    Ok(())
                }
                other => unexpected(id, other),
            })?;
        }
        Ok(pings)
    }

    /// Waits for at most `time` until something happens, and gives each thing that did to `on`.
    ///
    /// # Errors
    ///
    /// What `on` says, and any client that fails or waits for too long, by number.
    pub fn turn(
        &mut self,
        time: Duration,
        mut on: impl FnMut(&mut Self, usize, Event<'_>) -> Result<()>,
    ) -> Result<()> {
        self.find_late()?;
        // A second at most, so that who is late is found even when nothing happens.
        let timeout = Timespec::try_from(time.min(Duration::from_secs(1)))?;
        let mut events = mem::take(&mut self.events);
        let mut buffer = mem::take(&mut self.buffer);
        events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)).context("epoll")?;
        for event in &events {
            let id = event.data.u64() as usize;
            self.ready(id, &mut buffer, &mut on)?;
        }
        self.events = events;
        self.buffer = buffer;
        Ok(())
    }

    fn ready(
        &mut self,
        id: usize,
        buffer: &mut [u8],
        on: &mut impl FnMut(&mut Self, usize, Event<'_>) -> Result<()>,
    ) -> Result<()> {
        // What `on` says names its client itself, who need not be this one.
        let who = || format!("client {id}");
        if self.clients[id].connecting() {
            self.clients[id].connected().with_context(who)?;
            let data = EventData::new_u64(id as u64);
            return Ok(epoll::modify(&self.epoll, &self.clients[id].stream, data, EventFlags::IN)?);
        }
        let before = self.clients[id].take_rest(buffer);
        let length = self.clients[id].receive(&mut buffer[before..]).with_context(who)?;
        let Some(length) = length else {
            self.clients[id].keep_rest(&buffer[..before]);
            return Ok(());
        };
        if length == 0 {
            epoll::delete(&self.epoll, &self.clients[id].stream)?;
            // As every client does whose server has ended TCP. After a reset there is nothing left to end.
            drop(self.clients[id].finish());
            return on(self, id, Event::End);
        }
        let mut bytes = &buffer[..before + length];
        while let Some((event, taken)) =
            self.clients[id].next(self.wire, bytes).with_context(who)?
        {
            bytes = &bytes[taken..];
            if let Some(Event::Open) = event {
                self.open += 1;
            }
            if let Some(event) = event {
                on(self, id, event)?;
            }
        }
        self.clients[id].keep_rest(bytes);
        Ok(())
    }

    fn find_late(&mut self) -> Result<()> {
        if self.looked.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
        self.looked = Instant::now();
        for (id, client) in self.clients.iter().enumerate() {
            if let Some((since, what)) = client.waits {
                let patience = self.patience;
                ensure!(
                    since.elapsed() < patience,
                    "client {id} has waited {patience:?} for {what}"
                );
            }
        }
        Ok(())
    }
}

/// The server did what nobody asked for.
pub fn unexpected(id: usize, event: Event<'_>) -> Result<()> {
    match event {
        Event::Text(text) => bail!("client {id} got {:?}", String::from_utf8_lossy(text)),
        Event::Close(code) => bail!("the server closed the connection of client {id} with {code}"),
        Event::End => bail!("the server ended TCP of client {id} without a close frame"),
        Event::Open | Event::Ping => bail!("client {id} was not ready for {event:?}"),
    }
}
