//! Flags, environment, settings file and credentials to a valid configuration.
//!
//! Owns what can be set. It deliberately does not know what the settings are for.

pub mod cli;
pub mod cluster;
pub mod config;
pub mod file;
pub mod icecast;
pub mod origin;
pub mod parser;
pub mod settings;
pub mod source;
pub mod table;
pub mod web_origin;
