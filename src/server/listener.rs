//! One who listens, from the head of its answer to the end of the connection.
//!
//! Owns the way of the audio from Icecast to the listener. The bytes are passed on as they are, without chunks, so that
//! only the two sockets carry it. It deliberately does not know what is played.

use std::any::Any;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use warp::http::HeaderMap;

use crate::programme::dial::{Wire, from_descriptor, into_descriptor};
use crate::programme::listening::Playing;
use crate::server::handover::collection::GivenListener;
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
    place: ListenerPlace,
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
        Self { head, playing, place }
    }

    /// A listener of the process before, which has not taken this.
    ///
    /// # Errors
    ///
    /// When the connection to Icecast is none of a kind that is known.
    pub fn go_on(icecast: OwnedFd, unsent: Vec<u8>, place: ListenerPlace) -> io::Result<Self> {
        let wire = from_descriptor(icecast)?;
        let (content_type, fields, early) = Default::default();
        let playing = Playing { content_type, fields, early, wire };
        Ok(Self { head: unsent, playing, place })
    }

    /// Passes on what Icecast plays to the listener, until either side ends, or the service does. Where that is
    /// restarted, and there is no TLS, the next process goes on.
    pub async fn pass_on<S>(self, mut stream: S, state: Arc<State>)
    where
        S: AsyncWrite + Unpin + Send + 'static,
    {
        let Self { head, mut playing, place } = self;
        let mut copy = Copy { unsent: [head, playing.early].concat(), piece: vec![0; PIECE] };
        {
            let _talking = state.collection.talk();
            tokio::select! {
                () = copy.run(&mut playing.wire, &mut stream) => {}
                () = state.shutdown.reached(Phase::HandingOver) => {}
            }
            if state.shutdown.phase() == Phase::HandingOver && !copy.is_over() {
                return give(place.subnet(), stream, playing.wire, copy.unsent, &state);
            }
        }
        tokio::select! {
            () = copy.run(&mut playing.wire, &mut stream) => {}
            () = state.shutdown.reached(Phase::Closing) => {}
        }
        // TLS says goodbye; who has gone does not hear it.
        let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
    }
}

/// The next process goes on with it, where both connections can be carried.
fn give<S: 'static>(ip: IpAddr, stream: S, wire: Wire, unsent: Vec<u8>, state: &State) {
    let stream: Box<dyn Any> = Box::new(stream);
    let socket = stream.downcast::<TcpStream>().ok().and_then(|stream| stream.into_std().ok());
    if let (Some(socket), Some(icecast)) = (socket, into_descriptor(wire)) {
        state.collection.give_listener(GivenListener { ip, socket, icecast, unsent });
    }
}

/// The way of the audio. It may be stopped anywhere, and gone on with.
struct Copy {
    /// What the listener has not taken.
    unsent: Vec<u8>,
    /// Where it is read to; none where either side has ended.
    piece: Vec<u8>,
}

impl Copy {
    fn is_over(&self) -> bool {
        self.piece.is_empty()
    }

    async fn run(&mut self, wire: &mut Wire, stream: &mut (impl AsyncWrite + Unpin)) {
        while !self.is_over() {
            let is_done = if self.unsent.is_empty() {
                let read = timeout(STALLED, wire.read(&mut self.piece)).await;
                let read = read.map_or(0, |read| read.unwrap_or_default());
                self.unsent.extend_from_slice(&self.piece[..read]);
                // Icecast's end is the listener's.
                read > 0
            } else {
                let wrote = timeout(STALLED, stream.write(&self.unsent)).await;
                let wrote = wrote.map_or(0, |wrote| wrote.unwrap_or_default());
                self.unsent.drain(..wrote);
                // What TLS holds back goes out, too.
                wrote > 0 && (!self.unsent.is_empty() || flush(stream).await)
            };
            if !is_done {
                self.piece = Vec::new();
            }
        }
    }
}

async fn flush(stream: &mut (impl AsyncWrite + Unpin)) -> bool {
    matches!(timeout(STALLED, stream.flush()).await, Ok(Ok(())))
}
