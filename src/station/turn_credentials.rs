//! TURN credentials that a coturn with `use-auth-secret` takes (the TURN REST API,
//! draft-uberti-behave-turn-rest-00 section 2.2).
//!
//! Owns how a credential is made and where it goes in the `ice` object. It deliberately knows no clock: the
//! time is an argument, in seconds since 1970.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha1::Sha1;

use crate::config::config::Secret;
use crate::wire::ids::PeerId;

/// Whether some TURN server in the `ice` object of a manifest has no credential of its own.
pub fn wants_credentials(ice: &Value) -> bool {
    let servers = ice.get("turn").and_then(Value::as_array);
    servers.is_some_and(|servers| servers.iter().any(lacks_credential))
}

/// The `ice` object with credentials for `peer`, valid for `ttl` (cut to whole seconds, one at least), in
/// every TURN server that has none of its own.
pub fn with_credentials(
    ice: &Value,
    secret: &Secret,
    peer: PeerId,
    now: u64,
    ttl: Duration,
) -> Value {
    let username = format!("{}:{peer}", now + ttl.as_secs().max(1));
    let credential = credential(secret, &username);
    let mut ice = ice.clone();
    let servers = ice.get_mut("turn").and_then(Value::as_array_mut);
    for server in servers.into_iter().flatten().filter(|server| lacks_credential(server)) {
        server["username"] = username.clone().into();
        server["credential"] = credential.clone().into();
    }
    ice
}

fn lacks_credential(server: &Value) -> bool {
    server.get("credential").is_none()
}

fn credential(secret: &Secret, username: &str) -> String {
    let hmac =
        Hmac::<Sha1>::new_from_slice(secret.bytes()).expect("HMAC takes a key of any length");
    STANDARD.encode(hmac.chain_update(username).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_is_what_openssl_says() {
        // printf %s 1760818844:f47ac10b-58cc-4372-a567-0e02b2c3d479 | openssl dgst -sha1 -hmac north -binary | base64
        let username = "1760818844:f47ac10b-58cc-4372-a567-0e02b2c3d479";
        assert_eq!(credential(&Secret::new("north"), username), "/2N4OjeYuFC2wu14BX6bvHwFdRA=");
    }

    #[test]
    fn servers_without_a_credential_get_one() {
        let ice = json!({
            "stun": ["stun:a"],
            "turn": [
                {"urls": "turn:a", "username": "me", "credential": "mine"},
                {"urls": ["turn:b", "turns:b"], "region": "eu"},
            ],
            "policy": "relay",
        });
        assert!(wants_credentials(&ice));
        let peer = PeerId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").unwrap();
        let ttl = Duration::from_millis(14_400_999);
        let personal = with_credentials(&ice, &Secret::new("north"), peer, 1_760_804_444, ttl);
        assert_eq!(
            personal,
            json!({
                "stun": ["stun:a"],
                "turn": [
                    {"urls": "turn:a", "username": "me", "credential": "mine"},
                    {
                        "urls": ["turn:b", "turns:b"],
                        "region": "eu",
                        "username": "1760818844:f47ac10b-58cc-4372-a567-0e02b2c3d479",
                        "credential": "/2N4OjeYuFC2wu14BX6bvHwFdRA=",
                    },
                ],
                "policy": "relay",
            })
        );
        assert!(!wants_credentials(&json!({"stun": ["stun:a"]})));
        assert!(!wants_credentials(&json!({"turn": [{"urls": "turn:a", "credential": "c"}]})));
    }
}
