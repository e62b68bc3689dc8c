//! Chromium's pages, driven by chromedriver: starts both and leaves nothing of them behind. It deliberately
//! does not know what the pages are about.

use std::fs;
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Log;

/// How Chromium is started, whoever does it.
pub const HEADLESS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A chromedriver, which ends with all its browsers when it is dropped.
pub struct Driver {
    unshare: Child,
    pub url: String,
    scratch: TempDir,
}

impl Driver {
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        // Browsers outlive a chromedriver that is killed, but not the first process of their namespace; nor
        // does that outlive this thread, whatever ends it.
        let mut unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "chromedriver", "--port=0"])
            .env("HOME", scratch.path())
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = unshare.stdout.take().unwrap();
        let mut driver = Self { unshare, url: String::new(), scratch };
        let line = Log::follow(stdout).wait_for("started successfully on port ");
        let port = line.rsplit(' ').next().unwrap().trim_end_matches('.');
        driver.url = format!("http://127.0.0.1:{port}");
        driver
    }

    /// An empty page in a browser of its own, which is started with these arguments, too.
    pub async fn browser(&self, name: &str, arguments: &[&str]) -> Client {
        let profile = self.scratch.path().join(name);
        let profile = format!("--user-data-dir={}", profile.display());
        let usual = [
            // A camera and a microphone, and a user who lets the page have them.
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            // The machine has no network but its loopback.
            "--allow-loopback-in-peer-connection",
            &profile,
        ];
        let arguments = [HEADLESS, &usual, arguments].concat();
        let options = json!({ "binary": "/usr/bin/chromium", "args": arguments });
        let logging = json!({ "browser": "ALL" });
        // The page itself gives up earlier, and says on what.
        let timeouts = json!({ "script": 90_000 });
        let capabilities = [
            ("goog:chromeOptions", options),
            ("goog:loggingPrefs", logging),
            ("timeouts", timeouts),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.into_iter().collect())
            .connect(&self.url)
            .await
            .unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        if let Some(first) = children.trim().parse().ok().and_then(Pid::from_raw) {
            // unshare ends with it, which is when the namespace is empty: nobody writes to the scratch now.
            let _ = kill_process(first, Signal::KILL);
        } else {
            let _ = self.unshare.kill();
        }
        let _ = self.unshare.wait();
    }
}

/// What a script of a page returns, or its promise resolves to.
pub async fn run(page: &Client, script: &str, arguments: Vec<Value>) -> Value {
    let result = page.execute(script, arguments).await;
    result.unwrap_or_else(|error| panic!("{script}: {error}"))
}
