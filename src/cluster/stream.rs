//! The stream by which NATS keeps the log.
//!
//! Owns how it is made, and what its state means for the node. It deliberately does not know what is in an entry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::node::Node;
use crate::telemetry::events::Event;

impl Node {
    /// How the stream is, as it `was_asked` or made.
    pub(super) fn see_stream(&mut self, answer: &Value, was_asked: bool, now: Instant) {
        if let Some(code) = answer["error"]["err_code"].as_u64() {
            let why = answer["error"]["description"].as_str().unwrap_or_default().to_owned();
            match code {
                // There is no stream.
                10_059 => self.create_stream(3),
                // Not where there is one server only.
                10_074 => self.create_stream(1),
                10_058 => {
                    self.trouble = Some((
                        format!(
                            "the stream {} has another configuration: {why}",
                            self.names.stream
                        ),
                        "set another CLUSTER_NAME, or delete the stream",
                    ));
                }
                10_039 | 10_076 => {
                    self.trouble = Some((
                        format!("JetStream is off: {why}"),
                        "switch JetStream on in nats-server.conf (jetstream {})",
                    ));
                }
                // Three servers that start at once may not all know each other.
                10_005 => {
                    self.trouble = Some((
                        format!("fewer than 3 NATS servers keep streams together: {why}"),
                        "start nats-server on 3 machines; if it runs there, restart one after the other",
                    ));
                }
                _ => self.trouble = Some((why, "see the log of nats-server")),
            }
            self.looked = Some(now);
            return;
        }
        self.trouble = None;
        let replicas = answer["config"]["num_replicas"].as_u64().unwrap_or_default() as u32;
        if replicas != self.replicas {
            self.replicas = replicas;
            self.journal.log(Event::ClusterStream { stream: self.names.stream.clone(), replicas });
        }
        if !was_asked {
            // What is there already, it says when it is asked.
            self.looked = None;
            return;
        }
        self.seen = Some(now);
        let created = answer["created"].as_str().map(str::to_owned);
        let number = |name: &str| answer["state"][name].as_u64().unwrap_or_default();
        let last = number("last_seq");
        self.ends = (number("first_seq").max(1), last);
        // Of one stream, servers say different times once they have been restarted.
        let may_be_other = self.created.is_some() && self.created != created;
        self.created = created;
        if last < self.asked_at {
            // A server that hung, and led before, says so until it hears of the new leader.
            if self.shorter.is_true(self.log.position(), now) {
                self.log.is_shorter();
            }
        } else {
            self.shorter.end();
        }
        if may_be_other && !self.log.has_gone_back() {
            self.log.doubt();
        }
        let has_nothing = self.joining.as_ref().is_some_and(|joining| joining.keeps.is_none());
        if self.log.has_gone_back() && has_nothing {
            self.lose_place("the log has gone back", now);
            return;
        }
        self.look_back(now);
        if last < self.asked_at || self.log.has_gone_back() {
            return;
        }
        self.log.knows(last);
        if let Some(joining) = self.joining.as_mut().filter(|joining| !joining.has_begun) {
            joining.has_begun = true;
            // What was before is in the state that others have.
            self.log.reset(last);
            self.write_again(true, now);
        }
    }

    /// Where the log has gone back, or may be another one, it is asked for an entry that tells.
    fn look_back(&mut self, now: Instant) {
        let ((first, last), known) = (self.ends, self.log.first_known());
        if self.log.has_gone_back() {
            match (first..=last).contains(&known) {
                true => self.want([known]),
                false => self.lose_log(first - 1, now),
            }
        } else if self.log.is_doubted() && self.log.position() >= first {
            self.want([self.log.position()]);
        } else {
            // Where it is doubted, there is nothing that tells.
            self.log.trust();
        }
    }

    /// The entry at `position` tells whether the log is another one, or up to where it is the same. True where that was
    /// in question.
    fn is_told(&mut self, position: u64, entry: &[u8], now: Instant) -> bool {
        let is_same = self.log.is_same(position, entry);
        if self.log.has_gone_back() {
            if position == self.log.first_known() {
                let first = if is_same == Some(true) { position } else { self.ends.0 };
                self.lose_log(first - 1, now);
            }
            return true;
        }
        let tells = self.log.is_doubted() && position == self.log.position();
        if tells && is_same != Some(false) {
            self.log.trust();
        }
        tells && is_same != Some(false)
    }

    fn create_stream(&mut self, replicas: u32) {
        let config = self.names.stream_config(replicas).to_string().into_bytes();
        let (subject, reply) = (self.names.request("CREATE"), self.names.answer("create"));
        self.publish(subject, Some(reply), config);
    }

    /// The entry at a position that was asked for.
    pub(super) fn get(&mut self, position: u64, answer: &[u8], now: Instant) {
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return };
        if answer["error"]["err_code"] == 10_037 && position <= self.log.last() {
            let own = self.log.position();
            if position > own && self.gap.is_true(own, now) {
                self.lose_place("entries of the log that it has missed are gone", now);
            }
            return;
        }
        let data = answer["message"]["data"].as_str();
        if let Some(data) = data.and_then(|data| STANDARD.decode(data).ok()) {
            if !self.is_told(position, &data, now) {
                self.see_before(position, &data, now);
                self.log.take(position, data);
            }
        }
    }
}
