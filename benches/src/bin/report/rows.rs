//! Which figures there are, in which order, and what they are called.
//!
//! Owns the labels. It deliberately does not know the values.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::{Values, whole};

/// The servers: as `benches/run` calls them, and as a reader does.
pub const SERVERS: [(&str, &str); 6] = [
    ("ours", "openstudio-signaling"),
    ("floor", "TCP echo"),
    ("stock", "stock warp::ws()"),
    ("ws", "Node ws"),
    ("ours-tls", "openstudio-signaling, TLS"),
    ("ws-tls", "Node ws, TLS"),
];

/// A figure in the table.
pub struct Row {
    pub key: String,
    pub label: String,
}

/// What comes before the `/` of a key, and its label, where `#` is what comes after it. Resident memory with
/// clients is for the picture: the table has it for each of them.
const LABELS: &[(&str, &str)] = &[
    ("empty_kib", "resident without clients, KiB"),
    ("memory_kib", "memory an idle client, # of them, KiB"),
    ("ping_cpu_us", "CPU a message, # clients, µs"),
    ("ping_rate", "messages a second, # clients"),
    ("ping_p50_us", "ping to pong, # clients, p50, µs"),
    ("ping_p99_us", "ping to pong, # clients, p99, µs"),
    ("ping_p999_us", "ping to pong, # clients, p99.9, µs"),
    ("ping_load_us", "(load generator's CPU a message, # clients, µs)"),
    ("handshake_rate", "handshakes a second"),
    ("handshake_cpu_us", "CPU a handshake, µs"),
    ("handshake_p99_us", "connect to welcome, p99, µs"),
    ("handshake_load_us", "(load generator's CPU a handshake, µs)"),
    ("start_ms", "start to ready, ms"),
    ("relay_cpu_us", "CPU a relayed offer, # peers there, 64 talk, µs"),
    ("relay_all_cpu_us", "the same, # peers in turn, µs"),
    ("relay_rate", "offers a second, # peers there"),
    ("relay_p99_us", "offer sent to received, # peers there, p99, µs"),
    ("broadcast_cpu_us", "CPU a broadcast to #, µs"),
    ("broadcast_each_cpu_us", "CPU a broadcast to #, each, µs"),
    ("broadcast_p99_us", "broadcast to #, until all have it, p99, µs"),
    ("heartbeat_percent", "CPU of # idle clients, % of a core"),
    ("heartbeat_pings", "(pings a client in that time, # clients)"),
    ("drain_told_ms", "SIGTERM until # have close frame 1001, ms"),
    ("drain_ms", "SIGTERM until the process ended, # clients, ms"),
    ("churn_first_kib", "resident after # came and went, KiB"),
    ("churn_last_kib", "resident after the last time, # clients, KiB"),
    ("churn_ratio", "last against first, # clients"),
];

/// The rows that there are values for.
///
/// # Errors
///
/// A value that has no label.
pub fn rows(values: &Values) -> Result<Vec<Row>> {
    let mut keys = BTreeSet::new();
    for key in values.keys() {
        if key.starts_with("resident_kib/") {
            continue;
        }
        let (prefix, number) = key.split_once('/').unwrap_or((key, "0"));
        let place = LABELS.iter().position(|(name, _)| *name == prefix);
        let place = place.with_context(|| format!("{key} has no label"))?;
        keys.insert((place, number.parse::<u32>().with_context(|| key.to_owned())?, key));
    }
    let label = |(place, number, key): (usize, u32, &str)| Row {
        key: key.to_owned(),
        label: LABELS[place].1.replace('#', &whole(number)),
    };
    Ok(keys.into_iter().map(label).collect())
}
