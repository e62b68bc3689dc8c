//! How a server stands with the other nodes of its cluster, where it has one.
//!
//! Owns what is said of that. It deliberately asks NATS nothing: what the node knows is what counts.

use std::time::Instant;

use serde::Deserialize;

use crate::check::connect::Client;
use crate::check::report::{Finding, Problem, Report};
use crate::check::steps::printable;

/// The part of `/health` about the cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Cluster {
    state: String,
    nodes: usize,
    replicas: u32,
    server: Option<String>,
    out_of_touch_seconds: Option<u64>,
    problem: Option<String>,
    fix: Option<String>,
}

/// Whether the server is in touch with the other nodes, where there can be any.
pub async fn cluster(client: &Client, report: &mut Report) -> Option<()> {
    #[derive(Deserialize)]
    struct Health {
        cluster: Option<Cluster>,
    }
    let start = Instant::now();
    let ask = async { client.get(client.connect().await?, "/health").await };
    let (_, body) = match report.bounded("answer", ask).await {
        Ok(answer) => answer,
        Err(problem) => return report.done("cluster", start, Err(problem)),
    };
    // Another server has none, and neither has one that is alone.
    let found = serde_json::from_slice::<Health>(&body).ok().and_then(|health| health.cluster);
    match found {
        Some(found) => report.done("cluster", start, found.judge().map(|found| (found, ()))),
        None => Some(()),
    }
}

impl Cluster {
    fn judge(&self) -> Result<Finding, Problem> {
        if let (Some(problem), Some(fix)) = (&self.problem, &self.fix) {
            return Err(Problem::new(printable(problem), printable(fix)));
        }
        match self.state.as_str() {
            "in-touch" => {}
            "joining" => {
                return Err(Problem::new(
                    "the node is joining the cluster",
                    "wait for 10 s; if it stays so, look at `journalctl -u openstudio-signaling`",
                ));
            }
            _ => {
                let seconds = self.out_of_touch_seconds.unwrap_or_default();
                return Err(Problem::new(
                    format!("the node has been out of touch with the cluster for {seconds} s"),
                    "see the log of nats-server: JetStream has no leader, or does not answer",
                ));
            }
        }
        let plural = if self.nodes == 1 { "" } else { "s" };
        let server = printable(self.server.as_deref().unwrap_or("a server"));
        let detail = format!("{} node{plural}, in touch by {server}", self.nodes);
        let warning = (self.replicas == 1).then(|| {
            "the log has one replica only: the cluster stands still while that NATS server is away (docs/cluster.md: three servers with routes)".to_owned()
        });
        Ok(Finding { detail, warning })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(health: &str) -> Result<Finding, Problem> {
        serde_json::from_str::<Cluster>(health).unwrap().judge()
    }

    #[test]
    fn what_is_wrong_is_said() {
        let well = judge(r#"{"state":"in-touch","nodes":3,"replicas":3,"server":"s1"}"#).unwrap();
        assert_eq!((&*well.detail, well.warning), ("3 nodes, in touch by s1", None));
        let one = judge(r#"{"state":"in-touch","nodes":1,"replicas":1,"server":"s1"}"#).unwrap();
        assert!(one.detail.starts_with("1 node,") && one.warning.unwrap().contains("one replica"));
        let out = judge(r#"{"state":"out-of-touch","outOfTouchSeconds":12}"#).unwrap_err();
        assert!(out.what.contains("for 12 s"), "{out:?}");
        assert!(judge(r#"{"state":"joining"}"#).unwrap_err().what.contains("joining"));
        let why = judge(r#"{"state":"in-touch","problem":"refused\u001b","fix":"start it"}"#);
        let why = why.unwrap_err();
        assert_eq!((&*why.what, &*why.fix), ("refused", "start it"));
    }
}
