//! TLS as a stream of its own on another stream.
//!
//! Owns when such a stream waits, and for what. It deliberately does not know what the bytes mean, nor how long the other
//! end may take.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::tls::records::{RECORD, Records};

/// A connection on which TLS has been agreed upon.
#[derive(Debug)]
pub struct TlsStream<S> {
    stream: S,
    records: Box<Records>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Agrees upon TLS with the client at the other end, for as long as that takes.
    ///
    /// # Errors
    ///
    /// `InvalidData` for what is no TLS, or none that both ends know; the client is told by an alert. `UnexpectedEof` when it
    /// goes before the end, and what reading and writing say.
    pub async fn accept(config: Arc<ServerConfig>, stream: S) -> io::Result<Self> {
        let records = Records::new(config).map_err(io::Error::other)?;
        let mut accepted = Self { stream, records: Box::new(records) };
        poll_fn(|cx| accepted.poll_handshake(cx)).await?;
        Ok(accepted)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.records.is_handshaking() {
            let flushed = self.poll_records(cx);
            // Nobody waits for the end of an alert.
            if let Some(taken) = self.records.take(&mut []) {
                return Poll::Ready(taken.and(Err(ErrorKind::UnexpectedEof.into())));
            }
            // The client may be heard before it has taken everything: it may wait for that itself.
            if let Poll::Ready(flushed) = flushed {
                flushed?;
            }
            ready!(self.poll_receive(cx, &mut []))?;
        }
        Pin::new(self).poll_flush(cx)
    }
}

impl<S> TlsStream<S> {
    /// The stream below, and the state of TLS on it.
    pub fn into_parts(self) -> (S, Box<Records>) {
        (self.stream, self.records)
    }
}

impl<S: AsyncRead + Unpin> TlsStream<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        or_pending(self.records.receive(&mut Polled { stream: &mut self.stream, cx }, buffer))
    }
}

impl<S: AsyncWrite + Unpin> TlsStream<S> {
    /// Waits until the stream below has taken all records.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.records.flush(&mut Polled { stream: &mut self.stream, cx })?;
        if self.records.is_flushed() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        loop {
            if let Some(taken) = self.records.take(room) {
                buffer.advance(taken?);
                return Poll::Ready(Ok(()));
            }
            let read = ready!(self.poll_receive(cx, room))?;
            // An alert goes out where it can. Whoever can't be written to can still be read.
            let _ = self.poll_records(cx);
            if read > 0 {
                buffer.advance(read);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, records } = self.get_mut();
        match records.write(&mut Polled { stream, cx }, bytes) {
            Ok(0) if !bytes.is_empty() => Poll::Pending,
            written => Poll::Ready(written),
        }
    }

    /// Small pieces go into one record.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let Some(first) = pieces.next() else { return Poll::Ready(Ok(0)) };
        if first.len() >= RECORD {
            return self.poll_write(cx, first);
        }
        let mut record = first.to_vec();
        for piece in pieces {
            let room = piece.len().min(RECORD - record.len());
            record.extend_from_slice(&piece[..room]);
        }
        self.poll_write(cx, &record)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_records(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.records.end();
        ready!(self.poll_records(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream as it is to those who don't wait.
struct Polled<'s, 'c, 'w, S> {
    stream: &'s mut S,
    cx: &'c mut Context<'w>,
}

impl<S: AsyncRead + Unpin> Read for Polled<'_, '_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut *self.stream).poll_read(self.cx, &mut buffer);
        or_would_block(read).map(|()| buffer.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> Write for Polled<'_, '_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.stream).poll_write(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

fn or_pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::version::{TLS12, TLS13};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
    use tokio_rustls::client::TlsStream as ClientStream;
    use tokio_rustls::{Connect, TlsConnector};

    use super::*;
    use crate::server::tls::peer::{certified, clients};
    use crate::station::tls::Tls;

    /// A connection that takes so many bytes at a time: what becomes of either end.
    fn ends(
        version: &'static rustls::SupportedProtocolVersion,
        on_the_way: usize,
    ) -> (Connect<DuplexStream>, impl Future<Output = io::Result<TlsStream<DuplexStream>>>) {
        let (client, server) = duplex(on_the_way);
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(clients(version)).connect(name, client);
        (connecting, TlsStream::accept(Tls::new(certified()).config(), server))
    }

    /// Both ends of one with room for all that is said here.
    async fn agreed(
        version: &'static rustls::SupportedProtocolVersion,
    ) -> (ClientStream<DuplexStream>, TlsStream<DuplexStream>) {
        let (connecting, accepting) = ends(version, 1 << 20);
        tokio::try_join!(connecting, accepting).unwrap()
    }

    #[tokio::test]
    async fn both_directions_pass_at_once_however_narrow_the_way_is() {
        for version in [&TLS12, &TLS13] {
            for (on_the_way, sent) in [(1, 1000), (7, 9000), (1000, 100_000), (1 << 20, 100_000)] {
                let sent = vec![b'x'; sent];
                let (connecting, accepting) = ends(version, on_the_way);
                let echo = async {
                    let (mut from_client, mut to_client) = split(accepting.await.unwrap());
                    tokio::io::copy(&mut from_client, &mut to_client).await.unwrap();
                    to_client.shutdown().await.unwrap();
                };
                let client = async {
                    let (mut from_server, mut to_server) = split(connecting.await.unwrap());
                    let say = async {
                        to_server.write_all(&sent).await.unwrap();
                        to_server.shutdown().await.unwrap();
                    };
                    let mut heard = Vec::new();
                    // An end without a goodbye would be an error.
                    let (_, read) = tokio::join!(say, from_server.read_to_end(&mut heard));
                    read.unwrap();
                    assert!(heard == sent);
                };
                tokio::join!(echo, client);
            }
        }
    }

    #[tokio::test]
    async fn a_handshake_that_fails_is_told_by_an_alert() {
        let (mut client, server) = duplex(1000);
        client.write_all(&[22, 3, 1, 0, 4, 1, 0, 0, 0]).await.unwrap();
        let accepted = TlsStream::accept(Tls::new(certified()).config(), server).await;
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::InvalidData);
        let mut alert = Vec::new();
        client.read_to_end(&mut alert).await.unwrap();
        // A fatal one: decode_error (RFC 8446 section 6).
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50]);
    }

    #[tokio::test]
    async fn who_goes_without_a_goodbye_is_missed() {
        let (mut client, server) = duplex(1000);
        client.write_all(&[22, 3, 1]).await.unwrap();
        drop(client);
        let accepted = TlsStream::accept(Tls::new(certified()).config(), server).await;
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let (client, mut server) = agreed(&TLS13).await;
        drop(client);
        let cut = server.read(&mut [0]).await.unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn pieces_go_into_one_record() {
        let (mut client, mut server) = agreed(&TLS13).await;
        let large = [b'x'; 3 * RECORD];
        for (pieces, expected) in [
            (vec![&b"head"[..], b"", b"body"], 8),
            (vec![b"", b"head", &large], RECORD),
            (vec![&large, b"tail"], large.len()),
            (vec![b""], 0),
            (vec![], 0),
        ] {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            assert_eq!(server.write_vectored(&slices).await.unwrap(), expected);
            let mut heard = vec![0; expected];
            client.read_exact(&mut heard).await.unwrap();
            assert!(pieces.concat().starts_with(&heard));
        }
    }

    #[tokio::test]
    async fn who_has_said_goodbye_still_hears() {
        let (mut client, mut server) = agreed(&TLS12).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");
    }
}
