//! The check page in a real Chromium, with a real coturn beside the server.
//!
//! `tests/run` runs these tests as root, in a network that has nothing but its loopback.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod fails;
mod network;
mod page;
mod tls;
mod visit;
mod works;

#[path = "../support/coturn.rs"]
mod coturn;
#[path = "../support/icecast.rs"]
mod icecast;
#[path = "../support/listener.rs"]
mod listener;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/webdriver.rs"]
mod webdriver;

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;

use coturn::Coturn;
use network::translation;
use support::Server;
use webdriver::Driver;

const SECRET: &str = "a secret that both of them know";

/// Runs a test with a browser at hand.
fn with_browser(test: impl AsyncFnOnce(&Driver)) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let driver = Driver::start();
    runtime.block_on(test(&driver));
}

/// A manifest with this STUN and TURN, for a server that will be at `url`.
fn manifest(directory: &Path, url: &str, stun: u16, turn: &[u16]) -> String {
    let path = directory.join("station-manifest.json");
    let turn: Vec<Value> =
        turn.iter().map(|port| json!({ "urls": [format!("turn:127.0.0.1:{port}")] })).collect();
    let manifest = json!({
        "stationId": "north",
        "name": "Radio North",
        "signaling": { "url": url },
        "ice": { "stun": [format!("stun:127.0.0.1:{stun}")], "turn": turn },
    });
    fs::write(&path, manifest.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server with a manifest that names its own port, and with whatever else it is given.
fn serve(directory: &Path, stun: u16, turn: &[u16], settings: &[(&str, &str)]) -> Server {
    let path = manifest(directory, "ws://localhost:1/", stun, turn);
    let server = Server::start(&[&[("STATION_MANIFEST", path.as_str())], settings].concat());
    manifest(directory, &format!("ws://localhost:{}/", server.port), stun, turn);
    server.signal(Signal::HUP);
    server.log.wait_for("Reloaded: ");
    server
}

fn check_page(port: u16) -> String {
    format!("http://localhost:{port}/check")
}

/// Everything that a working station has: a server, a coturn, and an address translation before its STUN.
async fn station(secret: &str) -> (TempDir, Coturn, Server) {
    let directory = tempfile::tempdir().unwrap();
    let coturn = Coturn::start(directory.path(), SECRET);
    let stun = translation(coturn.port).await;
    let server = serve(directory.path(), stun, &[coturn.port], &[("TURN_SECRET", secret)]);
    (directory, coturn, server)
}
