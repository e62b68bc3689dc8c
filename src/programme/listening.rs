//! A listener's side of Icecast: the request, and what it answers.
//!
//! Owns which of Icecast's fields reach the listener. It deliberately does not know who listens.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::config::icecast::Icecast;
use crate::programme::dial::{Wire, connect};
use crate::programme::icecast::{MOST_ANSWER, Refusal};

/// How long Icecast may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most fields of an answer.
const MOST_FIELDS: usize = 64;

/// What a listener gets where Icecast does not say what it is.
const OGG: &str = "application/ogg";

/// A mount that plays.
pub struct Playing {
    /// Its media type.
    pub content_type: String,
    /// What Icecast says of the station: `icy-name`, `icy-genre` and the like.
    pub fields: Vec<(String, String)>,
    /// What came behind the head.
    pub early: Vec<u8>,
    /// What comes.
    pub wire: Wire,
}

/// Why a listener hears nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silent {
    /// Icecast has no such mount: nobody is on air.
    OffAir,
    /// It can't be reached, or gives another answer.
    Unavailable(Refusal),
}

/// Begins to listen to the mount, by the socket `way` if it is there.
///
/// # Errors
///
/// Why there is nothing to hear.
pub async fn listen(icecast: &Icecast, way: &Path) -> Result<Playing, Silent> {
    let asked = timeout(PATIENCE, ask(icecast, way)).await;
    let late = || Refusal::Unreachable(format!("not within {} s", PATIENCE.as_secs()));
    asked.unwrap_or_else(|_| Err(Silent::Unavailable(late())))
}

async fn ask(icecast: &Icecast, way: &Path) -> Result<Playing, Silent> {
    let unreachable = |why: String| Silent::Unavailable(Refusal::Unreachable(why));
    let broken = |error: std::io::Error| unreachable(error.to_string());
    let mut wire = connect(&icecast.url, way).await.map_err(Silent::Unavailable)?;
    let (mount, host) = (&icecast.url.mount, icecast.url.authority());
    // HTTP/1.0 has no chunks.
    let request = format!(
        "GET {mount} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: openstudio-signaling/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    wire.write_all(request.as_bytes()).await.map_err(broken)?;
    wire.flush().await.map_err(broken)?;
    let (mut head, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let read = wire.read(&mut buffer).await.map_err(broken)?;
        if read == 0 {
            return Err(unreachable("it closed the connection before it answered".into()));
        }
        head.extend_from_slice(&buffer[..read]);
        if let Some((answer, length)) = understand(&head)? {
            let early = head.split_off(length);
            let (content_type, fields) = answer;
            return Ok(Playing { content_type, fields, early, wire });
        }
        if head.len() >= MOST_ANSWER {
            let why = "with a head that is too long".to_owned();
            return Err(Silent::Unavailable(Refusal::Answer(why)));
        }
    }
}

/// The media type, and what is said of the station.
type About = (String, Vec<(String, String)>);

/// What a head says, and how long it is; `None` where more has to come.
fn understand(head: &[u8]) -> Result<Option<(About, usize)>, Silent> {
    let other = |answer: String| Silent::Unavailable(Refusal::Answer(answer));
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(head) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(other(format!("with no HTTP ({error})"))),
    };
    match answer.code {
        Some(200) => {}
        Some(404) => return Err(Silent::OffAir),
        // Of all, or of the mount.
        Some(403) => return Err(Silent::Unavailable(Refusal::Full)),
        code => return Err(other(code.unwrap_or_default().to_string())),
    }
    let mut content_type = OGG.to_owned();
    let mut about = Vec::new();
    for field in answer.headers {
        let Ok(value) = std::str::from_utf8(field.value) else { continue };
        let name = field.name.to_ascii_lowercase();
        match name.as_str() {
            "content-type" => content_type = value.to_owned(),
            _ if name.starts_with("icy-") => about.push((name, value.to_owned())),
            _ => {}
        }
    }
    Ok(Some(((content_type, about), length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_icecast_says_of_a_mount_is_passed_on() {
        let head = b"HTTP/1.0 200 OK\r\nServer: Icecast 2.4.4\r\nConnection: Close\r\nContent-Type: audio/ogg\r\nicy-name:Radio North\r\nIcy-Br: 128\r\n\r\nOggS";
        let ((content_type, fields), length) = understand(head).unwrap().unwrap();
        assert_eq!(content_type, "audio/ogg");
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields, [field("icy-name", "Radio North"), field("icy-br", "128")]);
        assert_eq!(head[length..], *b"OggS");
        for cut in 0..length {
            assert_eq!(understand(&head[..cut]), Ok(None), "at {cut}");
        }
        let bare = understand(b"HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap();
        assert_eq!(bare.0, (OGG.to_owned(), Vec::new()));
    }

    #[test]
    fn a_mount_that_is_not_there_is_nobody_on_air() {
        let no = understand(b"HTTP/1.0 404 File Not Found\r\n\r\nThe file you requested");
        assert_eq!(no, Err(Silent::OffAir));
        let full = understand(b"HTTP/1.0 403 Forbidden\r\n\r\nIcecast connection limit reached");
        assert_eq!(full, Err(Silent::Unavailable(Refusal::Full)));
        let busy = understand(b"HTTP/1.0 503 Service Unavailable\r\n\r\n");
        assert_eq!(busy, Err(Silent::Unavailable(Refusal::Answer("503".into()))));
        let other = understand(b"SSH-2.0-OpenSSH_9.2\r\n");
        assert!(matches!(other, Err(Silent::Unavailable(Refusal::Answer(_)))), "{other:?}");
    }
}
