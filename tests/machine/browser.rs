//! A page in a real Chromium.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::booted::Machine;
use crate::support::{PATIENCE, WELCOME};
use crate::webdriver::HEADLESS;

/// Chromium and its children, which end when it is dropped.
struct Chromium(Child);

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// A page in Chromium connects to the installed service, asks, and reports what it heard.
pub fn a_browser_gets_its_pong(suite: &str) {
    let machine = Machine::with_package(suite);
    let heard = hear(include_str!("page.html"));
    let lines: Vec<_> = heard.lines().collect();
    let [welcome, pong, closed] = &lines[..] else { panic!("{heard}") };
    assert_eq!(*welcome, WELCOME);
    assert!(pong.starts_with(r#"{"type":"pong","timestamp":"#), "{heard}");
    assert_eq!(*closed, "closed 1000 clean");
    machine.wait_for_log("close 1000 by client");
}

/// Serves `page` to a Chromium and returns the body of what the page posts to `/heard`.
fn hear(page: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let profile = tempfile::tempdir().unwrap();
    let chromium = Command::new("chromium")
        .args(HEADLESS)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/", listener.local_addr().unwrap()))
        // What it leaves in its temporary folder goes with the profile.
        .env("TMPDIR", profile.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let _chromium = Chromium(chromium);
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        // Chromium also opens connections that it does not use.
        while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
        if head.starts_with("POST /heard ") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            std::io::Read::read_exact(&mut reader, &mut body).unwrap();
            return String::from_utf8(body).unwrap();
        }
        let (status, body) =
            if head.starts_with("GET / ") { ("200 OK", page) } else { ("404 Not Found", "") };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
    }
    unreachable!("a listener goes on for ever")
}
