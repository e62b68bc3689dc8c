//! The service as a node of a cluster.
//!
//! Owns what a node says of itself. It deliberately does not know what nodes say to each other.

use std::sync::Arc;

use rustix::system::uname;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::carried::CarriedNode;
use crate::cluster::entry::{About, VERSION};
use crate::cluster::run::{Task, join};
use crate::cluster::standing::Standing;
use crate::config::config::Secret;
use crate::server::shutdown::Phase;
use crate::server::state::State;
use crate::signaling::studio::Studio;
use crate::station::manifest::Manifest;
use crate::wire::text::quoted;

/// How many bytes tell a secret or a manifest from another one: nobody learns the secret from so few.
const PRINT: usize = 4;

/// Makes the service a node, where its settings say so; the one that it was, where another process was one before.
pub fn node(
    studio: &Studio,
    secret: &Secret,
    before: Option<(CarriedNode, Instant)>,
) -> Option<(Task, watch::Receiver<Standing>)> {
    let settings = studio.config.cluster.clone()?;
    let about = About {
        host: quoted(&uname().nodename().to_string_lossy()),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        reads: VERSION,
        secret: print(&[b"secret", secret.bytes()]),
        manifest: print(&manifest(&studio.manifest.now())),
        limits: studio.hub.limits(),
    };
    let Studio { hub, journal, config, .. } = studio;
    Some(join(settings, about, hub, journal, config.rate_limit, before))
}

/// Runs the node until the service stops, or hands it over.
pub async fn run(task: Task, state: Arc<State>) {
    let _busy = state.collection.work();
    let stop = async {
        state.shutdown.reached(Phase::HandingOver).await;
        if state.shutdown.phase() == Phase::HandingOver {
            return true;
        }
        state.shutdown.reached(Phase::Closing).await;
        false
    };
    if let Some(carried) = task.run(stop, || state.collection.talking() == 0).await {
        state.collection.give_node(carried);
    }
}

/// What clients get of a manifest.
fn manifest(manifest: &Manifest) -> [&[u8]; 3] {
    let Manifest { station_id, name, ice, .. } = manifest;
    [station_id.as_bytes(), name.as_bytes(), ice.get().as_bytes()]
}

fn print(parts: &[&[u8]]) -> String {
    let hash = parts.iter().fold(Sha256::new(), |hash, part| {
        // Each with its length, so that no part ends where another one begins.
        hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
    });
    hash.finalize()[..PRINT].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_tells_parts_apart() {
        assert_eq!(print(&[b"a", b"b"]).len(), 2 * PRINT);
        assert_ne!(print(&[b"a", b"b"]), print(&[b"ab", b""]));
        assert_ne!(print(&[b"a"]), print(&[b"b"]));
    }
}
