//! What sessions give back when the process hands over.
//!
//! Owns the clients and their sockets until they are packed. It deliberately does not know what is packed with them.

use std::net::{IpAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream as Socket;
use tokio::sync::Notify;

use crate::cluster::carried::CarriedNode;
use crate::server::handover::records::Records;
use crate::server::session::carried::CarriedClient;
use crate::station::archive::CarriedPart;

/// How much may have come of heads of requests that are not complete, in bytes: two hundred of the longest.
const MOST_HEADS: usize = 4 * 1024 * 1024;

/// Clients that were given back, and how many sessions have still to decide.
#[derive(Debug, Default)]
pub struct Collection {
    /// Written by each session once: its socket, and at the same place in the other list what it knows.
    clients: Mutex<(Vec<Socket>, Records)>,
    /// Written by each listener once.
    listeners: Mutex<Vec<GivenListener>>,
    /// Written by each connection that is no client yet, once; and how many bytes their heads have.
    connections: Mutex<(Vec<GivenConnection>, usize)>,
    /// Written once, by whoever feeds Icecast: the connection, and what that has not taken.
    source: Mutex<Option<(OwnedFd, Vec<u8>)>>,
    /// Written once, by the archive: the file that is not complete.
    part: Mutex<Option<CarriedPart>>,
    /// Written once, by the node of a cluster.
    node: Mutex<Option<CarriedNode>>,
    /// Of connections, and of all that gives something back.
    talking: AtomicUsize,
    busy: AtomicUsize,
    /// Whether the disk has something to write. Written by the archive, read before everything is given back.
    is_writing: AtomicBool,
    /// Told when nobody talks any longer.
    quiet: Notify,
}

/// A connection on which nobody has asked for anything yet, or not again.
#[derive(Debug)]
pub struct GivenConnection {
    /// The address at its other end.
    pub ip: IpAddr,
    /// The connection.
    pub socket: TcpStream,
    /// What has come of the head of a request.
    pub head: Vec<u8>,
    /// Whether a request has been answered on it.
    pub is_kept: bool,
}

/// A listener that was given back.
#[derive(Debug)]
pub struct GivenListener {
    /// Its address.
    pub ip: IpAddr,
    /// Its own connection.
    pub socket: TcpStream,
    /// That to Icecast.
    pub icecast: OwnedFd,
    /// What it has not taken.
    pub unsent: Vec<u8>,
}

/// A session that talks with its client.
#[derive(Debug)]
pub struct Talking<'c> {
    collection: &'c Collection,
    is_connection: bool,
}

impl Collection {
    /// A session or a listener begins.
    pub fn talk(&self) -> Talking<'_> {
        self.talking.fetch_add(1, Ordering::AcqRel);
        self.busy.fetch_add(1, Ordering::AcqRel);
        Talking { collection: self, is_connection: true }
    }

    /// Something else begins that gives something back.
    pub fn work(&self) -> Talking<'_> {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Talking { collection: self, is_connection: false }
    }

    /// The disk has something to write, or no longer. What waits for it gives nothing back.
    pub fn write(&self, is_writing: bool) {
        self.is_writing.store(is_writing, Ordering::Release);
    }

    /// Whether the disk has something to write.
    pub fn is_writing(&self) -> bool {
        self.is_writing.load(Ordering::Acquire)
    }

    /// How many sessions and listeners there are.
    pub fn talking(&self) -> usize {
        self.talking.load(Ordering::Acquire)
    }

    /// A session gives its client back. The socket stays with the runtime: to take it away costs time, and the process ends.
    pub fn give(&self, socket: Socket, client: &CarriedClient) {
        let (sockets, records) = &mut *lock(&self.clients);
        // One that can't be written ends here.
        if records.push(client).is_ok() {
            sockets.push(socket);
        }
    }

    /// A listener is given back.
    pub fn give_listener(&self, listener: GivenListener) {
        lock(&self.listeners).push(listener);
    }

    /// A connection is given back on which a head is waited for. Where all of these have too much together, it ends.
    pub fn give_connection(&self, connection: GivenConnection) {
        let (connections, bytes) = &mut *lock(&self.connections);
        if *bytes + connection.head.len() <= MOST_HEADS {
            *bytes += connection.head.len();
            connections.push(connection);
        }
    }

    /// Takes those connections.
    pub fn take_connections(&self) -> Vec<GivenConnection> {
        std::mem::take(&mut *lock(&self.connections)).0
    }

    /// The connection to Icecast is given back, with what that has not taken.
    pub fn give_source(&self, connection: OwnedFd, unsent: Vec<u8>) {
        *lock(&self.source) = Some((connection, unsent));
    }

    /// The node of a cluster is given back.
    pub fn give_node(&self, node: CarriedNode) {
        *lock(&self.node) = Some(node);
    }

    /// Takes it.
    pub fn take_node(&self) -> Option<CarriedNode> {
        lock(&self.node).take()
    }

    /// The file of the archive is given back.
    pub fn give_part(&self, part: CarriedPart) {
        *lock(&self.part) = Some(part);
    }

    /// Takes the listeners.
    pub fn take_listeners(&self) -> Vec<GivenListener> {
        std::mem::take(&mut *lock(&self.listeners))
    }

    /// Takes the connection to Icecast, and what that has not taken.
    pub fn take_source(&self) -> Option<(OwnedFd, Vec<u8>)> {
        lock(&self.source).take()
    }

    /// Takes the file of the archive.
    pub fn take_part(&self) -> Option<CarriedPart> {
        lock(&self.part).take()
    }

    /// Waits until everything was given back.
    pub async fn quiet(&self) {
        while self.busy.load(Ordering::Acquire) > 0 {
            self.quiet.notified().await;
        }
    }

    /// How many clients were given back.
    pub fn given(&self) -> usize {
        lock(&self.clients).0.len()
    }

    /// Takes what was given back.
    pub fn take(&self) -> (Vec<Socket>, Records) {
        std::mem::take(&mut *lock(&self.clients))
    }
}

/// Each change is whole before anything could panic.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Talking<'_> {
    fn drop(&mut self) {
        let Self { collection, is_connection } = self;
        collection.talking.fetch_sub(usize::from(*is_connection), Ordering::AcqRel);
        if collection.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            collection.quiet.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_a_bound_together() {
        let collection = Collection::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let give = |bytes: usize| {
            let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (ip, head) = ([127, 0, 0, 1].into(), vec![b'x'; bytes]);
            collection.give_connection(GivenConnection { ip, socket, head, is_kept: false });
        };
        give(MOST_HEADS - 1);
        give(2);
        give(1);
        give(0);
        let heads: Vec<_> =
            collection.take_connections().iter().map(|given| given.head.len()).collect();
        assert_eq!(heads, [MOST_HEADS - 1, 1, 0]);
    }
}
