//! A client's WebSocket on its socket.
//!
//! Owns the bytes that wait on either side, how many have passed, and how both sides say goodbye. It deliberately does
//! not know what messages mean, nor why it ends.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::server::limits::fairness::Fairness;
use crate::server::session::buffers::{READ, with_scratch};
use crate::server::session::outcome::{End, Goodbye, Turn};
use crate::server::session::socket::Socket;
use crate::wire::codes::CloseCode;
use crate::wire::decoder::{Bound, Decoder, Received};
use crate::wire::frame::{encode_close, messages, rest_of_frame};
use crate::wire::head::Endpoint;

/// How long the server reads on after its last frame. Closing a socket with unread bytes in it would
/// reset the connection, and the reset could overtake the close frame.
pub const LINGER: Duration = Duration::from_secs(1);

/// How long a client that has its close frame may be silent before it is taken for gone, and how long it may go on to
/// say anything but goodbye: what it says comes too late.
const SILENCE: Duration = Duration::from_secs(1);
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How long a client that has not read everything may take to read up to its close frame. It holds at most
/// what `MAX_OUTBOX_BYTES` allows.
pub const SLOW_GOODBYE: Duration = Duration::from_secs(10);

/// The most that is read ahead while nothing is listened to, in bytes: enough to find the end of TCP behind the messages
/// of a page's start.
const READ_AHEAD: usize = 4 * READ;

/// The socket, and what waits on it.
#[derive(Debug)]
pub struct Link {
    pub(super) socket: Socket,
    pub(super) decoder: Decoder,
    /// What the socket did not take yet. While there is some, nothing more is read.
    pub(super) pending: Vec<u8>,
    /// How much of it is the rest of a frame that the socket took the beginning of.
    pub(super) cut: usize,
    /// What was read and has to wait: for the client's next turn, or until a contest is settled.
    pub(super) unread: Vec<u8>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Link {
    /// A connection on which the handshake is over; messages have `max_message` bytes at most.
    pub fn new(socket: Socket, max_message: usize) -> Self {
        let decoder = Decoder::new(Endpoint::Server, max_message);
        let (pending, unread) = (Vec::new(), Vec::new());
        Self { socket, decoder, pending, cut: 0, unread, bytes_in: 0, bytes_out: 0 }
    }

    /// Whether it can be carried.
    pub fn is_plain(&self) -> bool {
        self.socket.is_plain()
    }

    /// How many bytes have come that were looked at, and how many were sent.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in, self.bytes_out)
    }

    /// How many bytes the socket did not take yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        self.pending.is_empty() && self.socket.is_flushed()
    }

    /// Whether something waits that was read.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Whether there may be more to read than was.
    pub fn has_more(&self) -> bool {
        self.socket.has_more()
    }

    /// Whether the socket can be read, or, while something waits to be written, takes more.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_flushed() {
            self.socket.poll_read_ready(cx)
        } else {
            self.socket.poll_write_ready(cx)
        }
    }

    /// Reads what is there now, in bytes; 0 where nothing is.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.socket.read(buffer)?.unwrap_or(0))
    }

    /// Reads what has come meanwhile behind what waits.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn read_ahead(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while self.unread.len() < READ_AHEAD {
            match self.socket.read(buffer)? {
                Some(read) => self.unread.extend_from_slice(&buffer[..read]),
                None => break,
            }
        }
        Ok(())
    }

    /// Takes what waits.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// How large a message may be from now on.
    pub fn bound_messages(&mut self, bound: Bound) {
        self.decoder.bound_messages(bound);
    }

    /// Counts bytes that were read, when they are decoded.
    pub fn count(&mut self, bytes: usize) {
        self.bytes_in += bytes as u64;
    }

    /// The rest of what is being looked at has to wait.
    pub fn keep(&mut self, rest: &[u8]) {
        self.bytes_in -= rest.len() as u64;
        self.unread = rest.to_vec();
    }

    /// The next thing in `input` that is complete, as [`Decoder::next`] has it.
    ///
    /// # Errors
    ///
    /// The close code for what is wrong.
    pub fn decode<'i>(
        &mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Received<'i>>, CloseCode> {
        self.decoder.next(input)
    }

    /// How many frames have come, whole.
    pub fn frames(&self) -> u64 {
        self.decoder.frames()
    }

    /// Writes what is pending and then `out`, which ends empty. What the socket does not take is kept. Returns whether
    /// the client has made room for what was pending.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn write(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.pending.is_empty() {
            let written = self.socket.write(out);
            if let Ok(written) = written {
                self.bytes_out += written as u64;
                if written < out.len() {
                    self.cut = rest_of_frame(out, 0, written);
                    self.pending.extend_from_slice(&out[written..]);
                }
            }
            out.clear();
            return written.map(|_| false);
        }
        self.pending.append(out);
        let written = self.socket.write(&self.pending)?;
        self.bytes_out += written as u64;
        self.cut = rest_of_frame(&self.pending, self.cut, written);
        self.pending.drain(..written);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        Ok(written > 0)
    }

    /// Takes the messages that the socket has taken nothing of, for another connection of the same client.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        let unsent = messages(&self.pending[self.cut..]);
        // Where the socket takes it, the frame that it has begun to take is whole, and a close frame can follow.
        self.pending.truncate(self.cut);
        unsent
    }

    /// Sends a close frame. Nothing is to be written behind it.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn close(&mut self, code: Option<u16>, reason: &str) -> io::Result<()> {
        let mut close = Vec::new();
        encode_close(&mut close, code, reason, None);
        self.write(&mut close).map(|_| ())
    }

    /// Waits until nothing is pending.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.is_flushed() {
            self.socket.writable().await?;
            self.write(&mut Vec::new())?;
        }
        Ok(())
    }

    /// Reads until the client's close frame, or until it has gone or makes no sense. What else it says comes too late.
    /// A client that has everything and says nothing is not waited for; one that has not everything is: its network may
    /// come back. `told` is called when it is known to have everything. `grace` is the whole grace period of the drain.
    pub async fn await_close(
        &mut self,
        grace: Duration,
        fairness: &Fairness,
        mut told: impl FnMut(),
    ) -> Goodbye {
        let mut unread = self.take_unread();
        if self.find_close(&mut unread) {
            return Goodbye::Said;
        }
        drop(unread);
        // A grace period that is shorter than these is no reason to count it as cut off.
        let (silence, last_words) = (SILENCE.min(grace / 2), LAST_WORDS.min(grace / 2));
        let start = Instant::now();
        loop {
            let Ok(readable) = timeout(silence, self.socket.readable()).await else {
                match self.socket.unacknowledged() {
                    Ok(0) => {
                        told();
                        return Goodbye::Silent;
                    }
                    Ok(_) => continue,
                    Err(_) => return Goodbye::Said,
                }
            };
            if readable.is_err() {
                return Goodbye::Said;
            }
            let turn = with_scratch(|scratch| {
                let read = match self.socket.read(&mut scratch.input) {
                    Ok(Some(read)) => read,
                    Ok(None) => return Turn::Paused,
                    Err(_) => return Turn::End(End::Gone),
                };
                let found = self.find_close(&mut scratch.input[..read]);
                if found { Turn::End(End::Gone) } else { Turn::after(self.has_more()) }
            });
            if let Turn::End(_) = turn {
                return Goodbye::Said;
            }
            if self.socket.unacknowledged().is_ok_and(|bytes| bytes == 0) {
                told();
                if start.elapsed() >= last_words {
                    return Goodbye::Said;
                }
            }
            turn.give_way(fairness).await;
        }
    }

    /// Whether the client's close frame is in there, or what makes no sense.
    fn find_close(&mut self, mut input: &mut [u8]) -> bool {
        loop {
            match self.decoder.next(&mut input) {
                Ok(None) => return false,
                Ok(Some(Received::Close(_))) | Err(_) => return true,
                Ok(Some(_)) => {}
            }
        }
    }

    /// Ends our direction of TCP.
    pub fn end(&mut self) {
        self.socket.end();
    }

    /// Ends our direction of TCP, and then reads until the client ends its own, for a while.
    pub async fn hang_up(&mut self, fairness: &Fairness) {
        self.end();
        let _ = timeout(LINGER, self.discard(fairness)).await;
    }

    /// Reads until the client's end of TCP, and keeps nothing.
    async fn discard(&mut self, fairness: &Fairness) {
        while self.socket.readable().await.is_ok() {
            match with_scratch(|scratch| self.socket.read(&mut scratch.input)) {
                Ok(Some(_)) => Turn::after(self.has_more()).give_way(fairness).await,
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use socket2::SockRef;

    use super::*;
    use crate::wire::frame::{Opcode, encode};

    const GRACE: Duration = Duration::from_secs(10);

    /// Both ends of a connection.
    pub async fn connected() -> (std::net::TcpStream, Socket) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        SockRef::from(&stream).set_send_buffer_size(64 * 1024).unwrap();
        (client, Socket::plain(stream))
    }

    #[tokio::test]
    async fn messages_that_were_not_begun_are_for_another_connection() {
        let (_client, socket) = connected().await;
        let mut link = Link::new(socket, 1000);
        // The first fills the socket, and the last one is whole.
        let mut frames = Vec::new();
        encode(&mut frames, Opcode::Text, &vec![b'x'; 20_000_000], None);
        let cut = frames.len();
        encode(&mut frames, Opcode::Ping, b"", None);
        for length in [0, 125, 126, 65_536] {
            encode(&mut frames, Opcode::Text, &vec![b'y'; length], None);
        }
        let expected = frames[cut + 2..].to_vec();
        link.write(&mut frames).unwrap();
        assert!(link.pending() > expected.len() + 2, "the rest of the first one waits");
        link.write(&mut Vec::new()).unwrap();
        assert_eq!(link.take_unsent(), expected);
        assert_eq!((link.pending(), link.take_unsent()), (link.cut, vec![]));
    }

    #[tokio::test]
    async fn a_goodbye_that_waits_to_be_read_is_found() {
        let (_client, socket) = connected().await;
        let (mut link, fairness) = (Link::new(socket, 1000), Fairness::default());
        encode(&mut link.unread, Opcode::Text, b"x", Some([0; 4]));
        encode_close(&mut link.unread, Some(1000), "", Some([0; 4]));
        // The client says nothing more.
        assert_eq!(link.await_close(GRACE, &fairness, || ()).await, Goodbye::Said);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_everything_and_says_nothing_is_not_waited_for() {
        let (_client, socket) = connected().await;
        let (mut link, fairness) = (Link::new(socket, 1000), Fairness::default());
        link.socket.write(b"x").unwrap();
        while link.socket.unacknowledged().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        assert_eq!(link.await_close(GRACE, &fairness, || ()).await, Goodbye::Silent);
        assert_eq!(start.elapsed(), SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_everything_is_waited_for() {
        let (mut client, socket) = connected().await;
        let (mut link, fairness) = (Link::new(socket, 1000), Fairness::default());
        while link.socket.write(&[0; 4096]).unwrap() > 0 {}
        let waited = timeout(100 * SILENCE, link.await_close(GRACE, &fairness, || ())).await;
        assert!(waited.is_err(), "{waited:?}");
        // Now it reads, and is as silent as before.
        let (read, has_read) = tokio::sync::oneshot::channel();
        let reading = std::thread::spawn(move || {
            client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut read = Some(read);
            let mut buffer = [0; 65_536];
            loop {
                match std::io::Read::read(&mut client, &mut buffer) {
                    Ok(0) => return,
                    Ok(_) => {}
                    // All that was sent has been read, perhaps.
                    Err(_) => drop(read.take().map(|read| read.send(()))),
                }
            }
        });
        has_read.await.unwrap();
        while link.socket.unacknowledged().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(link.await_close(GRACE, &fairness, || ()).await, Goodbye::Silent);
        drop(link);
        reading.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_talking_has_its_last_words() {
        let (mut client, socket) = connected().await;
        let (mut link, fairness) = (Link::new(socket, 1000), Fairness::default());
        let start = Instant::now();
        let mut frame = Vec::new();
        encode(&mut frame, Opcode::Text, b"x", Some([0; 4]));
        let talking = async {
            loop {
                std::io::Write::write_all(&mut client, &frame).unwrap();
                tokio::time::sleep(SILENCE / 2).await;
            }
        };
        let goodbye = tokio::select! {
            goodbye = link.await_close(GRACE, &fairness, || ()) => goodbye,
            () = talking => unreachable!("it goes on for ever"),
        };
        assert_eq!(goodbye, Goodbye::Said);
        assert!(start.elapsed() >= LAST_WORDS, "{:?}", start.elapsed());
    }
}
