//! The client's end of a WebSocket, as `check` uses it.
//!
//! Owns what is read, what is sent, and the words for how a connection ends. It deliberately does not know how
//! the connection was made.

use std::io;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::check::report::Problem;
use crate::wire::codes::{CloseCode, ErrorCode};
use crate::wire::decoder::{Decoder, Received};
use crate::wire::frame::{Opcode, encode, encode_close};
use crate::wire::head::Endpoint;
use crate::wire::text::quoted;

/// The largest message that is read, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// What to do about a server that speaks another protocol.
pub const STRANGER: &str =
    "this is a WebSocket server, but not this one: check host, port and path";

/// The `type` of a message, and what else the checks look at. A room token is not among it.
#[derive(Deserialize)]
pub struct Answer {
    /// What the message is.
    pub r#type: String,
    /// What it says to a person.
    pub message: Option<String>,
    /// Which error it is.
    code: Option<String>,
    /// When a pong was sent.
    pub timestamp: Option<u64>,
    /// Whom it is about.
    #[serde(rename = "peerId")]
    pub peer_id: Option<String>,
    /// The ICE servers of a room. There are credentials in it: not for printing.
    pub ice: Option<Value>,
}

/// What one frame or message comes to.
enum Said {
    Text(String),
    Ping(Vec<u8>),
    Close(Option<u16>),
    Nothing,
}

/// A connection that is a WebSocket. Every method may be dropped while it waits, and another one be called.
#[derive(Debug)]
pub struct WebSocket {
    stream: TokioIo<Upgraded>,
    decoder: Decoder,
    /// What has been read and not decoded: one read's worth at most.
    unread: Vec<u8>,
    /// What has been encoded and not written: a frame or two, as everything waits until it has gone.
    unsent: Vec<u8>,
}

impl WebSocket {
    /// A WebSocket on a connection that has just become one.
    pub fn new(upgraded: Upgraded) -> Self {
        Self {
            stream: TokioIo::new(upgraded),
            decoder: Decoder::new(Endpoint::Client, MAX_MESSAGE),
            unread: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub async fn say(&mut self, text: &str) -> Result<(), Problem> {
        encode(&mut self.unsent, Opcode::Text, text.as_bytes(), Some(random()));
        self.flush().await
    }

    /// Waits for the next message. Pings are answered meanwhile.
    ///
    /// # Errors
    ///
    /// When the connection ends.
    pub async fn text(&mut self) -> Result<String, Problem> {
        loop {
            // A pong that was not sent to its end, when somebody stopped waiting here.
            self.flush().await?;
            match self.said()? {
                Some(Said::Text(text)) => return Ok(text),
                Some(Said::Ping(payload)) => {
                    encode(&mut self.unsent, Opcode::Pong, &payload, Some(random()));
                }
                Some(Said::Close(code)) => return Err(closed(code)),
                Some(Said::Nothing) => {}
                None => self.read().await?,
            }
        }
    }

    /// Waits for the next message, which has to be of type `expected`.
    ///
    /// # Errors
    ///
    /// When it is another, an error reply, or none.
    pub async fn expect(&mut self, expected: &str) -> Result<Answer, Problem> {
        self.expect_one_of(&[expected]).await
    }

    /// Waits for the next message, which has to be of one of these types.
    ///
    /// # Errors
    ///
    /// When it is another, an error reply, or none.
    pub async fn expect_one_of(&mut self, expected: &[&str]) -> Result<Answer, Problem> {
        let text = self.text().await?;
        let answer: Answer = serde_json::from_str(&text).map_err(|error| {
            Problem::new(format!("the answer is not a message of the protocol ({error})"), STRANGER)
        })?;
        match answer {
            answer if expected.contains(&answer.r#type.as_str()) => Ok(answer),
            Answer { r#type, message: Some(message), code, .. } if r#type == "error" => {
                Err(refused(&message, code.as_deref()))
            }
            Answer { r#type, .. } => {
                let got = quoted(&r#type);
                Err(Problem::new(
                    format!("expected {}, got a message of type {got:?}", expected.join(" or ")),
                    STRANGER,
                ))
            }
        }
    }

    /// Sends the protocol's ping and waits for its pong.
    ///
    /// # Errors
    ///
    /// When something else comes, or nothing any more.
    pub async fn ping(&mut self) -> Result<(), Problem> {
        self.say(r#"{"type":"ping"}"#).await?;
        let answer = self.expect("pong").await?;
        answer
            .timestamp
            .map(|_| ())
            .ok_or_else(|| Problem::new("a pong without its time", STRANGER))
    }

    /// Says goodbye and waits for the server's.
    ///
    /// # Errors
    ///
    /// When the connection is broken already.
    pub async fn close(&mut self) -> Result<(), Problem> {
        encode_close(&mut self.unsent, Some(1000), "", Some(random()));
        self.flush().await?;
        while self.text().await.is_ok() {}
        Ok(())
    }

    /// Takes the next thing from what has been read, or all of it where nothing is complete.
    fn said(&mut self) -> Result<Option<Said>, Problem> {
        let mut unread = std::mem::take(&mut self.unread);
        let mut input = &mut unread[..];
        let received = self.decoder.next(&mut input).map_err(|code| {
            broken(io::Error::other(format!(
                "the server's frames break RFC 6455, close code {code}"
            )))
        })?;
        let said = received.map(|received| match received {
            Received::Text(text) => Said::Text(text.into_owned()),
            Received::Ping(payload) => Said::Ping(payload.into_owned()),
            Received::Close(code) => Said::Close(code),
            Received::Binary(_) | Received::Skipped | Received::Pong => Said::Nothing,
        });
        self.unread = input.to_vec();
        Ok(said)
    }

    async fn read(&mut self) -> Result<(), Problem> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer).await {
            Ok(0) => Err(broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                Ok(())
            }
            Err(error) => Err(broken(error)),
        }
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        while !self.unsent.is_empty() {
            let written = self.stream.write(&self.unsent).await.map_err(broken)?;
            self.unsent.drain(..written);
        }
        self.stream.flush().await.map_err(broken)
    }
}

fn broken(error: io::Error) -> Problem {
    Problem::new(
        format!("the connection broke off ({error})"),
        "look at `journalctl -u 'openstudio-signaling*' -n 20`; a proxy in between may not pass WebSockets, or cut silent ones: its timeout must be over 35 s",
    )
}

/// The server, or a proxy, has ended the connection.
fn closed(code: Option<u16>) -> Problem {
    let Some(code) = code.map(CloseCode) else {
        return broken(io::Error::other("the server closed with no code"));
    };
    let what = match code.reason() {
        "" => format!("the server closed with code {code}"),
        reason => format!("the server closed with code {code}, {reason:?}"),
    };
    let fix = match code {
        CloseCode::GOING_AWAY => {
            "wait until it has restarted; `systemctl status openstudio-signaling` shows whether it has"
        }
        CloseCode::TOO_MANY => {
            "raise MAX_CONNECTIONS_PER_IP, or name the proxy in TRUSTED_PROXIES, so that not all clients have its address"
        }
        _ => "look at `journalctl -u 'openstudio-signaling*' -n 20`",
    };
    Problem::new(what, fix)
}

/// The server has answered with an error.
fn refused(message: &str, code: Option<&str>) -> Problem {
    let is = |known: ErrorCode| code == Some(known.name());
    let fix = if is(ErrorCode::RateLimitExceeded) {
        "wait 10 s; if it stays, RATE_LIMIT is too low for any client"
    } else if is(ErrorCode::InviteRequired) {
        "this station lets only the invited in: make an invite with `openstudio-signaling invite --room check` and give it by --invite; one that was made while ROOM_ACCESS was open is none"
    } else if is(ErrorCode::InvalidInvite) {
        "`openstudio-signaling invite --show` says what is in the invite; make another one with `openstudio-signaling invite --room check`"
    } else {
        "look at `journalctl -u openstudio-signaling -n 20`"
    };
    Problem::new(format!("the server refuses: {}", quoted(message)), fix)
}

/// Bytes for a key or a mask (RFC 6455 section 10.3 wants them unpredictable).
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(filled, Ok(N), "getrandom(2) fills up to 256 bytes at once");
    bytes
}
