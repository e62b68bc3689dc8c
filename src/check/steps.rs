//! The client behind `openstudio-signaling check`.
//!
//! Owns its options and the order of its steps. It deliberately knows nothing about the server except its protocol,
//! so that it can check one on another machine.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use hyper::StatusCode;
use serde::Deserialize;
use tokio::time::timeout;

use crate::check::call::call;
use crate::check::cluster::cluster;
use crate::check::connect::{Client, Stream, should_use_tls, tls};
use crate::check::listen::{Listen, listen};
use crate::check::report::{Finding, Problem, Report};
use crate::check::url::Target;
use crate::check::watch::{Watch, watch};
use crate::check::websocket::{STRANGER, WebSocket};
use crate::invite::link::token;
use crate::wire::reply::WELCOME;
use crate::wire::text::is_printable;

/// How long the server's goodbye is waited for at most: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(1);

/// How much is shown of what a server says, in characters.
const MOST_SHOWN: usize = 300;

/// What to check, and how.
#[derive(Clone, Debug)]
pub struct Options {
    target: Target,
    timeout: Duration,
    json: bool,
    /// Whether to ask nothing but whether it is ready.
    ready: bool,
    /// Whether two peers have to meet.
    call: bool,
    /// Where the second one connects, if not where the first one does.
    second: Option<Target>,
    /// The token of the invite that they bring.
    invite: Option<String>,
    /// How to go on pinging, if at all.
    watch: Option<Watch>,
    /// How to listen to the programme, instead of all else.
    listen: Option<Listen>,
}

impl Options {
    /// Reads the arguments of `check`.
    ///
    /// # Errors
    ///
    /// A line that names the invalid argument, and what is allowed.
    pub fn new(matches: &ArgMatches) -> Result<Self, String> {
        let url = matches.get_one::<String>("url").cloned().unwrap_or_else(local);
        let watch = Watch {
            // At 0.2 s it is half of what the default RATE_LIMIT lets a client send.
            interval: seconds(matches, "interval", 0.2..=3600.0)?,
            count: count(matches)?,
        };
        let listen = Listen { time: seconds(matches, "seconds", 2.0..=3600.0)? };
        Ok(Self {
            target: Target::parse(&url)?,
            timeout: seconds(matches, "timeout", 0.1..=3600.0)?,
            json: matches.get_flag("json"),
            ready: matches.get_flag("ready"),
            call: matches.get_flag("call"),
            second: matches
                .get_one::<String>("second")
                .map(|url| Target::parse(url))
                .transpose()?,
            invite: matches.get_one::<String>("invite").map(|text| token(text).to_owned()),
            watch: matches.get_flag("watch").then_some(watch),
            listen: matches.get_flag("listen").then_some(listen),
        })
    }
}

/// The server that a service on this machine is, unless PORT says otherwise.
fn local() -> String {
    let port = std::env::var("PORT").ok().filter(|port| !port.is_empty());
    format!("ws://localhost:{}/", port.unwrap_or_else(|| "3000".into()))
}

fn seconds(
    matches: &ArgMatches,
    name: &str,
    range: RangeInclusive<f64>,
) -> Result<Duration, String> {
    let text = matches.get_one::<String>(name).map_or("", String::as_str);
    let seconds = text.parse().ok().filter(|seconds| range.contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("Invalid --{name} {text:?}: must be a number of seconds from {least} to {most}")
    })
}

fn count(matches: &ArgMatches) -> Result<Option<u32>, String> {
    let text = matches.get_one::<String>("count");
    let count = text.map(|text| {
        text.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
            format!("Invalid --count {text:?}: must be a number from 1 to {}", u32::MAX)
        })
    });
    count.transpose()
}

/// Runs all steps up to the first that fails, printing each. True when all worked.
pub fn run(options: &Options) -> bool {
    let mut report = Report::new(options.json, options.timeout);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let problem = Problem::new(format!("no runtime: {error}"), "try again");
            let _ = report.line("start", Duration::ZERO, &Err(problem));
            return false;
        }
    };
    let ok = runtime.block_on(steps(options, &mut report));
    // A resolver that does not answer is not waited for.
    runtime.shutdown_background();
    ok.unwrap_or(false)
}

/// Whether all worked; `None` where a step did not.
async fn steps(options: &Options, report: &mut Report) -> Option<bool> {
    if options.ready {
        return ready(&options.target, report).await;
    }
    if let Some(listening) = &options.listen {
        return listen(&options.target, listening, report).await;
    }
    let client = reach(&options.target, report).await?;
    let open = async { Ok(("HTTP 101, WebSocket open".into(), client.open().await?)) };
    let mut held = Some(report.step("handshake", "answer", open).await?);
    let ok = talk(options, &client, &mut held, report).await;
    if let Some(mut socket) = held {
        // The verdict stands: how the goodbye goes does not change it.
        let _ = timeout(GOODBYE, socket.close()).await;
    }
    ok
}

/// Whether the server takes clients, by one request and without a WebSocket: for health checks that run every minute.
async fn ready(target: &Target, report: &mut Report) -> Option<bool> {
    let ask = async {
        let client = Client::new(target.clone())?;
        let stream = client.connect().await?;
        match client.get(stream, "/ready").await?.0 {
            StatusCode::OK => Ok(("HTTP 200, takes clients".into(), true)),
            StatusCode::SERVICE_UNAVAILABLE => {
                let fix = "wait until it has restarted";
                Err(Problem::new("HTTP 503 at /ready: the server is stopping", fix))
            }
            status => Err(Problem::new(
                format!("HTTP {status} at /ready, and not this server's answer"),
                "check the URL: with TLS_CERT it begins with wss://",
            )),
        }
    };
    report.step("ready", "answer", ask).await
}

/// What is said on the WebSocket.
async fn talk(
    options: &Options,
    client: &Client,
    held: &mut Option<WebSocket>,
    report: &mut Report,
) -> Option<bool> {
    let socket = held.as_mut()?;
    report.step("welcome", "answer", welcome(socket)).await?;
    report.step("ping", "answer", ping(socket)).await?;
    if options.call {
        let other = match &options.second {
            Some(target) => Some(reach(target, report).await?),
            None => None,
        };
        let other = other.as_ref().unwrap_or(client);
        call(other, socket, options.invite.as_deref(), report).await?;
    }
    let in_touch = cluster(client, report).await.is_some();
    let is_well = icecast(client, report).await.is_some() && in_touch;
    match &options.watch {
        // Calls do not need it.
        Some(options) => Some(watch(client, held, options, report).await && is_well),
        None => Some(is_well),
    }
}

/// The way to a server that answers health checks.
async fn reach(target: &Target, report: &mut Report) -> Option<Client> {
    if target.tls {
        let (client, stream) = tls(target, report).await?;
        let health = async { Ok((health(&client, stream).await?, ())) };
        report.step("health", "answer", health).await?;
        return Some(client);
    }
    let start = Instant::now();
    let mut result = report.bounded("answer", plain_health(target)).await;
    if result.is_err() && should_use_tls(target).await {
        let fix = format!("`openstudio-signaling check {}`", target.with_tls(true));
        result = Err(Problem::new("this port speaks TLS", fix));
    }
    report.done("health", start, result)
}

async fn plain_health(target: &Target) -> Result<(Finding, Client), Problem> {
    let client = Client::new(target.clone())?;
    let stream = client.connect().await?;
    Ok((health(&client, stream).await?, client))
}

async fn health(client: &Client, stream: Stream) -> Result<Finding, Problem> {
    #[derive(Deserialize)]
    struct Health {
        status: String,
        uptime: u64,
    }
    let (status, body) = client.get(stream, "/health").await?;
    let health: Option<Health> = serde_json::from_slice(&body).ok();
    match health {
        Some(health) if status == StatusCode::OK && health.status == "ok" => {
            Ok(format!("HTTP 200, up for {} s", health.uptime).into())
        }
        _ => Err(Problem::new(
            format!("HTTP {status} at /health, and not this server's answer"),
            "another program may have this port (`ss -ltnp` names it), or the proxy does not pass /health on",
        )),
    }
}

/// Whether Icecast would take a programme, where the server has one and says so.
async fn icecast(client: &Client, report: &mut Report) -> Option<()> {
    #[derive(Deserialize)]
    struct Answer {
        mount: String,
        problem: Option<String>,
        fix: Option<String>,
    }
    let start = Instant::now();
    let ask = async {
        let (status, body) = client.get(client.connect().await?, "/check/icecast").await?;
        Ok((status == StatusCode::OK).then(|| serde_json::from_slice::<Answer>(&body)))
    };
    let answer = match report.bounded("answer", ask).await {
        // Without an Icecast, or a check page, there is nothing to tell.
        Ok(None) => return Some(()),
        Ok(Some(Ok(answer))) => answer,
        Ok(Some(Err(_))) => {
            let problem = Problem::new("the answer at /check/icecast can't be read", STRANGER);
            return report.done("icecast", start, Err(problem));
        }
        Err(problem) => return report.done("icecast", start, Err(problem)),
    };
    let result = match (&*answer.mount, answer.problem, answer.fix) {
        ("free", ..) => Ok("it answers, takes the password, and has the mount free"),
        ("on-air", ..) => Ok("it takes the programme that is on air"),
        (_, Some(problem), Some(fix)) => Err(Problem::new(printable(&problem), printable(&fix))),
        _ => Err(Problem::new("the answer at /check/icecast can't be read", STRANGER)),
    };
    report.done("icecast", start, result.map(|found| (found.into(), ())))
}

/// What another machine says, as a terminal may show it.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| is_printable(*c)).take(MOST_SHOWN).collect()
}

async fn welcome(socket: &mut WebSocket) -> Result<(Finding, ()), Problem> {
    let answer = socket.expect("welcome").await?;
    let welcome = answer.message.filter(|message| message == WELCOME);
    let welcome =
        welcome.ok_or_else(|| Problem::new("the welcome is not this server's", STRANGER))?;
    Ok((welcome.into(), ()))
}

async fn ping(socket: &mut WebSocket) -> Result<(Finding, ()), Problem> {
    socket.ping().await?;
    Ok(("pong, round trip".into(), ()))
}
