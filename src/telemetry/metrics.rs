//! What Prometheus can ask for.
//!
//! Owns the metrics, their names and their text. It deliberately knows nobody whom it counts: what there is
//! now is handed in when it is asked for.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::telemetry::counts::{CLUSTER, Counts, PROGRAMME};
use crate::telemetry::refused::Refused;
use crate::wire::codes::{CloseCode, ErrorCode};
use crate::wire::reply::ServerMessage;
use crate::wire::request::MessageType;

/// The type of the text (Prometheus text exposition format).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// From a client in the same house to one whose network hardly works, in seconds.
const BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The close codes that have a series of their own. Clients can send thousands of others.
pub(super) const CLOSE_CODES: [u16; 17] = [
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 4008, 4010, 4011, 4102, 4201,
    0,
];

/// A label and its value.
type Label = (&'static str, &'static str);

/// Every counter is made at the start: each series is there from the first scrape on, and counting is one
/// addition without a lookup.
#[derive(Debug)]
pub struct Metrics {
    pub(super) registry: Registry,
    /// By type, as [`MessageType::ALL`] has them; the last one is for what is none of them.
    pub(super) received: [Counter; MessageType::ALL.len() + 1],
    /// By type, as [`ServerMessage::NAMES`] has them.
    pub(super) sent: [Counter; ServerMessage::NAMES.len()],
    /// By type, as [`PASSED`] has them.
    pub(super) passed: [Counter; PASSED.len()],
    /// By outcome, as [`Relay::VARIANTS`] has them.
    pub(super) relays: [Counter; Relay::COUNT],
    /// By code, as [`ErrorCode::ALL`] has them.
    pub(super) errors: [Counter; ErrorCode::ALL.len()],
    /// By code, as [`CLOSE_CODES`] has them; the last one is for all others.
    pub(super) closes: [Counter; CLOSE_CODES.len()],
    /// By reason, as [`Refused::VARIANTS`] has them.
    pub(super) refused: [Counter; Refused::COUNT],
    pub(super) round_trip: Histogram,
    pub(super) registration: Histogram,
    pub(super) clients: Gauge,
    pub(super) peers: Gauge,
    pub(super) rooms: Gauge,
    pub(super) seats_kept: Gauge,
    pub(super) roles_reserved: Gauge,
    pub(super) listeners: Gauge,
    pub(super) on_air: Gauge,
    pub(super) heard: Gauge,
    pub(super) quiet: Gauge,
    pub(super) cluster: [Gauge; CLUSTER.len()],
    pub(super) programme: [Counter; PROGRAMME.len()],
    pub(super) outbox: Gauge,
    pub(super) log_dropped: Counter,
    pub(super) handed_over: Counter,
    pub(super) taken_over: Counter,
    /// All counters that this process counts by itself, by the names of their series.
    pub(super) series: Vec<(String, Counter)>,
}

/// What came of an offer, an answer or a candidate: each has one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Relay {
    /// It is in its receiver's outbox.
    Delivered,
    /// There was no such receiver.
    NotConnected,
    /// The receiver is somewhere else.
    DifferentRoom,
    /// Its receiver is being ended, reads too slowly, or has just left the room.
    Dropped,
    /// It was refused before anybody looked for its receiver: a field is wrong, its sender has not registered, or
    /// sends too much.
    Refused,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("openstudio_signaling");
        let gauge = |registry: &mut Registry, name, help| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let histogram = |registry: &mut Registry, name, help| {
            let histogram = Histogram::new(BUCKETS);
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            histogram
        };
        let clients = gauge(&mut registry, "clients", "Connected WebSocket clients");
        let peers = gauge(&mut registry, "peers", "Clients that have registered a peer id");
        let rooms = gauge(&mut registry, "rooms", "Rooms with somebody in them");
        let cluster = CLUSTER.map(|(name, help)| gauge(&mut registry, name, help));
        let help = "Seats in rooms that are kept for clients whose connection broke";
        let seats_kept = gauge(&mut registry, "seats_kept", help);
        let help = "Roles in rooms that are reserved for clients that have gone";
        let roles_reserved = gauge(&mut registry, "roles_reserved", help);
        let on_air = gauge(&mut registry, "on_air", "Whether somebody is on air");
        let heard = gauge(&mut registry, "on_air_heard", "Whether Icecast takes the programme");
        let help = "For how long nothing is heard on air but silence";
        let quiet = Gauge::default();
        registry.register_with_unit("on_air_quiet", help, Unit::Seconds, quiet.clone());
        let help = "Listeners to whom the service passes Icecast's stream on";
        let listeners = gauge(&mut registry, "listeners", help);
        let programme = PROGRAMME.map(|(name, help)| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        });
        let outbox = Gauge::default();
        let help = "Bytes that wait for clients to read them";
        registry.register_with_unit("outbox", help, Unit::Bytes, outbox.clone());

        let messages = family::<2>(&mut registry, "messages", "Messages by type and direction");
        let received = |kind| [("direction", "received"), ("type", kind)];
        let sent = |kind| [("direction", "sent"), ("type", kind)];
        let kind = |index: usize| MessageType::ALL.get(index).map_or("other", |kind| kind.name());
        let relays =
            family::<1>(&mut registry, "relays", "Offers, answers and candidates by outcome");
        let errors = family::<1>(&mut registry, "errors", "Error replies by code");
        let closes = Family::<[(&str, String); 1], Counter>::default();
        registry.register("closes", "Ended connections by WebSocket close code", closes.clone());
        let code = |code: u16| if code == 0 { "other".to_owned() } else { code.to_string() };

        let help = "Those who were turned away before they were clients, by reason";
        let refused = family::<1>(&mut registry, "refused", help);
        let log_dropped = Counter::default();
        let help = "Log events that were lost because the journal did not take them";
        registry.register("log_events_dropped", help, log_dropped.clone());
        let (handed_over, taken_over) = (Counter::default(), Counter::default());
        let help = "Clients that were handed over to the next process";
        registry.register("clients_handed_over", help, handed_over.clone());
        let help = "Clients of a process before that go on";
        registry.register("clients_taken_over", help, taken_over.clone());
        let help = "Time from a heartbeat's ping to its pong";
        let round_trip = histogram(&mut registry, "heartbeat_round_trip", help);
        let help = "Time from a client's welcome to its registration";
        let registration = histogram(&mut registry, "registration", help);
        let build = Family::<[Label; 1], Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("build_info", "Which version this is", build);
        let start = Gauge::<f64, AtomicU64>::default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        start.set(since.as_secs_f64());
        let help = "When the process started, as a Unix time";
        registry.register_with_unit("start_time", help, Unit::Seconds, start);

        let one = |family: &Family<[Label; 1], Counter>, name, value| {
            family.get_or_create_owned(&[(name, value)])
        };
        Self {
            received: std::array::from_fn(|i| messages.get_or_create_owned(&received(kind(i)))),
            sent: std::array::from_fn(|i| {
                messages.get_or_create_owned(&sent(ServerMessage::NAMES[i]))
            }),
            passed: PASSED.map(|kind| messages.get_or_create_owned(&sent(kind.name()))),
            relays: std::array::from_fn(|i| one(&relays, "outcome", Relay::VARIANTS[i].into())),
            errors: ErrorCode::ALL.map(|code| one(&errors, "code", code.name())),
            closes: CLOSE_CODES.map(|number| closes.get_or_create_owned(&[("code", code(number))])),
            refused: std::array::from_fn(|i| one(&refused, "reason", Refused::VARIANTS[i].into())),
            round_trip,
            registration,
            clients,
            peers,
            rooms,
            seats_kept,
            roles_reserved,
            listeners,
            on_air,
            heard,
            quiet,
            cluster,
            programme,
            outbox,
            log_dropped,
            handed_over,
            taken_over,
            registry,
            series: Vec::new(),
        }
        .with_series()
    }
}

/// The types that are passed on.
pub(super) const PASSED: [MessageType; 3] =
    [MessageType::Offer, MessageType::Answer, MessageType::IceCandidate];

fn family<const N: usize>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
) -> Family<[Label; N], Counter> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

impl Metrics {
    /// A client sent a message of this type, or something that is no message.
    pub fn received(&self, kind: Option<MessageType>) {
        let index = kind.map_or(MessageType::ALL.len(), |kind| kind as usize);
        self.received[index].inc();
    }

    /// A message of the type that [`ServerMessage::index`] gives is on its way to so many clients.
    pub fn sent(&self, index: usize, clients: u64) {
        self.sent[index].inc_by(clients);
    }

    /// What came of an offer, an answer or a candidate.
    pub fn relayed(&self, kind: MessageType, outcome: Relay) {
        self.relays[outcome as usize].inc();
        let index = PASSED.iter().position(|passed| *passed == kind);
        if let (Relay::Delivered, Some(index)) = (outcome, index) {
            self.passed[index].inc();
        }
    }

    /// How many relays had this outcome.
    pub fn relays(&self, outcome: Relay) -> u64 {
        self.relays[outcome as usize].get()
    }

    /// A client was sent an error.
    pub fn refused(&self, code: ErrorCode) {
        self.errors[code as usize].inc();
    }

    /// Somebody was turned away.
    pub fn turned_away(&self, why: Refused) {
        self.refused[why as usize].inc();
    }

    /// A client's connection ended.
    pub fn closed(&self, code: CloseCode) {
        let index = CLOSE_CODES.iter().position(|known| *known == code.0);
        self.closes[index.unwrap_or(CLOSE_CODES.len() - 1)].inc();
    }

    /// A client answered a heartbeat.
    pub fn answered(&self, after: Duration) {
        self.round_trip.observe(after.as_secs_f64());
    }

    /// A client registered.
    pub fn registered(&self, after: Duration) {
        self.registration.observe(after.as_secs_f64());
    }

    /// All of it as Prometheus reads it, with what there is now and how many log events were lost so far.
    pub fn text(&self, counts: Counts, log_dropped: u64) -> String {
        let set = |gauge: &Gauge<i64, AtomicI64>, value| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.clients, counts.clients);
        set(&self.peers, counts.peers);
        set(&self.rooms, counts.rooms);
        set(&self.seats_kept, counts.seats_kept);
        set(&self.roles_reserved, counts.roles_reserved);
        self.cluster.iter().zip(counts.cluster).for_each(|(gauge, count)| set(gauge, count));
        set(&self.on_air, counts.on_air);
        set(&self.heard, counts.heard);
        set(&self.listeners, counts.listeners);
        set(&self.quiet, counts.quiet);
        for (counter, value) in self.programme.iter().zip(counts.programme) {
            counter.inner().store(value, Ordering::Relaxed);
        }
        set(&self.outbox, counts.outbox_bytes);
        self.log_dropped.inner().store(log_dropped, Ordering::Relaxed);
        let mut text = String::new();
        encode_registry(&mut text, &self.registry).expect("a string takes all that is written");
        to_prometheus(&text)
    }
}

/// Turns OpenMetrics text into the older form that every Prometheus and its tools read: there a counter's
/// help and type carry its whole name, and there are no units.
fn to_prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# UNIT ") {
            continue;
        }
        let is_counter = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        let counter = is_counter(line)
            || line.starts_with("# HELP ") && lines.peek().is_some_and(|l| is_counter(l));
        let mut words = line.splitn(4, ' ');
        match (counter, words.next(), words.next(), words.next(), words.next()) {
            (true, Some(mark), Some(what), Some(name), Some(rest)) => {
                out.extend([mark, " ", what, " ", name, "_total ", rest]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: Counts = Counts {
        clients: 3,
        peers: 2,
        rooms: 1,
        seats_kept: 4,
        roles_reserved: 5,
        cluster: [3, 1, 9, 2],
        on_air: 1,
        heard: 0,
        listeners: 6,
        quiet: 31,
        programme: [7, 8, 9, 10, 11, 12],
        outbox_bytes: 77,
    };

    #[test]
    fn counters_have_their_whole_name_and_help() {
        let metrics = Metrics::default();
        let text = metrics.text(COUNTS, 5);
        for line in [
            "# HELP openstudio_signaling_clients Connected WebSocket clients.",
            "# TYPE openstudio_signaling_clients gauge",
            "openstudio_signaling_clients 3",
            "openstudio_signaling_outbox_bytes 77",
            "openstudio_signaling_seats_kept 4",
            "openstudio_signaling_roles_reserved 5",
            "openstudio_signaling_cluster_nodes 3",
            "openstudio_signaling_cluster_in_touch 1",
            "openstudio_signaling_cluster_peers 9",
            "openstudio_signaling_cluster_waiting 2",
            "openstudio_signaling_on_air 1",
            "openstudio_signaling_on_air_heard 0",
            "openstudio_signaling_on_air_quiet_seconds 31",
            "openstudio_signaling_listeners 6",
            "openstudio_signaling_on_air_seconds_total 7",
            "openstudio_signaling_icecast_refusals_total 12",
            "# HELP openstudio_signaling_messages_total Messages by type and direction.",
            "# TYPE openstudio_signaling_messages_total counter",
            r#"openstudio_signaling_messages_total{direction="received",type="ping"} 0"#,
            "openstudio_signaling_log_events_dropped_total 5",
            "# TYPE openstudio_signaling_registration_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("UNIT") && !text.contains("EOF"), "{text}");
    }

    #[test]
    fn every_close_code_that_the_server_sends_has_its_series() {
        for code in (1000..5000).map(CloseCode).filter(|code| !code.reason().is_empty()) {
            assert!(CLOSE_CODES.contains(&code.0), "{code}");
        }
    }

    #[test]
    fn each_thing_has_its_series() {
        let metrics = Metrics::default();
        metrics.received(Some(MessageType::StopStream));
        metrics.received(None);
        let error = ServerMessage::NAMES.iter().position(|name| *name == "error").unwrap();
        metrics.sent(error, 2);
        metrics.relayed(MessageType::IceCandidate, Relay::Delivered);
        metrics.relayed(MessageType::Offer, Relay::DifferentRoom);
        metrics.refused(ErrorCode::InvalidRole);
        metrics.closed(CloseCode::DEAD);
        metrics.closed(CloseCode(3999));
        metrics.answered(Duration::from_millis(3));
        let text = metrics.text(COUNTS, 0);
        for line in [
            r#"messages_total{direction="received",type="stop-stream"} 1"#,
            r#"messages_total{direction="received",type="other"} 1"#,
            r#"messages_total{direction="sent",type="error"} 2"#,
            r#"messages_total{direction="sent",type="ice-candidate"} 1"#,
            r#"relays_total{outcome="delivered"} 1"#,
            r#"relays_total{outcome="different-room"} 1"#,
            r#"relays_total{outcome="dropped"} 0"#,
            r#"messages_total{direction="sent",type="offer"} 0"#,
            r#"errors_total{code="invalid-role"} 1"#,
            r#"closes_total{code="4201"} 1"#,
            r#"closes_total{code="other"} 1"#,
            r#"heartbeat_round_trip_seconds_bucket{le="0.0025"} 0"#,
            r#"heartbeat_round_trip_seconds_bucket{le="0.005"} 1"#,
        ] {
            let line = format!("openstudio_signaling_{line}");
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
