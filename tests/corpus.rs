//! The fuzzers' corpus, replayed: what was once found, or is worth starting from, holds in every build.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../fuzz/checks/frames.rs"]
mod frames;
#[path = "../fuzz/checks/tls.rs"]
mod tls;
#[path = "../fuzz/checks/webm.rs"]
mod webm;

/// Runs `check` on each file of a corpus, and on what comes of cutting and changing it.
fn replay(corpus: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut seeds = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let seed = fs::read(&path).unwrap();
        check(&seed);
        // Every start of it, and every byte of it with its top or its lowest bit turned.
        for at in 0..seed.len().min(300) {
            check(&seed[..at]);
            for bit in [0x01, 0x80] {
                let mut turned = seed.clone();
                turned[at] ^= bit;
                check(&turned);
            }
        }
        seeds += 1;
    }
    assert!(seeds > 10, "{seeds} files in {corpus}");
}

#[test]
fn webm_holds() {
    replay("webm", webm::check);
}

#[test]
fn frames_hold() {
    replay("frames", frames::check);
}

#[test]
fn tls_holds() {
    replay("tls", tls::check);
}

#[test]
fn envelopes_hold() {
    replay("envelope", envelope::check);
}
