//! Nodes of a cluster, and their clients.

use crate::fetch::get;
use crate::nats::Nats;
use crate::support::{Client, Server, wait_until};

/// What all nodes of a cluster have.
pub const SECRET: &str = "0123456789012345678901234567890123456789";

/// A node with more settings, which is not waited for.
pub fn start(nats: &Nats, first: usize, more: &[(&str, &str)]) -> Server {
    let urls = nats.urls(first);
    let mut settings = vec![
        ("NATS_URL", &*urls),
        ("JWT_SECRET", SECRET),
        ("HOST", "127.0.0.1"),
        ("RATE_LIMIT", "0"),
    ];
    settings.extend(more);
    Server::start(&settings)
}

/// What `/health` says of the cluster.
pub fn health(server: &Server) -> String {
    get(server.port, "/health").body
}

/// Waits until each of these nodes knows of so many.
pub fn wait_for(nodes: &[&Server], count: usize) {
    for server in nodes {
        let wanted = format!(r#""state":"in-touch","nodes":{count},"#);
        wait_until(|| health(server).contains(&wanted), || health(server));
    }
}

/// So many nodes that know each other.
pub fn nodes<const N: usize>(nats: &Nats) -> [Server; N] {
    nodes_with(nats, &[])
}

/// The same, with more settings.
pub fn nodes_with<const N: usize>(nats: &Nats, more: &[(&str, &str)]) -> [Server; N] {
    let nodes: [Server; N] = std::array::from_fn(|index| start(nats, index, more));
    wait_for(&nodes.iter().collect::<Vec<_>>(), N);
    nodes
}

/// Waits until all nodes are at the same position, and have the same peers and rooms there.
pub fn agree(nodes: &[&Server]) {
    let place = |server: &&Server| {
        let health = health(server);
        health.split(r#""position":"#).nth(1).map(str::to_owned)
    };
    wait_until(
        || {
            let places: Vec<_> = nodes.iter().map(place).collect();
            places.iter().all(|place| place.is_some() && *place == places[0])
        },
        || nodes.iter().map(|server| health(server)).collect(),
    );
}

/// Comes into a room by `create-or-join-room`.
pub fn enter(client: &mut Client, room: &str, role: &str) -> String {
    client.ask(&format!(r#"{{"type":"create-or-join-room","roomId":"{room}","role":"{role}"}}"#))
}

/// Nothing has come that is not read yet.
pub fn hears_nothing(client: &mut Client) {
    let answer = client.ask(r#"{"type":"ping"}"#);
    assert!(answer.starts_with(r#"{"type":"pong""#), "{answer}");
}
