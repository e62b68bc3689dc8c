//! The station manifest: what the station is called, where browsers find it, and its STUN and TURN servers.
//!
//! Owns what a manifest must have, and which one is in force. It deliberately does not know who asks for it.

use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::settings::meant;
use crate::wire::protocol::quoted;

/// Where the package has it.
const DEFAULT_PATH: &str = "/etc/openstudio-signaling/station-manifest.json";

/// What serves where there is none: enough to try the studio on one machine.
const SAMPLE: &str = include_str!("../../packaging/station-manifest.sample.json");

/// The keys that mean something, in each object of a manifest.
const KEYS: &[&str] = &["stationId", "name", "signaling", "ice"];
const SIGNALING_KEYS: &[&str] = &["url"];
const ICE_KEYS: &[&str] = &["stun", "turn"];
const TURN_KEYS: &[&str] = &["urls", "username", "credential"];

/// A valid manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The station's id.
    pub station_id: String,
    /// The station's name.
    pub name: String,
    /// The `signaling` object as it is.
    pub signaling: Box<RawValue>,
    /// The `ice` object as it is.
    pub ice: Box<RawValue>,
    /// The `ice` object, to make others of.
    pub ice_value: Value,
    /// The keys that mean nothing and are a letter off one that does.
    pub misspelt: Vec<Misspelt>,
    /// Where it was read.
    pub place: Place,
}

/// A key that is a letter off a known one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// Its path, as `ice.turns`.
    pub key: String,
    /// The path of the known one.
    pub known: String,
}

/// Where a manifest was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// In this program, because this file is not there.
    Sample(PathBuf),
}

/// The manifest in force.
#[derive(Debug)]
pub struct CurrentManifest {
    /// Written by a reload, read by whoever answers with it; held for a clone only.
    manifest: Mutex<Arc<Manifest>>,
}

impl CurrentManifest {
    /// With this one to begin with.
    pub fn new(manifest: Manifest) -> Self {
        Self { manifest: Mutex::new(Arc::new(manifest)) }
    }

    /// What it says now.
    pub fn now(&self) -> Arc<Manifest> {
        Arc::clone(&self.manifest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in force.
    pub fn replace(&self, manifest: Manifest) {
        *self.manifest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(manifest);
    }
}

/// Reads the manifest that `named` names. Where nobody named one, it is the package's, or a sample where
/// that is not there.
///
/// # Errors
///
/// One line for each thing that is wrong, with the path.
pub fn load(named: Option<&Path>) -> Result<Manifest, Vec<String>> {
    let path = named.unwrap_or(Path::new(DEFAULT_PATH));
    let result = match fs::read_to_string(path) {
        // Some editors begin a file with a byte order mark, which is no JSON (RFC 8259 section 8.1).
        Ok(text) => {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            parse(text, Place::File(path.to_owned()))
        }
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            parse(SAMPLE, Place::Sample(path.to_owned()))
        }
        Err(error) => Err(vec![unreadable(path, &error)]),
    };
    result.map_err(|errors| {
        let line = |error| format!("Failed to load station manifest: {}: {error}", path.display());
        errors.into_iter().map(line).collect()
    })
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let fix = "the user that the service runs as must be able to read it: chmod 644";
    format!("{error}; {fix} {}", path.display())
}

fn parse(text: &str, place: Place) -> Result<Manifest, Vec<String>> {
    /// The parts that are passed on as they are.
    #[derive(Deserialize)]
    struct Parts {
        signaling: Box<RawValue>,
        ice: Box<RawValue>,
    }
    let not_json = |error: serde_json::Error| vec![format!("not valid JSON: {error}")];
    let manifest: Value = serde_json::from_str(text).map_err(not_json)?;
    let errors = check(&manifest);
    if !errors.is_empty() {
        return Err(errors);
    }
    // A key that is there twice is an error only here.
    let Parts { signaling, ice } = serde_json::from_str(text).map_err(not_json)?;
    let text = |key| manifest[key].as_str().unwrap_or_default().to_owned();
    Ok(Manifest {
        station_id: text("stationId"),
        name: text("name"),
        ice_value: serde_json::from_str(ice.get()).map_err(not_json)?,
        misspelt: misspelt(&manifest),
        signaling,
        ice,
        place,
    })
}

/// The keys in all of a manifest's objects that are a letter off a known one. It does not matter whether that one is
/// there, too: what is written with the other does nothing all the same.
fn misspelt(manifest: &Value) -> Vec<Misspelt> {
    let (signaling, ice) = (&manifest["signaling"], &manifest["ice"]);
    let servers = ice["turn"].as_array().into_iter().flatten().enumerate();
    let servers = servers.map(|(index, server)| (format!("ice.turn[{index}]."), server, TURN_KEYS));
    [
        (String::new(), manifest, KEYS),
        ("signaling.".into(), signaling, SIGNALING_KEYS),
        ("ice.".into(), ice, ICE_KEYS),
    ]
    .into_iter()
    .chain(servers)
    .flat_map(|(path, object, known)| {
        unknown(object, known).filter_map(move |key| {
            let (key, known) =
                (format!("{path}{}", quoted(key)), meant(key, known.iter().copied())?);
            Some(Misspelt { key, known: format!("{path}{known}") })
        })
    })
    .collect()
}

/// The keys of an object that are not among the known ones.
fn unknown<'a>(object: &'a Value, known: &'a [&str]) -> impl Iterator<Item = &'a String> {
    let keys = object.as_object().into_iter().flat_map(|object| object.keys());
    keys.filter(|key| !known.contains(&key.as_str()))
}

/// What an error line says behind a missing key: that one is there which is a letter off. `path` is what stands
/// before both.
fn hint(object: &Value, path: &str, key: &str, known: &[&str]) -> String {
    let is_missing = object.get(key).is_none();
    let near = unknown(object, known).find(|near| meant(near, [key]).is_some());
    near.filter(|_| is_missing).map_or_else(String::new, |near| {
        format!(r#"; "{path}{}" is there: rename it to "{path}{key}""#, quoted(near))
    })
}

/// Everything that is wrong with a manifest.
fn check(manifest: &Value) -> Vec<String> {
    if !manifest.is_object() {
        return vec!["Manifest must be a valid JSON object".into()];
    }
    let mut errors = Vec::new();
    let hint = |key| hint(manifest, "", key, KEYS);
    for key in ["stationId", "name"] {
        if text(manifest.get(key)).is_none() {
            let hint = hint(key);
            errors.push(format!(r#"Missing or invalid "{key}" (must be non-empty string){hint}"#));
        }
    }
    match manifest.get("signaling").filter(|signaling| signaling.is_object()) {
        Some(signaling) => check_url(signaling, &mut errors),
        None => {
            errors.push(format!(r#"Missing or invalid "signaling" object{}"#, hint("signaling")))
        }
    }
    match manifest.get("ice").filter(|ice| ice.is_object()) {
        Some(ice) => {
            check_stun(ice, &mut errors);
            check_turn(ice, &mut errors);
        }
        None => errors.push(format!(r#"Missing or invalid "ice" object{}"#, hint("ice"))),
    }
    errors
}

fn check_url(signaling: &Value, errors: &mut Vec<String>) {
    match text(signaling.get("url")) {
        Some(url) if starts(url, ["ws://", "wss://"]) => {}
        Some(_) => errors
            .push(r#"Invalid "signaling.url" format (must start with ws:// or wss://)"#.into()),
        None => {
            let hint = hint(signaling, "signaling.", "url", SIGNALING_KEYS);
            errors.push(format!(
                r#"Missing or invalid "signaling.url" (must be non-empty string){hint}"#
            ));
        }
    }
}

fn check_stun(ice: &Value, errors: &mut Vec<String>) {
    let Some(servers) = ice.get("stun").and_then(Value::as_array) else {
        let hint = hint(ice, "ice.", "stun", ICE_KEYS);
        errors.push(format!(r#"Missing or invalid "ice.stun" (must be array){hint}"#));
        return;
    };
    if servers.is_empty() {
        errors.push(r#"At least one STUN server required in "ice.stun""#.into());
    }
    for (index, url) in servers.iter().enumerate() {
        if !url.as_str().is_some_and(is_stun) {
            errors.push(format!(
                "Invalid STUN URL at ice.stun[{index}] {}: must be stun:HOST or stun:HOST:PORT, or the same with stuns:",
                shown(url)
            ));
        }
    }
}

fn check_turn(ice: &Value, errors: &mut Vec<String>) {
    let Some(turn) = ice.get("turn") else {
        return;
    };
    let Some(servers) = turn.as_array() else {
        errors.push(r#"Invalid "ice.turn" (must be array if provided)"#.into());
        return;
    };
    for (index, server) in servers.iter().enumerate() {
        let urls = match server.get("urls") {
            Some(Value::Array(urls)) => urls.iter().collect(),
            Some(Value::String(url)) if url.is_empty() => Vec::new(),
            Some(url @ Value::String(_)) => vec![url],
            _ => Vec::new(),
        };
        let server_error = |why: &str| format!("Invalid TURN server at ice.turn[{index}]: {why}");
        if urls.is_empty() {
            let hint = hint(server, &format!("ice.turn[{index}]."), "urls", TURN_KEYS);
            errors.push(server_error(&format!(r#"missing "urls"{hint}"#)));
        }
        for url in urls.into_iter().filter(|url| !url.as_str().is_some_and(is_turn)) {
            errors.push(format!(
                "Invalid TURN URL at ice.turn[{index}] {}: must be turn:HOST or turn:HOST:PORT, or the same with turns:, and ?transport=udp or ?transport=tcp behind it or nothing",
                shown(url)
            ));
        }
        for (key, why) in [
            ("username", r#""username" must be string"#),
            ("credential", r#""credential" must be string"#),
        ] {
            if server.get(key).is_some_and(|value| !value.is_string()) {
                errors.push(server_error(why));
            }
        }
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| !text.is_empty())
}

/// Whether a URL has one of these schemes, with something behind it.
fn starts(url: &str, schemes: [&str; 2]) -> bool {
    behind(url, schemes).is_some_and(|rest| !rest.is_empty())
}

fn behind<'a>(url: &'a str, schemes: [&str; 2]) -> Option<&'a str> {
    schemes.iter().find_map(|scheme| url.strip_prefix(scheme))
}

/// What stands where a URL should, as an error line has it.
fn shown(url: &Value) -> String {
    match url {
        Value::String(url) => format!("{:?}", quoted(url)),
        other => quoted(&other.to_string()),
    }
}

/// Whether this is a URL of RFC 7064. A browser that is given another one throws, and has no call at all.
fn is_stun(url: &str) -> bool {
    behind(url, ["stun:", "stuns:"]).is_some_and(is_host_and_port)
}

/// Whether this is a URL of RFC 7065.
fn is_turn(url: &str) -> bool {
    behind(url, ["turn:", "turns:"]).is_some_and(|rest| match rest.split_once("?transport=") {
        Some((host, transport)) => {
            // Browsers take either case.
            let is_known = ["udp", "tcp"].iter().any(|known| transport.eq_ignore_ascii_case(known));
            is_known && is_host_and_port(host)
        }
        None => is_host_and_port(rest),
    })
}

fn is_host_and_port(text: &str) -> bool {
    let (is_host, rest) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest),
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_name(name), rest)
        }
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_host && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// Whether a host's name has only what the `reg-name` of RFC 3986 section 3.2.2 has, which is what Chromium
/// takes. Letters of other alphabets, which browsers turn into ASCII, are letters.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-._~%!$&'()*+,;=".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        parse(text, Place::Sample(PathBuf::new())).err().unwrap_or_default()
    }

    /// A manifest that is right, with one text replaced by another.
    fn with(from: &str, to: &str) -> String {
        let right = r#"{"stationId":"a","name":"b","signaling":{"url":"wss://c/"},
            "ice":{"stun":["stun:d"],"turn":[{"urls":"turn:e"}],"more":1},"colour":"red"}"#;
        assert!(right.contains(from), "{from}");
        right.replace(from, to)
    }

    #[test]
    fn the_sample_is_right() {
        let station = load(None).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(matches!(station.place, Place::Sample(_) | Place::File(_)));
        assert_eq!(errors(SAMPLE), [""; 0]);
    }

    #[test]
    fn what_is_passed_on_is_kept_as_it_is() {
        let station = parse(&with("red", "blue"), Place::Sample(PathBuf::new()));
        let station = station.unwrap();
        assert_eq!((station.station_id.as_str(), station.name.as_str()), ("a", "b"));
        assert_eq!(station.signaling.get(), r#"{"url":"wss://c/"}"#);
        let ice = r#"{"stun":["stun:d"],"turn":[{"urls":"turn:e"}],"more":1}"#;
        assert_eq!(station.ice.get(), ice);
    }

    #[test]
    fn each_error_has_its_line() {
        let turn = r#"[{"urls":"turn:e"}]"#;
        for (from, to, expected) in [
            (
                r#""stationId":"a""#,
                r#""stationId":7"#,
                r#"Missing or invalid "stationId" (must be non-empty string)"#,
            ),
            (
                r#""name":"b""#,
                r#""name":"""#,
                r#"Missing or invalid "name" (must be non-empty string)"#,
            ),
            (r#"{"url":"wss://c/"}"#, r#""ws://c""#, r#"Missing or invalid "signaling" object"#),
            (
                r#""wss://c/""#,
                "null",
                r#"Missing or invalid "signaling.url" (must be non-empty string)"#,
            ),
            (
                "wss://c/",
                "https://c/",
                r#"Invalid "signaling.url" format (must start with ws:// or wss://)"#,
            ),
            (r#""ice""#, r#""eis""#, r#"Missing or invalid "ice" object"#),
            (r#"["stun:d"]"#, "{}", r#"Missing or invalid "ice.stun" (must be array)"#),
            (r#"["stun:d"]"#, "[]", r#"At least one STUN server required in "ice.stun""#),
            (
                r#"["stun:d"]"#,
                r#"["stun:d","stuns:d","http://d"]"#,
                r#"Invalid STUN URL at ice.stun[2] "http://d": must be stun:HOST or stun:HOST:PORT, or the same with stuns:"#,
            ),
            (
                r#"["stun:d"]"#,
                r#"["stun:d",7]"#,
                "Invalid STUN URL at ice.stun[1] 7: must be stun:HOST or stun:HOST:PORT, or the same with stuns:",
            ),
            (turn, "{}", r#"Invalid "ice.turn" (must be array if provided)"#),
            (turn, "[7]", r#"Invalid TURN server at ice.turn[0]: missing "urls""#),
            (turn, r#"[{"urls":[]}]"#, r#"Invalid TURN server at ice.turn[0]: missing "urls""#),
            (
                turn,
                r#"[{"urls":["turn:e","turns:e"]},{"urls":["turn:e","stun:e"]}]"#,
                r#"Invalid TURN URL at ice.turn[1] "stun:e": must be turn:HOST or turn:HOST:PORT, or the same with turns:, and ?transport=udp or ?transport=tcp behind it or nothing"#,
            ),
            (
                turn,
                r#"[{"urls":"turn:e","credential":7}]"#,
                r#"Invalid TURN server at ice.turn[0]: "credential" must be string"#,
            ),
        ] {
            assert_eq!(errors(&with(from, to)), [expected]);
        }
        assert_eq!(errors("[]"), ["Manifest must be a valid JSON object"]);
        assert!(errors("{").concat().starts_with("not valid JSON: EOF"));
        assert!(errors(&with(r#""colour""#, r#""ice""#)).concat().contains("\"ice\""));
    }

    #[test]
    fn a_missing_key_that_is_a_letter_off_is_named() {
        for (from, to, expected) in [
            (
                r#""name":"b""#,
                r#""nmae":"b""#,
                r#"Missing or invalid "name" (must be non-empty string); "nmae" is there: rename it to "name""#,
            ),
            (
                "stationId",
                "stationID",
                r#"Missing or invalid "stationId" (must be non-empty string); "stationID" is there: rename it to "stationId""#,
            ),
            (
                r#""signaling""#,
                r#""singaling""#,
                r#"Missing or invalid "signaling" object; "singaling" is there: rename it to "signaling""#,
            ),
            (
                r#""url":"#,
                r#""urls":"#,
                r#"Missing or invalid "signaling.url" (must be non-empty string); "signaling.urls" is there: rename it to "signaling.url""#,
            ),
            (
                r#""ice""#,
                r#""Ice""#,
                r#"Missing or invalid "ice" object; "Ice" is there: rename it to "ice""#,
            ),
            (
                r#""stun""#,
                r#""stunn""#,
                r#"Missing or invalid "ice.stun" (must be array); "ice.stunn" is there: rename it to "ice.stun""#,
            ),
            (
                r#"{"urls":"#,
                r#"{"url":"#,
                r#"Invalid TURN server at ice.turn[0]: missing "urls"; "ice.turn[0].url" is there: rename it to "ice.turn[0].urls""#,
            ),
            // One that is there is not missing.
            (
                r#""name":"b""#,
                r#""name":7,"nmae":"b""#,
                r#"Missing or invalid "name" (must be non-empty string)"#,
            ),
        ] {
            assert_eq!(errors(&with(from, to)), [expected]);
        }
    }

    #[test]
    fn keys_that_are_a_letter_off_are_found() {
        let found = |from, to| {
            let station = parse(&with(from, to), Place::Sample(PathBuf::new())).unwrap();
            let pairs = station.misspelt.into_iter().map(|Misspelt { key, known }| (key, known));
            pairs.collect::<Vec<_>>()
        };
        let pair = |key: &str, known: &str| (key.to_owned(), known.to_owned());
        assert_eq!(found("red", "red"), []);
        assert_eq!(found(r#""colour""#, r#""names""#), [pair("names", "name")]);
        assert_eq!(found(r#""turn""#, r#""turns""#), [pair("ice.turns", "ice.turn")]);
        assert_eq!(found(r#""turn""#, r#""Turn""#), [pair("ice.Turn", "ice.turn")]);
        assert_eq!(found(r#""turn""#, r#""trun""#), [pair("ice.trun", "ice.turn")]);
        assert_eq!(found(r#""turn""#, r#""relay""#), []);
        // Beside the known one it does nothing, either.
        assert_eq!(found(r#""more""#, r#""turns""#), [pair("ice.turns", "ice.turn")]);
        assert_eq!(
            found(r#"{"url":"#, r#"{"URL":1,"url":"#),
            [pair("signaling.URL", "signaling.url")]
        );
        assert_eq!(
            found(r#""turn:e""#, r#""turn:e","usrname":"a","credentials":"b","region":"c""#),
            [
                pair("ice.turn[0].credentials", "ice.turn[0].credential"),
                pair("ice.turn[0].usrname", "ice.turn[0].username"),
            ]
        );
    }

    #[test]
    fn urls_are_those_that_browsers_take() {
        for host in [
            "h",
            "studio.example.org.",
            "a_b",
            "münchen.example",
            "192.0.2.7",
            "192.0.2.7:1",
            "h:65535",
            "h:003478",
            "[2001:db8::1]",
            "[2001:db8::1]:3478",
            "[::ffff:192.0.2.7]",
        ] {
            for scheme in ["stun", "stuns"] {
                assert!(is_stun(&format!("{scheme}:{host}")), "{scheme}:{host}");
            }
            for scheme in ["turn", "turns"] {
                for query in ["", "?transport=udp", "?transport=tcp", "?transport=TCP"] {
                    assert!(is_turn(&format!("{scheme}:{host}{query}")), "{scheme}:{host}{query}");
                }
            }
        }
        for host in [
            "",
            "//studio.example.org:3478",
            " studio.example.org",
            "studio example",
            "h ",
            "h\t",
            "h:",
            "h:0",
            "h:65536",
            "h:99999",
            "h:+1",
            "h:12a",
            "h:1:2",
            ":3478",
            "user@h",
            "h/",
            "h/path",
            "h#f",
            "h\\",
            "h<b",
            "2001:db8::1",
            "[2001:db8::1",
            "[2001:db8::1]3478",
            "[x]",
            "[]",
            "h?",
            "h?transport=",
            "h?transport=tpc",
            "h?Transport=tcp",
            "h?transport=tcp&more=1",
            "h?transport=tcp?transport=tcp",
            "?transport=tcp",
        ] {
            assert!(!is_stun(&format!("stun:{host}")), "stun:{host}");
            assert!(!is_turn(&format!("turn:{host}")), "turn:{host}");
        }
        assert!(!is_stun("stun:h?transport=udp"));
        assert!(!is_stun("turn:h") && !is_turn("stun:h") && !is_turn("h") && !is_stun("STUN:h"));
    }

    #[test]
    fn one_that_may_not_be_read_is_told_how() {
        let why = unreadable(Path::new("/etc/a.json"), &io::ErrorKind::PermissionDenied.into());
        assert!(why.starts_with("permission denied; the user that the service"), "{why}");
        assert!(why.ends_with("must be able to read it: chmod 644 /etc/a.json"), "{why}");
        let why = unreadable(Path::new("/etc/a.json"), &io::ErrorKind::IsADirectory.into());
        assert!(!why.contains("chmod"), "{why}");
    }

    #[test]
    fn all_errors_are_said_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("station.json");
        fs::write(&path, r#"{"signaling":{},"ice":{"stun":["a","stun:"],"turn":1}}"#).unwrap();
        let errors = load(Some(&path)).unwrap_err();
        assert_eq!(errors.len(), 6, "{errors:#?}");
        let start = format!("Failed to load station manifest: {}: ", path.display());
        assert!(errors.iter().all(|error| error.starts_with(&start)), "{errors:#?}");
        fs::write(&path, format!("\u{feff}{SAMPLE}")).unwrap();
        assert!(load(Some(&path)).is_ok(), "a byte order mark is no part of it");
        let absent = directory.path().join("absent");
        let errors = load(Some(&absent)).unwrap_err();
        assert!(errors[0].contains("absent: No such file"), "{errors:?}");
    }
}
