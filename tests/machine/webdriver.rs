//! Chromium's pages, driven by chromedriver: starts both and leaves nothing of them behind. It deliberately
//! does not know what the pages are about.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Log, connect, head};

/// A chromedriver, which ends with all its browsers when it is dropped.
pub struct Driver {
    unshare: Child,
    url: String,
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

    /// Opens `url` in a browser of its own.
    pub async fn open(&self, name: &str, url: &str) -> Page {
        let page = self.browser(name, &[]).await;
        page.goto(url).await;
        page
    }

    /// An empty page in a browser of its own, which is started with these arguments, too.
    pub async fn browser(&self, name: &str, arguments: &[&str]) -> Page {
        let profile = self.scratch.path().join(name);
        let profile = format!("--user-data-dir={}", profile.display());
        let usual = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // A camera and a microphone, and a user who lets the page have them.
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            // The machine has no network but its loopback.
            "--allow-loopback-in-peer-connection",
            &profile,
        ];
        let arguments = [&usual, arguments].concat();
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
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.into_iter().collect())
            .connect(&self.url)
            .await
            .unwrap();
        let session = client.session_id().await.unwrap().unwrap();
        Page { client, session: format!("{}/session/{session}", self.url) }
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

/// A page in a browser.
pub struct Page {
    client: Client,
    session: String,
}

impl Page {
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// What a function of the page returns, or its promise resolves to.
    pub async fn call(&self, function: &str, arguments: &[&str]) -> Value {
        let arguments = arguments.iter().map(|argument| json!(argument)).collect();
        self.run(&format!("return {function}(...arguments)"), arguments).await
    }

    /// What a script returns, or its promise resolves to.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        let result = self.client.execute(script, arguments).await;
        result.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Presses a key as a person would: whatever has the focus gets it.
    pub async fn press(&self, key: Key) {
        let keys = [KeyAction::Down { value: key.into() }, KeyAction::Up { value: key.into() }];
        let press =
            keys.into_iter().fold(KeyActions::new("keyboard".into()), |all, key| all.then(key));
        self.client.perform_actions(press).await.unwrap();
    }

    /// What the page looks like, as a PNG.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    /// A command of the Chrome DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.driver("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What the console has got since it was last asked for, line by line.
    pub fn console(&self) -> Vec<String> {
        let lines = self.driver("se/log", &json!({ "type": "browser" }));
        let lines = lines.as_array().unwrap().iter();
        let lines = lines.map(|line| line["message"].as_str().unwrap().to_owned());
        // The browser's own first page has its say, too.
        lines.filter(|line| !line.starts_with("chrome:")).collect()
    }

    /// One of chromedriver's own commands, which WebDriver does not have.
    fn driver(&self, command: &str, body: &Value) -> Value {
        let (host, path) = self.session.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let port = host.rsplit(':').next().unwrap().parse().unwrap();
        let body = body.to_string();
        let mut stream = connect(port);
        let request = [
            &format!("POST /{path}/{command} HTTP/1.1"),
            "Host: localhost",
            &format!("Content-Length: {}", body.len()),
        ];
        stream.write_all(&[head(&request), body.into_bytes()].concat()).unwrap();
        let answer = Answer::read(&mut stream, true);
        assert_eq!(answer.status, 200, "{command}: {answer:?}");
        serde_json::from_str::<Value>(&answer.body).unwrap()["value"].clone()
    }

    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}
