//! The service as a node of a cluster.
//!
//! Owns what a node says of itself. It deliberately does not know what nodes say to each other.

use rustix::system::uname;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::cluster::entry::{About, VERSION};
use crate::cluster::run::{Task, join};
use crate::cluster::standing::Standing;
use crate::config::config::Secret;
use crate::signaling::studio::Studio;
use crate::station::manifest::Manifest;
use crate::wire::text::quoted;

/// How many bytes tell a secret or a manifest from another one: nobody learns the secret from so few.
const PRINT: usize = 4;

/// Makes the service a node, where its settings say so.
pub fn node(studio: &Studio, secret: &Secret) -> Option<(Task, watch::Receiver<Standing>)> {
    let settings = studio.config.cluster.clone()?;
    let about = About {
        host: quoted(&uname().nodename().to_string_lossy()),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        reads: VERSION,
        secret: print(&[b"secret", secret.bytes()]),
        manifest: print(&manifest(&studio.manifest.now())),
        limits: studio.hub.limits(),
    };
    Some(join(settings, about, &studio.hub, &studio.journal, studio.config.rate_limit))
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
