//! What the nodes of a cluster call the stream and the subjects.
//!
//! Owns these names. It deliberately does not know what is said there.

use serde_json::{Value, json};

use crate::wire::ids::NodeId;

/// How long the stream keeps an entry, in ns: long enough to fill the gaps of a node that was away. It is no history.
const MOST_AGE: u64 = 600_000_000_000;

/// The names of one cluster, seen from one of its nodes.
#[derive(Clone, Debug)]
pub struct Names {
    /// The stream.
    pub stream: String,
    /// Where entries are written.
    pub log: String,
    /// Where they come back, in order.
    pub events: String,
    /// What all nodes hear.
    pub all: String,
    /// What this node hears, and the beginning of what it is answered on.
    pub own: String,
    prefix: String,
}

impl Names {
    /// The names of the cluster `name`, for the node `node`.
    pub fn new(name: &str, node: NodeId) -> Self {
        let prefix = format!("oss1.{name}");
        Self {
            stream: format!("OSS1_{name}"),
            log: format!("{prefix}.log"),
            events: format!("{prefix}.ev"),
            all: format!("{prefix}.all"),
            own: format!("{prefix}.n.{node}"),
            prefix,
        }
    }

    /// What a node hears.
    pub fn node(&self, node: NodeId) -> String {
        format!("{}.n.{node}", self.prefix)
    }

    /// Where this node is answered on something.
    pub fn answer(&self, to: &str) -> String {
        format!("{}.{to}", self.own)
    }

    /// A request to JetStream about the stream.
    pub fn request(&self, what: &str) -> String {
        format!("$JS.API.STREAM.{what}.{}", self.stream)
    }

    /// What the stream is to be, with so many replicas.
    pub fn stream_config(&self, replicas: u32) -> Value {
        json!({
            "name": self.stream,
            "subjects": [self.log],
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "num_replicas": replicas,
            "max_age": MOST_AGE,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_consumers": -1,
            "duplicate_window": 1_000_000_000,
            "republish": { "src": self.log, "dest": self.events },
        })
    }
}
