//! Roles in rooms: who has them again after a reload, a break, a restart and a crash.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::identity::{COOKIE, open, register};
use crate::metrics::metric;
use crate::paused;
use crate::peers::{A, peer, resume_of};
use crate::process::binary;
use crate::rooms::{B, C, error};
use crate::settle::is_silent;
use crate::support::{Client, Server, wait_until};

const SECRET: &str = "correct horse battery staple, that is";
const D: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d4dd";

/// A registered page of the browser that has the cookie.
fn page(server: &Server, id: &str) -> Client {
    let (mut client, _) = open(server, &[&format!("Cookie: openstudio-id={COOKIE}")]);
    resume_of(&register(&mut client, id, ""), id);
    client
}

fn enter(client: &mut Client, more: &str) -> String {
    let text = format!(r#"{{"type":"create-or-join-room","roomId":"show"{more}}}"#);
    loop {
        let answer = client.ask(&text);
        // News that came before.
        if !answer.contains(r#""type":"peer-"#) {
            return answer;
        }
    }
}

fn has_role(answer: &str, role: &str) -> bool {
    answer.contains(&format!(r#""role":"{role}","token":"#))
}

/// Says goodbye with this code, and reads what came before it.
fn go(mut client: Client, code: u16) {
    client.send(0x88, &code.to_be_bytes());
    while client.frame().is_some_and(|frame| frame.opcode != 8) {}
}

const HOST: &str = r#","role":"host""#;
const GUEST: &str = r#","role":"guest""#;

fn token_of(answer: &str) -> String {
    answer.split(r#""token":""#).nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn a_host_that_reloads_its_page_is_host_again() {
    let server = Server::start(&[]);
    let mut host = page(&server, A);
    assert!(has_role(&enter(&mut host, HOST), "host"));
    let mut guests = [B, C].map(|id| peer(&server, id));
    for guest in &mut guests {
        assert!(has_role(&enter(guest, HOST), "guest"), "there is a host");
    }
    go(host, 1001);
    server.log.wait_for("Role reserved: host in room show, 600000 ms");
    let mut late = peer(&server, "f47ac10b-58cc-4372-a567-0e02b2c3d4ee");
    assert!(has_role(&enter(&mut late, HOST), "guest"), "its host may come back");
    // The studio's new page has a new id, and asks as its address has it.
    let mut host = page(&server, D);
    let answer = enter(&mut host, GUEST);
    assert!(has_role(&answer, "host") && answer.contains("room-joined"), "{answer}");
    assert!(host.ask(r#"{"type":"request-invite"}"#).contains("invite-token"));
    // Whoever leaves for good leaves its role.
    go(host, 1000);
    server.log.wait_for(&format!("Room left: show by peer {D}"));
    let mut again = page(&server, A);
    assert!(has_role(&enter(&mut again, GUEST), "guest"));
    let mut next = peer(&server, "f47ac10b-58cc-4372-a567-0e02b2c3d4ff");
    assert!(has_role(&enter(&mut next, HOST), "host"), "nobody leads the room");
}

#[test]
fn a_caller_who_comes_first_does_not_lead() {
    let (server, mut clock) =
        paused::start(&[("ROLE_RESERVE_MS", "5000"), ("HEARTBEAT_MS", "3600000")]);
    let mut host = page(&server, A);
    enter(&mut host, HOST);
    let mut guest = peer(&server, B);
    enter(&mut guest, GUEST);
    go(host, 1001);
    go(guest, 1000);
    server.log.wait_for(&format!("Room left: show by peer {B}"));
    assert_eq!(metric(&server, "rooms"), 0.0);
    let mut caller = peer(&server, C);
    let answer = enter(&mut caller, HOST);
    assert!(answer.contains("room-created") && has_role(&answer, "guest"), "{answer}");
    clock.advance(4_999);
    let mut host = page(&server, D);
    assert!(has_role(&enter(&mut host, GUEST), "host"));
    // After the time it is over.
    go(host, 1001);
    server.log.wait_for(&format!("Room left: show by peer {D}"));
    clock.advance(5_000);
    let mut host = page(&server, A);
    assert!(has_role(&enter(&mut host, GUEST), "guest"));
}

#[test]
fn of_two_tabs_the_one_that_lives_leads() {
    let (server, mut clock) = paused::start(&[("HEARTBEAT_MS", "3600000")]);
    let mut first = page(&server, A);
    enter(&mut first, HOST);
    let mut guest = peer(&server, B);
    enter(&mut guest, GUEST);
    assert!(first.text().contains("peer-joined"));
    let mut second = page(&server, C);
    let ask = r#"{"type":"create-or-join-room","roomId":"show","role":"host","requestId":"7"}"#;
    second.say(ask);
    assert_eq!(first.frame().unwrap().opcode, 9, "it is asked");
    clock.advance(1);
    first.send(0x8A, b"");
    let answer = second.text();
    assert!(has_role(&answer, "guest") && answer.ends_with(r#""requestId":"7"}"#), "{answer}");
    assert!(first.text().contains(C));
    // Once the first one has gone, the second gets its role when it asks again, and for no other room.
    go(first, 1001);
    let left = format!(r#"{{"type":"peer-left","peerId":"{A}"}}"#);
    assert_eq!(second.text(), left);
    let other = second.ask(r#"{"type":"create-or-join-room","roomId":"another"}"#);
    assert_eq!(other, error(r#"Peer is already in room "show""#, "already-in-room"));
    assert!(has_role(&second.ask(ask), "host"));
    assert!(guest.text().contains(C));
    assert_eq!(guest.text(), left);
    assert_eq!(guest.text(), format!(r#"{{"type":"peer-left","peerId":"{C}"}}"#));
    assert_eq!(guest.text(), format!(r#"{{"type":"peer-joined","peerId":"{C}","role":"host"}}"#));
    // One that is silent is closed after 3 s.
    let mut third = page(&server, D);
    third.say(ask);
    assert_eq!(second.frame().unwrap().opcode, 9);
    clock.advance(2_999);
    assert!(is_silent(&third.stream));
    clock.advance(1);
    let answer = third.text();
    assert!(has_role(&answer, "host") && !answer.contains(C), "{answer}");
    assert_eq!(second.close_code(), Some(4010));
    let news = [guest.text(), guest.text()];
    assert!(news[0].contains("peer-left") && news[1].contains("peer-joined"), "{news:?}");
}

fn kept(directory: &Path, settings: &[(&str, &str)]) -> Server {
    let mut command = binary();
    command.env("PORT", "0").env("STATE_DIRECTORY", directory).envs(settings.iter().copied());
    Server::spawn(&mut command)
}

/// Waits until the file of reserved roles says so.
fn saved(directory: &Path, text: &str) {
    let file = directory.join("reserved-roles.json");
    let read = || fs::read_to_string(&file).unwrap_or_default();
    wait_until(|| read().contains(text), || format!("no {text} in {}", read()));
}

#[test]
fn roles_outlive_a_restart_and_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::KILL] {
        let mut server = kept(directory.path(), &[]);
        let mut host = page(&server, A);
        enter(&mut host, HOST);
        let mut ops = peer(&server, B);
        enter(&mut ops, GUEST);
        if signal == Signal::KILL {
            saved(directory.path(), A);
        }
        server.signal(signal);
        server.wait();
        let text = fs::read_to_string(directory.path().join("reserved-roles.json")).unwrap();
        assert!(!text.contains(COOKIE), "what proves it is not saved: {text}");
        assert!(!text.contains(B), "a guest comes in as a guest again");

        let server = kept(directory.path(), &[]);
        server.log.wait_for("Reserved 1 role for clients of before the start");
        // Its id is not for others either.
        let mut thief = peer(&server, A);
        assert!(has_role(&enter(&mut thief, HOST), "guest"));
        let mut host = page(&server, A);
        assert_eq!(thief.close_code(), Some(4010));
        assert!(has_role(&enter(&mut host, GUEST), "host"));
        go(host, 1000);
        drop(server);
        fs::remove_file(directory.path().join("reserved-roles.json")).unwrap();
    }
}

#[test]
fn what_everybody_could_have_had_is_nothing_where_only_the_invited_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = kept(directory.path(), &[]);
    let mut host = page(&server, A);
    enter(&mut host, HOST);
    enter(&mut peer(&server, B), GUEST);
    server.stop();
    let server = kept(directory.path(), &[("ROOM_ACCESS", "invited")]);
    let required = error("Invite required", "invite-required");
    assert_eq!(enter(&mut page(&server, A), HOST), required);
    assert_eq!(server.log.count("for clients of before the start"), 0);
}

#[test]
fn what_is_given_up_is_not_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = kept(directory.path(), &[("ROLE_RESERVE_MS", "0")]);
    enter(&mut page(&server, A), HOST);
    server.log.wait_for("Seat kept");
    assert_eq!(server.log.count("Role reserved"), 0);
    server.stop();
    saved(directory.path(), r#""roles":[]"#);
    let server = kept(directory.path(), &[]);
    assert!(has_role(&enter(&mut page(&server, A), GUEST), "guest"));
    assert_eq!(server.log.count("for clients of before the start"), 0);
}

#[test]
fn a_file_of_roles_that_cannot_be_used_is_a_line_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("reserved-roles.json");
    fs::write(&file, "{").unwrap();
    let server = kept(directory.path(), &[]);
    let line = server.log.wait_for("Cannot read the reserved roles in ");
    assert!(line.contains("WARN") && line.contains("EOF while parsing"), "{line}");
    let mut host = page(&server, A);
    enter(&mut host, HOST);
    saved(directory.path(), A);
    // Nobody can write there, root neither.
    drop(server);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    fs::write(file.join("x"), "").unwrap();
    let server = kept(directory.path(), &[]);
    server.log.wait_for("Cannot read the reserved roles in ");
    let mut host = page(&server, A);
    enter(&mut host, HOST);
    let line = server.log.wait_for("Cannot save the reserved roles to ");
    assert!(line.contains("reserved-roles.json: Is a directory"), "{line}");
}

#[test]
fn without_memory_a_token_from_before_the_start_gives_its_role_once() {
    let settings = [("JWT_SECRET", SECRET)];
    let server = Server::start(&settings);
    let mut owner = peer(&server, A);
    let token = token_of(&enter(&mut owner, HOST));
    let bring = format!(r#","role":"guest","inviteToken":"{token}""#);
    let not_invite = error("Expected an invite token", "invalid-invite");
    let mut other = peer(&server, B);
    other.say(&format!(r#"{{"type":"create-or-join-room","roomId":"show"{bring}}}"#));
    assert_eq!(owner.frame().unwrap().opcode, 9, "its owner is asked");
    owner.send(0x8A, b"");
    assert_eq!(other.text(), not_invite, "its owner is there");
    drop(server);
    // Tokens count in seconds.
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let stopped = now();
    wait_until(|| now() > stopped, || "a second".into());
    let server = Server::start(&settings);
    let [mut first, mut second] = [A, B].map(|id| peer(&server, id));
    assert!(has_role(&enter(&mut first, &bring), "host"));
    assert_eq!(enter(&mut second, &bring), not_invite);
    // A server that remembers needs none.
    let directory = tempfile::tempdir().unwrap();
    kept(directory.path(), &settings).stop();
    let server = kept(directory.path(), &settings);
    assert_eq!(enter(&mut peer(&server, A), &bring), not_invite);
}

#[test]
fn where_only_the_invited_come_in_nobody_needs_a_second_invite() {
    let server = Server::start(&[("ROOM_ACCESS", "invited"), ("JWT_SECRET", SECRET)]);
    let mut command = binary();
    command.args(["invite", "--room", "show", "--role", "guest", "--json"]);
    command.args(["--url", "https://studio.example.org"]).env("ROOM_ACCESS", "invited");
    let output = command.env("JWT_SECRET", SECRET).output().unwrap();
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let invite = made["token"].as_str().unwrap_or_else(|| panic!("{made}"));
    let mut guest = page(&server, A);
    let required = error("Invite required", "invite-required");
    assert_eq!(enter(&mut guest, ""), required);
    let answer = enter(&mut guest, &format!(r#","inviteToken":"{invite}""#));
    assert!(has_role(&answer, "guest"), "{answer}");
    let token = token_of(&answer);
    go(guest, 1001);
    server.log.wait_for("Role reserved: guest in room show");
    let mut stranger = peer(&server, B);
    assert_eq!(enter(&mut stranger, GUEST), required);
    let mut guest = page(&server, C);
    let bad = r#","inviteToken":"x""#;
    assert!(has_role(&enter(&mut guest, bad), "guest"), "its own place counts, not what it brings");
    // Its token names it, whatever connection brings it.
    go(guest, 1001);
    server.log.wait_for(&format!("Room left: show by peer {C}"));
    let answer = enter(&mut stranger, &format!(r#","inviteToken":"{token}""#));
    assert!(has_role(&answer, "guest"), "{answer}");
    go(stranger, 1000);
    server.log.wait_for(&format!("Room left: show by peer {B}"));
    assert_eq!(enter(&mut page(&server, A), ""), required, "it was given back once");
}
