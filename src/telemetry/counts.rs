//! What there is now, in numbers.
//!
//! Owns their names. It deliberately does not know who asks for them.

/// What there is of a cluster.
pub const CLUSTER: [(&str, &str); 4] = [
    ("cluster_nodes", "Nodes of the cluster, this one included; 0 without one"),
    ("cluster_in_touch", "Whether the node is in touch with its cluster, as 1 or 0"),
    ("cluster_peers", "Registered peers on all nodes; 0 without a cluster"),
    ("cluster_waiting", "Changes that wait for their turn among all nodes"),
];

/// What is counted of all programmes.
pub const PROGRAMME: [(&str, &str); 6] = [
    ("on_air_seconds", "Seconds for which somebody was on air"),
    ("on_air_bytes", "Bytes of the programme that Icecast has taken"),
    ("on_air_silence_seconds", "Seconds of silence in the place of audio that did not come"),
    ("on_air_dropped_seconds", "Seconds of audio that came too far ahead of the clock"),
    ("icecast_reconnects", "How often a programme went on through another connection to Icecast"),
    ("icecast_refusals", "How often Icecast refused a programme for good"),
];

/// What there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connected clients.
    pub clients: usize,
    /// Those that are registered.
    pub peers: usize,
    /// Rooms with somebody in them, or a seat that is kept.
    pub rooms: usize,
    /// Seats that are kept for clients whose connection broke.
    pub seats_kept: usize,
    /// Roles that are reserved for clients that have gone.
    pub roles_reserved: usize,
    /// Whether somebody is on air, as 1 or 0, and whether Icecast takes the programme.
    pub on_air: usize,
    /// See [`Self::on_air`].
    pub heard: usize,
    /// Listeners by way of this server.
    pub listeners: usize,
    /// For how long nothing is heard on air but silence, in seconds.
    pub quiet: usize,
    /// Of the cluster, as [`CLUSTER`] has them.
    pub cluster: [usize; CLUSTER.len()],
    /// Of all programmes, as [`PROGRAMME`] has them.
    pub programme: [u64; PROGRAMME.len()],
    /// What waits for clients to read it, in bytes.
    pub outbox_bytes: usize,
}
