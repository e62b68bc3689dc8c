//! Room and invite tokens: JSON Web Tokens (RFC 7519), signed with HS256.
//!
//! Owns what is in a token, how long it holds, and why one is refused. It deliberately knows no clock: the
//! time is an argument, in seconds since 1970.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::config::config::{RoomAccess, Secret};
use crate::station::hs256::HS256_ONLY;
use crate::station::token_claims::{Invite, RoomToken, Statement, TokenError};
use crate::wire::ids::{Identity, PeerId, RoomId};
use crate::wire::role::Role;

/// How long a room token holds, in seconds: a day.
const ROOM_TIME: u64 = 24 * 3600;

/// How long room tokens hold that derive from an invite, in seconds from the first entry with it.
pub const CHAIN_TIME: u64 = 24 * 3600;

/// How long an invite that a host makes holds, in seconds: a show and its rehearsal.
pub const INVITE_TIME: u64 = 4 * 3600;

/// Makes and checks tokens with one secret.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<PeerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    room_id: &'a str,
    role: Role,
    r#type: &'static str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    access: &'static str,
    exp: u64,
}

/// What a token may say. Numbers may have fractions (RFC 7519 section 2, NumericDate).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    room_id: Option<String>,
    role: Option<String>,
    r#type: Option<String>,
    access: Option<String>,
    sid: Option<String>,
    until: Option<u64>,
    /// No invite depends on it, so it may be anything.
    iat: Option<serde_json::Value>,
    exp: f64,
    nbf: Option<f64>,
}

impl Tokens {
    /// Tokens that are signed with `secret`.
    pub fn new(secret: &Secret) -> Self {
        // Whoever came first in this process installed the same.
        let _ = HS256_ONLY.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are looked at below, with the caller's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self {
            encoding: EncodingKey::from_secret(secret.bytes()),
            decoding: DecodingKey::from_secret(secret.bytes()),
            validation,
        }
    }

    /// What proves who a peer is in a room: for a day, and where the role came from an invite not after `until`, in
    /// seconds since 1970.
    pub fn room(
        &self,
        peer_id: PeerId,
        room_id: &RoomId,
        role: Role,
        identity: Identity,
        (access, until): (RoomAccess, Option<u64>),
        now: u64,
    ) -> String {
        let day = now + ROOM_TIME;
        self.sign(&Claims {
            sid: Some(URL_SAFE_NO_PAD.encode(identity.bytes())),
            peer_id: Some(peer_id),
            room_id: room_id.as_ref(),
            role,
            r#type: "room",
            iat: now,
            until,
            access: access.name(),
            exp: until.map_or(day, |until| until.min(day)),
        })
    }

    /// What lets somebody into a room for `time` seconds, made by a server with this access.
    pub fn invite(
        &self,
        room_id: &RoomId,
        role: Role,
        access: RoomAccess,
        now: u64,
        time: u64,
    ) -> String {
        self.sign(&Claims {
            peer_id: None,
            sid: None,
            room_id: room_id.as_ref(),
            role,
            r#type: "invite",
            iat: now,
            until: None,
            access: access.name(),
            exp: now.saturating_add(time),
        })
    }

    fn sign(&self, claims: &Claims) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
            .expect("plain data is signed with a key that fits the algorithm")
    }

    /// What a token lets its bearer do.
    ///
    /// # Errors
    ///
    /// Why it is no invite, or none now.
    pub fn check(&self, token: &str, now: u64) -> Result<Invite, TokenError> {
        let said = self.read(token, now)?;
        if said.r#type.as_deref() != Some("invite") {
            return Err(TokenError::NotAnInvite);
        }
        let Said { room_id: Some(room_id), role: Some(role), access, exp, .. } = said else {
            return Err(TokenError::Malformed);
        };
        Ok(Invite { room_id, role, access, end: exp as u64 })
    }

    /// What a room token proves; `None` where it is no room token that holds now.
    pub fn check_room(&self, token: &str, now: u64) -> Option<RoomToken> {
        let said = self.read(token, now).ok()?;
        if said.r#type.as_deref() != Some("room") {
            return None;
        }
        let identity = URL_SAFE_NO_PAD.decode(said.sid?).ok()?.try_into().ok()?;
        Some(RoomToken {
            identity: Identity::from_bytes(identity),
            made: said.iat?.as_f64()? as u64,
            room_id: said.room_id?,
            role: said.role?,
            until: said.until,
            access: said.access,
        })
    }

    /// What a token says that is signed, and whose time it is.
    fn read(&self, token: &str, now: u64) -> Result<Said, TokenError> {
        let said = self.said(token)?;
        let now = now as f64;
        if said.nbf.is_some_and(|nbf| nbf > now) {
            return Err(TokenError::NotActive);
        }
        if said.exp <= now {
            return Err(TokenError::Expired);
        }
        Ok(said)
    }

    /// What a token says, for whoever wants to know what it is: it may have expired, and may be no invite.
    ///
    /// # Errors
    ///
    /// When it is none, or somebody else's.
    pub fn statement(&self, token: &str) -> Result<Statement, TokenError> {
        let Said { room_id, role, iat, exp, .. } = self.said(token)?;
        Ok(Statement {
            room_id: room_id.unwrap_or_default(),
            role: role.unwrap_or_default(),
            made: iat.and_then(|iat| iat.as_f64()).map(|iat| iat as u64),
            end: exp as u64,
        })
    }

    fn said(&self, token: &str) -> Result<Said, TokenError> {
        // It may have been pasted, with what was around it or a line break in it.
        let token: String = token.split_whitespace().collect();
        let said = decode::<Said>(&token, &self.decoding, &self.validation);
        said.map(|said| said.claims).map_err(|error| refusal(&error))
    }
}

/// A signature by another algorithm, or by none, is not one of ours either.
fn refusal(error: &Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::Signature,
        _ => TokenError::Malformed,
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_760_804_444;

    fn tokens() -> Tokens {
        Tokens::new(&Secret::new("correct horse battery staple"))
    }

    fn part(token: &str, index: usize) -> String {
        let part = token.split('.').nth(index).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    /// A token with these parts, and a right signature by HS256.
    fn forge(tokens: &Tokens, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signed =
            jsonwebtoken::crypto::sign(text.as_bytes(), &tokens.encoding, Algorithm::HS256);
        format!("{text}.{}", signed.unwrap())
    }

    #[test]
    fn tokens_say_what_the_protocol_has() {
        let tokens = tokens();
        let peer = PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap();
        let room = RoomId::from("show");
        let identity = Identity::from_bytes(*b"0123456789abcdef");
        let token = tokens.room(peer, &room, Role::Host, identity, (RoomAccess::Open, None), NOW);
        assert_eq!(part(&token, 0), r#"{"typ":"JWT","alg":"HS256"}"#);
        assert_eq!(
            part(&token, 1),
            r#"{"peerId":"f47ac10b-58cc-4372-a567-0e02b2c3d479","sid":"MDEyMzQ1Njc4OWFiY2RlZg","roomId":"show","role":"host","type":"room","iat":1760804444,"access":"open","exp":1760890844}"#
        );
        let invite = tokens.invite(&room, Role::Ops, RoomAccess::Open, NOW, INVITE_TIME);
        assert_eq!(
            part(&invite, 1),
            r#"{"roomId":"show","role":"ops","type":"invite","iat":1760804444,"access":"open","exp":1760818844}"#
        );
        let expected = Invite {
            room_id: "show".into(),
            role: "ops".into(),
            end: NOW + INVITE_TIME,
            access: Some("open".into()),
        };
        assert_eq!(tokens.check(&invite, NOW), Ok(expected));
        assert_eq!(tokens.check(&token, NOW), Err(TokenError::NotAnInvite));
        let expected = RoomToken {
            identity,
            made: NOW,
            room_id: "show".into(),
            role: "host".into(),
            until: None,
            access: Some("open".into()),
        };
        assert_eq!(tokens.check_room(&token, NOW), Some(expected));
        assert_eq!(tokens.check_room(&token, NOW + ROOM_TIME), None);
        assert_eq!(tokens.check_room(&invite, NOW), None);
        let other = Tokens::new(&Secret::new("another secret"));
        assert_eq!(other.check_room(&token, NOW), None);
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 7515 appendix A.1: the key, and a token that expired in 2011.
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let mut tokens = tokens();
        tokens.decoding = DecodingKey::from_secret(&URL_SAFE_NO_PAD.decode(key).unwrap());
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(tokens.check(token, 1_300_819_380), Err(TokenError::Expired));
        assert_eq!(tokens.check(token, 1_300_819_379), Err(TokenError::NotAnInvite));
    }

    #[test]
    fn a_token_has_its_time() {
        let tokens = tokens();
        let invite =
            tokens.invite(&RoomId::from("show"), Role::Guest, RoomAccess::Open, NOW, INVITE_TIME);
        assert!(tokens.check(&invite, NOW + INVITE_TIME - 1).is_ok());
        assert_eq!(tokens.check(&invite, NOW + INVITE_TIME), Err(TokenError::Expired));
        let header = r#"{"alg":"HS256"}"#;
        let claims = r#"{"roomId":"a","role":"ops","type":"invite","exp":100.5,"nbf":50.5}"#;
        let token = forge(&tokens, header, claims);
        assert_eq!(tokens.check(&token, 50), Err(TokenError::NotActive));
        assert!(tokens.check(&token, 51).is_ok() && tokens.check(&token, 100).is_ok());
        assert_eq!(tokens.check(&token, 101), Err(TokenError::Expired));
    }

    #[test]
    fn an_invite_of_an_open_server_does_not_count_where_only_the_invited_come_in() {
        let tokens = tokens();
        let made = |access| {
            let room = RoomId::from("show");
            tokens.check(&tokens.invite(&room, Role::Host, access, NOW, 60), NOW).unwrap()
        };
        assert!(made(RoomAccess::Open).counts(RoomAccess::Open));
        assert!(made(RoomAccess::Invited).counts(RoomAccess::Open));
        assert!(made(RoomAccess::Invited).counts(RoomAccess::Invited));
        assert!(!made(RoomAccess::Open).counts(RoomAccess::Invited));
        // Version 0.1.0 made them without a word about access.
        let claims = r#"{"roomId":"a","role":"ops","type":"invite","exp":2e9}"#;
        let old = forge(&tokens, r#"{"alg":"HS256"}"#, claims);
        let old = tokens.check(&old, NOW).unwrap();
        assert!(old.counts(RoomAccess::Open) && !old.counts(RoomAccess::Invited));
    }

    #[test]
    fn no_renewal_passes_the_end_of_what_an_invite_gave() {
        let tokens = tokens();
        let (room, peer) = (RoomId::from("show"), "f47ac10b-58cc-4372-a567-0e02b2c3d479");
        let peer = PeerId::parse(peer).unwrap();
        let identity = Identity::random();
        let make = |until, now| {
            let rights = (RoomAccess::Invited, Some(until));
            tokens.room(peer, &room, Role::Ops, identity, rights, now)
        };
        let end = NOW + CHAIN_TIME;
        let token = make(end, NOW + 3600);
        let read = tokens.check_room(&token, end - 1).unwrap();
        assert_eq!((read.until, read.counts(RoomAccess::Invited)), (Some(end), true));
        assert_eq!(tokens.check_room(&token, end), None);
        assert_eq!(tokens.check_room(&make(end, end + 1), end + 1), None);
        let open = tokens.room(peer, &room, Role::Ops, identity, (RoomAccess::Open, None), NOW);
        let open = tokens.check_room(&open, NOW).unwrap();
        assert!(open.counts(RoomAccess::Open) && !open.counts(RoomAccess::Invited));
    }

    #[test]
    fn what_a_token_says_can_be_read_whenever() {
        let tokens = tokens();
        let (room, peer) = (RoomId::from("show"), "f47ac10b-58cc-4372-a567-0e02b2c3d479");
        let expected =
            Statement { room_id: "show".into(), role: "ops".into(), made: Some(NOW), end: NOW + 1 };
        let invite = tokens.invite(&room, Role::Ops, RoomAccess::Open, NOW, 1);
        assert_eq!(tokens.check(&invite, NOW + 1), Err(TokenError::Expired));
        assert_eq!(tokens.statement(&invite).as_ref(), Ok(&expected));
        let token = tokens.room(
            PeerId::parse(peer).unwrap(),
            &room,
            Role::Ops,
            Identity::random(),
            (RoomAccess::Open, None),
            NOW,
        );
        let end = NOW + ROOM_TIME;
        assert_eq!(tokens.statement(&token), Ok(Statement { end, ..expected }));
        let other = Tokens::new(&Secret::new("another secret"));
        assert_eq!(other.statement(&invite), Err(TokenError::Signature));
        // It makes no difference to the server what an invite says of when it was made.
        for iat in ["7.5", "\"x\"", "null", "{}"] {
            let claims =
                format!(r#"{{"roomId":"a","role":"ops","type":"invite","exp":2e9,"iat":{iat}}}"#);
            let token = forge(&tokens, r#"{"alg":"HS256"}"#, &claims);
            assert!(tokens.check(&token, NOW).is_ok(), "{iat}");
            assert_eq!(tokens.statement(&token).unwrap().made, (iat == "7.5").then_some(7));
        }
    }

    #[test]
    fn blanks_and_line_breaks_in_a_pasted_token_do_not_matter() {
        let tokens = tokens();
        let room = RoomId::from("show");
        let invite = tokens.invite(&room, Role::Guest, RoomAccess::Open, NOW, INVITE_TIME);
        let (begin, end) = invite.split_at(invite.len() / 2);
        assert!(tokens.check(&format!(" \t{begin}\r\n  {end}\n"), NOW).is_ok());
    }

    #[test]
    fn forgeries_are_refused() {
        let tokens = tokens();
        let invite =
            tokens.invite(&RoomId::from("show"), Role::Guest, RoomAccess::Open, NOW, INVITE_TIME);
        let other = Tokens::new(&Secret::new("another secret"));
        assert_eq!(other.check(&invite, NOW), Err(TokenError::Signature));
        let (text, signature) = invite.rsplit_once('.').unwrap();
        assert_eq!(tokens.check(&format!("{text}."), NOW), Err(TokenError::Signature));
        assert_eq!(tokens.check(&format!("{text}.AAAA"), NOW), Err(TokenError::Signature));
        let host = part(&invite, 1).replace("guest", "host");
        let host = URL_SAFE_NO_PAD.encode(host);
        let changed = format!("{}.{host}.{signature}", invite.split('.').next().unwrap());
        assert_eq!(tokens.check(&changed, NOW), Err(TokenError::Signature));
        let claims = part(&invite, 1);
        for algorithm in ["HS384", "HS512", "RS256"] {
            let token = forge(&tokens, &format!(r#"{{"alg":"{algorithm}"}}"#), &claims);
            assert_eq!(tokens.check(&token, NOW), Err(TokenError::Signature), "{algorithm}");
        }
        for header in [r#"{"alg":"none"}"#, "{}", "x"] {
            assert!(tokens.check(&forge(&tokens, header, &claims), NOW).is_err(), "{header}");
        }
        let header = r#"{"alg":"HS256"}"#;
        for claims in ["{}", "[]", "x", r#"{"roomId":"a","role":"ops","type":"invite"}"#] {
            let token = forge(&tokens, header, claims);
            assert_eq!(tokens.check(&token, NOW), Err(TokenError::Malformed), "{claims}");
        }
        for token in ["", "a", "a.b", "a.b.c", "a.b.c.d", "ä.ö.ü", "..", &"x".repeat(60_000)] {
            assert_eq!(tokens.check(token, NOW), Err(TokenError::Malformed), "{token}");
        }
    }
}
