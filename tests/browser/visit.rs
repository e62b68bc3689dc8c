//! A visit to the check page: the browser, and what a person would see and do there. It deliberately does not
//! know what the page should say.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::page::Page;
use crate::webdriver::Driver;

/// Longer than the page itself waits for anything, and shorter than chromedriver does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where pictures go; without it none are taken.
const PICTURES: &str = "CHECK_PAGE_PICTURES";

/// Notes whatever the policy blocks, and with what secrets the page connects, from before its own script on.
const WATCH: &str = r#"
    window.secrets = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(options) {
            super(options);
            secrets.push(...options.iceServers.flatMap(({ username, credential }) => [username, credential]));
        }
    };
    window.blocked = [];
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
        window.blocked.push(`${violatedDirective} ${blockedURI}`));
"#;

/// The directory for pictures, where somebody asked for some.
pub fn pictures() -> Option<PathBuf> {
    std::env::var_os(PICTURES).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The check page in a browser of its own.
pub struct Visit(pub Page);

impl Visit {
    pub async fn to(driver: &Driver, url: &str, arguments: &[&str]) -> Self {
        let page = Page::start(driver, "visitor", arguments).await;
        page.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH }));
        let visit = Self(page);
        visit.look(1280, "light").await;
        visit.0.goto(url).await;
        visit
    }

    /// Waits until an element has this text in it: all of its text.
    pub async fn wait_for(&self, id: &str, text: &str) -> String {
        let script = "
            const [id, text, patience] = arguments;
            return (async () => {
                const start = performance.now();
                for (;;) {
                    const now = document.getElementById(id).innerText;
                    if (now.includes(text)) return now;
                    if (performance.now() - start > patience) return null;
                    await new Promise((resolve) => setTimeout(resolve, 50));
                }
            })()";
        let patience = json!(PATIENCE.as_millis() as u64);
        let found = self.0.run(script, vec![json!(id), json!(text), patience]).await;
        match found.as_str() {
            Some(found) => found.to_owned(),
            None => panic!("no {text:?} in #{id}: {}", self.text("verdict").await),
        }
    }

    /// What is to be read in an element.
    pub async fn text(&self, id: &str) -> String {
        let script = "return document.getElementById(arguments[0]).innerText";
        self.0.run(script, vec![json!(id)]).await.as_str().unwrap().to_owned()
    }

    /// The headline, once everything was tried, and everything below it.
    pub async fn verdict(&self) -> String {
        self.wait_for("ice-state", " work").await;
        self.text("verdict").await
    }

    /// Goes on with the Tab key: the element that has the focus then, by id or name.
    pub async fn tab(&self) -> String {
        self.0.press(Key::Tab).await;
        let script = "const { id, localName } = document.activeElement; return id || localName";
        self.0.run(script, Vec::new()).await.as_str().unwrap().to_owned()
    }

    /// What somebody gets who copies the report by a key.
    pub async fn report(&self) -> String {
        let script = r#"
            window.copied = null;
            navigator.clipboard.writeText = async (text) => { window.copied = text; };
            document.getElementById("copy").focus();"#;
        self.0.run(script, Vec::new()).await;
        self.0.press(Key::Enter).await;
        self.wait_for("copied", "Copied.").await;
        self.0.run("return window.copied", Vec::new()).await.as_str().unwrap().to_owned()
    }

    /// The TURN usernames and credentials that the page has used so far.
    pub async fn secrets(&self) -> Vec<String> {
        let secrets = self.0.run("return secrets.filter(Boolean)", Vec::new()).await;
        serde_json::from_value(secrets).unwrap()
    }

    /// What the policy blocked so far.
    pub async fn blocked(&self) -> Value {
        self.0.run("return window.blocked", Vec::new()).await
    }

    /// Shows the page as wide as this, in a light or dark scheme. As high as it is: nothing is to be scrolled.
    pub async fn look(&self, width: u32, scheme: &str) {
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.0.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme }));
        for height in [800, u64::MAX] {
            let all = self.0.run("return document.documentElement?.scrollHeight ?? 0", Vec::new());
            let height = height.min(all.await.as_u64().unwrap().max(800));
            let size = json!({
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
            });
            self.0.devtools("Emulation.setDeviceMetricsOverride", size);
        }
    }

    /// How far the page is wider than what shows it, in CSS pixels.
    pub async fn overflow(&self) -> i64 {
        let script = "const { scrollWidth, clientWidth } = document.documentElement; return scrollWidth - clientWidth";
        self.0.run(script, Vec::new()).await.as_i64().unwrap()
    }

    /// Takes a picture, where somebody asked for pictures.
    pub async fn picture(&self, name: &str, width: u32, scheme: &str) {
        self.look(width, scheme).await;
        if let Some(directory) = pictures() {
            fs::write(directory.join(name), self.0.picture().await).unwrap();
        }
    }

    /// What axe-core finds wrong (WCAG 2.2 A and AA, and its best practices), in both schemes.
    pub async fn accessibility(&self) -> Vec<String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/axe/node_modules/axe-core/axe.min.js");
        let source = fs::read_to_string(source).expect("tests/run installs it with npm");
        self.0.run(&source, Vec::new()).await;
        let mut found = Vec::new();
        for scheme in ["light", "dark"] {
            self.look(1280, scheme).await;
            let script =
                "return axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) =>
                nodes.map(({ target, failureSummary }) => `${id} ${target}: ${failureSummary}`)))";
            let violations = self.0.run(script, Vec::new()).await;
            let violations = violations.as_array().unwrap().iter();
            found.extend(violations.map(|violation| format!("{scheme}: {violation}")));
        }
        found
    }
}
