//! What a station manifest must have.
//!
//! Owns what is wrong with one, and which keys are misspelt. It deliberately does not know where a manifest comes from.

use serde_json::Value;

use crate::config::table::meant;
use crate::station::ice_url::{is_stun, is_turn, starts};
use crate::wire::text::quoted;

/// The keys that mean something, in each object of a manifest.
const KEYS: &[&str] = &["stationId", "name", "signaling", "ice"];

const SIGNALING_KEYS: &[&str] = &["url"];

const ICE_KEYS: &[&str] = &["stun", "turn"];

const TURN_KEYS: &[&str] = &["urls", "username", "credential"];

/// A key that is a letter off a known one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// Its path, as `ice.turns`.
    pub key: String,
    /// The path of the known one.
    pub known: String,
}

/// The keys in all of a manifest's objects that are a letter off a known one. It does not matter whether that one is
/// there, too: what is written with the other does nothing all the same.
pub(super) fn misspelt(manifest: &Value) -> Vec<Misspelt> {
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
pub(super) fn check(manifest: &Value) -> Vec<String> {
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

pub(super) fn text(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| !text.is_empty())
}

/// What stands where a URL should, as an error line has it.
fn shown(url: &Value) -> String {
    match url {
        Value::String(url) => format!("{:?}", quoted(url)),
        other => quoted(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::manifest::tests::{errors, read, with};

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
            let station = read(&with(from, to)).unwrap();
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
}
