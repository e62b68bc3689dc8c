//! What Icecast is told, and what it answers.
//!
//! Owns the request of a source, and what each answer means for the one on air. It deliberately holds no connection.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::icecast::Icecast;

/// The longest answer that is read, in bytes.
pub const MOST_ANSWER: usize = 8 * 1024;

/// The longest value of a field, in bytes: Icecast takes 4 KiB for all of a request.
const MOST_VALUE: usize = 255;

/// What the station says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// What it is about, its page and its genre, where the manifest says so.
    pub description: Option<String>,
    /// See [`Self::description`].
    pub url: Option<String>,
    /// See [`Self::description`].
    pub genre: Option<String>,
}

impl About {
    /// The same for players, as comments of the stream (Vorbis comment field names).
    pub fn comments(&self) -> Vec<String> {
        let rest = [("DESCRIPTION", &self.description), ("GENRE", &self.genre)];
        let rest = rest.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let all = std::iter::once(("TITLE", &self.name)).chain(rest);
        all.map(|(name, value)| format!("{name}={}", short(value))).collect()
    }
}

/// Why Icecast does not take the programme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It says that the password is wrong.
    Password,
    /// Its name has no address.
    UnknownHost(String),
    /// Another source has the mount.
    MountInUse,
    /// It has as many clients as it may.
    Full,
    /// It gave another answer, in its own words.
    Answer(String),
    /// It can't be reached, or does not answer, for this reason.
    Unreachable(String),
}

impl Refusal {
    /// Of an answer with this status line.
    pub fn answered(line: &str) -> Self {
        Self::Answer(shown(line))
    }

    /// Whether nothing is tried again before somebody has changed something.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Password | Self::UnknownHost(_) | Self::Answer(_))
    }

    /// What to do.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Password => {
                "set ICECAST_PASSWORD, or the credential icecast-password, to the source-password in icecast.xml"
            }
            Self::UnknownHost(_) => "correct the host in ICECAST_URL",
            Self::MountInUse => "end the other source, or choose another mount in ICECAST_URL",
            Self::Full => {
                "raise <clients> in icecast.xml above MAX_LISTENERS, and restart Icecast: each listener is a client, and so is the source"
            }
            Self::Answer(_) => "look at Icecast's error.log",
            Self::Unreachable(_) => {
                "start Icecast (systemctl start icecast2), and with the package enable the way to it: systemctl enable --now openstudio-signaling-icecast.socket"
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password => f.write_str("Icecast refuses the password"),
            Self::UnknownHost(host) => write!(f, "the host {host} is unknown"),
            Self::MountInUse => f.write_str("another source has the mount"),
            Self::Full => f.write_str("Icecast has as many clients as it may"),
            Self::Answer(answer) => write!(f, "Icecast answers {answer}"),
            Self::Unreachable(why) => write!(f, "Icecast does not answer: {why}"),
        }
    }
}

/// A value on one line, and no longer than Icecast's buffer has room for.
fn short(value: &str) -> String {
    let whole = value.char_indices().take_while(|(at, c)| at + c.len_utf8() <= MOST_VALUE);
    // A line break would begin another field.
    whole.map(|(_, c)| c).filter(|c| !c.is_control()).collect()
}

/// By which Icecast knows the source (RFC 7617).
pub fn credential(Icecast { url, password, .. }: &Icecast) -> String {
    let password = password.as_ref().map(|password| password.bytes()).unwrap_or_default();
    STANDARD.encode([url.user.as_bytes(), b":", password].concat())
}

/// The request by which a source begins. Icecast does not decode chunks, so there are none.
pub fn request(icecast: &Icecast, about: &About) -> String {
    let (url, credential) = (&icecast.url, credential(icecast));
    let (mount, host) = (&url.mount, url.authority());
    let mut head = format!(
        "PUT {mount} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: openstudio-signaling/{}\r\n\
         Authorization: Basic {credential}\r\nContent-Type: audio/ogg\r\nExpect: 100-continue\r\n\
         Ice-Public: 0\r\nIce-Audio-Info: channels=2;samplerate=48000\r\n",
        env!("CARGO_PKG_VERSION"),
    );
    let fields = [
        ("Ice-Name", Some(&about.name)),
        ("Ice-Description", about.description.as_ref()),
        ("Ice-URL", about.url.as_ref()),
        ("Ice-Genre", about.genre.as_ref()),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            head += &format!("{name}: {}\r\n", short(value));
        }
    }
    head + "\r\n"
}

/// What Icecast means by what it has sent so far; `None` where more has to come. `is_over` says that nothing does.
pub fn answer(sent: &[u8], is_over: bool) -> Option<Result<(), Refusal>> {
    let text = String::from_utf8_lossy(sent);
    let is_whole = text.contains("\r\n\r\n");
    let closed = || Refusal::Unreachable("it closed the connection before it answered".into());
    if !is_whole && !is_over {
        let is_too_long = sent.len() >= MOST_ANSWER;
        return is_too_long.then(|| Err(Refusal::Answer("more than a source is told".into())));
    }
    let line = text.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    Some(match status {
        Some("100" | "200") => Ok(()),
        Some("401") => Err(Refusal::Password),
        Some("403") => {
            // The reason is in the status line, or in the page behind it.
            let reason = text.to_ascii_lowercase();
            let is_in_use =
                reason.contains("mountpoint in use") || reason.contains("mountpoint already");
            if is_in_use || reason.contains("in use") {
                Err(Refusal::MountInUse)
            } else if reason.contains("connection limit reached") {
                Err(Refusal::Full)
            } else if !is_over && sent.len() < MOST_ANSWER {
                return None;
            } else {
                Err(Refusal::answered(line))
            }
        }
        Some(_) => Err(Refusal::answered(line)),
        None if sent.is_empty() => Err(closed()),
        None => Err(Refusal::answered(line)),
    })
}

/// A line for a log, without what would mislead its reader.
fn shown(line: &str) -> String {
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' '));
    crate::wire::text::quoted(status.map_or(line, |(_, rest)| rest)).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::config::Secret;

    fn icecast() -> Icecast {
        let url = "http://source@127.0.0.1:8000/live.ogg".parse().unwrap();
        Icecast {
            url,
            password: Some(Secret::new("hackme")),
            hold: Duration::ZERO,
            public_url: None,
            archive: None,
            max_listeners: 0,
        }
    }

    #[test]
    fn a_source_says_who_it_is_and_what_it_brings() {
        let about = About {
            name: "Radio\r\nX-Evil: 1".into(),
            genre: Some("Community".into()),
            ..About::default()
        };
        let head = request(&icecast(), &about);
        assert!(head.starts_with("PUT /live.ogg HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"), "{head}");
        for line in [
            "Authorization: Basic c291cmNlOmhhY2ttZQ==",
            "Content-Type: audio/ogg",
            "Expect: 100-continue",
            "Ice-Name: RadioX-Evil: 1",
            "Ice-Genre: Community",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
        assert!(head.ends_with("\r\n\r\n") && !head.contains("Transfer-Encoding"), "{head}");
        assert_eq!(about.comments(), ["TITLE=RadioX-Evil: 1", "GENRE=Community"]);
    }

    #[test]
    fn long_values_are_cut() {
        let about = About { name: "ü".repeat(1000), ..About::default() };
        let name = "ü".repeat(MOST_VALUE / 2);
        assert!(request(&icecast(), &about).contains(&format!("Ice-Name: {name}\r\n")));
        assert_eq!(about.comments(), [format!("TITLE={name}")]);
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let go = b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\nHTTP/1.0 200 OK\r\n\r\n";
        assert_eq!(answer(go, false), Some(Ok(())));
        assert_eq!(answer(b"HTTP/1.0 200 OK\r\n\r\n", false), Some(Ok(())));
        assert_eq!(answer(b"HTTP/1.0 200 OK\r\n", false), None);
        let wrong = b"HTTP/1.0 401 Authentication Required\r\n\r\nYou need to authenticate\r\n";
        assert_eq!(answer(wrong, false), Some(Err(Refusal::Password)));
        let head = b"HTTP/1.0 403 Forbidden\r\nContent-Type: text/plain\r\n\r\n";
        assert_eq!(answer(head, false), None, "the reason is still to come");
        let used = [&head[..], b"Mountpoint in use"].concat();
        assert_eq!(answer(&used, false), Some(Err(Refusal::MountInUse)));
        let clients = [&head[..], b"Icecast connection limit reached"].concat();
        assert_eq!(answer(&clients, false), Some(Err(Refusal::Full)));
        let full = [&head[..], b"too many sources connected"].concat();
        assert_eq!(answer(&full, true), Some(Err(Refusal::Answer("403 Forbidden".into()))));
        let other = b"HTTP/1.0 500 Internal\r\n\r\n";
        assert_eq!(answer(other, false), Some(Err(Refusal::Answer("500 Internal".into()))));
        let Some(Err(Refusal::Unreachable(why))) = answer(b"", true) else { panic!("closed") };
        assert!(why.contains("closed"), "{why}");
        assert!(matches!(answer(b"SSH-2.0\r\n", true), Some(Err(Refusal::Answer(_)))));
        assert_eq!(answer(&[b'x'; MOST_ANSWER - 1], false), None);
        assert!(matches!(answer(&[b'x'; MOST_ANSWER], false), Some(Err(Refusal::Answer(_)))));
    }

    #[test]
    fn what_is_tried_again_is_what_may_be_over() {
        assert!(!Refusal::Unreachable(String::new()).is_final() && !Refusal::MountInUse.is_final());
        assert!(!Refusal::Full.is_final(), "until one leaves");
        assert!(Refusal::Password.is_final() && Refusal::Answer(String::new()).is_final());
        assert!(Refusal::UnknownHost(String::new()).is_final());
    }
}
