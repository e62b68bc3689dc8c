//! Two peers that meet: what `check --call` does.
//!
//! Owns the call, from the second connection to the last goodbye. It deliberately has no media: the
//! descriptions that it relays say so.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::check::connect::Client;
use crate::check::report::{Finding, Problem, Report};
use crate::check::websocket::{STRANGER, WebSocket};

/// What a step did, and what the next ones need of it.
type Step<T = ()> = Result<(Finding, T), Problem>;

/// Session descriptions (RFC 8866) without media, as JSON strings.
const OFFER: &str =
    r#""v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=check: an offer without media\r\nt=0 0\r\n""#;
const ANSWER: &str =
    r#""v=0\r\no=- 2 1 IN IP4 192.0.2.2\r\ns=check: an answer without media\r\nt=0 0\r\n""#;

/// A candidate at an address that is nobody's (RFC 5737).
const CANDIDATE: &str = r#"{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host","sdpMid":"0"}"#;

/// One end of the call.
struct Side<'s> {
    id: String,
    socket: &'s mut WebSocket,
}

impl<'s> Side<'s> {
    fn new(socket: &'s mut WebSocket) -> Self {
        Self { id: Uuid::new_v4().to_string(), socket }
    }

    async fn ask(&mut self, message: &str, expected: &str) -> Result<Value, Problem> {
        self.socket.say(message).await?;
        Ok(self.socket.expect(expected).await?.ice.unwrap_or_default())
    }

    /// Hears `notice` of another peer.
    async fn hear(&mut self, notice: &str, about: &str) -> Result<(), Problem> {
        let heard = self.socket.expect(notice).await?.peer_id;
        if heard.is_some_and(|peer_id| peer_id == about) {
            return Ok(());
        }
        Err(Problem::new(format!("a {notice} about another peer"), STRANGER))
    }
}

/// Lets the client on `socket` meet a second one, which connects by `client`, in a room of their own that ends with them, or in that of the invite
/// that both bring. `None` where a
/// step did not work: the server ends the room then as the connections end. A client sends six messages.
pub async fn call(
    client: &Client,
    socket: &mut WebSocket,
    invite: Option<&str>,
    report: &mut Report,
) -> Option<()> {
    let mut second = report.step("second", "answer", connect(client)).await?;
    let (mut a, mut b) = (Side::new(socket), Side::new(&mut second));
    report.step("register", "answer", register(&mut a, &mut b)).await?;
    let room = match invite {
        Some(token) => ("inviteToken", token.to_owned()),
        None => ("roomId", Uuid::new_v4().to_string()),
    };
    report.step("room", "answer", create(&mut a, &room)).await?;
    report.step("join", "notice of the second peer", join(&mut a, &mut b, &room)).await?;
    let (offer, answer) = (("offer", "sdp", OFFER), ("answer", "sdp", ANSWER));
    report.step("offer", "offer at the second peer", relay(&mut a, &mut b, offer)).await?;
    report.step("answer", "answer at the first peer", relay(&mut b, &mut a, answer)).await?;
    report.step("candidate", "candidate at the other peer", candidates(&mut a, &mut b)).await?;
    report.step("leave", "goodbye", leave(&mut a, &mut b)).await?;
    let close = async {
        second.close().await?;
        Ok(("the second connection has ended".into(), ()))
    };
    report.step("close", "close frame", close).await
}

async fn connect(client: &Client) -> Step<WebSocket> {
    Ok(("another WebSocket, and its welcome".into(), client.welcomed().await?))
}

async fn register(a: &mut Side<'_>, b: &mut Side<'_>) -> Step {
    let register = |id: &str| format!(r#"{{"type":"register","peerId":"{id}"}}"#);
    a.ask(&register(&a.id), "registered").await?;
    b.ask(&register(&b.id), "registered").await?;
    Ok(("both peers".into(), ()))
}

/// How a room is named: by its id, or by an invite.
type Room = (&'static str, String);

/// Enters a room. Where an invite names it, its role counts.
fn enter((key, value): &Room, role: &str) -> String {
    json!({ "type": "create-or-join-room", *key: value, "role": role }).to_string()
}

async fn create(a: &mut Side<'_>, room: &Room) -> Step {
    a.socket.say(&enter(room, "host")).await?;
    let answer = a.socket.expect_one_of(&["room-created", "room-joined"]).await?;
    if answer.r#type == "room-joined" {
        return Err(Problem::new(
            "somebody is in the room of the invite",
            "make an invite into a room of its own: `openstudio-signaling invite --room check`",
        ));
    }
    Ok((ice_servers(&answer.ice.unwrap_or_default()), ()))
}

async fn join(a: &mut Side<'_>, b: &mut Side<'_>, room: &Room) -> Step {
    b.ask(&enter(room, "guest"), "room-joined").await?;
    a.hear("peer-joined", &b.id).await?;
    Ok(("the second peer joined, and the first heard of it".into(), ()))
}

/// Sends a message from one peer to the other, with what a server that writes JSON anew would lose: spaces, an
/// unknown key, needless escapes.
async fn relay(
    from: &mut Side<'_>,
    to: &mut Side<'_>,
    (kind, key, value): (&str, &str, &str),
) -> Step {
    let (own, other) = (&from.id, &to.id);
    let sent = format!(
        r#"{{ "type":"{kind}", "from":"{own}", "to":"{other}", "{key}":{value}, "note":"as\u0020it\/is" }}"#
    );
    from.socket.say(&sent).await?;
    let got = tokio::select! {
        biased;
        got = to.socket.text() => got?,
        // The sender is told of nothing but a refusal.
        Err(refused) = from.socket.expect("nothing") => return Err(refused),
    };
    if got != sent {
        return Err(Problem::new(
            format!("the other peer got {} bytes that are not the {} sent", got.len(), sent.len()),
            STRANGER,
        ));
    }
    Ok((format!("{} bytes, relayed as they were sent", sent.len()).into(), ()))
}

async fn candidates(a: &mut Side<'_>, b: &mut Side<'_>) -> Step {
    relay(a, b, ("ice-candidate", "candidate", CANDIDATE)).await?;
    relay(b, a, ("ice-candidate", "candidate", CANDIDATE)).await?;
    Ok(("one each way, relayed as they were sent".into(), ()))
}

async fn leave(a: &mut Side<'_>, b: &mut Side<'_>) -> Step {
    let leave = r#"{"type":"leave-room"}"#;
    b.ask(leave, "room-left").await?;
    a.hear("peer-left", &b.id).await?;
    a.ask(leave, "room-left").await?;
    Ok(("both left, and the first heard of the second; the room has ended".into(), ()))
}

/// How many ICE servers there are. What a credential is stays here.
fn ice_servers(ice: &Value) -> Finding {
    let list = |key| ice.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let turn = list("turn");
    let has_credential = |server: &&Value| {
        ["username", "credential"].iter().all(|key| server.get(key).is_some_and(Value::is_string))
    };
    let with_credential = turn.iter().filter(has_credential).count();
    let stun = list("stun").len();
    let detail = format!("made; ICE servers: {stun} STUN, {} TURN", turn.len());
    if turn.is_empty() {
        return format!("{detail} (peers behind strict firewalls need one)").into();
    }
    let warning = (with_credential < turn.len()).then(|| {
        "browsers cannot use a TURN server without a credential: set TURN_SECRET, or write a credential into the manifest".into()
    });
    Finding { detail: format!("{detail}, {with_credential} of them with a credential"), warning }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_counted_and_not_shown() {
        let with = json!({"urls": "turn:a", "username": "1:b", "credential": "hush"});
        let found = ice_servers(&json!({"stun": ["stun:a", "stun:b"], "turn": [with]}));
        assert_eq!(found.detail, "made; ICE servers: 2 STUN, 1 TURN, 1 of them with a credential");
        assert_eq!(found.warning, None);
        let found = ice_servers(&json!({"stun": ["stun:a"], "turn": [with, {"urls": "turn:c"}]}));
        assert!(found.detail.ends_with("1 STUN, 2 TURN, 1 of them with a credential"));
        assert!(found.warning.unwrap().contains("TURN_SECRET"));
        assert!(ice_servers(&Value::Null).detail.contains("0 STUN, 0 TURN"));
    }
}
