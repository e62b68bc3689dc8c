//! The WebRTC signaling server of the OpenStudio broadcast studio.
//!
//! The folders, in import order: each imports only from itself and from those before it. `tests/layers.rs` checks that.
//!
//! | folder | owns | deliberately does not know |
//! |---|---|---|
//! | [`wire`] | bytes to types and back: frames, messages, ids, codes | sockets, rooms, time |
//! | [`telemetry`] | what can be logged or counted, and what is logged only once | who asks |
//! | [`config`] | flags, environment, settings file and credentials to a valid configuration | what the settings are for |
//! | [`station`] | the manifest, tokens, TURN credentials, the made secret, the certificate | clients |
//! | [`programme`] | the programme: WebM from the browser to Ogg for Icecast, silence in gaps, who is on air | who may go on air |
//! | [`signaling`] | peers, rooms, relays, roles, and the `Conversation` trait, which connects a session to the message code | frames and sockets |
//! | [`cluster`] | the log, who is a member, links between nodes, NATS | the rules of rooms |
//! | [`server`] | the port and the process: accept, HTTP, sessions, limits, drain, systemd | what messages mean |
//! | [`invite`] | the `invite` command | clients, and the server |
//! | [`check`] | the `check` command | anything about the server except its protocol |
//!
//! A start goes through `main.rs` (arguments, exit codes), [`server::startup`] (the files that settings name) and
//! [`server::serve`], which connects the parts. [`server::accept`] accepts a connection. It speaks HTTP in
//! [`server::connection`] and [`server::http`], and becomes a session ([`server::session`]). [`signaling::handler`]
//! handles its messages.
//!
//! Owns this map. It deliberately has no code.

pub mod check;
pub mod cluster;
pub mod config;
pub mod invite;
pub mod programme;
pub mod server;
pub mod signaling;
pub mod station;
pub mod telemetry;
pub mod wire;
