//! What the studio can do with this server, so that it does not offer the rest.
//!
//! Owns the answer, in the form that the studio reads. It deliberately does not know how anything of it is done.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// What the studio has buttons for and this server does not do, with what that would need, in the studio's words.
const ABSENT: [(&str, &[&str]); 4] = [
    ("transcribe", &["whisper", "model", "ffmpeg"]),
    ("cleanAudio", &["ffmpeg", "transcribe"]),
    ("mp3Export", &["ffmpeg"]),
    ("showNotes", &["transcribe"]),
];

/// One thing that the studio has a button for.
#[derive(Serialize)]
struct Feature {
    available: bool,
    requires: &'static [&'static str],
    missing: &'static [&'static str],
    /// Why, for a person.
    reason: &'static str,
}

/// The answer of a server with an Icecast, or without one.
pub fn capabilities(has_icecast: bool) -> Value {
    let absent = json!({ "available": false });
    let features: Map<_, _> = ABSENT
        .into_iter()
        .map(|(name, requires)| {
            let reason = "openstudio-signaling does not do this";
            (
                name.to_owned(),
                json!(Feature { available: false, requires, missing: requires, reason }),
            )
        })
        .collect();
    json!({
        "ffmpeg": absent,
        "ffprobe": absent,
        "whisper": absent,
        "model": absent,
        "llm": { "configured": false },
        "streaming": { "available": has_icecast },
        "features": features,
    })
}
