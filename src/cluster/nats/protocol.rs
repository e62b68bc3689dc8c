//! What a NATS server says, and what is said to it (the client protocol of docs.nats.io).
//!
//! Owns bytes to messages and back, and how long they may be. It is pure: it deliberately knows no socket and no time.

use serde::Deserialize;

/// The longest line that is read, in bytes: an `INFO` names all servers of a large cluster.
const MOST_LINE: usize = 64 * 1024;

/// The largest payload with its headers that is read, in bytes: twice what a server takes by itself.
const MOST_PAYLOAD: usize = 2 * 1024 * 1024;

/// What a server says first, of what a client needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Info {
    /// For the log.
    pub server_name: String,
    /// For the log, and for what it can do.
    pub version: String,
    /// To be signed, where a key proves who the client is.
    pub nonce: Option<String>,
    /// Whether the connection goes on with TLS.
    pub tls_required: bool,
    /// Whether it wants to know who the client is.
    pub auth_required: bool,
    /// The largest payload that it takes, in bytes.
    pub max_payload: usize,
    /// Whether it knows headers.
    pub headers: bool,
}

/// A message on a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// Where an answer goes, if one is wanted.
    pub reply: Option<String>,
    /// Its headers as they came: a status line, and one line each.
    pub headers: Vec<u8>,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Message {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let text = std::str::from_utf8(&self.headers).ok()?;
        text.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The status, where it is an answer of the server: 503 where nobody listens on a subject.
    pub fn status(&self) -> Option<u16> {
        let line = self.headers.strip_prefix(b"NATS/1.0")?;
        let line = std::str::from_utf8(line).ok()?.lines().next()?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who it is; first, and when that changes.
    Info(Box<Info>),
    /// Something on a subject.
    Message(Message),
    /// It wants to know whether the client lives.
    Ping,
    /// It lives.
    Pong,
    /// It took something.
    Ok,
    /// It did not.
    Error(String),
}

/// The server says what no server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonsense;

/// Reads what a server says from pieces of any size.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// How much of it has been read.
    read: usize,
}

impl Reader {
    /// More has come.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
        } else if self.read > MOST_LINE {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next thing that is all there.
    ///
    /// # Errors
    ///
    /// When it is none, or too long. Nothing more can be read then.
    #[expect(clippy::should_implement_trait, reason = "it may go on after it had nothing")]
    pub fn next(&mut self) -> Result<Option<Said>, Nonsense> {
        let rest = &self.buffer[self.read..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return if rest.len() > MOST_LINE { Err(Nonsense) } else { Ok(None) };
        };
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| Nonsense)?;
        let (word, arguments) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let begin = end + 2;
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let (said, length) = if is("MSG") || is("HMSG") {
            let Head { subject, reply, headers, all } = head(arguments, is("HMSG"))?;
            let Some(body) = rest.get(begin..begin + all + 2) else { return Ok(None) };
            let body = body.strip_suffix(b"\r\n").ok_or(Nonsense)?;
            let (headers, payload) = body.split_at_checked(headers).ok_or(Nonsense)?;
            let (headers, payload) = (headers.to_vec(), payload.to_vec());
            (Said::Message(Message { subject, reply, headers, payload }), begin + all + 2)
        } else if is("INFO") {
            (Said::Info(serde_json::from_str(arguments).map_err(|_| Nonsense)?), begin)
        } else if is("PING") {
            (Said::Ping, begin)
        } else if is("PONG") {
            (Said::Pong, begin)
        } else if is("+OK") {
            (Said::Ok, begin)
        } else if is("-ERR") {
            (Said::Error(arguments.trim_matches('\'').to_owned()), begin)
        } else {
            return Err(Nonsense);
        };
        self.read += length;
        Ok(Some(said))
    }
}

struct Head {
    subject: String,
    reply: Option<String>,
    /// How many bytes the headers have, and those with the payload.
    headers: usize,
    all: usize,
}

/// The first line of a message: `subject sid [reply] [headers] all`.
fn head(arguments: &str, has_headers: bool) -> Result<Head, Nonsense> {
    let words: Vec<_> = arguments.split_whitespace().collect();
    let sizes = if has_headers { 2 } else { 1 };
    let (names, numbers) =
        words.split_at_checked(words.len().saturating_sub(sizes)).ok_or(Nonsense)?;
    let number = |text: &&str| text.parse::<usize>().map_err(|_| Nonsense);
    let (headers, all) = match numbers {
        [headers, all] => (number(headers)?, number(all)?),
        [all] => (0, number(all)?),
        _ => return Err(Nonsense),
    };
    let (subject, reply) = match names {
        [subject, _sid] => (subject, None),
        [subject, _sid, reply] => (subject, Some((*reply).to_owned())),
        _ => return Err(Nonsense),
    };
    if headers > all || all > MOST_PAYLOAD {
        return Err(Nonsense);
    }
    Ok(Head { subject: (*subject).to_owned(), reply, headers, all })
}

/// Something to be said on a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The subject.
    pub subject: String,
    /// Where an answer goes, if one is wanted.
    pub reply: Option<String>,
    /// What is said.
    pub payload: Vec<u8>,
}

impl Publish {
    /// As it is written.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { subject, reply, payload } = self;
        let reply = reply.as_deref().unwrap_or_default();
        let space = if reply.is_empty() { "" } else { " " };
        let line = format!("PUB {subject} {reply}{space}{}\r\n", payload.len());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }
}

/// Asks for what is said on a subject.
pub fn subscribe(out: &mut Vec<u8>, subject: &str, number: u64) {
    out.extend_from_slice(format!("SUB {subject} {number}\r\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, reply: Option<&str>, headers: &str, payload: &str) -> Said {
        Said::Message(Message {
            subject: subject.into(),
            reply: reply.map(Into::into),
            headers: headers.into(),
            payload: payload.into(),
        })
    }

    #[test]
    fn what_a_server_says_is_read_from_pieces_of_any_size() {
        let said = "INFO {\"server_name\":\"s1\",\"version\":\"2.10.27\",\"max_payload\":1048576,\
                    \"headers\":true,\"x\":[1]}\r\nPING\r\nMSG a.b 1 5\r\nx\r\n y\r\n\
                    MSG a 1 inbox.7 0\r\n\r\n+OK\r\n-ERR 'Authorization Violation'\r\n\
                    HMSG a 2 12 12\r\nNATS/1.0\r\n\r\n\r\n\
                    HMSG a 2 r 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n";
        let info = Info {
            server_name: "s1".into(),
            version: "2.10.27".into(),
            max_payload: 1_048_576,
            headers: true,
            ..Info::default()
        };
        let expected = [
            Said::Info(Box::new(info)),
            Said::Ping,
            message("a.b", None, "", "x\r\n y"),
            message("a", Some("inbox.7"), "", ""),
            Said::Ok,
            Said::Error("Authorization Violation".into()),
            message("a", None, "NATS/1.0\r\n\r\n", ""),
            message("a", Some("r"), "NATS/1.0 503\r\n\r\n", ""),
            Said::Pong,
        ];
        for size in 1..said.len() {
            let (mut reader, mut found) = (Reader::default(), Vec::new());
            for piece in said.as_bytes().chunks(size) {
                reader.take(piece);
                while let Some(said) = reader.next().unwrap() {
                    found.push(said);
                }
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn headers_have_values_and_a_status() {
        let headers = "NATS/1.0\r\nNats-Sequence: 42\r\nnats-stream:S\r\n\r\n";
        let Said::Message(found) = message("a", None, headers, "") else { unreachable!() };
        assert_eq!(found.header("Nats-Sequence"), Some("42"));
        assert_eq!(found.header("Nats-Stream"), Some("S"));
        assert_eq!((found.header("other"), found.status()), (None, None));
        let Said::Message(found) = message("a", None, "NATS/1.0 503\r\n\r\n", "") else {
            unreachable!()
        };
        assert_eq!(found.status(), Some(503));
    }

    #[test]
    fn nonsense_ends_the_reading() {
        for said in [
            "HTTP/1.1 200 OK\r\n",
            "MSG a\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 2097153\r\n",
            "HMSG a 1 5 4\r\n",
            "MSG a 1 b c 1\r\n",
            "INFO x\r\n",
            "MSG a 1 1\r\nxyz",
            &"x".repeat(MOST_LINE + 1),
        ] {
            let mut reader = Reader::default();
            reader.take(said.as_bytes());
            assert_eq!(reader.next(), Err(Nonsense), "{said:.20}");
        }
        let mut reader = Reader::default();
        reader.take("x".repeat(MOST_LINE).as_bytes());
        assert_eq!(reader.next(), Ok(None), "it may be a line still");
        reader = Reader::default();
        reader.take(b"MSG a 1 2097152\r\n");
        assert_eq!(reader.next(), Ok(None), "the largest payload");
    }

    #[test]
    fn what_is_said_is_one_line_and_the_payload() {
        let mut out = Vec::new();
        let (subject, payload) = ("a.b".to_owned(), b"x\r\n".to_vec());
        Publish { subject: subject.clone(), reply: None, payload: payload.clone() }.write(&mut out);
        Publish { subject, reply: Some("r".into()), payload }.write(&mut out);
        subscribe(&mut out, "c.>", 3);
        assert_eq!(out, b"PUB a.b 3\r\nx\r\n\r\nPUB a.b r 3\r\nx\r\n\r\nSUB c.> 3\r\n");
    }
}
