//! What Chromium does through TLS. It deliberately does not look at the check page.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::page::Page;
use crate::support::Server;
use crate::with_browser;

#[test]
#[ignore = "drives Chromium"]
fn both_versions_of_tls_carry_what_a_page_does() {
    with_browser(async |driver| {
        let directory = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "key"])
            .args(["-addext", "subjectAltName=DNS:localhost", "-out", "cert"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("index.html"), "<!doctype html><title>A studio</title>")
            .unwrap();
        fs::write(root.path().join("large"), "x".repeat(3_000_000)).unwrap();
        let [cert, key] = ["cert", "key"].map(|file| directory.path().join(file));
        let server = Server::start(&[
            ("TLS_CERT", cert.to_str().unwrap()),
            ("TLS_KEY", key.to_str().unwrap()),
            ("WEB_ROOT", root.path().to_str().unwrap()),
        ]);
        for version in ["tls1.2", "tls1.3"] {
            let bound = format!("--ssl-version-max={version}");
            let page = Page::start(driver, version, &[&bound, "--ignore-certificate-errors"]).await;
            page.goto(&format!("https://localhost:{}/", server.port)).await;
            let script = include_str!("../tls.js");
            assert_eq!(page.run(script, vec![]).await, json!("20 3000000 welcome pong 1000"));
            // The browser comes back on new connections, with its session where it has one.
            page.goto(&format!("https://localhost:{}/health", server.port)).await;
            assert_eq!(page.run(script, vec![]).await, json!("20 3000000 welcome pong 1000"));
        }
    });
}
