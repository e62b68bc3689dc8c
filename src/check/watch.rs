//! One ping after another: what `check --watch` does.
//!
//! Owns when to ping, what counts as lost, and the summary. It deliberately keeps no single round trip, so that
//! it can run for weeks.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::check::connect::Client;
use crate::check::report::{Problem, Report};
use crate::check::roundtrip::{self, RoundTrips};
use crate::check::websocket::WebSocket;
use crate::telemetry::counted::counted;

/// What is said where another process goes on with the connection.
const HANDED_OVER: &str = "the server was restarted, and this connection lives on";

/// How to watch.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// The time from one ping to the next.
    pub interval: Duration,
    /// After how many pings it ends by itself.
    pub count: Option<u32>,
}

/// What the pings have come to.
#[derive(Debug, Default)]
struct Tally {
    /// Those whose end is known.
    sent: u64,
    trips: RoundTrips,
}

impl Tally {
    fn lost(&self) -> u64 {
        self.sent - self.trips.count()
    }
}

/// Pings until a signal comes, or as often as asked, and prints the summary. True when nothing was lost. The
/// connection that it ends with is in `held`.
pub async fn watch(
    client: &Client,
    held: &mut Option<WebSocket>,
    options: &Watch,
    report: &mut Report,
) -> bool {
    let start = Instant::now();
    let mut tally = Tally::default();
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        let problem = Problem::new("the system gives no signal handler", "try again");
        let _ = report.line("watch", Duration::ZERO, &Err(problem));
        return false;
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        // When nobody reads any more, it ends, too.
        _ = pings(client, held, options, report, &mut tally) => {}
    }
    let _ = summarize(report, &tally, start.elapsed());
    tally.lost() == 0
}

async fn pings(
    client: &Client,
    held: &mut Option<WebSocket>,
    options: &Watch,
    report: &mut Report,
    tally: &mut Tally,
) -> io::Result<()> {
    let mut next = Instant::now();
    // Why the last ping was lost, if it was.
    let mut cause = None;
    // When the process began that answered last, and since when there is the connection.
    let (mut began, mut since) = (None, None);
    while options.count.is_none_or(|count| tally.sent < u64::from(count)) {
        let result = tokio::select! {
            biased;
            () = sleep_until(next) => {
                let result = ping(client, held, report).await;
                // Pings that a late answer has left no time for are not made up for.
                next = (next + options.interval).max(Instant::now());
                result
            }
            // The next ping would have been lost: it counts as lost now, when the cause is news.
            problem = end(held) => Err(problem),
        };
        tally.sent += 1;
        match result {
            Ok(took) => {
                cause = None;
                tally.trips.add(took);
                show(report, tally, took)?;
                let asked = report.bounded("answer", client.began()).await;
                if let Ok(Some((now, time))) = asked {
                    let since = *since.get_or_insert(time);
                    // One that is older than the connection is another server behind the same address.
                    if began.is_some_and(|before| before < now) && since <= now {
                        report.found("handover", &Ok(HANDED_OVER.into()))?;
                    }
                    began = began.max(Some(now));
                }
            }
            Err(problem) => {
                // Another connection may well lead to another process.
                (began, since) = (None, None);
                *held = None;
                show_lost(report, tally, &problem, cause.as_ref() == Some(&problem.what))?;
                cause = Some(problem.what);
            }
        }
    }
    Ok(())
}

/// One round trip, on a new connection where there is none.
async fn ping(
    client: &Client,
    held: &mut Option<WebSocket>,
    report: &mut Report,
) -> Result<Duration, Problem> {
    let socket = match held {
        Some(socket) => socket,
        None => {
            let start = Instant::now();
            let socket = report.bounded("answer", client.welcomed()).await?;
            // Who reads no more is noticed by the next line.
            let _ = report.line("connect", start.elapsed(), &Ok("connected again".into()));
            held.insert(socket)
        }
    };
    let start = Instant::now();
    report.bounded("pong", socket.ping()).await?;
    Ok(start.elapsed())
}

/// Waits for the end of the connection, if there is one. The server's own pings are answered meanwhile.
async fn end(held: &mut Option<WebSocket>) -> Problem {
    let Some(socket) = held else {
        return std::future::pending().await;
    };
    loop {
        if let Err(problem) = socket.text().await {
            return problem;
        }
    }
}

fn show(report: &mut Report, tally: &Tally, took: Duration) -> io::Result<()> {
    let number = tally.sent;
    let Some(summary) = tally.trips.summary().filter(|_| report.has_live_line()) else {
        return report.line("ping", took, &Ok(format!("pong {number}").into()));
    };
    let [last, min, avg, p99, max] =
        [took.as_secs_f64() * 1000.0, summary.min, summary.avg, summary.p99, summary.max]
            .map(short);
    report.print_live(&format!(
        "pong {number} in {last} ms, {} lost; min {min}, avg {avg}, p99 {p99}, max {max} ms",
        tally.lost()
    ))
}

/// An outage is one line on a terminal, and one for each ping elsewhere.
fn show_lost(
    report: &mut Report,
    tally: &Tally,
    problem: &Problem,
    as_before: bool,
) -> io::Result<()> {
    let number = tally.sent;
    if as_before && report.has_live_line() {
        return report
            .print_live(&format!("ping {number} lost as before, {} in all", tally.lost()));
    }
    let lost = Problem::new(format!("{number} lost: {}", problem.what), &problem.fix);
    report.line("ping", Duration::ZERO, &Err(lost))
}

/// A number of ms in few columns.
fn short(ms: f64) -> String {
    let digits = if ms < 10.0 { 2 } else { usize::from(ms < 100.0) };
    format!("{ms:.digits$}")
}

fn summarize(report: &mut Report, tally: &Tally, took: Duration) -> io::Result<()> {
    #[derive(Serialize)]
    struct Summary {
        step: &'static str,
        ok: bool,
        sent: u64,
        received: u64,
        lost: u64,
        lost_percent: f64,
        seconds: f64,
        min_ms: Option<f64>,
        avg_ms: Option<f64>,
        p99_ms: Option<f64>,
        max_ms: Option<f64>,
        mdev_ms: Option<f64>,
    }
    let rounded = |value: f64, unit: f64| (value * unit).round() / unit;
    let (sent, received, lost) = (tally.sent, tally.trips.count(), tally.lost());
    let lost_percent = rounded(lost as f64 * 100.0 / sent.max(1) as f64, 100.0);
    let seconds = rounded(took.as_secs_f64(), 10.0);
    let trips = tally.trips.summary();
    if report.json() {
        let ms = |ms: f64| rounded(ms, 1000.0);
        let summary = Summary {
            step: "summary",
            ok: lost == 0,
            sent,
            received,
            lost,
            lost_percent,
            seconds,
            min_ms: trips.map(|trips| ms(trips.min)),
            avg_ms: trips.map(|trips| ms(trips.avg)),
            p99_ms: trips.map(|trips| ms(trips.p99)),
            max_ms: trips.map(|trips| ms(trips.max)),
            mdev_ms: trips.map(|trips| ms(trips.mdev)),
        };
        return report.print(&serde_json::to_string(&summary).expect("plain data can be written"));
    }
    report.keep_live()?;
    report.print(&format!(
        "{}, {}, {lost_percent} % lost, in {seconds} s",
        counted(sent, "ping"),
        counted(received, "pong")
    ))?;
    let Some(roundtrip::Summary { min, avg, p99, max, mdev }) = trips else {
        return Ok(());
    };
    report
        .print(&format!("min/avg/p99/max/mdev = {min:.3}/{avg:.3}/{p99:.3}/{max:.3}/{mdev:.3} ms"))
}
