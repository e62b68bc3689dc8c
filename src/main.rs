//! The program: arguments in, exit code out.
//!
//! Owns the exit codes. It deliberately leaves everything else to the library.

use std::io::{self, Write};
use std::net::TcpListener;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use openstudio_signaling::check::steps as check;
use openstudio_signaling::config::cli::command;
use openstudio_signaling::config::config::Config;
use openstudio_signaling::config::origin::Invalid;
use openstudio_signaling::config::settings::Settings;
use openstudio_signaling::config::source::Source;
use openstudio_signaling::config::table::{SETTINGS_FILE, Setting};
use openstudio_signaling::invite::command as invite;
use openstudio_signaling::server::drain::Outcome;
use openstudio_signaling::server::handover::execute::{execute, executed, hold_signals, received};
use openstudio_signaling::server::handover::farewell::{leavers, say_goodbye};
use openstudio_signaling::server::handover::queue::Receiver;
use openstudio_signaling::server::listen::{bind, listens_as_set, make_room_for_descriptors};
use openstudio_signaling::server::panic::install_panic_hook;
use openstudio_signaling::server::reload::Reload;
use openstudio_signaling::server::serve::{Ended, Service, serve};
use openstudio_signaling::server::shutdown::Shutdown;
use openstudio_signaling::server::startup::{
    LoadedFiles, load_files, warn_raised, warn_unknown, warnings,
};
use openstudio_signaling::server::systemd::{self, Passed};
use openstudio_signaling::signaling::handler::Signaling;
use openstudio_signaling::station::keyfile::state_directory;
use openstudio_signaling::telemetry::events::Event;
use openstudio_signaling::telemetry::journal::Journal;
use openstudio_signaling::telemetry::level::Level;
use openstudio_signaling::wire::codes::CloseCode;
use openstudio_signaling::wire::text::quoted;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// The drain was cut, or the service could not start or go on.
const FAILURE: u8 = 1;

/// The configuration can't work: EX_CONFIG of sysexits.h(3head), which the unit does not restart.
const CONFIG: u8 = 78;

/// What stands above the settings: they are those of a start from here, and the service has files
/// of its own.
const CONFIG_HEADER: &str = "\
# What a start with this environment and settings file would use. Environment= in drop-ins of the unit is
# not seen here, and under systemd the port is the socket unit's: systemctl show -p Listen openstudio-signaling.socket
";

/// How many threads read files of the web studio at once: a disk is not faster by more, and each that has been busy
/// keeps some memory.
const BLOCKING_THREADS: usize = 8;

/// How long the last log lines may take.
const LOG_TIME: Duration = Duration::from_secs(1);

/// How long a start with bad settings lasts under socket activation. A client that connects starts the
/// service, so without it a client that tries again and again would keep systemd busy, and trip the
/// socket's trigger limit (20 starts in 2 s, systemd.socket(5)).
const CONFIG_PAUSE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("check", matches)) => run_check(matches),
        Some(("config", matches)) => print_config(matches),
        Some(("invite", matches)) => run_invite(matches),
        Some((_, matches)) => run_server(matches),
        None => run_server(&matches),
    }
}

fn settings_file(matches: &ArgMatches) -> Option<PathBuf> {
    matches.get_one::<String>("settings-file").map(PathBuf::from)
}

fn print_config(matches: &ArgMatches) -> ExitCode {
    let packaged = || Some(PathBuf::from(SETTINGS_FILE)).filter(|path| Path::exists(path));
    let source = Source { flags: matches.clone(), file: settings_file(matches).or_else(packaged) };
    let loaded = match matches.get_flag("reload") {
        true => reloadable(&source).map(|settings| (settings, Vec::new())),
        false => load(&source).map(|(config, settings, files)| {
            let warnings = warnings(&config, &settings, &files);
            (settings, warnings)
        }),
    };
    match loaded {
        Ok((settings, warnings)) => {
            for (name, origin) in &settings.unknown {
                let meant = Setting::meant(name).map(|meant| format!("; did you mean {meant}?"));
                let meant = meant.unwrap_or_default();
                eprintln!("Unknown setting {} in {origin} is ignored{meant}", quoted(name));
            }
            for warning in warnings {
                eprintln!("{}", warning.message());
            }
            // A reader that has closed the pipe has seen what it wanted.
            let _ = write!(io::stdout(), "{CONFIG_HEADER}{settings}");
            ExitCode::SUCCESS
        }
        Err(errors) => {
            for error in errors {
                eprintln!("{error}");
            }
            CONFIG.into()
        }
    }
}

/// The settings, and what they lead to; or one line for each thing that is wrong.
fn load(source: &Source) -> Result<(Config, Settings, LoadedFiles), Vec<String>> {
    let lines = |errors: Vec<Invalid>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (config, settings) = source.load().map_err(lines)?;
    let files = load_files(&config, &settings)?;
    Ok((config, settings, files))
}

/// What was loaded, where it has all credentials in it: the service must not go on with others.
fn with_credentials<T, U>(loaded: (T, Settings, U)) -> Result<(T, Settings, U), Vec<String>> {
    match loaded.1.hidden_credentials().map(Path::display) {
        None => Ok(loaded),
        Some(path) => Err(vec![format!(
            "Cannot read the credentials in {path} (CREDENTIALS_DIRECTORY): permission denied; \
             the user that the service runs as must be able to read that directory"
        )]),
    }
}

/// The settings, where a reload finds nothing wrong with what it applies; or one line for each thing that is wrong.
fn reloadable(source: &Source) -> Result<Settings, Vec<String>> {
    let lines = |errors: Vec<Invalid>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut settings = source.settings().map_err(lines)?;
    settings.assume_credentials();
    let errors = Reload::read(Ok(settings.clone()), settings.clone(), None).errors();
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

fn run_check(matches: &ArgMatches) -> ExitCode {
    verdict(check::Options::new(matches).map(|options| check::run(&options)))
}

fn run_invite(matches: &ArgMatches) -> ExitCode {
    verdict(invite::Options::new(matches).map(|options| invite::run(&options)))
}

/// Whether a command found all well, or why its command line is wrong.
fn verdict(result: Result<bool, String>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => FAILURE.into(),
        Err(why) => {
            eprintln!("{why}");
            2.into()
        }
    }
}

fn run_server(matches: &ArgMatches) -> ExitCode {
    // A core dump would have the secrets in it. Where the system refuses, the unit's LimitCORE= is left.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Before there is another thread: taking them changes the environment, which wants to be alone.
    let mut passed = executed().unwrap_or_else(systemd::passed);
    if let Ok(Passed { queue: Some(queue), .. }) = &passed {
        make_room_for_descriptors(queue);
    }
    // Only the thread that serves handles them, so that none is lost where another program takes the place of this one.
    hold_signals();
    let (journal, writer) = match Journal::start(Level::Info) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("Cannot start the log's thread: {error}");
            return FAILURE.into();
        }
    };
    let code = loop {
        let (queue, given) = match start(matches, passed, &journal) {
            Ok(Ended::Over(outcome)) => break code(outcome),
            Ok(Ended::HandedOver(given)) => {
                // The end of the process is faster, and the next one waits for it.
                std::mem::forget(given);
                break ExitCode::SUCCESS;
            }
            Ok(Ended::Executes(queue, given)) => (queue, given),
            Err(code) => break code.into(),
        };
        journal.flush(LOG_TIME);
        // Where that succeeds, nothing follows here.
        let reason = execute(&queue).to_string();
        journal.log(Event::ExecuteFailed { reason });
        drop(given);
        passed = received(queue);
    };
    writer.finish(LOG_TIME);
    code
}

/// Serves with the settings as they are now, to the end; or gives the exit code, where that can't be done.
fn start(matches: &ArgMatches, passed: io::Result<Passed>, journal: &Journal) -> Result<Ended, u8> {
    let source = Source { flags: matches.clone(), file: settings_file(matches) };
    let (config, settings, files) = match load(&source).and_then(with_credentials) {
        Ok(loaded) => loaded,
        Err(errors) => {
            refuse(errors, journal, passed.unwrap_or_default());
            return Err(CONFIG);
        }
    };
    journal.set_level(config.log_level);
    warn_unknown(journal, &settings);
    warn_raised(journal, &config, &settings);
    let service = Service {
        config,
        settings,
        source,
        files,
        state_directory: state_directory(),
        listeners: Vec::new(),
        passed: false,
        queue: None,
        journal: journal.clone(),
        shutdown: Shutdown::default(),
    };
    serve_on(service, passed).map_err(|reason| {
        journal.log(Event::StartFailed { reason });
        FAILURE
    })
}

/// Serves on the passed sockets, or on one of its own, to the end, or says why it could not start.
fn serve_on(mut service: Service, passed: io::Result<Passed>) -> Result<Ended, String> {
    let Passed { mut listeners, is_own, queue, unknown } = passed.map_err(|error| {
        format!(
            "Cannot use the socket that systemd passed: {error}; \
             ListenStream= in the socket unit must be a TCP port"
        )
    })?;
    for name in unknown {
        service.journal.log(Event::PassedUnknown { name });
    }
    service.passed = !listeners.is_empty() && !is_own;
    if is_own {
        listeners = listen_again(listeners, &service);
    }
    if listeners.is_empty() {
        let bound = bind(&service.config).map_err(|error| {
            if let Some(queue) = &queue {
                part(queue, "the service can't listen", &service.journal);
            }
            // Under systemd the socket unit listens, and the sandbox forbids to.
            if std::env::var_os("NOTIFY_SOCKET").is_some()
                && error.kind() != io::ErrorKind::AddrInUse
            {
                no_socket(&error)
            } else {
                cannot_bind(&service.config, &error)
            }
        })?;
        listeners.push(bound);
    }
    (service.listeners, service.queue) = (listeners, queue);
    install_panic_hook(service.journal.clone(), service.shutdown.clone());
    // One thread carries more than 100,000 messages a second. In an older run (docs/decisions/one-runtime-thread.md), two
    // cost a tenth more CPU for each message, because they wake each other up. Files are read on threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .on_thread_start(hold_signals)
        .build()
        .map_err(|error| format!("Cannot start the runtime: {error}"))?;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(serve::<Signaling>(service))
    }));
    match ended {
        // Nobody waits for what is left.
        Ok(Ok(Ended::HandedOver(_))) => std::mem::forget(runtime),
        Ok(Ok(Ended::Executes(..))) => runtime.shutdown_background(),
        // Connections that are left are cut off here.
        _ => runtime.shutdown_timeout(LOG_TIME),
    }
    match ended {
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(error)) => Err(format!("Cannot serve: {error}")),
        // The panic hook has said it.
        Err(_) => Ok(Ended::Over(Outcome::Failed)),
    }
}

/// What a process listens on that has listened on these: where the settings say now. Where that can't be done, it goes on
/// as before, with a line that says so.
fn listen_again(own: Vec<TcpListener>, service: &Service) -> Vec<TcpListener> {
    if own.iter().any(|listener| listens_as_set(listener, &service.config)) {
        return own;
    }
    match bind(&service.config) {
        Ok(bound) => vec![bound],
        Err(error) => {
            let reason = cannot_bind(&service.config, &error);
            let address = own.first().and_then(|listener| listener.local_addr().ok());
            let address = address.map_or_else(String::new, |address| address.to_string());
            service.journal.log(Event::ListensStill { reason, address });
            own
        }
    }
}

fn no_socket(error: &io::Error) -> String {
    format!(
        "systemd passed no socket, and none can be made here ({error}): \
         `systemctl restart openstudio-signaling.socket openstudio-signaling.service` brings both"
    )
}

fn cannot_bind(config: &Config, error: &io::Error) -> String {
    let host = config.host.map_or_else(|| "::".into(), |host| host.to_string());
    let port = config.port;
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has this port: stop it (`ss -ltnp` names it) or set PORT to a free one"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root: set PORT to 1024 or more, or use the socket unit"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: set HOST to one that it has"
        }
        _ => "set HOST and PORT to where this machine can listen",
    };
    format!("Cannot listen on HOST={host} PORT={port}: {error}; {fix}")
}

fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Clean => ExitCode::SUCCESS,
        Outcome::Forced | Outcome::Failed => FAILURE.into(),
    }
}

/// Says goodbye to those whom the process before has left, and why.
fn part(queue: &Receiver, reason: &str, journal: &Journal) {
    let leavers = leavers(queue.take(None), CloseCode::RESTARTED);
    let (clients, reason) = (leavers.len(), reason.to_owned());
    journal.log(Event::TakeOverFailed { clients, reason });
    say_goodbye(leavers);
}

/// Says what is wrong with the settings. Connections that wait on passed sockets are closed: nobody will
/// serve them, and as long as they wait, systemd starts the service for them again.
fn refuse(errors: Vec<String>, journal: &Journal, passed: Passed) {
    for reason in errors {
        journal.log(Event::ConfigInvalid { reason });
    }
    if let Some(queue) = &passed.queue {
        part(queue, "the settings are invalid", journal);
    }
    journal.flush(LOG_TIME);
    if passed.listeners.is_empty() {
        return;
    }
    std::thread::sleep(CONFIG_PAUSE);
    for listener in passed.listeners {
        let nonblocking = listener.set_nonblocking(true).is_ok();
        while nonblocking && listener.accept().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_end_is_a_success() {
        let text = |outcome| format!("{:?}", code(outcome));
        assert_eq!(text(Outcome::Clean), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(text(Outcome::Forced), format!("{:?}", ExitCode::from(1)));
        assert_eq!(text(Outcome::Failed), format!("{:?}", ExitCode::from(1)));
    }
}
