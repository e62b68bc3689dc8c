//! Which events are repetitions of each other.
//!
//! Owns their key and the line that counts them. It deliberately does not know how many are logged.

use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;

use crate::telemetry::events::Event;
use crate::telemetry::level::Level;
use crate::telemetry::quiet::Rest;
use crate::telemetry::quota::Quota;
use crate::telemetry::subnet::subnet;

/// What makes two events repetitions of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: Discriminant<Event>,
    pub(super) name: &'static str,
    pub(super) topic: &'static str,
    pub(super) level: Level,
    pub(super) source: Source,
}

/// Whose events are repetitions of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// Those of one address.
    Address(IpAddr),
    /// Those of several.
    Several,
    /// Nobody's outside: they are the machine's.
    Machine,
}

impl Key {
    pub(super) fn of(event: &Event) -> Self {
        let source = match (event.client_ip(), event.quota()) {
            (None, _) => Source::Machine,
            (Some(_), Quota::Sole) => Source::Several,
            (Some(ip), _) => Source::Address(subnet(ip)),
        };
        let (kind, level) = (discriminant(event), event.level());
        Self { kind, name: event.name(), topic: event.topic(), level, source }
    }
}

/// The line about repetitions that were not logged.
pub(super) fn rest(Rest { key, count, seconds, sample }: Rest<Key>) -> Event {
    let source = match key.source {
        Source::Address(ip) => format!(" by {ip}"),
        Source::Several => " by several addresses".to_owned(),
        Source::Machine => String::new(),
    };
    let event = key.name;
    if key.level <= Level::Warn {
        Event::RepeatedProblem { count, seconds, event, source, sample }
    } else {
        Event::Repeated { count, seconds, event, source, sample }
    }
}
