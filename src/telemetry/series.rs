//! Counters on their way to the process that follows this one.
//!
//! Owns the names by which each counter is found again. It deliberately carries no histograms: these begin anew.

use std::collections::HashMap;

use strum::VariantArray;

use crate::telemetry::metrics::{CLOSE_CODES, Metrics, PASSED, Relay};
use crate::telemetry::refused::Refused;
use crate::wire::codes::ErrorCode;
use crate::wire::reply::ServerMessage;
use crate::wire::request::MessageType;

impl Metrics {
    /// With the names of all counters.
    pub(super) fn with_series(mut self) -> Self {
        let names = |family: &str, name: &str| format!("{family}/{name}");
        let received = MessageType::ALL.iter().map(|kind| kind.name()).chain(["other"]);
        let received = received.zip(&self.received).map(|(name, found)| ("received", name, found));
        let sent = ServerMessage::NAMES.into_iter().zip(&self.sent);
        let sent = sent.chain(PASSED.iter().map(|kind| kind.name()).zip(&self.passed));
        let sent = sent.map(|(name, found)| ("sent", name, found));
        let relays = Relay::VARIANTS.iter().zip(&self.relays);
        let relays = relays.map(|(outcome, found)| ("relays", outcome.into(), found));
        let errors = ErrorCode::ALL.iter().zip(&self.errors);
        let errors = errors.map(|(code, found)| ("errors", code.name(), found));
        let refused = Refused::VARIANTS.iter().zip(&self.refused);
        let refused = refused.map(|(why, found)| ("refused", why.into(), found));
        let all = received.chain(sent).chain(relays).chain(errors).chain(refused);
        let mut series: Vec<_> =
            all.map(|(family, name, found)| (names(family, name), found.clone())).collect();
        let closes = CLOSE_CODES.iter().zip(&self.closes);
        series.extend(closes.map(|(code, found)| (format!("closes/{code}"), found.clone())));
        series.push(("handed-over".to_owned(), self.handed_over.clone()));
        series.push(("taken-over".to_owned(), self.taken_over.clone()));
        self.series = series;
        self
    }

    /// So many clients are handed over to the next process.
    pub fn handed_over(&self, clients: usize) {
        self.handed_over.inc_by(clients as u64);
    }

    /// So many clients of the process before go on.
    pub fn taken_over(&self, clients: usize) {
        self.taken_over.inc_by(clients as u64);
    }

    /// What was counted by now, by the names of the series.
    pub fn carry(&self) -> HashMap<String, u64> {
        let all = self.series.iter().map(|(name, counter)| (name.clone(), counter.get()));
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// Counting goes on from there.
    pub fn go_on(&self, carried: &HashMap<String, u64>) {
        for (name, counter) in &self.series {
            counter.inc_by(carried.get(name).copied().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::counts::Counts;
    use crate::wire::codes::CloseCode;

    #[test]
    fn counters_go_on() {
        let before = Metrics::default();
        before.received(Some(MessageType::Ping));
        before.received(None);
        before.sent(0, 7);
        before.relayed(MessageType::Offer, Relay::Delivered);
        before.refused(ErrorCode::RoomFull);
        before.turned_away(Refused::Full);
        before.closed(CloseCode(1001));
        let after = Metrics::default();
        after.closed(CloseCode(1001));
        after.go_on(&before.carry());
        let counts = |metrics: &Metrics| -> Vec<_> {
            let text = metrics.text(Counts::default(), 0);
            let counted =
                text.lines().filter(|line| line.contains("_total") && !line.ends_with(" 0"));
            let counted = counted.filter(|line| !line.starts_with('#'));
            let mut counted: Vec<_> = counted.map(str::to_owned).collect();
            counted.sort();
            counted
        };
        before.closed(CloseCode(1001));
        assert_eq!(counts(&after), counts(&before));
        assert!(counts(&after).len() >= 7, "{:?}", counts(&after));
    }
}
