//! Whether a programme would be heard, for the check page and `check`.
//!
//! Owns the answer at `/check/icecast`, and that Icecast is not asked by each visitor. It deliberately tells nobody where
//! Icecast is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use warp::http::StatusCode;
use warp::reply::Response as Reply;

use crate::config::icecast::Icecast;
use crate::programme::dial::WAY;
use crate::programme::icecast::Refusal;
use crate::programme::probe::probe;
use crate::server::http::routes::json;
use crate::server::state::State;

/// How long an answer of Icecast's counts.
const FRESH: Duration = Duration::from_secs(5);

/// What Icecast said last, and when. Visitors wait for one another.
pub type LastAnswer = Arc<Mutex<Option<(Instant, Answer)>>>;

/// What is said.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// `free`, `on-air`, or `unusable`.
    mount: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

/// The answer by which a visitor knows.
pub async fn icecast_check(state: &State, icecast: &Icecast, last: &LastAnswer) -> Reply {
    let is_taken = state.studio.on_air.air().is_taken();
    if is_taken {
        return json(StatusCode::OK, &Answer { mount: "on-air", problem: None, fix: None });
    }
    let mut last = last.lock().await;
    let fresh = last.as_ref().filter(|(asked, _)| asked.elapsed() < FRESH);
    let answer = match fresh {
        Some((_, answer)) => answer.clone(),
        None => {
            let answer = Answer::new(probe(icecast, Path::new(WAY)).await);
            *last = Some((Instant::now(), answer.clone()));
            answer
        }
    };
    json(StatusCode::OK, &answer)
}

impl Answer {
    fn new(probed: Result<(), Refusal>) -> Self {
        let Err(refusal) = probed else {
            return Self { mount: "free", problem: None, fix: None };
        };
        // What a system or TLS says has the host in it, perhaps.
        let problem = match &refusal {
            Refusal::UnknownHost(_) => "the host in ICECAST_URL is unknown".to_owned(),
            Refusal::Unreachable(_) => "Icecast does not answer".to_owned(),
            _ => refusal.to_string(),
        };
        Self { mount: "unusable", problem: Some(problem), fix: Some(refusal.fix()) }
    }
}
