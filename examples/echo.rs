//! Sends every message back as it came, so that a WebSocket conformance suite can be run on the server's
//! own accept loop, handshake and connection code.
//!
//! Owns nothing but that conversation and its command line. It deliberately has no part in the shipped
//! server, which has no such route.
//!
//! ```text
//! cargo build --release --example echo
//! target/release/examples/echo --port 9001 --max-message-bytes 16777216
//! ```

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use openstudio_signaling::config::cli::command;
use openstudio_signaling::config::config::{Config, Secret};
use openstudio_signaling::config::origin::Invalid;
use openstudio_signaling::config::settings::Settings;
use openstudio_signaling::config::source::Source;
use openstudio_signaling::server::drain::Outcome;
use openstudio_signaling::server::listen::bind;
use openstudio_signaling::server::serve::{Ended, Service, serve};
use openstudio_signaling::server::shutdown::Shutdown;
use openstudio_signaling::server::startup::load_files;
use openstudio_signaling::signaling::broadcast::News;
use openstudio_signaling::signaling::conversation::{ClientInfo, Conversation, Message, Replies};
use openstudio_signaling::signaling::studio::Studio;
use openstudio_signaling::telemetry::journal::Journal;
use openstudio_signaling::telemetry::level::Level;
use tokio::runtime::Builder;
use tokio::time::Instant;

/// How long the last log lines may take.
const LOG_TIME: Duration = Duration::from_secs(1);

/// A conversation that is all echo: no welcome, no limit on how often.
struct Echo;

impl Conversation for Echo {
    fn new(_studio: Arc<Studio>, _info: ClientInfo) -> Self {
        Self
    }

    fn greet(&mut self, _replies: &mut Replies<'_>) {}

    fn hear(&mut self, message: Message<'_>, _heard: Instant, replies: &mut Replies<'_>) -> News {
        replies.send(message);
        News::default()
    }
}

fn main() -> ExitCode {
    match run(&arguments().get_matches()) {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Command {
    Command::new("echo")
        .about("Echoes WebSocket messages, for conformance suites")
        .arg(
            Arg::new("port")
                .long("port")
                .default_value("9001")
                .value_parser(value_parser!(u16))
                .help("TCP port to listen on (0: any free one, see the log)"),
        )
        .arg(
            Arg::new("max-message-bytes")
                .long("max-message-bytes")
                .default_value("16777216")
                .value_parser(value_parser!(usize))
                .help("Largest message in bytes"),
        )
}

fn run(arguments: &ArgMatches) -> Result<Outcome, String> {
    let settings = defaults()?;
    let mut config = Config::new(&settings).map_err(lines)?;
    config.port = arguments.get_one("port").copied().expect("it has a default");
    config.max_message_bytes =
        arguments.get_one("max-message-bytes").copied().expect("it has a default");
    let listener = bind(&config).map_err(|error| format!("Cannot listen: {error}"))?;
    echo(config, settings, listener, Shutdown::default())
}

/// The server's defaults: neither its environment nor its settings file is asked.
fn defaults() -> Result<Settings, String> {
    Settings::collect(&no_flags(), |_| None, None).map_err(lines)
}

fn no_flags() -> ArgMatches {
    command().get_matches_from(["echo"])
}

fn lines(errors: Vec<Invalid>) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Echoes what comes to `listener`, until a signal or `shutdown` ends it.
fn echo(
    mut config: Config,
    settings: Settings,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<Outcome, String> {
    // A suite comes from one address and takes its time.
    config.max_connections_per_ip = None;
    config.heartbeat = Duration::from_secs(3600);
    // Nothing is signed; without a secret, the log would say that one is made up.
    config.jwt_secret = Some(Secret::new("the echo signs nothing, and so has no secret"));
    let files = load_files(&config, &settings).map_err(|errors| errors.join("\n"))?;
    let (journal, writer) = Journal::start(Level::Info).map_err(|error| error.to_string())?;
    let service = Service {
        config,
        settings,
        source: Source { flags: no_flags(), file: None },
        files,
        state_directory: None,
        listeners: vec![listener],
        passed: false,
        queue: None,
        journal,
        shutdown,
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(serve::<Echo>(service));
    writer.finish(LOG_TIME);
    match outcome.map_err(|error| error.to_string())? {
        Ended::Over(outcome) => Ok(outcome),
        Ended::HandedOver(_) | Ended::Executes(..) => Err("that is for the service".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use openstudio_signaling::server::shutdown::Phase;
    use tungstenite::{Message as Said, WebSocket};

    use super::*;

    /// The largest message that the Autobahn suite sends, in bytes.
    const LARGEST: usize = 16 * 1024 * 1024;

    #[test]
    fn what_is_said_comes_back_as_it_was() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let server = std::thread::spawn({
            let (settings, shutdown) = (defaults().unwrap(), shutdown.clone());
            let mut config = Config::new(&settings).unwrap();
            config.max_message_bytes = LARGEST;
            // However long it takes, the goodbye is answered in time.
            config.shutdown_grace = Duration::from_secs(3600);
            move || echo(config, settings, listener, shutdown)
        });
        let stream = std::net::TcpStream::connect(address).unwrap();
        let mut options = tungstenite::protocol::WebSocketConfig::default();
        options.max_frame_size = Some(LARGEST);
        let url = format!("ws://{address}/");
        let (mut socket, _) =
            tungstenite::client::client_with_config(url, stream, Some(options)).unwrap();
        let mut comes_back = |message: Said| {
            socket.send(message.clone()).unwrap();
            // No welcome, and nothing between.
            assert!(socket.read().unwrap() == message);
        };
        comes_back(Said::text(""));
        comes_back(Said::text("no JSON: gr\u{fc}\u{df}e"));
        comes_back(Said::binary(vec![]));
        comes_back(Said::binary(vec![0xFF; 300]));
        // More than may wait for a client of the server, and than a client of it may say in ten seconds.
        comes_back(Said::binary(vec![0x00; LARGEST]));
        comes_back(Said::text("\u{20ac}".repeat(LARGEST / 3)));
        for _ in 0..200 {
            comes_back(Said::text("again"));
        }
        shutdown.enter(Phase::Draining);
        leave(socket);
        assert_eq!(server.join().unwrap(), Ok(Outcome::Clean));
    }

    /// Answers the server's goodbye.
    fn leave(mut socket: WebSocket<std::net::TcpStream>) {
        let Said::Close(Some(close)) = socket.read().unwrap() else {
            panic!("no goodbye");
        };
        assert_eq!(u16::from(close.code), 1001);
        while socket.read().is_ok() {}
    }
}
