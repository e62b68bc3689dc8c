//! Clients that want to be a nuisance, on threads of their own.
//!
//! Owns what they send and that they end. It deliberately does not know whom they hold up, nor for how long.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{REQUEST, Wire};
use crate::frame::{self, Frame};

/// An answer that takes longer than this never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many handshakes of TLS begin at once.
const HANDSHAKES: usize = 300;

/// A thread that goes on until this value ends.
pub struct Nuisance {
    over: Arc<AtomicBool>,
    /// How much it did: bytes of answers, or rounds.
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Nuisance {
    fn start(act: impl FnOnce(&AtomicBool, &AtomicU64) -> Result<()> + Send + 'static) -> Self {
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&over), Arc::clone(&done));
        Self { over, done, thread: Some(std::thread::spawn(move || act(&until, &count))) }
    }

    /// Sends the same bytes on all streams again and again, as much as they take, and throws away what comes back.
    pub fn hammer(streams: Vec<TcpStream>, bytes: Vec<u8>) -> Self {
        Self::start(move |over, answered| {
            let mut sent = vec![0; streams.len()];
            let mut buffer = vec![0; 256 * 1024];
            for stream in &streams {
                stream.set_nonblocking(true)?;
            }
            while !over.load(Ordering::Relaxed) {
                for (mut stream, sent) in streams.iter().zip(&mut sent) {
                    // Each time where it left off: nothing is torn.
                    if let Ok(written) = stream.write(&bytes[*sent..]) {
                        *sent = (*sent + written) % bytes.len();
                    }
                    if let Ok(read) = stream.read(&mut buffer) {
                        answered.fetch_add(read as u64, Ordering::Relaxed);
                    }
                }
            }
            Ok(())
        })
    }

    /// So many connections on which nothing is said, and as many on which a request comes a byte at a time, three bytes
    /// a second.
    pub fn half_open(server: SocketAddrV4, number: usize) -> Self {
        Self::start(move |over, rounds| {
            let _silent = connect_all(server, number)?;
            let mut slow = connect_all(server, number)?;
            for byte in REQUEST.iter().take(REQUEST.len() - 1) {
                for stream in &mut slow {
                    // It may have been cut off.
                    let _ = stream.write_all(&[*byte]);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
                for _ in 0..30 {
                    if over.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            Ok(())
        })
    }

    /// 300 at a time begin a handshake of TLS by the first byte of `hello`, then send the rest, and go when each has
    /// the first byte of its answer.
    pub fn handshakes(server: SocketAddrV4, hello: Vec<u8>) -> Self {
        Self::start(move |over, rounds| {
            while !over.load(Ordering::Relaxed) {
                let mut streams = connect_all(server, HANDSHAKES)?;
                for stream in &mut streams {
                    stream.write_all(&hello[..1])?;
                }
                std::thread::sleep(Duration::from_millis(50));
                for stream in &mut streams {
                    stream.write_all(&hello[1..])?;
                }
                for stream in &mut streams {
                    stream.read_exact(&mut [0]).context("the answer to a hello")?;
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// Where it failed, or has done nothing.
    pub fn end(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("the thread of a nuisance panicked"),
            }
        }
        ensure!(self.done.load(Ordering::Relaxed) > 0, "the server did nothing for the crowd");
        Ok(())
    }
}

impl Drop for Nuisance {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn connect_all(server: SocketAddrV4, number: usize) -> Result<Vec<TcpStream>> {
    (0..number).map(|_| connect(server)).collect()
}

/// A connection on which nothing was said yet.
pub fn connect(server: SocketAddrV4) -> Result<TcpStream> {
    let stream = TcpStream::connect(server).context("connecting one of the crowd")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A client that reads and writes one thing after the other.
pub struct Blocking {
    pub stream: TcpStream,
    rest: Vec<u8>,
}

impl Blocking {
    /// One that has its welcome.
    pub fn open(server: SocketAddrV4, wire: Wire) -> Result<Self> {
        let mut client = Self { stream: connect(server)?, rest: Vec::new() };
        client.stream.write_all(REQUEST)?;
        if wire == Wire::WebSocket {
            let end = loop {
                if let Some(at) = client.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                    break at + 4;
                }
                client.read()?;
            };
            client.rest.drain(..end);
            client.next()?;
        } else {
            let mut echo = vec![0; REQUEST.len()];
            client.stream.read_exact(&mut echo)?;
        }
        Ok(client)
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer).context("one of the crowd waits in vain")?;
        ensure!(read > 0, "the server ended TCP");
        self.rest.extend_from_slice(&buffer[..read]);
        Ok(())
    }

    /// Waits for the next frame, and throws it away.
    pub fn next(&mut self) -> Result<()> {
        loop {
            if let Some((frame, taken)) = frame::parse(&self.rest)? {
                if let Frame::Close(code) = frame {
                    bail!("the server closed with {code}");
                }
                self.rest.drain(..taken);
                return Ok(());
            }
            self.read()?;
        }
    }

    /// Sends what it can without waiting, and reads nothing.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut sent = 0;
        loop {
            match self.stream.write(&bytes[sent..]) {
                Ok(written) => sent = (sent + written) % bytes.len(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("filling a socket"),
            }
        }
    }
}

/// So many clients that have their welcome.
pub fn clients(server: SocketAddrV4, wire: Wire, number: usize) -> Result<Vec<TcpStream>> {
    (0..number).map(|_| Ok(Blocking::open(server, wire)?.stream)).collect()
}
