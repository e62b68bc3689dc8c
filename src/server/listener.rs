//! One who listens, from the head of its answer to the end of the connection.
//!
//! Owns the way of the audio from Icecast to the listener. The bytes are passed on as they are, without chunks, so that
//! only the two sockets carry it. It deliberately does not know what is played.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use warp::http::HeaderMap;

use crate::programme::listening::Playing;
use crate::server::limits::listeners::ListenerPlace;
use crate::server::shutdown::Phase;
use crate::server::state::State;

/// The most that is read at a time, in bytes: half a second at 128 kbps, and it is there for each listener.
const PIECE: usize = 8 * 1024;

/// How long a listener may take nothing, and Icecast may send nothing. Icecast lets go of a listener that is half a
/// megabyte behind, half a minute at 128 kbps; and of a source that sends nothing for 10 s.
const STALLED: Duration = Duration::from_secs(30);

/// A listener whose connection hyper still has.
#[derive(Default)]
pub struct Wanted {
    /// Written once, by the request.
    listener: Mutex<Option<Hearing>>,
    changed: Notify,
}

/// All that a listener needs beside its connection.
pub struct Hearing {
    /// The head of its answer.
    head: Vec<u8>,
    playing: Playing,
    _place: ListenerPlace,
}

impl Wanted {
    /// The connection is wanted for this listener.
    pub fn want(&self, hearing: Hearing) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(hearing);
        self.changed.notify_one();
    }

    /// Waits until it is.
    pub async fn wanted(&self) -> Hearing {
        loop {
            let hearing = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(hearing) = hearing {
                return hearing;
            }
            self.changed.notified().await;
        }
    }
}

impl Hearing {
    /// A listener that is told these fields first.
    pub fn new(fields: &HeaderMap, (playing, place): (Playing, ListenerPlace)) -> Self {
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            // No line break can be in it.
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let date = httpdate::fmt_http_date(SystemTime::now());
        head.extend_from_slice(format!("date: {date}\r\n\r\n").as_bytes());
        Self { head, playing, _place: place }
    }

    /// Passes on what Icecast plays, until either side ends, or the service does.
    pub async fn pass_on(self, stream: impl AsyncWrite + Unpin, state: Arc<State>) {
        tokio::select! {
            () = self.copy(stream) => {}
            () = state.shutdown.reached(Phase::Closing) => {}
        }
    }

    async fn copy(self, mut stream: impl AsyncWrite + Unpin) {
        let Self { head, mut playing, _place } = self;
        let first = [head, playing.early].concat();
        let mut piece = vec![0; PIECE];
        let mut sent = send(&mut stream, &first).await;
        drop(first);
        while sent {
            sent = match timeout(STALLED, playing.wire.read(&mut piece)).await {
                Ok(Ok(read @ 1..)) => send(&mut stream, &piece[..read]).await,
                // Icecast's end is the listener's.
                _ => false,
            };
        }
        // TLS says goodbye; who has gone does not hear it.
        let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
    }
}

/// Whether the listener takes it.
async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let sending = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    matches!(timeout(STALLED, sending).await, Ok(Ok(())))
}
