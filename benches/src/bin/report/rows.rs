//! Which figures there are, in which order, and what they are called.
//!
//! Owns the labels. It deliberately does not know the values.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::{Values, whole};

/// The servers: as `benches/run` calls them, and as a reader does.
pub const SERVERS: [(&str, &str); 7] = [
    ("ours", "openstudio-signaling"),
    ("before", "the commit compared"),
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
    ("instructions_ping", "user instructions a ping, # clients"),
    ("instructions_relay", "user instructions a relayed offer, # peers"),
    ("instructions_broadcast", "user instructions a broadcast to #"),
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
    ("restart_silence_ms", "longest wait for a pong over a restart, # clients, ms"),
    ("restart_ms", "SIGTERM until the next process is ready, # clients, ms"),
    ("cluster_peer_kib", "three nodes: memory a peer elsewhere, # of them, KiB"),
    ("cluster_near_p50_us", "three nodes: offer of 2,000 B within one, p50, µs"),
    ("cluster_near_p99_us", "the same, p99, µs"),
    ("cluster_far_p50_us", "three nodes: the same to another node, p50, µs"),
    ("cluster_far_p99_us", "the same, p99, µs"),
    ("cluster_join_p50_ms", "three nodes: join of a room that spans them, p50, ms"),
    ("cluster_join_p99_ms", "the same, p99, ms"),
    ("cluster_back_ms", "three nodes: one is killed, until its client has its place elsewhere, ms"),
    ("large_changes", "seven nodes, # peers: registered, or in a room, a second"),
    ("large_peer_kib", "the same: memory of a node for a peer elsewhere, KiB"),
    ("large_late_ms", "the same: another node, start to ready, ms"),
    ("large_late_kib", "the same: its memory for a peer elsewhere, KiB"),
    ("large_late_cpu_ms", "the same: its CPU until then, ms"),
    ("large_late_giver_cpu_ms", "the same: CPU of the node that gives it the peers, ms"),
    ("large_far_p99_us", "the same: offer of 2,000 B to another node, p99, µs"),
    ("large_gone_ms", "the same: a node is killed, until its peers are gone, ms"),
    ("large_gone_cpu_ms", "the same: CPU of another node until then, ms"),
    ("large_gone_p99_us", "the same: offer to another node until then, p99, µs"),
    ("large_gone_longest_ms", "the same: the slowest of them, ms"),
    ("large_left_ms", "the same: the others go at once, until they are gone, ms"),
    ("large_left_entries", "the same: entries of the log for each of them"),
    ("churn_first_kib", "resident after # came and went, KiB"),
    ("churn_last_kib", "resident after the last time, # clients, KiB"),
    ("churn_ratio", "last against first, # clients"),
    ("attack_quiet_p99_us", "ping to pong, 10 clients, p99, µs"),
    ("attack_half_open_p99_us", "the same beside 4,000 half-open connections, µs"),
    ("attack_flood_p99_us", "the same beside one who floods with messages, µs"),
    ("attack_crowd_p99_us", "the same beside 20 who do, µs"),
    ("attack_pings_p99_us", "the same beside one who floods with WebSocket pings, µs"),
    ("attack_handshakes_p99_us", "the same beside 300 TLS handshakes at once, µs"),
    ("attack_requests_p99_us", "the same beside 200 who flood with HTTP, µs"),
    ("attack_keys_p99_us", "the same beside 100 with messages of 4,000 keys, µs"),
    ("attack_broadcasts_p99_us", "the same beside a room of 100 who all broadcast, µs"),
    ("attack_single_ratio", "CPU of 64,000 frames of a byte against 16,000"),
    ("attack_empty_ratio", "CPU of 1,000,000 empty frames against 250,000"),
    ("attack_deep_ratio", "CPU of JSON 32,000 deep against flat, 64 KB"),
    ("attack_deaf_percent", "CPU beside 200 who read no answers, % of a core"),
    ("attack_exhausted_percent", "CPU without descriptors, % of a core"),
    ("attack_told_ms", "SIGTERM under attack until 10 have close frame 1001, ms"),
    ("attack_ended_ms", "end of the attack until the process ended, ms"),
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
