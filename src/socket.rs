//! A client's connection as its session sees it: TCP, with or without TLS on it.
//!
//! Owns when such a connection can be read and written, and what TLS holds back on the way. It deliberately
//! does not know what the bytes mean.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What goes into one TLS record, in bytes (RFC 8446 section 5.1). Not more than one is encrypted before the
/// socket has taken it: what waits for a slow client is counted while it is plain.
const RECORD: usize = 16 * 1024;

/// How often one read asks TCP for more before others have their turn: records can be empty.
const TRIES: usize = 16;

/// A connection that is read and written when it is ready, and holds no buffer of its own while it is idle.
pub struct Socket {
    tcp: TcpStream,
    tls: Option<Box<Tls>>,
}

struct Tls {
    connection: ServerConnection,
    /// Whether decrypted bytes may wait that the last read had no room for: TCP will not say so.
    has_more: bool,
}

impl Socket {
    /// A connection without TLS.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    /// A connection on which TLS has been agreed upon.
    pub fn tls(tcp: TcpStream, connection: ServerConnection) -> Self {
        // What came with the last bytes of the handshake may be in there.
        Self { tcp, tls: Some(Box::new(Tls { connection, has_more: true })) }
    }

    /// Whether there is something to read, the end included.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.tls.as_ref().is_some_and(|tls| tls.has_more) {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(cx)
    }

    /// Whether there is room to write.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(cx)
    }

    /// Waits until there is something to read.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_read_ready(cx)).await
    }

    /// Waits until there is room to write.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write_ready(cx)).await
    }

    /// Whether the system has everything that was written. What it has not goes out with the next write, be it
    /// an empty one.
    pub fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.connection.wants_write())
    }

    /// Reads what is there now, in bytes; `None` where nothing is.
    ///
    /// # Errors
    ///
    /// What recv(2) says, `UnexpectedEof` at the end, and `InvalidData` for what is no TLS.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let result = match &mut self.tls {
            None => receive(&self.tcp, buffer),
            Some(tls) => tls.read(&self.tcp, buffer),
        };
        match result {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes as much as is taken now, in bytes, and what was held back before.
    ///
    /// # Errors
    ///
    /// What send(2) says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None if bytes.is_empty() => Ok(0),
            None => or_nothing(self.tcp.try_write(bytes)),
            Some(tls) => tls.write(&self.tcp, bytes),
        }
    }

    /// Ends our direction of the connection. The other one can be read on.
    pub fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.connection.send_close_notify();
            // Where it can't be written now, the client has more to read than it will.
            let _ = tls.flush(&self.tcp);
        }
        // An error means that the client has gone already, as reading will show.
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Write);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("tcp", &self.tcp).field("tls", &self.tls.is_some()).finish()
    }
}

impl Tls {
    fn read(&mut self, tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..TRIES {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.has_more = result.as_ref().is_ok_and(|read| *read == buffer.len());
                    return result;
                }
            }
            self.has_more = false;
            // At the end of TCP the reader says how TLS ended.
            self.connection.read_tls(&mut Tcp(tcp))?;
            let processed = self.connection.process_new_packets();
            // An alert, or the answer to a change of keys.
            self.flush(tcp)?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        self.has_more = true;
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(tcp)?;
        let mut taken = 0;
        while taken < bytes.len() && !self.connection.wants_write() {
            let record = &bytes[taken..bytes.len().min(taken + RECORD)];
            taken += self.connection.writer().write(record)?;
            self.flush(tcp)?;
        }
        Ok(taken)
    }

    /// Writes what is encrypted already, as far as the socket takes it.
    fn flush(&mut self, tcp: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            if or_nothing(self.connection.write_tls(&mut Tcp(tcp)))? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Reads from TCP. What gave less than there was room for has nothing more now (epoll(7), on edges), and is not
/// asked again before it is ready anew: `try_read` would leave it to a second call to find that out, and that
/// is one system call in three.
fn receive(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut all = None;
    let result = tcp.try_io(Interest::READABLE, || {
        let read = rustix::io::read(tcp, &mut *buffer)?;
        if (1..buffer.len()).contains(&read) {
            all = Some(read);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(read)
    });
    all.map_or(result, Ok)
}

/// A socket that is not ready takes nothing now.
fn or_nothing(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// TCP as rustls wants it.
struct Tcp<'s>(&'s TcpStream);

impl Read for Tcp<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        receive(self.0, buffer)
    }
}

impl Write for Tcp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
