//! The WebRTC signaling server of the OpenStudio broadcast studio.
//!
//! The folders, lowest first; each imports from those before it only, which `tests/layers.rs` holds.
//!
//! | folder | owns | deliberately does not know |
//! |---|---|---|
//! | [`wire`] | bytes to types and back: frames, messages, ids, codes | sockets, rooms, time |
//! | [`telemetry`] | what can be logged or counted, and what of it is logged once | who asks |
//! | [`config`] | flags, environment, settings file and credentials to a valid configuration | what the settings are for |
//! | [`station`] | the manifest, tokens, TURN credentials, the made secret, the certificate | clients |
//! | [`signaling`] | peers, rooms, relays, roles, and the seam between a connection and what is said on it | frames and sockets |
//! | [`server`] | the port and the process: accept, HTTP, sessions, limits, drain, systemd | what messages mean |
//! | [`invite`] | the `invite` command | clients, and the server |
//! | [`check`] | the `check` command | the server, but for its protocol |
//!
//! A start goes through `main.rs` (arguments, exit codes), [`server::startup`] (the files that settings lead to) and
//! [`server::serve`], which puts the parts together. A connection is accepted in [`server::listen`], speaks HTTP in
//! [`server::connection`] and [`server::http`], and becomes a session ([`server::session`]) whose talk is
//! [`signaling::handler`]'s.
//!
//! Owns this map. It deliberately has no code.

pub mod check;
pub mod config;
pub mod invite;
pub mod server;
pub mod signaling;
pub mod station;
pub mod telemetry;
pub mod wire;
