//! A listener of the programme: what `check --listen` does.
//!
//! Owns how long it listens, and the words for what it hears. It deliberately decodes no sound, and does not know how gaps
//! and silence are counted.

use std::future::pending;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout_at;

use crate::check::listening::{Listening, Unplayable};
use crate::check::pages::{Reader, stranger};
use crate::check::report::{Finding, Problem, Report};
use crate::check::stream::reach;
use crate::check::url::Target;

/// What to do where a stream ends.
const LOG: &str = "look at `journalctl -u openstudio-signaling -n 20`";

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// For how long.
    pub time: Duration,
}

/// A stream that comes, and what has been heard of it.
struct Listener {
    body: Incoming,
    reader: Reader,
    /// Whether its first bytes are those of Ogg.
    is_ogg: bool,
    listening: Listening,
    /// Ctrl-C, once there is something to say about what was heard.
    interrupt: Option<Signal>,
}

/// Why the listening is over.
enum End {
    /// It has been long enough.
    Done,
    /// Nothing has come for as long as a step may take.
    Stalled,
    /// The stream, for this reason.
    Stream(String),
}

/// Listens to the programme at `target`. True when there was no gap and not only silence; `None` where a step did not
/// work.
pub async fn listen(target: &Target, options: &Listen, report: &mut Report) -> Option<bool> {
    let body = reach(target, report).await?;
    let mut listener = Listener {
        body,
        reader: Reader::default(),
        is_ogg: false,
        listening: Listening::default(),
        interrupt: None,
    };
    report.step("audio", "audio", listener.begin()).await?;
    let start = Instant::now();
    let end = listener.go_on(options.time, report).await;
    Some(listener.verdict(&end, start.elapsed(), report))
}

impl Listener {
    /// Waits for the first audio.
    async fn begin(&mut self) -> Result<(Finding, ()), Problem> {
        while self.listening.began().is_none() {
            self.hear().await?;
        }
        self.interrupt = signal(SignalKind::interrupt()).ok();
        let channels = match self.listening.channels() {
            Some(1) => "mono".into(),
            Some(2) => "stereo".into(),
            channels => format!("{} channels", channels.unwrap_or_default()),
        };
        Ok((format!("Opus in Ogg, {channels}").into(), ()))
    }

    /// Takes what comes next. It may be dropped while it waits.
    async fn hear(&mut self) -> Result<(), Problem> {
        let frame = self.body.frame().await;
        let frame = frame.ok_or_else(|| Problem::new("the stream ended", LOG))?;
        let frame =
            frame.map_err(|error| Problem::new(format!("the stream broke off ({error})"), LOG))?;
        let now = Instant::now();
        self.reader.push(frame.data_ref().map_or(&[][..], |data| data));
        if !self.is_ogg {
            if let Some(kind) = stranger(self.reader.unread()) {
                let fix = "check the path: another source may have this mount, or it is the address of a page";
                return Err(Problem::new(format!("this is {kind}, and not Opus in Ogg"), fix));
            }
            self.is_ogg = self.reader.unread().len() >= 5;
            if !self.is_ogg {
                return Ok(());
            }
        }
        while let Some(page) = self.reader.next() {
            self.listening.hear(&page, now).map_err(unplayable)?;
        }
        Ok(())
    }

    /// Listens for so long, from the first audio on.
    async fn go_on(&mut self, time: Duration, report: &mut Report) -> End {
        let mut interrupt = self.interrupt.take();
        let mut latest = Instant::now();
        let end = latest + time;
        loop {
            let before = self.listening.heard();
            let wake = end.min(latest + report.timeout());
            let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
            if report.has_live_line() {
                // Who reads no more is noticed by the next line.
                let _ = report.print_live(&format!("listening, {left:.0} s to go"));
            }
            let stop = async {
                match &mut interrupt {
                    Some(interrupt) => interrupt.recv().await,
                    None => pending().await,
                }
            };
            let heard = tokio::select! {
                biased;
                _ = stop => return End::Done,
                heard = timeout_at(wake.into(), self.hear()) => heard,
            };
            if let Ok(Err(problem)) = heard {
                return End::Stream(problem.what);
            }
            let now = Instant::now();
            if now >= end {
                return End::Done;
            }
            if self.listening.heard() > before {
                latest = now;
            } else if now >= latest + report.timeout() {
                return End::Stalled;
            }
        }
    }

    /// Prints what was heard in so much time. Whether there was no gap, and not only silence.
    fn verdict(&mut self, end: &End, time: Duration, report: &mut Report) -> bool {
        // The end of the stream has a name of its own, and is no gap.
        if !matches!(end, End::Stream(_)) && !self.listening.has_ended {
            self.listening.wait(Instant::now());
        }
        let behind = format!(
            "{}: a player begins with audio that old, and never catches up",
            seconds(self.listening.behind())
        );
        let (gaps, silence) = (self.gaps(end, time, report.timeout()), self.silence());
        let is_ok = gaps.is_ok() && silence.is_ok();
        // Who reads no more still gets the exit code.
        let _ = report.found("behind", &Ok(behind.into()));
        let _ = report.found("gaps", &gaps);
        let _ = report.found("silence", &silence);
        if report.json() {
            let _ = report.print(&self.summary(is_ok, time));
        }
        is_ok
    }

    fn gaps(&self, end: &End, time: Duration, timeout: Duration) -> Result<Finding, Problem> {
        let heard = &self.listening;
        let gaps = heard.gaps();
        let mut found = Vec::new();
        let mut fix = "listen on the machine of the server, too: if there are gaps there, the host's network is too slow for the programme; if not, it is the network in between";
        if gaps.count > 0 {
            found.push(format!(
                "nothing to play {}, for {} in all and {} at most",
                times(gaps.count, "time"),
                seconds(gaps.total),
                seconds(gaps.longest)
            ));
        }
        let damage = [
            (heard.lost_pages, "page", "missing"),
            (self.reader.damaged(), "stretch", "damaged"),
            (heard.jumps, "jump", "in its time"),
        ];
        for (count, what, how) in damage.into_iter().filter(|(count, ..)| *count > 0) {
            found.push(format!("{} {how}", times(count, what)));
            fix = "something on the way drops data: listen at Icecast itself, on its own machine; if it is whole there, look at the proxies in between";
        }
        if heard.more_streams > 0 {
            found.push(format!("{} behind the first one", times(heard.more_streams, "stream")));
            fix = "many players stop where another stream begins: look at `journalctl -u openstudio-signaling -n 20` for why the service connected to Icecast again, and at icecast.xml for a <fallback-mount>";
        }
        let end = match end {
            End::Stream(why) => Some(why.clone()),
            End::Done | End::Stalled if heard.has_ended => Some("the stream ended".into()),
            End::Stalled => Some(format!("nothing more for {}", seconds(timeout))),
            End::Done => None,
        };
        if let Some(end) = end {
            found.push(format!("{end}, after {}", seconds(time)));
            fix = "the host stopped, or the server or Icecast did: `journalctl -u openstudio-signaling -n 20` says which; if none did, it is the network in between";
        }
        if found.is_empty() {
            return Ok(format!("none in {}", seconds(time)).into());
        }
        Err(Problem::new(found.join("; "), fix))
    }

    fn silence(&self) -> Result<Finding, Problem> {
        let (heard, silent) = (self.listening.heard(), self.listening.silent());
        if silent >= heard {
            return Err(Problem::new(
                format!("dead air: all {} of audio are silence", seconds(heard)),
                "look at the host's microphone and mixer: is it muted? Or the host is away: `journalctl -u openstudio-signaling -n 20` says which",
            ));
        }
        let silent = if silent.is_zero() { "none".into() } else { seconds(silent) };
        Ok(format!("{silent} in {} of audio", seconds(heard)).into())
    }

    /// The same in numbers, in seconds.
    fn summary(&self, ok: bool, time: Duration) -> String {
        #[derive(Serialize)]
        struct Summary {
            step: &'static str,
            ok: bool,
            seconds: f64,
            behind_seconds: f64,
            gaps: u64,
            gap_seconds: f64,
            longest_gap_seconds: f64,
            lost_pages: u64,
            jumps: u64,
            damaged: u64,
            more_streams: u64,
            heard_seconds: f64,
            silence_seconds: f64,
        }
        let heard = &self.listening;
        let gaps = heard.gaps();
        let rounded = |time: Duration| (time.as_secs_f64() * 1000.0).round() / 1000.0;
        let summary = Summary {
            step: "summary",
            ok,
            seconds: rounded(time),
            behind_seconds: rounded(heard.behind()),
            gaps: gaps.count,
            gap_seconds: rounded(gaps.total),
            longest_gap_seconds: rounded(gaps.longest),
            lost_pages: heard.lost_pages,
            jumps: heard.jumps,
            damaged: self.reader.damaged(),
            more_streams: heard.more_streams,
            heard_seconds: rounded(heard.heard()),
            silence_seconds: rounded(heard.silent()),
        };
        serde_json::to_string(&summary).expect("plain data can be written")
    }
}

fn unplayable(why: Unplayable) -> Problem {
    let source = "another source may have this mount: listen at Icecast's status page, and look at ICECAST_URL";
    match why {
        Unplayable::NoBeginning => Problem::new(
            "the stream begins in the middle, without OpusHead: no player can play it",
            "something on the way drops the beginning: listen at Icecast itself",
        ),
        Unplayable::OtherCodec(codec) => {
            Problem::new(format!("this is {codec} in Ogg, and not Opus"), source)
        }
        Unplayable::BadHead => Problem::new("the OpusHead is not one of RFC 7845", source),
    }
}

/// A time in words: to the tenth of a second, or in ms where that would be nothing.
fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{} ms", time.as_millis());
    }
    format!("{:.1} s", time.as_secs_f64())
}

fn times(count: u64, what: &str) -> String {
    let plural = match (count, what.ends_with("ch")) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {what}{plural}")
}
