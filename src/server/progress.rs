//! What moves on a connection before it is a session: when it last did, and since when a request head is due.
//!
//! Owns what counts as progress. It deliberately does not know how long a connection may go without it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The progress of one connection, shared by its stream, its requests and its timer.
#[derive(Debug)]
pub struct Progress {
    /// Written when bytes pass the stream and when a request begins; read by the timer.
    moments: Mutex<Moments>,
}

#[derive(Debug)]
struct Moments {
    /// When the connection, a head or a request began, or bytes of an answer were taken.
    moved: Instant,
    input: Input,
    /// Whether a head, and nothing else, is being read: what came before it has been answered.
    awaits_head: bool,
    /// Whether bytes of an answer may wait for the socket.
    is_writing: bool,
    /// Whether TLS has begun.
    is_tls: bool,
}

impl Moments {
    fn new(now: Instant) -> Self {
        let input = Input::Head(now);
        Self { moved: now, input, awaits_head: true, is_writing: false, is_tls: false }
    }
}

/// What the next bytes from the client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// The rest of a head that is due since then, or all of it.
    Head(Instant),
    /// The first bytes of a next head.
    NextHead,
    /// The body of a request, and what comes behind it: nobody knows where it ends.
    Body,
}

impl Default for Progress {
    fn default() -> Self {
        Self { moments: Mutex::new(Moments::new(Instant::now())) }
    }
}

impl Progress {
    /// A head is due from now on.
    pub fn await_head(&self) {
        let mut moments = self.lock();
        *moments = Moments { is_tls: moments.is_tls, ..Moments::new(Instant::now()) };
    }

    /// TLS begins: what is agreed upon is in this process only.
    pub fn begin_tls(&self) {
        self.lock().is_tls = true;
    }

    /// Whether nothing is under way but a head, so that another process can go on with the connection.
    pub fn can_be_carried(&self) -> bool {
        let moments = self.lock();
        let is_between = moments.awaits_head && moments.input != Input::Body;
        is_between && !moments.is_writing && !moments.is_tls
    }

    /// A head is complete, and its request begins.
    pub fn begin_request(&self, has_body: bool) {
        let input = if has_body { Input::Body } else { Input::NextHead };
        let mut moments = self.lock();
        *moments = Moments { moved: Instant::now(), input, awaits_head: false, ..*moments };
    }

    /// When the connection, a head or a request began, or bytes of an answer were taken. The bytes of a head and of a
    /// body don't count: who sends one at a time gets nowhere.
    pub fn moved(&self) -> Instant {
        self.lock().moved
    }

    /// Since when a head is due, or `None`: the last request is being answered, or was.
    pub fn head_since(&self) -> Option<Instant> {
        match self.lock().input {
            Input::Head(since) => Some(since),
            Input::NextHead | Input::Body => None,
        }
    }

    /// The next head is waited for, unless it is a body: without one, hyper reads no further before it has answered.
    fn reads(&self) {
        self.lock().awaits_head = true;
    }

    fn read(&self) {
        let mut moments = self.lock();
        if moments.input == Input::NextHead {
            let now = Instant::now();
            *moments = Moments { moved: now, input: Input::Head(now), ..*moments };
        }
    }

    /// There is something to write.
    fn writes(&self) {
        self.lock().is_writing = true;
    }

    fn wrote(&self) {
        self.lock().moved = Instant::now();
    }

    /// All is written: hyper flushes when it holds nothing back.
    fn flushed(&self) {
        self.lock().is_writing = false;
    }

    /// Each change is whole before anything could panic.
    fn lock(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that notes its progress. What the system takes of an answer counts as taken by the client: the socket has
/// room for more only when the client has taken some of what it holds.
#[derive(Debug)]
pub struct Tracked<S> {
    stream: S,
    progress: Arc<Progress>,
    /// What was read from it before, and is read first.
    early: Vec<u8>,
}

impl<S> Tracked<S> {
    /// Notes what passes `stream`, of which this has been read before.
    pub fn new(stream: S, progress: Arc<Progress>, early: Vec<u8>) -> Self {
        Self { stream, progress, early }
    }

    /// The stream itself, of which all is read: nothing is noted any more.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// The stream, and what is to be read first.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.early)
    }

    /// Whether a request has been answered on it, and nothing has come since.
    pub fn was_asked(&self) -> bool {
        self.progress.head_since().is_none()
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.progress.wrote();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.progress.reads();
        if !self.early.is_empty() {
            let some = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..some]);
            self.early.drain(..some);
            self.progress.read();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.progress.read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.progress.writes();
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.progress.writes();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.progress.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
