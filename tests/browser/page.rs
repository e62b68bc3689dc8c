//! A page in a browser, and what a person or Chrome's own protocol does to it. It deliberately does not know which page.

use std::io::Write;

use fantoccini::Client;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::support::{Answer, connect, head};
use crate::webdriver::{self, Driver};

pub struct Page {
    client: Client,
    /// The URL of its session at chromedriver.
    session: String,
}

impl Page {
    /// An empty page, in a browser of its own that is started with these arguments, too.
    pub async fn start(driver: &Driver, name: &str, arguments: &[&str]) -> Self {
        let client = driver.browser(name, arguments).await;
        let session = client.session_id().await.unwrap().unwrap();
        Self { client, session: format!("{}/session/{session}", driver.url) }
    }

    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// What a script returns, or its promise resolves to.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        webdriver::run(&self.client, script, arguments).await
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
}
