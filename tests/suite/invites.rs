//! create-or-join-room, invites, and the secret behind them, to the letter.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::peers::{A, peer};
use crate::process::binary;
use crate::rooms::{B, C, error};
use crate::support::{Client, Server};

const SECRET: &str = "a secret of thirty-two bytes or more";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn enter(client: &mut Client, fields: &str) -> Value {
    json(&client.ask(&format!(r#"{{"type":"create-or-join-room"{fields}}}"#)))
}

fn invite(client: &mut Client, role: &str) -> String {
    let answer = client.ask(&format!(r#"{{"type":"request-invite","inviteRole":"{role}"}}"#));
    json(&answer)["inviteToken"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The claims of a token, whoever signed it.
fn claims(token: &str) -> Value {
    use base64::Engine;
    let part = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_room_is_made_and_joined() {
    let server = Server::start(&[]);
    let mut nobody = server.client();
    assert_eq!(
        nobody.ask(r#"{"type":"create-or-join-room"}"#),
        error("Must register before creating or joining a room", "not-registered")
    );
    let (mut a, mut b, mut c) = (peer(&server, A), peer(&server, B), peer(&server, C));
    let created =
        a.ask(r#"{"type":"create-or-join-room","roomId":"Show 7","role":"host","requestId":"r"}"#);
    let token = json(&created)["token"].as_str().unwrap().to_owned();
    let ice = r#"{"stun":["stun:localhost:3478"]}"#;
    let flat = |text: &str| text.split_whitespace().collect::<String>();
    let expected = format!(
        r#"{{"type":"room-created","roomId":"Show 7","hostId":"{A}","role":"host","token":"{token}","ice":{ice},"requestId":"r"}}"#
    );
    assert_eq!(flat(&created), flat(&expected), "the keys in this order");
    let said = claims(&token);
    assert_eq!((&said["peerId"], &said["roomId"]), (&A.into(), &"Show 7".into()));
    assert_eq!((&said["role"], &said["type"]), (&"host".into(), &"room".into()));
    let (iat, exp) = (said["iat"].as_u64().unwrap(), said["exp"].as_u64().unwrap());
    assert_eq!(exp - iat, 86_400);

    // Whoever comes without an invite is a guest, whatever it asks for.
    for (client, id, asked) in [(&mut b, B, "host"), (&mut c, C, "king")] {
        let joined = enter(client, &format!(r#","roomId":"Show 7","role":"{asked}""#));
        assert_eq!((&joined["type"], &joined["role"]), (&"room-joined".into(), &"guest".into()));
        let last = joined["participants"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["peerId"], &last["role"]), (&id.into(), &"guest".into()));
        let keys: Vec<_> = joined.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["ice", "participants", "role", "roomId", "token", "type"]);
        let came = format!(r#"{{"type":"peer-joined","peerId":"{id}","role":"guest"}}"#);
        assert_eq!(a.text(), came);
    }
    let already = error(r#"Peer is already in room "Show 7""#, "already-in-room");
    assert_eq!(c.ask(r#"{"type":"create-or-join-room"}"#), already);
    let other = r#"{"type":"create-or-join-room","roomId":"b","inviteToken":"x"}"#;
    assert_eq!(c.ask(other), already, "before the invite is looked at");
    let invalid = error(r#"Invalid "roomId" field"#, "invalid-message");
    assert_eq!(c.ask(r#"{"type":"create-or-join-room","roomId":""}"#), invalid, "checked before");
}

#[test]
fn a_room_is_chosen_or_made_up() {
    let server = Server::start(&[]);
    let mut a = peer(&server, A);
    let leave = |a: &mut Client| assert!(a.ask(r#"{"type":"leave-room"}"#).contains("left"));
    for (fields, role) in [
        ("", "guest"),
        (r#","roomId":null,"role":null,"inviteToken":null"#, "guest"),
        (r#","role":"","inviteToken":"""#, "guest"),
        (r#","role":"ops""#, "ops"),
        (r#","roomId":null,"role":"host""#, "host"),
    ] {
        let created = enter(&mut a, fields);
        assert_eq!((&created["type"], &created["role"]), (&"room-created".into(), &role.into()));
        assert_eq!(created["roomId"].as_str().unwrap().len(), 36, "{created}");
        assert_eq!(created["hostId"], A);
        leave(&mut a);
    }
    let invalid = |role: &str| {
        let why = format!(r#"Invalid role "{role}". Must be one of: host, ops, guest"#);
        error(&why, "invalid-role")
    };
    for (role, shown) in [(r#""caller""#, "caller"), (r#""king""#, "king"), ("7", "7")] {
        let text = format!(r#"{{"type":"create-or-join-room","role":{role},"roomId":7}}"#);
        let room = error(r#"Invalid "roomId" field"#, "invalid-message");
        assert_eq!(a.ask(&text), room, "the room is looked at first");
        assert_eq!(a.ask(&text.replace(r#","roomId":7"#, "")), invalid(shown));
    }
    let longest = "ü".repeat(128);
    assert_eq!(enter(&mut a, &format!(r#","roomId":"{longest}""#))["roomId"], longest.as_str());
    leave(&mut a);
    for room in [r#""""#, "7", "{}", r#""a\nb""#, &format!(r#""{longest}x""#)] {
        let text = format!(r#"{{"type":"create-or-join-room","roomId":{room}}}"#);
        assert_eq!(a.ask(&text), error(r#"Invalid "roomId" field"#, "invalid-message"), "{room}");
    }
}

#[test]
fn hosts_and_ops_invite() {
    let server = Server::start(&[("JWT_SECRET", SECRET)]);
    let mut nobody = server.client();
    let ask = r#"{"type":"request-invite"}"#;
    assert_eq!(nobody.ask(ask), error("Must register first", "not-registered"));
    let (mut a, mut b, mut c) = (peer(&server, A), peer(&server, B), peer(&server, C));
    assert_eq!(a.ask(ask), error("Not in a room", "not-in-room"));
    enter(&mut a, r#","roomId":"show","role":"host""#);
    let answer = a.ask(r#"{"type":"request-invite","requestId":"r"}"#);
    let token = json(&answer)["inviteToken"].as_str().unwrap().to_owned();
    let expected = format!(
        r#"{{"type":"invite-token","inviteToken":"{token}","roomId":"show","role":"guest","requestId":"r"}}"#
    );
    assert_eq!(answer, expected, "a guest's by default");
    let said = claims(&token);
    let (iat, exp) = (said["iat"].as_u64().unwrap(), said["exp"].as_u64().unwrap());
    assert_eq!(exp - iat, 4 * 3600);
    for role in ["host", "caller", "king"] {
        let text = format!(r#"{{"type":"request-invite","inviteRole":"{role}"}}"#);
        let why = format!(r#"Invalid invite role "{role}""#);
        assert_eq!(a.ask(&text), error(&why, "invalid-role"));
    }
    server.log.wait_for(&format!("Invite made: to room show as guest by peer {A}"));

    let ops = invite(&mut a, "ops");
    // Who names no room is led into the one of the invite.
    let joined = enter(&mut b, &format!(r#","inviteToken":"{ops}""#));
    assert_eq!((&joined["role"], &joined["roomId"]), (&"ops".into(), &"show".into()));
    assert_eq!(a.text(), format!(r#"{{"type":"peer-joined","peerId":"{B}","role":"ops"}}"#));
    let guest = invite(&mut b, "guest");
    let joined =
        enter(&mut c, &format!(r#","roomId":"show","role":"host","inviteToken":"{guest}""#));
    assert_eq!(joined["role"], "guest", "the token's role counts");
    let forbidden = error("Only hosts and ops can generate invite links", "forbidden");
    assert_eq!(c.ask(ask), forbidden);
    // Ops may mute others, a guest may not.
    assert!(a.text().contains("peer-joined") && b.text().contains("peer-joined"));
    let mute = format!(r#"{{"type":"mute","peerId":"{C}","muted":true,"authority":"producer"}}"#);
    assert!(b.ask(&mute).contains(r#""muted":true"#));
    assert!(c.text().contains(r#""muted":true"#));
    let text = mute.replace(C, A);
    assert!(c.ask(&text).contains("Only hosts and ops can mute other participants"));

    // A room that has ended is made anew by its invite.
    for client in [&mut a, &mut b, &mut c] {
        client.say(r#"{"type":"leave-room","requestId":"last"}"#);
        while !client.text().contains("last") {}
    }
    let created = enter(&mut c, &format!(r#","roomId":"show","inviteToken":"{ops}""#));
    assert_eq!((&created["type"], &created["role"]), (&"room-created".into(), &"ops".into()));
    for token in [&ops, &guest] {
        assert_eq!(server.log.count(token), 0, "a token is in no log");
    }
}

#[test]
fn tokens_that_fail_are_refused() {
    let server = Server::start(&[("JWT_SECRET", SECRET)]);
    let elsewhere = Server::start(&[("JWT_SECRET", "another secret of 32 bytes or more")]);
    let mut stranger = peer(&elsewhere, A);
    enter(&mut stranger, r#","roomId":"show","role":"host""#);
    let strange = invite(&mut stranger, "ops");
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    let room_token = enter(&mut a, r#","roomId":"show","role":"host""#)["token"].clone();
    let good = invite(&mut a, "ops");
    let failed = |why: &str| error(&format!("Invalid invite token: {why}"), "invalid-invite");
    // Made with the same secret by openssl: one expired in 2025, one starts in 2100.
    let expired =
        sign(r#"{"roomId":"show","role":"ops","type":"invite","iat":1,"exp":1760804444}"#);
    let later =
        sign(r#"{"roomId":"show","role":"ops","type":"invite","nbf":4102444800,"exp":4102444801}"#);
    for (token, answer) in [
        (r#""x""#.to_owned(), failed("jwt malformed")),
        ("7".into(), failed("jwt malformed")),
        (format!(r#""{strange}""#), failed("invalid signature")),
        (format!(r#""{expired}""#), failed("jwt expired")),
        (format!(r#""{later}""#), failed("jwt not active")),
    ] {
        let text = format!(
            r#"{{"type":"create-or-join-room","roomId":"show","role":"king","inviteToken":{token}}}"#
        );
        assert_eq!(b.ask(&text), answer, "{token}");
    }
    // The room token of somebody who is there: that one is asked first.
    b.say(&format!(
        r#"{{"type":"create-or-join-room","roomId":"show","inviteToken":{room_token}}}"#
    ));
    assert_eq!(a.frame().unwrap().opcode, 9);
    a.send(0x8A, b"");
    assert_eq!(b.text(), error("Expected an invite token", "invalid-invite"));
    let text = format!(r#"{{"type":"create-or-join-room","roomId":"b","inviteToken":"{good}"}}"#);
    let different = error("Invite token is for a different room", "invalid-invite");
    assert_eq!(b.ask(&text), different);
    let already = error(r#"Peer is already in room "show""#, "already-in-room");
    assert_eq!(a.ask(&text), already, "before the token is looked at");
    for room in ["", r"a\nb", &"x".repeat(129)] {
        let token = sign(&format!(
            r#"{{"roomId":"{room}","role":"ops","type":"invite","exp":4102444800}}"#
        ));
        let text = format!(r#"{{"type":"create-or-join-room","inviteToken":"{token}"}}"#);
        assert_eq!(b.ask(&text), error(r#"Invalid "roomId" field"#, "invalid-message"), "{room}");
    }
    let hand_made =
        sign(r#"{"roomId":"show","role":"guest","type":"invite","iat":1,"exp":4102444800}"#);
    assert_eq!(enter(&mut b, &format!(r#","inviteToken":"{hand_made}""#))["role"], "guest");
}

#[test]
fn a_join_of_the_own_room_tells_how_it_is() {
    let server = Server::start(&[("JWT_SECRET", SECRET)]);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    enter(&mut a, r#","roomId":"show","role":"host""#);
    let invite = invite(&mut a, "ops");
    enter(&mut b, r#","roomId":"show""#);
    assert!(a.text().contains("peer-joined"));
    let present = |answer: &Value| {
        assert_eq!(answer["type"], "room-joined", "{answer}");
        let ids: Vec<_> = answer["participants"].as_array().unwrap().iter().collect();
        assert_eq!((&ids[0]["peerId"], &ids[1]["peerId"]), (&A.into(), &B.into()), "as they came");
        assert!(answer["ice"].is_object());
    };
    // What it brings for the way in is not looked at: neither the role, nor a token, whatever that is.
    for fields in [
        r#","roomId":"show""#.to_owned(),
        r#","roomId":" show ","role":"king","inviteToken":"x""#.to_owned(),
        format!(r#","inviteToken":"{invite}""#),
    ] {
        let answer = enter(&mut b, &fields);
        present(&answer);
        assert_eq!(answer["role"], "guest", "{fields}");
        assert_eq!(claims(answer["token"].as_str().unwrap())["role"], "guest");
    }
    let answer = enter(&mut a, r#","roomId":"show","role":"guest","requestId":"r""#);
    present(&answer);
    assert_eq!((&answer["role"], &answer["requestId"]), (&"host".into(), &"r".into()));
    // Nobody else has heard of it.
    assert!(b.ask(r#"{"type":"ping"}"#).contains("pong"));
    server.log.wait_for(&format!("Room entered: show by peer {B}"));
    assert_eq!(server.log.count("Room entered"), 2);
}

#[test]
fn ice_servers_can_be_asked_for_in_a_room() {
    let server = Server::start(&[]);
    let mut nobody = server.client();
    let ask = r#"{"type":"request-ice","requestId":"r"}"#;
    let with_id = |text: &str, code: &str| error(text, code).replace('}', r#","requestId":"r"}"#);
    assert_eq!(nobody.ask(ask), with_id("Must register first", "not-registered"));
    let mut a = peer(&server, A);
    assert_eq!(a.ask(ask), with_id("Not in a room", "not-in-room"));
    enter(&mut a, "");
    let answer = json(&a.ask(ask));
    let expected = serde_json::json!({
        "type": "ice", "ice": {"stun": ["stun:localhost:3478"]}, "requestId": "r",
    });
    assert_eq!(answer, expected);
}

#[test]
fn where_only_the_invited_come_in_nobody_else_does() {
    let open = Server::start(&[("JWT_SECRET", SECRET)]);
    let mut host = peer(&open, A);
    enter(&mut host, r#","roomId":"show","role":"host""#);
    let of_open = invite(&mut host, "ops");

    let server = Server::start(&[("JWT_SECRET", SECRET), ("ROOM_ACCESS", "invited")]);
    let required = error("Invite required", "invite-required");
    let mut nobody = server.client();
    let create = r#"{"type":"create-room"}"#;
    let first = error("Must register before creating a room", "not-registered");
    assert_eq!(nobody.ask(create), first);
    let (mut a, mut b) = (peer(&server, A), peer(&server, B));
    // Nothing tells a stranger which rooms there are, or whether a peer is there.
    for text in [
        create,
        r#"{"type":"join-room"}"#,
        r#"{"type":"join-room","roomId":"show"}"#,
        r#"{"type":"create-or-join-room"}"#,
        r#"{"type":"create-or-join-room","roomId":"show","role":"king"}"#,
        &format!(r#"{{"type":"create-or-join-room","inviteToken":"{of_open}"}}"#),
    ] {
        assert_eq!(a.ask(text), required, "{text}");
    }
    let offer = |to: &str| format!(r#"{{"type":"offer","from":"{A}","to":"{to}","sdp":"x"}}"#);
    let outside = error("Not in a room", "not-in-room");
    assert_eq!(a.ask(&offer(B)), outside);
    assert_eq!(a.ask(&offer(C)), outside);
    let host = sign(
        r#"{"roomId":"show","role":"host","type":"invite","access":"invited","iat":1,"exp":4102444800}"#,
    );
    let created = enter(&mut a, &format!(r#","roomId":"show","inviteToken":"{host}""#));
    assert_eq!((&created["type"], &created["role"]), (&"room-created".into(), &"host".into()));
    assert_eq!(b.ask(r#"{"type":"create-or-join-room","roomId":"show"}"#), required);
    let guest = invite(&mut a, "guest");
    assert_eq!(claims(&guest)["access"], "invited");
    assert_eq!(enter(&mut b, &format!(r#","inviteToken":"{guest}""#))["role"], "guest");
    assert!(a.text().contains("peer-joined"));
    a.say(&offer(B));
    assert_eq!(b.text(), offer(B));
}

/// A token with these claims, signed by openssl.
pub fn sign(claims: &str) -> String {
    let script = r#"
        url() { base64 -w0 | tr '+/' '-_' | tr -d =; }
        text=$(printf %s '{"alg":"HS256","typ":"JWT"}' | url).$(printf %s "$1" | url)
        printf %s "$text.$(printf %s "$text" | openssl dgst -sha256 -hmac "$2" -binary | url)"
    "#;
    let output = std::process::Command::new("bash")
        .args(["-c", script, "-", claims, SECRET])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn invites_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap();
    let mut server = Server::start(&[("STATE_DIRECTORY", state)]);
    let path = directory.path().join("jwt-secret");
    server.log.wait_for(&format!("Made a secret for invites and room tokens: {}", path.display()));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&path).unwrap();
    let mut a = peer(&server, A);
    enter(&mut a, r#","roomId":"show","role":"host""#);
    let token = invite(&mut a, "ops");
    drop(a);
    server.stop();
    assert_eq!(server.log.count(secret.trim()), 0);

    let server = Server::start(&[("STATE_DIRECTORY", state), ("LOG_LEVEL", "debug")]);
    let mut b = peer(&server, B);
    let created = enter(&mut b, &format!(r#","roomId":"show","inviteToken":"{token}""#));
    assert_eq!(created["role"], "ops", "{created}");
    assert_eq!(server.log.count("Made a secret"), 0);
    assert_eq!(server.log.count(secret.trim()) + server.log.count(&token), 0);
}

#[test]
fn each_source_of_the_secret_has_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = directory.path().join("credentials");
    let state = directory.path().join("state");
    for directory in [&credentials, &state] {
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::write(credentials.join("jwt-secret"), format!("{SECRET}\n")).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (credentials, state) = (text(&credentials), text(&state));
    let accepts = |server: &Server| {
        let token =
            sign(r#"{"roomId":"show","role":"ops","type":"invite","iat":1,"exp":4102444800}"#);
        let entered = enter(&mut peer(server, A), &format!(r#","inviteToken":"{token}""#));
        entered["role"] == "ops"
    };
    let other = ("JWT_SECRET", "another secret of 32 bytes or more");
    let server = Server::start(&[("CREDENTIALS_DIRECTORY", &credentials), other]);
    assert!(accepts(&server), "the credential comes first");
    let server = Server::start(&[("JWT_SECRET", SECRET), ("STATE_DIRECTORY", &state)]);
    assert!(accepts(&server), "then what is set");
    assert!(!Path::new(&state).join("jwt-secret").exists(), "nothing is made without need");
    std::fs::write(Path::new(&state).join("jwt-secret"), SECRET).unwrap();
    let server = Server::start(&[("STATE_DIRECTORY", &state)]);
    assert!(accepts(&server), "then what is kept");
    let server = Server::start(&[]);
    assert!(!accepts(&server), "else it is random");
    let line = server.log.wait_for("Invites and room tokens end with this process");
    assert!(line.contains("[WARN]") && line.contains("no state directory"), "{line}");
    let server = Server::start(&[("JWT_SECRET", "hunter2")]);
    let line = server.log.wait_for("has 7 bytes: it can be guessed");
    assert!(line.contains("JWT_SECRET (from environment)") && !line.contains("hunter2"), "{line}");
}

/// The server as somebody who owns nothing, as far as that can be.
fn as_nobody() -> std::process::Command {
    use std::os::unix::process::CommandExt;
    let mut command = binary();
    command.env("PORT", "0");
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command
}

#[test]
fn a_secret_that_others_can_read_is_used_and_warned_of() {
    // TMPDIR may be somewhere that nobody else comes to.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let path = directory.path().join("jwt-secret");
    std::fs::write(&path, SECRET).unwrap();
    for path in [directory.path(), &path] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let server = Server::spawn(as_nobody().env("STATE_DIRECTORY", directory.path()));
    let token = sign(r#"{"roomId":"show","role":"ops","type":"invite","exp":4102444800}"#);
    let entered = enter(&mut peer(&server, A), &format!(r#","inviteToken":"{token}""#));
    assert_eq!(entered["role"], "ops", "{entered}");
    if rustix::process::geteuid().is_root() {
        // It is root's, so the server may not change who reads it.
        server.log.wait_for(&format!("could not be changed: chmod 600 {}", path.display()));
    } else {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    let output = binary()
        .args(["config", "--turn-secret", "hunter2"])
        .env("JWT_SECRET", SECRET)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("JWT_SECRET=(hidden) ") && text.contains("# environment"), "{text}");
    assert!(text.contains("TURN_SECRET=(hidden) ") && text.contains("# command line"), "{text}");
    assert!(!text.contains(SECRET) && !text.contains("hunter2"), "{text}");
    // What a debugger or a core dump would see belongs to root alone: the process can't be dumped.
    let server = Server::start(&[("JWT_SECRET", SECRET)]);
    let process = format!("/proc/{}", server.child.id());
    let other = Server::spawn(as_nobody().env("JWT_SECRET", SECRET));
    let owner = |process: &str| {
        use std::os::unix::fs::MetadataExt;
        Path::new(process).join("environ").metadata().unwrap().uid()
    };
    assert_eq!(owner(&process), 0);
    assert_eq!(owner(&format!("/proc/{}", other.child.id())), 0, "not the user who runs it");
}

#[test]
fn an_invite_leads_into_no_room_but_its_own() {
    let server = Server::start(&[]);
    let (mut host, mut other) = (peer(&server, A), peer(&server, B));
    let enter =
        |name: &str| format!(r#"{{"type":"create-or-join-room","roomId":"{name}","role":"host"}}"#);
    assert!(host.ask(&enter("studio1")).contains(r#""role":"host""#));
    // Read twice, this would be the host's room.
    let refused = error(r#"Invalid "roomId" field"#, "invalid-message");
    assert_eq!(other.ask(&enter("studio%2531")), refused);
    assert_eq!(
        other.ask(r#"{"type":"join-room","roomId":"studio%2531"}"#),
        error(r#"Room "studio%2531" does not exist"#, "room-not-found")
    );
}
