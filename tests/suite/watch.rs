//! `check --watch`: pings, what is lost, and the summary.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::check::{check, ever_longer};
use crate::forwarder::Forwarder;
use crate::process::binary;
use crate::support::{Log, PATIENCE, Server, wait_until};

/// A watch under way, and what it says.
struct Watching {
    child: Child,
    said: Log,
}

impl Watching {
    fn start(port: u16) -> Self {
        Self::start_with(port, &format!("--timeout={}", PATIENCE.as_secs()))
    }

    fn start_with(port: u16, timeout: &str) -> Self {
        let mut command = binary();
        command.args(["check", &format!("localhost:{port}"), "--watch", "--interval=0.2"]);
        let mut child = command.arg(timeout).stdout(Stdio::piped()).spawn().unwrap();
        let said = Log::follow(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process.
fn exit_code(child: &mut Child) -> Option<i32> {
    wait_until(|| child.try_wait().unwrap().is_some(), || "it does not end".into());
    child.wait().unwrap().code()
}

#[test]
fn a_watch_ends_after_its_count_with_a_summary() {
    let server = Server::start(&[]);
    let url = format!("localhost:{}", server.port);
    let more = ["--watch", "--count=3", "--interval=0.2"];
    let (code, stdout) = check(&url, &more);
    assert_eq!(code, Some(0), "{stdout}");
    let lines: Vec<_> = stdout.lines().skip(4).collect();
    for (number, line) in (1..=3).zip(&lines) {
        assert!(line.starts_with(&format!("✓ ping       pong {number}, in ")), "{stdout}");
    }
    let seconds = lines[3].strip_prefix("3 pings, 3 pongs, 0 % lost, in ");
    let seconds = seconds.and_then(|rest| rest.strip_suffix(" s")?.parse::<f64>().ok());
    assert!(seconds.is_some_and(|seconds| seconds >= 0.4), "two intervals: {stdout}");
    let (names, values) = lines[4].split_once(" = ").unwrap();
    let values = values.strip_suffix(" ms").unwrap().split('/');
    let values: Vec<f64> = values.map(|value| value.parse().unwrap()).collect();
    assert_eq!((names, values.len(), lines.len()), ("min/avg/p99/max/mdev", 5, 5));
    assert!(values[0] <= values[1] && values[1] <= values[2] && values[2] <= values[3], "{stdout}");

    let (code, json) = check(&url, &[&more[..], &["--json"]].concat());
    assert_eq!(code, Some(0), "{json}");
    let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(json.lines().count(), 4 + 3 + 1);
    for (key, value) in [("sent", 3), ("received", 3), ("lost", 0)] {
        assert_eq!(last[key], value, "{last}");
    }
    assert!(last["step"] == "summary" && last["ok"] == true && last["lost_percent"] == 0.0);
    for key in ["min_ms", "avg_ms", "p99_ms", "max_ms", "mdev_ms", "seconds"] {
        assert!(last[key].is_number(), "{key} in {last}");
    }
}

#[test]
fn a_watch_outlives_the_server_and_counts_what_is_lost() {
    let mut first = Server::start(&[]);
    let forwarder = Forwarder::plain(first.port);
    let mut watching = Watching::start(forwarder.port);
    watching.said.wait_for("✓ ping       pong 2");
    assert_eq!(first.stop(), Some(0), "a watch leaves a server that stops");
    let line = watching.said.wait_for(" lost: the server closed with code 1001");
    assert!(
        line.starts_with("✗ ping       ") && line.contains("\"Server is stopping\"; "),
        "{line}"
    );
    // With nobody behind the forwarder, a connection ends as it begins.
    watching.said.wait_for(" lost: the connection broke off");
    let second = Server::start(&[]);
    forwarder.lead_to(second.port);
    watching.said.wait_for("✓ connect    connected again, in ");
    second.log.wait_for("Received message: ping");
    watching.signal(Signal::INT);
    let summary = watching.said.wait_for(" % lost, in ");
    assert_eq!(exit_code(&mut watching.child), Some(1));
    let numbers: Vec<u64> = summary.split(' ').filter_map(|word| word.parse().ok()).collect();
    let lost = watching.said.count(" lost: ") as u64;
    assert!(lost >= 2 && numbers[0] == numbers[1] + lost, "{summary}");
    second.log.wait_for("close 1000 by client");
}

#[test]
fn a_watch_names_a_handover_and_loses_nothing() {
    let server = Server::start(&[]);
    let mut watching = Watching::start(server.port);
    watching.said.wait_for("pong 2");
    server.signal(Signal::USR2);
    watching.said.wait_for("✓ handover   the server was restarted, and this connection lives on");
    let pongs = watching.said.count("pong");
    wait_until(|| watching.said.count("pong") > pongs + 2, || "it pings no more".into());
    watching.signal(Signal::INT);
    watching.said.wait_for(" 0 % lost, in ");
    assert_eq!(exit_code(&mut watching.child), Some(0));
    assert_eq!(watching.said.count("✓ handover"), 1);
    assert_eq!(watching.said.count("connected again"), 0);
}

#[test]
fn a_watch_that_loses_nothing_ends_well_by_a_signal() {
    let server = Server::start(&[]);
    for signal in [Signal::INT, Signal::TERM] {
        let mut watching = Watching::start(server.port);
        watching.said.wait_for("pong 2");
        watching.signal(signal);
        watching.said.wait_for(" pongs, 0 % lost, in ");
        assert_eq!(exit_code(&mut watching.child), Some(0));
    }
}

#[test]
fn a_pong_that_does_not_come_is_lost() {
    // A busy machine may need longer than that for a pong that does come.
    let lost = ever_longer(
        |seconds| {
            let server = Server::start(&[]);
            let mut watching = Watching::start_with(server.port, &format!("--timeout={seconds}"));
            watching.said.wait_for_any(&["pong 1", "✗ "]);
            server.signal(Signal::STOP);
            let line = watching.said.wait_for("✗ ");
            server.signal(Signal::CONT);
            watching.signal(Signal::INT);
            assert_eq!(exit_code(&mut watching.child), Some(1));
            assert!(line.contains(&format!(" within {seconds} s; ")), "{line}");
            line
        },
        |line| line.contains(" lost: no pong within "),
    );
    assert!(lost.starts_with("✗ ping       2 lost: no pong within "), "{lost}");
}

#[test]
fn a_watch_answers_the_pings_of_the_server() {
    let server = Server::start(&[("HEARTBEAT_MS", "100")]);
    let (code, stdout) =
        check(&format!("localhost:{}", server.port), &["--watch", "--count=2", "--interval=1"]);
    assert_eq!(code, Some(0), "{stdout}");
    let metrics = crate::fetch::get(server.port, "/metrics").body;
    let answered =
        metrics.lines().find(|line| line.contains("heartbeat") && line.contains("_count"));
    let answered = answered.unwrap().rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    assert!(answered > 1, "{metrics}");
}

#[test]
fn a_watch_ends_when_nobody_reads() {
    let server = Server::start(&[]);
    let mut command = binary();
    command.args(["check", &format!("localhost:{}", server.port), "--watch", "--interval=0.2"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(exit_code(&mut child), Some(0));
}

/// A watch in a terminal of its own, which script(1) gives it.
struct Terminal {
    script: Child,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn start(port: u16) -> Self {
        let patience = PATIENCE.as_secs();
        let watch = format!("check localhost:{port} --watch --interval=0.2 --timeout={patience}");
        let command = format!("exec {} {watch}", env!("CARGO_BIN_EXE_openstudio-signaling"));
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env_clear().env("SHELL", "/bin/sh");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().expect("it is in every Debian");
        let screen = script.stdout.take().unwrap();
        Self { script, screen, seen: String::new() }
    }

    /// All that was on the screen up to `text`, and what came with it.
    fn see(&mut self, text: &str) -> &str {
        while !self.seen.contains(text) {
            let wait = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&self.screen, PollFlags::IN)], Some(&wait));
            assert_ne!(ready, Ok(0), "no {text:?} in {:?}", self.seen);
            let mut buffer = [0; 4096];
            let read = self.screen.read(&mut buffer).unwrap();
            assert!(read > 0, "{:?}", self.seen);
            self.seen += &String::from_utf8_lossy(&buffer[..read]);
        }
        &self.seen
    }

    fn press_ctrl_c(&mut self) {
        self.script.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn a_terminal_has_a_live_line_and_ctrl_c() {
    let server = Server::start(&[]);
    let mut terminal = Terminal::start(server.port);
    let live = terminal.see("\r\x1b[Kpong 3 in ");
    assert_eq!(live.matches('\n').count(), 4, "one line for each step: {live:?}");
    assert!(live.contains(" ms, 0 lost; min ") && live.contains(", p99 "), "{live:?}");
    terminal.press_ctrl_c();
    let end = terminal.see("min/avg/p99/max/mdev = ");
    let summary = end.lines().find(|line| line.contains(" % lost")).unwrap();
    assert!(summary.contains(" pings, ") && summary.contains(" pongs, 0 % lost, in "), "{end:?}");
    assert_eq!(exit_code(&mut terminal.script), Some(0));
}

#[test]
fn an_outage_is_one_line_for_each_cause_on_a_terminal() {
    let mut server = Server::start(&[]);
    let forwarder = Forwarder::plain(server.port);
    let mut terminal = Terminal::start(forwarder.port);
    terminal.see("pong 1 in ");
    server.stop();
    terminal.see(" lost as before, 4 in all");
    let again = Server::start(&[]);
    forwarder.lead_to(again.port);
    let seen = terminal.see("connected again, in ");
    let causes: Vec<_> = seen.lines().filter_map(|line| line.split_once(" lost: ")).collect();
    assert!(causes.len() >= 2 && causes.windows(2).all(|two| two[0].1 != two[1].1), "{seen:?}");
    terminal.press_ctrl_c();
    terminal.see("min/avg/p99/max/mdev = ");
    assert_eq!(exit_code(&mut terminal.script), Some(1));
}
