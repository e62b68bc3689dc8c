//! A client's connection as its session sees it: TCP, with or without TLS on it.
//!
//! Owns when such a connection can be read and written, and what TLS holds back on the way. It deliberately
//! does not know what the bytes mean.

use std::ffi::c_int;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::task::{Context, Poll};

use rustix::ioctl;
use rustix::net::{self, RecvFlags, SendFlags, recv};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::server::tls::records::Records;

/// How often one read asks TCP for more before others have their turn: records can be empty.
const TRIES: usize = 16;

/// A connection that is read and written when it is ready, and holds no buffer of its own while it is idle.
pub struct Socket {
    tcp: TcpStream,
    tls: Option<Box<Records>>,
    /// Whether TCP had no more than the last read took.
    is_drained: bool,
}

impl Socket {
    /// A connection without TLS.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None, is_drained: true }
    }

    /// A connection on which TLS has been agreed upon.
    pub fn tls(tcp: TcpStream, records: Box<Records>) -> Self {
        Self { tcp, tls: Some(records), is_drained: true }
    }

    /// Whether there is no TLS on it.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// What is below it, where there is no TLS on it.
    pub fn into_plain(self) -> Option<TcpStream> {
        self.tls.is_none().then_some(self.tcp)
    }

    /// Whether there is something to read, the end included.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.tls.as_ref().is_some_and(|tls| tls.has_more()) {
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
        self.tls.as_ref().is_none_or(|tls| tls.is_flushed())
    }

    /// Whether there may be more to read than the last read gave. Whoever goes on without a pause keeps the thread.
    pub fn has_more(&self) -> bool {
        !self.is_drained || self.tls.as_ref().is_some_and(|tls| tls.has_more())
    }

    /// Reads what is there now, in bytes; `None` where nothing is.
    ///
    /// # Errors
    ///
    /// What recv(2) says, `UnexpectedEof` at the end, and `InvalidData` for what is no TLS.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut tcp = Tcp { stream: &self.tcp, is_drained: &mut self.is_drained };
        let result = match &mut self.tls {
            None => tcp.read(buffer),
            Some(tls) => decrypted(tls, &mut tcp, buffer),
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
            None => or_nothing(send(&self.tcp, bytes)),
            Some(tls) => tls.write(&mut Writing(&self.tcp), bytes),
        }
    }

    /// How many bytes the other end of TCP has not acknowledged yet, those that have not been sent included.
    ///
    /// # Errors
    ///
    /// What ioctl(2) says.
    #[expect(unsafe_code, reason = "SIOCOUTQ (tcp(7)) has no safe wrapper in any crate")]
    pub fn unacknowledged(&self) -> io::Result<usize> {
        /// TIOCOUTQ, which is the same, of asm-generic/ioctls.h: every architecture that this is packaged for has it.
        const SIOCOUTQ: ioctl::Opcode = 0x5411;
        // SAFETY: the kernel writes one int for this request on a TCP socket, and nothing else.
        let bytes: c_int =
            unsafe { ioctl::ioctl(&self.tcp, ioctl::Getter::<SIOCOUTQ, c_int>::new()) }?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// Ends our direction of the connection. The other one can be read on.
    pub fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.end();
            // Where it can't be written now, the client has more to read than it will.
            let _ = tls.flush(&mut Writing(&self.tcp));
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

/// What TLS makes of the bytes that are there now.
fn decrypted(tls: &mut Records, tcp: &mut Tcp<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    for _ in 0..TRIES {
        if let Some(taken) = tls.take(buffer) {
            return taken;
        }
        let read = tls.receive(tcp, buffer)?;
        // An alert, or the answer to a change of keys.
        tls.flush(&mut Writing(tcp.stream))?;
        if read > 0 {
            return Ok(read);
        }
    }
    // TCP stays ready where it may have more.
    Err(io::ErrorKind::WouldBlock.into())
}

/// Writes to TCP as much as it takes, in bytes.
fn send(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    tcp.try_io(Interest::WRITABLE, || Ok(net::send(tcp, bytes, SendFlags::NOSIGNAL)?))
}

/// A socket that is not ready takes nothing now.
fn or_nothing(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// TCP as rustls reads it.
struct Tcp<'s> {
    stream: &'s TcpStream,
    is_drained: &'s mut bool,
}

impl Read for Tcp<'_> {
    /// What gave less than there was room for has nothing more now (epoll(7), on edges), and is not asked again before
    /// it is ready anew: `try_read` would leave it to a second call to find that out, and that is one system call in
    /// three.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        *self.is_drained = true;
        let mut all = None;
        let result = self.stream.try_io(Interest::READABLE, || {
            let (read, _) = recv(self.stream, &mut *buffer, RecvFlags::empty())?;
            if (1..buffer.len()).contains(&read) {
                all = Some(read);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            *self.is_drained = false;
            Ok(read)
        });
        all.map_or(result, Ok)
    }
}

/// TCP as rustls writes it.
struct Writing<'s>(&'s TcpStream);

impl Write for Writing<'_> {
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
    use tokio::net::TcpListener;

    use super::*;
    use crate::server::tls::records::RECORD;
    use crate::server::tls::stream::TlsStream;

    /// Both ends of a connection with TLS, which agree about it in a thread of their own.
    async fn secured() -> (Socket, StreamOwned<ClientConnection, std::net::TcpStream>) {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args([
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                "key",
                "-out",
                "cert",
            ])
            .current_dir(dir.path())
            .output()
            .expect("it is installed by tests/run");
        assert!(made.status.success());
        let cert = CertificateDer::from_pem_file(dir.path().join("cert")).unwrap();
        let key = PrivateKeyDer::from_pem_file(dir.path().join("key")).unwrap();
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut client = StreamOwned::new(connection, stream);
        let agreeing = std::thread::spawn(move || {
            client.conn.complete_io(&mut client.sock).unwrap();
            client
        });
        let accepted = TlsStream::accept(Arc::new(server), tcp).await.unwrap();
        let (tcp, records) = accepted.into_parts();
        (Socket::tls(tcp, records), agreeing.join().unwrap())
    }

    #[tokio::test]
    async fn bytes_are_unacknowledged_until_the_other_end_has_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut socket = Socket::plain(listener.accept().await.unwrap().0);
        assert_eq!(socket.unacknowledged().unwrap(), 0);
        // The client's system takes these by itself; it acknowledges them when it pleases.
        socket.write(&[0; 100]).unwrap();
        while socket.unacknowledged().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        // But not more than its buffer has room for.
        while socket.write(&[0; 65536]).unwrap() > 0 {}
        assert!(socket.unacknowledged().unwrap() > 0);
        let reading = std::thread::spawn(move || client.read_to_end(&mut Vec::new()));
        while socket.unacknowledged().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        drop(socket);
        reading.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_may_have_more_says_so_with_tls_and_without() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plain = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::plain(listener.accept().await.unwrap().0);
        has_more_until_it_is_read(socket, plain).await;
        let (socket, client) = secured().await;
        has_more_until_it_is_read(socket, client).await;
    }

    async fn has_more_until_it_is_read(mut socket: Socket, mut client: impl Write) {
        // More than one record, and more than TLS takes from TCP at once.
        const SENT: usize = 3 * RECORD;
        client.write_all(&[b'x'; SENT]).unwrap();
        client.flush().unwrap();
        let (mut buffer, mut read) = ([0; RECORD - 1], 0);
        while read < SENT {
            socket.readable().await.unwrap();
            // The first time, TLS has nothing: it can't know.
            let Some(now) = socket.read(&mut buffer).unwrap() else { continue };
            read += now;
            assert!(socket.has_more() || read == SENT, "{read} of {SENT}");
        }
        assert!(!socket.has_more());
        client.write_all(b"y").unwrap();
        client.flush().unwrap();
        socket.readable().await.unwrap();
        assert_eq!(socket.read(&mut buffer).unwrap(), Some(1));
        assert!(!socket.has_more(), "a message alone is no reason for a pause");
    }
}
