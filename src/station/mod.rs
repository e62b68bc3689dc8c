//! What this installation is and vouches for: its manifest, its tokens, its secret, its certificate.
//!
//! Owns what an operator gave to the station. It deliberately knows no client.

pub mod archive;
pub mod certificate;
pub mod hs256;
pub mod ice_url;
pub mod key_kind;
pub mod keyfile;
pub mod manifest;
pub mod manifest_rules;
pub mod private_file;
pub mod proofs;
pub mod role_file;
pub mod tls;
pub mod token_claims;
pub mod tokens;
pub mod turn_credentials;
