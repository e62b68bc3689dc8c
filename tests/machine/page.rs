//! A page of the call test in a browser of its own. It deliberately does not know what the page can do.

use fantoccini::Client;
use serde_json::{Value, json};

use crate::webdriver::{Driver, run};

pub struct Page(Client);

impl Page {
    pub async fn open(driver: &Driver, name: &str, url: &str) -> Self {
        let page = driver.browser(name, &[]).await;
        page.goto(url).await.unwrap();
        Self(page)
    }

    /// What a function of the page returns, or its promise resolves to.
    pub async fn call(&self, function: &str, arguments: &[&str]) -> Value {
        let arguments = arguments.iter().map(|argument| json!(argument)).collect();
        run(&self.0, &format!("return {function}(...arguments)"), arguments).await
    }

    pub async fn close(self) {
        self.0.close().await.unwrap();
    }
}
