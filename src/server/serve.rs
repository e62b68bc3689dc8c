//! The service from its start to its end.
//!
//! Owns how the parts are put together, and the tasks beside the clients. It deliberately does not end the process.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::config::config::{Config, RoomAccess};
use crate::config::settings::Settings;
use crate::config::source::Source;
use crate::programme::on_air::OnAir;
use crate::server::accept::accept;
use crate::server::archive::archive;
use crate::server::cluster::{self, node};
use crate::server::drain::{Outcome, drain, status};
use crate::server::handover::collection::Collection;
use crate::server::handover::execute::{hold_signals, keep_signal, release_signals};
use crate::server::handover::pack::Taken;
use crate::server::handover::push::{Given, Marks, NAME, own_queue, push, push_to_store};
use crate::server::handover::queue::Receiver;
use crate::server::handover::take::{Left, go_on, take};
use crate::server::http::static_files;
use crate::server::limits::clients::ClientLimit;
use crate::server::limits::fairness::Fairness;
use crate::server::limits::listeners::Listeners;
use crate::server::limits::pending::Pending;
use crate::server::listen::{clients_for, listeners_beside, prepare, raise_file_limit};
use crate::server::on_air::feed;
use crate::server::reload::reload_at_hangup;
use crate::server::role_memory::{RoleMemory, keep_saved};
use crate::server::shutdown::{Phase, Shutdown};
use crate::server::startup::{LoadedFiles, log_station, log_tls, signing_secret};
use crate::server::state::State;
use crate::server::systemd::{Notifier, Probe, Watchdog};
use crate::signaling::budget::AddressBudgets;
use crate::signaling::conversation::Conversation;
use crate::signaling::entry::RoomLimits;
use crate::signaling::hub::Hub;
use crate::signaling::member::unix_s;
use crate::signaling::studio::Studio;
use crate::station::manifest::CurrentManifest;
use crate::station::proofs::Proofs;
use crate::station::tls::Tls;
use crate::station::tokens::Tokens;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::Metrics;

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
    /// What [`load_files`](crate::server::startup::load_files) found.
    pub files: LoadedFiles,
    /// Where a secret can be kept (systemd.exec(5), `StateDirectory=`).
    pub state_directory: Option<PathBuf>,
    /// The sockets, and who made them.
    pub listeners: Vec<StdListener>,
    /// Whether systemd passed the sockets.
    pub passed: bool,
    /// What a process before this one has left.
    pub queue: Option<Receiver>,
    /// Where events go.
    pub journal: Journal,
    /// How it ends.
    pub shutdown: Shutdown,
}

/// How serving ended.
#[derive(Debug)]
pub enum Ended {
    /// Nobody is left.
    Over(Outcome),
    /// Everything is in systemd's store.
    HandedOver(Given),
    /// The program on the disk is to go on with what is in the queue.
    Executes(Receiver, Given),
}

/// Serves until a signal or a failure, then drains or hands over. What is said on the WebSockets is `C`'s business.
///
/// # Errors
///
/// When the system gives no signal handler, no thread, or does not take the sockets.
pub async fn serve<C: Conversation>(service: Service) -> io::Result<Ended> {
    let Service { config, settings, source, listeners, passed, journal, shutdown, .. } = service;
    let LoadedFiles { station, web_root, certified } = service.files;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let mut execute = signal(SignalKind::user_defined2())?;
    let mut mark = Marks::listen()?;
    release_signals();
    let file_limit = raise_file_limit();
    let serves = config.icecast.as_ref().filter(|icecast| icecast.public_url.is_none());
    let (most_listeners, carries) = match serves {
        Some(icecast) => listeners_beside(clients_for(file_limit), icecast.max_listeners),
        None => (0, clients_for(file_limit)),
    };
    if let Some(limit) = serves.map(|icecast| icecast.max_listeners as usize) {
        if limit > most_listeners {
            journal.log(Event::ListenerLimitTooHigh { limit, carries: most_listeners });
        }
    }
    let limit = config.max_connections.unwrap_or(carries);
    if limit > carries {
        journal.log(Event::LimitTooHigh { limit, carries });
    }
    log_station(&journal, &station, &config, &settings);
    log_tls(&journal, config.tls.as_ref(), certified.as_deref());
    if let Some(index) = web_root.as_deref().and_then(static_files::missing_index) {
        journal.log(Event::WebRootEmpty { path: index.display().to_string() });
    }
    // What is in it is taken, or has heard a goodbye.
    let had_queue = service.queue.is_some();
    let cluster_name = config.cluster.as_ref().map(|cluster| cluster.name.as_str());
    let mut taken = service
        .queue
        .and_then(|queue| take(&queue, clients_for(file_limit), cluster_name, &journal));
    let carried = taken.as_mut().and_then(|taken| taken.secret.take());
    let place = service.state_directory.as_deref();
    let signing = signing_secret(&config, &settings, place, carried, &journal);
    let secret = signing.secret;
    let (tokens, proofs) = (Tokens::new(&secret), Proofs::new(&secret));
    // Without what it was, a token from before may say who had which role.
    let memory = service.state_directory.as_deref().map(|path| Arc::new(RoleMemory::new(path)));
    let remembered = memory.as_ref().and_then(|memory| memory.load(&config, &journal));
    let metrics = Arc::new(Metrics::default());
    let check_page = config.check_page;
    let studio = Arc::new(Studio {
        budgets: AddressBudgets::new(config.rate_limit, &config.trusted_proxies),
        hub: Hub::new(
            RoomLimits {
                ttl: config.room_ttl,
                peers: config.max_room_peers,
                is_invited_only: config.room_access == RoomAccess::Invited,
                role_reserve: config.role_reserve,
            },
            Arc::clone(&metrics),
            journal.clone(),
        ),
        manifest: CurrentManifest::new(station),
        started_anew: remembered.is_none().then(unix_s),
        on_air: OnAir::new(config.icecast.clone()),
        tokens,
        proofs,
        metrics,
        journal: journal.clone(),
        config,
    });
    if taken.is_none() {
        studio.hub.remember(remembered.unwrap_or_default());
    }
    let before = taken.as_mut().and_then(|taken| Some((taken.node.take()?, taken.packed)));
    let (node, cluster) = node(&studio, &secret, before).unzip();
    let state = Arc::new(State {
        collection: Collection::default(),
        clients: ClientLimit::new(limit, studio.config.max_connections_per_ip),
        listeners: Listeners::new(most_listeners),
        pending: Pending::default(),
        studio,
        web_root,
        tls: certified.map(Tls::new),
        fairness: Fairness::default(),
        shutdown: shutdown.clone(),
        cluster,
        began_unix: UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64),
        secret: signing.is_only_here.then_some(secret),
        started: taken.as_ref().map_or_else(std::time::Instant::now, Taken::started),
    });
    let left = taken.map(|taken| go_on::<C>(&state, taken)).unwrap_or_default();
    let Left { source: icecast, part, mut connections } = left;
    let notifier = Notifier::new(journal.clone());

    // The service's own tasks; those of clients are in the shutdown's tracker, which a drain waits for.
    let tasks = TaskTracker::new();
    let mut watchdog = Watchdog::default();
    let mut address = None;
    // The queue of those who wait to be accepted lives as long as these.
    let mut kept = Vec::new();
    for listener in listeners {
        kept.push(OwnedFd::from(listener.try_clone()?));
        let listener = prepare(listener)?;
        let local = listener.local_addr()?;
        address.get_or_insert(local);
        announce(&journal, &state.studio.config, local, passed);
        let probe = watchdog.watch("the accept loop");
        // The first one takes them.
        let carried = std::mem::take(&mut connections);
        tasks.spawn(accept::<C>(listener, Arc::clone(&state), probe, carried, file_limit).boxed());
    }
    // In boxes, as one type: each kind of task makes the program larger by some KiB.
    tasks.spawn(pulse(watchdog.watch("the runtime"), shutdown.clone(), || ()).boxed());
    let hub = state.studio.hub.clone();
    let bookkeeping = watchdog.watch("session bookkeeping");
    tasks.spawn(pulse(bookkeeping, shutdown.clone(), move || hub.touch()).boxed());
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
    notifier.ready(&status("Serving", state.clients.taken()));
    if had_queue {
        notifier.forget(NAME);
    }
    tasks.spawn(keep_status(Arc::clone(&state), notifier.clone()).boxed());
    tasks.spawn(end_what_is_over(Arc::clone(&state)).boxed());
    tasks.spawn(feed(Arc::clone(&state), icecast).boxed());
    tasks.spawn(archive(Arc::clone(&state), part).boxed());
    if let Some(node) = node {
        tasks.spawn(cluster::run(node, Arc::clone(&state)).boxed());
    }
    if let Some(memory) = memory.clone() {
        tasks.spawn(keep_saved(memory, Arc::clone(&state)).boxed());
    }
    let reloading =
        reload_at_hangup(hangup, source, settings, Arc::clone(&state), notifier.clone());
    tasks.spawn(reloading.boxed());

    let (signal, queue) = loop {
        break tokio::select! {
            _ = terminate.recv() => (Some("SIGTERM"), None),
            _ = interrupt.recv() => (Some("SIGINT"), None),
            never = mark.note() => match never {},
            () = shutdown.reached(Phase::Draining) => (None, None),
            _ = execute.recv() => match own_queue(&state, &kept, passed).await {
                Ok(queue) => (Some("SIGUSR2"), Some(queue)),
                Err(error) => {
                    let reason = error.to_string();
                    journal.log(Event::ExecuteFailed { reason });
                    continue;
                }
            }
        };
    };
    if let Some(signal) = signal {
        journal.log(Event::Signal { signal });
    }
    let is_stop = signal.is_some() && queue.is_none();
    let is_restart = is_stop && mark.counts().await && !shutdown.has_failed();
    // While everybody is still where it is. After a failure that is no longer so, and what was saved last is right.
    if let Some(memory) = memory.as_ref().filter(|_| !shutdown.has_failed()) {
        memory.save(&state, true).await;
    }
    let pushed = match queue {
        Some((sender, receiver)) => {
            let pushed = push(&state, &sender).await;
            Some(pushed.map(|given| Ended::Executes(receiver, given)))
        }
        None if is_restart => Some(push_to_store(&state, &notifier).await.map(Ended::HandedOver)),
        None => None,
    };
    match pushed {
        Some(Ok(ended @ Ended::Executes(..))) => {
            hold_signals();
            // What came meanwhile is for the next program, a mark first.
            if mark.is_recent().await {
                keep_signal(SignalKind::window_change());
            }
            for (signals, kind) in [
                (&mut terminate, SignalKind::terminate()),
                (&mut interrupt, SignalKind::interrupt()),
            ] {
                if signals.recv().now_or_never().is_some() {
                    keep_signal(kind);
                }
            }
            return Ok(ended);
        }
        Some(Ok(ended)) => return Ok(ended),
        Some(Err(error)) => journal.log(Event::HandOverFailed { error: error.to_string() }),
        None => {}
    }
    drop(kept);
    shutdown.enter(Phase::Draining);
    notifier.stopping(&status("Draining", state.clients.taken()));
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
    Ok(Ended::Over(outcome))
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

/// The line of `systemctl status` while the service serves: the nodes of the cluster, where there is one; `on_air` is since
/// when somebody is, in ms since 1970.
fn serving(clients: usize, nodes: Option<&str>, on_air: Option<u64>) -> String {
    let mut line = status("Serving", clients);
    if let Some(nodes) = nodes {
        line += &format!(", {nodes}");
    }
    if let Some(since) = on_air {
        let since = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(since));
        // Hours and minutes.
        line += &format!(", on air since {} UTC", &since.to_string()[11..16]);
    }
    line
}

/// Keeps the line of `systemctl status` up to date while the service serves.
async fn keep_status(state: Arc<State>, notifier: Notifier) {
    let follow = async {
        let (mut clients, mut on_air) = (state.clients.follow(), state.studio.on_air.follow());
        let mut shown = String::new();
        loop {
            let changed = tokio::select! {
                changed = clients.changed() => changed,
                changed = on_air.changed() => changed,
                // How it stands changes with the time alone, too.
                () = sleep(STATUS_PAUSE), if state.cluster.is_some() => Ok(()),
            };
            if changed.is_err() {
                return;
            }
            let since = on_air.borrow_and_update().as_ref().map(|shown| shown.since_unix);
            let nodes = state.cluster.as_ref().map(|found| found.borrow().status(Instant::now()));
            let line = serving(*clients.borrow_and_update(), nodes.as_deref(), since);
            if line != shown {
                notifier.status(&line);
                shown = line;
                sleep(STATUS_PAUSE).await;
            }
        }
    };
    // From the drain on, the status is the drain's.
    tokio::select! {
        biased;
        () = state.shutdown.reached(Phase::Draining) => {}
        () = follow => {}
    }
}

/// Ends rooms when they have reached their age, and what is kept for those who have gone when its time is over.
async fn end_what_is_over(state: Arc<State>) {
    let mut on_air = state.studio.on_air.follow();
    loop {
        // The room of a programme ends with it: who is on air can't be sent away without a word to listeners.
        let room = on_air.borrow_and_update().as_ref().map(|shown| shown.room.clone());
        let next = state.studio.hub.expire(room.as_ref());
        let next = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = state.shutdown.reached(Phase::Draining) => return,
            () = state.studio.hub.ends_earlier() => {}
            _ = on_air.changed() => {}
            () = next => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_whether_somebody_is_on_air() {
        assert_eq!(serving(4, None, None), "Serving 4 clients");
        let since = Some(1_760_804_444_392);
        assert_eq!(serving(1, None, since), "Serving 1 client, on air since 16:20 UTC");
        let line = "Serving 1 client, 3 nodes, on air since 16:20 UTC";
        assert_eq!(serving(1, Some("3 nodes"), since), line);
    }
}
