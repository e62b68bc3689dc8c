//! A server whose clock stands still until a test moves it: what it does after ten seconds is seen at once, and at no
//! other time.
//!
//! Owns a process that runs the real server, from its settings to its log, on a paused clock. It deliberately knows no
//! test. Times of day are the machine's.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use openstudio_signaling::config::cli::command;
use openstudio_signaling::config::source::Source;
use openstudio_signaling::server::drain::Outcome;
use openstudio_signaling::server::listen::bind;
use openstudio_signaling::server::panic::install_panic_hook;
use openstudio_signaling::server::serve::{Ended, Service, serve};
use openstudio_signaling::server::shutdown::Shutdown;
use openstudio_signaling::server::startup::load_files;
use openstudio_signaling::signaling::handler::Signaling;
use openstudio_signaling::telemetry::journal::Journal;
use openstudio_signaling::telemetry::level::Level;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::advance;

use crate::support::{Log, Server};

/// The clock of a server.
pub struct Clock {
    moves: ChildStdin,
    log: Log,
    /// By how much it was moved so far, in milliseconds.
    moved: u64,
}

/// Starts a server, and its clock.
pub fn start(environment: &[(&str, &str)]) -> (Server, Clock) {
    spawn(this_program().envs(environment.iter().copied()))
}

/// A command for this test program with an empty environment.
pub fn this_program() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear();
    command
}

/// Starts a server by a command for this test program.
pub fn spawn(program: &mut Command) -> (Server, Clock) {
    program.args(["--exact", "paused::server_on_a_paused_clock", "--ignored", "--nocapture"]);
    program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let log = Log::follow(child.stderr.take().unwrap());
    let moves = child.stdin.take().unwrap();
    (Server::started(child, log.clone()), Clock { moves, log, moved: 0 })
}

impl Clock {
    /// Moves the clock by so many milliseconds, once the server has done what it can without that. When this returns,
    /// it has also done what was due then.
    pub fn advance(&mut self, milliseconds: u64) {
        self.advance_to_the_end(milliseconds);
        self.log.wait_for(&format!("Clock moved by {} ms in all", self.moved));
    }

    /// The same for a time after which there may be no server, and without waiting.
    pub fn advance_to_the_end(&mut self, milliseconds: u64) {
        self.moved += milliseconds;
        writeln!(self.moves, "{milliseconds}").unwrap();
    }
}

/// A service as the environment says, on a free port.
pub fn service(journal: Journal) -> Service {
    let source = Source { flags: command().get_matches_from(["x", "--port=0"]), file: None };
    let (config, settings) = source.load().unwrap();
    journal.set_level(config.log_level);
    let shutdown = Shutdown::default();
    install_panic_hook(journal.clone(), shutdown.clone());
    let listeners = vec![bind(&config).unwrap()];
    let files = load_files(&config, &settings).unwrap();
    Service {
        config,
        settings,
        source,
        files,
        state_directory: None,
        listeners,
        passed: false,
        queue: None,
        journal,
        shutdown,
    }
}

#[test]
#[ignore = "runs as a child of other tests"]
fn server_on_a_paused_clock() {
    let (journal, writer) = Journal::start(Level::Info).unwrap();
    let service = service(journal);
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (moves, mut moved) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            moves.send(line.parse::<u64>().unwrap()).unwrap();
        }
    });
    runtime.spawn(async move {
        let mut all = 0;
        while let Some(milliseconds) = moved.recv().await {
            settle().await;
            advance(Duration::from_millis(milliseconds)).await;
            settle().await;
            all += milliseconds;
            eprintln!("Clock moved by {all} ms in all");
        }
    });
    // As long as this runs, the runtime does not move the clock by itself when it has nothing to do.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || ended.recv());
    let ended = runtime.block_on(serve::<Signaling>(service)).unwrap();
    drop(end);
    runtime.shutdown_timeout(Duration::from_secs(1));
    writer.finish(Duration::from_secs(1));
    std::process::exit(i32::from(!matches!(ended, Ended::Over(Outcome::Clean))));
}

/// Lets everything happen that can happen now: each time that this gives way, sockets and timers are looked at, and
/// whoever they wake has a turn.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}
