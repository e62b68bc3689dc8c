//! The WebRTC signaling server of the OpenStudio broadcast studio.
//!
//! The folders, lowest first; each imports from those before it only, which `tests/layers.rs` holds.
//!
//! | folder | owns | deliberately does not know |
//! |---|---|---|
//! | [`wire`] | bytes to types and back: frames, messages, ids, codes | sockets, rooms, time |
//! | [`telemetry`] | what can be logged or counted, and what of it is logged once | who asks |
//! | [`config`] | flags, environment, settings file and credentials to a valid configuration | what the settings are for |
//! | [`station`] | the manifest, tokens, TURN credentials, the made secret, the certificate | clients |
//! | [`signaling`] | peers, rooms, relays, roles, and the seam between a connection and what is said on it | frames and sockets |
//! | [`server`] | the port and the process: accept, HTTP, sessions, limits, drain, systemd | what messages mean |
//! | [`check`] | the `check` command | the server, but for its protocol |
//!
//! Owns how the parts are put together. It deliberately does not end the process.

pub mod check;
pub mod config;
pub mod server;
pub mod signaling;
pub mod station;
pub mod telemetry;
pub mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use crate::check::trust::{Certificate, Flaw, Untimely};
use crate::config::config::{Config, Reloadable, Secret, Source, TlsFiles, Unusable};
use crate::config::settings::{Invalid, Setting, Settings};
use crate::server::http::static_files;
use crate::server::limits::clients::Seats;
use crate::server::limits::fairness::Turns;
use crate::server::listen::{
    Admission, Outcome, accept, clients_for, drain, prepare, raise_file_limit, status,
};
use crate::server::shutdown::{Phase, Shutdown};
use crate::server::state::State;
use crate::server::systemd::{Notifier, Probe, Watchdog};
use crate::signaling::conversation::Conversation;
use crate::signaling::hub::{Hub, RoomLimits};
use crate::signaling::studio::Studio;
use crate::station::keyfile::Kept;
use crate::station::manifest::{Manifest, Misspelt, Place, Station};
use crate::station::tls::Tls;
use crate::station::tokens::Tokens;
use crate::station::turn_credentials::wants_credentials;
use crate::station::{keyfile, manifest, tls};
use crate::telemetry::events::{Event, Level};
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::Metrics;
use crate::wire::protocol::quoted;

/// How often `systemctl status` hears of a new number of clients, at most.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// How long a reload waits for its files.
const RELOAD_TIME: Duration = Duration::from_secs(10);

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
    /// The web studio's directory, links and all.
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
    let station = manifest::load(config.station_manifest.as_deref());
    let web_root = config.web_root.as_deref().map(|path| {
        let checked = static_files::check_root(path).map(|()| path.to_owned());
        checked.map_err(|error| {
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
    let hangup = signal(SignalKind::hangup())?;
    let file_limit = raise_file_limit();
    let carries = clients_for(file_limit);
    let limit = config.max_connections.unwrap_or(carries);
    if limit > carries {
        journal.log(Event::LimitTooHigh { limit, carries });
    }
    log_station(&journal, &station, &config, &settings);
    log_tls(&journal, config.tls.as_ref(), certified.as_deref());
    if let Some(index) = web_root.as_deref().and_then(static_files::missing_index) {
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
    let studio = Arc::new(Studio {
        hub: Hub::new(
            RoomLimits { ttl: config.room_ttl, peers: config.max_room_peers },
            Arc::clone(&metrics),
        ),
        manifest: Manifest::new(station),
        tokens,
        metrics,
        journal: journal.clone(),
        config,
    });
    let state = Arc::new(State {
        seats: Seats::new(limit, studio.config.max_connections_per_ip),
        studio,
        web_root,
        tls: certified.map(Tls::new),
        turns: Turns::default(),
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
        announce(&journal, &state.studio.config, local, passed);
        let probe = watchdog.watch("the accept loop");
        tasks.spawn(accept::<C>(listener, Arc::clone(&state), probe, Arc::clone(&admission)));
    }
    tasks.spawn(pulse(watchdog.watch("the runtime"), shutdown.clone(), || ()));
    let hub = state.studio.hub.clone();
    tasks
        .spawn(pulse(watchdog.watch("session bookkeeping"), shutdown.clone(), move || hub.touch()));
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
    let reloading =
        reload_at_hangup(hangup, source, settings, Arc::clone(&state), notifier.clone());
    tasks.spawn(reloading);

    let signal = tokio::select! {
        _ = terminate.recv() => Some("SIGTERM"),
        _ = interrupt.recv() => Some("SIGINT"),
        () = shutdown.reached(Phase::Draining) => None,
    };
    if let Some(signal) = signal {
        journal.log(Event::Signal { signal });
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
    let Some(ttl) = state.studio.config.room_ttl else {
        return;
    };
    loop {
        let (old, next) = state.studio.hub.expire(Instant::now());
        for room_id in old {
            state.studio.journal.log(Event::RoomExpired { room_id, ttl_ms: ttl.as_millis() });
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
            () = state.studio.hub.room_made() => {}
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

/// Logs which station it is, and what in its manifest does not work. The secret is the one in force.
fn log_station(journal: &Journal, station: &Station, config: &Config, settings: &Settings) {
    let Station { station_id, name, place, ice_value, .. } = station;
    journal.log(match place {
        Place::Sample(path) => Event::StationSample { path: path.display().to_string() },
        Place::File(path) => Event::StationLoaded {
            station_id: quoted(station_id),
            name: quoted(name),
            path: path.display().to_string(),
        },
    });
    let wants = wants_credentials(ice_value);
    if let (Place::File(path), None, true) = (place, &config.turn_secret, wants) {
        journal.log(Event::TurnWithoutSecret { path: path.display().to_string() });
    }
    for event in station_warnings(station, config, settings) {
        journal.log(event);
    }
}

/// What in a manifest has no effect, and what has none because of it.
fn station_warnings(station: &Station, config: &Config, settings: &Settings) -> Vec<Event> {
    let Station { place, ice_value, misspelt, .. } = station;
    let (Place::File(path) | Place::Sample(path)) = place;
    let path = path.display().to_string();
    let manifest = match place {
        Place::File(_) => path.clone(),
        Place::Sample(_) => format!("the sample (there is no {path})"),
    };
    let misspelt = misspelt.iter().map(|Misspelt { key, known }| Event::StationKeyUnknown {
        key: key.clone(),
        known: known.clone(),
        path: path.clone(),
    });
    let is_unused = config.turn_secret.is_some() && !wants_credentials(ice_value);
    let origin = settings.origin("TURN_SECRET").to_string();
    let unused = is_unused.then_some(Event::TurnSecretUnused { origin, manifest });
    misspelt.chain(unused).collect()
}

/// What `config` warns of: all that can be told from the settings and the files that they lead to. Whether a secret
/// is missing can't, because a shell is not given the credentials that the service is.
pub fn warnings(config: &Config, settings: &Settings, found: &Surroundings) -> Vec<Event> {
    let mut warnings = station_warnings(&found.station, config, settings);
    if let Some((cert, certificate)) = certificate(config.tls.as_ref(), found.certified.as_deref())
    {
        warnings.extend(certificate_warnings(cert, &certificate));
    }
    warnings
}

/// Logs which certificate is in force, and why browsers refuse it, or will soon.
fn log_tls(journal: &Journal, files: Option<&TlsFiles>, certified: Option<&CertifiedKey>) {
    let Some((cert, certificate)) = certificate(files, certified) else {
        return;
    };
    let (names, until) = (certificate.names.clone(), certificate.until());
    journal.log(Event::TlsLoaded { cert: cert.clone(), names, until });
    for event in certificate_warnings(cert, &certificate) {
        journal.log(event);
    }
}

/// Where the certificate for TLS is, and what it says.
fn certificate(
    files: Option<&TlsFiles>,
    certified: Option<&CertifiedKey>,
) -> Option<(String, Certificate)> {
    let cert = files?.cert.display().to_string();
    // What has been loaded has a first certificate, and that could be read.
    Some((cert, certified?.cert.first().and_then(Certificate::read)?))
}

/// Why browsers refuse a certificate, or will soon.
fn certificate_warnings(cert: String, certificate: &Certificate) -> Vec<Event> {
    let untimely = certificate.untimely().map(|Untimely { days, problem, fix }| {
        Event::CertificateExpires { cert: cert.clone(), days, problem, fix }
    });
    let refused = certificate.flaws.iter().map(|Flaw { problem, fix }| Event::CertificateRefused {
        cert: cert.clone(),
        problem,
        fix,
    });
    untimely.into_iter().chain(refused).collect()
}

/// Reloads at each SIGHUP, until the drain begins. Files are read on a thread of their own: a disk that hangs must not
/// keep the clients waiting.
async fn reload_at_hangup(
    mut hangup: Signal,
    source: Source,
    started: Settings,
    state: Arc<State>,
    notifier: Notifier,
) {
    let mut in_force = started.clone();
    let reload = async {
        // One that hangs is not waited for twice: its thread is still there.
        let mut hanging: Option<oneshot::Receiver<Reload>> = None;
        while hangup.recv().await.is_some() {
            notifier.reloading();
            let hangs = hanging.take_if(|read| matches!(read.try_recv(), Err(TryRecvError::Empty)));
            let mut read = match hangs {
                Some(read) => read,
                None => read_again(source.clone(), in_force.clone(), state.web_root.clone()),
            };
            match timeout(RELOAD_TIME, &mut read).await {
                Ok(Ok(reload)) => in_force = reload.apply(&started, &state),
                // Its thread panicked, and the drain has begun, or there was none to be had.
                Ok(Err(_)) => log_hanging(&state.studio.journal, "no thread could read it"),
                Err(_) => {
                    log_hanging(&state.studio.journal, "a file took more than 10 s to be read");
                    hanging = Some(read);
                }
            }
            notifier.ready(&status("Serving", state.seats.taken()));
        }
    };
    tokio::select! {
        biased;
        () = state.shutdown.reached(Phase::Draining) => {}
        () = reload => {}
    }
}

/// Reads what a reload reads, on a thread of its own: those for the web studio's files may all be waiting for a disk.
fn read_again(
    source: Source,
    before: Settings,
    web_root: Option<PathBuf>,
) -> oneshot::Receiver<Reload> {
    let (send, read) = oneshot::channel();
    let work = move || {
        // Nobody may be there to take it any more.
        let _ = send.send(Reload::read(source.settings(), before, web_root.as_deref()));
    };
    // Without a thread, the sender is dropped, and the receiver says so.
    let _ = std::thread::Builder::new().name("reload".into()).spawn(work);
    read
}

fn log_hanging(journal: &Journal, why: &str) {
    let fix =
        "look at the disks and mounts behind the settings, STATION_MANIFEST, TLS_CERT and TLS_KEY";
    let reason = format!("{why}; {fix}");
    journal.log(Event::ReloadFailed { part: "all of it", reason });
}

/// What a reload has read: each thing by itself, so that one that is wrong keeps no other out.
#[derive(Debug)]
pub struct Reload {
    /// The settings; those from before, where they could not be read.
    settings: Settings,
    /// What is wrong with the settings, one line each.
    invalid: Vec<Invalid>,
    log_level: Option<Level>,
    station: Result<Station, Vec<String>>,
    /// The files and what is in them, or `None` without TLS; an error that is empty is among `invalid` already.
    tls: Result<Option<(TlsFiles, Arc<CertifiedKey>)>, Vec<String>>,
    /// What is missing where the web studio's page should be.
    missing_index: Option<PathBuf>,
    /// Where the log level comes from: that of before where this one can't be used.
    level_origin: String,
}

impl Reload {
    /// Reads what the settings lead to, or those from `before` where they could not be read; and looks at the web
    /// studio's directory.
    pub fn read(
        settings: Result<Settings, Vec<Invalid>>,
        before: Settings,
        web_root: Option<&Path>,
    ) -> Self {
        let origin_before = before.origin("LOG_LEVEL").to_string();
        let (settings, unreadable) = match settings {
            Ok(settings) => (settings, Vec::new()),
            Err(errors) => (before, errors),
        };
        let invalid = Config::new(&settings).err().unwrap_or_default();
        let Reloadable { log_level, station_manifest, tls } = Reloadable::new(&settings);
        let station = station_manifest.map_err(|Unusable| Vec::new());
        let station = station.and_then(|path| manifest::load(path.as_deref()));
        let tls = tls.map_err(|Unusable| Vec::new()).and_then(|files| match files {
            Some(files) => match tls::load(&files, &settings) {
                Ok(certified) => Ok(Some((files, certified))),
                Err(error) => Err(vec![error]),
            },
            None => Ok(None),
        });
        let invalid = unreadable.into_iter().chain(invalid).collect();
        let level_origin = match log_level {
            Ok(_) => settings.origin("LOG_LEVEL").to_string(),
            Err(Unusable) => origin_before,
        };
        let (log_level, missing_index) =
            (log_level.ok(), web_root.and_then(static_files::missing_index));
        Self { settings, invalid, log_level, station, tls, missing_index, level_origin }
    }

    /// What is wrong, one line each.
    pub fn errors(&self) -> Vec<String> {
        let invalid = self.invalid.iter().map(ToString::to_string);
        let station = self.station.as_ref().err().into_iter().flatten().cloned();
        invalid
            .chain(station)
            .chain(self.tls.as_ref().err().into_iter().flatten().cloned())
            .collect()
    }

    /// Puts in force what is right, and says what it did with each thing. Returns the settings as they are now.
    fn apply(self, started: &Settings, state: &State) -> Settings {
        let Self { settings, invalid, log_level, station, tls, missing_index, level_origin } = self;
        let journal = &state.studio.journal;
        let failed = |part, errors: Vec<String>| {
            // Where there is none, it is among those of the settings.
            if !errors.is_empty() {
                journal.log(Event::ReloadFailed { part, reason: errors.join("; ") });
            }
        };
        failed("the settings", invalid.iter().map(ToString::to_string).collect());
        if let Some(level) = log_level {
            journal.set_level(level);
        }
        warn_unknown(journal, &settings);
        match station {
            Ok(station) => {
                log_station(journal, &station, &state.studio.config, started);
                state.studio.manifest.replace(station);
            }
            Err(errors) => failed("the station manifest", errors),
        }
        let (certificate, switched) = match (&state.tls, tls) {
            (Some(tls), Ok(Some((files, certified)))) => {
                tls.replace(Arc::clone(&certified));
                log_tls(journal, Some(&files), Some(&certified));
                ("the one in TLS_CERT", None)
            }
            (None, Ok(None)) => ("none", None),
            // Those who are connected can't change over, and those to come would meet another protocol.
            (Some(_), Ok(None)) => ("as before", Some("TLS_CERT=".to_owned())),
            (None, Ok(Some(_))) => {
                ("none", Some(format!("TLS_CERT={}", settings.get("TLS_CERT").1)))
            }
            (in_force, Err(errors)) => {
                failed("the certificate", errors);
                (if in_force.is_some() { "as before" } else { "none" }, None)
            }
        };
        // What a restart would refuse has its line already.
        let is_good = |name: &str| !invalid.iter().any(|invalid| invalid.is_about(name));
        for setting in settings.changed_since(started, is_good).into_iter().chain(switched) {
            journal.log(Event::NeedsRestart { setting });
        }
        if let Some(index) = missing_index {
            journal.log(Event::WebRootEmpty { path: index.display().to_string() });
        }
        journal.log(Event::Reloaded {
            log_level: journal.level(),
            origin: level_origin,
            station_id: quoted(&state.studio.manifest.station().station_id),
            certificate,
        });
        settings
    }
}

/// Warns of names in the settings file that mean nothing.
pub fn warn_unknown(journal: &Journal, settings: &Settings) {
    for (setting, origin) in &settings.unknown {
        let list = "`openstudio-signaling config` lists the known ones";
        journal.log(Event::UnknownSetting {
            setting: quoted(setting),
            origin: origin.to_string(),
            fix: Setting::meant(setting)
                .map_or_else(|| list.into(), |meant| format!("did you mean {meant}? {list}")),
        });
    }
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
