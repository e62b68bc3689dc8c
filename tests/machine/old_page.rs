//! The check page of 0.1.0 in a browser that has it open while the package is upgraded to this version.
//!
//! Owns what that page hears and shows. It deliberately does not know how the page is made: it reads what a person would,
//! and the close codes that the page is told.

use serde_json::{Value, json};

use crate::booted::Machine;
use crate::published::Published;
use crate::repository::installed;
use crate::webdriver::{Driver, run};

/// Waits until the page is connected; then notes each close code that it reads.
const CONNECTED: &str = r#"
    const [state, headline] = ["link-state", "headline"].map(id => document.getElementById(id));
    return (async () => {
        while (!state.innerText.includes("connected since") || !headline.innerText)
            await new Promise(done => setTimeout(done, 50));
        const code = Object.getOwnPropertyDescriptor(CloseEvent.prototype, "code").get;
        window.codes = [];
        Object.defineProperty(CloseEvent.prototype, "code", {
            get() { codes.push(code.call(this)); return code.call(this); },
        });
        return state.innerText;
    })();"#;

/// Waits until it was told to leave and is connected again.
const CONNECTED_AGAIN: &str = r#"
    const state = document.getElementById("link-state");
    return (async () => {
        while (!codes.includes(1001) || !state.innerText.includes("connected since"))
            await new Promise(done => setTimeout(done, 50));
        return codes;
    })();"#;

pub fn an_open_page_of_0_1_0_connects_again(suite: &str) {
    let machine = Machine::boot(suite, &[]);
    let published = Published::with_0_1_0(&machine, suite);
    assert_eq!(installed(&machine), "0.1.0");
    // The runtime's thread is in the machine's network, as the thread that makes it is.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let driver = Driver::start();
    runtime.block_on(async {
        let page = driver.browser("visitor", &[]).await;
        page.goto("http://localhost:3000/check").await.unwrap();
        let state = run(&page, CONNECTED, vec![]).await;
        println!("{suite}: {state}");
        let version = published.publish(&machine, "deb");
        machine.apt("upgrade");
        assert_eq!(installed(&machine), version);
        let codes = run(&page, CONNECTED_AGAIN, vec![]).await;
        // The test call of the page has ended its own connections, if it was not over yet.
        let told = codes.as_array().unwrap().iter().filter(|code| **code != json!(1000));
        assert_eq!(told.collect::<Vec<_>>(), [&Value::from(1001)], "{codes}");
        machine.wait_for_log("WebSocket client connected: ");
        page.close().await.unwrap();
    });
}
