//! A page of a call in a browser of its own, and the server that it comes from. It deliberately does not know how WebRTC
//! works: call.html is an app's own client, and a test only asks it what it sees.

use std::convert::Infallible;

use fantoccini::Client;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::listener;
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

/// Serves the page of a call for as long as the runtime lives: its origin.
pub async fn serve_call() -> String {
    let port = listener::each(move |stream| async move {
        let answer = service_fn(async |_| {
            let html = Response::builder().header(header::CONTENT_TYPE, "text/html");
            Ok::<_, Infallible>(html.body(include_str!("call.html").to_owned()).unwrap())
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        drop(connection.await);
    });
    // Cameras are for pages from a secure place only, and this machine itself is one.
    format!("http://localhost:{}", port.await)
}
