//! The log's two sinks: journald and stderr.
//!
//! Owns which of them it is, and the form of a line. It deliberately knows no event by name.

use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::time::SystemTime;

use rustix::fs::fstat;
use tracing::{Dispatch, dispatcher};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;

use crate::telemetry::events::Event;
use crate::telemetry::level::Level;

/// Where journald listens (systemd's JOURNAL_NATIVE_PROTOCOL).
const JOURNALD: &str = "/run/systemd/journal/socket";

/// Where events end up.
pub(super) enum Sink {
    /// journald's native protocol.
    Journald {
        probe: UnixDatagram,
        usual: Dispatch,
        /// tracing has no critical level, so its errors are mapped to that priority here.
        critical: Dispatch,
    },
    /// Lines for a person.
    Stderr,
}

impl Sink {
    /// journald, if our stderr is its stream and its socket takes connections; else stderr.
    pub(super) fn open() -> Self {
        if !stderr_is_journal() {
            return Self::Stderr;
        }
        Self::open_journald().unwrap_or(Self::Stderr)
    }

    fn open_journald() -> io::Result<Self> {
        Ok(Self::Journald {
            probe: UnixDatagram::unbound()?,
            usual: journald(Priority::Error)?,
            critical: journald(Priority::Critical)?,
        })
    }

    /// Whether events would arrive. tracing-journald keeps it to itself when one does not, so an empty
    /// datagram, which journald ignores, is sent ahead of each batch.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Journald { probe, .. } => probe.send_to(&[], JOURNALD).is_ok(),
            Self::Stderr => true,
        }
    }

    pub(super) fn write(&self, time: SystemTime, event: &Event) {
        match self {
            Self::Journald { usual, critical, .. } => {
                let sink = match event.level() {
                    Level::Crit => critical,
                    _ => usual,
                };
                dispatcher::with_default(sink, || event.emit());
            }
            Self::Stderr => {
                let line = line(time, event);
                // There is nowhere left to complain about a stderr that is gone.
                let _ = io::stderr().write_all(line.as_bytes());
            }
        }
    }
}

/// A journald subscriber whose errors have `errors` as their priority.
fn journald(errors: Priority) -> io::Result<Dispatch> {
    let layer = tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier("openstudio-signaling".into())
        .with_priority_mappings(PriorityMappings {
            error: errors,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        });
    Ok(Dispatch::new(tracing_subscriber::registry().with(layer)))
}

/// Whether JOURNAL_STREAM (systemd.exec(5)) names our stderr by device and inode.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr();
    !stderr.is_terminal()
        && fstat(&stderr).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn line(time: SystemTime, event: &Event) -> String {
    let time = humantime::format_rfc3339_millis(time);
    let level = event.level().to_string().to_uppercase();
    format!("[{time}] [{level}] {}\n", event.message())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::ids::ClientId;

    #[test]
    fn a_line_has_time_level_and_message() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_760_804_258_582);
        let event =
            Event::ClientConnected { client_ip: [127, 0, 0, 1].into(), client_id: ClientId(1) };
        assert_eq!(
            line(time, &event),
            "[2025-10-18T16:17:38.582Z] [INFO] WebSocket client connected: 127.0.0.1 (client 1)\n"
        );
    }
}
