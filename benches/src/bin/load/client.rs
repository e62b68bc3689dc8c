//! One client: a socket, and how far it has come.
//!
//! Owns connecting, the handshake, and cutting the bytes that came into events. It deliberately does not know
//! the other clients, nor what is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::{ClientConfig, ClientConnection};

use crate::frame::{self, Frame};

/// The key is the one of RFC 6455 section 1.3, so that the answer to it is known.
pub const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const WELCOME: &[u8] =
    br#"{"type":"welcome","message":"Connected to OpenStudio signaling server"}"#;

/// Addresses that clients come from in turn, so that no address runs out of ports: 127.0.1.1 to 127.0.1.100.
const SOURCES: usize = 100;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// WebSocket, from handshake to close frame.
    WebSocket,
    /// Every byte comes back. The request of a handshake does, too, which stands in for the handshake; messages
    /// are of as many bytes each.
    Echo(usize),
}

/// What happened to a client.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It has its welcome.
    Open,
    /// It got a message.
    Text(&'a [u8]),
    /// It got a ping, which the pool has answered.
    Ping,
    /// It got a close frame with this code.
    Close(u16),
    /// TCP ended.
    End,
}

/// What some bytes were, unless it concerns nobody else, and how many they were.
type Taken<'a> = (Option<Event<'a>>, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Handshake,
    Greeting,
    Open,
}

pub struct Client {
    pub stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    stage: Stage,
    /// Bytes of a message that is not all there yet.
    rest: Vec<u8>,
    /// Since when it waits, and for what.
    pub waits: Option<(Instant, &'static str)>,
}

impl Client {
    /// Starts to connect, through TLS where there is a configuration for it; `number` chooses the address that
    /// it comes from.
    pub fn dial(
        number: usize,
        server: SocketAddrV4,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .context("a socket for a client")?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let source = Ipv4Addr::new(127, 0, 1, (1 + number % SOURCES) as u8);
        net::bind(&socket, &SocketAddrV4::new(source, 0)).context("a port for a client")?;
        match net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("connecting"),
        }
        let tls = tls.map(|config| {
            ClientConnection::new(Arc::clone(config), "localhost".try_into()?)
                .map(Box::new)
                .context("TLS for a client")
        });
        Ok(Self {
            stream: TcpStream::from(socket),
            tls: tls.transpose()?,
            stage: Stage::Connecting,
            rest: Vec::new(),
            waits: Some((Instant::now(), "its welcome")),
        })
    }

    /// Whether the next thing to come is that it is connected.
    pub fn connecting(&self) -> bool {
        self.stage == Stage::Connecting
    }

    /// Connected: sends the request.
    pub fn connected(&mut self) -> Result<()> {
        sockopt::socket_error(&self.stream)?.context("connecting")?;
        self.stage = Stage::Handshake;
        self.send(REQUEST)
    }

    /// Sends a frame, whole: in a closed loop a server that leaves no room for it has stopped reading.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes).context("encrypting")?;
            return self.flush();
        }
        let sent = self.stream.write(bytes).context("the server does not take what is sent")?;
        ensure!(sent == bytes.len(), "the server took {sent} of {} bytes", bytes.len());
        Ok(())
    }

    /// Sends what TLS has to say.
    fn flush(&mut self) -> Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.stream).context("the server does not take what is sent")?;
        }
        Ok(())
    }

    /// Says that nothing more comes, which ends an echo.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush()?;
        }
        self.stream.shutdown(Shutdown::Write).context("ending the connection")
    }

    /// Puts the bytes of a message that was not all there to the start of `buffer`; how many they are.
    pub fn take_rest(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.rest.len();
        buffer[..length].copy_from_slice(&self.rest);
        self.rest.clear();
        length
    }

    /// Keeps the bytes of a message that is not all there yet.
    pub fn keep_rest(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Reads what is there, `None` where TLS has nothing to read yet; 0 is the end of TCP, by a reset, too.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let result = match &mut self.tls {
            None => self.stream.read(buffer),
            Some(tls) => match tls.read_tls(&mut self.stream) {
                Ok(_) => {
                    tls.process_new_packets().context("TLS")?;
                    // What one read brings fits into the buffer, whole.
                    let result = tls.reader().read(buffer);
                    self.flush()?;
                    result
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Some(0)),
            result => result.map(Some).context("reading"),
        }
    }

    /// The event that `bytes` begin with, if it is one, and how many bytes of them it takes.
    ///
    /// # Errors
    ///
    /// What a server of this benchmark must not send.
    pub fn next<'a>(&mut self, wire: Wire, bytes: &'a [u8]) -> Result<Option<Taken<'a>>> {
        match (self.stage, wire) {
            (Stage::Handshake, Wire::Echo(_)) => {
                let Some(echo) = bytes.get(..REQUEST.len()) else { return Ok(None) };
                ensure!(echo == REQUEST, "the echo is not what was sent");
                self.stage = Stage::Open;
                Ok(Some((Some(Event::Open), REQUEST.len())))
            }
            (Stage::Handshake, Wire::WebSocket) => {
                let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                    return Ok(None);
                };
                let head = &bytes[..end + 4];
                let accepted = head.windows(ACCEPT.len()).any(|window| window == ACCEPT);
                if !head.starts_with(b"HTTP/1.1 101 ") || !accepted {
                    bail!("no handshake but {:?}", String::from_utf8_lossy(head));
                }
                self.stage = Stage::Greeting;
                Ok(Some((None, head.len())))
            }
            (_, Wire::Echo(unit)) => {
                Ok(bytes.get(..unit).map(|message| (Some(Event::Text(message)), unit)))
            }
            (_, Wire::WebSocket) => {
                let Some((frame, taken)) = frame::parse(bytes)? else { return Ok(None) };
                Ok(Some((self.meaning(frame)?, taken)))
            }
        }
    }

    fn meaning<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>> {
        Ok(Some(match frame {
            Frame::Text(text) if self.stage == Stage::Greeting => {
                ensure!(text == WELCOME, "no welcome but {:?}", String::from_utf8_lossy(text));
                self.stage = Stage::Open;
                Event::Open
            }
            Frame::Text(text) => Event::Text(text),
            Frame::Ping(payload) => {
                self.send(&frame::pong(payload))?;
                Event::Ping
            }
            Frame::Pong => return Ok(None),
            Frame::Close(code) => Event::Close(code),
        }))
    }
}
