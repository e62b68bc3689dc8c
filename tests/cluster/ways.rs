//! The way of a node to the NATS servers, which can be cut. It deliberately does not know what is said on it.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Ways to some servers.
pub struct Ways {
    ways: Vec<Way>,
    shared: Arc<Mutex<Shared>>,
}

struct Way {
    port: u16,
    accepts: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_cut: bool,
    is_over: bool,
    /// Both ends of all connections that there have been.
    open: Vec<TcpStream>,
}

impl Ways {
    /// Ways to servers on these ports of the loopback.
    pub fn to(servers: &[u16]) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let ways = servers.iter().map(|server| Way::to(*server, &shared)).collect();
        Self { ways, shared }
    }

    /// The addresses to connect to, beginning with that of a server.
    pub fn urls(&self, first: usize) -> String {
        let count = self.ways.len();
        let url = |index: usize| format!("nats://127.0.0.1:{}", self.ways[index % count].port);
        (first..first + count).map(url).collect::<Vec<_>>().join(",")
    }

    /// Ends all connections, and takes none.
    pub fn cut(&self) {
        let mut shared = self.shared.lock().unwrap();
        shared.is_cut = true;
        shared.end();
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.shared.lock().unwrap().is_cut = false;
    }
}

impl Shared {
    fn end(&mut self) {
        for stream in self.open.drain(..) {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Way {
    fn to(server: u16, shared: &Arc<Mutex<Shared>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(shared);
        let accepts = thread::spawn(move || {
            let mut passing = Vec::new();
            for client in listener.incoming() {
                let client = client.unwrap();
                let mut shared = shared.lock().unwrap();
                if shared.is_over {
                    break;
                }
                if shared.is_cut {
                    continue;
                }
                // A server that is away refuses, and so does this.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let _ = from.set_nodelay(true);
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    passing.push(thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    }));
                }
                shared.open.extend([client, server]);
            }
            for one in passing {
                one.join().unwrap();
            }
        });
        Self { port, accepts: Some(accepts) }
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.is_over = true;
        shared.end();
        drop(shared);
        for way in &mut self.ways {
            // It is waited for, and has to be woken.
            let _ = TcpStream::connect(("127.0.0.1", way.port));
            let _ = way.accepts.take().map(JoinHandle::join);
        }
    }
}
