//! `invite`: the invites that it makes, what it says of others, and where it finds the secret.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::peers::{A, peer};
use crate::process::binary;
use crate::rooms::{B, error};
use crate::support::{Client, Server};

const SECRET: (&str, &str) = ("JWT_SECRET", "a secret of thirty-two bytes or more");
const OTHER: (&str, &str) = ("JWT_SECRET", "another secret of 32 bytes or more");
const INVITED: (&str, &str) = ("ROOM_ACCESS", "invited");

fn text(output: Output) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = output;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn invite(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = binary();
    command.arg("invite").args(arguments).envs(environment.iter().copied());
    text(command.output().unwrap())
}

/// What is printed as JSON.
fn made(arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let (code, stdout, stderr) = invite(&[&["--json"], arguments].concat(), environment);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn show(token: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = invite(&["--show", token], environment);
    assert_eq!(stderr, "");
    (code, stdout)
}

/// What the studio sends for a link, and what the server says.
fn follow(client: &mut Client, link: &str) -> Value {
    let (_, hash) = link.split_once('#').unwrap();
    let (room, token) = hash.split_once("?token=").unwrap();
    let enter = format!(
        r#"{{"type":"create-or-join-room","roomId":"{room}","role":"guest","inviteToken":"{token}"}}"#
    );
    serde_json::from_str(&client.ask(&enter)).unwrap()
}

#[test]
fn a_host_comes_in_by_the_link_in_both_modes() {
    for access in [("ROOM_ACCESS", "open"), INVITED] {
        let server = Server::start(&[SECRET, access]);
        let made = made(&["--room", " Käse & Brot ", "--role", "host"], &[SECRET, access]);
        assert_eq!((&made["room"], &made["role"]), (&"Käse & Brot".into(), &"host".into()));
        let (mut a, mut b) = (peer(&server, A), peer(&server, B));
        if access == INVITED {
            let refused = error("Invite required", "invite-required");
            assert_eq!(a.ask(r#"{"type":"create-or-join-room","role":"host"}"#), refused);
        } else {
            // Somebody is there before: the invite's role counts all the same.
            assert_eq!(follow(&mut b, made["studio"].as_str().unwrap())["role"], "host");
        }
        let entered = follow(&mut a, made["studio"].as_str().unwrap());
        assert_eq!((&entered["role"], &entered["roomId"]), (&"host".into(), &"Käse & Brot".into()));
        // It goes on from there.
        let asked: Value =
            serde_json::from_str(&a.ask(r#"{"type":"request-invite","inviteRole":"ops"}"#))
                .unwrap();
        let (code, shown) = show(asked["inviteToken"].as_str().unwrap(), &[SECRET, access]);
        assert!(code == Some(0) && shown.contains("Role:  ops\n"), "{shown}");
        assert_eq!(server.log.count(made["token"].as_str().unwrap()), 0);
    }
}

#[test]
fn an_invite_of_an_open_station_is_void_where_only_the_invited_come_in() {
    let made = made(&["--room", "show"], &[SECRET]);
    let server = Server::start(&[SECRET, INVITED]);
    let answer = follow(&mut peer(&server, A), made["studio"].as_str().unwrap());
    assert_eq!(answer["code"], "invite-required");
    let (code, shown) = show(made["token"].as_str().unwrap(), &[SECRET, INVITED]);
    assert!(code == Some(1) && shown.contains("while ROOM_ACCESS was open"), "{shown}");
    let (_, _, stderr) = invite(&["--room", "show"], &[SECRET]);
    assert!(stderr.contains("ROOM_ACCESS is open (from default)"), "{stderr}");
    let (_, _, stderr) = invite(&["--room", "show", "--url=https://a"], &[SECRET, INVITED]);
    assert_eq!(stderr, "");
}

#[test]
fn it_prints_links_and_how_to_keep_them() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("station.json");
    let station = |url: &str| {
        format!(
            r#"{{"stationId":"a","name":"A","signaling":{{"url":"{url}"}},"ice":{{"stun":["stun:a"]}}}}"#
        )
    };
    std::fs::write(&manifest, station("wss://studio.example.org:8443/ws")).unwrap();
    let manifest = ("STATION_MANIFEST", manifest.to_str().unwrap());
    let environment = [SECRET, INVITED, manifest];
    let (code, stdout, stderr) = invite(&["--room", "show", "--ttl", "90m"], &environment);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let start = "Invite into show as guest, for 1h 30m, until 20";
    assert!(stdout.starts_with(start), "{stdout}");
    for part in [
        "\nStudio: https://studio.example.org:8443/#show?token=eyJ",
        "\nCheck:  https://studio.example.org:8443/check#show?token=eyJ",
        "keep the link itself",
    ] {
        assert!(stdout.contains(part), "{stdout}");
    }
    let json = made(&["--room", "show", "--url", "https://a.example.org/b/"], &environment);
    let token = json["token"].as_str().unwrap();
    assert_eq!(json["studio"], format!("https://a.example.org/b/#show?token={token}"));
    assert_eq!(json["check"], format!("https://a.example.org/b/check#show?token={token}"));
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["check", "role", "room", "studio", "token", "until", "untilSeconds"]);
    assert!(json["until"].as_str().unwrap().ends_with('Z') && json["untilSeconds"].is_u64());
    // By default it holds for four hours.
    let shown = &invite(&["--json", "--show", token], &environment).1;
    let shown: Value = serde_json::from_str(shown).unwrap();
    let seconds = |time: &Value| {
        let time = humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    assert_eq!(seconds(&shown["until"]) - seconds(&shown["made"]), 4 * 3600);
    assert_eq!((&shown["valid"], &shown["until"]), (&true.into(), &json["until"]));
    let (_, stdout, _) = invite(&["--room", "show", "--link"], &environment);
    let start = "https://studio.example.org:8443/#show?token=eyJ";
    assert!(stdout.starts_with(start) && stdout.lines().count() == 1, "{stdout}");
    let (_, stdout, _) = invite(&["--room", "show", "--qr"], &environment);
    assert!(stdout.contains("██") && !stdout.contains('\x1b'), "no colours in a file: {stdout}");

    // Without a manifest of one's own the links lead nowhere else.
    let (_, stdout, stderr) = invite(&["--room", "show"], &[SECRET, INVITED]);
    if !Path::new("/etc/openstudio-signaling/station-manifest.json").exists() {
        assert!(stdout.contains("Studio: http://localhost:3000/#show?token="), "{stdout}");
        assert!(stderr.contains("give --url https://HOST/"), "{stderr}");
    }
    std::fs::write(manifest.1, "{").unwrap();
    let (code, _, stderr) = invite(&["--room", "show"], &environment);
    assert!(code == Some(1) && stderr.starts_with("Failed to load station manifest"), "{stderr}");
    assert_eq!(invite(&["--room", "show", "--url=https://a"], &environment).0, Some(0));
}

#[test]
fn a_bad_command_line_is_2_with_a_line() {
    for (arguments, why) in [
        (&["--room", "a?b"][..], "Invalid --room \"a?b\": ? has a meaning in links"),
        (&["--room", "a", "--ttl", "59s"], "Invalid --ttl \"59s\": must be a time such as"),
        (&["--room", "a", "--ttl", "366d"], "from 1m to 365d"),
        (&["--room", "a", "--url", "studio.example.org"], "Invalid --url"),
        (&["--room", "a", "--role", "caller"], "possible values: host, ops, guest"),
        (&[], "--room <NAME>"),
        (&["--room", "a", "--show", "x"], "cannot be used with"),
        (&["--room", "a", "--qr", "--json"], "cannot be used with"),
    ] {
        let (code, stdout, stderr) = invite(arguments, &[SECRET]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains(why), "{stderr}");
    }
    for ttl in ["1m", "365d"] {
        assert_eq!(invite(&["--room", "a", "--ttl", ttl], &[SECRET]).0, Some(0), "{ttl}");
    }
    let (code, _, stderr) = invite(&["--room", "a"], &[SECRET, ("ROOM_ACCESS", "all")]);
    assert!(
        code == Some(1) && stderr.starts_with("Invalid setting ROOM_ACCESS=\"all\""),
        "{stderr}"
    );
}

#[test]
fn it_says_what_is_in_a_token() {
    let good = made(&["--room", "Käse", "--role", "ops"], &[SECRET, INVITED]);
    for text in ["token", "studio", "check"].map(|key| good[key].as_str().unwrap()) {
        let (code, shown) = show(text, &[SECRET, INVITED]);
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.starts_with("Room:  Käse\nRole:  ops\nMade:  20"), "{shown}");
        assert!(shown.ends_with("Z\nValid: yes\n"), "{shown}");
    }
    let (code, shown) = show(good["token"].as_str().unwrap(), &[OTHER]);
    assert!(code == Some(1) && shown.starts_with("Valid: no, it was signed with another secret"));
    let server = Server::start(&[SECRET]);
    let entered = follow(&mut peer(&server, A), good["studio"].as_str().unwrap());
    let (code, shown) = show(entered["token"].as_str().unwrap(), &[SECRET]);
    assert!(code == Some(1) && shown.contains("it is not an invite but a room token"), "{shown}");
    // Made with the same secret by openssl; it expired in 2025.
    let expired = crate::invites::sign(
        r#"{"roomId":"show","role":"ops","type":"invite","iat":1760804000,"exp":1760804444}"#,
    );
    let (code, shown) = show(&expired, &[SECRET]);
    let expected = "Room:  show\nRole:  ops\nMade:  2025-10-18T16:13:20Z\nUntil: 2025-10-18T16:20:44Z\nValid: no, it has expired\n";
    assert_eq!((code, shown.as_str()), (Some(1), expected));
    let (code, shown) = show("nonsense", &[SECRET]);
    assert_eq!(
        (code, shown.as_str()),
        (Some(1), "Valid: no, this is no token, or not all of it\n")
    );
}

#[test]
fn it_takes_the_secret_of_the_service_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (credentials, state, settings) = (path("credentials"), path("state"), path("settings"));
    for directory in [&credentials, &state] {
        std::fs::create_dir(directory).unwrap();
    }
    let places = [("CREDENTIALS_DIRECTORY", &*credentials), ("STATE_DIRECTORY", &*state)];
    let (code, stdout, stderr) = invite(&["--room", "show"], &places);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1));
    let secret = format!("{state}/jwt-secret");
    for part in
        [&*format!("{credentials}/jwt-secret"), &*secret, "systemctl start", "set JWT_SECRET"]
    {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    assert!(!Path::new(&secret).exists());
    // A place that cannot be read, as root sees one.
    std::fs::create_dir(&secret).unwrap();
    let (code, _, stderr) = invite(&["--room", "show"], &places);
    assert!(code == Some(1) && stderr.starts_with(&format!("Cannot read {secret}: ")), "{stderr}");
    std::fs::remove_dir(&secret).unwrap();

    // Each place goes before the one that was filled earlier.
    let signed_with = |secret: (&str, &str), environment: &[(&str, &str)]| {
        let file = format!("--settings-file={settings}");
        let made = made(&["--room", "show", &file], environment);
        show(made["token"].as_str().unwrap(), &[secret]).0 == Some(0)
    };
    std::fs::write(&settings, "").unwrap();
    std::fs::write(&secret, format!("{}\n", SECRET.1)).unwrap();
    assert!(signed_with(SECRET, &places), "what the service has made");
    std::fs::write(&settings, format!("JWT_SECRET={}\n", OTHER.1)).unwrap();
    assert!(signed_with(OTHER, &places), "the settings file");
    assert!(signed_with(SECRET, &[&places[..], &[SECRET]].concat()), "the environment");
    std::fs::write(format!("{credentials}/jwt-secret"), OTHER.1).unwrap();
    assert!(signed_with(OTHER, &[&places[..], &[SECRET]].concat()), "the credential");
}

#[test]
fn whoever_may_not_read_the_secret_is_told_who_may() {
    if !rustix::process::geteuid().is_root() {
        println!("not tested: only root can make what others can't read, and become another");
        return;
    }
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let mode = |path: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(directory.path(), 0o755);
    std::fs::write(state.join("jwt-secret"), SECRET.1).unwrap();
    mode(&state, 0o700);
    for variable in ["STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"] {
        let mut command = binary();
        command.args(["invite", "--room", "show"]).env(variable, &state).uid(65_534).gid(65_534);
        let (code, _, stderr) = text(command.output().unwrap());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.starts_with(&format!("Cannot read {}", state.display())), "{stderr}");
        assert!(stderr.contains("permission denied; run this as root: sudo"), "{stderr}");
    }
}
