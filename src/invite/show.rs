//! What is in a token, for `invite --show`.
//!
//! Owns the words for why a token is no invite to this station. It deliberately shows nothing of a token that somebody
//! else has signed: anybody can write anything into one.

use std::time::{Duration, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use serde::Serialize;

use crate::config::config::RoomAccess;
use crate::station::token_claims::{Statement, TokenError};
use crate::station::tokens::Tokens;
use crate::wire::ids::RoomId;
use crate::wire::role::Role;
use crate::wire::text::quoted;

/// The last second that has four digits for its year (RFC 3339).
const LAST: u64 = 253_402_300_799;

/// What a token is.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Whether it lets its bearer in now.
    pub valid: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// What it says, where this station has signed it.
    #[serde(flatten)]
    pub claims: Option<Claims>,
}

/// What a token says.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Where, as it may be shown.
    pub room: String,
    /// As what, as it may be shown.
    pub role: String,
    /// When it was made (RFC 3339), where it says so.
    pub made: Option<String>,
    /// When its time is over (RFC 3339).
    pub until: String,
    /// The same in seconds since 1970.
    pub until_seconds: u64,
}

/// A time in seconds since 1970 as RFC 3339 has it.
pub fn time(seconds: u64) -> String {
    format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST))).to_string()
}

impl Shown {
    /// Looks at a token as a server with this access would.
    pub fn new(tokens: &Tokens, access: RoomAccess, token: &str, now: u64) -> Self {
        let why = why_not(tokens, access, token, now);
        let claims = tokens.statement(token).ok().map(|Statement { room_id, role, made, end }| {
            let made = made.map(time);
            let (room, role) = (shown(&room_id), quoted(&role));
            Claims { room, role, made, until: time(end), until_seconds: end }
        });
        Self { valid: why.is_none(), why, claims }
    }

    /// The same in lines.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        if let Some(Claims { room, role, made, until, .. }) = &self.claims {
            let made = made.as_deref().unwrap_or("it does not say");
            text += &format!("Room:  {room}\nRole:  {role}\nMade:  {made}\nUntil: {until}\n");
        }
        let verdict = self.why.map_or_else(|| "yes".to_owned(), |why| format!("no, {why}"));
        text + &format!("Valid: {verdict}\n")
    }
}

/// All of a room's name, where it is one.
fn shown(room: &str) -> String {
    RoomId::parse(room).map_or_else(|| quoted(room), |room| room.to_string())
}

fn why_not(tokens: &Tokens, access: RoomAccess, token: &str, now: u64) -> Option<&'static str> {
    let invite = match tokens.check(token, now) {
        Ok(invite) => invite,
        Err(error) => {
            return Some(match error {
                TokenError::Malformed => "this is no token, or not all of it",
                TokenError::Signature => {
                    "it was signed with another secret, or changed: what it says is not to be trusted"
                }
                TokenError::Expired => "it has expired",
                TokenError::NotActive => "its time has not come",
                TokenError::NotAnInvite => {
                    "it is not an invite but a room token, which the server gives to who is in a room"
                }
            });
        }
    };
    if !invite.counts(access) {
        return Some(
            "it was made while ROOM_ACCESS was open, and is void now that it is invited: make a new one",
        );
    }
    if RoomId::parse(&invite.room_id).is_none() || Role::from_name(&invite.role).is_none() {
        return Some("there is no such room or role");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::config::Secret;
    use crate::wire::ids::{Identity, PeerId};

    const NOW: u64 = 1_760_804_444;

    #[test]
    fn each_reason_has_its_words() {
        let tokens = Tokens::new(&Secret::new("correct horse battery staple"));
        let other = Tokens::new(&Secret::new("another secret"));
        let room = RoomId::from("Käse");
        let make = |tokens: &Tokens, access| tokens.invite(&room, Role::Host, access, NOW, 60);
        let (open, invited) = (make(&tokens, RoomAccess::Open), make(&tokens, RoomAccess::Invited));
        let look = |token: &str, access, now| Shown::new(&tokens, access, token, now);
        let good = look(&invited, RoomAccess::Invited, NOW + 59);
        assert_eq!(
            good.lines(),
            "Room:  Käse\nRole:  host\nMade:  2025-10-18T16:20:44Z\nUntil: 2025-10-18T16:21:44Z\nValid: yes\n"
        );
        assert!(look(&open, RoomAccess::Open, NOW).valid);
        assert!(look(&invited, RoomAccess::Open, NOW).valid);
        let peer = PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap();
        for (token, now, why, is_ours) in [
            (&invited, NOW + 60, "has expired", true),
            (&open, NOW, "ROOM_ACCESS was open", true),
            (
                &tokens.room(
                    peer,
                    &room,
                    Role::Host,
                    Identity::random(),
                    (RoomAccess::Open, None),
                    NOW,
                ),
                NOW,
                "room token",
                true,
            ),
            (&make(&other, RoomAccess::Invited), NOW, "another secret", false),
            (&"x".to_owned(), NOW, "no token", false),
            (&invited[..invited.len() - 50].to_owned(), NOW, "no token", false),
        ] {
            let shown = look(token, RoomAccess::Invited, now);
            assert!(!shown.valid && shown.why.unwrap().contains(why), "{shown:?}");
            assert_eq!(shown.claims.is_some(), is_ours, "{shown:?}");
            assert!(shown.lines().ends_with(&format!("Valid: no, {}\n", shown.why.unwrap())));
        }
    }

    #[test]
    fn a_time_that_is_no_date_is_shown_as_the_last_one() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
