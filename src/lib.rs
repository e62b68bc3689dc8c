//! The WebRTC signaling server of the OpenStudio broadcast studio.
//!
//! The modules in layers; each imports from the layers before it only.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`protocol`] ids, codes, what the server says · [`message`] what a client says · [`frame`] RFC 6455 frames · [`events`] what can be logged · [`settings`] what can be set, and who set it · [`config`] what that means · [`command`] the command line · [`shutdown`] how the process ends · [`address`] which address a client has · [`report`] what `check` prints · [`target`] which server it is about · [`roundtrip`] how long pings take · [`flood`] what is logged once · [`progress`] what moves on a connection |
//! | 1 | [`journal`] the log's sinks · [`systemd`] notification, passed sockets, watchdog · [`metrics`] counters and their text · [`station`] the station manifest · [`invite`] tokens · [`keyfile`] the secret behind them · [`ice`] TURN credentials · [`seats`] how many clients there are · [`newcomers`] connections that are none yet · [`turns`] whose turn it is · [`tls`] the certificate in force · [`socket`] TCP with or without TLS · [`room`] one room's rules · [`outbox`] what others say to a client · [`trust`] TLS and certificates as `check` sees them, and when they end · [`websocket`] its end of a WebSocket |
//! | 2 | [`hub`] peers and rooms |
//! | 3 | [`state`] what handlers get |
//! | 4 | [`member`] what a registered client does among others · [`peer`] who a client is, and what it may say · [`conversation`] the seam between a connection and what is said on it · [`signaling`] messages and refusals · [`session`] one client's connection |
//! | 5 | [`upgrade`] the WebSocket handshake · [`web`] the web studio's files · [`page`] the check page · [`routes`] the filter graph · [`client`] the way to a server, for `check` |
//! | 6 | [`connection`] TLS, HTTP, timeouts · [`server`] accept loop, drain · [`call`] two peers that meet · [`watch`] one ping after another · [`check`] the client behind `check` |
//! | 7 | this file: [`serve`] · `main.rs`: arguments and exit codes |
//!
//! This file owns how the parts are put together. It deliberately does not end the process.

pub mod address;
pub mod call;
pub mod check;
pub mod client;
pub mod command;
pub mod config;
pub mod connection;
pub mod conversation;
pub mod events;
pub mod flood;
pub mod frame;
pub mod hub;
pub mod ice;
pub mod invite;
pub mod journal;
pub mod keyfile;
pub mod member;
pub mod message;
pub mod metrics;
pub mod newcomers;
pub mod outbox;
pub mod page;
pub mod peer;
pub mod progress;
pub mod protocol;
pub mod report;
pub mod room;
pub mod roundtrip;
pub mod routes;
pub mod seats;
pub mod server;
pub mod session;
pub mod settings;
pub mod shutdown;
pub mod signaling;
pub mod socket;
pub mod state;
pub mod station;
pub mod systemd;
pub mod target;
pub mod tls;
pub mod trust;
pub mod turns;
pub mod upgrade;
pub mod watch;
pub mod web;
pub mod websocket;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::config::{Config, Secret, Source};
use crate::conversation::Conversation;
use crate::events::Event;
use crate::hub::Hub;
use crate::ice::wants_credentials;
use crate::invite::Tokens;
use crate::journal::Journal;
use crate::keyfile::Kept;
use crate::metrics::Metrics;
use crate::protocol::quoted;
use crate::seats::Seats;
use crate::server::{
    Admission, Outcome, accept, clients_for, drain, prepare, raise_file_limit, status,
};
use crate::settings::{Invalid, Settings};
use crate::shutdown::{Phase, Shutdown};
use crate::state::State;
use crate::station::{Manifest, Place, Station};
use crate::systemd::{Notifier, Probe, Watchdog};
use crate::tls::Tls;
use crate::trust::{Certificate, Untimely};
use crate::turns::Turns;

/// How often `systemctl status` hears of a new number of clients, at most.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// A secret for tokens with fewer bytes than its hash has can be guessed (RFC 7518 section 3.2).
const SECRET_BYTES: usize = 32;

/// What helps where a directory is there for everybody but the service.
const HIDDEN_PLACES: &str = "; under systemd the service sees no /home, no /root and a /tmp of its own: /srv is a good place";

/// What [`serve`] runs on.
#[derive(Debug)]
pub struct Service {
    /// The settings to start with.
    pub config: Config,
    /// Their texts, for a reload to compare with.
    pub settings: Settings,
    /// Where a reload reads them again.
    pub source: Source,
    /// What [`surroundings`] found.
    pub surroundings: Surroundings,
    /// Where a secret can be kept (systemd.exec(5), `StateDirectory=`).
    pub state_directory: Option<PathBuf>,
    /// The sockets, and who made them.
    pub listeners: Vec<StdListener>,
    /// Whether systemd passed the sockets.
    pub passed: bool,
    /// Where events go.
    pub journal: Journal,
    /// How it ends.
    pub shutdown: Shutdown,
}

/// The files that settings lead to, read and checked.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What the station manifest says.
    pub station: Station,
    /// The real path of the web studio's directory.
    pub web_root: Option<PathBuf>,
    /// The certificate for TLS without a proxy.
    pub certified: Option<Arc<CertifiedKey>>,
}

/// Reads what the settings lead to.
///
/// # Errors
///
/// One line for each thing that is wrong.
pub fn surroundings(config: &Config, settings: &Settings) -> Result<Surroundings, Vec<String>> {
    let station = station::load(config.station_manifest.as_deref());
    let web_root = config.web_root.as_deref().map(|path| {
        web::root(path).map_err(|error| {
            let origin = settings.origin("WEB_ROOT");
            let fix = "must be a directory that the user of the service can read";
            let hidden = if is_hidden(path) { HIDDEN_PLACES } else { "" };
            let path = path.display();
            format!(r#"Invalid setting WEB_ROOT="{path}" (from {origin}): {error}; {fix}{hidden}"#)
        })
    });
    let certified = config.tls.as_ref().map(|files| tls::load(files, settings));
    match (station, web_root.transpose(), certified.transpose()) {
        (Ok(station), Ok(web_root), Ok(certified)) => {
            Ok(Surroundings { station, web_root, certified })
        }
        (station, web_root, certified) => {
            let others = web_root.err().into_iter().chain(certified.err());
            Err(station.err().into_iter().flatten().chain(others).collect())
        }
    }
}

/// Whether a path is one that the unit's `ProtectHome=` and `PrivateTmp=` hide (systemd.exec(5)).
fn is_hidden(path: &Path) -> bool {
    ["/home", "/root", "/run/user", "/tmp", "/var/tmp"].iter().any(|place| path.starts_with(place))
}

/// Serves until a signal or a failure, then drains. What is said on the WebSockets is `C`'s business.
///
/// # Errors
///
/// When the system gives no signal handler, no thread, or does not take the sockets.
pub async fn serve<C: Conversation>(service: Service) -> io::Result<Outcome> {
    let Service { config, settings, source, listeners, passed, journal, shutdown, .. } = service;
    let Surroundings { station, web_root, certified } = service.surroundings;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let file_limit = raise_file_limit();
    let carries = clients_for(file_limit);
    let limit = config.max_connections.unwrap_or(carries);
    if limit > carries {
        journal.log(Event::LimitTooHigh { limit, carries });
    }
    log_station(&journal, &station, config.turn_secret.as_ref());
    log_tls(&journal, &config, certified.as_deref());
    if let Some(index) = web_root.as_deref().and_then(web::missing_index) {
        journal.log(Event::WebRootEmpty { path: index.display().to_string() });
    }
    let tokens = Tokens::new(&signing_secret(
        &config,
        &settings,
        service.state_directory.as_deref(),
        &journal,
    ));
    let metrics = Arc::new(Metrics::default());
    let check_page = config.check_page;
    let state = Arc::new(State {
        seats: Seats::new(limit, config.max_connections_per_ip),
        hub: Hub::new(config.room_ttl, Arc::clone(&metrics)),
        config,
        manifest: Manifest::new(station),
        web_root,
        tls: certified.map(Tls::new),
        tokens,
        metrics,
        turns: Turns::default(),
        journal: journal.clone(),
        shutdown: shutdown.clone(),
        started: std::time::Instant::now(),
    });
    let notifier = Notifier::new(journal.clone());

    // The service's own tasks; those of clients are in the shutdown's tracker, which a drain waits for.
    let tasks = TaskTracker::new();
    let mut watchdog = Watchdog::default();
    let mut address = None;
    let admission = Arc::new(Admission::new(file_limit));
    for listener in listeners {
        let listener = prepare(listener)?;
        let local = listener.local_addr()?;
        address.get_or_insert(local);
        announce(&journal, &state.config, local, passed);
        let probe = watchdog.watch("the accept loop");
        tasks.spawn(accept::<C>(listener, Arc::clone(&state), probe, Arc::clone(&admission)));
    }
    tasks.spawn(pulse(watchdog.watch("the runtime"), shutdown.clone(), || ()));
    let hub = state.hub.clone();
    let touch = move || {
        hub.count();
    };
    tasks.spawn(pulse(watchdog.watch("session bookkeeping"), shutdown.clone(), touch));
    let watching = watchdog.start(journal.clone())?;

    let base = authority(address.ok_or_else(|| io::Error::other("no socket to listen on"))?);
    let (ws, http) = if state.tls.is_some() { ("wss", "https") } else { ("ws", "http") };
    journal.log(Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        url: format!("{ws}://{base}/"),
        health_url: format!("{http}://{base}/health"),
        ready_url: format!("{http}://{base}/ready"),
        check_url: if check_page { format!("{http}://{base}/check") } else { "off".to_owned() },
    });
    notifier.ready(&status("Serving", 0));
    tasks.spawn(keep_status(Arc::clone(&state), notifier.clone()));
    tasks.spawn(expire_rooms(Arc::clone(&state)));

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
    notifier.stopping(&status("Draining", state.seats.taken()));
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
        let mut clients = state.seats.follow();
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

/// Ends rooms when they have reached their age.
async fn expire_rooms(state: Arc<State>) {
    let Some(ttl) = state.config.room_ttl else {
        return;
    };
    loop {
        let (old, next) = state.hub.expire(Instant::now());
        for room_id in old {
            state.journal.log(Event::RoomExpired { room_id, ttl_ms: ttl.as_millis() });
        }
        // Without a room there is none to wait for.
        let next = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = state.shutdown.reached(Phase::Draining) => return,
            () = state.hub.room_made() => {}
            () = next => {}
        }
    }
}

/// What signs tokens: the secret that somebody set, or one that is made and kept, with a line that says so.
fn signing_secret(
    config: &Config,
    settings: &Settings,
    state_directory: Option<&Path>,
    journal: &Journal,
) -> Secret {
    if let Some(secret) = &config.jwt_secret {
        let bytes = secret.bytes().len();
        if bytes < SECRET_BYTES {
            let origin = settings.origin("JWT_SECRET").to_string();
            journal.log(Event::SecretShort { bytes, origin });
        }
        return secret.clone();
    }
    let (secret, kept) = keyfile::secret(state_directory);
    match kept {
        Kept::Found => {}
        Kept::Exposed(path) => {
            journal.log(Event::SecretExposed { path: path.display().to_string() });
        }
        Kept::Made(path) => journal.log(Event::SecretMade { path: path.display().to_string() }),
        Kept::Not(reason) => journal.log(Event::SecretRandom { reason }),
    }
    secret
}

fn log_station(journal: &Journal, station: &Station, turn_secret: Option<&Secret>) {
    let Station { station_id, name, place, ice_value, .. } = station;
    journal.log(match place {
        Place::Sample(path) => Event::StationSample { path: path.display().to_string() },
        Place::File(path) => Event::StationLoaded {
            station_id: quoted(station_id),
            name: quoted(name),
            path: path.display().to_string(),
        },
    });
    if let (Place::File(path), None, true) = (place, turn_secret, wants_credentials(ice_value)) {
        journal.log(Event::TurnWithoutSecret { path: path.display().to_string() });
    }
}

/// Logs which certificate is in force, and when browsers refuse it for its time, or will soon.
fn log_tls(journal: &Journal, config: &Config, certified: Option<&CertifiedKey>) {
    let (Some(files), Some(certified)) = (&config.tls, certified) else {
        return;
    };
    // What has been loaded has a first certificate, and that could be read.
    let Some(certificate) = certified.cert.first().and_then(Certificate::read) else {
        return;
    };
    let cert = files.cert.display().to_string();
    let until = certificate.until();
    let untimely = certificate.untimely();
    journal.log(Event::TlsLoaded { cert: cert.clone(), names: certificate.names, until });
    if let Some(Untimely { days, problem, fix }) = untimely {
        journal.log(Event::CertificateExpires { cert, days, problem, fix });
    }
}

/// What SIGHUP does: reads the settings and their files again, and takes the log level, the station and the
/// certificate from them. What can't be changes nothing.
fn reload(source: &Source, started: &Settings, state: &State, notifier: &Notifier) {
    notifier.reloading();
    let loaded = source.load().map_err(|errors| join(&errors));
    let loaded = loaded.and_then(|(config, settings)| {
        let found = surroundings(&config, &settings).map_err(|errors| errors.join("; "))?;
        Ok((config, settings, found))
    });
    match loaded {
        Ok((config, settings, Surroundings { station, certified, .. })) => {
            state.journal.set_level(config.log_level);
            log_station(&state.journal, &station, state.config.turn_secret.as_ref());
            let station_id = quoted(&station.station_id);
            state.manifest.replace(station);
            warn_unknown(&state.journal, &settings);
            let switched = match (&state.tls, certified) {
                (Some(tls), Some(certified)) => {
                    tls.replace(Arc::clone(&certified));
                    log_tls(&state.journal, &config, Some(&certified));
                    None
                }
                (None, None) => None,
                // Those who are connected can't change over, and those to come would meet another protocol.
                (Some(_), None) => Some("TLS_CERT=".to_owned()),
                (None, Some(_)) => Some(format!("TLS_CERT={}", settings.get("TLS_CERT").1)),
            };
            for setting in settings.changed_since(started).into_iter().chain(switched) {
                state.journal.log(Event::NeedsRestart { setting });
            }
            state.journal.log(Event::Reloaded {
                log_level: config.log_level,
                origin: settings.origin("LOG_LEVEL").to_string(),
                station_id,
            });
        }
        Err(reason) => state.journal.log(Event::ReloadFailed { reason }),
    }
    notifier.ready(&status("Serving", state.seats.taken()));
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
