//! The TLS records of one connection, at the server's end.
//!
//! Owns the way between plain bytes and records, by the API of rustls that leaves the buffers to its caller, and these
//! buffers: each has memory only while it holds something, so an idle connection has none. It deliberately does not
//! know what the bytes pass through, nor when it is ready.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, ServerConfig};

/// What goes into one record, in bytes (RFC 8446 section 5.1). Not more than one is encrypted before the socket has
/// taken it: what waits for a slow client is counted while it is plain.
pub const RECORD: usize = 16 * 1024;

/// The most that is held of what the client has sent, in bytes: a record that is not whole yet, with its header and what
/// protects it (RFC 8446 section 5.2), or the records of a handshake message that is not whole yet.
pub const HELD: usize = 5 + RECORD + 256;

/// The most that is read at once, in bytes.
const READ: usize = 4096;

/// What a record has beside its content, in bytes, at the most that ring's ciphers add: header, type or nonce, tag.
const OVERHEAD: usize = 5 + 8 + 16;

thread_local! {
    /// What is read, until it is decrypted: most of it is whole, and is never held.
    static SCRATCH: RefCell<[u8; READ]> = const { RefCell::new([0; READ]) };
}

/// Both directions of one connection. Its buffers grow by what is needed and no more: a vector that grows by itself takes
/// twice as much as it had.
pub struct Records {
    connection: UnbufferedServerConnection,
    /// What has come and is not whole; up to [`HELD`].
    incoming: Vec<u8>,
    /// What is decrypted, and nobody has had room for. Nothing is read while there is some, so it is less than
    /// [`HELD`].
    plain: Vec<u8>,
    /// What is encrypted, and the socket has not taken: one record, and what the handshake or an alert adds.
    outgoing: Vec<u8>,
    /// The client has said its goodbye (close_notify), and says nothing more.
    has_ended: bool,
    /// What the client has done wrong, or that the keys are worn out (RFC 8446 section 5.5), which TLS 1.2 can't change. It
    /// is told by an alert, and nothing goes on.
    failure: Option<Error>,
}

/// What is to be sent next.
enum Next<'b> {
    /// A record with these bytes, up to [`RECORD`].
    Record(&'b [u8]),
    Goodbye,
}

impl Records {
    /// Those of a connection on which nothing has been said.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        let (incoming, plain, outgoing) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { connection, incoming, plain, outgoing, has_ended: false, failure: None })
    }

    /// Whether TLS is not agreed upon yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether [`Self::take`] has something to give.
    pub fn has_more(&self) -> bool {
        !self.plain.is_empty() || self.has_ended || self.failure.is_some()
    }

    /// Whether everything that is encrypted has been taken.
    pub fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// How much memory the buffers have, in bytes: for what has come, for what is decrypted, for what goes out.
    pub fn held(&self) -> [usize; 3] {
        [&self.incoming, &self.plain, &self.outgoing].map(Vec::capacity)
    }

    /// Takes what has been decrypted before, in bytes; `None` where more has to be received. At the client's goodbye that
    /// is 0 bytes.
    ///
    /// # Errors
    ///
    /// `InvalidData` once the client has done something wrong; the alert about it is there to be flushed before.
    pub fn take(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        if !self.plain.is_empty() {
            let taken = buffer.len().min(self.plain.len());
            buffer[..taken].copy_from_slice(&self.plain[..taken]);
            consume(&mut self.plain, taken);
            return Some(Ok(taken));
        }
        match &self.failure {
            Some(error) => Some(Err(io::Error::new(ErrorKind::InvalidData, error.clone()))),
            None => self.has_ended.then_some(Ok(0)),
        }
    }

    /// Reads once, and puts what that decrypts into `buffer`, in bytes; what it has no room for can be taken next. To be
    /// called when there is nothing to take. An alert, or a part of the handshake, may have to be flushed after it.
    ///
    /// # Errors
    ///
    /// What reading says, and `UnexpectedEof` at an end without a goodbye.
    pub fn receive(&mut self, from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        let held = self.incoming.len();
        if held == HELD {
            self.failure = Some(Error::PeerSentOversizedRecord);
            self.incoming = Vec::new();
            return Ok(0);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let came = from.read(&mut scratch[..READ.min(HELD - held)])?;
            if came == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let came = &mut scratch[..came];
            if held == 0 {
                let (used, decrypted) = self.process(came, &mut None, buffer);
                self.incoming = came[used..].to_vec();
                return Ok(decrypted);
            }
            if self.incoming.capacity() - held < came.len() {
                self.incoming.reserve_exact(READ.min(HELD - held));
            }
            self.incoming.extend_from_slice(came);
            Ok(self.process_held(&mut None, buffer))
        })
    }

    /// Encrypts and writes as much as is taken now, in bytes, and what was held back before.
    ///
    /// # Errors
    ///
    /// What writing says, and `BrokenPipe` where nothing more can be sent, this included.
    pub fn write(&mut self, to: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.flush(to)?;
        let mut taken = 0;
        while taken < bytes.len() && self.is_flushed() {
            let record = &bytes[taken..bytes.len().min(taken + RECORD)];
            let mut next = Some(Next::Record(record));
            self.process_held(&mut next, &mut []);
            self.flush(to)?;
            if next.is_some() || self.failure.is_some() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            taken += record.len();
        }
        Ok(taken)
    }

    /// Writes what is encrypted already, as far as it is taken now.
    ///
    /// # Errors
    ///
    /// What writing says.
    pub fn flush(&mut self, to: &mut impl Write) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match to.write(&self.outgoing) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => consume(&mut self.outgoing, taken),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says goodbye (close_notify), once, where TLS is agreed upon and has not failed: it has to be flushed. Nothing is
    /// to be written after it; what the client says can be read on.
    pub fn end(&mut self) {
        self.process_held(&mut Some(Next::Goodbye), &mut []);
        // What was said before is not said again.
        consume(&mut self.outgoing, 0);
    }

    /// Goes through everything of what came that is whole, and sends what is next when it can be sent. Returns how much
    /// of it is used, and what is decrypted into `buffer`, in bytes.
    fn process(
        &mut self,
        came: &mut [u8],
        next: &mut Option<Next<'_>>,
        buffer: &mut [u8],
    ) -> (usize, usize) {
        let (mut used, mut read) = (0, 0);
        let mut goes_on = self.failure.is_none();
        while goes_on {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut came[used..]);
            used += discard;
            goes_on = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        let room = record.payload.len().min(buffer.len() - read);
                        let (now, later) = record.payload.split_at(room);
                        buffer[read..read + room].copy_from_slice(now);
                        self.plain.reserve_exact(later.len());
                        self.plain.extend_from_slice(later);
                        read += room;
                        used += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, 0, |out| data.encode(out).map_err(from_encoding));
                }
                // It is on its way out, behind what went before.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_ended = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => match next.take() {
                    None => goes_on = false,
                    Some(Next::Record(bytes)) => {
                        let is_sent = append(&mut self.outgoing, bytes.len() + OVERHEAD, |out| {
                            traffic.encrypt(bytes, out).map_err(from_encryption)
                        });
                        if !is_sent {
                            self.failure = Some(Error::EncryptError);
                        }
                    }
                    Some(Next::Goodbye) => {
                        append(&mut self.outgoing, OVERHEAD + 2, |out| {
                            traffic.queue_close_notify(out).map_err(from_encryption)
                        });
                    }
                },
                // More has to come first, or nothing comes any more. Early data is not accepted.
                Ok(_) => goes_on = false,
                Err(error) => self.failure = Some(error),
            }
            if self.failure.is_some() {
                // Nothing but the alert is asked for: what is wrong would be looked at again.
                goes_on = self.connection.wants_write();
            }
        }
        if self.has_ended || self.failure.is_some() {
            used = came.len();
        }
        (used, read)
    }

    /// The same with all that is held.
    fn process_held(&mut self, next: &mut Option<Next<'_>>, buffer: &mut [u8]) -> usize {
        let mut came = mem::take(&mut self.incoming);
        let (used, decrypted) = self.process(&mut came, next, buffer);
        consume(&mut came, used);
        self.incoming = came;
        decrypted
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records")
    }
}

/// Removes the beginning of a buffer, and its memory where that is all.
fn consume(buffer: &mut Vec<u8>, used: usize) {
    if used == buffer.len() {
        *buffer = Vec::new();
    } else {
        buffer.drain(..used);
    }
}

/// Adds what `put` puts there, which says how much room it needs if it is more than this. Returns whether there was
/// something to put.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> bool {
    let begin = out.len();
    let mut wanted = Some(room);
    while let Some(room) = wanted {
        out.reserve_exact(begin + room - out.len());
        out.resize(begin + room, 0);
        match put(&mut out[begin..]) {
            Ok(length) => {
                out.truncate(begin + length);
                return true;
            }
            Err(why) => wanted = why.map(|why| why.required_size),
        }
    }
    out.truncate(begin);
    false
}

fn from_encoding(error: EncodeError) -> Option<InsufficientSizeError> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn from_encryption(error: EncryptError) -> Option<InsufficientSizeError> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size),
        EncryptError::EncryptExhausted => None,
    }
}
