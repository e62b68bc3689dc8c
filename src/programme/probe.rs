//! Whether Icecast would take the programme, without a programme.
//!
//! Owns the question. It deliberately takes no mount: listeners of another source would notice.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::config::icecast::Icecast;
use crate::programme::dial::connect;
use crate::programme::icecast::{MOST_ANSWER, Refusal, credential};

/// How long Icecast may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks Icecast whether it takes the password, and has the mount free, by the socket `way` if it is there.
///
/// # Errors
///
/// Why it would not take the programme.
pub async fn probe(icecast: &Icecast, way: &Path) -> Result<(), Refusal> {
    let asked = timeout(PATIENCE, ask(icecast, way)).await;
    let late = || Refusal::Unreachable(format!("not within {} s", PATIENCE.as_secs()));
    understand(&asked.unwrap_or_else(|_| Err(late()))?)
}

/// The head of the answer to a change of nothing: Icecast looks at the password and at the mount first, and knows no such
/// mode (admin.c of Icecast 2.4).
async fn ask(icecast: &Icecast, way: &Path) -> Result<Vec<u8>, Refusal> {
    let unreachable = |error: io::Error| Refusal::Unreachable(error.to_string());
    let mut wire = connect(&icecast.url, way).await?;
    let request = format!(
        "GET /admin/metadata?mount={}&mode=check HTTP/1.0\r\nHost: {}\r\nUser-Agent: openstudio-signaling/{}\r\nAuthorization: Basic {}\r\n\r\n",
        icecast.url.mount,
        icecast.url.authority(),
        env!("CARGO_PKG_VERSION"),
        credential(icecast),
    );
    wire.write_all(request.as_bytes()).await.map_err(unreachable)?;
    wire.flush().await.map_err(unreachable)?;
    let mut answer = Vec::new();
    let mut bounded = wire.take(MOST_ANSWER as u64);
    // It closes the connection behind its answer; where that is rude, the answer has come.
    let read = bounded.read_to_end(&mut answer).await;
    match read {
        Err(error) if answer.is_empty() => Err(unreachable(error)),
        _ => Ok(answer),
    }
}

fn understand(answer: &[u8]) -> Result<(), Refusal> {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        // There is no such mount.
        Some("400" | "404") => Ok(()),
        Some("200") => Err(Refusal::MountInUse),
        Some("401") => Err(Refusal::Password),
        Some("403") if text.to_ascii_lowercase().contains("connection limit") => Err(Refusal::Full),
        None if answer.is_empty() => {
            Err(Refusal::Unreachable("it closed the connection before it answered".into()))
        }
        _ => Err(Refusal::answered(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_says_what_would_come_of_a_programme() {
        let free = b"HTTP/1.0 400 Bad Request\r\n\r\n<b>400 - Source does not exist</b>";
        assert_eq!(understand(free), Ok(()));
        let used = b"HTTP/1.0 200 OK\r\n\r\n<iceresponse><message>No such action</message>";
        assert_eq!(understand(used), Err(Refusal::MountInUse));
        let wrong = b"HTTP/1.0 401 Authentication Required\r\n\r\n";
        assert_eq!(understand(wrong), Err(Refusal::Password));
        let full = b"HTTP/1.0 403 Forbidden\r\n\r\nIcecast connection limit reached";
        assert_eq!(understand(full), Err(Refusal::Full));
        assert!(matches!(understand(b""), Err(Refusal::Unreachable(_))));
        let other = understand(b"HTTP/1.1 502 Bad Gateway\r\n\r\n");
        assert_eq!(other, Err(Refusal::Answer("502 Bad Gateway".into())));
        assert!(matches!(understand(b"SSH-2.0\r\n"), Err(Refusal::Answer(_))));
    }
}
