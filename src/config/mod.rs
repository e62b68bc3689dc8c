//! Flags, environment, settings file and credentials to a valid configuration.
//!
//! Owns what can be set. It deliberately does not know what the settings are for.

pub mod cli;
pub mod config;
pub mod settings;
