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
        let now = Instant::now();
        Self { moments: Mutex::new(Moments { moved: now, input: Input::Head(now) }) }
    }
}

impl Progress {
    /// A head is due from now on.
    pub fn await_head(&self) {
        let now = Instant::now();
        *self.lock() = Moments { moved: now, input: Input::Head(now) };
    }

    /// A head is complete, and its request begins.
    pub fn begin_request(&self, has_body: bool) {
        let input = if has_body { Input::Body } else { Input::NextHead };
        *self.lock() = Moments { moved: Instant::now(), input };
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

    fn read(&self) {
        let mut moments = self.lock();
        if moments.input == Input::NextHead {
            let now = Instant::now();
            *moments = Moments { moved: now, input: Input::Head(now) };
        }
    }

    fn wrote(&self) {
        self.lock().moved = Instant::now();
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
}

impl<S> Tracked<S> {
    /// Notes what passes `stream`.
    pub fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }

    /// The stream itself: nothing is noted any more.
    pub fn into_inner(self) -> S {
        self.stream
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
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
