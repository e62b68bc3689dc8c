//! The WebRTC signaling server of the OpenStudio broadcast studio.
//!
//! The modules in layers; each imports from the layers before it only.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`protocol`] ids, codes, what the server says · [`message`] what a client says · [`frame`] RFC 6455 frames · [`events`] what can be logged · [`config`] settings · [`shutdown`] how the process ends |
//! | 1 | [`journal`] the log's sinks · [`systemd`] notification, passed sockets, watchdog · [`room`] one room's rules · [`outbox`] what others say to a client |
//! | 2 | [`hub`] clients, peers, rooms |
//! | 3 | [`state`] what handlers get |
//! | 4 | [`peer`] what a client may say, and what comes of it · [`session`] one client's connection |
//! | 5 | [`upgrade`] the WebSocket handshake · [`routes`] the filter graph |
//! | 6 | [`server`] accept loop, timeouts, drain · [`check`] the client behind `check` |
//! | 7 | this file: [`serve`] · `main.rs`: arguments and exit codes |
//!
//! This file owns how the parts are put together. It deliberately does not end the process.

pub mod check;
pub mod config;
pub mod events;
pub mod frame;
pub mod hub;
pub mod journal;
pub mod message;
pub mod outbox;
pub mod peer;
pub mod protocol;
pub mod room;
pub mod routes;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod state;
pub mod systemd;
pub mod upgrade;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Invalid, Settings, Source};
use crate::events::Event;
use crate::hub::Hub;
use crate::journal::Journal;
use crate::server::{Outcome, accept, clients_for, drain, prepare, raise_file_limit, status};
use crate::shutdown::{Phase, Shutdown};
use crate::state::State;
use crate::systemd::{Notifier, Probe, Watchdog};

/// How often `systemctl status` hears of a new number of clients, at most.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// What [`serve`] runs on.
#[derive(Debug)]
pub struct Service {
    /// The settings to start with.
    pub config: Config,
    /// Their texts, for a reload to compare with.
    pub settings: Settings,
    /// Where a reload reads them again.
    pub source: Source,
    /// The sockets, and who made them.
    pub listeners: Vec<StdListener>,
    /// Whether systemd passed the sockets.
    pub passed: bool,
    /// Where events go.
    pub journal: Journal,
    /// How it ends.
    pub shutdown: Shutdown,
}

/// Serves until a signal or a failure, then drains.
///
/// # Errors
///
/// When the system gives no signal handler, no thread, or does not take the sockets.
pub async fn serve(service: Service) -> io::Result<Outcome> {
    let Service { config, settings, source, listeners, passed, journal, shutdown } = service;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let file_limit = raise_file_limit();
    let carries = clients_for(file_limit);
    let limit = config.max_connections.unwrap_or(carries);
    if limit > carries {
        journal.log(Event::LimitTooHigh { limit, carries });
    }
    let state = Arc::new(State {
        config,
        hub: Hub::new(limit),
        journal: journal.clone(),
        shutdown: shutdown.clone(),
        started: Instant::now(),
    });
    let notifier = Notifier::new(journal.clone());

    // The service's own tasks; those of clients are in the shutdown's tracker, which a drain waits for.
    let tasks = TaskTracker::new();
    let mut watchdog = Watchdog::default();
    let mut address = None;
    for listener in listeners {
        let listener = prepare(listener)?;
        let local = listener.local_addr()?;
        address.get_or_insert(local);
        announce(&journal, &state.config, local, passed);
        let probe = watchdog.watch("the accept loop");
        tasks.spawn(accept(listener, Arc::clone(&state), probe, file_limit));
    }
    tasks.spawn(pulse(watchdog.watch("the runtime"), shutdown.clone(), || ()));
    let hub = state.hub.clone();
    let touch = move || {
        hub.clients();
    };
    tasks.spawn(pulse(watchdog.watch("session bookkeeping"), shutdown.clone(), touch));
    let watching = watchdog.start(journal.clone())?;

    let base = authority(address.ok_or_else(|| io::Error::other("no socket to listen on"))?);
    journal.log(Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        url: format!("ws://{base}/"),
        health_url: format!("http://{base}/health"),
        ready_url: format!("http://{base}/ready"),
    });
    notifier.ready(&status("Serving", 0));
    tasks.spawn(keep_status(Arc::clone(&state), notifier.clone()));

    loop {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                reload(&source, &settings, &state, &notifier);
                continue;
            }
            () = shutdown.reached(Phase::Draining) => break,
        };
        journal.log(Event::Signal { signal });
        break;
    }
    shutdown.enter(Phase::Draining);
    notifier.stopping(&status("Draining", state.hub.clients()));
    let again = async {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        journal.log(Event::Signal { signal });
        shutdown.enter(Phase::Cut);
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = drain(&state, &notifier) => outcome,
        () = again => unreachable!("it waits for ever"),
    };
    shutdown.enter(Phase::Cut);
    tasks.close();
    tasks.wait().await;
    if let Some(watching) = watching {
        watching.finish();
    }
    Ok(outcome)
}

/// Logs where a socket listens, and a setting that it makes void.
fn announce(journal: &Journal, config: &Config, address: SocketAddr, passed: bool) {
    let source = if passed { "socket passed by systemd" } else { "bound by this process" };
    journal.log(Event::Listening { address, source });
    if let (true, Some(setting)) = (passed, &config.listen_setting) {
        let setting = setting.clone();
        journal.log(Event::PortIgnored { setting, address });
    }
}

/// How somebody on this machine names an address: `localhost` where it listens on all of them.
fn authority(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}

/// Answers the watchdog whenever it asks, after `touch`, until the process closes.
async fn pulse(mut probe: Probe, shutdown: Shutdown, touch: impl Fn()) {
    tokio::select! {
        never = probe.answer_always(touch) => match never {},
        () = shutdown.reached(Phase::Closing) => {}
    }
}

/// Keeps the line of `systemctl status` up to date while the service serves.
async fn keep_status(state: Arc<State>, notifier: Notifier) {
    let follow = async {
        let mut clients = state.hub.follow();
        while clients.changed().await.is_ok() {
            let clients = *clients.borrow_and_update();
            notifier.status(&status("Serving", clients));
            sleep(STATUS_PAUSE).await;
        }
    };
    // From the drain on, the status is the drain's.
    tokio::select! {
        biased;
        () = state.shutdown.reached(Phase::Draining) => {}
        () = follow => {}
    }
}

/// What SIGHUP does: reads the settings again and takes the log level from them. Settings that can't be
/// change nothing.
fn reload(source: &Source, started: &Settings, state: &State, notifier: &Notifier) {
    notifier.reloading();
    match source.load() {
        Ok((config, settings)) => {
            state.journal.set_level(config.log_level);
            warn_unknown(&state.journal, &settings);
            for setting in settings.changed_since(started) {
                state.journal.log(Event::NeedsRestart { setting });
            }
            state.journal.log(Event::Reloaded {
                log_level: config.log_level,
                origin: settings.origin("LOG_LEVEL").to_string(),
            });
        }
        Err(errors) => {
            let reason = join(&errors);
            state.journal.log(Event::ReloadFailed { reason });
        }
    }
    notifier.ready(&status("Serving", state.hub.clients()));
}

/// Warns of names in the settings file that mean nothing.
pub fn warn_unknown(journal: &Journal, settings: &Settings) {
    for (setting, origin) in &settings.unknown {
        journal.log(Event::UnknownSetting {
            setting: protocol::quoted(setting),
            origin: origin.to_string(),
        });
    }
}

fn join(errors: &[Invalid]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

/// Makes any panic one critical event and the beginning of the end. What panics after the first is a
/// consequence, and not logged.
pub fn install_panic_hook(journal: Journal, shutdown: Shutdown) {
    std::panic::set_hook(Box::new(move |panic| {
        if shutdown.has_failed() {
            return;
        }
        let location =
            panic.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
        journal.log(Event::Panicked { reason: reason(panic), location });
        shutdown.fail();
    }));
}

fn reason(panic: &PanicHookInfo) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").replace('\n', " ")
}
